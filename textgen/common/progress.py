"""A progress bar of images on stderr: updated continuously in a terminal, a line every half minute elsewhere."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable
from typing import Any, TextIO

from tqdm import tqdm


class _Log(tqdm):  # type: ignore[misc]
    """Prints whole lines, between which others may print theirs: one, then one every half minute, and the last."""

    @staticmethod
    def status_printer(file: TextIO) -> Callable[[str], None]:
        return lambda line: print(line, file=file, flush=True)

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        self.mininterval = self.maxinterval = 30.0
        return msg != "" and bool(super().display(msg, 0))  # an empty one would clear the line

    def close(self) -> None:
        if not self.disable and self.last_print_t >= self.start_t + self.delay:  # it has appeared
            self.display()
        self.leave = False
        super().close()


def progress_bar(
    total: int | None, name: str, *, done: int = 0, quiet: bool = False, unit: str = " images"
) -> tqdm[Any]:
    """Return a progress bar of `total` images, of which `done` exist already; a context manager with `update(count)`.

    It appears after half a second. `total` is None where the number is not known.
    """
    alone = sys.stderr.isatty() and multiprocessing.current_process().name == "MainProcess"  # no job among several
    return (tqdm if alone else _Log)(
        total=total,
        initial=done,
        desc=name,
        unit=unit,
        unit_scale=True,
        disable=quiet,
        delay=0.5,
        smoothing=0.3 if alone else 0,
    )
