"""A progress bar of images on stderr: updated continuously in a terminal, every half minute in a log."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm


class _Log(tqdm):  # type: ignore[misc]
    """After the first line, print one line every half minute."""

    def display(self, *args: Any, **kwargs: Any) -> Any:
        self.mininterval = self.maxinterval = 30.0
        return super().display(*args, **kwargs)


def progress_bar(total: int, name: str, *, done: int = 0, quiet: bool = False) -> tqdm[Any]:
    """Return a progress bar of `total` images, of which `done` exist already; a context manager with `update(count)`.

    It appears after half a second.
    """
    return (tqdm if sys.stderr.isatty() else _Log)(
        total=total, initial=done, desc=name, unit=" images", unit_scale=True, disable=quiet, delay=0.5
    )
