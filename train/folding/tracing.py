"""A PyTorch module traced to a torch.fx graph, and that graph run on the meta device, which computes sizes alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from inspect import Parameter, signature
from operator import attrgetter
from typing import Any, cast

import torch
from torch import fx, nn
from torch.fx.node import Node, map_arg
from torch.nn import functional
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import UninitializedParameter

from textgen.common.errors import UserError
from train.folding.nodes import first_line, iterate_modules, locate
from train.folding.operations import RESIZED_LAYERS

META_BATCH = 7  # images of a run on the meta device: layers seldom have this number as a size
USUAL_SIDES = (32, 224, 28, 64, 96, 128, 256, 299)  # height and width of images, tried where no size is given

DROPOUT_MODULES: dict[Any, Callable[[float], nn.Module]] = {
    functional.dropout: nn.Dropout,
    functional.dropout1d: nn.Dropout1d,
    functional.dropout2d: nn.Dropout2d,
    functional.alpha_dropout: nn.AlphaDropout,
    functional.feature_alpha_dropout: nn.FeatureAlphaDropout,
}


class _Tracer(fx.Tracer):
    """A tracer that does not look into layers that folding resizes, nor into those of derived classes."""

    def __init__(self) -> None:
        super().__init__()
        self.open_modules = [""]  # paths of the modules that are being traced, the innermost last

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, RESIZED_LAYERS) or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        self.open_modules.append(self.path_of_module(m))
        result = super().call_module(m, forward, args, kwargs)
        self.open_modules.pop()  # not reached where tracing fails: the last path is then the module that failed
        return result


def trace(net: nn.Module) -> fx.GraphModule:
    """A copy of the network as a graph. A dropout function that `self.training` switches becomes a module.

    Raises `UserError` for a network that torch.fx cannot trace, that has other inputs than one tensor, or whose graph
    in training differs from that in evaluation by more than dropout.
    """
    for path, tensor in net.named_parameters():
        if isinstance(tensor, UninitializedParameter):
            raise UserError(f"{path}: its size is not known yet; run the network once before folding it")
    evaluated, trained = (_trace_mode(deepcopy(net).train(training)) for training in (False, True))
    graph = evaluated.graph
    if len(graph.nodes) != len(trained.graph.nodes):
        name = type(net).__name__
        raise UserError(f"{name} runs other layers in training than in evaluation, which cannot be folded")
    for node, training_node in zip(list(graph.nodes), list(trained.graph.nodes), strict=True):
        is_dropout = node.target in DROPOUT_MODULES and node.target == training_node.target
        if is_dropout and _dropout_is_active(training_node) and not _dropout_is_active(node):
            _replace_dropout(evaluated, node)
        elif node.format_node() != training_node.format_node():
            raise UserError(f"{locate(node)} is not the same in training and in evaluation, which cannot be folded")
    return evaluated


def _trace_mode(net: nn.Module) -> fx.GraphModule:
    """The graph of the network in its present mode, training or evaluation."""
    parameters = list(signature(net.forward).parameters.values())
    inputs = [p for p in parameters if p.kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)]
    if not inputs or any(p.default is Parameter.empty for p in inputs[1:]):
        names = ", ".join(p.name for p in inputs) or "nothing"
        raise UserError(f"{type(net).__name__} takes {names}: a network to be folded takes one input, the images")
    tracer = _Tracer()
    try:
        graph = tracer.trace(net, concrete_args={p.name: p.default for p in inputs[1:]} or None)
    except Exception as error:  # whatever the user's code raises when it meets torch.fx's proxies
        path = tracer.open_modules[-1]
        place = f"{path}: {type(net.get_submodule(path)).__name__}" if path else type(net).__name__
        raise UserError(f"{place} cannot be traced by torch.fx: {first_line(error)}") from error
    # The other inputs have their default values by now; torch.fx leaves nodes that check those values.
    for node in [node for node in graph.nodes if node.op == "placeholder"][1:]:
        for user in reversed([*_iterate_users(node)]):
            graph.erase_node(user)
        graph.erase_node(node)
    return fx.GraphModule(net, graph, type(net).__name__)


def _iterate_users(node: Node) -> Iterator[Node]:
    """The nodes that depend on `node`, depth first."""
    for user in node.users:
        yield user
        yield from _iterate_users(user)


def _dropout_is_active(node: Node) -> bool:
    return bool(node.args[2] if len(node.args) > 2 else node.kwargs.get("training", True))


def _replace_dropout(graph_module: fx.GraphModule, node: Node) -> None:
    """Turn a call of a dropout function into a call of a dropout module, which follows `train()` and `eval()`."""
    path = node.name
    while hasattr(graph_module, path):
        path += "_"
    x = node.args[0] if node.args else node.kwargs["input"]
    p = node.args[1] if len(node.args) > 1 else node.kwargs.get("p", 0.5)
    graph_module.add_module(path, DROPOUT_MODULES[node.target](cast(float, p)))
    node.op, node.target, node.args, node.kwargs = "call_module", path, (x,), {}


def run_on_meta(graph_module: fx.GraphModule, size: tuple[int, int, int] | None) -> dict[Node, Any]:
    """The value of every node for META_BATCH images of `size` (C, H, W), as tensors without contents.

    Where `size` is None, square images of the usual sizes are tried. Raises `UserError` where none fits.
    """
    if size is None:
        return _run_on_usual_sizes(graph_module)
    values: dict[Node, Any] = {}
    for node in graph_module.graph.nodes:
        try:
            values[node] = evaluate_node(graph_module, values, node, size)
        except Exception as error:  # PyTorch's own, of any class
            images = "×".join(map(str, size))
            raise UserError(f"{locate(node)} does not run on images of {images}: {first_line(error)}") from None
    return values


def _run_on_usual_sizes(graph_module: fx.GraphModule) -> dict[Node, Any]:
    first = next((layer for _, layer in iterate_modules(graph_module) if isinstance(layer, _ConvNd)), None)
    if not isinstance(first, nn.Conv2d):
        raise UserError("the size of the images is unknown: give size=(C, H, W)")
    for side in USUAL_SIDES:
        try:
            return run_on_meta(graph_module, (first.in_channels, side, side))
        except UserError as error:
            failure = error
    sides = ", ".join(map(str, USUAL_SIDES))
    raise UserError(f"images of no usual size ({sides}) fit: give size=(C, H, W); for the last size, {failure}")


def evaluate_node(graph_module: fx.GraphModule, values: dict[Node, Any], node: Node, size: tuple[int, ...]) -> Any:
    """The value of one node, given the `values` of its inputs; `size` (C, H, W) is that of the network's input."""
    args, kwargs = map_arg((node.args, node.kwargs), lambda argument: values[argument])
    if node.op == "placeholder":
        dtype = next((p.dtype for p in graph_module.parameters() if p.is_floating_point()), torch.float32)
        return torch.empty(META_BATCH, *size, dtype=dtype)
    if node.op == "get_attr":
        return attrgetter(str(node.target))(graph_module)
    if node.op == "call_module":
        return graph_module.get_submodule(str(node.target)).eval()(*args, **kwargs)
    if node.op == "call_method":
        return getattr(args[0], str(node.target))(*args[1:], **kwargs)
    if node.op == "call_function":
        return cast(Callable[..., Any], node.target)(*args, **kwargs)
    return args[0]
