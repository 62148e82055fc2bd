"""The folded network, derived from the original's graph node by node.

Both networks run on the meta device. Comparing the sizes of a node's value in both shows which axes become wider.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from math import prod
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, fx, nn
from torch.fx.node import Node, map_arg

from textgen.common.errors import UserError
from train.folding.layers import LayerResizer, mixes_channels
from train.folding.nodes import first_line, format_shape, holds_data, operation_name, refuse
from train.folding.operations import (
    CHANNEL_MIXING_FUNCTIONS,
    CHANNEL_MIXING_MODULES,
    CHANNEL_REDUCTIONS,
    CHANNELWISE_FUNCTIONS,
    CHANNELWISE_MODULES,
    ELEMENTWISE,
    RESHAPES,
    RESIZED_LAYERS,
    WEIGHT_LAYERS,
)
from train.folding.plan import FoldingPlan
from train.folding.tracing import META_BATCH, evaluate_node

MIXES_IMAGES_BEFORE = "before the first layer it would mix the images of a stack"
MIXES_IMAGES_AFTER = "after the last layer it would mix the images of a stack"


class ResizedTensor(NamedTuple):
    """A parameter or buffer outside of layers, in the folded network."""

    size: tuple[int, ...]
    repeats: int  # the stack for a tensor applied to the input images, whose channels are repeated; otherwise 1


class FoldedGraph:
    """The folded network: its resized `layers` by path, its other parameters and buffers `tensors` by name.

    `original` are the values of the original's nodes. It takes stacks of `stack` images, or is the narrow network that
    fills one of `slot_of` slots, for single images. `fold` changes sizes that are written as numbers in the graph. With
    `probing` the graph stays as it is, and layers whose input does not become wider are noted in the plan.
    """

    def __init__(
        self,
        graph_module: fx.GraphModule,
        original: dict[Node, Any],
        plan: FoldingPlan,
        stack: int,
        *,
        slot_of: int = 1,
        probing: bool = False,
    ):
        self.graph_module, self.original, self.plan = graph_module, original, plan
        self.stack, self.probing = stack, probing
        self.resizer = LayerResizer(plan, stack, slot_of, probing)
        self.folded: dict[Node, Any] = {}  # the values of the nodes in the folded network
        self.layers: dict[str, nn.Module] = {}
        self.tensors: dict[str, ResizedTensor] = {}
        self.image_nodes: set[Node] = set()  # the input and what is computed from it channel by channel: f images each

    def fold(self) -> None:
        """Fold all nodes in order. Raises `UserError` that names the first node which cannot be folded."""
        for node in self.graph_module.graph.nodes:
            self.folded[node] = self._fold_node(node)
            original, folded = self.original[node], self.folded[node]
            if isinstance(original, Tensor) and node.op != "get_attr":
                keeps_batch = original.shape[:1] != (META_BATCH,) or folded.shape[:1] == (META_BATCH,)
                if original.ndim != folded.ndim or not keeps_batch:
                    refuse(node, f"its result would be {format_shape(folded)} instead of {format_shape(original)}")
            if node.op == "output" and folded.shape[1] != self.stack * original.shape[1]:
                logits = f"{self.stack} times {original.shape[1]} logits"
                raise UserError(f"the folded network would not give {logits} but {folded.shape[1]}")

    def _fold_node(self, node: Node) -> Any:
        """The value of a node in the folded network."""
        if node.op == "placeholder":
            self.image_nodes.add(node)
            _, c, h, w = self.original[node].shape
            return self._evaluate(node, size=(self.stack * c, h, w))
        if node.op in ("get_attr", "output"):
            return self._evaluate(node)
        sources = [source for source in node.all_input_nodes if holds_data(self.original[source])]
        if node.op == "call_module":
            layer = self.graph_module.get_submodule(str(node.target))
            if isinstance(layer, RESIZED_LAYERS):
                return self._fold_layer(node, layer, sources)
        elif not sources and not holds_data(self.original[node]):
            return self._evaluate(node)  # arithmetic with sizes
        return self._fold_operation(node, sources)

    def _fold_layer(self, node: Node, layer: nn.Module, sources: list[Node]) -> Tensor:
        """The output of a layer that is resized."""
        if not isinstance(layer, WEIGHT_LAYERS) and self.image_nodes.issuperset(sources):
            if mixes_channels(layer, self.original[node].ndim):
                refuse(node, MIXES_IMAGES_BEFORE)
            self.image_nodes.add(node)
        path = str(node.target)
        if path not in self.layers:
            shape = self.folded[node.all_input_nodes[0]].shape
            self.layers[path] = self.resizer.resize(node, deepcopy(layer), shape)
        if node in self.plan.after_last and isinstance(layer, nn.GroupNorm | nn.LayerNorm):
            refuse(node, MIXES_IMAGES_AFTER)
        return cast(Tensor, self._evaluate(node, self.layers[path]))

    def _fold_operation(self, node: Node, sources: list[Node]) -> Any:
        """The value of a module without sizes of its own, of a function or of a method."""
        channelwise, mixing = self._classify(node)
        if not channelwise and not mixing:
            refuse(node, "it is not known to work for any number of channels")
        if mixing and node in self.plan.after_last:
            refuse(node, f"{MIXES_IMAGES_AFTER}; let the network give logits")
        data = [source for source in sources if source.op != "get_attr"]
        takes_images = bool(data) and self.image_nodes.issuperset(data)
        if takes_images and operation_name(node) in CHANNEL_REDUCTIONS:
            refuse(node, MIXES_IMAGES_BEFORE)
        if channelwise and takes_images:
            self.image_nodes.add(node)
        value = self._evaluate_operation(node, sources)
        # A sum over the channels, such as one that makes grey images, would be over those of all images of a stack.
        if takes_images or node in self.plan.after_last:
            grows = any(isinstance(self.original[of], Tensor) and self._grows(of, self.folded[of]) for of in data)
            if grows and isinstance(value, Tensor) and not self._grows(node, value):
                refuse(node, "it would combine the images of a stack")
        return value

    def _classify(self, node: Node) -> tuple[bool, bool]:
        """Whether the operation is known to be channel-wise, and whether it is known to mix channels."""
        if node.op == "call_module":
            module = self.graph_module.get_submodule(str(node.target))
            if next(module.parameters(), None) is not None:
                refuse(node, "it has weights, and is no convolution, linear layer, norm or PReLU")
            return type(module) in CHANNELWISE_MODULES, type(module) in CHANNEL_MIXING_MODULES
        package = (getattr(node.target, "__module__", None) or "torch").partition(".")[0]
        if node.op != "call_method" and package not in ("torch", "_operator", "builtins"):
            return False, False
        name = operation_name(node)
        reads_tensor = name == "getattr" and holds_data(self.original[node])  # x.T, in contrast to x.shape
        return name in CHANNELWISE_FUNCTIONS and not reads_tensor, name in CHANNEL_MIXING_FUNCTIONS

    def _grows(self, node: Node, folded: Tensor) -> bool:
        return folded.numel() > cast(int, self.original[node].numel())

    def _evaluate_operation(self, node: Node, sources: list[Node]) -> Any:
        if node.op != "call_module":
            if operation_name(node) in RESHAPES:
                return self._fold_reshape(node)
            if operation_name(node) == "getitem" and isinstance(self.original[sources[0]], Tensor):
                self._check_index(node, sources[0])
            if any(source.op == "get_attr" and self.original[source].numel() > 1 for source in sources):
                self._resize_tensors(node, sources)
        return self._evaluate(node)

    def _evaluate(self, node: Node, layer: nn.Module | None = None, size: tuple[int, ...] = ()) -> Any:
        """The value of a node, by its resized `layer` where it has one. Raises `UserError` where it does not run."""
        try:
            if layer is not None:
                args, kwargs = map_arg((node.args, node.kwargs), lambda argument: self.folded[argument])
                return layer.eval()(*args, **kwargs)
            return evaluate_node(self.graph_module, self.folded, node, size)
        except Exception as error:  # PyTorch's own, of any class
            folded, original = (
                " and ".join(format_shape(values[of]) for of in node.all_input_nodes if isinstance(values[of], Tensor))
                for values in (self.folded, self.original)
            )
            refuse(node, f"its inputs would be {folded} instead of {original}: {first_line(error)}")

    def _fold_reshape(self, node: Node) -> Tensor:
        """The value of a reshape, whose written sizes, as in x.view(-1, 400), become those of the folded network."""
        source = node.all_input_nodes[0]
        wanted = fold_shape(self.original[source].shape, self.original[node].shape, self.folded[source].shape)
        if node in self.plan.after_last and None in wanted:
            refuse(node, MIXES_IMAGES_AFTER)
        as_tuple = len(node.args) == 2 and isinstance(node.args[1], tuple | list)  # x.view((-1, 400))
        written: Sequence[Any] = cast(Any, node.args[1]) if as_tuple else node.args[1:]
        sizes = written
        if len(written) == len(wanted):
            pairs = zip(written, wanted, strict=True)
            sizes = [want if isinstance(given, int) and given != -1 and want else given for given, want in pairs]
        original_args = node.args
        node.args = (node.args[0], tuple(sizes)) if as_tuple else (node.args[0], *sizes)
        value = self._evaluate(node)
        if self.probing:
            node.args = original_args
        if len(value.shape) != len(wanted) or any(
            want not in (None, size) for want, size in zip(wanted, value.shape, strict=True)
        ):
            refuse(node, f"its result would be {format_shape(value)} instead of {format_shape(self.original[node])}")
        return cast(Tensor, value)

    def _check_index(self, node: Node, source: Node) -> None:
        """Refuse an index that takes channels by number, which are others in the wider tensor."""
        index = node.args[1] if isinstance(node.args[1], tuple) else (node.args[1],)
        original, folded = self.original[source].shape, self.folded[source].shape
        indexed_axes = len([entry for entry in index if entry is not None and entry is not Ellipsis])
        axis = 0
        for entry in index:
            if entry is Ellipsis:
                axis += len(original) - indexed_axes
            elif entry is not None:
                if original[axis] != folded[axis] and not self._is_foldable_index(node, entry):
                    refuse(node, f"[{', '.join(map(str, index))}] takes a part of the channels, whose number changes")
                axis += 1

    def _is_foldable_index(self, node: Node, entry: Any) -> bool:
        """Whether an index of a wider axis takes the whole axis, or limits computed from sizes before the logits."""
        if not isinstance(entry, slice):
            return False
        if entry.start in (None, 0) and entry.stop is None and entry.step in (None, 1):
            return True
        return node not in self.plan.after_last and not any(isinstance(end, int) for end in (entry.start, entry.stop))

    def _resize_tensors(self, node: Node, sources: list[Node]) -> None:
        """Resize parameters and buffers that are added to or multiplied with channels, as (C, 1, 1)."""
        data = [source for source in sources if source.op != "get_attr"]
        for source in sources:
            path, tensor = str(source.target), self.original[source]
            if source.op != "get_attr" or tensor.numel() == 1:
                continue
            if len(data) != 1 or operation_name(node) not in ELEMENTWISE:
                entries = format_shape(tensor)
                refuse(node, f"{path} with {entries} entries: such a tensor needs one entry a channel")
            (other,) = data
            # The axes of `other` that `tensor` is broadcast to, and the leading axes that `tensor` has beyond them.
            folded, original = (
                values[other].shape[max(values[other].ndim - tensor.ndim, 0) :]
                for values in (self.folded, self.original)
            )
            leading, trailing = tensor.shape[: tensor.ndim - len(original)], tensor.shape[tensor.ndim - len(original) :]
            sizes = (new if size == old else size for size, old, new in zip(trailing, original, folded, strict=True))
            resized = ResizedTensor((*leading, *sizes), self.stack if other in self.image_nodes else 1)
            if self.tensors.setdefault(path, resized) != resized:
                refuse(node, f"{path} is used for {resized.size} and for {self.tensors[path].size}")
            self.folded[source] = torch.empty(resized.size, dtype=tensor.dtype)


def fold_shape(original: Sequence[int], reshaped: Sequence[int], folded: Sequence[int]) -> list[int | None]:
    """The sizes for reshaping a tensor of sizes `folded` as one of sizes `original` is reshaped to `reshaped`.

    A size is None where several axes could be the one that becomes wider.

    >>> fold_shape((7, 16, 5, 5), (7, 400), (7, 22, 5, 5))
    [7, 550]
    >>> fold_shape((7, 16, 5), (7, 4, 4, 5), (7, 22, 5))
    [7, None, None, 5]
    """
    sizes: list[int | None] = []
    i = j = 0
    # Both shapes are split into the smallest groups of axes that hold the same number of elements.
    while i < len(original) or j < len(reshaped):
        first_i, first_j = i, j
        i, j = min(i + 1, len(original)), min(j + 1, len(reshaped))
        while (a := prod(original[first_i:i])) != (b := prod(reshaped[first_j:j])):
            i, j = (i + 1, j) if a < b else (i, j + 1)
        width, axes = prod(folded[first_i:i]), reshaped[first_j:j]
        if width == a:
            sizes += axes
            continue
        large = [axis for axis, size in enumerate(axes) if size > 1 or len(axes) == 1]
        wide = width if len(large) == 1 else None
        sizes += [wide if axis in large else size for axis, size in enumerate(axes)]
    return sizes
