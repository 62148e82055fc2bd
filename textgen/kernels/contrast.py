"""The contrast of a finished crop, in compiled code: whether its text can be read."""

from __future__ import annotations

import numpy as np

from textgen.kernels.jit import compiled
from textgen.kernels.tables import LOW_CONTRAST, OK


@compiled
def measure_contrasts(samples, images, fills, min_contrast):
    """Set every sample's contrast, and the status LOW_CONTRAST of those below `min_contrast`.

    Of several groups in `fills` uint8 (n, groups, H, W) the lowest counts: a text is legible if all of it is.
    """
    _, groups, height, width = fills.shape
    masks, rows = np.empty((3, height + 2, width + 2), np.uint8), np.empty((3, width + 2), np.int32)
    everything = np.empty((height, width), np.uint8)
    for k in range(len(samples)):
        sample = samples[k]
        if sample.status == OK and sample.right > sample.left:
            box = (sample.top, sample.left, sample.bottom, sample.right)
            if groups == 1:
                sample.contrast = measure_contrast(images[k], fills[k, 0], fills[k, 0], False, box, masks, rows)
                if sample.contrast == 0 and not fills[k, 0].any():  # nothing but icons
                    sample.contrast = 255
            else:
                for y in range(height):
                    for x in range(width):
                        everything[y, x] = fills[k, :, y, x].max()
                sample.contrast = np.inf
                for fill in fills[k]:
                    if fill[box[0] : box[2], box[1] : box[3]].any():
                        contrast = measure_contrast(images[k], fill, everything, True, box, masks, rows)
                        sample.contrast = min(sample.contrast, contrast)
                if sample.contrast == np.inf:
                    sample.contrast = 255
            if min_contrast > 0 and sample.contrast < min_contrast:
                sample.status = LOW_CONTRAST


@compiled
def measure_contrast(image, fill, everything, apart, box, masks, lines):
    """The contrast of a text in the finished crop `image` uint8 (H, W, 3), in levels of luma (0…255).

    It is the difference in mean luma between the strokes, with coverage `fill` uint8 (H, W) and ink within `box` (top,
    left, bottom, right), and the pixels right around and between them that no stroke of `everything` uint8 (H, W)
    covers, minus the standard deviation of the latter. `apart` is whether `everything` is more than `fill`. So text on
    clutter as strong as itself has no contrast, and blur that closes the gaps between strokes removes it. Luma is that
    of ITU-R BT.601.
    `masks` uint8 (3, H + 2, W + 2) and `lines` int32 (3, W + 2) are scratch memory.
    """
    height, width = fill.shape
    top, left, bottom, right = box
    top0, left0, bottom1, right1 = max(top - 1, 0), max(left - 1, 0), min(bottom + 1, height), min(right + 1, width)
    rows, columns = bottom1 - top0, right1 - left0
    cover, spread, covered = masks
    on, off, luma = lines[0, :columns], lines[1, :columns], lines[2, :columns]
    # Coverage is padded with zeros, so that the neighbours of a pixel need no test.
    y0, x0 = top - top0 + 1, left - left0 + 1
    y1, x1 = y0 + bottom - top, x0 + right - left
    cover[: rows + 2, : columns + 2] = 0
    cover[y0:y1, x0:x1] = fill[top:bottom, left:right]
    if apart:
        covered[: rows + 2, : columns + 2] = 0
        covered[y0:y1, x0:x1] = everything[top:bottom, left:right]
    else:
        covered = cover
    for y in range(rows + 2):
        line, out = cover[y, : columns + 2], spread[y, :columns]
        for x in range(columns):
            out[x] = max(line[x], line[x + 1], line[x + 2])
    strokes = strokes_luma = around = around_luma = around_squares = np.int64(0)
    for y in range(rows):
        above, middle, below = spread[y, :columns], spread[y + 1, :columns], spread[y + 2, :columns]
        line, pixels = cover[y + 1, 1 : columns + 1], image[top0 + y, left0:right1]
        others = covered[y + 1, 1 : columns + 1]
        for x in range(columns):
            inside = np.int32(line[x])
            free = np.int32(255) - np.int32(others[x])
            outside = free if max(above[x], middle[x], below[x]) > 25 else np.int32(0)
            on[x], off[x] = (inside * inside) >> 8, (outside * outside) >> 8
        for x in range(columns):  # 16 times the luma
            luma[x] = (77 * np.int32(pixels[x, 0]) + 150 * np.int32(pixels[x, 1]) + 29 * np.int32(pixels[x, 2])) >> 4
        sums = np.int32(0), np.int32(0), np.int32(0), np.int32(0)  # below 2**30 in a row of the widest crop
        for x in range(columns):
            sums = sums[0] + on[x], sums[1] + on[x] * luma[x], sums[2] + off[x], sums[3] + off[x] * luma[x]
            around_squares += np.int64(off[x]) * np.int64(luma[x] * luma[x])
        strokes += sums[0]
        strokes_luma += sums[1]
        around += sums[2]
        around_luma += sums[3]
    if strokes == 0 or around == 0:
        return np.float32(0)
    mean = around_luma / around
    clutter = np.sqrt(max(around_squares / around - mean * mean, 0.0))
    return np.float32((abs(strokes_luma / strokes - mean) - clutter) / 16)
