"""The forms that a network takes while it is trained: with what helps it to learn, without, averaged, assembled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from train.config.recipe import Recipe
from train.folding.arithmetic import assemble_slots, extract_slot
from train.models.notation import Conv, Layer, build, initialise
from train.models.training_layers import TwoEnds, bare, shares_of

WIDER = 4  # times the channels of the last convolution, in the auxiliary end


@dataclass(frozen=True)
class Forms:
    """All on one device, in channels-last memory, which halves the time of a step on a CPU.

    `trained` maps stacks of `stack` images to logits, with norms and dropout, and an auxiliary end whose logits come
    second (`train.models.training_layers`); with slots it is the narrow network of one, and `stack` is 1. `plain` is
    the same without what is for training alone. `folded` is what comes out, for stacks of `f` images; without slots
    `plain`.
    """

    trained: nn.Module
    averaged: AveragedModel | None
    plain: nn.Module
    folded: nn.Module
    stack: int
    f: int

    @classmethod
    def of(
        cls,
        layers: tuple[Layer, ...],
        *,
        size: tuple[int, int],
        classes: Sequence[str],
        f: int,
        recipe: Recipe,
        device: torch.device,
        start: nn.Module | None = None,
    ) -> Forms:
        """With weights drawn from torch's generator, or those of `start`, a whole network for stacks of f images.

        Raises `ValueError` if slots are to begin from a network that is not f equal ones.
        """
        stack, slot_of = (1, f) if recipe.slots else (f, 1)
        shape = partial(build, size=size, classes=len(classes), fold=stack, slot_of=slot_of)
        learning = partial(
            shape,
            norm=recipe.norm,
            dropout=recipe.dropout,
            pool_first=True,
            shares=shares_of(classes) if recipe.characters else None,
        )
        net = learning(layers)
        initialise(net, recipe.init)
        trained: nn.Module = net
        if recipe.auxiliary and sum(isinstance(layer, Conv) for layer in layers) > 1:
            end = learning(layers, widen_last=WIDER)
            initialise(end, recipe.init)
            trained = TwoEnds(net, end)
        plain = shape(layers)
        folded = build(layers, size=size, classes=len(classes), fold=f) if recipe.slots else plain
        if start is not None and recipe.slots:
            extract_slot(start, net, f)
        elif start is not None:
            net.load_state_dict(start.state_dict())
        for form in (trained, plain, folded):
            form.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        averaged = None
        if recipe.average:
            averaged = AveragedModel(trained, avg_fn=partial(_average, recipe.average), use_buffers=True)
        return cls(trained, averaged, plain, folded, stack, f)

    def step(self) -> None:
        """After every step of training."""
        if self.averaged is not None:
            self.averaged.update_parameters(self.trained)

    def settle(self) -> None:
        """Give `plain` what has been trained so far."""
        bare(self.trained if self.averaged is None else self.averaged.module, self.plain)

    def assemble(self) -> nn.Module:
        """`folded`, with the weights of `plain`."""
        if self.folded is not self.plain:
            assemble_slots(self.plain, self.folded, self.f)
        return self.folded


def _average(decay: float, averaged: Tensor, current: Tensor, steps: Tensor | int) -> Tensor:
    """The exponential average after one step more, over a tenth of the steps while they are few, so that it forgets
    the weights of the beginning."""
    if not averaged.is_floating_point():  # a counter
        return current
    return averaged.lerp(current, 1 - torch.as_tensor((1 + steps) / (10 + steps)).clamp(max=decay).to(averaged))
