"""The paper's notation for networks, parsed into layers and built for any fold (paper §A, Table 2).

`arch` is a row of letters: `C32` is a 3×3 convolution with 32 output channels, padding 1 and stride 1, `M` a max pool,
`F128` a fully connected layer, `F` the last one, with an output a class, and `B` short for `C32 C32 C32`. ReLU follows
every convolution and every `F` but the last. `pool` says what `M` is: "3x3 strides 2,1,2" gives the kernel and the
strides of the first, the inner and the last pool; one stride serves for all; "padded" pads by half a kernel.

Beyond the paper's letters, `R19x26` before all else resizes images to 19×26, and a width may be of a multiple, for
devices that compute in tiles (§H): `C32/8` is the multiple of 8 nearest to what the width comes to in a folded network,
`C32/8+` the next above and `C32/8-` the one below.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from math import prod

import torch
from torch import Tensor, nn

from textgen.common.errors import UserError
from train.config.fields import Rounding
from train.folding.arithmetic import folded_width
from train.models.scaling import ResizeImages
from train.models.training_layers import CharacterLinear, Norm

_SIGNS: dict[Rounding, str] = {"nearest": "", "up": "+", "down": "-"}


@dataclass(frozen=True)
class Align:
    """Widths are rounded to a multiple of `multiple`, at least one; "nearest" rounds what lies in the middle up."""

    multiple: int = 1
    to: Rounding = "nearest"

    def __call__(self, width: int) -> int:
        added = {"nearest": self.multiple // 2, "up": self.multiple - 1, "down": 0}[self.to]
        return max((width + added) // self.multiple, 1) * self.multiple


@dataclass(frozen=True)
class Conv:
    """A 3×3 convolution, padding 1, stride 1, with `channels` outputs in the original network; then ReLU."""

    channels: int
    align: Align = Align()


@dataclass(frozen=True)
class Pool:
    """A max pool."""

    kernel: int
    stride: int
    padding: int


@dataclass(frozen=True)
class Linear:
    """A fully connected layer, `features` outputs in the original network, then ReLU; None: one a class, the last."""

    features: int | None
    align: Align = Align()


@dataclass(frozen=True)
class Resize:
    """Images resized to `size` (H, W), bilinear and antialiased."""

    size: tuple[int, int]


Layer = Conv | Pool | Linear | Resize


@dataclass(frozen=True)
class SizedLayer:
    """A layer with the sizes that it has in one network: `input` and `output` are (C, H, W) of one stack.

    A linear layer takes the features flat, (C·H·W,), and gives (features, 1, 1).
    """

    name: str  # conv1, pool1, linear1, resize1 …
    layer: Layer
    input: tuple[int, int, int]
    output: tuple[int, int, int]


def parse(arch: str, pool: str) -> tuple[Layer, ...]:
    """The layers of the original network. Raises `UserError` that names the word which is wrong.

    >>> parse("C32 M F", "3x3 strides 2,1,2") == (Conv(32), Pool(3, stride=2, padding=0), Linear(None))
    True
    >>> parse("R9x12 C32/8+ F", "3x3 stride 2") == (Resize((9, 12)), Conv(32, Align(8, "up")), Linear(None))
    True
    """
    words = [word for token in arch.split() for word in (["C32"] * 3 if token == "B" else [token])]
    pools = iter(_pools(pool, words.count("M")))
    layers: list[Layer] = []
    for at, word in enumerate(words):
        wide = re.fullmatch(r"([CF])([1-9][0-9]{0,4})(?:/([1-9][0-9]{0,2})([+-]?))?", word)
        size = re.fullmatch(r"R([1-9][0-9]{0,3})x([1-9][0-9]{0,3})", word)
        if word == "M":
            layers.append(next(pools))
        elif word == "F":
            layers.append(Linear(None))
        elif wide:
            to = next(to for to, sign in _SIGNS.items() if sign == (wide[4] or ""))
            layers.append((Conv if wide[1] == "C" else Linear)(int(wide[2]), Align(int(wide[3] or 1), to)))
        elif size and at == 0:
            layers.append(Resize((int(size[1]), int(size[2]))))
        else:
            raise UserError(f"arch {arch!r}: {word!r} is no layer; write C32, F128, F, M or B, or R19x26 before them")
    flat = [isinstance(layer, Linear) for layer in layers]
    if not layers or layers[-1] != Linear(None) or layers.count(Linear(None)) != 1 or flat != sorted(flat):
        raise UserError(f"arch {arch!r}: convolutions and pools come first, then F layers, and one bare F ends it")
    return tuple(layers)


def scale_widths(arch: str, width: float) -> str:
    """`arch` with every width but the last multiplied by `width` and rounded down, at least 1: the paper's control.

    >>> scale_widths("C32 M B M C8 M F128 F", 0.5)
    'C16 M C16 C16 C16 M C4 M F64 F'
    """
    return re.sub(
        r"([CF])([0-9]+)",
        lambda match: f"{match[1]}{max(int(int(match[2]) * width), 1)}",
        re.sub(r"\bB\b", "C32 C32 C32", arch),
    )


def align_widths(arch: str, multiple: int, to: Rounding) -> str:
    """`arch` with every width but the last of a multiple of `multiple`, instead of what multiples it had.

    >>> align_widths("C32 M B M C8 M F128 F", 8, "up")
    'C32/8+ M C32/8+ C32/8+ C32/8+ M C8/8+ M F128/8+ F'
    """
    return re.sub(
        r"([CF][0-9]+)(/[0-9]+[+-]?)?", rf"\g<1>/{multiple}{_SIGNS[to]}", re.sub(r"\bB\b", "C32 C32 C32", arch)
    )


def _pools(pool: str, count: int) -> list[Pool]:
    match = re.fullmatch(r"([1-9])x\1 strides? ([1-9])(?:,([1-9]),([1-9]))?( padded)?", pool)
    if not match:
        raise UserError(f'pool {pool!r} is not as "3x3 strides 2,1,2", "2x2 stride 2" or "3x3 stride 1 padded"')
    kernel, first = int(match[1]), int(match[2])
    inner, last = int(match[3] or first), int(match[4] or first)
    strides = [first, *[inner] * (count - 2), last] if count > 1 else [first] * count
    return [Pool(kernel, stride, kernel // 2 if match[5] else 0) for stride in strides]


def size_layers(
    layers: tuple[Layer, ...],
    *,
    size: tuple[int, int],
    classes: int,
    fold: int = 1,
    slot_of: int = 1,
    widen_last: int = 1,
) -> tuple[SizedLayer, ...]:
    """The layers with their sizes, for stacks of `fold` images of `size` (H, W): what `build` builds, by arithmetic.

    The first layer takes `fold` times the channels, the last gives `fold` times the classes, all between are ⌊C·√fold⌋
    wide, fully connected layers too (§4.1), or the multiple that a layer asks for. With `slot_of=f` it is the narrow
    network for single images that fills one of f slots of such a network (`train.folding.slots.assemble_slots`),
    an f-th of its width, rounded down; `fold` stays 1. The last convolution has `widen_last` times its channels. Raises
    `UserError` for images that are too small.
    """
    if fold < 1:
        raise UserError(f"fold={fold}: it counts the images of a stack, give 1 (the original network), 2, 3, 4…")

    def wide(channels: int, align: Align) -> int:
        return max(align(folded_width(channels, fold * slot_of)) // slot_of, 1)

    last_conv = max((at for at, layer in enumerate(layers) if isinstance(layer, Conv)), default=None)
    numbers: Counter[str] = Counter()
    found = []
    seen = layers[0].size if layers and isinstance(layers[0], Resize) else size
    c, h, w = fold * 3, *size
    for at, layer in enumerate(layers):
        before = (c, h, w)
        if isinstance(layer, Conv):
            kind, c = "conv", wide(layer.channels, layer.align) * (widen_last if at == last_conv else 1)
        elif isinstance(layer, Pool):
            kind = "pool"
            h, w = ((side + 2 * layer.padding - layer.kernel) // layer.stride + 1 for side in (h, w))
            if h < 1 or w < 1:
                raise UserError(f"images of {seen[0]}×{seen[1]} are too small for the pools of this arch: give fewer M")
        elif isinstance(layer, Resize):
            kind, (h, w) = "resize", layer.size
        elif layer.features is None:
            kind, c, h, w = "linear", fold * classes, 1, 1
        else:
            kind, c, h, w = "linear", wide(layer.features, layer.align), 1, 1
        numbers[kind] += 1
        found.append(SizedLayer(f"{kind}{numbers[kind]}", layer, before, (c, h, w)))
    return tuple(found)


def build(
    layers: tuple[Layer, ...],
    *,
    size: tuple[int, int],
    classes: int,
    fold: int = 1,
    slot_of: int = 1,
    widen_last: int = 1,
    norm: bool = False,
    dropout: float = 0.0,
    pool_first: bool = False,
    shares: Tensor | None = None,
) -> nn.Sequential:
    """The network for stacks of `fold` images, (b, fold·3, H, W) -> (b, fold·classes), of layers as `size_layers` says.

    The rest is for training, and `train.models.training_layers.reparameterise` takes it out again; the names of the
    layers with weights, conv1, linear1 and so on, stay. With `norm` a batch norm follows every convolution. With
    `dropout` there are Dropout layers behind the second layer and its pool and before the last layer (§5.1, for
    NoScope's networks). `pool_first` has norm and ReLU behind the pool that follows: as both rise with their input the
    network computes the same, its gradient is the same, and with a pool of stride 2 they have a quarter of the work.
    The norm's mean and variance are then those of the values that the pool lets through. With `shares` (classes, s) the
    last layer is a `CharacterLinear`, for fold=1 alone: raises `ValueError` otherwise.
    """
    if shares is not None and fold > 1:
        raise ValueError(f"shares are for single images, not for stacks of {fold}")
    net = nn.Sequential()
    numbers: Counter[str] = Counter()

    def add(kind: str, module: nn.Module) -> None:  # what has no layer in the notation
        numbers[kind] += 1
        net.add_module(f"{kind}{numbers[kind]}", module)

    weighted = 0  # layers so far that have weights
    waiting: list[tuple[str, nn.Module]] = []  # norm and ReLU of the convolution before
    plan = size_layers(layers, size=size, classes=classes, fold=fold, slot_of=slot_of, widen_last=widen_last)
    for at, following in pairwise((*plan, None)):
        assert at is not None
        layer, channels, last = at.layer, at.output[0], following is None
        if isinstance(layer, Conv):
            net.add_module(at.name, nn.Conv2d(at.input[0], channels, 3, padding=1, bias=not norm))
            waiting = [("norm", Norm(channels))] * norm + [("relu", nn.ReLU(inplace=True))]
            weighted += 1
        elif isinstance(layer, Pool):
            net.add_module(at.name, nn.MaxPool2d(layer.kernel, layer.stride, layer.padding))
        elif isinstance(layer, Resize):
            net.add_module(at.name, ResizeImages(at.input[1:], layer.size))
        else:
            if not numbers["flatten"]:
                add("flatten", nn.Flatten())
            features = prod(at.input)
            net.add_module(
                at.name,
                CharacterLinear(features, shares) if last and shares is not None else nn.Linear(features, channels),
            )
            if not last:
                add("relu", nn.ReLU(inplace=True))
            weighted += 1
        pooled = following is not None and isinstance(following.layer, Pool)
        if not (pool_first and pooled):
            for kind, module in waiting:
                add(kind, module)
            waiting = []
        second = weighted == 2 and not pooled and not numbers["dropout"]
        if dropout and following is not None and (second or following.layer == Linear(None)):
            add("dropout", nn.Dropout(dropout))
    return net


@torch.no_grad()
def initialise(net: nn.Module, init: str) -> None:
    """Weights as the published code has them ("reference": Xavier uniform, linear N(0, 0.01), biases 0) or "torch"."""
    if init == "torch":
        return
    if init != "reference":
        raise ValueError(f"init is reference or torch, not {init!r}")
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.xavier_uniform_(layer.weight, nn.init.calculate_gain("relu"))
        elif isinstance(layer, nn.Linear) and not isinstance(layer, CharacterLinear):  # whose own weights stay zero
            nn.init.normal_(layer.weight, 0.0, 0.01)
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
            nn.init.zeros_(layer.bias)
