"""The computed cost of a network: operations, bytes, arithmetic intensity (§2.2, §3, §C, §J of the paper).

Convolutions and fully connected layers are counted without biases, a multiply-add as two operations; ReLU and pools are
assumed to be fused with the layer before them. All but the weights is proportional to the number of stacks.
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
    """One layer: elements of its inputs and outputs for one stack, elements of its weights, operations for one stack.

    `channels` are (C_i, C_o), of a linear layer its features; `size` is (H, W) of the output, of a linear layer 1×1.
    """

    name: str
    channels: tuple[int, int]
    size: tuple[int, int]
    inputs: int
    outputs: int
    weights: int
    operations: int
    winograd: int  # operations with F(2×2, 3×3) where it applies, see `convolution`

    @property
    def activations(self) -> int:
        return self.inputs + self.outputs

    def traffic(self, stacks: float, element: int) -> float:
        """Bytes read and written for `stacks` stacks, with `element` bytes a number (the denominator of Eq. 2)."""
        return element * (stacks * self.activations + self.weights)

    def intensity(self, stacks: float, element: int) -> float:
        """Operations a byte (Eqs. 2 and 3); for `stacks=inf` the limit (Eq. 4, with B)."""
        return intensity([self], stacks, element)

    def least_images(self, f: int) -> float:
        """The number of images above which folding this layer of an original network by f saves traffic (Eq. 5, §J).

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
    """The cost of a convolution with G groups (§C: operations and weights / G) on images of `size` (H, W).

    `output` (H, W) is the size of the output, if stride or padding change it. Winograd's F(2×2, 3×3) does not apply to
    other kernels, and not with a stride or a dilation (`winograd=False`). For every 2×2 tile of the output it has 16
    multiply-adds instead of 36 for each pair of channels, 32 additions for each input channel and 24 for each output
    channel (Lavin & Gray, 2016); its filters are transformed in advance. Raises `ValueError` unless the groups divide
    both numbers of channels.
    """
    if c_in % groups or c_out % groups:
        raise ValueError(f"{groups} groups do not divide {c_in} and {c_out} channels")
    h, w = output or size
    kernel_h, kernel_w = (kernel, kernel) if isinstance(kernel, int) else kernel
    pairs = c_in * c_out // groups
    weights = pairs * kernel_h * kernel_w
    direct = 2 * h * w * weights
    if winograd and kernel_h == kernel_w == 3:
        tiles = ceil(h / 2) * ceil(w / 2)
        by_winograd = tiles * (2 * 16 * pairs + 32 * c_in + 24 * c_out)
    else:
        by_winograd = direct
    return LayerCost(
        name,
        (c_in, c_out),
        (h, w),
        inputs=c_in * prod(size),
        outputs=c_out * h * w,
        weights=weights,
        operations=direct,
        winograd=by_winograd,
    )


def linear(name: str, c_in: int, c_out: int, *, groups: int = 1) -> LayerCost:
    """The cost of a fully connected layer, or of one for each of several groups."""
    pairs = c_in * c_out // groups
    return LayerCost(name, (c_in, c_out), (1, 1), c_in, c_out, pairs, 2 * pairs, 2 * pairs)


@dataclass(frozen=True)
class NetworkCost:
    """The cost of all layers of one network."""

    fold: int
    form: Form
    layers: tuple[LayerCost, ...]

    @property
    def name(self) -> str:
        return network_name(self.fold, self.form)

    @property
    def stack(self) -> int:
        """Images in a stack."""
        return 1 if self.form == "narrow" else self.fold

    def stacks(self, images: float) -> float:
        """Stacks that hold `images` images; the last one may be padded."""
        return ceil(images / self.stack) if images < inf else inf

    def share(self, images: float) -> float:
        """Stacks for each image of a batch: 1/`stack`, or more if the last stack is padded."""
        return self.stacks(images) / images if images < inf else 1 / self.stack

    def operations(self, images: float = inf, *, winograd: bool = False) -> float:
        """Operations for one image of a batch of `images` images."""
        return self.share(images) * sum(layer.winograd if winograd else layer.operations for layer in self.layers)

    def intensity(self, images: float, element: int) -> float:
        """Operations of all layers by bytes of all layers (§2.2), for `images` images; the limit for `inf`."""
        return intensity(self.layers, self.stacks(images), element)

    def traffic(self, images: float, element: int) -> tuple[float, float]:
        """Bytes of activations and of weights, read and written, for a batch of `images` images (Figs. 4 and 5)."""
        stacks = self.stacks(images)
        activations = element * stacks * sum(layer.activations for layer in self.layers)
        return activations, float(element * sum(layer.weights for layer in self.layers))

    def seconds(self, images: int, element: int, peak: float, bandwidth: float) -> float:
        """The least time for a batch by the roofline (Eq. 1), with `peak` operations and `bandwidth` bytes a second.

        Each layer takes the longer of the times of its arithmetic and its memory traffic.
        """
        stacks = self.stacks(images)
        return sum(
            max(stacks * layer.operations / peak, layer.traffic(stacks, element) / bandwidth) for layer in self.layers
        )


def intensity(layers: Sequence[LayerCost], stacks: float, element: int) -> float:
    """Operations a byte of several layers together; the limit for `stacks=inf`."""
    operations = sum(layer.operations for layer in layers)
    if stacks == inf:
        return operations / (element * sum(layer.activations for layer in layers))
    return stacks * operations / sum(layer.traffic(stacks, element) for layer in layers)


def network_cost(
    layers: tuple[Layer, ...], *, size: tuple[int, int], classes: int, fold: int, form: Form
) -> NetworkCost:
    """The cost of a network in the notation, for images of `size` (H, W).

    "dense" is the original (fold=1) or the FoldedCNN, "grouped" the FoldedCNN of slots with `fold` groups, "narrow" the
    network of one slot on single images. Raises `UserError` as `size_layers` does.
    """
    if form == "dense":
        return NetworkCost(fold, form, _layer_costs(size_layers(layers, size=size, classes=classes, fold=fold), 1))
    narrow = size_layers(layers, size=size, classes=classes, slot_of=fold)
    return NetworkCost(fold, form, _layer_costs(narrow, fold if form == "grouped" else 1))


def _layer_costs(layers: Sequence[SizedLayer], copies: int) -> tuple[LayerCost, ...]:
    """The layers of `copies` equal networks, as groups of one network."""
    costs = []
    for each in layers:
        c_in, c_out = copies * prod(each.input), copies * each.output[0]
        if isinstance(each.layer, Conv):
            costs.append(convolution(each.name, copies * each.input[0], c_out, each.input[1:], groups=copies))
        elif isinstance(each.layer, Linear):
            costs.append(linear(each.name, c_in, c_out, groups=copies))
    return tuple(costs)
