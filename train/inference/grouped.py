"""The grouped and narrow forms of a FoldedCNN whose weights are slots, f copies of one narrow network.

A dense layer of such a network has f blocks of weights and f² - f blocks of zeros. Both forms compute the same without
the zeros: a quarter of the operations for f=4 (group convolutions in §C, Table 7).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from train.folding.slots import extract_slot
from train.inference.network import Network
from train.models.notation import build


class SlotLinear(nn.Module):
    """A linear layer that f slots share: (b, f·features) -> (b, f·outputs).

    The features of a slot are contiguous, so that this is one matrix product of b·f rows, without a transposition.
    """

    def __init__(self, linear: nn.Linear, f: int):
        super().__init__()
        self.linear, self.f = linear, f

    def forward(self, x: Tensor) -> Tensor:
        features, outputs = self.linear.in_features, self.linear.out_features
        rows = self.linear(x.reshape(-1, features))  # (b, f·features) -> (b·f, features)
        return rows.reshape(-1, self.f * outputs)  # type: ignore[no-any-return]  # (b·f, outputs) -> (b, f·outputs)


@torch.no_grad()
def narrow_network(network: Network) -> nn.Sequential:
    """The network of one slot, for single images: (b, 3, H, W) -> (b, classes), on the CPU, in evaluation mode.

    For fold=1 it is the network itself, copied. Raises `ValueError` if the weights are not f copies of one narrow
    network.
    """
    layers, f = network.layers, network.fold
    net = build(layers, size=network.size, classes=len(network.classes), slot_of=f)
    extract_slot(network.net, net, f)
    return _prepare(net)


def slot_network(network: Network) -> nn.Sequential | None:
    """The `narrow_network` of a FoldedCNN; None for fold=1, for weights that are no slots, and for networks that the
    notation cannot express."""
    try:
        return narrow_network(network) if network.fold > 1 else None
    except ValueError:  # `UserError` is one
        return None


@torch.no_grad()
def grouped_network(network: Network) -> nn.Sequential:
    """The network with f groups in each layer: (b, f·3, H, W) -> (b, f·classes) like the dense one, on the CPU.

    Channels that belong to no slot, such as 1 of 55 for 32 channels and f=3, are left out. Layers have the names of the
    dense network. Raises `ValueError` if the weights are not f copies of one narrow network.
    """
    f, net = network.fold, nn.Sequential()
    for name, layer in narrow_network(network).named_children():
        if isinstance(layer, nn.Conv2d):
            inputs, outputs = f * layer.in_channels, f * layer.out_channels
            wide = nn.Conv2d(inputs, outputs, layer.kernel_size, layer.stride, layer.padding, groups=f)  # type: ignore[arg-type]
            wide.weight.copy_(layer.weight.repeat(f, 1, 1, 1))
            assert layer.bias is not None
            assert wide.bias is not None
            wide.bias.copy_(layer.bias.repeat(f))
            net.add_module(name, wide)
        else:
            net.add_module(name, SlotLinear(layer, f) if isinstance(layer, nn.Linear) else layer)
    return _prepare(net)


def _prepare(net: nn.Sequential) -> nn.Sequential:
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return net.requires_grad_(False).eval()
