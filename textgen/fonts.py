"""Fonts: which files a game may use, what they cover, and strings of them as coverage at four times the size."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
from fontTools.pens.boundsPen import BoundsPen
from fontTools.ttLib import TTFont, TTLibError
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from textgen.arrays import U8
from textgen.catalogue import resolve
from textgen.errors import UserError

SUFFIXES = (".ttf", ".otf")
SCALE = 4  # glyphs are drawn this much larger and averaged down: anti-aliasing, and positions on a quarter pixel
DAMAGE = (TTLibError, struct.error, OSError, LookupError, AssertionError, ValueError, TypeError, RecursionError)
MAX_FONT_BYTES = 32 << 20
SIGNATURES = (b"\x00\x01\x00\x00", b"true", b"OTTO")

logging.getLogger("fontTools").setLevel(logging.ERROR)  # its warnings of damage would stand beside our error


class Face:
    """One font file that can draw all of `characters`, sized by the height of their digits.

    Raises `UserError` for a file that is no font, and for one that lacks a glyph: it would be drawn as a box.
    """

    def __init__(self, path: Path, characters: frozenset[str]):
        self.path = path
        if path.stat().st_size > MAX_FONT_BYTES:
            raise UserError(f"font {path} is larger than {MAX_FONT_BYTES >> 20} MB; give a smaller one")
        with path.open("rb") as file:
            if file.read(4) not in SIGNATURES:  # compressed containers can unpack to gigabytes
                raise UserError(f"font {path} is no TrueType or OpenType file: convert it to .ttf or .otf")
        try:
            tops, self._units = _tops(path, characters)
            ImageFont.truetype(str(path), 16)
        except DAMAGE as error:
            raise UserError(f"font {path} cannot be read as TrueType or OpenType: {error}") from None
        missing = sorted(c for c in characters - tops.keys() if not c.isspace())
        if missing:
            raise UserError(f"font {path.name} has no glyph for {' '.join(missing)}, which the spec needs: use another")
        self._top = max((tops[c] for c in tops if c.isdigit()), default=max(tops.values(), default=self._units))
        if self._top * 16 < self._units:
            raise UserError(f"font {path.name} draws the spec's characters almost without height: use another")

    def pixels_per_em(self, height: float) -> float:
        """The size at which the tallest digit of the characters (without digits: the tallest glyph) has `height`."""
        return height * self._units / self._top

    def string(self, text: str, size: float, spacing: float, outline: float) -> tuple[U8, U8 | None]:
        """Coverage of `text` and of its outline, uint8 (h, w) at SCALE times the size, cropped to the ink.

        `size` is in pixels an em, `spacing` and `outline` (its width, 0 for none) in pixels of the crop. Both masks
        have one shape, that of the larger one. A text without ink gives masks of no pixels.
        """
        stroke = round(outline * SCALE)
        px, pen, placed = round(size * SCALE), 0.0, []
        for character in text:
            try:
                fill, outer, left, top, advance = _glyph(self.path, px, character, stroke)
            except OSError as error:  # FreeType sees some damage no sooner than here
                raise UserError(f"font {self.path} cannot draw {character!r}: {error}; use another") from None
            placed.append((round(pen) + left, top, fill, outer))
            pen += advance + spacing * SCALE
        placed = [p for p in placed if p[3].size]
        if not placed:
            return np.zeros((0, 0), np.uint8), None
        x0, y0 = min(p[0] for p in placed), min(p[1] for p in placed)
        x1 = max(p[0] + p[3].shape[1] for p in placed)
        y1 = max(p[1] + p[3].shape[0] for p in placed)
        fills, outers = np.zeros((2, y1 - y0, x1 - x0), np.uint8)
        for left, top, fill, outer in placed:
            window = np.s_[top - y0 : top - y0 + outer.shape[0], left - x0 : left - x0 + outer.shape[1]]
            np.maximum(fills[window], fill, out=fills[window])
            np.maximum(outers[window], outer, out=outers[window])
        return fills, outers if stroke else None


def _tops(path: Path, characters: Iterable[str]) -> tuple[dict[str, float], float]:
    """The height above the baseline of each character that the font has ink for, and the units of an em."""
    with TTFont(path, lazy=True) as font:
        names, glyphs = font.getBestCmap() or {}, font.getGlyphSet()
        tops = {}
        for character in characters:
            if ord(character) in names:
                pen = BoundsPen(glyphs)
                glyphs[names[ord(character)]].draw(pen)
                if pen.bounds:
                    tops[character] = float(pen.bounds[3])
        return tops, float(font["head"].unitsPerEm)


@lru_cache(maxsize=8)
def _font(path: Path, px: int) -> ImageFont.FreeTypeFont:
    # Layout.BASIC: the other engine is a system library that not every machine has, and it places glyphs elsewhere.
    return ImageFont.truetype(str(path), px, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=8192)
def _glyph(path: Path, px: int, character: str, stroke: int) -> tuple[U8, U8, int, int, float]:
    """Fill, fill with outline (same shape), left and top of the ink from the pen on the baseline, advance."""
    font = _font(path, px)
    left, top, right, bottom = (int(v) for v in font.getbbox(character, anchor="ls", stroke_width=stroke))
    shape = (max(right - left, 0), max(bottom - top, 0))
    masks = []
    for width in (0, stroke):
        mask = Image.new("L", shape)
        if mask.size[0] and mask.size[1]:
            ImageDraw.Draw(mask).text((-left, -top), character, 255, font, anchor="ls", stroke_width=width)
        masks.append(np.asarray(mask))
    fill, outer = masks
    ink = np.argwhere(outer)
    if not len(ink):
        return np.zeros((0, 0), np.uint8), np.zeros((0, 0), np.uint8), 0, 0, font.getlength(character)
    (y0, x0), (y1, x1) = ink.min(0), ink.max(0) + 1
    return fill[y0:y1, x0:x1], outer[y0:y1, x0:x1], left + int(x0), top + int(y0), font.getlength(character)


def faces_of(
    fonts: Iterable[str] | Mapping[str, float], characters: frozenset[str]
) -> tuple[list[Face], NDArray[np.float64]]:
    """The faces that `fonts` stands for and the chance of each, every one able to draw all of `characters`.

    An item's weight is shared evenly by its files. Raises `UserError` that names the font and the glyphs it lacks:
    a missing glyph would be drawn as a box.
    """
    weights = dict(fonts) if isinstance(fonts, Mapping) else dict.fromkeys(fonts, 1.0)
    if not weights:
        raise UserError("game.text.fonts is empty: name at least one family, tag, file or folder")
    chances: dict[Path, float] = {}
    for item, weight in weights.items():
        paths = resolve("fonts", item, SUFFIXES)
        for path in paths:
            chances[path] = chances.get(path, 0.0) + weight / len(paths)
    faces = [Face(path, characters) for path in chances]
    total = np.array(list(chances.values()))
    return faces, total / total.sum()
