"""Text and style of every sample, drawn at random: the first step of a crop."""

from __future__ import annotations

import numpy as np

from textgen.kernels import philox
from textgen.kernels.glyphs import SCALE
from textgen.kernels.jit import compiled
from textgen.kernels.tables import NO_SIDE, STREAMS_PER_ATTEMPT, STYLE_STREAM, TEXT_STREAM
from textgen.kernels.text_program import write_text


@compiled
def plan_samples(samples, codes, parts, neighbour_codes, glyph_keys, key, style, letters, program, neighbour_program):
    """Draw text and style of every sample from random streams under `key`.

    `codes` (n, length) and `neighbour_codes` (n, neighbour length) are the characters of the text and of the text
    beside it, `parts` (n, length) rows of `style.parts`; `glyph_keys` (n, length + neighbour length) name their glyphs
    in the atlas, -1 for no character or an icon.
    """
    state = np.empty(philox.STATE, np.uint64)
    shape = (len(letters.heights), len(letters.strokes), len(letters.slants), letters.advances.shape[1])
    level_keys = np.int64(shape[0]) * shape[1] * shape[2] * shape[3]  # of one face at one of `letters.sizes`
    no_parts = np.empty(neighbour_codes.shape[1], np.uint8)
    labels = np.empty(len(program.absent), np.int32)  # see `textgen.kernels.text_program.draw_labels`
    for k in range(len(samples)):
        sample = samples[k]
        philox.start(state, key, sample.index, TEXT_STREAM)
        codes[k] = 0
        sample.length = write_text(program, sample.label, state, codes[k], parts[k], labels)
        philox.start(state, key, sample.index, STYLE_STREAM + STREAMS_PER_ATTEMPT * sample.attempt)
        sample.face = letters.faces[philox.weighted(state, letters.face_bounds)]
        sample.height = philox.below(state, shape[0])
        sample.stroke = 0
        if philox.uniform(state) < style.outline_chance:
            sample.stroke = 1 + philox.below(state, shape[1] - 1)
        sample.slant = philox.below(state, shape[2])
        spacing = philox.between(state, style.spacing[0], style.spacing[1])
        sample.spacing = np.floor(spacing * SCALE + 0.5) / SCALE
        sample.x = philox.between(state, style.x[0], style.x[1])
        sample.y = philox.between(state, style.y[0], style.y[1])
        sample.side, sample.neighbour_length = NO_SIDE, 0
        neighbour_codes[k] = 0
        if sample.length and philox.uniform(state) < style.neighbour_chance:
            sample.side = style.neighbour_sides[philox.below(state, len(style.neighbour_sides))]
            sample.gap = philox.between(state, style.neighbour_gap[0], style.neighbour_gap[1])
            sample.neighbour_length = write_text(neighbour_program, 0, state, neighbour_codes[k], no_parts, labels)
        sample.punctuation_gap = 0
        if style.gap_chance > 0 and philox.uniform(state) < style.gap_chance:
            width = philox.between(state, style.gap_width[0], style.gap_width[1])
            sample.punctuation_gap = width * letters.heights[sample.height]
        base = ((np.int64(sample.height) * shape[1] + sample.stroke) * shape[2] + sample.slant) * shape[3]
        base += sample.face * len(letters.sizes) * level_keys
        glyph_keys[k] = -1
        for j in range(sample.length):
            part = parts[k, j]
            if not style.parts.icons[part, 1]:
                glyph_keys[k, j] = base + style.parts.levels[part] * level_keys + codes[k, j]
        for j in range(sample.neighbour_length):
            glyph_keys[k, codes.shape[1] + j] = base + neighbour_codes[k, j]
