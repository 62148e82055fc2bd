"""Fonts: the faces of a game, their advances and kerning, and glyphs rasterised to masks."""

from __future__ import annotations

import logging
import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import uharfbuzz
from fontTools.pens.boundsPen import BoundsPen
from fontTools.ttLib import TTFont, TTLibError
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from textgen.assets.catalogue import resolve_asset
from textgen.common.array_types import F32, U8
from textgen.common.errors import UserError
from textgen.kernels.glyphs import SCALE

SUFFIXES = (".ttf", ".otf")
INSTANCES = 6  # of a variable font, along the axes that a game gives
FONT_ERRORS = (  # that fontTools, HarfBuzz and Pillow raise for damaged files
    *(TTLibError, struct.error, OSError, LookupError, AssertionError, ValueError, TypeError, AttributeError),
    *(ArithmeticError, RecursionError, NotImplementedError, MemoryError),
)
MAX_FONT_BYTES = 32 << 20
MAX_CODES = 0x110000  # in the ranges of a character map: the number of code points in Unicode
MAX_GLYPH_PIXELS = 1 << 26  # at SCALE times the size: damaged outlines can be millions of pixels wide
SIGNATURES = (b"\x00\x01\x00\x00", b"true", b"OTTO")

logging.getLogger("fontTools").setLevel(logging.CRITICAL)  # it logs damage, which our error reports already

Location = tuple[tuple[str, float], ...]  # an instance of a variable font: axes and values, in the font's order


class Glyph(NamedTuple):
    """Coverage, uint8 (h, w), of the fill and of fill with outline, cropped to the ink, at SCALE times the size.

    In pixels of that size, `left` and `top` are the corner's position from the pen on the baseline, and `fill_height`
    is the height of the fill alone.
    """

    fill: U8
    outer: U8
    left: int
    top: int
    fill_height: int


@dataclass(frozen=True, eq=False)
class Face:
    """A font file, or an instance of a variable one, that has glyphs for all characters of a game.

    `advances` (c,) and `kerning` (c, c) are in ems, for the characters in sorted order.
    """

    path: Path
    location: Location
    advances: F32 = field(repr=False)
    kerning: F32 = field(repr=False)
    _digit_height: float = field(repr=False)  # in ems

    @property
    def name(self) -> str:
        """The name of the file, and the values of the axes if it is an instance."""
        return " ".join([self.path.stem, *(f"{axis}={value:g}" for axis, value in self.location)])

    def pixels_per_em(self, height: float) -> float:
        """The font size at which the tallest digit (or glyph, if there are no digits) is `height` pixels high."""
        return height / self._digit_height

    def draw_glyph(self, character: str, size: float, outline: float = 0.0, slant: float = 0.0) -> Glyph:
        """Rasterise a character: `size` in pixels per em, width of the `outline` in pixels, `slant` in degrees.

        Raises `UserError` for damage that FreeType detects only here.
        """
        try:
            font = _open_font(self.path, self.location, round(size * SCALE))
            return _draw_glyph(font, character, round(outline * SCALE), slant)
        except (OSError, ValueError, NotImplementedError, MemoryError) as error:
            raise UserError(f"font {self.path} cannot draw {character!r}: {error}; use another") from None


def open_face(path: Path, characters: frozenset[str], location: Location = ()) -> Face:
    """The face in a font file.

    Raises `UserError` for a file that is no font, or that lacks a glyph: it would be drawn as a box.
    """
    stat = path.stat()
    return _open_face(path, characters, location, (stat.st_size, stat.st_mtime_ns))


@lru_cache(maxsize=1024)  # outlines take 10 ms to read, and a sweep draws with the same fonts again and again
def _open_face(path: Path, characters: frozenset[str], location: Location, version: tuple[int, int]) -> Face:
    """`version`, the file's size and time, is only a key of the cache."""
    _check_container(path)
    wanted = sorted(characters)
    try:
        tops, units = _measure_tops(path, wanted, dict(location))
        advances, kerning = _measure_spacing(path, wanted, location)
        ImageFont.truetype(str(path), 16)
    except FONT_ERRORS as error:
        raise UserError(f"font {path} cannot be read as TrueType or OpenType: {error}") from None
    missing = [c for c in wanted if c not in tops and not c.isspace()]
    if missing:
        raise UserError(f"font {path.name} has no glyph for {' '.join(missing)}, which the spec needs: use another")
    top = max((tops[c] for c in tops if c.isdigit()), default=max(tops.values(), default=units))
    if top * 16 < units or not np.isfinite(advances).all() or np.abs(advances).max(initial=0) > 16:
        raise UserError(
            f"font {path.name} draws the spec's characters with almost no height or extreme width: use another"
        )
    return Face(path, location, advances, kerning, top / units)


def load_faces(
    fonts: Iterable[str] | Mapping[str, float],
    characters: frozenset[str],
    axes: Mapping[str, tuple[float, float]] | None = None,
) -> tuple[list[Face], NDArray[np.float64]]:
    """The faces of `fonts` and the chance of each, all with glyphs for all of `characters`.

    `axes` are ranges of axes of variable fonts, along which these get instances. An item's weight is divided evenly
    among its files, and a file's among its instances. Raises `UserError` for a font that cannot be used.
    """
    weights = dict(fonts) if isinstance(fonts, Mapping) else dict.fromkeys(fonts, 1.0)
    if not weights:
        raise UserError("game.text.fonts is empty: name at least one family, tag, file or folder")
    path_weights: dict[Path, float] = {}
    for item, weight in weights.items():
        paths = resolve_asset("fonts", item, SUFFIXES)
        for path in paths:
            path_weights[path] = path_weights.get(path, 0.0) + weight / len(paths)
    faces, weights_of_faces = [], []
    for path, weight in path_weights.items():
        locations = _spread_instances(path, axes) if axes else [()]
        faces += [open_face(path, characters, location) for location in locations]
        weights_of_faces += [weight / len(locations)] * len(locations)
    if axes and not any(face.location for face in faces):
        raise UserError(f"game.text.axes: no font of this game varies along {', '.join(axes)}: name a variable one")
    total = np.array(weights_of_faces).sum()
    return faces, np.array(weights_of_faces) / total


def _check_container(path: Path) -> None:
    if path.stat().st_size > MAX_FONT_BYTES:
        raise UserError(f"font {path} is larger than {MAX_FONT_BYTES >> 20} MB; give a smaller one")
    with path.open("rb") as file:
        if file.read(4) not in SIGNATURES:  # compressed containers can unpack to gigabytes
            raise UserError(f"font {path} is no TrueType or OpenType file: convert it to .ttf or .otf")


def _spread_instances(path: Path, axes: Mapping[str, tuple[float, float]]) -> list[Location]:
    """Locations spread evenly over the ranges `axes`, cut to those of the font; [()] if it has none of the axes."""
    _check_container(path)
    try:
        with TTFont(path, lazy=True) as font:
            own = font["fvar"].axes if "fvar" in font else []
            ranges = [(axis.axisTag, axis.minValue, axis.defaultValue, axis.maxValue) for axis in own]
    except FONT_ERRORS as error:
        raise UserError(f"font {path} cannot be read as TrueType or OpenType: {error}") from None
    if not any(tag in axes for tag, *_ in ranges):
        return [()]
    locations = []
    for number in range(INSTANCES):
        location, base = [], 0
        for tag, lowest, default, highest in ranges:
            value = default
            if tag in axes:
                # Even steps on the first axis, van der Corput sequences on the others: no two axes are correlated.
                share = number / (INSTANCES - 1) if base == 0 else _van_der_corput(number + 1, base + 1)
                low, high = (min(max(end, lowest), highest) for end in axes[tag])
                value, base = low + share * (high - low), base + 1
            location.append((tag, float(value)))
        locations.append(tuple(location))
    return locations


def _van_der_corput(number: int, base: int) -> float:
    value, weight = 0.0, 1.0
    while number:
        number, digit = divmod(number, base)
        weight /= base
        value += digit * weight
    return value


def _measure_tops(path: Path, characters: Iterable[str], location: dict[str, float]) -> tuple[dict[str, float], float]:
    """The height above the baseline of each character that has ink, in font units, and the font units per em."""
    drawn = uharfbuzz.Font(uharfbuzz.Face(uharfbuzz.Blob(path.read_bytes())))
    if location:
        drawn.set_variations(location)
    with TTFont(path, lazy=True) as font:
        if "cmap" in font:
            _check_character_map(font.reader["cmap"])
        names, glyphs = font.getBestCmap() or {}, font.getGlyphSet(location=location or None)
        tops = {}
        for character in characters:
            if ord(character) in names and _has_ink(drawn, character):
                pen = BoundsPen(glyphs)
                glyphs[names[ord(character)]].draw(pen)
                if pen.bounds:
                    tops[character] = float(pen.bounds[3])
        return tops, float(font["head"].unitsPerEm)


def _has_ink(font: uharfbuzz.Font, character: str) -> bool:
    """Whether HarfBuzz draws anything for a character.

    It gives up on composite glyphs of thousands of parts, in damaged or malicious files, with which fontTools and
    FreeType would take hours.
    """
    number = font.get_nominal_glyph(ord(character))
    pen = BoundsPen(None)
    if number is not None:
        font.draw_glyph_with_pen(number, pen)
    return pen.bounds is not None


def _check_character_map(cmap: bytes) -> None:
    """Refuse a map with more characters than Unicode has: fontTools would expand it to gigabytes."""
    for number in range(struct.unpack_from(">H", cmap, 2)[0]):
        at = struct.unpack_from(">I", cmap, 8 + 8 * number)[0]
        kind, starts, ends = struct.unpack_from(">H", cmap, at)[0], np.zeros(0, ">u4"), np.zeros(0, ">u4")
        if kind == 4:
            count = struct.unpack_from(">H", cmap, at + 6)[0] // 2
            ends = np.frombuffer(cmap[at + 14 : at + 14 + 2 * count], ">u2")
            starts = np.frombuffer(cmap[at + 16 + 2 * count : at + 16 + 4 * count], ">u2")
        elif kind in (12, 13):
            count = min(struct.unpack_from(">I", cmap, at + 12)[0], (len(cmap) - at - 16) // 12)
            groups = np.frombuffer(cmap[at + 16 : at + 16 + 12 * count], ">u4").reshape(-1, 3)
            starts, ends = groups[:, 0], groups[:, 1]
        if int(np.maximum(ends.astype(np.int64) + 1 - starts, 0).sum()) > MAX_CODES:
            raise TTLibError("its character map holds more characters than there are")


def _measure_spacing(path: Path, characters: list[str], location: Location) -> tuple[F32, F32]:
    """Advance of each character (c,) and kerning of each pair (c, c), both in ems, as HarfBuzz places them."""
    face = uharfbuzz.Face(uharfbuzz.Blob(path.read_bytes()))
    font = uharfbuzz.Font(face)
    if location:
        font.set_variations(dict(location))

    def shape_text(text: str, kern: bool) -> NDArray[np.float64]:
        buffer = uharfbuzz.Buffer()
        buffer.add_str(text)
        buffer.guess_segment_properties()
        buffer.direction, buffer.language = "ltr", "en"  # not the language of the current locale
        # Glyphs are drawn one by one, so without substitutions.
        uharfbuzz.shape(font, buffer, {"kern": kern, "liga": False, "clig": False, "calt": False, "rlig": False})
        return np.array([position.x_advance for position in buffer.glyph_positions], np.float64)

    alone = np.array([shape_text(character, False).sum() for character in characters])
    pairs = np.zeros((len(characters), len(characters)))
    for number, first in enumerate(characters):
        row = shape_text("".join(first + second for second in characters), True)
        if len(row) == 2 * len(characters):  # otherwise marks were combined with letters, which are then not kerned
            pairs[number] = row[::2] - alone[number]
    return (alone / face.upem).astype(np.float32), (pairs / face.upem).astype(np.float32)


@lru_cache(maxsize=8)
def _open_font(path: Path, location: Location, px: int) -> ImageFont.FreeTypeFont:
    # Layout.BASIC: the other engine is a system library, which is not always installed.
    font = ImageFont.truetype(str(path), px, layout_engine=ImageFont.Layout.BASIC)
    if location:
        font.set_variation_by_axes([value for _, value in location])
    return font


def _draw_glyph(font: ImageFont.FreeTypeFont, character: str, stroke: int, slant: float) -> Glyph:
    left, top, right, bottom = (int(v) for v in font.getbbox(character, anchor="ls", stroke_width=stroke))
    shape = (max(right - left, 0), max(bottom - top, 0))
    if max(*shape, 1) ** 2 > MAX_GLYPH_PIXELS:
        raise ValueError(f"it would be {shape[0] / SCALE:g}×{shape[1] / SCALE:g} pixels large")
    masks = []
    for width in sorted({0, stroke}):
        mask = Image.new("L", shape)
        if mask.size[0] and mask.size[1]:
            ImageDraw.Draw(mask).text((-left, -top), character, 255, font, anchor="ls", stroke_width=width)
        masks.append(np.asarray(mask))
    if slant and masks[0].size:
        masks, left = _shear(masks, left, top, slant)
    fill, outer = masks[0], masks[-1]
    rows, columns = np.flatnonzero(outer.any(1)), np.flatnonzero(outer.any(0))
    if not len(rows):
        return Glyph(np.zeros((0, 0), np.uint8), np.zeros((0, 0), np.uint8), 0, 0, 0)
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    filled = np.flatnonzero(fill.any(1))
    height = int(filled[-1] - filled[0]) + 1 if len(filled) else 0
    return Glyph(fill[box], outer[box], left + int(columns[0]), top + int(rows[0]), height)


def _shear(masks: list[U8], left: int, top: int, slant: float) -> tuple[list[U8], int]:
    """Shift rows right by tan(slant) per row above the baseline. Returns the masks and their new left."""
    h, w = masks[0].shape
    slope = math.tan(math.radians(slant))
    moves = (-slope * top, -slope * (top + h))  # of the first and last row; `top` is negative above the baseline
    more_left, more_right = math.floor(min(*moves, 0)), math.ceil(max(*moves, 0))
    to = np.array([[1, -slope, -slope * top - more_left], [0, 1, 0]], np.float64)
    size = (w + more_right - more_left, h)
    return [
        np.asarray(cv2.warpAffine(mask, to, size, flags=cv2.INTER_LINEAR), np.uint8) for mask in masks
    ], left + more_left
