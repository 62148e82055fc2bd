"""One font file: what is refused, which glyph each character has, and how HarfBuzz measures them.

A font maps characters to glyphs. Where its own map does not serve (symbol and Mac encodings, OpenType features), the
font is rewritten in memory with another one, because Pillow draws characters, not glyphs.
"""

from __future__ import annotations

import io
import logging
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import uharfbuzz
from fontTools.pens.boundsPen import BoundsPen
from fontTools.ttLib import TTFont, TTLibError
from fontTools.ttLib.tables._c_m_a_p import CmapSubtable
from numpy.typing import NDArray

from textgen.common.array_types import F32
from textgen.common.errors import UserError
from textgen.spec.characters import is_blank

FONT_ERRORS = (  # that fontTools, HarfBuzz and Pillow raise for damaged files
    *(TTLibError, struct.error, OSError, LookupError, AssertionError, ValueError, TypeError, AttributeError),
    *(ArithmeticError, RecursionError, NotImplementedError, MemoryError),
)
MAX_FONT_BYTES = 32 << 20
MAX_CODES = 0x110000  # in the ranges of a character map: the number of code points in Unicode
SIGNATURES = (b"\x00\x01\x00\x00", b"true", b"OTTO")
OTHER_SIGNATURES = {  # containers that unpack to gigabytes, or hold several fonts
    b"wOFF": "compressed (WOFF): unpack it to .ttf or .otf",
    b"wOF2": "compressed (WOFF2): unpack it to .ttf or .otf",
    b"ttcf": "a collection of fonts: extract the one that you mean as .ttf or .otf",
}
COLOUR_TABLES = ("CBDT", "sbix", "COLR", "SVG ")
BITMAP_TABLES = ("EBDT", "bdat")
LATIN = [chr(code) for code in range(0x20, 0x250)]
# Glyphs are drawn one by one, so no feature may combine them.
NO_COMBINATIONS = {"liga": False, "clig": False, "calt": False, "rlig": False}

Location = tuple[tuple[str, float], ...]  # an instance of a variable font: axes and values, in the font's order

logging.getLogger("fontTools").setLevel(logging.CRITICAL)  # it logs damage, which our error reports already


def read_font(path: Path) -> bytes:
    """The bytes of a font file. Raises `UserError` if it is too large, or no single TrueType or OpenType font."""
    if path.stat().st_size > MAX_FONT_BYTES:
        raise UserError(f"font {path} is larger than {MAX_FONT_BYTES >> 20} MB; give a smaller one")
    data = path.read_bytes()
    if data[:4] not in SIGNATURES:
        problem = OTHER_SIGNATURES.get(data[:4], "no TrueType or OpenType file: convert it to .ttf or .otf")
        raise UserError(f"font {path} is {problem}")
    with TTFont(io.BytesIO(data), lazy=True) as font:
        if "cmap" in font:
            _check_character_map(font.reader["cmap"])
    return data


def find_glyphs(data: bytes, characters: Iterable[str], features: Sequence[str] = ()) -> dict[str, int]:
    """The number of the glyph of each character that the font has, with OpenType `features` applied.

    Raises `UserError` for a feature that draws one character as several glyphs.
    """
    font = uharfbuzz.Font(uharfbuzz.Face(uharfbuzz.Blob(data)))
    glyphs = {c: number for c in characters if (number := font.get_nominal_glyph(ord(c)))}  # 0 is .notdef
    if not features:
        return glyphs
    for character in glyphs:
        infos = shape_text(font, character, dict.fromkeys(features, True)).glyph_infos
        if len(infos) != 1:
            raise UserError(f"game.text.features: {', '.join(features)} draws {character!r} as several glyphs")
        glyphs[character] = infos[0].codepoint
    return glyphs


def with_character_map(data: bytes, glyphs: Mapping[str, int]) -> bytes:
    """The font with a Unicode map in which these characters have these glyphs.

    Other characters keep theirs: FreeType's hinter measures letters of its own choice to align those that it draws.
    """
    with TTFont(io.BytesIO(data), lazy=True, recalcBBoxes=False, recalcTimestamp=False) as font:
        table = CmapSubtable.newSubtable(12)
        table.platformID, table.platEncID, table.language = 3, 10, 0
        known = font.getBestCmap() or {
            ord(character): font.getGlyphName(number) for character, number in find_glyphs(data, LATIN).items()
        }
        own = {ord(character): font.getGlyphName(number) for character, number in glyphs.items()}
        table.cmap = {**known, **own}
        font["cmap"].tables = [table]
        out = io.BytesIO()
        font.save(out, reorderTables=None)
    return out.getvalue()


def has_unicode_map(data: bytes) -> bool:
    """Whether all find characters by their code points: not so in symbol and Mac fonts.

    fontTools reads a map of format 10 as an empty one.
    """
    with TTFont(io.BytesIO(data), lazy=True) as font:
        return bool(font.getBestCmap())


def find_features(path: Path) -> set[str]:
    """The tags of the OpenType features that can replace glyphs."""
    with TTFont(io.BytesIO(read_font(path)), lazy=True) as font:
        features = font["GSUB"].table.FeatureList if "GSUB" in font else None
        return {record.FeatureTag for record in features.FeatureRecord} if features else set()


def find_axes(path: Path) -> list[tuple[str, float, float, float]]:
    """The axes of a variable font: tag, lowest, default and highest value."""
    with TTFont(io.BytesIO(read_font(path)), lazy=True) as font:
        axes = font["fvar"].axes if "fvar" in font else []
        return [(axis.axisTag, axis.minValue, axis.defaultValue, axis.maxValue) for axis in axes]


def describe_missing_outlines(data: bytes) -> str:
    """Why glyphs that a font has may draw nothing: "only as …", or "" if it has none but outlines."""
    with TTFont(io.BytesIO(data), lazy=True) as font:
        if any(tag in font for tag in COLOUR_TABLES):
            return "only as colour pictures"
        if any(tag in font for tag in BITMAP_TABLES):
            return "only as bitmaps"
    return ""


def measure_tops(data: bytes, characters: Iterable[str], location: Location) -> tuple[dict[str, float], float]:
    """The height above the baseline of each character that has ink, in font units, and the font units per em."""
    drawn = uharfbuzz.Font(uharfbuzz.Face(uharfbuzz.Blob(data)))
    if location:
        drawn.set_variations(dict(location))
    with TTFont(io.BytesIO(data), lazy=True) as font:
        names, glyphs = font.getBestCmap() or {}, font.getGlyphSet(location=dict(location) or None)
        tops = {}
        for character in characters:
            if ord(character) in names and not is_blank(character) and _has_ink(drawn, character):
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
    if number:
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


def shape_text(font: uharfbuzz.Font, text: str, features: Mapping[str, bool]) -> uharfbuzz.Buffer:
    """`text` as HarfBuzz shapes it from left to right, glyph by glyph."""
    buffer = uharfbuzz.Buffer()
    buffer.add_str(text)
    buffer.guess_segment_properties()
    buffer.direction, buffer.language = "ltr", "en"  # not the language of the current locale
    uharfbuzz.shape(font, buffer, {**NO_COMBINATIONS, **features})
    return buffer


def measure_spacing(data: bytes, characters: Sequence[str], location: Location) -> tuple[F32, F32, list[str]]:
    """Advance of each character (c,) and kerning of each pair (c, c), both in ems, as HarfBuzz places them.

    Also the characters that have no glyph. HarfBuzz replaces spaces that a font lacks by its U+0020, as wide as they
    are by Unicode's definition.
    """
    face = uharfbuzz.Face(uharfbuzz.Blob(data))
    font = uharfbuzz.Font(face)
    if location:
        font.set_variations(dict(location))

    def measure_advances(buffer: uharfbuzz.Buffer) -> NDArray[np.float64]:
        return np.array([position.x_advance for position in buffer.glyph_positions], np.float64)

    shaped = [shape_text(font, character, {"kern": False}) for character in characters]
    missing = [
        character
        for character, buffer in zip(characters, shaped, strict=True)
        if not buffer.glyph_infos or any(info.codepoint == 0 for info in buffer.glyph_infos)
    ]
    alone = np.array([measure_advances(buffer).sum() for buffer in shaped])
    pairs = np.zeros((len(characters), len(characters)))
    for number, first in enumerate(characters):
        row = measure_advances(shape_text(font, "".join(first + second for second in characters), {"kern": True}))
        if len(row) == 2 * len(characters):  # otherwise marks were combined with letters, which are then not kerned
            pairs[number] = row[::2] - alone[number]
    return (alone / face.upem).astype(np.float32), (pairs / face.upem).astype(np.float32), missing
