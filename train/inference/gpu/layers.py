# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
"""The Triton kernel: a program runs all layers of one stack, then continues with its next stack.

The plan (`train.inference.gpu.plan`) is a compile-time constant, so that every division is by a constant and every loop
has fixed bounds. A barrier separates the layers, as threads read what other threads of the program wrote.
"""

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["n"])
def run_network(images, weights, biases, scratch, logits, n, PLAN: tl.constexpr):
    """uint8 images (n, H, W, 3) -> float32 logits (n, classes); `scratch` is (programs, PLAN.scratch)."""
    program = tl.program_id(0)
    own = scratch + program.to(tl.int64) * PLAN.scratch
    stacks = (n + PLAN.fold - 1) // PLAN.fold
    for stack in tl.range(program, stacks, tl.num_programs(0), disable_licm=True):
        fold_input(images, own, stack, n, PLAN)
        tl.debug_barrier()
        for at in tl.static_range(len(PLAN.steps)):
            if PLAN.steps[at].fully_connected is not None:
                multiply(own, weights, biases, logits, stack, n, PLAN, PLAN.steps[at].fully_connected)
                tl.debug_barrier()
            else:
                for strip in range(PLAN.steps[at].strips):
                    if PLAN.steps[at].convolution is not None and PLAN.steps[at].pooling is not None:
                        first = strip * PLAN.steps[at].pooling.rows
                        top = first * PLAN.steps[at].pooling.stride - PLAN.steps[at].pooling.padding
                        convolve(own, weights, biases, top, PLAN.steps[at].convolution)
                        tl.debug_barrier()
                        pool(own, first, top, PLAN.steps[at].pooling)
                    elif PLAN.steps[at].convolution is not None:
                        convolve(own, weights, biases, 0, PLAN.steps[at].convolution)
                    else:
                        pool(own, 0, 0, PLAN.steps[at].pooling)
                    tl.debug_barrier()


@triton.jit
def fold_input(images, own, stack, n, PLAN: tl.constexpr, BLOCK: tl.constexpr = 64):
    """Concatenate the images of the stack along channels, in -1…1. The last stack is completed with the last image."""
    channel = tl.arange(0, PLAN.channels)
    image = tl.minimum(stack * PLAN.fold + channel // 3, n - 1).to(tl.int64)
    for start in range(0, PLAN.height * PLAN.width, BLOCK):
        position = start + tl.arange(0, BLOCK)
        there = (position < PLAN.height * PLAN.width)[:, None]
        pixel = images + (image * (PLAN.height * PLAN.width * 3) + channel % 3)[None, :] + position[:, None] * 3
        real = channel[None, :] < 3 * PLAN.fold
        value = tl.load(pixel, mask=there & real, other=0).to(tl.float32) * (2 / 255) - 1
        value = tl.where(real, value, 0.0).to(own.dtype.element_ty)
        tl.store(own + position[:, None] * PLAN.channels + channel[None, :], value, mask=there)


@triton.jit
def convolve(own, weights, biases, top, AT: tl.constexpr):
    """Rows top to top + AT.rows - 1 of the output, as implicit GEMM: (rows·width, 9·c_in) times (9·c_in, c_out).

    A strip may extend beyond the border by rows that no pool reads; they are computed like the others.
    """
    for start in range(0, AT.rows * AT.width, AT.block_m):
        position = start + tl.arange(0, AT.block_m)
        y, x = top + position // AT.width, position % AT.width
        for first_out in range(0, AT.c_out, AT.block_n):
            c_out = first_out + tl.arange(0, AT.block_n)
            total = tl.zeros((AT.block_m, AT.block_n), tl.float32)
            for part in range(9 * AT.c_in // AT.block_k):  # taps × input channels
                k = part * AT.block_k + tl.arange(0, AT.block_k)
                tap = part * AT.block_k // AT.c_in
                yy, xx = y + tap // 3 - 1, x + tap % 3 - 1
                c_in = part * AT.block_k % AT.c_in + tl.arange(0, AT.block_k)
                inside = (yy >= 0) & (yy < AT.height) & (xx >= 0) & (xx < AT.width)
                patch = own + AT.source + (yy * AT.width + xx)[:, None] * AT.c_in + c_in[None, :]
                filters = weights + AT.weights + k[:, None] * AT.c_out + c_out[None, :]
                values = tl.load(patch, mask=inside[:, None], other=0.0, cache_modifier=".ca")  # L1: nine taps read it
                total = tl.dot(values, tl.load(filters, cache_modifier=".cg"), total, input_precision="ieee")
            total = tl.maximum(total + tl.load(biases + AT.biases + c_out)[None, :], 0.0)
            output = own + AT.target + position[:, None] * AT.c_out + c_out[None, :]
            tl.store(output, total.to(own.dtype.element_ty), mask=(position < AT.rows * AT.width)[:, None])


@triton.jit
def pool(own, first, top, AT: tl.constexpr):
    """Rows first to first + AT.rows - 1 of the output. The source begins with row `top` of the input."""
    for start in range(0, AT.rows * AT.out_width, AT.block_m):
        position = start + tl.arange(0, AT.block_m)
        y, x = first + position // AT.out_width, position % AT.out_width
        real = (position < AT.rows * AT.out_width) & (y < AT.out_height)
        for first_channel in range(0, AT.channels, AT.block_n):
            channel = first_channel + tl.arange(0, AT.block_n)
            best = tl.full((AT.block_m, AT.block_n), float("-inf"), own.dtype.element_ty)
            for tap in tl.static_range(AT.kernel * AT.kernel):
                yy = y * AT.stride - AT.padding + tap // AT.kernel
                xx = x * AT.stride - AT.padding + tap % AT.kernel
                inside = real & (yy >= 0) & (yy < AT.height) & (xx >= 0) & (xx < AT.width)
                source = own + AT.source + ((yy - top) * AT.width + xx)[:, None] * AT.channels + channel[None, :]
                best = tl.maximum(best, tl.load(source, mask=inside[:, None], other=float("-inf")))
            output = own + AT.target + (y * AT.out_width + x)[:, None] * AT.channels + channel[None, :]
            tl.store(output, best, mask=real[:, None])


@triton.jit
def multiply(own, weights, biases, logits, stack, n, PLAN: tl.constexpr, AT: tl.constexpr):
    """One row times (features, outputs). Not by `tl.dot`, which needs 16 rows; reading the weights takes the time."""
    for first_out in range(0, AT.outputs, AT.block_n):
        output = first_out + tl.arange(0, AT.block_n)
        products = tl.zeros((AT.block_k, AT.block_n), tl.float32)
        for start in range(0, AT.features, AT.block_k):
            feature = start + tl.arange(0, AT.block_k)
            real = feature < AT.features
            value = tl.load(own + AT.source + feature, mask=real, other=0.0).to(tl.float32)
            column = weights + AT.weights + feature[:, None] * AT.outputs + output[None, :]
            products += value[:, None] * tl.load(column, mask=real[:, None], other=0.0).to(tl.float32)
        total = tl.sum(products, axis=0) + tl.load(biases + AT.biases + output)
        if AT.last:
            image = stack * PLAN.fold + output // PLAN.classes
            real = (output < PLAN.fold * PLAN.classes) & (image < n)
            tl.store(logits + image.to(tl.int64) * PLAN.classes + output % PLAN.classes, total, mask=real)
        else:
            tl.store(own + AT.target + output, tl.maximum(total, 0.0).to(own.dtype.element_ty))
