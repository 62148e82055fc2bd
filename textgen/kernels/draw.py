"""Crops of planned samples, in compiled code: background, effects and letters are drawn over each other.

Every sample has random streams of its own (`textgen.kernels.philox`): one for its text, and for each attempt one each
for style, background, layers and degradation. Arithmetic is in float32 without reassociation, so bytes do not depend
on the processor.
"""

from __future__ import annotations

import numpy as np

from textgen.kernels import philox
from textgen.kernels.background import choose_patch, draw_patch, prefetch_patch
from textgen.kernels.canvas import from_planar, to_planar
from textgen.kernels.glyphs import SCALE, draw_letters
from textgen.kernels.jit import compiled
from textgen.kernels.layout import are_large_enough, lay_out_letters, place_beside
from textgen.kernels.tables import (
    ABOVE,
    BACKGROUND_STREAM,
    LAYER_STREAM,
    OK,
    PATCH,
    STREAMS_PER_ATTEMPT,
    TOO_LARGE,
    TOO_SMALL,
)
from textgen.kernels.text_layers import choose_inline_icons, choose_layers, draw_inline_icons, draw_layers


@compiled
def draw_crops(
    samples, codes, parts, neighbour_codes, glyph_keys, key, style, letters, glyphs, backgrounds, shifts, images, fills
):
    """Draw every sample: `images` uint8 (n, H, W, 3), and `fills` uint8 (n, groups, H, W), the coverage of its strokes.

    A group has colours of its own, see `PartTable`.

    `shifts` (n, 2) move the background, down and right in pixels, to give further frames of the same video. Sets each
    sample's status and box. If the text does not fit or is too small, its image stays as it was.
    """
    _, height, width, _ = images.shape
    state = np.empty(philox.STATE, np.uint64)
    patches = np.empty(len(samples), PATCH)
    for k in range(len(samples)):
        philox.start(state, key, samples[k].index, BACKGROUND_STREAM + STREAMS_PER_ATTEMPT * samples[k].attempt)
        choose_patch(patches[k], samples[k], state, backgrounds, shifts[k], height, width)
    canvas = np.empty((3, height, width), np.float32)
    outer = np.empty((height, width), np.uint8)
    scratch = np.empty((height, width), np.float32)
    tint = np.empty(3 * width, np.float32)
    blurred = np.empty((height, width), np.float32)
    layers = np.zeros((2, 5))
    pens = np.empty(codes.shape[1], np.int64)
    drops, icons = np.empty(codes.shape[1], np.int64), np.zeros((codes.shape[1], 3), np.int64)
    groups = np.zeros(codes.shape[1], np.int32)
    neighbour_pens = np.empty(neighbour_codes.shape[1], np.int64)
    neighbour_drops, no_icons = np.empty_like(neighbour_pens), np.zeros((neighbour_codes.shape[1], 3), np.int64)
    no_parts = np.zeros(neighbour_codes.shape[1], np.uint8)
    split = codes.shape[1]
    grouped, has_icons = fills.shape[1] > 1, style.parts.icons[:, 1].any()
    for k in range(len(samples)):
        if k + 1 < len(samples):
            prefetch_patch(backgrounds.pixels, patches[k + 1], height, width)
        sample = samples[k]
        philox.start(state, key, sample.index, LAYER_STREAM + STREAMS_PER_ATTEMPT * sample.attempt)
        sample.status = OK
        if has_icons:
            choose_inline_icons(icons, sample, parts[k], state, style, letters)
        box = lay_out_letters(
            sample, codes[k, : sample.length], parts[k], glyph_keys[k], letters, style.parts, glyphs, icons, pens, drops
        )
        free = style.margin if style.clip == 0 else -style.clip * letters.heights[sample.height]
        margin = np.int64(np.floor(free * SCALE + 0.5))
        free_y = height * SCALE - (box[2] - box[0]) - 2 * margin
        free_x = width * SCALE - (box[3] - box[1]) - 2 * margin
        if box[2] > box[0]:
            if free_y < 0 or free_x < 0:
                sample.status = TOO_LARGE
            elif not are_large_enough(
                codes[k, : sample.length], glyph_keys[k], letters, glyphs, style.min_letter_height
            ):
                sample.status = TOO_SMALL
        if sample.status != OK:
            continue
        draw_patch(images[k], patches[k], backgrounds.pixels, tint)
        fill = fills[k]
        fill[:] = 0
        if box[2] <= box[0]:
            sample.top = sample.left = sample.bottom = sample.right = 0
            continue
        baseline = margin + np.int64(np.floor(sample.y * free_y + 0.5)) - box[0]
        pen = margin + np.int64(np.floor(sample.x * free_x + 0.5)) - box[1]
        ink = (baseline + box[0], pen + box[1], baseline + box[2], pen + box[3])
        sample.top, sample.left = max(ink[0] // SCALE, 0), max(ink[1] // SCALE, 0)
        sample.bottom, sample.right = min(-(-ink[2] // SCALE), height), min(-(-ink[3] // SCALE), width)
        outlined = sample.stroke > 0 or grouped  # then `outer` holds the letters of all groups
        if outlined:
            outer[:] = 0
        for j in range(sample.length):
            groups[j] = style.parts.groups[parts[k, j]]
        keys = glyph_keys[k, : sample.length]
        draw_letters(fill, outer, keys, groups, pens, drops, baseline, pen, glyphs, outlined)
        area = (sample.top, sample.left, sample.bottom, sample.right)
        if sample.neighbour_length:
            neighbour_keys = glyph_keys[k, split : split + sample.neighbour_length]
            other = lay_out_letters(
                sample,
                neighbour_codes[k, : sample.neighbour_length],
                no_parts,
                neighbour_keys,
                letters,
                style.parts,
                glyphs,
                no_icons,
                neighbour_pens,
                neighbour_drops,
            )
            on_baseline = sample.side < ABOVE
            dy, dx = place_beside(
                ink, other, sample.side, sample.gap * SCALE, on_baseline, baseline, philox.uniform(state)
            )
            draw_letters(
                fill, outer, neighbour_keys, no_parts, neighbour_pens, neighbour_drops, dy, dx, glyphs, outlined
            )
            area = (
                max(min(area[0], (dy + other[0]) // SCALE), 0),
                max(min(area[1], (dx + other[1]) // SCALE), 0),
                min(max(area[2], -(-(dy + other[2]) // SCALE)), height),
                min(max(area[3], -(-(dx + other[3]) // SCALE)), width),
            )
        padding, changed = choose_layers(layers, area, sample, state, style, height, width)
        to_planar(images[k], canvas, changed)
        mask = outer if outlined else fill[0]
        draw_layers(canvas, fill, mask, area, ink, padding, layers, sample, state, style, scratch, blurred)
        if has_icons:
            draw_inline_icons(canvas, icons[: sample.length], pens, drops, baseline, pen, style)
        from_planar(canvas, images[k], changed)
