"""A trained network as machine code for this processor, which runs all layers for one image after the other."""

from __future__ import annotations

from typing import get_args

import torch
from torch import nn

from textgen.common.errors import UserError
from train.data.sources import as_tensor, to_input
from train.folding.arithmetic import fold
from train.inference.cpu.compiled import (
    CompiledNetwork,
    check_crops,
    compile_ir,
    host_target,
    optimise_ir,
    target_from_features,
)
from train.inference.cpu.program import Precision, Target
from train.inference.grouped import slot_network
from train.inference.network import CropArray, Network

__all__ = ["FusedCPU", "compile_ir", "host_target", "optimise_ir", "target_from_features"]


class FusedCPU(CompiledNetwork):
    """Crops -> logits, by machine code that is compiled for one network and this processor.

    `int16` and `int8` compute with integers, whose sums are exact. In int16 activations and weights share the 32 bits
    of a sum: about 12 bits each in a convolution, fewer in a fully connected layer of many inputs. In int8 both have
    seven bits, except in the first layer, which is as in int16.

    `calibration`, crops uint8 (n, H, W, 3) as the network will read, determines the range of activations; `fp32` needs
    none. A FoldedCNN of slots runs as its narrow network, image by image. `threads` share the images of a call.
    Raises `UserError` for a network that the notation cannot express or that does not begin with a convolution, an
    unknown precision, and less than one thread; `ValueError` for integers without calibration.
    """

    def __init__(
        self,
        network: Network,
        *,
        precision: Precision = "fp32",
        calibration: CropArray | None = None,
        threads: int = 1,
        target: Target | None = None,
    ):
        if precision not in (known := get_args(Precision)):
            raise UserError(f"precision={precision}: on a CPU the fused code computes in {', '.join(known)}")
        layers, slot = network.layers, slot_network(network)
        net, stack = (network.net, network.fold) if slot is None else (slot, 1)
        largest: list[float] = []
        if precision != "fp32":
            if calibration is None or len(calibration) < stack:
                raise ValueError(f"{precision} needs calibration crops, {stack} or more")
            largest = _measure_largest_outputs(net, check_crops(calibration, (*network.size, 3)), stack)
        super().__init__(
            layers,
            {name: tensor.numpy(force=True) for name, tensor in net.state_dict().items()},
            size=network.size,
            classes=len(network.classes),
            fold=stack,
            slot_of=1 if slot is None else network.fold,
            precision=precision,
            largest_outputs=largest,
            threads=threads,
            target=target,
        )


@torch.no_grad()
def _measure_largest_outputs(net: nn.Module, images: CropArray, stack: int) -> list[float]:
    """The largest output of each ReLU on these images, in the order of the layers."""
    largest: list[float] = []
    complete = len(images) // stack * stack
    for part in torch.split(as_tensor(images[:complete]), 64 * stack):
        x, found = fold(to_input(part), stack), []
        for layer in net.children():
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                found.append(x.max().item())
        largest = found if not largest else [max(pair) for pair in zip(largest, found, strict=True)]
    return largest
