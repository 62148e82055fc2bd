"""The arrays that compiled code reads and writes: records of samples, and the style, letter and background tables."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from textgen.common.array_types import F32

# The status of a sample after an attempt to draw it.
OK, TOO_LARGE, TOO_SMALL, LOW_CONTRAST = range(4)
REJECT_REASONS = {TOO_LARGE: "too large", TOO_SMALL: "too small", LOW_CONTRAST: "low contrast"}
REMEDIES = {
    TOO_LARGE: "make text.height, text.spacing or text.gaps smaller or size larger",
    TOO_SMALL: "make text.height larger or text.least smaller",
    LOW_CONTRAST: "set colours and backgrounds apart, text.height larger, or text.contrast smaller",
}

# Random streams of a sample. Attempt a uses stream n + a · STREAMS_PER_ATTEMPT; only the text's is never drawn again.
TEXT_STREAM, STYLE_STREAM, BACKGROUND_STREAM, LAYER_STREAM, DEGRADATION_STREAM = range(5)
STREAMS_PER_ATTEMPT = 4

# The side of the text on which an icon or a neighbouring text is drawn.
LEFT_SIDE, RIGHT_SIDE, ABOVE, BELOW = range(4)
SIDES = ("left", "right", "above", "below")
NO_SIDE = -1

# Rows of StyleTable.palettes, and of StyleTable.shadow_and_glow.
TEXT_COLORS, OUTLINE_COLORS, GRADIENT_COLORS, PANEL_COLORS, BORDER_COLORS, SHADOW_COLORS, GLOW_COLORS = range(7)
SHADOW, GLOW = range(2)

# One sample: its class, style, background and result. `face`, `height`, `stroke` and `slant` are indices into
# LetterTable; lengths are in pixels of the crop; top, left, bottom and right are the box of the text's ink.
SAMPLE = np.dtype(
    [
        ("index", np.int64),
        ("label", np.int32),
        ("length", np.int32),  # characters of the text
        ("neighbour_length", np.int32),  # characters of the neighbouring text
        ("attempt", np.int32),
        ("status", np.int32),
        ("face", np.int32),
        ("height", np.int32),
        ("stroke", np.int32),
        ("slant", np.int32),
        ("spacing", np.float32),
        ("punctuation_gap", np.float32),
        ("x", np.float32),
        ("y", np.float32),
        ("side", np.int32),
        ("gap", np.float32),
        ("red", np.float32),
        ("green", np.float32),
        ("blue", np.float32),
        ("source", np.int32),
        ("canvas", np.int32),
        ("top", np.int32),
        ("left", np.int32),
        ("bottom", np.int32),
        ("right", np.int32),
        ("contrast", np.float32),
    ],
    align=True,
)


# The patch of a canvas behind one sample, and its light and tint.
PATCH = np.dtype(
    [
        ("offset", np.int64),  # of the first byte in BackgroundTable.pixels
        ("row_bytes", np.int64),  # from one row to the next
        ("mirrored", np.int32),
        ("light", np.float32),
        ("canvas_share", np.float32),  # 1 - opacity of the tint
        ("tint_red", np.float32),  # opacity · tint
        ("tint_green", np.float32),
        ("tint_blue", np.float32),
    ],
    align=True,
)


class PartTable(NamedTuple):
    """`textgen.schema.game.Part` as numbers, a row for each part; row 0 is the style of the text.

    Parts with colours of their own are drawn apart, as further groups; group 0 is drawn in the colours of the text.
    """

    sizes: NDArray[np.float64]  # (p,): factor of the height of the text
    levels: NDArray[np.int32]  # (p,): index into LetterTable.sizes
    rises: NDArray[np.float64]  # (p,): of a part of another size, as a share of the height that is left: 0 … 1
    groups: NDArray[np.int32]  # (p,)
    palettes: NDArray[np.int32]  # (groups, 2): first row in StyleTable.colors, number of rows
    icons: NDArray[np.int32]  # (p, 2): first row in StyleTable.icons, number of rows; 0 rows if it is no icon


class StyleTable(NamedTuple):
    """`textgen.schema.game.Text` as numbers. Ranges are (2,): lower and upper end."""

    colors: F32  # (n, 3), all palettes in turn
    palettes: NDArray[np.int32]  # (7, 2): first row in `colors`, number of rows
    color_jitter: float
    opacity: NDArray[np.float64]
    spacing: NDArray[np.float64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    margin: float
    clip: float  # in heights of the text; above 0, it replaces the margin
    gap_chance: float
    gap_width: NDArray[np.float64]  # in heights of the text
    min_letter_height: float
    outline_chance: float
    gradient_chance: float
    panel_chance: float
    panel_padding: NDArray[np.float64]
    panel_opacity: NDArray[np.float64]
    shadow_and_glow: NDArray[np.float64]  # (2, 7): chance, then ranges of offset, blur and opacity
    blur_filters: F32  # (blurs, 8, k), see `build_blur_filters`
    neighbour_chance: float
    neighbour_sides: NDArray[np.int32]
    neighbour_gap: NDArray[np.float64]
    icon_chance: float
    icon_count: int
    icon_sides: NDArray[np.int32]
    icon_gap: NDArray[np.float64]
    icon_height: NDArray[np.float64]
    icons: NDArray[np.int64]  # (icons, heights, 3): offset into `icon_planes`, height, width; those beside a text first
    icon_planes: NDArray[np.uint8]  # planes red, green, blue, alpha of each icon; colours are multiplied by alpha
    normals: F32  # standard normal numbers
    parts: PartTable


class LetterTable(NamedTuple):
    """The faces that a split may use, and the metrics of every character of the alphabet in all faces."""

    face_bounds: NDArray[np.float64]  # cumulative chances of `faces`
    faces: NDArray[np.int32]
    ems: NDArray[np.float64]  # (all faces,): ems per height of a digit
    advances: F32  # (all faces, codes), in ems
    kerning: F32  # (all faces, codes, codes), in ems
    heights: F32
    sizes: F32  # factors of `heights` that parts of a text have; the first is 1
    strokes: F32
    slants: F32
    alphanumeric: NDArray[np.bool_]  # (codes,): StyleTable.min_letter_height applies to these


class BackgroundTable(NamedTuple):
    """The canvases of all sources at every zoom, and those that a split may use."""

    pixels: NDArray[np.uint8]  # all views (h, w, 3), one after another
    views: NDArray[np.int64]  # (n, 3): offset, height, width; a view is a canvas at one zoom
    sources: NDArray[np.int64]  # (s, 5): first view, canvases, zooms, first tint, tints
    light: NDArray[np.float64]  # (s, 2)
    tint_opacity: NDArray[np.float64]  # (s, 2)
    tints: F32  # (t, 3)
    source_bounds: NDArray[np.float64]  # cumulative chances of `usable_sources`
    usable_sources: NDArray[np.int32]
    canvas_starts: NDArray[np.int32]  # (usable sources + 1,): where each one's canvases start in `usable_canvases`
    usable_canvases: NDArray[np.int32]


SHIFT_STEPS, BLUR_STEPS = 8, 8  # per pixel: resolution of a shadow's position and of its blur


def build_blur_filters(max_sigma: float) -> F32:
    """Filters (blurs, 8, k) that blur by a standard deviation of 0, ⅛, … `max_sigma` and shift by 0, ⅛, … ⅞ pixel.

    Tap j is the weight of the pixel j - k // 2 to the left (above).
    """
    blurs = int(np.ceil(max_sigma * BLUR_STEPS)) + 1
    reach = int(np.ceil(3 * max_sigma)) + 1
    distance = np.arange(-reach, reach + 1)
    taps = np.zeros((blurs, SHIFT_STEPS, 2 * reach + 1))
    for blur in range(blurs):
        kernel = (distance == 0).astype(float)
        if blur:
            kernel = np.exp(-0.5 * (distance * BLUR_STEPS / blur) ** 2)
        kernel = kernel / kernel.sum()
        for step in range(SHIFT_STEPS):
            share = step / SHIFT_STEPS
            taps[blur, step] = (1 - share) * kernel + share * np.roll(kernel, 1)
    # exp differs between machines in its last bits; rounded, filters are equal, and invisible taps cost nothing.
    return (np.rint(taps * 1024) / 1024).astype(np.float32)


def build_normal_table(count: int) -> F32:
    """A table of standard normal numbers, always the same."""
    return np.random.default_rng(0).standard_normal(count).astype(np.float32)
