"""Clips whose frames show their number, and label tables for them."""

import csv
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from textgen.common.array_types import U8
from textgen.frames.settings import FrameTask, Split

sys.path.append(str(Path(__file__).parents[1] / "footage"))
from videos import write_video

SIZE = (96, 160)
HEADER = ("frame", "object_name", "confidence", "xmin", "ymin", "xmax", "ymax")
Row = tuple[Any, ...]


def coded(index: int) -> U8:
    """A frame that shows its index in twelve bits, black or white fields of 40×24 pixels, and is red at the left."""
    frame = np.zeros((*SIZE, 3), np.uint8)
    frame[:] = (200, 60, 20)
    for bit in range(12):
        row, column = divmod(bit, 3)
        frame[24 * row : 24 * row + 24, 40 + 40 * column : 80 + 40 * column] = 255 if index >> bit & 1 else 0
    return frame


def decoded(frame: U8) -> int:
    """The index that a frame of any size shows."""
    height, width = frame.shape[:2]
    fields = [(round((24 * (b // 3) + 12) / 96 * height), round((60 + 40 * (b % 3)) / 160 * width)) for b in range(12)]
    return sum(int(frame[y, x].mean() > 128) << bit for bit, (y, x) in enumerate(fields))


def write_clip(path: Path, frames: int, **options: Any) -> Path:
    return write_video(path, [coded(index) for index in range(frames)], **options)


def rows_of(frames: Iterable[int], name: str = "person", confidence: float = 0.9) -> list[Row]:
    return [(frame, name, confidence, 0, 0, 10, 20) for frame in frames]


def write_table(path: Path, rows: Iterable[Row], header: Row = HEADER) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def task(**changes: Any) -> FrameTask:
    """A task of eight chunks, of which 6, 7 and 8 are for training, validation and tests, as N1's."""
    given: dict[str, Any] = {"name": "clip", "object": "person", "split": Split(8, (6,), (7,), (8,))}
    return FrameTask(**(given | changes))
