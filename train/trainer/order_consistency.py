"""A loss for networks that are trained on stacks: predictions should not depend on the order within a stack."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from textgen.spec.label_fields import LabelFields
from train.folding.arithmetic import roll_stacks
from train.metrics.losses import mean_over_fields


def order_consistency_loss(
    predict: Callable[[Tensor], Tensor], x: Tensor, logits: Tensor, f: int, fields: LabelFields
) -> Tensor:
    """How far the prediction for an image changes when its stack is rolled by a random number of places.

    The mean over images and fields of the Jensen-Shannon divergence between the class probabilities before and after,
    in nats.
    `x` (b·f, C, H, W) are images that follow each other in stacks, `logits` = `predict(x)` (b·f, k).
    """
    places = int(torch.randint(1, f, ()))
    rolled = roll_stacks(predict(roll_stacks(x, f, places)), f, -places)  # (b*f, k)
    return mean_over_fields(_jensen_shannon, fields, logits, rolled)


def _jensen_shannon(logits: Tensor, rolled: Tensor) -> Tensor:
    one, other = logits.log_softmax(1), rolled.log_softmax(1)
    middle = torch.logaddexp(one, other) - math.log(2)
    return (_divergence(one, middle) + _divergence(other, middle)) / 2


def _divergence(of: Tensor, to: Tensor) -> Tensor:
    """The Kullback-Leibler divergence of log probabilities (b, k), the mean over b."""
    return functional.kl_div(to, of, log_target=True, reduction="batchmean")
