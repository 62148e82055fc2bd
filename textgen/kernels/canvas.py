"""The planar canvas float32 (3, H, W), values 0…255, on which text is drawn: compilers vectorise loops over its rows.

A crop, uint8 (H, W, 3), is converted to it and back only in the part that the text can change.
"""

from __future__ import annotations

import numpy as np

from textgen.kernels.jit import compiled


@compiled
def to_planar(image, canvas, part):
    """Copy a part (top, left, bottom, right) of `image` uint8 (H, W, 3) to the same part of `canvas`."""
    top, left, bottom, right = part
    for y in range(top, bottom):
        line = image[y, left:right].reshape(3 * (right - left))
        red, green, blue = canvas[0, y, left:right], canvas[1, y, left:right], canvas[2, y, left:right]
        for x in range(len(red)):
            red[x], green[x], blue[x] = (
                np.float32(line[3 * x]),
                np.float32(line[3 * x + 1]),
                np.float32(line[3 * x + 2]),
            )


@compiled
def from_planar(canvas, image, part):
    """Copy a part of `canvas`, rounded, back to `image`."""
    top, left, bottom, right = part
    half = np.float32(0.5)
    for y in range(top, bottom):
        line = image[y, left:right].reshape(3 * (right - left))
        red, green, blue = canvas[0, y, left:right], canvas[1, y, left:right], canvas[2, y, left:right]
        for x in range(len(red)):
            line[3 * x] = np.uint8(np.int32(red[x] + half))
            line[3 * x + 1] = np.uint8(np.int32(green[x] + half))
            line[3 * x + 2] = np.uint8(np.int32(blue[x] + half))


@compiled
def blend(canvas, y, left, right, coverage, factor, color):
    """Blend `color` into a row of `canvas` with opacity `coverage` (right - left,) · `factor`.

    Loops over whole slices are what compilers vectorise.
    """
    red, green, blue = canvas[0, y, left:right], canvas[1, y, left:right], canvas[2, y, left:right]
    for x in range(len(coverage)):
        opacity = np.float32(coverage[x]) * factor
        red[x] += opacity * (color[0] - red[x])
        green[x] += opacity * (color[1] - green[x])
        blue[x] += opacity * (color[2] - blue[x])
