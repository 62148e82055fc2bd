"""What a network costs, by arithmetic alone: operations, bytes, arithmetic intensity (§2.2, §3, §C, §J of the paper).

Counted are convolutions and fully connected layers, two operations a multiply-add, without biases; ReLU and pools are
taken to be fused with what stands before them. Everything is linear in the number of stacks but the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf, prod, sqrt

from train.folding.arithmetic import Form, network_name
from train.models.notation import Conv, Layer, Linear, SizedLayer, size_layers

KERNEL = 3  # of every convolution of the notation


@dataclass(frozen=True)
class LayerCost:
    """One layer: elements of its activations for one stack, elements of its weights, operations for one stack.

    `channels` are (C_i, C_o), features of a linear layer; `size` is (H, W) of the output, 1×1 of a linear layer.
    """

    name: str
    channels: tuple[int, int]
    size: tuple[int, int]
    inputs: int
    outputs: int
    weights: int
    operations: int
    winograd: int  # operations by F(2×2, 3×3), see `convolution`; of a linear layer as they are

    @property
    def activations(self) -> int:
        return self.inputs + self.outputs

    def traffic(self, stacks: float, element: int) -> float:
        """Bytes to and from memory for so many stacks, with `element` bytes each (the denominator of Eq. 2)."""
        return element * (stacks * self.activations + self.weights)

    def intensity(self, stacks: float, element: int) -> float:
        """Operations a byte (Eqs. 2 and 3); of endlessly many stacks, `inf`, the limit (Eq. 4, with B)."""
        return intensity([self], stacks, element)

    def least_images(self, f: int) -> float:
        """Above how many images folding this layer of an original network by f saves traffic (Eq. 5, §J).

        Eq. 5 solved for N: (f - 1)·weights / ((1 - 1/√f)·activations of an image).
        """
        return (f - 1) * self.weights / ((1 - 1 / sqrt(f)) * self.activations)


def convolution(
    name: str,
    c_in: int,
    c_out: int,
    size: tuple[int, int],
    *,
    output: tuple[int, int] | None = None,
    groups: int = 1,
    kernel: int | tuple[int, int] = KERNEL,
    winograd: bool = True,
) -> LayerCost:
    """A convolution with groups (§C: operations and weights /G), of images of `size` (H, W).

    `output` (H, W) is the size of what it gives, where stride or padding make it another. Winograd's F(2×2, 3×3), which
    a stride, a dilation (`winograd=False`) or another kernel rules out, has for every 2×2 tile of the output 16
    multiply-adds instead of 36 for each pair of channels, 32 additions a channel of the input and 24 a channel of the
    output (Lavin & Gray, 2016); its filters are transformed beforehand. Raises `ValueError` unless the groups divide
    both numbers of channels.
    """
    if c_in % groups or c_out % groups:
        raise ValueError(f"{groups} groups do not divide {c_in} and {c_out} channels")
    h, w = output or size
    across, down = (kernel, kernel) if isinstance(kernel, int) else kernel
    pairs = c_in * c_out // groups
    weights = pairs * across * down
    direct = 2 * h * w * weights
    tiles = ceil(h / 2) * ceil(w / 2)
    return LayerCost(
        name,
        (c_in, c_out),
        (h, w),
        inputs=c_in * prod(size),
        outputs=c_out * h * w,
        weights=weights,
        operations=direct,
        winograd=tiles * (2 * 16 * pairs + 32 * c_in + 24 * c_out) if winograd and across == down == 3 else direct,
    )


def linear(name: str, c_in: int, c_out: int, *, groups: int = 1) -> LayerCost:
    """A fully connected layer, or as many small ones beside each other as there are groups."""
    pairs = c_in * c_out // groups
    return LayerCost(name, (c_in, c_out), (1, 1), c_in, c_out, pairs, 2 * pairs, 2 * pairs)


@dataclass(frozen=True)
class NetworkCost:
    """All layers of one network that takes stacks of `fold` images."""

    fold: int
    form: Form
    layers: tuple[LayerCost, ...]

    @property
    def name(self) -> str:
        return network_name(self.fold, self.form)

    @property
    def stack(self) -> int:
        """Images a stack."""
        return 1 if self.form == "narrow" else self.fold

    def stacks(self, images: float) -> float:
        """Stacks that hold so many images; the last one may be filled up."""
        return ceil(images / self.stack) if images < inf else inf

    def share(self, images: float) -> float:
        """Stacks an image, of a batch of so many: 1/`stack`, and more where the last stack is filled up."""
        return self.stacks(images) / images if images < inf else 1 / self.stack

    def operations(self, images: float = inf, *, winograd: bool = False) -> float:
        """Of one image, of a batch of so many."""
        return self.share(images) * sum(layer.winograd if winograd else layer.operations for layer in self.layers)

    def intensity(self, images: float, element: int) -> float:
        """Operations of all layers by bytes of all layers (§2.2), for a batch of so many images or the limit, `inf`."""
        return intensity(self.layers, self.stacks(images), element)

    def traffic(self, images: float, element: int) -> tuple[float, float]:
        """Bytes of activations and of weights, to and from memory, for a batch of so many images (Figs. 4 and 5)."""
        stacks = self.stacks(images)
        activations = element * stacks * sum(layer.activations for layer in self.layers)
        return activations, float(element * sum(layer.weights for layer in self.layers))

    def seconds(self, images: int, element: int, peak: float, bandwidth: float) -> float:
        """The least that a device takes for a batch by the roofline, layer after layer: `peak` operations and
        `bandwidth` bytes a second, whichever a layer needs longer (Eq. 1)."""
        stacks = self.stacks(images)
        return sum(
            max(stacks * layer.operations / peak, layer.traffic(stacks, element) / bandwidth) for layer in self.layers
        )


def intensity(layers: Sequence[LayerCost], stacks: float, element: int) -> float:
    """Operations a byte of several layers together."""
    operations = sum(layer.operations for layer in layers)
    if stacks == inf:
        return operations / (element * sum(layer.activations for layer in layers))
    return stacks * operations / sum(layer.traffic(stacks, element) for layer in layers)


def network_cost(
    layers: tuple[Layer, ...], *, size: tuple[int, int], classes: int, fold: int, form: Form
) -> NetworkCost:
    """The cost of a network of the notation, for images of `size` (H, W).

    "dense" is the original (fold=1) or the FoldedCNN, "grouped" the same with block-diagonal weights as `fold` groups,
    "narrow" the network on single images that fills a slot. Raises `UserError` as `sized` does.
    """
    if form == "dense":
        return NetworkCost(fold, form, _costs(size_layers(layers, size=size, classes=classes, fold=fold), 1))
    narrow = size_layers(layers, size=size, classes=classes, slot_of=fold)
    return NetworkCost(fold, form, _costs(narrow, fold if form == "grouped" else 1))


def _costs(layers: Sequence[SizedLayer], copies: int) -> tuple[LayerCost, ...]:
    """`copies` equal networks beside each other, as groups of one."""
    found = []
    for at in layers:
        c_in, c_out = copies * prod(at.input), copies * at.output[0]
        if isinstance(at.layer, Conv):
            found.append(convolution(at.name, copies * at.input[0], c_out, at.input[1:], groups=copies))
        elif isinstance(at.layer, Linear):
            found.append(linear(at.name, c_in, c_out, groups=copies))
    return tuple(found)
