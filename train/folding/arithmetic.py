"""The arithmetic of folding (paper §3, §4): stacks of images, widths, and logits for every image.

Folding turns a network that classifies one image into a FoldedCNN, which classifies a stack of f images in one pass.
The f images of C channels are concatenated along the channels to one input of f·C channels. Every layer between the
first input and the last output gets √f times the channels, so that the FoldedCNN needs about as many operations for a
stack as the original needs for f images, but with a higher arithmetic intensity. The last layer gives f·k outputs,
which are the k logits of each image in the order of the stack. With fold=1 the network is the original.
"""

from __future__ import annotations

from math import isqrt
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

# How a FoldedCNN is computed. "dense": with all weights, in stacks. If it consists of f slots, also "grouped": with the
# weights of the f slots as convolution groups, in stacks; or "narrow": with the network of one slot, on single images,
# which is the paper's control.
Form = Literal["dense", "grouped", "narrow"]
FORMS: dict[Form, str] = {"dense": "", "grouped": ", grouped", "narrow": ", narrow (control)"}


def network_name(f: int, form: Form) -> str:
    """The name of a network in tables and figures.

    >>> network_name(1, "dense"), network_name(4, "dense"), network_name(4, "narrow")
    ('original', 'fold=4', 'fold=4, narrow (control)')
    """
    return "original" if f == 1 else f"fold={f}{FORMS[form]}"


def fold(images: Tensor, f: int) -> Tensor:
    """Stack every f consecutive images: (b·f, c, h, w) -> (b, f·c, h, w).

    Raises `ValueError` if the number of images is not a multiple of f.

    >>> import torch
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
    """Split the outputs of stacks into the logits of each image, in the order of `fold`: (b, f·k) -> (b·f, k).

    Raises `ValueError` if the number of outputs is not a multiple of f.

    >>> import torch
    >>> unfold(torch.zeros(2, 4 * 27), 4).shape
    torch.Size([8, 27])
    """
    b, fk = logits.shape
    if fk % f:
        raise ValueError(f"{fk} logits are not divisible by fold={f}")
    return logits.reshape(b * f, fk // f)  # (b, f*k) -> (b*f, k)


def roll_stacks(rows: Tensor, f: int, slots: int) -> Tensor:
    """Move the images of each stack, or their logits, by `slots`, the last ones to the front: (b·f, …) -> (b·f, …).

    >>> import torch
    >>> roll_stacks(torch.arange(6), 3, 1)
    tensor([2, 0, 1, 5, 3, 4])
    """
    stacks = rows.reshape(-1, f, *rows.shape[1:])  # (b*f, …) -> (b, f, …)
    return stacks.roll(slots, 1).reshape(rows.shape)  # (b, f, …) -> (b*f, …)


def folded_width(channels: int, f: int) -> int:
    """The channels of a folded layer between the first input and the last output: ⌊C·√f⌋ (footnote 5).

    The result is exact, as it is computed with whole numbers.

    >>> [folded_width(32, f) for f in (1, 2, 3, 4)]
    [32, 45, 55, 64]
    """
    return isqrt(channels * channels * f)


def whole_stacks(batch: int, f: int) -> int:
    """The largest multiple of f up to `batch`, a number of images. Raises `ValueError` if `batch` is smaller than f."""
    if batch < f:
        raise ValueError(f"batch={batch} is smaller than fold={f}: a stack needs fold images, give batch={f} or more")
    return batch // f * f
