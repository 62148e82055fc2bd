"""What compiled code takes and fills: the records of samples, and a game's look, letters and backgrounds as arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from textgen.common.arrays import F32

OK, TOO_LARGE, TOO_SMALL, LOW_CONTRAST = range(4)
REASONS = {TOO_LARGE: "too large", TOO_SMALL: "too small", LOW_CONTRAST: "low contrast"}
MENDS = {
    TOO_LARGE: "make text.height or text.spacing smaller or size larger",
    TOO_SMALL: "make text.height larger or text.least smaller",
    LOW_CONTRAST: "set colours and backgrounds apart, text.height larger, or text.contrast smaller",
}
TEXT, STYLE, GROUND, PICTURE, STREAM, STREAMS = 0, 1, 2, 3, 4, 4  # streams of a sample; of its next try STREAMS on
LEFT_SIDE, RIGHT_SIDE, ABOVE, BELOW = range(4)
SIDES = ("left", "right", "above", "below")
NO_SIDE = -1
TEXTS, OUTLINES, GRADIENTS, PANELS, BORDERS, SHADOWS, GLOWS = range(7)  # rows of Look.palettes

# What a sample is drawn with. Lengths in pixels of the crop; box is the ink of its text: top, left, bottom, right.
SAMPLE = np.dtype(
    [
        ("index", np.int64),
        ("label", np.int32),
        ("length", np.int32),  # characters of the text
        ("other_length", np.int32),  # characters of its neighbour
        ("attempt", np.int32),
        ("status", np.int32),
        ("face", np.int32),
        ("height", np.int32),
        ("stroke", np.int32),
        ("slant", np.int32),
        ("spacing", np.float32),
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


# The piece of a background under a sample: where in Ground.pixels it begins, bytes from row to row, and how it is lit.
PIECE = np.dtype(
    [
        ("at", np.int64),
        ("pitch", np.int64),
        ("mirrored", np.int32),
        ("light", np.float32),
        ("rest", np.float32),  # what is left of it under the tint
        ("red", np.float32),  # what the tint adds
        ("green", np.float32),
        ("blue", np.float32),
    ],
    align=True,
)


class StyleTable(NamedTuple):
    """`textgen.schema.game.Text` as numbers. Ranges are (2,); palettes (7, 2) are first row and count in `colors` (n,
    3).
    """

    colors: F32
    palettes: NDArray[np.int32]
    jitter: float
    opacity: NDArray[np.float64]
    spacing: NDArray[np.float64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    margin: float
    least: float
    outline_chance: float
    gradient_chance: float
    panel_chance: float
    panel_padding: NDArray[np.float64]
    panel_opacity: NDArray[np.float64]
    soft: NDArray[np.float64]  # (2, 7) shadow and glow: chance, then ranges of offset, blur and opacity
    taps: F32  # (blurs, 8, k), see `blur_filters`
    neighbour_chance: float
    neighbour_sides: NDArray[np.int32]
    neighbour_gap: NDArray[np.float64]
    icon_chance: float
    icon_sides: NDArray[np.int32]
    icon_gap: NDArray[np.float64]
    icon_height: NDArray[np.float64]
    icons: NDArray[np.int64]  # (kinds, heights, 3): offset, height, width of a sprite
    sprites: NDArray[np.uint8]  # planes red, green, blue, alpha of each, colours multiplied by alpha
    normals: F32  # standard normal numbers


class LetterTable(NamedTuple):
    """The letters: faces that a split may use and what is known of their glyphs, for every code of the alphabet."""

    bounds: NDArray[np.float64]  # cumulative chances of `faces`
    faces: NDArray[np.int32]
    ems: NDArray[np.float64]  # (all faces,): ems of a digit's height
    advances: F32  # (all faces, codes), in ems
    kerning: F32  # (all faces, codes, codes), in ems
    heights: F32
    strokes: F32
    slants: F32
    measured: NDArray[np.bool_]  # (codes,): letters and digits, to which `least` applies


class BackgroundTable(NamedTuple):
    """Backgrounds at every zoom, and those that a split may use."""

    pixels: NDArray[np.uint8]  # views (h, w, 3) behind each other
    views: NDArray[np.int64]  # (n, 3): offset, height, width
    sources: NDArray[np.int64]  # (s, 5): first view, canvases, zooms, first tint, tints
    light: NDArray[np.float64]  # (s, 2)
    tint_opacity: NDArray[np.float64]  # (s, 2)
    tints: F32  # (t, 3)
    bounds: NDArray[np.float64]  # cumulative chances of the split's sources
    usable: NDArray[np.int32]  # the split's sources
    firsts: NDArray[np.int32]  # (s + 1,): of each source in `canvases`
    canvases: NDArray[np.int32]  # the split's canvases


TAP_FRACTIONS, BLUR_STEPS = 8, 8  # of a pixel: steps of a shadow's position and of its blur


def blur_filters(most: float) -> F32:
    """Filters (blurs, 8, k) that blur with standard deviation 0, ⅛, … up to `most` and move by 0, ⅛, … ⅞ pixel.

    Tap j is the weight of the pixel j - k // 2 to the left (above).
    """
    blurs = int(np.ceil(most * BLUR_STEPS)) + 1
    reach = int(np.ceil(3 * most)) + 1
    distance = np.arange(-reach, reach + 1)
    taps = np.zeros((blurs, TAP_FRACTIONS, 2 * reach + 1))
    for blur in range(blurs):
        kernel = (distance == 0).astype(float)
        if blur:
            kernel = np.exp(-0.5 * (distance * BLUR_STEPS / blur) ** 2)
        kernel = kernel / kernel.sum()
        for fraction in range(TAP_FRACTIONS):
            share = fraction / TAP_FRACTIONS
            taps[blur, fraction] = (1 - share) * kernel + share * np.roll(kernel, 1)
    # Exp differs between machines in its last bits, this does not; and taps too small to be seen cost nothing.
    return (np.rint(taps * 1024) / 1024).astype(np.float32)


def normal_numbers(count: int) -> F32:
    """A table of standard normal numbers."""
    return np.random.default_rng(0).standard_normal(count).astype(np.float32)
