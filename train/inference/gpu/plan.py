"""What the fused kernel in Triton is compiled for: its steps, where their maps and weights lie, how large tiles are.

A map lies as (H, W, C) with C filled up to a power of two, at least 16, as `tl.arange` and `tl.dot` want it. What fills
up has weights and biases of zero, and is zero itself. Offsets and sizes are counted in elements.
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

STRIP = 40 * 1024  # elements of a convolution's output that wait for their pool, 80 KiB in fp16
KNOWN = (nn.Sequential, nn.Conv2d, nn.MaxPool2d, nn.ReLU, nn.Flatten, nn.Linear)


class Convolution(NamedTuple):
    """3×3, padding 1, then ReLU, of a map (height, width, c_in). `rows` rows of the output are made at a time."""

    source: int
    target: int
    weights: int  # (9·c_in, c_out)
    biases: int
    height: int
    width: int
    c_in: int
    c_out: int
    rows: int
    block_m: int  # positions of a tile
    block_n: int  # its output channels
    block_k: int  # input channels of one product


class Pooling(NamedTuple):
    """A max pool of a map (height, width, channels). `rows` rows of the output are made at a time."""

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


class Product(NamedTuple):
    """A fully connected layer that takes a whole map. ReLU follows all but the last, whose outputs are the logits."""

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
    """A convolution, a pool, or both `strips` times in turns; or a fully connected layer. A barrier follows each."""

    convolution: Convolution | None
    pooling: Pooling | None
    product: Product | None
    strips: int


class Plan(NamedTuple):
    """All that the kernel is compiled for; `channels` are those of the folded input, filled up."""

    height: int
    width: int
    fold: int
    channels: int
    classes: int
    scratch: int  # elements of the maps that are there at a time, of one stack
    steps: tuple[Step, ...]


def filled(channels: int) -> int:
    """The next power of two, at least 16.

    >>> [filled(channels) for channels in (3, 16, 45, 64)]
    [16, 16, 64, 64]
    """
    return max(1 << (channels - 1).bit_length(), 16)


def plan_of(layers: Sequence[SizedLayer], fold: int, *, tensor_cores: bool = True) -> Plan:
    """The plan of a network of layers as `train.models.notation.size_layers` gives them, for stacks of `fold` images.

    Without `tensor_cores` a thread has its part of every operand in registers, and tiles are small.

    The maps before and after a step lie at the two ends of the scratch, and take turns. Between them lies, of a
    convolution with a pool, the strip: as many of its rows at a time as `STRIP` has room for, at least those of one
    pooled row, so that the largest map of a network, the one before its first pool, need not be there as a whole.
    """
    groups = _groups(layers)
    maps = [_map(layers[0].input), *(_map(group[-1].output) for group in groups[:-1]), 0]  # logits leave at once
    parts = [_strips(group) for group in groups]  # (strips, pooled rows of a strip, rows before the pool)
    waiting = [
        rows * group[0].output[2] * filled(group[0].output[0]) if len(group) == 2 else 0
        for group, (_, _, rows) in zip(groups, parts, strict=True)
    ]
    scratch = max(before + after + strip for (before, after), strip in zip(pairwise(maps), waiting, strict=True))
    steps, weights, biases = [], 0, 0
    for at, (group, (strips, pooled, rows)) in enumerate(zip(groups, parts, strict=True)):
        low = maps[at] if at % 2 == 0 else maps[at + 1]
        source, target = (0, scratch - maps[at + 1]) if at % 2 == 0 else (scratch - maps[at], 0)
        convolution = pooling = product = None
        for layer in group:
            if isinstance(layer.layer, Conv):
                between = low if len(group) == 2 else target
                convolution = _convolution(layer, source, between, weights, biases, rows, tensor_cores)
            elif isinstance(layer.layer, Pool):
                pooling = _pooling(layer, layer.layer, low if len(group) == 2 else source, target, pooled)
            else:
                product = _product(layer, source, target, weights, biases, last=group is groups[-1])
            shape = packed_shape(layer)
            weights, biases = weights + prod(shape), biases + shape[1]
        steps.append(Step(convolution, pooling, product, strips))
    _, height, width = layers[0].input
    classes = layers[-1].output[0] // fold
    return Plan(height, width, fold, filled(layers[0].input[0]), classes, scratch, tuple(steps))


def packed_shape(layer: SizedLayer) -> tuple[int, int]:
    """Of a layer's weights as the kernel has them, (inputs, outputs); a pool has none."""
    if isinstance(layer.layer, Pool):
        return 0, 0
    if isinstance(layer.layer, Conv):
        return 9 * filled(layer.input[0]), filled(layer.output[0])
    return _map(layer.input), filled(layer.output[0])


@torch.no_grad()
def packed(layers: Sequence[SizedLayer], net: nn.Module) -> tuple[Tensor, Tensor]:
    """All weights and all biases of `net`, float32 and flat, in the order and the shapes of the plan.

    Raises `UserError` for a network that resizes its images, or has more than the layers of its arch, as in training.
    """
    if isinstance(layers[0].layer, Resize):
        h, w = layers[0].layer.size
        raise UserError(f"the fused kernel has no R{h}x{w}: it takes networks whose arch begins with C or M")
    strange = [type(module).__name__ for module in net.modules() if type(module) not in KNOWN]
    if strange:
        raise UserError(
            f"the fused kernel has no {strange[0]}: give a network as train.inference.network.load loads it"
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
        inputs, outputs = filled(c) - c, packed_shape(layer)[1] - len(bias)
        weights.append(functional.pad(taps.float(), (0, outputs, 0, inputs)).flatten())
        biases.append(functional.pad(bias.float(), (0, outputs)))
    return torch.cat(weights), torch.cat(biases)


def _map(shape: tuple[int, int, int]) -> int:
    c, h, w = shape
    return h * w * filled(c)


def _groups(layers: Sequence[SizedLayer]) -> list[list[SizedLayer]]:
    """Each layer by itself, but a pool joins the convolution before it."""
    groups: list[list[SizedLayer]] = []
    for layer in layers:
        if isinstance(layer.layer, Pool) and groups and isinstance(groups[-1][-1].layer, Conv):
            groups[-1].append(layer)
        else:
            groups.append([layer])
    return groups


def _strips(group: Sequence[SizedLayer]) -> tuple[int, int, int]:
    """Strips, and rows of one behind and before the pool; without a pool the latter are all rows."""
    first, last = group[0], group[-1]
    if not isinstance(last.layer, Pool):
        return 1, 0, last.output[1]
    pool, height = last.layer, last.output[1]
    row = first.output[2] * filled(first.output[0])
    most = max((STRIP // row - pool.kernel) // pool.stride + 1, 1) if len(group) == 2 else height
    strips = ceil(height / most)
    pooled = ceil(height / strips)
    return strips, pooled, (pooled - 1) * pool.stride + pool.kernel


def _convolution(
    layer: SizedLayer, source: int, target: int, weights: int, biases: int, rows: int, tensor_cores: bool
) -> Convolution:
    c_in, c_out = filled(layer.input[0]), filled(layer.output[0])
    height, width = layer.input[1:]
    m, n, k = (_block_m(rows * width), 64, 64) if tensor_cores else (min(_block_m(rows * width), 64), 32, 16)
    blocks = m, min(c_out, n), min(c_in, k)
    return Convolution(source, target, weights, biases, height, width, c_in, c_out, rows, *blocks)


def _pooling(layer: SizedLayer, pool: Pool, source: int, target: int, rows: int) -> Pooling:
    c, (height, width), (out_height, out_width) = filled(layer.input[0]), layer.input[1:], layer.output[1:]
    of_pool = (pool.kernel, pool.stride, pool.padding)
    return Pooling(source, target, height, width, c, *of_pool, out_height, out_width, rows, 32, min(c, 64))


def _product(layer: SizedLayer, source: int, target: int, weights: int, biases: int, *, last: bool) -> Product:
    features, outputs = packed_shape(layer)
    return Product(source, target, weights, biases, features, outputs, min(outputs, 64), min(features, 64), last)


def _block_m(positions: int) -> int:
    """64 positions a tile; 128 for maps that fill some of those, fewer for small ones."""
    if positions <= 32:
        return filled(positions)
    return 128 if positions > 128 and -positions % 128 <= -positions % 64 else 64
