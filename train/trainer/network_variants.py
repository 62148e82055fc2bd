"""The variants of one network while it is trained: with training-only layers, plain, averaged, and folded."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from textgen.common.errors import UserError
from textgen.spec.label_fields import LabelFields
from train.config.recipe import Recipe
from train.folding.own_module import OwnModule
from train.folding.slots import assemble_slots, extract_slot
from train.models.notation import Conv, Layer, build, initialise
from train.models.shared_modules import begin_with, combine_shared, share_module
from train.models.training_layers import AuxiliaryHead, reparameterise, shared_characters_of

WIDER = 4  # the factor on the channels of the last convolution in the auxiliary head


@dataclass(frozen=True)
class TrainingNetworks:
    """All on one device, in channels-last memory, which halves the time of a step on a CPU.

    `trained` maps stacks of `stack` images to logits; it has batch norms, dropout and an auxiliary head whose logits
    come second, and shared blocks (`train.models.training_layers`). With slots it is the narrow network of one slot,
    and `stack` is 1. `averaged` is an exponential moving average of it. `plain` is the same network without
    training-only layers. `folded` is the result of the training, for stacks of `f` images; without slots it is `plain`
    itself. A module can have shared blocks only; without these `trained`, or its moving average, is `plain` itself.
    """

    trained: nn.Module
    averaged: AveragedModel | None
    plain: nn.Module
    folded: nn.Module
    stack: int
    f: int
    make_plain: Callable[[nn.Module, nn.Module], None] = reparameterise  # gives `plain` the weights of `trained`

    @classmethod
    def build(
        cls,
        network: tuple[Layer, ...] | OwnModule,
        *,
        size: tuple[int, int],
        fields: LabelFields,
        f: int,
        recipe: Recipe,
        device: torch.device,
        start: nn.Module | None = None,
    ) -> TrainingNetworks:
        """With weights drawn from torch's generator, or those of `start`, a folded network for stacks of f images.

        Prints why a module has no shared blocks, if the recipe asks for them. Raises `ValueError` if `start` does not
        consist of slots and the recipe trains them.
        """
        classes = len(fields.classes)
        if isinstance(network, OwnModule):
            return cls._of_module(network, size, classes, f, recipe, device, start)
        layers = network
        stack, slot_of = (1, f) if recipe.slots else (f, 1)
        shape = partial(build, size=size, classes=classes)
        with_training_layers = partial(
            shape,
            norm=recipe.norm,
            dropout=recipe.dropout,
            pool_first=True,
            shares=shared_characters_of(fields) if recipe.characters else None,
        )
        net = with_training_layers(layers, fold=stack, slot_of=slot_of, shared_block=recipe.shared_block)
        initialise(net, recipe.init)
        trained: nn.Module = net
        if recipe.auxiliary and sum(isinstance(layer, Conv) for layer in layers) > 1:
            head = with_training_layers(layers, slot_of=f, widen_last=WIDER)
            initialise(head, recipe.init)
            trained = AuxiliaryHead(net, head, stack)
        plain = shape(layers, fold=stack, slot_of=slot_of)
        folded = build(layers, size=size, classes=classes, fold=f) if recipe.slots else plain
        if start is not None:
            if recipe.slots:
                extract_slot(start, plain, f)
            else:
                plain.load_state_dict(start.state_dict())
            begin_with(net, plain)
        for variant in (trained, plain, folded):
            variant.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return cls(trained, _average(trained, recipe), plain, folded, stack, f)

    @classmethod
    def _of_module(
        cls,
        network: OwnModule,
        size: tuple[int, int],
        classes: int,
        f: int,
        recipe: Recipe,
        device: torch.device,
        start: nn.Module | None,
    ) -> TrainingNetworks:
        plain = trained = network.build(size=size, classes=classes, fold=f)
        if recipe.shared_block:
            try:
                trained = share_module(network, plain, size=size, classes=classes, f=f)
            except UserError as error:
                without = f"network={network.name} is trained without recipe.shared_block, which takes many more images"
                print(f"{without}: {error}", file=sys.stderr)
        if start is not None:
            plain.load_state_dict(start.state_dict())
            begin_with(trained, plain)
        for variant in (trained, plain):
            variant.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        averaged = _average(trained, recipe)
        if trained is plain and averaged is not None:
            plain = averaged.module
        return cls(trained, averaged, plain, plain, f, f, combine_shared)

    def update_average(self) -> None:
        """To be called after every step of the optimisers."""
        if self.averaged is not None:
            self.averaged.update_parameters(self.trained)

    def fuse(self) -> None:
        """Give `plain` the current weights, with batch norms fused into the convolutions before them."""
        trained = self.trained if self.averaged is None else self.averaged.module
        if trained is not self.plain:
            self.make_plain(trained, self.plain)

    def assemble(self) -> nn.Module:
        """`folded`, with the weights of `plain`."""
        if self.folded is not self.plain:
            assemble_slots(self.plain, self.folded, self.f)
        return self.folded


def _average(net: nn.Module, recipe: Recipe) -> AveragedModel | None:
    if not recipe.ema_decay:
        return None
    return AveragedModel(net, avg_fn=partial(_moving_average, recipe.ema_decay), use_buffers=True)


def _moving_average(decay: float, averaged: Tensor, current: Tensor, steps: Tensor | int) -> Tensor:
    """The exponential moving average after one more step.

    While there are few steps it reaches over a tenth of them, so that it forgets the initial weights.
    """
    if not averaged.is_floating_point():  # a counter
        return current
    return averaged.lerp(current, 1 - torch.as_tensor((1 + steps) / (10 + steps)).clamp(max=decay).to(averaged))
