"""Progress in images, told on stderr: drawn all the time on a terminal, and every half minute in a log."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm


def bar(total: int, name: str, *, done: int = 0, quiet: bool = False) -> tqdm[Any]:
    """A bar that counts `total` images, of which `done` are there already; a context manager with `update(count)`.

    It appears after half a second; what is done sooner needs none.
    """
    seconds = 0.1 if sys.stderr.isatty() else 30.0
    return tqdm(
        total=total,
        initial=done,
        desc=name,
        unit=" images",
        unit_scale=True,
        disable=quiet,
        delay=0.5,
        mininterval=seconds,
        maxinterval=max(seconds, 10.0),
    )
