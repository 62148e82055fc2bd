"""The fold arithmetic of FoldedCNNs (paper §3, §4), and nowhere else: stacks of images, widths, unfolding, slots.

A FoldedCNN takes f images of C channels as one input of f·C channels, widens every layer between by √f and gives f
rows of logits. `fold == 1` is the original network throughout.
"""

from __future__ import annotations

from math import isqrt
from typing import Literal

from torch import Tensor

# How a FoldedCNN is computed: as it is; and of slots by its f blocks alone, as groups, or as the network of one slot on
# single images, the paper's control.
Form = Literal["dense", "grouped", "narrow"]
FORMS: dict[Form, str] = {"dense": "", "grouped": ", grouped", "narrow": ", narrow (control)"}


def network_name(f: int, form: Form) -> str:
    """A network in tables and pictures.

    >>> network_name(1, "dense"), network_name(4, "dense"), network_name(4, "narrow")
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


def roll_stacks(rows: Tensor, f: int, places: int) -> Tensor:
    """Images of each stack, or their logits, moved on by `places`, the last to the front: (b·f, …) -> (b·f, …).

    >>> roll_stacks(torch.arange(6), 3, 1)
    tensor([2, 0, 1, 5, 3, 4])
    """
    return rows.reshape(-1, f, *rows.shape[1:]).roll(places, 1).reshape(rows.shape)  # (b*f, …) -> (b, f, …) -> (b*f, …)


def folded_width(channels: int, f: int) -> int:
    """Channels of a folded layer between the first input and the last output: ⌊C·√f⌋ (footnote 5), exactly.

    >>> [folded_width(32, f) for f in (1, 2, 3, 4)]
    [32, 45, 55, 64]
    """
    return isqrt(channels * channels * f)


def whole_stacks(batch: int, f: int) -> int:
    """The largest number of images up to `batch` that fills whole stacks. Raises `ValueError` if there is none."""
    if batch < f:
        raise ValueError(f"batch={batch} is smaller than fold={f}: a stack needs fold images, give batch={f} or more")
    return batch // f * f
