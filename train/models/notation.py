"""The paper's notation for networks (§A, Table 2): parsed to layers, sized, and built for any fold.

`arch` is a sequence of words: `C32` is a 3×3 convolution with 32 output channels, padding 1 and stride 1, `M` a max
pool, `F128` a fully connected layer, `F` the last one, with one output for each class, and `B` stands for
`C32 C32 C32`. ReLU follows every convolution and every `F` but the last. `pool` describes `M`: "3x3 strides 2,1,2" is
the kernel, and the strides of the first, the inner and the last pool; a single stride is that of all pools; "padded"
pads by half a kernel.

The paper's notation is extended twice. `R19x26` as the first word resizes images to 19×26. Widths may be rounded to a
multiple, for devices that compute in tiles (§H): `C32/8` rounds the folded width to the nearest multiple of 8, `C32/8+`
rounds up and `C32/8-` down.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from textgen.common.errors import UserError
from train.config.fields import Rounding
from train.folding.arithmetic import folded_width

if TYPE_CHECKING:  # PyTorch is imported where networks are built: those that only run need the layers alone
    from torch import Tensor, nn

ROUNDING_SIGNS: dict[Rounding, str] = {
    "nearest": "",
    "up": "+",
    "down": "-",
}  # after the multiple, as in C32/8+


@dataclass(frozen=True)
class Align:
    """Rounds a width to a multiple of `multiple`, and to at least `multiple`; "nearest" rounds a half up."""

    multiple: int = 1
    to: Rounding = "nearest"

    def __call__(self, width: int) -> int:
        added = {"nearest": self.multiple // 2, "up": self.multiple - 1, "down": 0}[self.to]
        return max((width + added) // self.multiple, 1) * self.multiple


@dataclass(frozen=True)
class Conv:
    """A 3×3 convolution, padding 1, stride 1, with `channels` output channels in the original network; then ReLU."""

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
    """A fully connected layer with `features` outputs in the original network, then ReLU.

    `features` is None for the last layer, which has one output for each class and no ReLU.
    """

    features: int | None
    align: Align = Align()


@dataclass(frozen=True)
class Resize:
    """Images resized to `size` (H, W), bilinear and antialiased."""

    size: tuple[int, int]


Layer = Conv | Pool | Linear | Resize


@dataclass(frozen=True)
class SizedLayer:
    """A layer with its sizes in one network: `input` and `output` are (C, H, W) of one stack.

    The input of a linear layer is flattened to (C·H·W,), and its output is (features, 1, 1).
    """

    name: str  # conv1, pool1, linear1, resize1 …
    layer: Layer
    input: tuple[int, int, int]
    output: tuple[int, int, int]


def parse(arch: str, pool: str) -> tuple[Layer, ...]:
    """Parse the layers of the original network. Raises `UserError` that names the wrong word.

    >>> parse("C32 M F", "3x3 strides 2,1,2") == (Conv(32), Pool(3, stride=2, padding=0), Linear(None))
    True
    >>> parse("R9x12 C32/8+ F", "3x3 stride 2") == (Resize((9, 12)), Conv(32, Align(8, "up")), Linear(None))
    True
    """
    words = expand_blocks(arch).split()
    pools = iter(_parse_pools(pool, words.count("M")))
    layers: list[Layer] = []
    for index, word in enumerate(words):
        width = re.fullmatch(r"([CF])([1-9][0-9]{0,4})(?:/([1-9][0-9]{0,2})([+-]?))?", word)
        size = re.fullmatch(r"R([1-9][0-9]{0,3})x([1-9][0-9]{0,3})", word)
        if word == "M":
            layers.append(next(pools))
        elif word == "F":
            layers.append(Linear(None))
        elif width:
            to = next(to for to, sign in ROUNDING_SIGNS.items() if sign == (width[4] or ""))
            layers.append((Conv if width[1] == "C" else Linear)(int(width[2]), Align(int(width[3] or 1), to)))
        elif size and index == 0:
            layers.append(Resize((int(size[1]), int(size[2]))))
        else:
            raise UserError(f"arch {arch!r}: {word!r} is no layer; write C32, F128, F, M or B, or R19x26 first")
    linear = [isinstance(layer, Linear) for layer in layers]
    if not layers or layers[-1] != Linear(None) or layers.count(Linear(None)) != 1 or linear != sorted(linear):
        raise UserError(f"arch {arch!r}: convolutions and pools come first, then F layers, and one bare F ends it")
    return tuple(layers)


def expand_blocks(arch: str) -> str:
    """Write out every `B` of `arch`.

    >>> expand_blocks("C32 M B F")
    'C32 M C32 C32 C32 F'
    """
    return re.sub(r"(?<!\S)B(?!\S)", "C32 C32 C32", arch)


def scale_widths(arch: str, width: float) -> str:
    """Multiply every width of `arch` but the last by `width` and round down, to at least 1: the paper's control.

    >>> scale_widths("C32 M B M C8 M F128 F", 0.5)
    'C16 M C16 C16 C16 M C4 M F64 F'
    """
    return re.sub(
        r"([CF])([0-9]+)", lambda match: f"{match[1]}{max(int(int(match[2]) * width), 1)}", expand_blocks(arch)
    )


def align_widths(arch: str, multiple: int, to: Rounding) -> str:
    """Round every width of `arch` but the last to a multiple of `multiple`, in place of the multiples that it had.

    >>> align_widths("C32 M B M C8 M F128 F", 8, "up")
    'C32/8+ M C32/8+ C32/8+ C32/8+ M C8/8+ M F128/8+ F'
    """
    return re.sub(r"([CF][0-9]+)(/[0-9]+[+-]?)?", rf"\g<1>/{multiple}{ROUNDING_SIGNS[to]}", expand_blocks(arch))


def _parse_pools(pool: str, count: int) -> list[Pool]:
    """The `count` pools of a network, from the first to the last."""
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
    """Compute the sizes of all layers in the network that `build` builds for stacks of `fold` images of `size` (H, W).

    The first layer takes `fold` times the channels, the last gives `fold` times the classes, all between are ⌊C·√fold⌋
    wide, fully connected layers too (§4.1), or the multiple that a layer asks for. With `slot_of=f` it is the narrow
    network that fills one of f slots (`train.folding.slots.assemble_slots`): `fold` stays 1, and widths are an f-th of
    the folded ones, rounded down. The last convolution has `widen_last` times its channels. Raises `UserError` for
    images that are too small.
    """
    if fold < 1:
        raise UserError(f"fold={fold}: it counts the images of a stack, give 1 (the original network), 2, 3, 4…")

    def fold_width(channels: int, align: Align) -> int:
        return max(align(folded_width(channels, fold * slot_of)) // slot_of, 1)

    last_conv = max((index for index, layer in enumerate(layers) if isinstance(layer, Conv)), default=None)
    image_size = layers[0].size if layers and isinstance(layers[0], Resize) else size
    counts: Counter[str] = Counter()
    sized_layers = []
    c, h, w = fold * 3, *size
    for index, layer in enumerate(layers):
        input_size = (c, h, w)
        if isinstance(layer, Conv):
            kind, c = "conv", fold_width(layer.channels, layer.align) * (widen_last if index == last_conv else 1)
        elif isinstance(layer, Pool):
            kind = "pool"
            h, w = ((side + 2 * layer.padding - layer.kernel) // layer.stride + 1 for side in (h, w))
            if h < 1 or w < 1:
                given = f"{image_size[0]}×{image_size[1]}"
                raise UserError(f"images of {given} are too small for the pools of this arch: give fewer M")
        elif isinstance(layer, Resize):
            kind, (h, w) = "resize", layer.size
        elif layer.features is None:
            kind, c, h, w = "linear", fold * classes, 1, 1
        else:
            kind, c, h, w = "linear", fold_width(layer.features, layer.align), 1, 1
        counts[kind] += 1
        sized_layers.append(SizedLayer(f"{kind}{counts[kind]}", layer, input_size, (c, h, w)))
    return tuple(sized_layers)


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
    shared_block: bool = False,
) -> nn.Sequential:
    """Build the network for stacks of `fold` images, (b, fold·3, H, W) -> (b, fold·classes), sized as by `size_layers`.

    The other arguments add training-only layers, which `train.models.training_layers.reparameterise` removes again; the
    layers with weights keep their names, conv1, linear1 and so on. With `norm` a batch norm follows every convolution.
    With `dropout` there are Dropout layers after the second layer with weights and its pool, and before the last layer
    (§5.1, for NoScope's networks). With `pool_first` the pool after a convolution comes before its norm and ReLU: both
    are monotonic, so outputs and gradients are the same, and after a pool of stride 2 they cost a quarter. The norm's
    mean and variance are then those of the pooled values. With `shared_block` all layers with weights are
    `SharedBlock`s and all norms `SharedBatchNorm`s, for fold > 1. With `shares` (classes, s) the last layer, or its
    shared block, is a `CharacterLinear`: raises `ValueError` for stacks without shared blocks.
    """
    from torch import nn  # noqa: PLC0415

    from train.models.training_layers import PositiveBatchNorm, SharedBatchNorm, SharedBlock  # noqa: PLC0415

    if shares is not None and fold > 1 and not shared_block:
        raise ValueError(f"shares are for single images or shared blocks, not for stacks of {fold}")
    plan = size_layers(layers, size=size, classes=classes, fold=fold, slot_of=slot_of, widen_last=widen_last)
    of_slot = size_layers(layers, size=size, classes=classes, slot_of=fold) if shared_block else plan
    net = nn.Sequential()
    counts: Counter[str] = Counter()

    def append(kind: str, module: nn.Module) -> None:  # a layer without a name in `plan`
        counts[kind] += 1
        net.add_module(f"{kind}{counts[kind]}", module)

    weight_layers = 0
    activation: list[tuple[str, nn.Module]] = []  # norm and ReLU of the layer before, not yet appended
    for sized, block, next_layer in zip(plan, of_slot, (*layers[1:], None), strict=True):
        if isinstance(sized.layer, Linear) and not counts["flatten"]:
            append("flatten", nn.Flatten())
        module = _build_layer(block, bias=not norm, shares=shares if next_layer is None else None)
        if shared_block and isinstance(module, nn.Conv2d | nn.Linear):
            inputs = sized.input[0] if isinstance(module, nn.Conv2d) else prod(sized.input)
            module = SharedBlock(module, fold, inputs, sized.output[0])
        net.add_module(sized.name, module)
        if isinstance(sized.layer, Conv):
            weight_layers += 1
            channels = sized.output[0]
            activation = []
            if norm:
                module = SharedBatchNorm(channels, fold) if shared_block else PositiveBatchNorm(channels)
                activation.append(("norm", module))
            activation.append(("relu", nn.ReLU(inplace=True)))
        elif isinstance(sized.layer, Linear):
            weight_layers += 1
            activation = [("relu", nn.ReLU(inplace=True))] if next_layer is not None else []
        before_pool = isinstance(next_layer, Pool)
        if not (pool_first and before_pool):
            for kind, module in activation:
                append(kind, module)
            activation = []
        after_second = weight_layers == 2 and not before_pool and not counts["dropout"]
        if dropout and next_layer is not None and (after_second or next_layer == Linear(None)):
            append("dropout", nn.Dropout(dropout))
    return net


def _build_layer(sized: SizedLayer, *, bias: bool, shares: Tensor | None) -> nn.Module:
    """The PyTorch layer; `bias` is for convolutions, and with `shares` a linear layer is a `CharacterLinear`."""
    from torch import nn  # noqa: PLC0415

    from train.models.resize import ResizeImages  # noqa: PLC0415
    from train.models.training_layers import CharacterLinear  # noqa: PLC0415

    layer, c_in, c_out = sized.layer, sized.input[0], sized.output[0]
    if isinstance(layer, Conv):
        return nn.Conv2d(c_in, c_out, 3, padding=1, bias=bias)
    if isinstance(layer, Pool):
        return nn.MaxPool2d(layer.kernel, layer.stride, layer.padding)
    if isinstance(layer, Resize):
        return ResizeImages(sized.input[1:], layer.size)
    features = prod(sized.input)
    return nn.Linear(features, c_out) if shares is None else CharacterLinear(features, shares)


def initialise(net: nn.Module, init: str) -> None:
    """Draw the initial weights of all convolutions and linear layers, in place.

    "reference", the published code: Xavier uniform for convolutions, N(0, 0.01) for linear layers, biases 0. "torch":
    the weights of PyTorch's layers as they are.
    """
    from torch import nn  # noqa: PLC0415

    from train.models.training_layers import CharacterLinear  # noqa: PLC0415

    if init == "torch":
        return
    if init != "reference":
        raise ValueError(f"init is reference or torch, not {init!r}")
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.xavier_uniform_(layer.weight, nn.init.calculate_gain("relu"))
        elif isinstance(layer, nn.Linear) and not isinstance(layer, CharacterLinear):  # its own weights stay zero
            nn.init.normal_(layer.weight, 0.0, 0.01)
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
            nn.init.zeros_(layer.bias)
