"""Training-only layers, and their removal after training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_weights


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


class AuxiliaryHead(nn.Module):
    """A network with a second head: the layers of `wider` from the last convolution on.

    `wider` has the same architecture with more channels in its last convolution. Both heads share the layers before it:
    (b, C, H, W) -> the logits of `net` and of `wider`, (b, k) each. Raises `ValueError` for a network with fewer than
    two convolutions, whose heads would share no layers.
    """

    def __init__(self, net: nn.Sequential, wider: nn.Sequential):
        super().__init__()
        convolutions = [index for index, layer in enumerate(net) if isinstance(layer, nn.Conv2d)]
        if len(convolutions) < 2:
            raise ValueError(f"an auxiliary head needs a network of two or more convolutions, not {len(convolutions)}")
        self._last_convolution = convolutions[-1]
        self.net = net
        self.wider = wider[self._last_convolution :]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        for index, layer in enumerate(self.net):
            if index == self._last_convolution:
                shared = x
            x = layer(x)
        return x, self.wider(shared)


@torch.no_grad()
def reparameterise(trained: nn.Module, plain: nn.Module) -> None:
    """Set the weights of `plain`, the network without training-only layers, so that it computes the same as `trained`.

    A trained batch norm is a factor and an offset for each channel. Both are merged into the convolution before it,
    also across a max pool, as the factors are not negative. An auxiliary head is dropped.
    """
    modules = dict((trained.net if isinstance(trained, AuxiliaryHead) else trained).named_modules())
    for name, target in plain.named_modules():
        if not isinstance(target, nn.Conv2d | nn.Linear):
            continue
        layer = modules[name]
        weight, bias = layer.combine_weights() if isinstance(layer, CharacterLinear) else (layer.weight, layer.bias)
        if isinstance(norm := modules.get(name.replace("conv", "norm")), PositiveBatchNorm):
            assert norm.running_mean is not None
            assert norm.running_var is not None
            weight, bias = fuse_conv_bn_weights(
                weight, bias, norm.running_mean, norm.running_var, norm.eps, norm.weight.abs(), norm.bias
            )
        target.weight.copy_(weight)
        assert target.bias is not None
        target.bias.copy_(bias)
