"""Glyph masks as compiled code takes them: the tables of the glyph atlas, how masks are made and how they are drawn."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from textgen.common.array_types import U8
from textgen.kernels.jit import compiled

SCALE = 4  # glyphs are rasterised this much larger and averaged down: anti-aliasing, and quarter-pixel positions
LEFT, TOP, INK_H, INK_W, FILL_H, FILL, OUTER, MASK_H, MASK_W = range(9)  # columns of GlyphTable.metrics


class GlyphTable(NamedTuple):
    """The glyphs of an atlas.

    Columns of `metrics` are, in quarter pixels: LEFT and TOP of the ink from the pen on the baseline, INK_H and INK_W
    its size, FILL_H the height of the fill; offsets into `pixels` of the masks of the fill (FILL) and of fill with
    outline (OUTER); MASK_H and MASK_W, the size of one mask in pixels. The sixteen masks of a kind follow each other
    by the position of the ink's corner in its pixel, 4·y + x.
    """

    rows: NDArray[np.int32]  # row of `metrics` by key (face, size, height, stroke, slant, character); -1 for none yet
    metrics: NDArray[np.int32]  # (n, 9)
    pixels: U8


@compiled
def find_missing_keys(keys, rows):
    """Those of `keys` (n,) that have no row yet; -1 is no character."""
    missing = np.empty(len(keys), np.int64)
    n = 0
    for key in keys:
        if key >= 0 and rows[key] < 0:
            missing[n] = key
            n += 1
    return missing[:n]


@compiled
def downsample(mask, mask_h, mask_w, out):
    """Average `mask` (h, w), at SCALE times the size, down at the 16 positions of its corner within a pixel."""
    h, w = mask.shape
    sums = np.empty((mask_h, mask_w), np.int32)
    at = 0
    for dy in range(SCALE):
        for dx in range(SCALE):
            sums[:] = 0
            for y in range(h):
                for x in range(w):
                    sums[(y + dy) // SCALE, (x + dx) // SCALE] += mask[y, x]
            for y in range(mask_h):
                for x in range(mask_w):
                    out[at] = (sums[y, x] + SCALE * SCALE // 2) // (SCALE * SCALE)
                    at += 1


@compiled
def draw_letters(fills, outer, glyph_keys, groups, pens, drops, baseline, pen, glyphs, outlined):
    """Add each letter's mask to that of its group in `fills` uint8 (groups, H, W), and if `outlined` to `outer` (H, W).

    A key of -1 is no letter. Masks are cut off at the edges.
    """
    for j in range(len(glyph_keys)):
        if glyph_keys[j] < 0:
            continue
        glyph = glyphs.metrics[glyphs.rows[glyph_keys[j]]]
        if glyph[INK_H]:
            y, x = baseline + drops[j] + glyph[TOP], pen + pens[j] + glyph[LEFT]
            _add_mask(fills[groups[j]], glyph[FILL], glyph, y, x, glyphs.pixels)
            if outlined:
                _add_mask(outer, glyph[OUTER], glyph, y, x, glyphs.pixels)


@compiled
def _add_mask(target, offset, glyph, y, x, pixels):
    """Add the mask at `offset`, its corner at (y, x) in quarter pixels: 1 - (1 - old)·(1 - new) for coverage 0…1."""
    height, width = target.shape
    h, w = np.int64(glyph[MASK_H]), np.int64(glyph[MASK_W])
    start = offset + ((y & (SCALE - 1)) * SCALE + (x & (SCALE - 1))) * h * w
    y, x = y >> 2, x >> 2  # SCALE is 4
    first, last = max(0, -x), min(w, width - x)
    if first >= last:
        return
    for row in range(max(0, -y), min(h, height - y)):
        at = start + row * w
        line = np.uint64(y + row)
        for column in range(first, last):  # too few for making slices to pay off
            place = np.uint64(x + column)
            old, new = np.int32(target[line, place]), np.int32(pixels[np.uint64(at + column)])
            both = old * new + 128
            target[line, place] = np.uint8(old + new - ((both + (both >> 8)) >> 8))  # old·new / 255, rounded
