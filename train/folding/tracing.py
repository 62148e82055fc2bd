"""A PyTorch module as a graph of operations, for `train.folding.fold_model`: traced, run without contents, looked
through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from inspect import Parameter, signature
from math import lcm
from operator import attrgetter
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.fx.node import Node, map_arg
from torch.nn import functional
from torch.nn.modules import batchnorm, instancenorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import UninitializedParameter

from textgen.common.errors import UserError

BATCH = 7  # of the runs on the meta device: a number that sizes of layers seldom are
SIDES = (32, 224, 28, 64, 96, 128, 256, 299)  # of images, tried where no size is given

WEIGHTED = (_ConvNd, nn.Linear)
NORMS = (batchnorm._BatchNorm, instancenorm._InstanceNorm, nn.GroupNorm, nn.LayerNorm)
SIZED = (*WEIGHTED, *NORMS, nn.PReLU)  # modules that have sizes
ELEMENTWISE = frozenset(
    [
        "add",
        "sub",
        "mul",
        "div",
        "truediv",
        "true_divide",
        "pow",
        "maximum",
        "minimum",
        "iadd",
        "isub",
        "imul",
        "itruediv",
        "add_",
        "sub_",
        "mul_",
        "div_",
    ]
)
DROPOUTS: dict[Any, Callable[[float], nn.Module]] = {
    functional.dropout: nn.Dropout,
    functional.dropout1d: nn.Dropout1d,
    functional.dropout2d: nn.Dropout2d,
    functional.alpha_dropout: nn.AlphaDropout,
    functional.feature_alpha_dropout: nn.FeatureAlphaDropout,
}


class _Tracer(fx.Tracer):
    """Layers that have sizes stay whole, of classes derived from PyTorch's too."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = [""]  # paths of the modules that are being traced

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, SIZED) or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        self.inside.append(self.path_of_module(m))
        made = super().call_module(m, forward, args, kwargs)
        self.inside.pop()  # not where tracing fails: the last one is to blame then
        return made


def traced(net: nn.Module) -> fx.GraphModule:
    """A copy of the network as a graph. A dropout function that `self.training` switches becomes a module."""
    name = type(net).__name__
    for path, tensor in net.named_parameters():
        if isinstance(tensor, UninitializedParameter):
            raise UserError(f"{path}: it has no size yet, run the network once before it is folded")
    evaluated, trained = (_trace(deepcopy(net).train(training)) for training in (False, True))
    graph = evaluated.graph
    if len(graph.nodes) != len(trained.graph.nodes):
        raise UserError(f"{name} runs other layers in training than in evaluation, which cannot be folded")
    for node, twin in zip(list(graph.nodes), list(trained.graph.nodes), strict=True):
        if node.target in DROPOUTS and node.target == twin.target and _active(twin) and not _active(node):
            path = node.name
            while hasattr(evaluated, path):
                path += "_"
            x = node.args[0] if node.args else node.kwargs["input"]
            p = node.args[1] if len(node.args) > 1 else node.kwargs.get("p", 0.5)
            evaluated.add_module(path, DROPOUTS[node.target](cast(float, p)))
            node.op, node.target, node.args, node.kwargs = "call_module", path, (x,), {}
        elif node.format_node() != twin.format_node():
            raise UserError(f"{place_of(node)} is not the same in training and in evaluation, which cannot be folded")
    return evaluated


def _trace(net: nn.Module) -> fx.GraphModule:
    parameters = list(signature(net.forward).parameters.values())
    taken = [p for p in parameters if p.kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)]
    if not taken or any(p.default is Parameter.empty for p in taken[1:]):
        names = ", ".join(p.name for p in taken) or "nothing"
        raise UserError(f"{type(net).__name__} takes {names}: what folds is a network of one input, images")
    tracer = _Tracer()
    try:
        graph = tracer.trace(net, concrete_args={p.name: p.default for p in taken[1:]} or None)
    except Exception as error:  # whatever the user's code raises when it meets torch.fx's proxies
        path = tracer.inside[-1]
        place = f"{path}: {type(net.get_submodule(path)).__name__}" if path else type(net).__name__
        told = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(f"{place} cannot be traced by torch.fx: {told}") from error
    for node in [node for node in graph.nodes if node.op == "placeholder"][1:]:  # they have their defaults by now
        for user in reversed([*_users(node)]):
            graph.erase_node(user)
        graph.erase_node(node)
    return fx.GraphModule(net, graph, type(net).__name__)


def _users(node: Node) -> Iterator[Node]:
    for user in node.users:
        yield user
        yield from _users(user)


def _active(node: Node) -> bool:
    return bool(node.args[2] if len(node.args) > 2 else node.kwargs.get("training", True))


def run(meta: fx.GraphModule, size: tuple[int, int, int] | None) -> dict[Node, Any]:
    """What every node of the original gives, as tensors without contents."""
    if size is None:
        first = next((m for _, m in calls(meta) if isinstance(m, _ConvNd)), None)
        if not isinstance(first, nn.Conv2d):
            raise UserError("for images of which size? give size=(C, H, W)")
        for side in SIDES:
            try:
                return run(meta, (first.in_channels, side, side))
            except UserError as error:
                failure = error
        sides = ", ".join(map(str, SIDES))
        raise UserError(f"images of no usual size ({sides}) fit: give size=(C, H, W); for the last, {failure}")
    values: dict[Node, Any] = {}
    for node in meta.graph.nodes:
        try:
            values[node] = value_of(meta, values, node, size)
        except Exception as error:  # PyTorch's own, of any class
            given = "×".join(map(str, size))
            raise UserError(f"{place_of(node)} does not run on images of {given}: {told(error)}") from None
    return values


def value_of(meta: fx.GraphModule, values: dict[Node, Any], node: Node, size: tuple[int, ...]) -> Any:
    """Of one node, whose inputs have theirs."""
    args, kwargs = map_arg((node.args, node.kwargs), lambda of: values[of])
    if node.op == "placeholder":
        dtype = next((p.dtype for p in meta.parameters() if p.is_floating_point()), torch.float32)
        return torch.empty(BATCH, *size, dtype=dtype)
    if node.op == "get_attr":
        return attrgetter(str(node.target))(meta)
    if node.op == "call_module":
        return meta.get_submodule(str(node.target)).eval()(*args, **kwargs)
    if node.op == "call_method":
        return getattr(args[0], str(node.target))(*args[1:], **kwargs)
    if node.op == "call_function":
        return cast(Callable[..., Any], node.target)(*args, **kwargs)
    return args[0]


def calls(meta: fx.GraphModule) -> Iterator[tuple[Node, nn.Module]]:
    return ((node, meta.get_submodule(node.target)) for node in meta.graph.nodes if node.op == "call_module")


def place_of(node: Node) -> str:
    """Where a user finds it: a layer's path, or the path of the module that calls a function."""
    stack = node.meta.get("nn_module_stack") or {}
    path, of = next(reversed(stack.values()), ("", nn.Module))
    if node.op == "call_module":
        return f"{node.target}: {of.__name__}"
    return f"{path}: {name_of(node)}" if path else f"forward: {name_of(node)}"


def name_of(node: Node) -> str:
    return str(node.target) if node.op == "call_method" else str(getattr(node.target, "__name__", node.target))


def told(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def holds_data(value: Any) -> bool:
    """Tensors, not sizes."""
    return isinstance(value, Tensor) or (isinstance(value, tuple | list) and any(map(holds_data, value)))


@dataclass(frozen=True)
class Plan:
    """What folding needs to know of the whole network."""

    last: set[str]  # the layers that give the logits, by their paths
    behind: set[Node]  # what stands between them and the output
    multiples: dict[int, int]  # of what the widths of layers with so many channels are multiples, for groups
    kept: set[str]  # layers that give as many channels as before, as they weight places and not channels


def plan_of(meta: fx.GraphModule, values: dict[Node, Any]) -> Plan:
    result = next(node for node in meta.graph.nodes if node.op == "output").args[0]
    given = values.get(result) if isinstance(result, Node) else None
    if not isinstance(given, Tensor) or given.ndim != 2 or given.shape[0] != BATCH:
        of = f"a tensor of {shape_of(given)} for {BATCH} images" if isinstance(given, Tensor) else type(result).__name__
        raise UserError(f"the network gives {of}; what folds gives logits (b, k) for images (b, C, H, W)")
    last: set[str] = set()
    behind: set[Node] = set()
    ahead = [cast(Node, result)]
    while ahead:
        node = ahead.pop()
        if node.op == "call_module" and isinstance(meta.get_submodule(str(node.target)), WEIGHTED):
            last.add(str(node.target))
        elif node not in behind:
            behind.add(node)
            ahead += [of for of in node.all_input_nodes if holds_data(values[of])]
    if not last:
        raise UserError("the network has no convolution and no linear layer before its output: it has nothing to fold")

    multiples: dict[int, int] = {}
    for _, layer in calls(meta):
        if isinstance(layer, _ConvNd) and 1 < layer.groups < layer.in_channels:
            for channels in (layer.in_channels, layer.out_channels):
                multiples[channels] = lcm(multiples.get(channels, 1), layer.groups)
        elif isinstance(layer, nn.GroupNorm) and 1 < layer.num_groups < layer.num_channels:
            multiples[layer.num_channels] = lcm(multiples.get(layer.num_channels, 1), layer.num_groups)

    kept: set[str] = set()
    for node in meta.graph.nodes:
        if name_of(node) in ELEMENTWISE:
            tensors = [of for of in node.all_input_nodes if isinstance(values[of], Tensor) and values[of].ndim > 1]
            if len({values[of].shape[1] for of in tensors}) == 2:  # one channel, spread over all those of the other
                narrow = min(tensors, key=lambda of: values[of].shape[1])
                while isinstance(values[narrow], Tensor) and values[narrow].ndim > 1 and values[narrow].shape[1] == 1:
                    if narrow.op == "call_module" and isinstance(meta.get_submodule(str(narrow.target)), WEIGHTED):
                        kept.add(str(narrow.target))
                        break
                    if not narrow.all_input_nodes:
                        break
                    narrow = narrow.all_input_nodes[0]
    return Plan(last, behind, multiples, kept - last)


def shape_of(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "one number"
