"""Crops side by side: the contact sheet, a row a class, and strips for the page."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from textgen.common.arrays import U8
from textgen.common.errors import UserError

GAP = 3  # pixels between crops
INK, PAPER = (220, 220, 220), (24, 24, 24)
MAX_PIXELS = 300_000_000  # of a sheet, a gigabyte of memory


def sheet(rows: Sequence[tuple[str, Sequence[U8]]], zoom: int) -> Image.Image:
    """Rows of crops, uint8 (H, W, 3) each, with a title before every row. Pixels are `zoom` times as large."""
    font = ImageFont.load_default(12)
    margin = GAP + max(int(font.getlength(title)) for title, _ in rows) + 2 * GAP
    height = max(crop.shape[0] for _, crops in rows for crop in crops) * zoom + GAP
    width = max(sum(crop.shape[1] * zoom + GAP for crop in crops) for _, crops in rows)
    size = margin + width, len(rows) * height + GAP
    if size[0] * size[1] > MAX_PIXELS:
        raise UserError(f"the contact sheet would have {size[0]}×{size[1]} pixels: make each or zoom smaller")
    page = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(page)
    for number, (title, crops) in enumerate(rows):
        x, y = margin, GAP + number * height
        draw.text((GAP, y + height // 2), title, INK, font, anchor="lm")
        for crop in crops:
            page.paste(Image.fromarray(np.kron(crop, np.ones((zoom, zoom, 1), np.uint8))), (x, y))
            x += crop.shape[1] * zoom + GAP
    return page


def strip(crops: Sequence[U8]) -> bytes:
    """Crops uint8 (H, W, 3) of one size beside each other, as a PNG file.

    The outermost columns of each are there twice: a browser that scales the strip shows no pixel of its neighbour.
    """
    line = np.concatenate([np.pad(crop, ((0, 0), (1, 1), (0, 0)), "edge") for crop in crops], 1)
    buffer = io.BytesIO()
    Image.fromarray(line).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
