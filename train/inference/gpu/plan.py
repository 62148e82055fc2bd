"""The plan that the fused Triton kernel is compiled for: its steps, the offsets of maps and weights, tile sizes.

A map lies as (H, W, C), with C padded to a power of two of at least 16, which `tl.arange` and `tl.dot` require. Padded
channels have zero weights and biases, and so are zero themselves. Offsets and sizes are in elements.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import ceil, prod
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from textgen.common.errors import UserError
from train.models.notation import Conv, Pool, Resize, SizedLayer

STRIP_ELEMENTS = 40 * 1024  # of a convolution's output, computed before its pool runs; 80 KiB in fp16
SUPPORTED_MODULES = (nn.Sequential, nn.Conv2d, nn.MaxPool2d, nn.ReLU, nn.Flatten, nn.Linear)


class Convolution(NamedTuple):
    """3×3, padding 1, then ReLU, of a map (height, width, c_in). `rows` rows of the output are computed at a time."""

    source: int
    target: int
    weights: int  # (9·c_in, c_out)
    biases: int
    height: int
    width: int
    c_in: int
    c_out: int
    rows: int
    block_m: int  # positions in a tile
    block_n: int  # output channels in a tile
    block_k: int  # input channels in one `tl.dot`


class Pooling(NamedTuple):
    """A max pool of a map (height, width, channels). `rows` rows of the output are computed at a time."""

    source: int
    target: int
    height: int
    width: int
    channels: int
    kernel: int
    stride: int
    padding: int
    out_height: int
    out_width: int
    rows: int
    block_m: int
    block_n: int


class FullyConnected(NamedTuple):
    """A fully connected layer of a whole map. ReLU follows all but the last one, whose outputs are the logits."""

    source: int
    target: int
    weights: int  # (features, outputs)
    biases: int
    features: int
    outputs: int
    block_n: int
    block_k: int
    last: bool


class Step(NamedTuple):
    """One layer, or a convolution and its pool in turns, strip by strip, `strips` times."""

    convolution: Convolution | None
    pooling: Pooling | None
    fully_connected: FullyConnected | None
    strips: int


class KernelPlan(NamedTuple):
    """The constants of the kernel; `channels` are those of the folded input, padded."""

    height: int
    width: int
    fold: int
    channels: int
    classes: int
    scratch: int  # elements for the maps of one stack
    steps: tuple[Step, ...]


def padded_channels(channels: int) -> int:
    """The next power of two, at least 16.

    >>> [padded_channels(channels) for channels in (3, 16, 45, 64)]
    [16, 16, 64, 64]
    """
    return max(1 << (channels - 1).bit_length(), 16)


def build_kernel_plan(layers: Sequence[SizedLayer], fold: int, *, tensor_cores: bool = True) -> KernelPlan:
    """The plan for `layers`, of `train.models.notation.size_layers`, and stacks of `fold` images.

    Without `tensor_cores` every thread holds its part of the operands in registers, and tiles are small.

    The input and the output of a step lie at opposite ends of the scratch memory, and the ends alternate from step to
    step. For a convolution with a pool, a strip of the convolution's output lies between them: up to STRIP_ELEMENTS,
    but at least the rows for one pooled row. So the largest map, before the first pool, is never stored as a whole.
    """
    groups = _group_layers(layers)
    # Elements of the maps between the steps; the logits are written elsewhere.
    maps = [_map_elements(layers[0].input), *(_map_elements(group[-1].output) for group in groups[:-1]), 0]
    strip_sizes = [_split_strips(group) for group in groups]  # (strips, pooled rows of a strip, rows before the pool)
    strip_elements = [
        rows * group[0].output[2] * padded_channels(group[0].output[0]) if len(group) == 2 else 0
        for group, (_, _, rows) in zip(groups, strip_sizes, strict=True)
    ]
    scratch = max(before + after + strip for (before, after), strip in zip(pairwise(maps), strip_elements, strict=True))
    steps, weights, biases = [], 0, 0
    for at, (group, (strips, pooled, rows)) in enumerate(zip(groups, strip_sizes, strict=True)):
        strip_start = maps[at] if at % 2 == 0 else maps[at + 1]
        source, target = (0, scratch - maps[at + 1]) if at % 2 == 0 else (scratch - maps[at], 0)
        convolution = pooling = fully_connected = None
        for layer in group:
            if isinstance(layer.layer, Conv):
                output = strip_start if len(group) == 2 else target
                convolution = _plan_convolution(layer, source, output, weights, biases, rows, tensor_cores)
            elif isinstance(layer.layer, Pool):
                pooling = _plan_pooling(layer, layer.layer, strip_start if len(group) == 2 else source, target, pooled)
            else:
                fully_connected = _plan_linear(layer, source, target, weights, biases, last=group is groups[-1])
            shape = padded_weight_shape(layer)
            weights, biases = weights + prod(shape), biases + shape[1]
        steps.append(Step(convolution, pooling, fully_connected, strips))
    _, height, width = layers[0].input
    classes = layers[-1].output[0] // fold
    return KernelPlan(height, width, fold, padded_channels(layers[0].input[0]), classes, scratch, tuple(steps))


def padded_weight_shape(layer: SizedLayer) -> tuple[int, int]:
    """(inputs, outputs) of a layer's weights in the kernel; (0, 0) for a pool."""
    if isinstance(layer.layer, Pool):
        return 0, 0
    if isinstance(layer.layer, Conv):
        return 9 * padded_channels(layer.input[0]), padded_channels(layer.output[0])
    return _map_elements(layer.input), padded_channels(layer.output[0])


@torch.no_grad()
def pack_parameters(layers: Sequence[SizedLayer], net: nn.Module) -> tuple[Tensor, Tensor]:
    """All weights and all biases of `net`, float32 and flat, in the order and the shapes of the plan.

    Raises `UserError` for a network that resizes its images, or has other layers than its arch, as during training.
    """
    if isinstance(layers[0].layer, Resize):
        h, w = layers[0].layer.size
        raise UserError(f"the fused kernel has no R{h}x{w}: it takes networks whose arch begins with C or M")
    unsupported = [type(module).__name__ for module in net.modules() if type(module) not in SUPPORTED_MODULES]
    if unsupported:
        raise UserError(
            f"the fused kernel has no {unsupported[0]}: give a network as train.inference.network.load loads it"
        )
    parameters = dict(net.named_parameters())
    weights, biases = [], []
    for layer in layers:
        if isinstance(layer.layer, Pool):
            continue
        c, h, w = layer.input
        expected = (layer.output[0], c, 3, 3) if isinstance(layer.layer, Conv) else (layer.output[0], c * h * w)
        weight, bias = parameters.get(f"{layer.name}.weight"), parameters.get(f"{layer.name}.bias")
        if weight is None or bias is None or weight.shape != expected:
            given = "none" if weight is None else f"{tuple(weight.shape)}, {'no' if bias is None else 'a'} bias"
            raise UserError(
                f"the fused kernel needs {layer.name} with weights {expected} and a bias, not {given}: give a network"
                " that train.models.notation.build built from its arch"
            )
        if isinstance(layer.layer, Conv):
            taps = weight.permute(2, 3, 1, 0).flatten(0, 1)  # (o, c, 3, 3) -> (9, c, o)
        else:
            taps = weight.reshape(-1, c, h * w).permute(2, 1, 0)  # (o, c·h·w) -> (h·w, c, o)
        extra_in, extra_out = padded_channels(c) - c, padded_weight_shape(layer)[1] - len(bias)
        weights.append(functional.pad(taps.float(), (0, extra_out, 0, extra_in)).flatten())
        biases.append(functional.pad(bias.float(), (0, extra_out)))
    return torch.cat(weights), torch.cat(biases)


def _map_elements(shape: tuple[int, int, int]) -> int:
    """Elements of a map (C, H, W) with padded channels."""
    c, h, w = shape
    return h * w * padded_channels(c)


def _group_layers(layers: Sequence[SizedLayer]) -> list[list[SizedLayer]]:
    """A convolution together with the pool that follows it; every other layer by itself."""
    groups: list[list[SizedLayer]] = []
    for layer in layers:
        if isinstance(layer.layer, Pool) and groups and isinstance(groups[-1][-1].layer, Conv):
            groups[-1].append(layer)
        else:
            groups.append([layer])
    return groups


def _split_strips(group: Sequence[SizedLayer]) -> tuple[int, int, int]:
    """Number of strips, and rows of a strip after and before the pool; without a pool (1, 0, all rows)."""
    first, last = group[0], group[-1]
    if not isinstance(last.layer, Pool):
        return 1, 0, last.output[1]
    pool, height = last.layer, last.output[1]
    row = first.output[2] * padded_channels(first.output[0])
    most = max((STRIP_ELEMENTS // row - pool.kernel) // pool.stride + 1, 1) if len(group) == 2 else height
    strips = ceil(height / most)
    pooled = ceil(height / strips)
    return strips, pooled, (pooled - 1) * pool.stride + pool.kernel


def _plan_convolution(
    layer: SizedLayer, source: int, target: int, weights: int, biases: int, rows: int, tensor_cores: bool
) -> Convolution:
    c_in, c_out = padded_channels(layer.input[0]), padded_channels(layer.output[0])
    height, width = layer.input[1:]
    m, n, k = (_block_m(rows * width), 64, 64) if tensor_cores else (min(_block_m(rows * width), 64), 32, 16)
    blocks = m, min(c_out, n), min(c_in, k)
    return Convolution(source, target, weights, biases, height, width, c_in, c_out, rows, *blocks)


def _plan_pooling(layer: SizedLayer, pool: Pool, source: int, target: int, rows: int) -> Pooling:
    c, (height, width), (out_height, out_width) = padded_channels(layer.input[0]), layer.input[1:], layer.output[1:]
    window = (pool.kernel, pool.stride, pool.padding)
    return Pooling(source, target, height, width, c, *window, out_height, out_width, rows, 32, min(c, 64))


def _plan_linear(
    layer: SizedLayer, source: int, target: int, weights: int, biases: int, *, last: bool
) -> FullyConnected:
    features, outputs = padded_weight_shape(layer)
    return FullyConnected(source, target, weights, biases, features, outputs, min(outputs, 64), min(features, 64), last)


def _block_m(positions: int) -> int:
    """Positions in a tile: 64; 128 for maps that waste no more positions with it, fewer for small maps."""
    if positions <= 32:
        return padded_channels(positions)
    return 128 if positions > 128 and -positions % 128 <= -positions % 64 else 64
