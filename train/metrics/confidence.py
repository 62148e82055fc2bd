"""From which probability on answers are right: the threshold below which a value is "unsure"."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from textgen.spec.label_fields import LabelFields
from train.common.answers import answer, same
from train.data.sources import DeviceSplit
from train.metrics.predict import predict, random_stacks

RIGHT = 0.999  # of the answers above the threshold


def fit_threshold(probabilities: NDArray[np.floating], right: NDArray[np.bool_], share: float = RIGHT) -> float:
    """The smallest threshold t so that at least `share` of the answers with a probability >= t are `right`; (n,) each.

    It is 0 if so many of all answers are right, and 1 if not even the most probable answers are.

    >>> fit_threshold(np.array([0.5, 0.6, 0.9, 0.99]), np.array([True, False, True, True]))
    0.9
    """
    order = np.argsort(-probabilities, kind="stable")
    ordered, shares = probabilities[order], np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    last = np.append(ordered[1:] < ordered[:-1], True)  # of answers with the same probability: all or none are kept
    enough = np.flatnonzero((shares >= share) & last)
    if not len(enough):
        return 1.0
    return 0.0 if enough[-1] == len(order) - 1 else float(ordered[enough[-1]])


def unsure_below(net: nn.Module, split: DeviceSplit, f: int, seed: int, fields: LabelFields) -> float:
    """The threshold of a network for stacks of f, fitted on labelled images in one random grouping.

    Of several fields it is for the probability of the whole answer.
    """
    stacks = random_stacks(len(split.images), f, torch.Generator().manual_seed(seed))
    logits = predict(net, split.images, stacks)
    if fields.is_single:
        best = logits.softmax(1).max(1)
        return fit_threshold(best.values.numpy(), (best.indices == split.labels.cpu()).numpy())
    found = answer(logits.numpy(), fields)
    return fit_threshold(found.probability, same(found.labels, split.labels.cpu().numpy()))
