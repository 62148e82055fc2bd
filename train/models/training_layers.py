"""Training-only layers, and their removal after training."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn import functional

from textgen.spec.label_fields import LabelFields


class PositiveBatchNorm(nn.BatchNorm2d):
    """A batch norm that multiplies by |`weight`|: as it never decreases, it can change places with a max pool."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight.abs(),
            self.bias,
            self.training,
            self.momentum or 0.0,
            self.eps,
        )

    def factor_and_offset(self) -> tuple[Tensor, Tensor]:
        """What the trained norm multiplies each channel by, and then adds, (C,) each."""
        assert self.running_mean is not None
        assert self.running_var is not None
        factor = self.weight.abs() * torch.rsqrt(self.running_var + self.eps)
        return factor, self.bias - factor * self.running_mean


class SharedBatchNorm(nn.Module):
    """A batch norm for `channels` channels of a stack of f images, of which each slot has an f-th.

    All slots share mean, variance, factor and offset. With its own for each, a slot would see an f-th of the images
    only, and slots with the same weights would give different results. Channels that f slots do not fill have a norm
    of their own.
    """

    def __init__(self, channels: int, f: int):
        super().__init__()
        self.f = f
        self.of_slot = PositiveBatchNorm(channels // f)
        unfilled = channels % f
        self.unfilled = PositiveBatchNorm(unfilled) if unfilled else None

    def forward(self, x: Tensor) -> Tensor:
        channels = self.f * self.of_slot.num_features
        filled = x[:, :channels].permute(0, 2, 3, 1)  # (b, h, w, f*c): a view in channels-last memory, as the next ones
        b, h, w, _ = filled.shape
        by_slot = filled.reshape(b, h, w * self.f, -1).permute(0, 3, 1, 2)  # (b, c, h, w*f)
        normed = self.of_slot(by_slot).permute(0, 2, 3, 1).reshape(filled.shape).permute(0, 3, 1, 2)
        return normed if self.unfilled is None else torch.cat((normed, self.unfilled(x[:, channels:])), 1)

    def factor_and_offset(self) -> tuple[Tensor, Tensor]:
        """What the trained norm multiplies each channel by, and then adds, (channels,) each."""
        factor, offset = (of_slot.repeat(self.f) for of_slot in self.of_slot.factor_and_offset())
        if self.unfilled is None:
            return factor, offset
        more_factor, more_offset = self.unfilled.factor_and_offset()
        return torch.cat((factor, more_factor)), torch.cat((offset, more_offset))


class CharacterLinear(nn.Linear):
    """The last layer, (b, features) -> (b, k), in which classes share the weights of their characters.

    The weights of "14" are the sum of its own, which are zero at first, of those of a 4 at the last position, of a 1 at
    the position before, and of names of two characters. `shares` (k, s) is 1 where a class has one of the s shared
    properties, see `shared_characters`.
    """

    shares: Tensor

    def __init__(self, features: int, shares: Tensor):
        super().__init__(features, len(shares))
        self.register_buffer("shares", shares, persistent=False)
        self.shared = nn.Linear(features, shares.shape[1])
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)

    def combine_weights(self) -> tuple[Tensor, Tensor]:
        """The weight (k, features) and the bias (k,) of a plain linear layer that computes the same."""
        # (k, features) + (k, s) @ (s, features), and (k,) + (k, s) @ (s,)
        return self.weight + self.shares @ self.shared.weight, self.bias + self.shares @ self.shared.bias

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, *self.combine_weights())


def shared_characters(classes: Sequence[str]) -> Tensor | None:
    """The s properties that some class names share, float32 0 or 1 (k, s); None if there are none.

    A property is a character at a position counted from the end, or the length of the name. Those of a single class, or
    of all classes, are left out.

    >>> shared_characters(["7", "17", "18"])  # 7 at the last position, 1 at the one before, two characters
    tensor([[1., 0., 0.],
            [1., 1., 1.],
            [0., 1., 1.]])
    """
    properties = [{(len(name) - index, c) for index, c in enumerate(name)} | {(len(name), "")} for name in classes]
    counts = Counter(chain.from_iterable(properties))
    shared = [prop for prop, count in counts.items() if 1 < count < len(classes)]
    if not shared:
        return None
    shared.sort(key=lambda prop: (prop[1] == "", prop))  # characters by position, then lengths
    return torch.tensor([[float(prop in of_class) for prop in shared] for of_class in properties])


def shared_characters_of(fields: LabelFields) -> Tensor | None:
    """`shared_characters` of every field, one block after the other along the diagonal: (k, s) for k classes of all."""
    found = [(shared_characters(field.classes), len(field.classes)) for field in fields.fields]
    if all(shares is None for shares, _ in found):
        return None
    blocks = [torch.zeros(size, 0) if shares is None else shares for shares, size in found]
    whole = torch.zeros(sum(map(len, blocks)), sum(block.shape[1] for block in blocks))
    row = column = 0
    for block in blocks:
        whole[row : row + block.shape[0], column : column + block.shape[1]] = block
        row, column = row + block.shape[0], column + block.shape[1]
    return whole


class SharedBlock(nn.Module):
    """A convolution or linear layer of a FoldedCNN, with weights that all slots share and others that are free.

    Its weight (O, I, …) is the sum of two parts. `block`, a layer of one slot with weight (o, i, …), stands f times
    along the diagonal, once for each slot; `weight` (O, I, …) has a free value for every weight, zero at first but for
    outputs that f blocks do not fill: those begin at random, as they would get no gradient otherwise. So a step that
    helps one slot helps all of them, as it does where one narrow network is copied, and still every weight can differ.
    `bias` is likewise. Raises `ValueError` if f blocks do not fit.

    A `depthwise` convolution has a group for each of its I inputs, and so a weight (O, 1, …), of f blocks (o, 1, …).
    """

    def __init__(self, block: nn.Conv2d | nn.Linear, f: int, inputs: int, outputs: int, *, depthwise: bool = False):
        super().__init__()
        o, i = len(block.weight), block.in_channels if isinstance(block, nn.Conv2d) else block.in_features
        if f * o > outputs or f * i > inputs:
            raise ValueError(f"{f} blocks of {o}×{i} do not fit in a weight of {outputs}×{inputs}")
        self.f = f
        self.block = block
        self.groups = inputs if depthwise else 1
        self.weight = nn.Parameter(block.weight.new_zeros(outputs, inputs // self.groups, *block.weight.shape[2:]))
        self.bias = None if block.bias is None else nn.Parameter(block.weight.new_zeros(outputs))
        if f * o < outputs:
            nn.init.kaiming_uniform_(self.weight.data[f * o :], a=math.sqrt(5))  # as PyTorch's layers

    def combine_weights(self) -> tuple[Tensor, Tensor | None]:
        """The weight (O, I, …) and the bias (O,) of a plain layer that computes the same."""
        block, bias = combine_weights(self.block)
        places = torch.eye(self.f, dtype=block.dtype, device=block.device)
        if self.groups > 1:
            places = torch.ones_like(places[:, :1])  # one above the other
        blocks = torch.einsum("ab,oi...->aobi...", places, block).flatten(0, 1).flatten(1, 2)  # (f*o, f*i, …)
        (outputs, inputs), (filled, reached) = self.weight.shape[:2], blocks.shape[:2]
        unfilled = (0, 0) * (block.ndim - 2) + (0, inputs - reached, 0, outputs - filled)
        weight = self.weight + functional.pad(blocks, unfilled)
        if bias is None or self.bias is None:
            return weight, None
        return weight, self.bias + functional.pad(bias.repeat(self.f), (0, outputs - filled))

    @torch.no_grad()
    def set_weights(self, weight: Tensor, bias: Tensor | None) -> None:
        """Begin with the weights of a plain layer: their mean over the slots is shared, the rest is free."""
        o, i = self.block.weight.shape[:2]
        rows = [slice(j * o, (j + 1) * o) for j in range(self.f)]
        columns = [slice(0, 1) if self.groups > 1 else slice(j * i, (j + 1) * i) for j in range(self.f)]
        of_slots = [weight[of_slot] for of_slot in zip(rows, columns, strict=True)]
        self.block.weight.copy_(torch.stack(of_slots).mean(0))
        self.weight.zero_()
        if bias is not None:
            assert self.bias is not None
            assert self.block.bias is not None
            self.block.bias.copy_(torch.stack([bias[of_slot] for of_slot in rows]).mean(0))
            self.bias.zero_()
        shared, shared_bias = self.combine_weights()
        self.weight.copy_(weight - shared)
        if bias is not None and self.bias is not None and shared_bias is not None:
            self.bias.copy_(bias - shared_bias)

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.combine_weights()
        if isinstance(block := self.block, nn.Conv2d):
            return functional.conv2d(x, weight, bias, block.stride, block.padding, block.dilation, self.groups)
        return functional.linear(x, weight, bias)


def free_weights(net: nn.Module) -> list[nn.Parameter]:
    """The free weights and biases of all shared blocks."""
    blocks = [layer for layer in net.modules() if isinstance(layer, SharedBlock)]
    return [weight for block in blocks for weight in (block.weight, block.bias) if weight is not None]


def combine_weights(layer: nn.Module) -> tuple[Tensor, Tensor | None]:
    """The weight and the bias with which a layer computes, where it has parts that are added up."""
    if isinstance(layer, CharacterLinear | SharedBlock):
        return layer.combine_weights()
    return layer.weight, layer.bias  # type: ignore[return-value]


class AuxiliaryHead(nn.Module):
    """A network for stacks of f images with a second head: the layers of `wider` from the last convolution on.

    `wider` is a network for single images, as wide as a slot of `net`, with more channels in its last convolution. It
    continues each slot's channels of the layers before that convolution by themselves: (b, f·C, H, W) -> the logits of
    `net` and of `wider`, (b, f·k) each. Raises `ValueError` for a network with fewer than two convolutions, whose heads
    would share no layers.
    """

    def __init__(self, net: nn.Sequential, wider: nn.Sequential, f: int = 1):
        super().__init__()
        convolutions = [n for n, layer in enumerate(net) if isinstance(getattr(layer, "block", layer), nn.Conv2d)]
        if len(convolutions) < 2:
            raise ValueError(f"an auxiliary head needs a network of two or more convolutions, not {len(convolutions)}")
        self._last_convolution = convolutions[-1]
        self._f = f
        self.net = net
        self._channels = combine_weights(wider[self._last_convolution])[0].shape[1]  # of a slot
        self.wider = wider[self._last_convolution :]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        for index, layer in enumerate(self.net):
            if index == self._last_convolution:
                shared = x
            x = layer(x)
        b, _, h, w = shared.shape
        of_slots = shared[:, : self._f * self._channels].reshape(b * self._f, self._channels, h, w)
        return x, self.wider(of_slots).view(b, -1)  # (b*f, c, h, w) -> (b*f, k) -> (b, f*k)


@torch.no_grad()
def reparameterise(trained: nn.Module, plain: nn.Module) -> None:
    """Set the weights of `plain`, the network without training-only layers, so that it computes the same as `trained`.

    A trained batch norm is a factor and an offset for each channel. Both are merged into the convolution before it,
    also across a max pool, as the factors are not negative. An auxiliary head is dropped.
    """
    modules: dict[str, nn.Module] = dict(
        (trained.net if isinstance(trained, AuxiliaryHead) else trained).named_modules()
    )
    for name, target in plain.named_modules():
        if not isinstance(target, nn.Conv2d | nn.Linear):
            continue
        weight, bias = combine_weights(modules[name])
        norm = modules.get(name.replace("conv", "norm"))
        if isinstance(norm, PositiveBatchNorm | SharedBatchNorm):
            factor, offset = norm.factor_and_offset()
            weight, bias = weight * factor[:, None, None, None], offset if bias is None else factor * bias + offset
        target.weight.copy_(weight)
        assert target.bias is not None
        assert bias is not None
        target.bias.copy_(bias)
