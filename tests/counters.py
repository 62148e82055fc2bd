"""A counter that is drawn as games do: fixed places for its characters, over a background that changes."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from textgen.common.array_types import U8
from textgen.footage.index import IndexRow, crop_file, format_rows

ROOT = Path(__file__).parents[1]
FONT = ImageFont.truetype(ROOT / "fonts/roboto-condensed/roboto-condensed-700.ttf", 30)
CELL, LEFT, HEIGHT = 20, 6, 44  # columns of a character, before the first one, and rows
RATE = 10.0  # crops a second


def draw(text: str, color: int) -> U8:
    """A crop of `text` in white on a flat colour, uint8 (HEIGHT, w, 3)."""
    picture = Image.new("RGB", (2 * LEFT + CELL * len(text), HEIGHT), (color,) * 3)
    for position, character in enumerate(text):
        place = LEFT + position * CELL + CELL / 2, HEIGHT / 2
        ImageDraw.Draw(picture).text(place, character, "white", FONT, anchor="mm")
    return np.asarray(picture)


def count_down(first: int, seconds: int) -> tuple[list[str], NDArray[np.float64]]:
    """The texts M:SS of a clock that counts down, and the times of its crops."""
    times = np.arange(round(seconds * RATE)) / RATE
    return [f"{value // 60}:{value % 60:02d}" for value in (first - times).astype(int)], times


def record(texts: Sequence[str], seed: int = 0) -> U8:
    """Crops of the texts over a colour that drifts slowly, uint8 (n, h, w, 3)."""
    steps = np.random.default_rng(seed).normal(0, 2, len(texts)).cumsum()
    return np.stack([draw(text, int(np.clip(60 + step, 10, 120))) for text, step in zip(texts, steps, strict=True)])


def write_crops(folder: Path, crops: U8, texts: Sequence[str], times: NDArray[np.float64]) -> Path:
    """Write a folder as textgen.cut and textgen.label do."""
    (folder / "timer").mkdir(parents=True)
    rows = [IndexRow(crop_file("timer", at), "timer", at, float(time)) for at, time in enumerate(times)]
    for row, crop in zip(rows, crops, strict=True):
        cv2.imwrite(str(folder / row.file), crop[..., ::-1])
    (folder / "index.csv").write_text("file,region,frame,time\n" + format_rows(rows))
    labels = [f"{row.file},{text}\n" for row, text in zip(rows, texts, strict=True) if text]
    (folder / "labels.csv").write_text("file,text\n" + "".join(labels))
    return folder
