"""For networks that are trained on whole stacks: slower steps between slots, and one answer in every order."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from train.fold import assemble_slots, fold, turn, unfold
from train.models.notation import Layer, build


class BetweenSlots:
    """Makes the steps of weights that lead from one slot to another `factor` times as long: 0 holds them.

    In use: `with between:` around the optimiser's step.
    """

    def __init__(
        self, net: nn.Module, layers: tuple[Layer, ...], size: tuple[int, int], classes: int, f: int, factor: float
    ):
        narrow = build(layers, size=size, classes=classes, slot_of=f)
        blocks = build(layers, size=size, classes=classes, fold=f)
        for weight in narrow.parameters():
            nn.init.ones_(weight)
        assemble_slots(narrow, blocks, f)  # 1 within a slot, 0 elsewhere
        trained = dict(net.named_parameters())
        self._weights = [trained[name] for name, block in blocks.named_parameters() if block.ndim > 1]
        self._held = [
            ((1 - block.detach()) * (1 - factor)).to(weight.device)
            for weight, block in zip(self._weights, (b for b in blocks.parameters() if b.ndim > 1), strict=True)
        ]
        self._before: list[Tensor] = []

    @torch.no_grad()
    def scale(self) -> None:
        """Make the weights themselves as much smaller, so that with `factor` 0 there are f separate networks."""
        for weight, held in zip(self._weights, self._held, strict=True):
            weight.mul_(1 - held)

    def __enter__(self) -> None:
        self._before = [weight.detach().clone() for weight in self._weights]

    @torch.no_grad()
    def __exit__(self, *_: object) -> None:
        for weight, before, held in zip(self._weights, self._before, self._held, strict=True):
            weight.lerp_(before, held)


def inconsistency(forward: Callable[[Tensor], Tensor], x: Tensor, logits: Tensor, f: int) -> Tensor:
    """How far the answer to each image changes when its stack is turned by a random number of places.

    The mean over images of the Jensen-Shannon divergence between the classes' probabilities in the two orders, in
    nats. `x` (b·f, C, H, W) are images that follow each other in stacks, `logits` (b·f, k) the answers to them.
    """
    places = int(torch.randint(1, f, ()))
    turned = turn(unfold(forward(fold(turn(x, f, places), f)), f).float(), f, -places)  # (b*f, k)
    one, other = logits.log_softmax(1), turned.log_softmax(1)
    mean = torch.logaddexp(one, other) - torch.log(torch.tensor(2.0))
    return sum(
        (functional.kl_div(mean, side, log_target=True, reduction="batchmean") / 2 for side in (one, other)),
        start=torch.zeros((), device=x.device),
    )
