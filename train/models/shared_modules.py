"""Shared blocks in PyTorch modules: put into a folded network for its training, and added up at the end."""

from __future__ import annotations

from copy import deepcopy
from itertools import chain
from typing import cast

import torch
from torch import Tensor, fx, nn

from textgen.common.errors import UserError
from train.folding.arithmetic import fold, unfold
from train.folding.own_module import OwnModule
from train.models.training_layers import SharedBlock

TOLERANCE = 1e-3  # of the logits' standard deviation; where slots differ, they do so by a tenth of it and more
MAX_NAMES = 3  # layers in a message


def share_module(network: OwnModule, folded: nn.Module, *, size: tuple[int, int], classes: int, f: int) -> nn.Module:
    """`share_blocks` for a `network` that has been `folded` for f images of `size` (H, W). Raises `UserError`."""
    try:
        narrow = network.build_slot(size=size, classes=classes, fold=f)
    except UserError as error:
        raise UserError(f"there is no network of one slot: {error}") from None
    return share_blocks(folded, narrow, f, (3, *size))


def share_blocks(folded: nn.Module, narrow: nn.Module, f: int, size: tuple[int, int, int]) -> nn.Module:
    """A network to be trained in the place of `folded`, in which the slots of a stack share weights.

    `folded` is a network of `fold_model` for stacks of f images of `size` (C, H, W), and `narrow` that of one slot, by
    `slot_model`. Linear layers and convolutions with one group, or one for each channel, become `SharedBlock`s. They
    begin with the weights of `narrow`, and so do norms and other tensors of one entry a channel, f times over. Neither
    network is changed.

    Raises `UserError` for other networks, and if the slots are not alike, so that blocks which they share would not
    help: in another order the images of a stack get other logits. So it is where a layer cannot be shared, such as one
    of two groups, or where an operation puts channels elsewhere, as `torch.cat` does.
    """
    if not isinstance(folded, fx.GraphModule) or not isinstance(narrow, fx.GraphModule):
        raise UserError("give the networks of fold_model(net, f) and slot_model(net, f)")
    trained = deepcopy(folded)
    read_elsewhere = {str(node.target).rpartition(".")[0] for node in folded.graph.nodes if node.op == "get_attr"}
    slot_layers, stay = dict(narrow.named_modules()), []
    for name, layer in folded.named_modules():
        if not isinstance(getattr(layer, "weight", None), nn.Parameter) or cast(Tensor, layer.weight).ndim < 2:
            continue  # no convolution, nor linear layer
        if name not in slot_layers:
            raise UserError(f"narrow has no layer {name}: give slot_model(net, f) of the same net")
        shared = None if name in read_elsewhere else _share(layer, slot_layers[name], f)
        if shared is None:
            stay.append(name)
        else:
            parent, _, child = name.rpartition(".")
            setattr(trained.get_submodule(parent), child, shared)
    _repeat_entries(narrow, trained, f)
    if not _slots_are_alike(trained, f, size):
        shown = ", ".join(stay[:MAX_NAMES])
        reason = f"{shown} cannot be shared" if stay else "an operation moves or mixes channels, as torch.cat does"
        raise UserError(f"the images of a stack would not be treated alike, as {reason}")
    return trained


def _share(layer: nn.Module, block: nn.Module, f: int) -> SharedBlock | None:
    """A layer of f blocks in the place of `layer`; None if there is none."""
    try:
        if type(layer) is nn.Linear and type(block) is nn.Linear:
            return SharedBlock(deepcopy(block), f, layer.in_features, layer.out_features)
        if type(layer) is nn.Conv2d and type(block) is nn.Conv2d and layer.padding_mode == "zeros":
            depthwise = layer.groups == layer.in_channels > 1
            if depthwise or layer.groups == 1:
                return SharedBlock(deepcopy(block), f, layer.in_channels, layer.out_channels, depthwise=depthwise)
    except ValueError:  # f blocks do not fit
        pass
    return None


@torch.no_grad()
def _repeat_entries(narrow: nn.Module, trained: nn.Module, f: int) -> None:
    """Give tensors of one entry a channel, such as a norm's, the entries of `narrow` for each slot."""
    of_trained = dict(chain(trained.named_parameters(), trained.named_buffers()))
    for name, tensor in chain(narrow.named_parameters(), narrow.named_buffers()):
        target = of_trained.get(name)
        if target is None or target.ndim != tensor.ndim or isinstance(_layer_of(trained, name), SharedBlock):
            continue
        axes = [axis for axis in range(tensor.ndim) if tensor.shape[axis] != target.shape[axis]]
        if not axes:
            target.copy_(tensor)
        elif len(axes) == 1 and target.shape[axes[0]] >= f * tensor.shape[axes[0]]:
            filled = target.narrow(axes[0], 0, f * tensor.shape[axes[0]])
            filled.copy_(torch.cat([tensor] * f, axes[0]))


def _layer_of(net: nn.Module, tensor: str) -> nn.Module:
    return net.get_submodule(tensor.rpartition(".")[0])


@torch.no_grad()
def _slots_are_alike(trained: nn.Module, f: int, size: tuple[int, int, int]) -> bool:
    """Whether images get the same logits in every order of a stack. Raises `UserError` for other networks."""
    probe = deepcopy(trained).float().eval()
    images = torch.randn(2, f, *size, generator=torch.Generator().manual_seed(0))
    images = images.to(next(probe.parameters()).device)

    def logits(order: list[int]) -> Tensor:
        """Of the images in their own order, (2, f, k), if those of a stack are put in `order`."""
        found = unfold(probe(fold(images[:, order].flatten(0, 1), f)), f)
        return found.reshape(2, f, -1)[:, torch.tensor(order).argsort()]

    try:
        expected = logits([*range(f)])
        # All orders are made of these two: the first two images change places; all move on by one.
        found = [logits([1, 0, *range(2, f)]), logits([*range(1, f), 0])]
    except (RuntimeError, ValueError) as error:
        raise UserError(f"the network does not take stacks of f={f} images of {size}: {error}") from None
    tolerance = TOLERANCE * expected.std().item()
    return all(torch.allclose(each, expected, rtol=0, atol=tolerance) for each in found)


@torch.no_grad()
def combine_shared(trained: nn.Module, plain: nn.Module) -> None:
    """Set the weights of `plain` so that it computes what `trained` does, which `share_blocks` made of it."""
    state = trained.state_dict()
    for name, layer in trained.named_modules():
        if isinstance(layer, SharedBlock):
            weight, bias = layer.combine_weights()
            state |= {f"{name}.weight": weight} | ({} if bias is None else {f"{name}.bias": bias})
    plain.load_state_dict({name: state[name] for name in plain.state_dict()})


@torch.no_grad()
def begin_with(trained: nn.Module, plain: nn.Module) -> None:
    """Set the weights of `trained`, which has shared blocks but no other training-only layers, to those of `plain`.

    What the slots have in common is shared (their mean), the rest is free.
    """
    for name, layer in plain.named_modules():
        target = trained.get_submodule(name)
        tensors = dict(chain(layer.named_parameters(recurse=False), layer.named_buffers(recurse=False)))
        if isinstance(target, SharedBlock):
            target.set_weights(tensors["weight"], tensors.get("bias"))
        else:
            for key, tensor in tensors.items():
                getattr(target, key).copy_(tensor)
