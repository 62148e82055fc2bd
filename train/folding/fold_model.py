"""`fold_model`: a FoldedCNN of any PyTorch module (paper §4.1); docs/how-to/fold_model.md.

The module's forward pass is traced to a graph (`tracing`), the graph is examined (`plan`), and every node is folded
(`folded_graph`), with layers of the new widths (`layers`). Until then all runs on PyTorch's meta device, which works
out sizes and computes nothing; at the end the layers are initialised on the module's device.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from operator import attrgetter
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from textgen.common.errors import UserError
from train.folding.folded_graph import FoldedGraph, ResizedTensor
from train.folding.layers import initialise_layer
from train.folding.plan import plan_folding
from train.folding.tracing import run_on_meta, trace

PROBE_FOLD = 16  # √16 is whole: every wide axis is exactly 4 times as wide, so rounding cannot make sizes differ


def fold_model(net: nn.Module, f: int, size: tuple[int, int, int] | None = None) -> nn.Module:
    """Build a newly initialised network for stacks of f images, (b, f·C, H, W) -> (b, f·k): `net`, folded.

    `net` maps images (b, C, H, W) to logits (b, k) and stays unchanged; `size` is (C, H, W), and may be left out where
    `net` takes square images of a usual size. The first layer takes f times the channels, the last gives f times the
    outputs, all between are ⌊C·√f⌋ wide (§4.1), or the nearest multiple that groups need. Names of layers, devices and
    dtypes stay; weights are initialised as PyTorch's layers are. f=1 gives the same sizes. Raises `UserError` for wrong
    arguments, and for a network that cannot be traced or folded, with the name of the layer or function.

    >>> net = nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 6 * 6, 10))
    >>> folded = fold_model(net, 4, size=(3, 8, 8))
    >>> [tuple(p.shape) for p in folded.parameters()]
    [(64, 12, 3, 3), (64,), (40, 2304), (40,)]
    >>> folded(torch.zeros(2, 12, 8, 8)).shape
    torch.Size([2, 40])
    """
    _check_arguments(net, f, size)
    return _resize(net, size, stack=f)


def slot_model(net: nn.Module, f: int, size: tuple[int, int, int] | None = None) -> nn.Module:
    """The narrow network, (b, C, H, W) -> (b, k), that fills one of the f slots of `fold_model(net, f, size)`.

    Its layers have the same names; between the first and the last they have ⌊C·√f⌋/f channels, rounded down. Raises
    `UserError` as `fold_model` does, also where so few channels do not fit a layer's groups.

    >>> net = nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 6 * 6, 10))
    >>> [tuple(p.shape) for p in slot_model(net, 4, size=(3, 8, 8)).parameters()]
    [(16, 3, 3, 3), (16,), (10, 576), (10,)]
    """
    _check_arguments(net, f, size)
    return _resize(net, size, slot_of=f)


def _resize(net: nn.Module, size: tuple[int, int, int] | None, *, stack: int = 1, slot_of: int = 1) -> fx.GraphModule:
    """`net` with the sizes for stacks of `stack` images, or for one of `slot_of` slots. Raises `UserError`."""
    original = trace(net)
    graph_module = deepcopy(original).to("meta")
    with torch.no_grad(), torch.device("meta"):
        values = run_on_meta(graph_module, size)
        plan = plan_folding(graph_module, values)
        FoldedGraph(graph_module, values, plan, PROBE_FOLD, probing=True).fold()
        folded = FoldedGraph(graph_module, values, plan, stack, slot_of=slot_of)
        folded.fold()
    parts: dict[str, Any] = {}
    for node in graph_module.graph.nodes:
        if node.op == "get_attr":
            parts[node.target] = _create_tensor(original, node.target, folded.tensors.get(node.target))
        elif node.op == "call_module":
            module, resized = original.get_submodule(node.target), folded.layers.get(node.target)
            parts[node.target] = deepcopy(module) if resized is None else initialise_layer(resized, module)
    return fx.GraphModule(parts, graph_module.graph, type(net).__name__).train()


def _check_arguments(net: nn.Module, f: int, size: tuple[int, int, int] | None) -> None:
    if not isinstance(net, nn.Module):
        raise UserError(f"net is {net!r}: give a torch.nn.Module, an instance and not a class")
    if not isinstance(f, int) or f < 1:
        raise UserError(f"f={f!r}: it counts the images of a stack, give 1 (the same sizes), 2, 3, 4…")
    sides = size if isinstance(size, Sequence) else ()
    if size is not None and not (len(sides) == 3 and all(isinstance(side, int) and side > 0 for side in sides)):
        raise UserError(f"size={size}: give (C, H, W), channels, height and width of one image, such as (3, 22, 30)")


def _create_tensor(original: nn.Module, path: str, resized: ResizedTensor | None) -> Tensor:
    """A parameter or buffer outside of layers in its new size.

    Its channels are repeated where it is applied to the input images; otherwise its values have to be equal.
    """
    tensor = cast(Tensor, attrgetter(path)(original))
    values = tensor.detach()
    if resized is None or resized.size == tuple(values.shape):
        created = values.clone()
    elif resized.repeats > 1:  # such as the means that images are normalised with
        created = values.repeat([new // old for new, old in zip(resized.size, values.shape, strict=True)])
    elif (values == values.flatten()[0]).all():
        created = values.flatten()[0].expand(resized.size).clone()
    else:
        raise UserError(
            f"{path} cannot be folded: its values differ, so its initial values are unknown; give an untrained net"
        )
    return nn.Parameter(created) if isinstance(tensor, nn.Parameter) else created
