"""Positions of letters, and of what is drawn beside a text, in quarter pixels (1 / SCALE)."""

from __future__ import annotations

import numpy as np

from textgen.kernels.glyphs import FILL_H, INK_H, INK_W, LEFT, SCALE, TOP
from textgen.kernels.jit import compiled
from textgen.kernels.tables import ABOVE, LEFT_SIDE, RIGHT_SIDE


@compiled
def lay_out_letters(sample, codes, parts, glyph_keys, letters, part_table, glyphs, icons, pens, drops):
    """Set the pen position of each letter in `pens`, and in `drops` how far below the baseline it stands.

    A letter whose row of `icons` (n, 3) has a height is an icon: it stands on the baseline, as wide as its picture.
    Characters that are no letters or digits have `sample.punctuation_gap` pixels more room on both sides.
    Returns top, left, bottom and right of the ink, from the first pen position on the baseline; zeros without ink.
    """
    line = letters.heights[sample.height] * letters.ems[sample.face]
    height = letters.heights[sample.height] * SCALE
    gap = sample.punctuation_gap * SCALE
    at, top, left, bottom, right = 0.0, 1 << 30, 1 << 30, -(1 << 30), -(1 << 30)
    for j in range(len(codes)):
        size = part_table.sizes[parts[j]]
        em = np.floor(line * size * SCALE + 0.5)  # as glyphs are rasterised
        if j and part_table.levels[parts[j - 1]] == part_table.levels[parts[j]]:
            at += letters.kerning[sample.face, codes[j - 1], codes[j]] * em
        around = 0.0 if letters.alphanumeric[codes[j]] else gap
        at += around
        if icons[j, 1]:
            pens[j] = np.int64(np.floor(at / SCALE + 0.5)) * SCALE  # pictures stand on whole pixels
            rise = (height - icons[j, 1] * SCALE) * part_table.rises[parts[j]]
            drops[j] = -np.int64(np.floor(rise + 0.5))
            top, left = min(top, drops[j] - icons[j, 1] * SCALE), min(left, pens[j])
            bottom, right = max(bottom, drops[j]), max(right, pens[j] + icons[j, 2] * SCALE)
            at += icons[j, 2] * SCALE + sample.spacing * SCALE + around
            continue
        pens[j] = np.int64(np.floor(at + 0.5))
        drops[j] = -np.int64(np.floor(height * (1 - size) * part_table.rises[parts[j]] + 0.5))
        glyph = glyphs.metrics[glyphs.rows[glyph_keys[j]]]
        if glyph[INK_H]:
            top, left = min(top, drops[j] + glyph[TOP]), min(left, pens[j] + glyph[LEFT])
            bottom = max(bottom, drops[j] + glyph[TOP] + glyph[INK_H])
            right = max(right, pens[j] + glyph[LEFT] + glyph[INK_W])
        at += letters.advances[sample.face, codes[j]] * em + sample.spacing * SCALE + around
    if bottom < top:
        return 0, 0, 0, 0
    return top, left, bottom, right


@compiled
def are_large_enough(codes, glyph_keys, letters, glyphs, min_height):
    """Whether every letter and digit is at least `min_height` pixels high."""
    for j in range(len(codes)):
        if glyph_keys[j] < 0 or not letters.alphanumeric[codes[j]]:
            continue
        if glyphs.metrics[glyphs.rows[glyph_keys[j]], FILL_H] < min_height * SCALE:
            return False
    return True


@compiled
def place_beside(ink, box, side, gap, on_baseline, baseline, share):
    """The shift (down, right) that puts `box` on one side of `ink`, `gap` away.

    Along the other axis it is on the same baseline if `on_baseline`, or `share` of the way between flush ends.
    """
    gap = np.int64(np.floor(gap + 0.5))
    dy, dx = baseline, ink[1] - box[1] + np.int64(np.floor(share * ((ink[3] - ink[1]) - (box[3] - box[1]))))
    if not on_baseline:
        dy = ink[0] - box[0] + np.int64(np.floor(share * ((ink[2] - ink[0]) - (box[2] - box[0]))))
    if side == LEFT_SIDE:
        dx = ink[1] - gap - box[3]
    elif side == RIGHT_SIDE:
        dx = ink[3] + gap - box[1]
    elif side == ABOVE:
        dy = ink[0] - gap - box[2]
    else:
        dy = ink[2] + gap - box[0]
    return dy, dx
