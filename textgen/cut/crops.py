"""Cut the regions of footage out, and write them as PNG files with an index."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from textgen.common.array_types import U8
from textgen.common.atomic import OTHER_OUT, atomic_folder, os_errors_as_user_errors
from textgen.common.errors import UserError
from textgen.footage.frames import Frame, FrameReader, open_frames
from textgen.footage.index import COLUMNS, INDEX, IndexRow, crop_file, format_rows, read_index
from textgen.footage.regions import Region, load_regions

SQUARE = 8  # pixels a side of what is compared: about a stroke and its surroundings


@dataclass(frozen=True)
class Choice:
    """Which crops of footage are kept. The fields are the settings of conf/cut.yaml."""

    start: float | None = None
    end: float | None = None
    every: int = 1
    rate: float | None = None
    changes: bool = False
    change: float = 20
    max_crops: int = 200_000
    max_bytes: int = 4_000_000_000


@dataclass(frozen=True)
class Cut:
    """What was cut: crops and frames that were looked at, seconds of the first and last, and what was wrong."""

    crops: int
    frames: int
    first_time: float
    last_time: float
    problem: str | None


class ChangeDetector:
    """Tells whether a crop differs from the last one that did, by the mean luma of squares."""

    def __init__(self, change: float) -> None:
        self._change = change
        self._before: U8 | None = None

    def __call__(self, crop: U8) -> bool:
        """`crop` is RGB uint8 (h, w, 3), always of one size. True for the first one."""
        luma = np.asarray(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), np.uint8)
        if self._before is not None:
            square = min(SQUARE, *luma.shape)
            means = cv2.blur(cv2.absdiff(luma, self._before), (square, square))
            if float(means.max()) < self._change:
                return False
        self._before = luma
        return True


def cut_crops(
    source: str | Path,
    regions: Mapping[str, Any] | str | Path,
    out: Path,
    choice: Choice,
    *,
    overwrite: bool = False,
    progress: Callable[[int | None], Callable[[int], object]] | None = None,
) -> Cut:
    """Write the crops of `regions` of a source to the new folder `out`: <region>/<frame>.png, and index.csv.

    `source` is what `open_frames` takes, `regions` what `load_regions` takes. The folder appears when it is complete: a
    stopped command leaves none. A stream or a camera ends also with an interrupt (Ctrl-C) and at the limits; for
    other sources these are errors. `progress` gets the number of frames, if it is known, and gives what is called with
    the number of frames that have been read since.

    Raises `UserError` as `open_frames` and `load_regions` do, for an `out` that exists (with `overwrite`: that this
    function has not written, or that holds labels), and for more crops or bytes than the limits.
    """
    _check_out(out, overwrite)
    with (
        open_frames(source, start=choice.start, end=choice.end, every=choice.every, rate=choice.rate) as reader,
        atomic_folder(out, OTHER_OUT, "replace" if overwrite or out.exists() else "refuse") as folder,
    ):
        places = load_regions(regions, reader.size)
        expected = expected_frames(reader, choice)
        if expected and not choice.changes and expected * len(places) > 1.1 * choice.max_crops + 10:
            raise UserError(f"{reader.name} would give about {expected * len(places):,} crops: {_fewer(choice)}")
        writer = _Writer(folder, places, choice)
        advance = progress(expected) if progress else lambda count: None
        with suppress(*[KeyboardInterrupt] * reader.is_live):
            for frame in reader:
                if not writer.write(frame):
                    break
                advance(1)
        writer.remove_unlisted()
        if writer.full and not reader.is_live:
            raise UserError(f"{reader.name} gives {writer.full} up to {writer.last_time:.2f} s: {_fewer(choice)}")
        with os_errors_as_user_errors(out, OTHER_OUT):
            (folder / INDEX).write_text(f"{','.join(COLUMNS)}\n{''.join(writer.lines)}", encoding="utf-8", newline="")
    problem = f"{reader.name} was left after {writer.full}" if writer.full else reader.problem
    return Cut(len(writer.lines), writer.frames, writer.first_time or 0.0, writer.last_time, problem)


class _Writer:
    """Writes the crops of frames, and keeps their lines of the index: about 50 bytes a crop."""

    def __init__(self, folder: Path, regions: tuple[Region, ...], choice: Choice) -> None:
        self._folder, self._regions, self._choice = folder, regions, choice
        self._detectors = {region.name: ChangeDetector(choice.change) for region in regions}
        self.lines: list[str] = []
        self.frames, self.bytes, self.last_time = 0, 0, 0.0
        self.first_time: float | None = None
        self._unlisted: list[Path] = []
        self.full = ""  # which limit is reached
        for region in regions:
            (folder / region.name).mkdir()

    def write(self, frame: Frame) -> bool:
        """Write a frame's crops. False, with none of them, if that would pass a limit."""
        crops = [(region.name, frame.crop(region)) for region in self._regions]
        if self._choice.changes:
            crops = [(name, crop) for name, crop in crops if self._detectors[name](crop)]
        pictures = [(crop_file(name, frame.index), name, _encode(crop)) for name, crop in crops]
        size = sum(len(data) for _, _, data in pictures)
        if len(self.lines) + len(pictures) > self._choice.max_crops:
            self.full = f"{len(self.lines):,} crops"
        elif self.bytes + size > self._choice.max_bytes:
            self.full = f"{self.bytes:,} bytes of crops"
        if self.full:
            return False
        with os_errors_as_user_errors(self._folder, OTHER_OUT):
            self._unlisted = [self._folder / file for file, _, _ in pictures]
            for file, _, data in pictures:
                (self._folder / file).write_bytes(data)
        self.lines += [format_rows([IndexRow(file, name, frame.index, frame.time)]) for file, name, _ in pictures]
        self._unlisted = []
        self.bytes += size
        self.frames += 1
        self.last_time = frame.time
        self.first_time = frame.time if self.first_time is None else self.first_time
        return True

    def remove_unlisted(self) -> None:
        """Remove the files of the frame that an interrupt has left unfinished."""
        for path in self._unlisted:
            path.unlink(missing_ok=True)


def expected_frames(reader: FrameReader, choice: Choice) -> int | None:
    """About how many frames are chosen; None if the source does not tell."""
    if reader.frames is not None and choice.start is None and choice.end is None:
        return max(1, math.ceil(reader.frames / choice.every))
    ends = [seconds for seconds in (reader.seconds, choice.end) if seconds is not None]
    if not ends or reader.frame_rate is None:
        return None
    return max(1, math.ceil((min(ends) - (choice.start or 0)) * reader.frame_rate / choice.every))


def _encode(crop: U8) -> bytes:
    done, data = cv2.imencode(".png", crop[:, :, ::-1])
    assert done
    return data.tobytes()


def _fewer(choice: Choice) -> str:
    return (
        "choose fewer with every=, start=, end= or changes=true, or raise "
        f"max_crops={choice.max_crops} and max_bytes={choice.max_bytes}"
    )


def _check_out(out: Path, overwrite: bool) -> None:
    """Refuse a folder that cannot be replaced, before any work."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not overwrite:
        raise UserError(f"out={out} exists: choose {OTHER_OUT}, or replace it with overwrite=true")
    read_index(out)  # that it is a folder of crops
    regions = {row.region for row in read_index(out)}
    if others := sorted(path.name for path in out.iterdir() if path.name not in {INDEX, "labels.html", *regions}):
        raise UserError(f"out={out} holds {others[0]}, which is not from this command: move it, or choose {OTHER_OUT}")


def warn(problem: str | None) -> None:
    """Print what was wrong with footage, of which something was cut all the same."""
    if problem:
        print(f"note: {problem}", file=sys.stderr)
