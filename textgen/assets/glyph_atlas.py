"""The glyph atlas: masks of every letter in every face, height, outline and slant of a game, made when first needed.

Each glyph has sixteen masks, one per quarter-pixel position, so compiled code draws text by adding bytes.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from textgen.assets.fonts import Face
from textgen.common.array_types import F32
from textgen.kernels.glyphs import SCALE, GlyphTable, downsample, find_missing_keys
from textgen.schema.game import Text

MAX_BYTES = 384 << 20  # of masks; an atlas with more is emptied
MAX_KEYS = 24 << 20  # 4 bytes each
MAX_HEIGHTS, MAX_STROKES, MAX_SLANTS = 24, 6, 5  # levels


class StyleLevels(NamedTuple):
    """The values that a style can have, all equally likely: heights and outline widths in pixels, slants in degrees.

    `strokes[0]` is 0, no outline. `sizes` are the factors of a height that parts of a text have; the first is 1.
    """

    heights: F32
    sizes: F32
    strokes: F32
    slants: F32


def build_style_levels(text: Text, faces: int, characters: int) -> StyleLevels:
    """Steps of half a pixel for heights and a quarter for outlines, or wider ones if there would be too many levels.

    Of `text.variants`, most are heights.
    """
    max_strokes, max_slants = (MAX_STROKES - 1, MAX_SLANTS) if text.variants is None else (2, 2)
    strokes = _spread_levels(text.outline.width, 1 / SCALE, max_strokes) if text.outline else []
    slants = _spread_levels(text.slant, 2.0, max_slants)
    sizes = [1.0, *sorted({part.size for part in text.parts.values() if not part.icon} - {1.0})]
    keys_per_height = len(sizes) * faces * max(characters, 1) * (len(strokes) + 1) * len(slants)
    most = MAX_HEIGHTS if text.variants is None else text.variants // ((len(strokes) + 1) * len(slants))
    heights = _spread_levels(text.height, 0.5, max(2, min(MAX_HEIGHTS, most, MAX_KEYS // keys_per_height)))
    return StyleLevels(*(np.array(values, np.float32) for values in (heights, sizes, [0.0, *strokes], slants)))


def _spread_levels(bounds: tuple[float, float], step: float, max_count: int) -> Sequence[float]:
    low, high = bounds
    count = min(round((high - low) / step) + 1, max_count)
    return [float(value) for value in np.linspace(low, high, max(count, 1 if low == high else 2))]


class GlyphAtlas:
    """A cache of glyph masks. Threads may share it: a table that `get_glyphs` has returned is never changed."""

    def __init__(self, faces: Sequence[Face], levels: StyleLevels, alphabet: str):
        self.faces, self.levels, self.alphabet = faces, levels, alphabet
        self._shape = (
            *(len(faces), len(levels.sizes), len(levels.heights), len(levels.strokes), len(levels.slants)),
            len(alphabet),
        )
        self._lock = threading.Lock()
        self._empty()

    def _empty(self) -> None:
        # New arrays, here and where one grows: other threads may still read the old ones.
        self._rows = np.full(int(np.prod(self._shape)), -1, np.int32)
        self._count, self._used = 0, 0
        self._metrics = np.zeros((256, 9), np.int32)
        self._pixels = np.zeros(1 << 20, np.uint8)

    def get_glyphs(self, keys: NDArray[np.int64]) -> GlyphTable:
        """A table with the glyphs of `keys`, an array of any shape, where -1 is no character."""
        with self._lock:
            missing = find_missing_keys(keys.ravel(), self._rows)
            if len(missing):
                if self._used > MAX_BYTES:
                    self._empty()
                    missing = find_missing_keys(keys.ravel(), self._rows)
                for key in np.unique(missing).tolist():  # sorted by face and height: each font is opened once
                    self._add(key)
            return GlyphTable(self._rows, self._metrics, self._pixels)

    def _add(self, key: int) -> None:
        face, size_level, height, stroke, slant, character = (int(i) for i in np.unravel_index(key, self._shape))
        size = self.faces[face].pixels_per_em(float(self.levels.heights[height])) * float(self.levels.sizes[size_level])
        outline, angle = float(self.levels.strokes[stroke]), float(self.levels.slants[slant])
        glyph = self.faces[face].draw_glyph(self.alphabet[character], size, outline, angle)
        h, w = glyph.fill.shape
        mask_h, mask_w = ((side + 2 * SCALE - 2) // SCALE for side in (h, w))  # enough for every position
        masks = [glyph.fill, glyph.outer] if outline else [glyph.fill]
        mask_bytes = SCALE * SCALE * mask_h * mask_w
        while self._used + len(masks) * mask_bytes > len(self._pixels):
            self._pixels = np.concatenate([self._pixels, np.zeros_like(self._pixels)])
        if self._count == len(self._metrics):
            self._metrics = np.concatenate([self._metrics, np.zeros_like(self._metrics)])
        offsets = []
        for mask in masks:
            offsets.append(self._used)
            downsample(np.ascontiguousarray(mask), mask_h, mask_w, self._pixels[self._used : self._used + mask_bytes])
            self._used += mask_bytes
        self._metrics[self._count] = (
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
        self._rows[key] = self._count
        self._count += 1
