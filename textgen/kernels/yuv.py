"""YUV planes to RGB, in compiled code: a region of a decoded video frame."""

from __future__ import annotations

import numpy as np

from textgen.kernels.jit import compiled


@compiled
def convert_yuv_region(luma, chroma_u, chroma_v, layout, factors, left, top, out):
    """Convert the region of `out` uint8 (h, w, 3) whose corner is at (`left`, `top`) in pixels of the frame.

    `luma`, `chroma_u`, `chroma_v` are planes uint8 (rows, bytes of a row), which may be wider than the frame. `layout`
    int64 (5,): the binary logarithms of the chroma's steps across and down, the bytes from one value of chroma to the
    next, and where those of U and V begin in a row. `factors` int64 (6,): the luma of black, and in 1/65536 what luma
    and chroma add: luma to all, V to red, U to green, V to green, U to blue. The nearest chroma counts, as in the usual
    conversion of swscale.
    """
    shift_x, shift_y, step, first_u, first_v = layout
    black, from_luma, v_red = np.int32(factors[0]), np.int32(factors[1]), np.int32(factors[2])
    u_green, v_green, u_blue = np.int32(factors[3]), np.int32(factors[4]), np.int32(factors[5])
    rounding, bits = np.int32(32768 - black * from_luma), np.int32(16)
    lowest, highest, middle = np.int32(0), np.int32(255), np.int32(128)
    height, width, _ = out.shape
    # A row at a time, in loops with one result each and of 32 bits: the compiler makes SIMD instructions of these.
    levels, us, vs = np.empty(width, np.int32), np.empty(width, np.int32), np.empty(width, np.int32)
    reds, greens, blues = np.empty(width, np.uint8), np.empty(width, np.uint8), np.empty(width, np.uint8)
    for y in range(height):
        line, row = luma[top + y, left : left + width], out[y]
        if y == 0 or ((top + y) >> shift_y) << shift_y == top + y:  # another row of chroma begins
            line_u, line_v = chroma_u[(top + y) >> shift_y], chroma_v[(top + y) >> shift_y]
            for x in range(width):
                column = ((left + x) >> shift_x) * step
                us[x], vs[x] = np.int32(line_u[column + first_u]) - middle, np.int32(line_v[column + first_v]) - middle
        for x in range(width):
            levels[x] = np.int32(line[x]) * from_luma + rounding
        for x in range(width):
            reds[x] = min(max((levels[x] + vs[x] * v_red) >> bits, lowest), highest)
        for x in range(width):
            greens[x] = min(max((levels[x] + us[x] * u_green + vs[x] * v_green) >> bits, lowest), highest)
        for x in range(width):
            blues[x] = min(max((levels[x] + us[x] * u_blue) >> bits, lowest), highest)
        for x in range(width):
            row[x, 0], row[x, 1], row[x, 2] = reds[x], greens[x], blues[x]
