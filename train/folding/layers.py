"""Layers of a folded network: resized for the channels that they are given, with the widths of the paper's §4.1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn
from torch.fx.node import Node
from torch.nn.modules import batchnorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from train.folding.arithmetic import folded_width
from train.folding.nodes import refuse
from train.folding.plan import FoldingPlan

USUAL_PARAMETERS = {"weight", "bias"}
USUAL_BUFFERS = {"running_mean", "running_var", "num_batches_tracked"}


@dataclass(frozen=True)
class LayerResizer:
    """Resizes the layers of a network for stacks of `stack` images, or for the narrow one in one of `slot_of` slots.

    With `probing` it notes layers whose input does not become wider as `plan.fixed_width`.
    """

    plan: FoldingPlan
    stack: int
    slot_of: int = 1
    probing: bool = False

    def resize(self, node: Node, layer: nn.Module, shape: tuple[int, ...]) -> nn.Module:
        """Give `layer` the sizes for an input of `shape`, in place, without contents. Raises `UserError`."""
        _check_tensors(node, layer)
        if isinstance(layer, nn.Linear):
            self._resize_linear(node, layer, shape[-1])
        elif isinstance(layer, _ConvNd):
            self._resize_convolution(node, layer, shape[1])
        elif isinstance(layer, nn.LayerNorm):
            layer.normalized_shape = tuple(shape[-len(layer.normalized_shape) :])
            _replace_tensors(layer, weight=layer.normalized_shape, bias=layer.normalized_shape)
        elif isinstance(layer, nn.PReLU):
            if layer.num_parameters > 1:
                layer.num_parameters = shape[1]
            _replace_tensors(layer, weight=(layer.num_parameters,))
        elif isinstance(layer, nn.GroupNorm):
            _resize_group_norm(node, layer, shape[1])
        else:
            assert isinstance(layer, batchnorm._NormBase)
            c = layer.num_features = shape[1]
            _replace_tensors(layer, weight=(c,), bias=(c,), running_mean=(c,), running_var=(c,))
        return layer

    def _resize_linear(self, node: Node, layer: nn.Linear, features: int) -> None:
        layer.out_features = self._fold_outputs(node, layer.in_features, features, layer.out_features)
        layer.in_features = features
        _replace_tensors(layer, weight=(layer.out_features, layer.in_features), bias=(layer.out_features,))

    def _resize_convolution(self, node: Node, layer: _ConvNd, c_in: int) -> None:
        c_out = self._fold_outputs(node, layer.in_channels, c_in, layer.out_channels)
        if layer.groups == layer.in_channels > 1:  # depthwise
            c_out, layer.groups = c_in * (layer.out_channels // layer.groups), c_in
            if node.target in self.plan.last_layers and c_out != self.stack * layer.out_channels:
                refuse(node, f"as the last layer it would give {c_out} outputs, not f={self.stack} times as many")
        if c_in % layer.groups or c_out % layer.groups:
            refuse(node, f"its {layer.groups} groups do not divide {c_in} and {c_out} channels")
        layer.in_channels, layer.out_channels = c_in, c_out
        first, second = (c_in, c_out) if isinstance(layer, _ConvTransposeNd) else (c_out, c_in)
        _replace_tensors(layer, weight=(first, second // layer.groups, *layer.kernel_size), bias=(c_out,))

    def _fold_outputs(self, node: Node, original_inputs: int, folded_inputs: int, outputs: int) -> int:
        """The number of outputs of the folded layer, whose original has `outputs`."""
        path = str(node.target)
        if path in self.plan.last_layers:
            return self.stack * outputs
        if self.probing and original_inputs == folded_inputs:
            self.plan.fixed_width.add(path)
        return outputs if path in self.plan.fixed_width else self._fold_width(outputs)

    def _fold_width(self, channels: int) -> int:
        """⌊C·√f⌋, or the multiple nearest to it that groups need; for a slot an f-th of it, rounded down."""
        width, multiple = folded_width(channels, self.stack * self.slot_of), self.plan.multiples.get(channels, 1)
        folded = max((2 * width + multiple) // (2 * multiple), 1) * multiple
        return max(folded // self.slot_of, 1)


def mixes_channels(layer: nn.Module, axes: int) -> bool:
    """Whether a norm of tensors with `axes` axes normalises several channels together."""
    if isinstance(layer, nn.LayerNorm):
        return len(layer.normalized_shape) >= axes - 1
    return isinstance(layer, nn.GroupNorm) and layer.num_groups < layer.num_channels


def initialise_layer(layer: nn.Module, original: nn.Module) -> nn.Module:
    """Move a resized layer from the meta device to the device of `original`, with PyTorch's initial weights."""
    tensor = next((tensor for tensor in original.state_dict().values()), torch.empty(0))
    layer.to_empty(device=tensor.device)
    if tensor.numel():
        cast(Any, layer).reset_parameters()
    return layer


def _resize_group_norm(node: Node, layer: nn.GroupNorm, channels: int) -> None:
    if layer.num_groups == layer.num_channels:  # every channel by itself
        layer.num_groups = channels
    if channels % layer.num_groups:
        refuse(node, f"its {layer.num_groups} groups do not divide {channels} channels")
    layer.num_channels = channels
    _replace_tensors(layer, weight=(channels,), bias=(channels,))


def _check_tensors(node: Node, layer: nn.Module) -> None:
    """Refuse layers with tensors other than PyTorch's own, whose new sizes are unknown."""
    others = {name for name, _ in layer.named_parameters()} - USUAL_PARAMETERS
    others |= {name for name, _ in layer.named_buffers()} - USUAL_BUFFERS
    if others:
        refuse(node, f"it has tensors of its own, {', '.join(sorted(others))}")


def _replace_tensors(layer: nn.Module, **sizes: tuple[int, ...]) -> None:
    """Replace the parameters and buffers of these names, where the layer has them, by empty ones of these sizes."""
    for name, size in sizes.items():
        tensor = getattr(layer, name, None)
        if tensor is not None:
            replacement = torch.empty(size, dtype=tensor.dtype, device="meta")
            setattr(layer, name, nn.Parameter(replacement) if isinstance(tensor, nn.Parameter) else replacement)
