"""Slots: a FoldedCNN of f copies of one narrow network, one copy for each image of a stack."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy

import torch
from torch import Tensor, nn

Affine = tuple[Tensor, Tensor]  # weight (o, i, …) and bias (o,) of a convolution or a linear layer


@torch.no_grad()
def assemble_slots(narrow: nn.Module, folded: nn.Module, f: int) -> None:
    """Make `folded` classify each image of a stack as `narrow` classifies it alone: its weights become block-diagonal.

    `narrow` is the same architecture for one image with slot widths. Block j of every layer of `folded` takes the
    weights of `narrow`; all else, and channels that f slots do not fill, is zero. Layers are matched by name.
    """
    for (weight, bias), (large, large_bias) in _layers_of_both(narrow, folded):
        large.zero_()
        large_bias.zero_()
        rows, columns = weight.shape[:2]
        for j in range(f):
            # Flattening goes channel by channel, so the features of a slot follow each other in linear layers too.
            large[j * rows : (j + 1) * rows, j * columns : (j + 1) * columns] = weight
            large_bias[j * rows : (j + 1) * rows] = bias


@torch.no_grad()
def extract_slot(folded: nn.Module, narrow: nn.Module, f: int) -> None:
    """The inverse of `assemble_slots`. Raises `ValueError` if `folded` is not f copies of one narrow network."""
    for (weight, bias), (large, large_bias) in _layers_of_both(narrow, folded):
        weight.copy_(large[: weight.shape[0], : weight.shape[1]])
        bias.copy_(large_bias[: len(bias)])
    again = deepcopy(folded)
    assemble_slots(narrow, again, f)
    if not all(torch.equal(*both) for both in zip(folded.parameters(), again.parameters(), strict=True)):
        raise ValueError(f"the network is not {f} copies of one narrow network")


def _layers_of_both(narrow: nn.Module, folded: nn.Module) -> Iterator[tuple[Affine, Affine]]:
    large = dict(folded.named_parameters())
    for name, weight in narrow.named_parameters():
        if name.endswith("weight"):
            bias = name.removesuffix("weight") + "bias"
            yield (weight, narrow.get_parameter(bias)), (large[name], large[bias])
