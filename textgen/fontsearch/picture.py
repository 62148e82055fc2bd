"""A picture of a search: crops beside rendered ones, and the letters of the crops above those of the best fonts."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from textgen.assets.catalogue import load_catalogue
from textgen.common.array_types import U8
from textgen.fontsearch.search import Match, Shape, draw_shapes

MAX_MATCHES, MAX_SHAPES, MAX_CROPS = 10, 16, 10
CELL, GAP = (42, 50), 10  # height and width of a letter, and the space between what is drawn, in pixels
TITLE_WIDTH, TEXT_SIZE = 300, 15
CROP_WIDTH = 240  # of a crop in the picture
DARK, PALE = (24, 24, 24), (200, 200, 200)


def draw_comparison(
    crops: Sequence[U8], rendered: Sequence[U8], shapes: Sequence[Shape], matches: Sequence[Match], height: float
) -> U8:
    """The picture, uint8 (H, W, 3). Crops are uint8 (h, w, 3) of one size, `height` that of their letters in pixels."""
    columns = [_stack("your crops", crops), _stack("drawn by this game", rendered)]
    table = _draw_table(shapes[:MAX_SHAPES], matches[:MAX_MATCHES], height)
    upper = _beside(columns)
    width = max(upper.shape[1], table.shape[1])
    return np.vstack([_pad(part, part.shape[0], width) for part in (upper, table)])


def _stack(title: str, crops: Sequence[U8]) -> U8:
    """Some crops below a title, enlarged to CROP_WIDTH, in two columns."""
    chosen = [crops[round(k)] for k in np.linspace(0, len(crops) - 1, min(len(crops), MAX_CROPS))] if crops else []
    factor = max(1, CROP_WIDTH // crops[0].shape[1]) if crops else 1
    large = [np.asarray(crop.repeat(factor, 0).repeat(factor, 1), np.uint8) for crop in chosen]
    rows = [_beside(large[k : k + 2], 4) for k in range(0, len(large), 2)]
    width = max([row.shape[1] for row in rows] + [CROP_WIDTH])
    parts = [_write(title, width), *(_pad(row, row.shape[0] + 4, width) for row in rows)]
    return np.vstack(parts)


def _draw_table(shapes: Sequence[Shape], matches: Sequence[Match], height: float) -> U8:
    """A row of the letters in the crops, and one for each font with its name and score."""
    head = [_write("letters in your crops", TITLE_WIDTH), *(_draw_letter(shape.image) for shape in shapes)]
    rows = [_beside(head, 0)]
    for match in matches:
        wanted = "".join(sorted(set(match.characters[: len(shapes)])))
        glyphs = dict(zip(wanted, draw_shapes(match.face, wanted, height)[0], strict=True))
        letters = [_draw_letter(glyphs[character]) for character in match.characters[: len(shapes)]]
        rows.append(_beside([_write(f"{match.score:.3f}  {match.candidate.title}", TITLE_WIDTH), *letters], 0))
    width = max(row.shape[1] for row in rows)
    return np.vstack([_pad(row, row.shape[0] + 2, width) for row in rows])


def _draw_letter(image: np.ndarray) -> U8:
    grey = np.clip(image * 231 + 24, 0, 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(cv2.resize(grey, CELL[::-1]), cv2.COLOR_GRAY2RGB), np.uint8)


def _write(text: str, width: int) -> U8:
    picture = Image.new("RGB", (width, CELL[0]), DARK)
    font = ImageFont.truetype(str(load_catalogue("fonts")["dejavu-sans"].paths[-1]), TEXT_SIZE)
    ImageDraw.Draw(picture).text((6, CELL[0] // 2), text, PALE, font, anchor="lm")
    return np.asarray(picture)


def _beside(parts: Sequence[U8], gap: int = GAP) -> U8:
    height = max(part.shape[0] for part in parts)
    return np.hstack([_pad(part, height, part.shape[1] + gap) for part in parts])


def _pad(part: U8, height: int, width: int) -> U8:
    padded = np.full((height, width, 3), DARK, np.uint8)
    padded[: part.shape[0], : part.shape[1]] = part
    return padded
