"""The cost of any PyTorch module, layer by layer, as in `train.cost.intensity` for networks of the notation."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from textgen.common.errors import UserError
from train.cost.intensity import LayerCost, convolution


def module_costs(net: nn.Module, size: tuple[int, int, int]) -> tuple[LayerCost, ...]:
    """The costs of every Conv2d, ConvTranspose2d and Linear of `net` for one stack of `size` (C, H, W), in call order.

    A copy of the module runs on PyTorch's meta device, in evaluation mode, which computes shapes only. A layer that is
    called twice is counted twice. Only layers that are modules are counted, not the matrix products of attention, for
    example. Raises `UserError` for a module that does not accept `size`, and for convolutions over 1 or 3 dimensions.

    >>> [(layer.name, layer.weights) for layer in module_costs(nn.Sequential(nn.Conv2d(3, 8, 3, 2)), (3, 32, 32))]
    [('0', 216)]
    """
    costs: list[LayerCost] = []
    meta_net = deepcopy(net).to("meta").eval()
    dtype = next((p.dtype for p in meta_net.parameters() if p.is_floating_point()), torch.float32)
    for name, layer in meta_net.named_modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            layer.register_forward_hook(partial(_append_cost, costs, name))
        elif isinstance(layer, _ConvNd):
            raise UserError(f"{name}: {type(layer).__name__} is not counted, only convolutions over two dimensions are")
    try:
        with torch.no_grad(), torch.device("meta"):
            meta_net(torch.empty(1, *size, dtype=dtype))
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        raise UserError(
            f"{type(net).__name__} does not run on a stack of {'×'.join(map(str, size))}: {error}"
        ) from None
    return tuple(costs)


def _append_cost(costs: list[LayerCost], name: str, layer: nn.Module, inputs: tuple[Any, ...], y: Tensor) -> None:
    x = cast(Tensor, inputs[0])
    if isinstance(layer, nn.Linear):
        positions = x.numel() // layer.in_features  # at which the layer is applied, for one stack
        c_in, c_out = layer.in_features, layer.out_features
        operations = 2 * positions * c_in * c_out
        sizes = (c_in, c_out), (1, positions), positions * c_in, positions * c_out, c_in * c_out
        costs.append(LayerCost(name, *sizes, operations, operations))
        return
    assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
    kernel = (layer.kernel_size[0], layer.kernel_size[1])
    size_in, size_out = ((each.shape[-2], each.shape[-1]) for each in (x, y))
    unit = {*layer.stride, *layer.dilation} == {1}
    if isinstance(layer, nn.Conv2d):
        options = {"output": size_out, "groups": layer.groups, "kernel": kernel, "winograd": unit}
        costs.append(convolution(name, layer.in_channels, layer.out_channels, size_in, **options))  # type: ignore[arg-type]
        return
    # A transposed convolution has the products of the convolution from its output to its input, whose gradient it is.
    mirrored = convolution(
        name,
        layer.out_channels,
        layer.in_channels,
        size_out,
        output=size_in,
        groups=layer.groups,
        kernel=kernel,
        winograd=False,
    )
    channels = (layer.in_channels, layer.out_channels)
    costs.append(replace(mirrored, channels=channels, size=size_out, inputs=mirrored.outputs, outputs=mirrored.inputs))
