"""The fold arithmetic of FoldedCNNs (paper §3, §4), and nowhere else: stacks of images, widths, unfolding, slots.

A FoldedCNN takes f images of C channels as one input of f·C channels, widens every layer between by √f and gives f
rows of logits. `fold == 1` is the original network throughout.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from math import isqrt
from typing import Literal

import torch
from torch import Tensor, nn

# How a FoldedCNN is computed: as it is; and of slots by its f blocks alone, as groups, or as the network of one slot on
# single images, the paper's control.
Form = Literal["dense", "grouped", "narrow"]
FORMS: dict[Form, str] = {"dense": "", "grouped": ", grouped", "narrow": ", narrow (control)"}
Affine = tuple[Tensor, Tensor]  # weight (o, i, …) and bias (o,) of a convolution or a linear layer


def name_of(f: int, form: Form) -> str:
    """A network in tables and pictures.

    >>> name_of(1, "dense"), name_of(4, "dense"), name_of(4, "narrow")
    ('original', 'fold=4', 'fold=4, narrow (control)')
    """
    return "original" if f == 1 else f"fold={f}{FORMS[form]}"


def fold(images: Tensor, f: int) -> Tensor:
    """Stack images that follow each other: (b·f, c, h, w) -> (b, f·c, h, w). Raises `ValueError` if f does not divide.

    >>> fold(torch.zeros(8, 3, 22, 30), 4).shape
    torch.Size([2, 12, 22, 30])
    """
    n, c, h, w = images.shape
    if n % f:
        raise ValueError(f"batch of {n} images is not divisible by fold={f}")
    if f == 1:
        return images
    return images.reshape(n // f, f * c, h, w)  # (b*f, c, h, w) -> (b, f*c, h, w)


def unfold(logits: Tensor, f: int) -> Tensor:
    """A row of logits for every image of the stacks, in the order of `fold`: (b, f·k) -> (b·f, k).

    >>> unfold(torch.zeros(2, 4 * 27), 4).shape
    torch.Size([8, 27])
    """
    b, fk = logits.shape
    if fk % f:
        raise ValueError(f"{fk} logits are not divisible by fold={f}")
    return logits.reshape(b * f, fk // f)  # (b, f*k) -> (b*f, k)


def turn(rows: Tensor, f: int, places: int) -> Tensor:
    """Images of each stack, or their logits, moved on by `places`, the last to the front: (b·f, …) -> (b·f, …).

    >>> turn(torch.arange(6), 3, 1)
    tensor([2, 0, 1, 5, 3, 4])
    """
    return rows.reshape(-1, f, *rows.shape[1:]).roll(places, 1).reshape(rows.shape)  # (b*f, …) -> (b, f, …) -> (b*f, …)


def width(channels: int, f: int) -> int:
    """Channels of a folded layer between the first input and the last output: ⌊C·√f⌋ (footnote 5), exactly.

    >>> [width(32, f) for f in (1, 2, 3, 4)]
    [32, 45, 55, 64]
    """
    return isqrt(channels * channels * f)


def whole_stacks(batch: int, f: int) -> int:
    """The largest number of images up to `batch` that fills whole stacks. Raises `ValueError` if there is none."""
    if batch < f:
        raise ValueError(f"batch={batch} is smaller than fold={f}: a stack needs fold images, give batch={f} or more")
    return batch // f * f


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
