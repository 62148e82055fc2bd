"""Fonts: the faces of a game, and their glyphs rasterised to masks."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from textgen.assets import font_file
from textgen.assets.catalogue import load_catalogue, resolve_asset
from textgen.assets.font_file import FONT_ERRORS, Location
from textgen.common.array_types import F32, U8
from textgen.common.characters import name_character, name_characters
from textgen.common.errors import UserError
from textgen.kernels.glyphs import SCALE
from textgen.spec.characters import is_blank

T = TypeVar("T")

SUFFIXES = (".ttf", ".otf")
INSTANCES = 6  # of a variable font, along the axes that a game gives
MAX_GLYPH_PIXELS = 1 << 26  # at SCALE times the size: damaged outlines can be millions of pixels wide
MAX_SUGGESTIONS = 6  # families of the catalogue that a message names


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


EMPTY_GLYPH = Glyph(np.zeros((0, 0), np.uint8), np.zeros((0, 0), np.uint8), 0, 0, 0)


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
    _remapped: bytes | None = field(default=None, repr=False)  # the file with another character map, if it needs one

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
        if is_blank(character):
            return EMPTY_GLYPH
        try:
            font = _open_font(self.path, self.location, round(size * SCALE), self._remapped)
            return _draw_glyph(font, character, round(outline * SCALE), slant)
        except (OSError, ValueError, NotImplementedError, MemoryError) as error:
            name = name_character(character)
            raise UserError(f"font {self.path} cannot draw {name}: {error}; use another") from None


def open_face(path: Path, characters: frozenset[str], location: Location = (), features: tuple[str, ...] = ()) -> Face:
    """The face in a font file, with the OpenType `features` that it has.

    Raises `UserError` for a file that is no font, or that lacks a glyph: it would be drawn as a box.
    """
    stat = path.stat()
    return _open_face(path, characters, location, features, (stat.st_size, stat.st_mtime_ns))


@lru_cache(maxsize=1024)  # outlines take 10 ms to read, and a sweep draws with the same fonts again and again
def _open_face(
    path: Path, characters: frozenset[str], location: Location, features: tuple[str, ...], version: tuple[int, int]
) -> Face:
    """`version`, the file's size and time, is only a key of the cache."""
    wanted, remapped = sorted(characters), None
    try:
        data = font_file.read_font(path)
        mapped = font_file.has_unicode_map(data)
        if features or not mapped:
            glyphs = font_file.find_glyphs(data, {*wanted, " "}, features)
            if not mapped or glyphs != font_file.find_glyphs(data, glyphs):
                remapped = data = font_file.with_character_map(data, glyphs)
        tops, units = font_file.measure_tops(data, wanted, location)
        advances, kerning, missing = font_file.measure_spacing(data, wanted, location)
        ImageFont.truetype(io.BytesIO(data), 16)
        empty = [c for c in wanted if c not in tops and not is_blank(c) and c not in missing]
        instead = font_file.describe_missing_outlines(data) if empty else ""
    except UserError:
        raise
    except FONT_ERRORS as error:
        raise UserError(f"font {path} cannot be read as TrueType or OpenType: {error}") from None
    if empty and instead:
        raise UserError(
            f"font {path.name} draws {name_characters(empty)} {instead}: use a font with outlines; "
            + _suggest_families(characters)
        )
    if lacking := sorted({*missing, *empty}):
        raise UserError(
            f"font {path.name} has no glyph for {name_characters(lacking)}, which the spec needs: use another; "
            + _suggest_families(characters)
        )
    top = max((tops[c] for c in tops if c.isdigit()), default=max(tops.values(), default=units))
    if top * 16 < units or not np.isfinite(advances).all() or np.abs(advances).max(initial=0) > 16:
        raise UserError(
            f"font {path.name} draws the spec's characters with almost no height or extreme width: use another"
        )
    return Face(path, location, advances, kerning, top / units, remapped)


def _suggest_families(characters: frozenset[str]) -> str:
    """Name families of the catalogue that have all of `characters`."""
    families = [
        family.name
        for family in load_catalogue("fonts").values()
        if all(_has_glyphs(path, characters) for path in family.paths)
    ]
    if not families:
        return "no family of the catalogue has them all: give a font file of your own"
    return f"{', '.join(families[:MAX_SUGGESTIONS])}{', …' * (len(families) > MAX_SUGGESTIONS)} of the catalogue can"


def _has_glyphs(path: Path, characters: frozenset[str]) -> bool:
    visible = {character for character in characters if not is_blank(character)}
    return len(font_file.find_glyphs(path.read_bytes(), visible)) == len(visible)


def load_faces(
    fonts: Iterable[str] | Mapping[str, float],
    characters: frozenset[str],
    axes: Mapping[str, tuple[float, float]] | None = None,
    features: tuple[str, ...] = (),
    skip_incomplete: bool = False,
) -> tuple[list[Face], NDArray[np.float64]]:
    """The faces of `fonts` and the chance of each, all with glyphs for all of `characters`.

    With `skip_incomplete`, fonts that lack some are left out, unless all do.

    `axes` are ranges of axes of variable fonts, along which these get instances. `features` are tags of OpenType
    features, such as zero, for the fonts that have them. An item's weight is divided evenly among its files, and a
    file's among its instances. Raises `UserError` for a font that cannot be used.
    """
    weights = dict(fonts) if isinstance(fonts, Mapping) else dict.fromkeys(fonts, 1.0)
    if not weights:
        raise UserError("game.text.fonts is empty: name at least one family, tag, file or folder")
    path_weights: dict[Path, float] = {}
    for item, weight in weights.items():
        paths = resolve_asset("fonts", item, SUFFIXES)
        for path in paths:
            path_weights[path] = path_weights.get(path, 0.0) + weight / len(paths)
    if skip_incomplete:
        complete = {path: weight for path, weight in path_weights.items() if _has_glyphs(path, characters)}
        path_weights = complete or path_weights
    if features:
        _check_features(features, path_weights)
    faces, weights_of_faces = [], []
    for path, weight in path_weights.items():
        locations = _spread_instances(path, axes) if axes else [()]
        faces += [open_face(path, characters, location, features) for location in locations]
        weights_of_faces += [weight / len(locations)] * len(locations)
    if axes and not any(face.location for face in faces):
        raise UserError(f"game.text.axes: no font of this game varies along {', '.join(axes)}: name a variable one")
    total = np.array(weights_of_faces).sum()
    return faces, np.array(weights_of_faces) / total


def _check_features(features: tuple[str, ...], paths: Iterable[Path]) -> None:
    known = set[str]().union(*(_read(font_file.find_features, path) for path in paths))
    if lacking := [feature for feature in features if feature not in known]:
        has = f"they have {', '.join(sorted(known))}" if known else "they have none"
        raise UserError(f"game.text.features: no font of this game has {', '.join(lacking)}; {has}")


def _read(read: Callable[[Path], T], path: Path) -> T:
    try:
        return read(path)
    except FONT_ERRORS as error:
        raise UserError(f"font {path} cannot be read as TrueType or OpenType: {error}") from None


def _spread_instances(path: Path, axes: Mapping[str, tuple[float, float]]) -> list[Location]:
    """Locations spread evenly over the ranges `axes`, cut to those of the font; [()] if it has none of the axes."""
    ranges = _read(font_file.find_axes, path)
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


@lru_cache(maxsize=8)
def _open_font(path: Path, location: Location, px: int, remapped: bytes | None) -> ImageFont.FreeTypeFont:
    # Layout.BASIC: the other engine is a system library, which is not always installed.
    source = str(path) if remapped is None else io.BytesIO(remapped)
    font = ImageFont.truetype(source, px, layout_engine=ImageFont.Layout.BASIC)
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
        return EMPTY_GLYPH
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
