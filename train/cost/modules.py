"""What any PyTorch module costs, layer by layer, as `train.cost.intensity` counts it for networks of the notation."""

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
    """The costs of every Conv2d, ConvTranspose2d and Linear of `net` for one stack of `size` (C, H, W), as they run.

    The module runs on PyTorch's meta device, in evaluation mode: sizes are worked out, nothing is computed, and `net`
    stays as it is. A layer that runs twice is there twice. Only layers that are modules are seen, not the products of
    an attention, say. Raises `UserError` for a module that does not take `size`, and for convolutions in 1 or 3
    dimensions.

    >>> [(layer.name, layer.weights) for layer in module_costs(nn.Sequential(nn.Conv2d(3, 8, 3, 2)), (3, 32, 32))]
    [('0', 216)]
    """
    found: list[LayerCost] = []
    twin = deepcopy(net).to("meta").eval()
    dtype = next((p.dtype for p in twin.parameters() if p.is_floating_point()), torch.float32)
    for name, layer in twin.named_modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            layer.register_forward_hook(partial(_count, found, name))
        elif isinstance(layer, _ConvNd):
            raise UserError(f"{name}: {type(layer).__name__} is not counted, only convolutions over two dimensions are")
    try:
        with torch.no_grad(), torch.device("meta"):
            twin(torch.empty(1, *size, dtype=dtype))
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        raise UserError(
            f"{type(net).__name__} does not run on a stack of {'×'.join(map(str, size))}: {error}"
        ) from None
    return tuple(found)


def _count(found: list[LayerCost], name: str, layer: nn.Module, given: tuple[Any, ...], made: Tensor) -> None:
    taken = cast(Tensor, given[0])
    if isinstance(layer, nn.Linear):
        places = taken.numel() // layer.in_features  # one, but for a layer that is applied to a row of them
        c_in, c_out = layer.in_features, layer.out_features
        operations = 2 * places * c_in * c_out
        of = (c_in, c_out), (1, places), places * c_in, places * c_out, c_in * c_out
        found.append(LayerCost(name, *of, operations, operations))
        return
    assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
    kernel = (layer.kernel_size[0], layer.kernel_size[1])
    before, after = ((x.shape[-2], x.shape[-1]) for x in (taken, made))
    plain = {*layer.stride, *layer.dilation} == {1}
    if isinstance(layer, nn.Conv2d):
        sizes = {"output": after, "groups": layer.groups, "kernel": kernel, "winograd": plain}
        found.append(convolution(name, layer.in_channels, layer.out_channels, before, **sizes))  # type: ignore[arg-type]
        return
    # Its products are those of the convolution whose gradient it is, which goes from its output to its input.
    back = convolution(
        name,
        layer.out_channels,
        layer.in_channels,
        after,
        output=before,
        groups=layer.groups,
        kernel=kernel,
        winograd=False,
    )
    turned = (layer.in_channels, layer.out_channels)
    found.append(replace(back, channels=turned, size=after, inputs=back.outputs, outputs=back.inputs))
