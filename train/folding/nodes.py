"""Helpers for torch.fx graph nodes and for the error messages about them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

from torch import Tensor, fx, nn
from torch.fx.node import Node

from textgen.common.errors import UserError


def iterate_modules(graph_module: fx.GraphModule) -> Iterator[tuple[Node, nn.Module]]:
    """Every node that calls a module, with that module, in the order of the forward pass."""
    for node in graph_module.graph.nodes:
        if node.op == "call_module":
            yield node, graph_module.get_submodule(node.target)


def operation_name(node: Node) -> str:
    """The name of the function, method or module that the node calls, such as "conv2d"."""
    return str(node.target) if node.op == "call_method" else str(getattr(node.target, "__name__", node.target))


def holds_data(value: Any) -> bool:
    """Whether a node's value is a tensor or contains one; sizes do not."""
    return isinstance(value, Tensor) or (isinstance(value, tuple | list) and any(map(holds_data, value)))


def locate(node: Node) -> str:
    """Where the user finds the node: the path and class of a layer, or the path of the module that calls a function."""
    stack = node.meta.get("nn_module_stack") or {}
    path, layer_class = next(reversed(stack.values()), ("", nn.Module))
    if node.op == "call_module":
        return f"{node.target}: {layer_class.__name__}"
    return f"{path}: {operation_name(node)}" if path else f"forward: {operation_name(node)}"


def refuse(node: Node, reason: str) -> NoReturn:
    """Raise the `UserError` that the node cannot be folded."""
    raise UserError(f"{locate(node)} cannot be folded: {reason}")


def format_shape(tensor: Tensor) -> str:
    """The sizes of a tensor, such as "7×64×8×8"."""
    return "×".join(map(str, tensor.shape)) or "one number"


def first_line(error: Exception) -> str:
    """The first line of an error's message, or the name of its class where it has none."""
    return next(iter(str(error).splitlines()), type(error).__name__)
