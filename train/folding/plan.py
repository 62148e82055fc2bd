"""What folding needs to know about the whole network before it folds one node after another."""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm
from typing import Any, cast

from torch import Tensor, fx, nn
from torch.fx.node import Node
from torch.nn.modules.conv import _ConvNd

from textgen.common.errors import UserError
from train.folding.nodes import format_shape, holds_data, iterate_modules, operation_name
from train.folding.operations import ELEMENTWISE, WEIGHT_LAYERS
from train.folding.tracing import META_BATCH


@dataclass(frozen=True)
class FoldingPlan:
    """Facts about the whole network; layers are named by their paths."""

    last_layers: set[str]  # the layers that give the logits: the last with weights on every path to the output
    after_last: set[Node]  # the nodes between those layers and the output
    multiples: dict[int, int]  # by number of channels: the multiple to which groups need that width rounded
    fixed_width: set[str]  # layers that keep their number of outputs; the probing run of `FoldedGraph` adds to them


def plan_folding(graph_module: fx.GraphModule, values: dict[Node, Any]) -> FoldingPlan:
    """The plan for a traced network, given the `values` of `run_on_meta`.

    Raises `UserError` for an output other than logits (b, k), and for a network without layers with weights.
    """
    result = next(node for node in graph_module.graph.nodes if node.op == "output").args[0]
    output = values.get(result) if isinstance(result, Node) else None
    if not isinstance(output, Tensor) or output.ndim != 2 or output.shape[0] != META_BATCH:
        given = type(result).__name__
        if isinstance(output, Tensor):
            given = f"a tensor of {format_shape(output)} for {META_BATCH} images"
        raise UserError(f"the network gives {given}; it has to give logits (b, k) for images (b, C, H, W)")
    last_layers, after_last = _find_last_layers(graph_module, values, cast(Node, result))
    if not last_layers:
        raise UserError("the network has no convolution and no linear layer before its output: it has nothing to fold")
    fixed_width = _find_gates(graph_module, values) - last_layers
    return FoldingPlan(last_layers, after_last, _find_multiples(graph_module), fixed_width)


def _find_last_layers(
    graph_module: fx.GraphModule, values: dict[Node, Any], result: Node
) -> tuple[set[str], set[Node]]:
    """The last layers with weights on all paths to `result`, and the nodes after them."""
    last_layers: set[str] = set()
    after_last: set[Node] = set()
    to_visit = [result]
    while to_visit:
        node = to_visit.pop()
        if _has_weights(graph_module, node):
            last_layers.add(str(node.target))
        elif node not in after_last:
            after_last.add(node)
            to_visit += [source for source in node.all_input_nodes if holds_data(values[source])]
    return last_layers, after_last


def _find_multiples(graph_module: fx.GraphModule) -> dict[int, int]:
    """By number of channels: the least common multiple of the groups of all layers with so many channels."""
    multiples: dict[int, int] = {}
    for _, layer in iterate_modules(graph_module):
        if isinstance(layer, _ConvNd) and 1 < layer.groups < layer.in_channels:
            for channels in (layer.in_channels, layer.out_channels):
                multiples[channels] = lcm(multiples.get(channels, 1), layer.groups)
        elif isinstance(layer, nn.GroupNorm) and 1 < layer.num_groups < layer.num_channels:
            multiples[layer.num_channels] = lcm(multiples.get(layer.num_channels, 1), layer.num_groups)
    return multiples


def _find_gates(graph_module: fx.GraphModule, values: dict[Node, Any]) -> set[str]:
    """Layers that give one channel which is broadcast over several, as the gate of a spatial attention is."""
    gates: set[str] = set()
    for node in graph_module.graph.nodes:
        if operation_name(node) not in ELEMENTWISE:
            continue
        operands = [source for source in node.all_input_nodes if _has_channels(values[source])]
        if len({values[operand].shape[1] for operand in operands}) != 2:
            continue
        narrow = min(operands, key=lambda operand: values[operand].shape[1])
        while _has_channels(values[narrow]) and values[narrow].shape[1] == 1:
            if _has_weights(graph_module, narrow):
                gates.add(str(narrow.target))
                break
            if not narrow.all_input_nodes:
                break
            narrow = narrow.all_input_nodes[0]
    return gates


def _has_weights(graph_module: fx.GraphModule, node: Node) -> bool:
    return node.op == "call_module" and isinstance(graph_module.get_submodule(str(node.target)), WEIGHT_LAYERS)


def _has_channels(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim > 1
