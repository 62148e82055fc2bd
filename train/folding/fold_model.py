"""`fold_model`: a PyTorch module of one's own as a FoldedCNN (paper §4.1), without a notation; docs/fold_model.md.

The module's forward pass is traced (torch.fx), and every layer is built anew with the widths of
`train.folding.arithmetic`. Which axis of a tensor is wide follows from running the original and the folded network
beside each other on PyTorch's meta device, operation by operation: sizes are worked out and nothing is computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from math import prod
from operator import attrgetter
from typing import Any, NoReturn, cast

import torch
from torch import Tensor, fx, nn
from torch.fx.node import Node, map_arg
from torch.nn.modules import activation, batchnorm, dropout, padding, pooling, upsampling
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from textgen.common.errors import UserError
from train.folding.arithmetic import folded_width
from train.folding.tracing import (
    BATCH,
    ELEMENTWISE,
    SIZED,
    WEIGHTED,
    Plan,
    holds_data,
    name_of,
    place_of,
    plan_of,
    run,
    shape_of,
    told,
    traced,
    value_of,
)

PROBE = 16  # a fold whose widths are exact: what is wide is wide by 4 there, and nothing fails for being rounded

# Modules and functions that work for any number of channels. Those of the first kind keep channels apart and in order,
# so that they may also stand behind the last layer, where those of the second would mix the images of a stack.
MIXING_MODULES = (
    *(nn.Softmax, nn.Softmax2d, nn.LogSoftmax, nn.Softmin, nn.GLU),
    *(nn.LocalResponseNorm, nn.PixelShuffle, nn.PixelUnshuffle, nn.ChannelShuffle),
)
APART_MODULES = (
    *(
        getattr(module, name)
        for module in (activation, dropout, padding, pooling, upsampling)
        for name in module.__all__
        if name not in ("MultiheadAttention", *(mixing.__name__ for mixing in MIXING_MODULES))
    ),
    *(nn.Flatten, nn.Identity),
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


RESHAPING = _words("view reshape")
APART = (
    ELEMENTWISE
    | RESHAPING
    | _words("""
        relu relu_ relu6 sigmoid sigmoid_ tanh tanh_ gelu silu mish hardswish hardsigmoid hardtanh leaky_relu
        leaky_relu_ elu elu_ selu celu softplus softsign logsigmoid exp log sqrt rsqrt abs neg square clamp clip
        max_pool1d max_pool2d avg_pool1d avg_pool2d lp_pool2d adaptive_avg_pool1d adaptive_avg_pool2d
        adaptive_max_pool1d adaptive_max_pool2d interpolate pad dropout dropout1d dropout2d alpha_dropout
        feature_alpha_dropout contiguous clone detach float half double to flatten squeeze unsqueeze
        mean sum amax amin expand expand_as getitem getattr size dim
    """)
)
OVER_CHANNELS = _words("softmax log_softmax softmin normalize max min")
MIXING = _words("""
    cat concat concatenate stack chunk softmax log_softmax softmin normalize max min transpose permute matmul bmm repeat
""")


def fold_model(net: nn.Module, f: int, size: tuple[int, int, int] | None = None) -> nn.Module:
    """A new network for stacks of f images, freshly initialised: (b, f·C, H, W) -> (b, f·k), see
    `train.folding.arithmetic`.

    `net` maps images (b, C, H, W) to logits (b, k) and stays as it is; `size` is (C, H, W), and is found where `net`
    takes square images of a usual size. The first layer takes f times the channels, the last gives f times the outputs,
    all between are ⌊C·√f⌋ wide (§4.1), or the nearest multiple that groups need. Names of layers, devices and types of
    numbers stay; weights are as PyTorch's layers begin. f=1 gives the same sizes. Raises `UserError` that names what
    cannot be traced or folded, and arguments that are none of these.

    >>> net = nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 6 * 6, 10))
    >>> folded = fold_model(net, 4, size=(3, 8, 8))
    >>> [tuple(p.shape) for p in folded.parameters()]
    [(64, 12, 3, 3), (64,), (40, 2304), (40,)]
    >>> folded(torch.zeros(2, 12, 8, 8)).shape
    torch.Size([2, 40])
    """
    if not isinstance(net, nn.Module):
        raise UserError(f"net is {net!r}: give a torch.nn.Module, made and not its class")
    if not isinstance(f, int) or f < 1:
        raise UserError(f"f={f!r}: it counts the images of a stack, give 1 (the same sizes), 2, 3, 4…")
    sides = size if isinstance(size, Sequence) else ()
    if size is not None and not (len(sides) == 3 and all(isinstance(side, int) and side > 0 for side in sides)):
        raise UserError(f"size={size}: give (C, H, W), channels, height and width of one image, such as (3, 22, 30)")
    original = traced(net)
    meta = deepcopy(original).to("meta")
    with torch.no_grad(), torch.device("meta"):
        values = run(meta, size)
        plan = plan_of(meta, values)
        _Folding(meta, values, plan, PROBE, probing=True).run()
        folding = _Folding(meta, values, plan, f, probing=False)
        folding.run()
    parts: dict[str, Any] = {}
    for node in meta.graph.nodes:
        if node.op == "get_attr":
            parts[node.target] = _tensor(original, node.target, *folding.tensors.get(node.target, (None, 1)))
        elif node.op == "call_module":
            before = original.get_submodule(node.target)
            after = folding.made.get(node.target)
            parts[node.target] = deepcopy(before) if after is None else _initialised(after, before)
    return fx.GraphModule(parts, meta.graph, type(net).__name__).train()


class _Folding:
    """The folded network beside the original, node by node: `made` are its layers, `tensors` its other parameters.

    `probing` finds layers whose input is not wide, and leaves the graph as it is; otherwise sizes that are written out
    in it are changed.
    """

    def __init__(self, meta: fx.GraphModule, values: dict[Node, Any], plan: Plan, f: int, probing: bool):
        self.meta, self.before, self.plan, self.f, self.probing = meta, values, plan, f, probing
        self.after: dict[Node, Any] = {}
        self.made: dict[str, nn.Module] = {}
        self.tensors: dict[str, tuple[tuple[int, ...], int]] = {}  # size, and how often channels of images are repeated
        self.images: set[Node] = set()  # what is still f images over each other, before the first layer

    def run(self) -> None:
        for node in self.meta.graph.nodes:
            self.after[node] = self._fold(node)
            before, after = self.before[node], self.after[node]
            if isinstance(before, Tensor) and node.op != "get_attr":
                kept = before.ndim == after.ndim and (before.shape[:1] != (BATCH,) or after.shape[:1] == (BATCH,))
                if not kept:
                    self._refuse(node, f"it gives {shape_of(after)} instead of {shape_of(before)}")
            if node.op == "output" and after.shape[1] != self.f * before.shape[1]:
                logits = f"{self.f} times {before.shape[1]} logits"
                raise UserError(f"the folded network would not give {logits} but {after.shape[1]}")

    def _fold(self, node: Node) -> Any:
        inputs = [of for of in node.all_input_nodes if holds_data(self.before[of])]
        if node.op == "placeholder":
            self.images.add(node)
            _, c, h, w = self.before[node].shape
            return self._evaluate(node, size=(self.f * c, h, w))
        if node.op in ("get_attr", "output"):
            return self._evaluate(node)
        if node.op == "call_module":
            layer = self.meta.get_submodule(str(node.target))
            if isinstance(layer, SIZED):
                if not isinstance(layer, WEIGHTED) and self.images.issuperset(inputs):
                    if _over_channels(layer, self.before[node].ndim):
                        self._refuse(node, "before the first layer it would mix the images of a stack")
                    self.images.add(node)
                return self._layer(node, layer)
            if next(layer.parameters(), None) is not None:
                self._refuse(node, "of layers with weights, convolutions, linear layers, norms and PReLU fold")
            apart, mixing = type(layer) in APART_MODULES, type(layer) in MIXING_MODULES
        else:
            if not inputs and not holds_data(self.before[node]):
                return self._evaluate(node)  # arithmetic with sizes
            own = getattr(node.target, "__module__", None) or "torch"  # where a function is from
            known = node.op == "call_method" or own.partition(".")[0] in ("torch", "_operator", "builtins")
            apart, mixing = known and name_of(node) in APART, known and name_of(node) in MIXING
            apart &= name_of(node) != "getattr" or not holds_data(self.before[node])  # x.shape, but not x.T
        if not apart and not mixing:
            self._refuse(node, "it may be written for a number of channels, and is not among what is known to fold")
        if mixing and node in self.plan.behind:
            self._refuse(node, "behind the last layer it would mix the images of a stack; let the network give logits")
        data = [of for of in inputs if of.op != "get_attr"]
        of_images = bool(data) and self.images.issuperset(data)
        if of_images and name_of(node) in OVER_CHANNELS:
            self._refuse(node, "before the first layer it would mix the images of a stack")
        if apart and of_images:
            self.images.add(node)
        made = self._made(node, inputs)
        # A sum over the channels, such as one that makes grey images, would be over those of all images of a stack.
        if of_images or node in self.plan.behind:
            wide = any(isinstance(self.before[of], Tensor) and self._grown(of, self.after[of]) for of in data)
            if wide and isinstance(made, Tensor) and not self._grown(node, made):
                self._refuse(node, "it would join the images of a stack in one")
        return made

    def _grown(self, node: Node, after: Tensor) -> bool:
        return after.numel() > cast(int, self.before[node].numel())

    def _made(self, node: Node, inputs: list[Node]) -> Any:
        """What an operation without sizes of its own gives."""
        if node.op != "call_module":
            if name_of(node) in RESHAPING:
                return self._reshape(node)
            if name_of(node) == "getitem" and isinstance(self.before[inputs[0]], Tensor):
                self._check_index(node, inputs[0])
            if any(of.op == "get_attr" and self.before[of].numel() > 1 for of in inputs):
                self._widen_tensors(node, inputs)
        return self._evaluate(node)

    def _evaluate(self, node: Node, module: nn.Module | None = None, size: tuple[int, ...] = ()) -> Any:
        try:
            if module is not None:
                args, kwargs = map_arg((node.args, node.kwargs), lambda of: self.after[of])
                return module.eval()(*args, **kwargs)
            return value_of(self.meta, self.after, node, size)
        except Exception as error:  # PyTorch's own, of any class
            shapes = [
                [v[of] for of in node.all_input_nodes if isinstance(v[of], Tensor)] for v in (self.after, self.before)
            ]
            after, before = (" and ".join(map(shape_of, of)) for of in shapes)
            self._refuse(node, f"it would take {after} where it took {before}: {told(error)}")

    def _refuse(self, node: Node, why: str) -> NoReturn:
        raise UserError(f"{place_of(node)} cannot be folded: {why}")

    def _width(self, channels: int) -> int:
        """⌊C·√f⌋, or the multiple nearest to it."""
        wide, of = folded_width(channels, self.f), self.plan.multiples.get(channels, 1)
        return max((2 * wide + of) // (2 * of), 1) * of

    def _layer(self, node: Node, layer: nn.Module) -> Tensor:
        path = str(node.target)
        if path not in self.made:
            more = {name for name, _ in layer.named_parameters()} - {"weight", "bias"}
            more |= {name for name, _ in layer.named_buffers()} - {"running_mean", "running_var", "num_batches_tracked"}
            if more:
                self._refuse(node, f"it has tensors of its own, {', '.join(sorted(more))}")
            self.made[path] = self._resized(node, deepcopy(layer))
        if node in self.plan.behind and isinstance(layer, nn.GroupNorm | nn.LayerNorm):
            self._refuse(node, "behind the last layer it would mix the images of a stack")
        return cast(Tensor, self._evaluate(node, self.made[path]))

    def _resized(self, node: Node, layer: nn.Module) -> nn.Module:
        """The layer for what it is given, with its own width."""
        x = self.after[node.all_input_nodes[0]].shape
        if isinstance(layer, nn.Linear):
            layer.out_features = self._outputs(node, layer.in_features, x[-1], layer.out_features)
            layer.in_features = x[-1]
            _replace(layer, weight=(layer.out_features, layer.in_features), bias=(layer.out_features,))
        elif isinstance(layer, _ConvNd):
            c_in, c_out = x[1], self._outputs(node, layer.in_channels, x[1], layer.out_channels)
            if layer.groups == layer.in_channels > 1:  # depthwise
                c_out, layer.groups = c_in * (layer.out_channels // layer.groups), c_in
                if node.target in self.plan.last and c_out != self.f * layer.out_channels:
                    self._refuse(node, f"as the last layer it would give {c_out} outputs, not f={self.f} times as many")
            if c_in % layer.groups or c_out % layer.groups:
                self._refuse(node, f"its {layer.groups} groups do not divide {c_in} and {c_out} channels")
            layer.in_channels, layer.out_channels = c_in, c_out
            ends = (c_in, c_out) if isinstance(layer, _ConvTransposeNd) else (c_out, c_in)
            _replace(layer, weight=(ends[0], ends[1] // layer.groups, *layer.kernel_size), bias=(c_out,))
        elif isinstance(layer, nn.LayerNorm):
            layer.normalized_shape = tuple(x[-len(layer.normalized_shape) :])
            _replace(layer, weight=layer.normalized_shape, bias=layer.normalized_shape)
        elif isinstance(layer, nn.PReLU):
            if layer.num_parameters > 1:
                layer.num_parameters = x[1]
            _replace(layer, weight=(layer.num_parameters,))
        elif isinstance(layer, nn.GroupNorm):
            if layer.num_groups == layer.num_channels:  # every channel by itself
                layer.num_groups = x[1]
            if x[1] % layer.num_groups:
                self._refuse(node, f"its {layer.num_groups} groups do not divide {x[1]} channels")
            layer.num_channels = x[1]
            _replace(layer, weight=(x[1],), bias=(x[1],))
        else:
            assert isinstance(layer, batchnorm._NormBase)
            layer.num_features = x[1]
            _replace(layer, weight=(x[1],), bias=(x[1],), running_mean=(x[1],), running_var=(x[1],))
        return layer

    def _outputs(self, node: Node, before: int, after: int, outputs: int) -> int:
        path = str(node.target)
        if path in self.plan.last:
            return self.f * outputs
        if self.probing and before == after:
            self.plan.kept.add(path)
        return outputs if path in self.plan.kept else self._width(outputs)

    def _reshape(self, node: Node) -> Tensor:
        """Sizes that are written out in the code, as in x.view(-1, 400), become those of the folded network."""
        x = node.all_input_nodes[0]
        wanted = _stretched(self.before[x].shape, self.before[node].shape, self.after[x].shape)
        if node in self.plan.behind and None in wanted:
            self._refuse(node, "behind the last layer it would mix the images of a stack")
        nested = len(node.args) == 2 and isinstance(node.args[1], tuple | list)
        written: Sequence[Any] = cast(Any, node.args[1]) if nested else node.args[1:]
        sizes = written
        if len(written) == len(wanted):
            pairs = zip(written, wanted, strict=True)
            sizes = [want if isinstance(given, int) and given != -1 and want else given for given, want in pairs]
        args = node.args
        node.args = (args[0], tuple(sizes)) if nested else (args[0], *sizes)
        made = self._evaluate(node)
        if self.probing:
            node.args = args
        if len(made.shape) != len(wanted) or any(w not in (None, h) for w, h in zip(wanted, made.shape, strict=True)):
            self._refuse(node, f"it gives {shape_of(made)} where it gave {shape_of(self.before[node])}")
        return cast(Tensor, made)

    def _check_index(self, node: Node, of: Node) -> None:
        """A part of the channels that is written in numbers would be another part of the wider tensor."""
        index = node.args[1] if isinstance(node.args[1], tuple) else (node.args[1],)
        before, after = self.before[of].shape, self.after[of].shape
        axes = len([at for at in index if at is not None and at is not Ellipsis])
        axis = 0
        for at in index:
            if at is Ellipsis:
                axis += len(before) - axes
            elif at is not None:
                whole = isinstance(at, slice) and at.start in (None, 0) and at.stop is None and at.step in (None, 1)
                named = isinstance(at, slice) and not any(isinstance(end, int) for end in (at.start, at.stop))
                wide = before[axis] != after[axis]
                if wide and not whole and not (named and node not in self.plan.behind):
                    self._refuse(node, f"[{', '.join(map(str, index))}] takes a part of channels that become more")
                axis += 1

    def _widen_tensors(self, node: Node, inputs: list[Node]) -> None:
        """Parameters and buffers that are added to or multiplied with channels, as (C, 1, 1)."""
        data = [of for of in inputs if of.op != "get_attr"]
        for of in inputs:
            path, tensor = str(of.target), self.before[of]
            if of.op != "get_attr" or tensor.numel() == 1:
                continue
            if len(data) != 1 or name_of(node) not in ELEMENTWISE:
                self._refuse(
                    node, f"of {path} with {shape_of(tensor)} entries: tensors fold where a channel has one each"
                )
            (other,) = data
            wide, narrow = (v[other].shape[max(v[other].ndim - tensor.ndim, 0) :] for v in (self.after, self.before))
            tail = tensor.shape[tensor.ndim - len(narrow) :]
            sizes = tuple(w if size == n else size for size, n, w in zip(tail, narrow, wide, strict=True))
            made = (*tensor.shape[: tensor.ndim - len(narrow)], *sizes), self.f if other in self.images else 1
            if self.tensors.setdefault(path, made) != made:
                self._refuse(node, f"{path} is used for {made[0]} and for {self.tensors[path][0]}")
            self.after[of] = torch.empty(made[0], dtype=tensor.dtype)


def _over_channels(layer: nn.Module, axes: int) -> bool:
    """Whether a norm of tensors with so many axes takes several channels together."""
    if isinstance(layer, nn.LayerNorm):
        return len(layer.normalized_shape) >= axes - 1
    return isinstance(layer, nn.GroupNorm) and layer.num_groups < layer.num_channels


def _stretched(before: Sequence[int], shape: Sequence[int], after: Sequence[int]) -> list[int | None]:
    """The sizes that reshaping `before` to `shape` gives for `after`; None where several could be the wide one.

    >>> _stretched((7, 16, 5, 5), (7, 400), (7, 22, 5, 5))
    [7, 550]
    >>> _stretched((7, 16, 5), (7, 4, 4, 5), (7, 22, 5))
    [7, None, None, 5]
    """
    found: list[int | None] = []
    i = j = 0
    while i < len(before) or j < len(shape):  # the fewest axes of both that hold as many elements
        start = i, j
        i, j = min(i + 1, len(before)), min(j + 1, len(shape))
        while (a := prod(before[start[0] : i])) != (b := prod(shape[start[1] : j])):
            i, j = (i + 1, j) if a < b else (i, j + 1)
        grown, axes = prod(after[start[0] : i]), shape[start[1] : j]
        large = [at for at, size in enumerate(axes) if size > 1 or len(axes) == 1]
        if grown == a:
            found += axes
        else:
            found += [(grown if len(large) == 1 else None) if at in large else size for at, size in enumerate(axes)]
    return found


def _replace(layer: nn.Module, **sizes: tuple[int, ...]) -> None:
    """Parameters and buffers of these names, where the layer has them, without contents."""
    for name, size in sizes.items():
        tensor = getattr(layer, name, None)
        if tensor is not None:
            made = torch.empty(size, dtype=tensor.dtype, device="meta")
            setattr(layer, name, nn.Parameter(made) if isinstance(tensor, nn.Parameter) else made)


def _initialised(layer: nn.Module, original: nn.Module) -> nn.Module:
    tensor = next((tensor for tensor in original.state_dict().values()), torch.empty(0))
    layer.to_empty(device=tensor.device)
    if tensor.numel():
        cast(Any, layer).reset_parameters()
    return layer


def _tensor(original: nn.Module, path: str, size: tuple[int, ...] | None, images: int) -> Tensor:
    """A parameter or buffer outside of layers, for its new size: what it holds, where that is one number."""
    tensor = cast(Tensor, attrgetter(path)(original)).detach()
    if size is None or size == tuple(tensor.shape):
        made = tensor.clone()
    elif images > 1:  # of the images themselves, such as the means that they are normalised with
        made = tensor.repeat([after // before for after, before in zip(size, tensor.shape, strict=True)])
    elif (tensor == tensor.flatten()[0]).all():
        made = tensor.flatten()[0].expand(size).clone()
    else:
        raise UserError(
            f"{path} cannot be folded: its values differ, so how it begins is unknown; give an untrained net"
        )
    return nn.Parameter(made) if isinstance(attrgetter(path)(original), nn.Parameter) else made
