"""What a network has only while it is trained, and how it is taken out again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_weights


class Norm(nn.BatchNorm2d):
    """A batch norm with the magnitudes of `weight` as factors: being positive, it can change places with a max pool."""

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
    """The last layer, (b, features) -> (b, k), with weights that classes share by what they are written with.

    The weights of "14" are the sum of its own, which begin at zero, of those of a 4 in the last place, of a 1 in the
    one before, and of two characters. `shares` (k, s) is 1 where a class has one of the s shared ones:
    `shared_characters`.
    """

    shares: Tensor

    def __init__(self, features: int, shares: Tensor):
        super().__init__(features, len(shares))
        self.register_buffer("shares", shares, persistent=False)
        self.shared = nn.Linear(features, shares.shape[1])
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)

    def whole(self) -> tuple[Tensor, Tensor]:
        """The weight (k, features) and the bias (k,) of a plain layer that computes the same."""
        return self.weight + self.shares @ self.shared.weight, self.bias + self.shares @ self.shared.bias

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, *self.whole())


def shared_characters(classes: Sequence[str]) -> Tensor | None:
    """What classes have in common, float32 0 or 1 (k, s): a character at its place from the end, or their length.

    What one class alone has, or all, is left out; None if nothing is left.

    >>> shared_characters(["7", "17", "18"])  # 7 in the last place, 1 in the one before, two characters
    tensor([[1., 0., 0.],
            [1., 1., 1.],
            [0., 1., 1.]])
    """
    marks = [{(len(name) - at, c) for at, c in enumerate(name)} | {(len(name), "")} for name in classes]
    counts = Counter(chain.from_iterable(marks))
    common = sorted((mark for mark, count in counts.items() if 1 < count < len(classes)), key=lambda m: (m[1] == "", m))
    if not common:
        return None
    return torch.tensor([[float(mark in of) for mark in common] for of in marks])


class AuxiliaryHead(nn.Module):
    """A network whose layers from the last convolution on are there twice: its own, and those of `wider`.

    `wider` is the same architecture with more channels in its last convolution. (b, C, H, W) -> the logits of both,
    (b, k) each. Raises `ValueError` for a network with less than two convolutions, whose ends would share nothing.
    """

    def __init__(self, net: nn.Sequential, wider: nn.Sequential):
        super().__init__()
        convolutions = [number for number, layer in enumerate(net) if isinstance(layer, nn.Conv2d)]
        if len(convolutions) < 2:
            raise ValueError(f"two ends share what stands before the last of {len(convolutions)} convolutions: nothing")
        self._last = convolutions[-1]
        self.net = net
        self.wider = wider[self._last :]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        for number, layer in enumerate(self.net):
            if number == self._last:
                common = x
            x = layer(x)
        return x, self.wider(common)


@torch.no_grad()
def reparameterise(trained: nn.Module, plain: nn.Module) -> None:
    """Give `plain`, the same network without norms, dropout and shared weights, those that make it compute the same.

    A batch norm that has been trained is a factor and an offset for each channel: the convolution before it takes both.
    That is right across a pool too, as the factors are positive. Of two ends the network's own counts.
    """
    modules = dict((trained.net if isinstance(trained, AuxiliaryHead) else trained).named_modules())
    for name, target in plain.named_modules():
        if not isinstance(target, nn.Conv2d | nn.Linear):
            continue
        layer = modules[name]
        weight, bias = layer.whole() if isinstance(layer, CharacterLinear) else (layer.weight, layer.bias)
        if isinstance(norm := modules.get(name.replace("conv", "norm")), Norm):
            assert norm.running_mean is not None
            assert norm.running_var is not None
            weight, bias = fuse_conv_bn_weights(
                weight, bias, norm.running_mean, norm.running_var, norm.eps, norm.weight.abs(), norm.bias
            )
        target.weight.copy_(weight)
        assert target.bias is not None
        target.bias.copy_(bias)
