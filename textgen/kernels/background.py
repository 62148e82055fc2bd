"""The patch of a background behind a crop, in compiled code: chosen at random, brought to the cache, and drawn."""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from textgen.kernels import philox
from textgen.kernels.jit import compiled


@compiled
def choose_patch(patch, sample, state, backgrounds, shift, height, width):
    """Draw source, canvas, zoom, position, light and tint of a `patch` (a record of PATCH) at random."""
    chosen = philox.weighted(state, backgrounds.source_bounds)
    sample.source = backgrounds.usable_sources[chosen]
    first_view, canvases, zooms, first_tint, tints = backgrounds.sources[sample.source]
    start, stop = backgrounds.canvas_starts[chosen], backgrounds.canvas_starts[chosen + 1]
    sample.canvas = backgrounds.usable_canvases[start + philox.below(state, stop - start)]
    offset, h, w = backgrounds.views[first_view + philox.below(state, zooms) * canvases + sample.canvas]
    y = min(max(philox.below(state, h - height + 1) + shift[0], 0), h - height)
    x = min(max(philox.below(state, w - width + 1) + shift[1], 0), w - width)
    patch.offset, patch.row_bytes = offset + 3 * (y * w + x), 3 * w
    patch.mirrored = philox.uniform(state) < 0.5
    patch.light = philox.between(state, backgrounds.light[sample.source, 0], backgrounds.light[sample.source, 1])
    opacity, tint = np.float32(0), backgrounds.tints[0]
    if tints:
        low, high = backgrounds.tint_opacity[sample.source]
        opacity = np.float32(philox.between(state, low, high))
        tint = backgrounds.tints[first_tint + philox.below(state, tints)]
    patch.canvas_share = np.float32(1) - opacity
    patch.tint_red, patch.tint_green, patch.tint_blue = opacity * tint[0], opacity * tint[1], opacity * tint[2]


@intrinsic
def _prefetch(typing_context, array, index):
    """Hint to the processor that the byte of `array` at `index` is needed soon."""

    def generate(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        pointer, number = builder.gep(data, [arguments[1]]), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, number, number, number])
        hint = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], kind)
        builder.call(hint, [pointer, number(0), number(2), number(1)])  # to read, into the second cache, data
        return context.get_dummy_value()

    return types.void(array, types.int64), generate


@compiled
def prefetch_patch(pixels, patch, height, width):
    """Bring a patch to the cache while the sample before it is drawn: waiting for it would double the time."""
    for row in range(height):
        at = patch.offset + row * patch.row_bytes
        for byte in range(0, 3 * width, 64):  # one per cache line
            _prefetch(pixels, at + byte)
        _prefetch(pixels, at + 3 * width - 1)


@compiled
def draw_patch(image, patch, pixels, tint):
    """Copy the patch to `image`, with its light and tint. `tint`, float32 (3 * W,), is scratch memory."""
    height, width, _ = image.shape
    light, share, full = np.float32(patch.light), np.float32(patch.canvas_share), np.float32(255)
    half = np.float32(0.5)
    red, green, blue = patch.tint_red + half, patch.tint_green + half, patch.tint_blue + half
    mirrored = patch.mirrored
    for x in range(width):
        tint[3 * x], tint[3 * x + 1], tint[3 * x + 2] = red, green, blue
    for row in range(height):
        at = patch.offset + row * patch.row_bytes
        line, out = pixels[at : at + 3 * width], image[row].reshape(3 * width)
        if mirrored:
            for x in range(width):  # unsigned indices: numba does not test them for being negative, and vectorises
                first = 3 * (width - 1 - x)
                one, two, three = line[np.uint64(first)], line[np.uint64(first + 1)], line[np.uint64(first + 2)]
                out[3 * x] = np.uint8(np.int32(min(np.float32(one) * light, full) * share + red))
                out[3 * x + 1] = np.uint8(np.int32(min(np.float32(two) * light, full) * share + green))
                out[3 * x + 2] = np.uint8(np.int32(min(np.float32(three) * light, full) * share + blue))
        else:
            for x in range(3 * width):
                out[x] = np.uint8(np.int32(min(np.float32(line[x]) * light, full) * share + tint[x]))
