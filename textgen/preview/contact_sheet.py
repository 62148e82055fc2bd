"""The contact sheet: one picture with a titled row of crops for every class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from textgen.common.array_types import U8
from textgen.common.errors import UserError

GAP = 3  # pixels between crops
TEXT, BACKGROUND = (220, 220, 220), (24, 24, 24)
MAX_PIXELS = 300_000_000  # about a gigabyte of memory


def draw_contact_sheet(rows: Sequence[tuple[str, Sequence[U8]]], zoom: int) -> Image.Image:
    """Draw rows of a title and crops, uint8 (H, W, 3) each, enlarged `zoom` times.

    Raises UserError if the picture would have more than `MAX_PIXELS` pixels.
    """
    font = ImageFont.load_default(12)
    margin = GAP + max(int(font.getlength(title)) for title, _ in rows) + 2 * GAP
    height = max(crop.shape[0] for _, crops in rows for crop in crops) * zoom + GAP
    width = max(sum(crop.shape[1] * zoom + GAP for crop in crops) for _, crops in rows)
    size = margin + width, len(rows) * height + GAP
    if size[0] * size[1] > MAX_PIXELS:
        raise UserError(f"the contact sheet would have {size[0]}×{size[1]} pixels: make each or zoom smaller")
    page = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(page)
    for number, (title, crops) in enumerate(rows):
        x, y = margin, GAP + number * height
        draw.text((GAP, y + height // 2), title, TEXT, font, anchor="lm")
        for crop in crops:
            page.paste(Image.fromarray(np.kron(crop, np.ones((zoom, zoom, 1), np.uint8))), (x, y))
            x += crop.shape[1] * zoom + GAP
    return page
