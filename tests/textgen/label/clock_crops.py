"""Crops of a drawn clock on a moving background, as textgen.cut writes them."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from conftest import ROOT
from PIL import Image, ImageDraw, ImageFont

from textgen.footage.index import COLUMNS, INDEX, IndexRow, crop_file, format_rows
from textgen.spec.parser import Spec

RATE = 10
SPEC = Spec.parse("M:SS", label="SS", fields={"M": "0..9", "S": "00..59"})
FONT = ImageFont.truetype(ROOT / "fonts" / "oswald" / "oswald-500.ttf", 24)


def draw_crop(text: str, at: int) -> Image.Image:
    """The crop of frame `at`: yellow text on a green gradient that moves."""
    ramp = (40 + 30 * np.sin(np.arange(88) / 9 + at / 5)).astype(np.uint8)
    picture = np.zeros((36, 88, 3), np.uint8)
    picture[..., 1] = ramp
    image = Image.fromarray(picture)
    ImageDraw.Draw(image).text((14, 0), text, "#ffe066", FONT)
    return image


def write_crops(folder: Path, texts: Sequence[str], regions: Sequence[str] = ("timer",)) -> list[str]:
    """Write the crops of regions that show the same, with their index; return the files of the first."""
    rows = [IndexRow(crop_file(name, at), name, at, at / RATE) for at in range(len(texts)) for name in regions]
    for row in rows:
        (folder / row.region).mkdir(parents=True, exist_ok=True)
        draw_crop(texts[row.frame], row.frame).save(folder / row.file)
    (folder / INDEX).write_text(",".join(COLUMNS) + "\n" + format_rows(rows), encoding="utf-8")
    return [row.file for row in rows if row.region == regions[0]]


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def countdown(first: int, frames: int) -> list[str]:
    """The texts of a clock that runs down from so many seconds."""
    seconds = [first - at // RATE for at in range(frames)]
    return [f"{second // 60}:{second % 60:02}" for second in seconds]
