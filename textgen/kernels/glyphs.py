"""Glyph masks as compiled code takes them: the tables of the glyph atlas, and how a mask is scaled down."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from textgen.common.arrays import U8
from textgen.kernels.jit import compiled

SCALE = 4  # glyphs are drawn this much larger and averaged down: anti-aliasing, and positions on a quarter pixel


class GlyphTable(NamedTuple):
    """What is known of a slot, in quarter pixels: the ink's corner from the pen on the baseline, its height and width,
    the height of the fill; and the masks: the offset of the fill, that of the outer, height and width of one mask.

    The sixteen masks of a kind follow each other by the position of the ink's corner in its pixel, 4·y + x.
    """

    slots: NDArray[np.int32]  # by key: face, height, stroke, slant, character; -1 for none yet
    table: NDArray[np.int32]  # (n, 9)
    pixels: U8


LEFT, TOP, INK_H, INK_W, FILL_H, FILL, OUTER, MASK_H, MASK_W = range(9)


@compiled
def missing_keys(keys, slots):
    """Those of `keys` (n,) that have no slot yet; -1 stands for no character."""
    found = np.empty(len(keys), np.int64)
    n = 0
    for key in keys:
        if key >= 0 and slots[key] < 0:
            found[n] = key
            n += 1
    return found[:n]


@compiled
def downsample(mask, mask_h, mask_w, out):
    """`mask` (h, w) at SCALE times the size, averaged down at the 16 positions of its corner within a pixel."""
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
