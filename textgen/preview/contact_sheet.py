"""The contact sheet: one picture with a titled row of crops for every class."""

from __future__ import annotations

import io
from collections.abc import Sequence
from operator import mul
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from textgen.assets.font_file import find_glyphs
from textgen.common.array_types import U8
from textgen.common.errors import UserError

GAP = 3  # pixels between crops
TITLE_SIZE, TITLE_WIDTH = 12, 16  # pixels; the width of a title at most, in such sizes
TEXT, BACKGROUND = (220, 220, 220), (24, 24, 24)
LINE_WIDTH = 4000  # pixels: crops of a row that need more are in several lines
MAX_PIXELS = 300_000_000  # about a gigabyte of memory


def draw_contact_sheet(rows: Sequence[tuple[str, Sequence[U8]]], zoom: int, fonts: Sequence[Path] = ()) -> Image.Image:
    """Draw rows of a title and crops, uint8 (H, W, 3) each, enlarged `zoom` times.

    Crops of a row have one width; where they need more than `LINE_WIDTH` pixels they are in several lines. Titles are
    cut in the middle where they are long; `fonts` are font files for characters that the default font lacks.
    Raises UserError if the picture would have more than `MAX_PIXELS` pixels.
    """
    height = max(crop.shape[0] for _, crops in rows for crop in crops) * zoom + GAP
    widths = [crops[0].shape[1] * zoom + GAP for _, crops in rows]
    lines = [-(-len(crops) * width // LINE_WIDTH) for (_, crops), width in zip(rows, widths, strict=True)]
    columns = [-(-len(crops) // count) for (_, crops), count in zip(rows, lines, strict=True)]
    text_size = max(TITLE_SIZE, min(TITLE_SIZE // 2 * zoom, height - GAP))  # readable where the sheet is scaled down
    titles = [_fit_title(title, text_size, fonts) for title, _ in rows]
    margin = GAP + max(int(np.ceil(font.getlength(title))) for title, font in titles) + 2 * GAP
    size = margin + max(map(mul, columns, widths)), sum(lines) * height + GAP
    if size[0] * size[1] > MAX_PIXELS:
        raise UserError(f"the contact sheet would have {size[0]}×{size[1]} pixels: make each or zoom smaller")
    page = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(page)
    y = GAP
    for (_, crops), (title, font), count, per_line in zip(rows, titles, lines, columns, strict=True):
        draw.text((GAP, y + height // 2), title, TEXT, font, anchor="lm")
        for at, crop in enumerate(crops):
            place = margin + at % per_line * (crop.shape[1] * zoom + GAP), y + at // per_line * height
            page.paste(Image.fromarray(np.kron(crop, np.ones((zoom, zoom, 1), np.uint8))), place)
        y += count * height
    return page


def _fit_title(title: str, size: int, fonts: Sequence[Path]) -> tuple[str, ImageFont.FreeTypeFont]:
    """A title as it is drawn, and the first font that has all its characters, the default one first.

    Where none has, characters are given by their code point.
    """
    default = ImageFont.load_default(size)
    assert isinstance(default, ImageFont.FreeTypeFont)  # what Pillow with FreeType returns
    assert isinstance(default.path, io.BytesIO)
    characters = set(title)
    known = find_glyphs(default.path.getvalue(), characters)
    font = default
    if characters - known.keys():
        others = (path for path in fonts if len(find_glyphs(path.read_bytes(), characters)) == len(characters))
        if path := next(others, None):
            font = ImageFont.truetype(path, size)
        else:
            title = "".join(c if c in known else f"U+{ord(c):04X}" for c in title)
    shown, kept = title, len(title)
    while font.getlength(shown) > TITLE_WIDTH * size and kept > 1:
        kept -= 1
        shown = f"{title[: (kept + 1) // 2]}...{title[len(title) - kept // 2 :]}"
    return shown, font
