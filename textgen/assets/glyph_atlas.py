"""The glyph atlas: every letter in every face, height, outline and slant that a game draws, at sixteen positions within
a pixel, so that compiled code sets text by adding bytes."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from textgen.assets.fonts import Face
from textgen.common.arrays import F32
from textgen.kernels.glyphs import SCALE, GlyphTable, downsample, missing_keys
from textgen.schema.game import Text

MAX_BYTES = 96 << 20  # of masks; a fuller atlas is emptied and filled anew
MAX_SLOTS = 24 << 20  # of the table, 4 bytes each
HEIGHTS, STROKES, SLANTS = 24, 6, 5  # levels of each at most


class StyleLevels(NamedTuple):
    """The values between which a style chooses evenly: heights and outline widths in pixels, slants in degrees.

    `strokes[0]` is 0, no outline.
    """

    heights: F32
    strokes: F32
    slants: F32


def style_levels(text: Text, faces: int, characters: int) -> StyleLevels:
    """Heights in steps of half a pixel, outlines of a quarter, or wider where there would be too many."""
    strokes = _levels(text.outline.width, 1 / SCALE, STROKES - 1) if text.outline else []
    slants = _levels(text.slant, 2.0, SLANTS)
    each = faces * max(characters, 1) * (len(strokes) + 1) * len(slants)
    heights = _levels(text.height, 0.5, max(2, min(HEIGHTS, MAX_SLOTS // each)))
    return StyleLevels(*(np.array(values, np.float32) for values in (heights, [0.0, *strokes], slants)))


def _levels(bounds: tuple[float, float], step: float, most: int) -> Sequence[float]:
    low, high = bounds
    count = min(round((high - low) / step) + 1, most)
    return [float(value) for value in np.linspace(low, high, max(count, 1 if low == high else 2))]


class GlyphAtlas:
    """Slots are filled when a text first needs them. Threads may share an atlas: what `metrics` has returned stays."""

    def __init__(self, faces: Sequence[Face], levels: StyleLevels, alphabet: str):
        self.faces, self.levels, self.alphabet = faces, levels, alphabet
        shape = (len(faces), *(len(values) for values in levels), len(alphabet))
        self._shape = shape
        self._lock = threading.Lock()
        self._empty()

    def _empty(self) -> None:
        # New arrays, and as well where one grows: other threads may still read the old ones.
        self._slots = np.full(int(np.prod(self._shape)), -1, np.int32)
        self._count, self._used = 0, 0
        self._table = np.zeros((256, 9), np.int32)
        self._pixels = np.zeros(1 << 20, np.uint8)

    def metrics(self, keys: NDArray[np.int64]) -> GlyphTable:
        """What the texts of a batch need: `keys` of any shape, -1 for no character."""
        with self._lock:
            missing = missing_keys(keys.ravel(), self._slots)
            if len(missing):
                if self._used > MAX_BYTES:
                    self._empty()
                    missing = missing_keys(keys.ravel(), self._slots)
                for key in np.unique(missing).tolist():  # in the order of faces and heights: a font is opened once
                    self._add(key)
            return GlyphTable(self._slots, self._table, self._pixels)

    def _add(self, key: int) -> None:
        face, height, stroke, slant, character = (int(i) for i in np.unravel_index(key, self._shape))
        chosen, outlined = self.faces[face], float(self.levels.strokes[stroke])
        glyph = chosen.glyph(
            self.alphabet[character],
            chosen.pixels_per_em(float(self.levels.heights[height])),
            outlined,
            float(self.levels.slants[slant]),
        )
        h, w = glyph.fill.shape
        mask_h, mask_w = ((side + 2 * SCALE - 2) // SCALE for side in (h, w))  # at the least favourable position
        kinds = [glyph.fill, glyph.outer] if outlined else [glyph.fill]
        size = SCALE * SCALE * mask_h * mask_w
        while self._used + len(kinds) * size > len(self._pixels):
            self._pixels = np.concatenate([self._pixels, np.zeros_like(self._pixels)])
        if self._count == len(self._table):
            self._table = np.concatenate([self._table, np.zeros_like(self._table)])
        offsets = []
        for mask in kinds:
            offsets.append(self._used)
            downsample(np.ascontiguousarray(mask), mask_h, mask_w, self._pixels[self._used : self._used + size])
            self._used += size
        self._table[self._count] = (
            glyph.left,
            glyph.top,
            h,
            w,
            glyph.fill_height,
            offsets[0],
            offsets[-1],
            mask_h,
            mask_w,
        )
        self._slots[key] = self._count
        self._count += 1
