"""For networks that are trained on whole stacks: slower steps between slots, and one answer in every order."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from train.folding.arithmetic import assemble_slots, turn
from train.models.notation import Layer, build


class BetweenSlots:
    """Makes the steps of weights that lead from one slot to another `factor` times as long.

    Such are all outside the f blocks of a network that slots make, those of channels that f slots do not fill among
    them. With `factor` 0 they stay as they are, and no gradient within a slot depends on the others; only Muon's steps
    do, a little, as it scales a weight's gradient as a whole. In use: `with between:` around the optimiser's step.
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
        self._rates: list[Tensor] = []  # what each weight's steps are multiplied by
        for name, block in blocks.named_parameters():
            if name.endswith("weight"):
                weight = net.get_parameter(name)
                self._weights.append(weight)
                self._rates.append((block.detach() * (1 - factor) + factor).to(weight.device))
        self._before: list[Tensor] = []

    @torch.no_grad()
    def scale(self) -> None:
        """Make the weights themselves as much smaller, so that with `factor` 0 there are f separate networks."""
        for weight, rate in zip(self._weights, self._rates, strict=True):
            weight.mul_(rate)

    @torch.no_grad()
    def __enter__(self) -> None:
        self._before = [weight.detach().clone() for weight in self._weights]
        if self._factor == 0:  # Muon's steps would depend on them
            for weight, rate in zip(self._weights, self._rates, strict=True):
                if weight.grad is not None:
                    weight.grad.mul_(rate)

    @torch.no_grad()
    def __exit__(self, *_: object) -> None:
        for weight, before, rate in zip(self._weights, self._before, self._rates, strict=True):
            weight.copy_(before.lerp(weight, rate))


def inconsistency(answer: Callable[[Tensor], Tensor], x: Tensor, logits: Tensor, f: int) -> Tensor:
    """How far the answer to each image changes when its stack is turned by a random number of places.

    The mean over images of the Jensen-Shannon divergence between the classes' probabilities before and after, in nats.
    `x` (b·f, C, H, W) are images that follow each other in stacks, `logits` = `answer(x)` (b·f, k) the answers to them.
    """
    places = int(torch.randint(1, f, ()))
    turned = turn(answer(turn(x, f, places)), f, -places)  # (b*f, k)
    one, other = logits.log_softmax(1), turned.log_softmax(1)
    middle = torch.logaddexp(one, other) - math.log(2)
    return (_divergence(one, middle) + _divergence(other, middle)) / 2


def _divergence(of: Tensor, to: Tensor) -> Tensor:
    """Kullback-Leibler, of log probabilities (b, k), the mean over b."""
    return functional.kl_div(to, of, log_target=True, reduction="batchmean")
