"""EfficientNet's compound scaling of a network of the notation, φ = -1 (§5.3 of the paper; Tan & Le, 2019).

§5.3 compares FoldedCNNs with networks that are less deep by α, narrower by β and see smaller images by γ, which makes
them α·β²·γ² = 1.9 times cheaper. Its published code does something else, and what Table 5 says of the arithmetic
intensity is that of the code: 0.91, 0.88, 0.87 and 0.91 times that of the original are "reference" here.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from train.config.fields import Scaling

DEPTH, WIDTH, RESOLUTION = 1.1, 1.2, 1.15  # α, β and γ


def scale_network(how: Scaling, arch: str, pool: str, size: tuple[int, int]) -> tuple[str, str, tuple[int, int]]:
    """The scaled network and the size (H, W) of the images that it sees: `arch`, `pool` and `size` of the original.

    "efficientnet", the text: the number of convolutions is divided by α, channels and features of hidden layers by β,
    height and width by γ, each rounded to the nearest whole number. Convolutions are left out before the last one,
    from the end, so that C8 stays.

    "reference", the published code: convolutions and channels are divided by 1.1 and both sides by γ, each rounded
    down, but one convolution stays. Convolutions are left out from the end, C8 with its pool first; the pools that stay
    keep their strides. Images are resized to (W, H). Hidden fully connected layers, of which the code has none, are
    scaled as channels are.

    >>> scale_network("efficientnet", "C32 M B M B M C8 M F", "3x3 strides 2,1,2", (22, 30))
    ('C27 M C27 C27 C27 M C27 C27 M C7 M F', '3x3 strides 2,1,2', (19, 26))
    >>> scale_network("reference", "C32 M B M B M C8 M F", "3x3 strides 2,1,2", (22, 30))
    ('C29 M C29 C29 C29 M C29 C29 C29 M F', '3x3 strides 2,1,1', (26, 19))
    """
    words = re.sub(r"\bB\b", "C32 C32 C32", arch).split()
    if sees := re.fullmatch(r"R([0-9]+)x([0-9]+)", words[0]):  # smaller images already
        size, words = (int(sees[1]), int(sees[2])), words[1:]
    h, w = size
    convolutions = [at for at, word in enumerate(words) if word.startswith("C")]
    if how == "efficientnet":
        fewer = len(convolutions) - _nearest(len(convolutions) / DEPTH)
        for _ in range(fewer):
            words = _without(words, convolutions.pop(-2))
        size = max(_nearest(h / RESOLUTION), 1), max(_nearest(w / RESOLUTION), 1)
        return _widths(words, lambda channels: _nearest(channels / WIDTH)), pool, size
    for at in reversed(convolutions[max(int(len(convolutions) / DEPTH), 1) :]):
        kept = _without(words, at)
        if len(kept) < len(words) - 1 and "M" not in kept[at:]:  # what is the last pool now was an inner one
            pool = re.sub(r"strides (.),(.),.", r"strides \1,\2,\2", pool)
        words = kept
    size = max(int(w / RESOLUTION), 1), max(int(h / RESOLUTION), 1)
    return _widths(words, lambda channels: int(channels / DEPTH)), pool, size


def prepend_resize(arch: str, size: tuple[int, int]) -> str:
    """`arch` behind a layer that resizes images to `size` (H, W).

    >>> prepend_resize("C32 M F", (19, 26))
    'R19x26 C32 M F'
    """
    return f"R{size[0]}x{size[1]} {arch}"


class ResizeImages(nn.Module):
    """Images of `before` (H, W) resized to `after`, (b, c, H, W) -> (b, c, H', W'): bilinear, antialiased.

    It is two products with fixed matrices, which every exporter knows, equal to `functional.interpolate`.
    """

    rows: Tensor  # (H', H)
    columns: Tensor  # (W, W')

    def __init__(self, before: tuple[int, int], after: tuple[int, int]):
        super().__init__()
        (h, w), (new_h, new_w) = before, after
        self.register_buffer("rows", _weights(h, new_h), persistent=False)
        self.register_buffer("columns", _weights(w, new_w).T.contiguous(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.rows @ x @ self.columns  # (b, c, H, W) -> (b, c, H', W')


def _weights(before: int, after: int) -> Tensor:
    """What each of `after` values along a side takes of those before, (after, before): the unit images, resized."""
    units = torch.eye(before)[None, None]  # (1, 1, before, before)
    return functional.interpolate(units, (after, before), mode="bilinear", antialias=True)[0, 0]


def _nearest(number: float) -> int:
    return int(number + 0.5)


def _without(words: list[str], at: int) -> list[str]:
    """Without the convolution at `at`, and without the pool behind it where no convolution is left before that."""
    alone = words[at + 1] == "M" and (at == 0 or words[at - 1] == "M")
    return words[:at] + words[at + 1 + alone :]


def _widths(words: list[str], scale: Callable[[int], int]) -> str:
    """Every width scaled, at least 1."""
    return re.sub(r"([CF])([0-9]+)", lambda match: f"{match[1]}{max(scale(int(match[2])), 1)}", " ".join(words))
