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
    black, from_luma, v_red, u_green, v_green, u_blue = factors
    height, width, _ = out.shape
    for y in range(height):
        line = luma[top + y]
        line_u, line_v = chroma_u[(top + y) >> shift_y], chroma_v[(top + y) >> shift_y]
        for x in range(width):
            column = ((left + x) >> shift_x) * step
            level = (np.int64(line[left + x]) - black) * from_luma + 32768
            u, v = np.int64(line_u[column + first_u]) - 128, np.int64(line_v[column + first_v]) - 128
            out[y, x, 0] = min(max((level + v * v_red) >> 16, 0), 255)
            out[y, x, 1] = min(max((level + u * u_green + v * v_green) >> 16, 0), 255)
            out[y, x, 2] = min(max((level + u * u_blue) >> 16, 0), 255)
