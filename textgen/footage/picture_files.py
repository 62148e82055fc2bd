"""Pictures as footage: a folder of them, or a sequence by a pattern such as shot_%05d.png."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from textgen.common.errors import UserError
from textgen.common.pictures import SUFFIXES, read_picture
from textgen.footage.frames import Footage, Frame
from textgen.footage.pixels import RgbPixels


class PictureFootage(Footage):
    """Picture files, each a frame, at `rate` frames a second. One is in memory at a time."""

    def __init__(self, name: str, paths: Sequence[Path], rate: float) -> None:
        self.name, self.frame_rate, self.frames = name, rate, len(paths)
        self.seconds = len(paths) / rate
        self._paths, self._rate = paths, rate

    def read(self, start: float | None) -> Iterator[Frame]:
        rate = self._rate
        first = 0 if start is None else max(0, min(int(start * rate) - 1, len(self._paths) - 1))
        for index in range(first, len(self._paths)):
            yield Frame(index, index / rate, RgbPixels(read_picture(self._paths[index])))

    def close(self) -> None:
        pass


def find_pictures(folder: Path) -> list[Path]:
    """The pictures of a folder, in the order of the numbers in their names. Raises `UserError` if there is none."""
    paths = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file()]
    if not paths:
        raise UserError(
            f"{folder} holds no picture that ends in {' '.join(SUFFIXES)}: give a folder of frames, or a video"
        )
    return sorted(paths, key=lambda path: order_of(path.name))


def order_of(name: str) -> list[tuple[int, str]]:
    """What sorts names with numbers by their value.

    >>> sorted(["f10.png", "f9.png"], key=order_of)
    ['f9.png', 'f10.png']
    """
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return [(int(part), "") if part[0] in "0123456789" else (-1, part) for part in parts] + [(-2, name)]


def find_pattern(pattern: Path) -> list[Path]:
    """The pictures of a pattern with one %d or %05d, in the order of their numbers. Raises `UserError` if none fits."""
    form = re.fullmatch(r"((?:[^%]|%%)*)%(0?)([0-9]*)d((?:[^%]|%%)*)", pattern.name)
    if not form:
        raise UserError(f"{pattern}: a pattern has one %d, such as shot_%05d.png; % itself is written %%")
    before, zero, digits, after = form.groups()
    number = f"[0-9]{{{digits},}}" if zero and digits else "[0-9]+"
    name = re.compile(re.escape(before.replace("%%", "%")) + f"({number})" + re.escape(after.replace("%%", "%")))
    found = []
    if pattern.parent.is_dir():
        matches = [(name.fullmatch(path.name), path) for path in pattern.parent.iterdir()]
        found = sorted((int(match[1]), path) for match, path in matches if match)
    if not found:
        raise UserError(f"no file fits the pattern {pattern} (current folder: {Path.cwd()})")
    return [path for _, path in found]
