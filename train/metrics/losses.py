"""Losses of networks that answer for one field or several: means over the fields."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from textgen.spec.label_fields import LabelFields

Weights = Sequence[float] | None  # of the fields; None: all the same


def cross_entropy(
    logits: Tensor, labels: Tensor, fields: LabelFields, *, weights: Weights = None, label_smoothing: float = 0.0
) -> Tensor:
    """The mean over the fields of the cross entropy of logits (n, k) and labels (n,), or (n, m)."""
    if fields.is_single:
        return functional.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    columns = iter(labels.unbind(1))
    return mean_over_fields(
        lambda part: functional.cross_entropy(part, next(columns), label_smoothing=label_smoothing),
        fields,
        logits,
        weights=weights,
    )


def mean_over_fields(
    loss: Callable[..., Tensor], fields: LabelFields, *logits: Tensor, weights: Weights = None
) -> Tensor:
    """The mean of `loss` over the fields; it is given each field's part of all `logits` (n, k), in turn."""
    losses = [
        loss(*parts) for parts in zip(*(torch.split(part, list(fields.sizes), 1) for part in logits), strict=True)
    ]
    if weights is None:
        return sum(losses[1:], losses[0]) / len(losses)
    shares = torch.tensor(weights, device=losses[0].device) / sum(weights)
    return (torch.stack(losses) * shares).sum()


def right_in_all(logits: Tensor, labels: Tensor, fields: LabelFields) -> Tensor:
    """Whether the most probable class of every field is right, bool (n,); fields are judged by themselves."""
    if fields.is_single:
        return logits.argmax(1) == labels
    best = torch.stack([part.argmax(1) for part in torch.split(logits, list(fields.sizes), 1)], 1)
    return (best == labels).all(1)
