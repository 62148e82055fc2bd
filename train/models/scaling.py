"""EfficientNet's compound scaling of a network of the notation, φ = -1 (§5.3 of the paper; Tan & Le, 2019).

§5.3 compares FoldedCNNs with networks whose depth is divided by α, width by β and image size by γ, which makes them
α·β²·γ² = 1.9 times cheaper. The published code computes something else, "reference" here. The arithmetic intensities of
Table 5, 0.91, 0.88, 0.87 and 0.91 times that of the original, are those of the code.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from train.config.fields import Scaling
from train.models.notation import expand_blocks

DEPTH, WIDTH, RESOLUTION = 1.1, 1.2, 1.15  # α, β and γ


def scale_network(how: Scaling, arch: str, pool: str, size: tuple[int, int]) -> tuple[str, str, tuple[int, int]]:
    """Scale the network with `arch` and `pool` for images of `size` (H, W): the new `arch`, `pool` and image size.

    "efficientnet", the text: the number of convolutions is divided by α, channels and features of hidden layers by β,
    height and width by γ, each rounded to the nearest whole number. Convolutions are removed from the end, but the last
    one, C8, stays.

    "reference", the published code: the number of convolutions, the channels and both sides are divided by 1.1, 1.1 and
    γ, each rounded down, but at least one convolution stays. Convolutions are removed from the end, C8 with its pool
    first; the remaining pools keep their strides. Height and width of the resized images are swapped. Hidden fully
    connected layers, of which the code has none, are scaled as channels are.

    >>> scale_network("efficientnet", "C32 M B M B M C8 M F", "3x3 strides 2,1,2", (22, 30))
    ('C27 M C27 C27 C27 M C27 C27 M C7 M F', '3x3 strides 2,1,2', (19, 26))
    >>> scale_network("reference", "C32 M B M B M C8 M F", "3x3 strides 2,1,2", (22, 30))
    ('C29 M C29 C29 C29 M C29 C29 C29 M F', '3x3 strides 2,1,1', (26, 19))
    """
    words = expand_blocks(arch).split()
    if resized := re.fullmatch(r"R([0-9]+)x([0-9]+)", words[0]):
        size, words = (int(resized[1]), int(resized[2])), words[1:]
    h, w = size
    convolutions = [index for index, word in enumerate(words) if word.startswith("C")]
    if how == "efficientnet":
        removed = len(convolutions) - _round(len(convolutions) / DEPTH)
        for _ in range(removed):
            words = _remove_convolution(words, convolutions.pop(-2))
        size = max(_round(h / RESOLUTION), 1), max(_round(w / RESOLUTION), 1)
        return _scale_words(words, lambda channels: _round(channels / WIDTH)), pool, size
    for index in reversed(convolutions[max(int(len(convolutions) / DEPTH), 1) :]):
        kept = _remove_convolution(words, index)
        if len(kept) < len(words) - 1 and "M" not in kept[index:]:  # the last pool was removed; the new one was inner
            pool = re.sub(r"strides (.),(.),.", r"strides \1,\2,\2", pool)
        words = kept
    size = max(int(w / RESOLUTION), 1), max(int(h / RESOLUTION), 1)
    return _scale_words(words, lambda channels: int(channels / DEPTH)), pool, size


def prepend_resize(arch: str, size: tuple[int, int]) -> str:
    """Put a layer that resizes images to `size` (H, W) before all layers of `arch`.

    >>> prepend_resize("C32 M F", (19, 26))
    'R19x26 C32 M F'
    """
    return f"R{size[0]}x{size[1]} {arch}"


def _round(number: float) -> int:
    """The nearest whole number; halves are rounded up, unlike by `round`."""
    return int(number + 0.5)


def _remove_convolution(words: list[str], index: int) -> list[str]:
    """The words without the convolution at `index`, and without its pool where it is the only convolution of that."""
    only_of_pool = words[index + 1] == "M" and (index == 0 or words[index - 1] == "M")
    return words[:index] + words[index + 1 + only_of_pool :]


def _scale_words(words: list[str], scale: Callable[[int], int]) -> str:
    """The words joined, with every width scaled, to at least 1."""
    return re.sub(r"([CF])([0-9]+)", lambda match: f"{match[1]}{max(scale(int(match[2])), 1)}", " ".join(words))
