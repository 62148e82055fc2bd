"""From the layers of the notation to a `CpuProgram`: where buffers lie, and the constants of every layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textgen.common.errors import UserError
from train.inference.cpu.program import BLOCK, Buffer, CpuProgram, Dot, MaxPool, Precision, Target, pack_constants
from train.inference.cpu.quantization import INPUT_SCALE, Scale, choose_scales, quantize_layer
from train.models.notation import Conv, Linear, Pool, SizedLayer

UNSCALED = Scale(1.0, 0)


class _Memory:
    """The layout of a thread's memory: one buffer after the other, each from a cache line on."""

    def __init__(self, target: Target):
        self.bytes, self._excess = 0, 4 * target.lanes * 4  # vectors are stored beyond the end of a buffer

    def allocate(self, size: tuple[int, int, int], border: int, element: int) -> Buffer:
        buffer = Buffer(size, border, self.bytes, element)
        self.bytes = (self.bytes + buffer.bytes + self._excess + 63) // 64 * 64
        return buffer


def build_program(
    layers: Sequence[SizedLayer],
    parameters: Mapping[str, NDArray[Any]],
    precision: Precision,
    largest_outputs: Sequence[float],
    stack: int,
    target: Target,
) -> tuple[CpuProgram, bytes]:
    """The program and its constants. `largest_outputs` has the largest output of each ReLU, for integers.

    Raises `UserError` for a network that does not begin with a convolution.
    """
    if not isinstance(layers[0].layer, Conv):
        raise UserError("this network does not begin with a convolution: run it with another engine")
    element = {"fp32": 4, "int16": 2, "int8": 1}[precision]
    memory = _Memory(target)
    c, h, w = layers[0].input
    source = start = memory.allocate((h, w, c), 1, max(element, 2))  # 2x - 255 has nine bits
    spatial: list[Dot | MaxPool] = []
    fully_connected: list[Dot] = []
    constants = bytearray()
    weights = {
        layer.name: _as_rows(np.asarray(parameters[f"{layer.name}.weight"], np.float64), layer.input)
        for layer in layers
        if not isinstance(layer.layer, Pool)
    }
    scales = iter(choose_scales(precision, [*weights.values()][1:], largest_outputs))
    scale = INPUT_SCALE
    features: Buffer | None = None
    for at, layer in enumerate(layers):
        c, h, w = layer.output
        following = layers[at + 1].layer if at + 1 < len(layers) else None
        if isinstance(layer.layer, Linear):
            output = memory.allocate((1, BLOCK, c), 0, 4 if following is None else element)
        elif isinstance(following, Linear):
            features = memory.allocate((1, BLOCK, c * h * w), 0, element)
            output = Buffer((h, w, c), 0, features.offset, element)
        elif isinstance(following, Pool):
            size = (_covered(h, following), _covered(w, following), c)
            output = memory.allocate(size, following.padding, element)
        else:
            output = memory.allocate((h, w, c), 1, element)
        if isinstance(layer.layer, Pool):
            spatial.append(MaxPool(source, output, layer.layer.kernel, layer.layer.stride))
        else:
            weight = weights[layer.name]
            bias: NDArray[Any] = np.asarray(parameters[f"{layer.name}.bias"], np.float64)
            relu = following is not None
            dot = Dot(source, output, weight.shape[1], weight.shape[2], relu, len(constants))
            factors: NDArray[np.float32] | None = None
            if precision == "fp32":
                weight, bias = (weight * scale.unit).astype(np.float32), bias.astype(np.float32)
                scale = UNSCALED
            else:
                scale_out = next(scales) if relu else UNSCALED
                weight, bias, shift, factors = quantize_layer(weight, bias, scale, scale_out, source.element)
                dot = replace(dot, shift=shift, maximum=scale_out.maximum)
                scale = scale_out
            constants += pack_constants(dot, target, weight, bias, factors)
            (fully_connected if isinstance(layer.layer, Linear) else spatial).append(dot)
        source = features if features is not None and not isinstance(layer.layer, Linear) else output
    assert features is not None  # `parse` wants a last fully connected layer
    program = CpuProgram(precision, stack, start, tuple(spatial), features, tuple(fully_connected), memory.bytes)
    return program, bytes(constants)


def _covered(side: int, pool: Pool) -> int:
    """How many of `side` rows or columns the windows of a pool cover; a stride may leave out the last ones."""
    return min(side, (side + 2 * pool.padding - pool.kernel) // pool.stride * pool.stride + pool.kernel - pool.padding)


def _as_rows(weight: NDArray[Any], shape: tuple[int, int, int]) -> NDArray[Any]:
    """A convolution's (o, c, 3, 3), or (o, c·h·w), as (outputs, kernel rows, row length), channels last."""
    if weight.ndim == 4:
        return weight.transpose(0, 2, 3, 1).reshape(len(weight), weight.shape[2], -1)
    return weight.reshape(len(weight), *shape).transpose(0, 2, 3, 1).reshape(len(weight), 1, -1)
