"""Progress in images, told on stderr: drawn all the time on a terminal, and in a log at first and every half minute."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm


class _Log(tqdm):  # type: ignore[misc]
    """Once it has been seen, a line every half minute."""

    def display(self, *args: Any, **kwargs: Any) -> Any:
        self.mininterval = self.maxinterval = 30.0
        return super().display(*args, **kwargs)


def progress_bar(total: int, name: str, *, done: int = 0, quiet: bool = False) -> tqdm[Any]:
    """A bar that counts `total` images, of which `done` are there already; a context manager with `update(count)`.

    It appears after half a second; what is done sooner needs none.
    """
    return (tqdm if sys.stderr.isatty() else _Log)(
        total=total, initial=done, desc=name, unit=" images", unit_scale=True, disable=quiet, delay=0.5
    )
