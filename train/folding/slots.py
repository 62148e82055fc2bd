"""Slots: FoldedCNNs that consist of f copies of one narrow network, one for each image of a stack."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy

import torch
from torch import Tensor, nn

LayerWeights = tuple[Tensor, Tensor]  # weight (o, i, …) and bias (o,) of a convolution or a linear layer


@torch.no_grad()
def assemble_slots(narrow: nn.Module, folded: nn.Module, f: int) -> None:
    """Make `folded` classify each image of a stack as `narrow` classifies it alone: its weights become block-diagonal.

    `narrow` has the same architecture, for single images and with the widths of one slot. Block j of every layer of
    `folded` gets the weights of `narrow`; all other weights, and channels that f slots do not fill, become zero. Layers
    are matched by name.
    """
    for (weight, bias), (folded_weight, folded_bias) in _pair_layers(narrow, folded):
        folded_weight.zero_()  # (O, I, …) with O ≥ f*o and I ≥ f*i
        folded_bias.zero_()  # (O,)
        o, i = weight.shape[:2]
        for j in range(f):
            # Flattening keeps the order of channels, so the features of a slot are consecutive in linear layers too.
            folded_weight[j * o : (j + 1) * o, j * i : (j + 1) * i] = weight
            folded_bias[j * o : (j + 1) * o] = bias


@torch.no_grad()
def extract_slot(folded: nn.Module, narrow: nn.Module, f: int) -> None:
    """Copy the first slot of `folded` to `narrow`, the inverse of `assemble_slots`.

    Raises `ValueError` if `folded` does not consist of f copies of one narrow network.
    """
    for (weight, bias), (folded_weight, folded_bias) in _pair_layers(narrow, folded):
        weight.copy_(folded_weight[: weight.shape[0], : weight.shape[1]])
        bias.copy_(folded_bias[: len(bias)])
    assembled = deepcopy(folded)
    assemble_slots(narrow, assembled, f)
    if not all(torch.equal(*pair) for pair in zip(folded.parameters(), assembled.parameters(), strict=True)):
        raise ValueError(f"the network is not {f} copies of one narrow network")


def _pair_layers(narrow: nn.Module, folded: nn.Module) -> Iterator[tuple[LayerWeights, LayerWeights]]:
    """The weights of each layer of `narrow`, with those of the layer of `folded` that has the same name."""
    folded_parameters = dict(folded.named_parameters())
    for name, weight in narrow.named_parameters():
        if name.endswith("weight"):
            bias = name.removesuffix("weight") + "bias"
            yield (weight, narrow.get_parameter(bias)), (folded_parameters[name], folded_parameters[bias])
