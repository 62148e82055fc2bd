"""A smaller learning rate for the weights that lead from one slot of a stack to another."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from train.folding.slots import assemble_slots
from train.models.notation import Layer, build


class CrossSlotLearningRate:
    """Multiplies the steps of cross-slot weights by `factor`. Used around the optimisers' step: `with cross_slot:`.

    Cross-slot weights are all weights outside the f diagonal blocks that `train.folding.slots.assemble_slots` fills,
    those of channels that f slots do not fill among them. With `factor` 0 they stay as they are, and no gradient within
    a slot depends on the other slots; only Muon's steps do, a little, because it scales a weight's gradient as a whole.
    """

    def __init__(
        self, net: nn.Module, layers: tuple[Layer, ...], size: tuple[int, int], classes: int, f: int, factor: float
    ):
        narrow = build(layers, size=size, classes=classes, slot_of=f)
        blocks = build(layers, size=size, classes=classes, fold=f)
        for weight in narrow.parameters():
            nn.init.ones_(weight)
        assemble_slots(narrow, blocks, f)  # 1 within a slot, 0 elsewhere
        self._factor = factor
        self._weights: list[nn.Parameter] = []
        self._rates: list[Tensor] = []  # the factor on each weight's steps
        for name, block in blocks.named_parameters():
            if name.endswith("weight"):
                weight = net.get_parameter(name)
                self._weights.append(weight)
                self._rates.append((block.detach() * (1 - factor) + factor).to(weight.device))
        self._before: list[Tensor] = []

    @torch.no_grad()
    def scale(self) -> None:
        """Multiply the weights themselves by the same factors: with `factor` 0 there are then f separate networks."""
        for weight, rate in zip(self._weights, self._rates, strict=True):
            weight.mul_(rate)

    @torch.no_grad()
    def __enter__(self) -> None:
        self._before = [weight.detach().clone() for weight in self._weights]
        if self._factor == 0:  # Muon's steps would depend on these gradients
            for weight, rate in zip(self._weights, self._rates, strict=True):
                if weight.grad is not None:
                    weight.grad.mul_(rate)

    @torch.no_grad()
    def __exit__(self, *_: object) -> None:
        for weight, before, rate in zip(self._weights, self._before, self._rates, strict=True):
            weight.copy_(before.lerp(weight, rate))
