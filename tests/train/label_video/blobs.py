"""Clips with a red and a green square that come and go, and functions that find them, as a user would write them."""

import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from textgen.common.array_types import U8
from textgen.render.video_writer import open_video_writer
from train.label_video.settings import Settings

FRAME = (96, 160)  # height, width
SIDE = 24
COLORS = {"red": (220, 30, 30), "green": (30, 200, 30)}


def boxes_of(index: int) -> list[tuple[str, tuple[int, int, int, int]]]:
    """What is in a frame: names and boxes."""
    found = []
    if index // 7 % 3 == 1:
        left, top = 8 + index % 40, 10 + index % 13
        found.append(("red", (left, top, left + SIDE, top + SIDE)))
    if index // 11 % 4 == 2:
        left, top = 120 - index % 30, 60
        found.append(("green", (left, top, left + SIDE, top + SIDE)))
    return found


def write_clip(path: Path, count: int) -> Path:
    with open_video_writer(path, FRAME, rate=Fraction(25)) as writer:
        for index in range(count):
            frame = np.full((*FRAME, 3), 110, np.uint8)
            for name, (left, top, right, bottom) in boxes_of(index):
                frame[top:bottom, left:right] = COLORS[name]
            writer.write(frame)
    return path


def find_blobs(frames: list[U8]) -> list[list[tuple[Any, ...]]]:
    """A detector: the box around all pixels of a colour. The confidence is that of red 0.9, of green 0.6."""
    results = []
    for frame in frames:
        found = []
        for channel, (name, confidence) in enumerate((("red", 0.9), ("green", 0.6))):
            others = np.delete(frame, channel, 2).max(2).astype(int)
            rows, columns = np.nonzero(frame[..., channel].astype(int) - others > 60)
            if len(rows):
                box = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
                found.append((name, confidence, *map(float, box)))
        results.append(found)
    return results


def find_slowly(frames: list[U8]) -> list[list[tuple[Any, ...]]]:
    time.sleep(0.02 * len(frames))
    return find_blobs(frames)


def settings(**given: Any) -> Settings:
    """The settings of conf/label_video.yaml with `given` ones."""
    defaults: dict[str, Any] = {
        **{"detector": "blobs:find_blobs", "overwrite": False, "objects": None, "confidence": 0.25, "overlap": None},
        **{"region": None, "every": 1, "start": None, "end": None, "batch": 16, "names": None, "size": None},
        **{"pixels": None, "channels": None, "threads": 1},
    }
    return Settings(**{**defaults, **{key: str(v) if isinstance(v, Path) else v for key, v in given.items()}})
