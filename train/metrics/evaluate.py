"""How good a FoldedCNN is: accuracy over random groupings, and how far it depends on the order within a stack."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from textgen.common.intervals import wilson_interval
from train.data.sources import DeviceSplit
from train.metrics.order import order_agreement
from train.metrics.predict import predict, random_stacks


@dataclass
class Evaluation:
    """All figures are fractions in 0…1.

    `accuracy_and_loss` is the mean of `accuracy_groupings`, one a random grouping of the test set into stacks;
    `accuracy_ci95` is Wilson's interval for it with the number of test images, the chance that lies in the test set.
    `order_agreement`: how often an image's prediction in one of the f! orders of its stack equals that in the first
    order, averaged over images and all f! orders; `order_all_agree`: the share of images on which all f! agree. Both
    are None for f=1. The tensors are of the first grouping: `predictions` (n,), the `confidence` in them (n,), and how
    many orders agree with the first for each image, `orders_agreeing` (n,).
    """

    accuracy: float
    accuracy_ci95: tuple[float, float]
    accuracy_groupings: list[float]
    per_class_accuracy: list[float | None]  # None for a class without test images
    confusion: Tensor  # (classes, classes), true by predicted, of all groupings
    predictions: Tensor
    confidence: Tensor
    order_agreement: float | None = None
    order_all_agree: float | None = None
    orders: int | None = None
    orders_agreeing: Tensor = field(default_factory=lambda: torch.empty(0))


def evaluate(
    net: nn.Module, f: int, split: DeviceSplit, *, classes: int, groupings: int, seed: int, orders: bool = True
) -> Evaluation:
    """Score every image of `split` exactly once in each of `groupings` random groupings into stacks of `f`.

    Without `orders` the order agreement, f! passes more, is left out.
    """
    n = len(split.labels)
    generator = torch.Generator().manual_seed(seed)
    labels = split.labels.cpu()
    confusion = torch.zeros(classes, classes, dtype=torch.long)
    accuracies = []
    for number in range(groupings if f > 1 else 1):  # f=1 has one grouping: every image alone
        stacks = random_stacks(n, f, generator)
        logits = predict(net, split.images, stacks)
        predictions = logits.argmax(1)
        accuracies.append((predictions == labels).float().mean().item())
        confusion += torch.bincount(labels * classes + predictions, minlength=classes**2).view(classes, classes)
        if number == 0:
            first = stacks, predictions, logits.softmax(1).amax(1)
    mean = sum(accuracies) / len(accuracies)
    result = Evaluation(
        accuracy=mean,
        accuracy_ci95=wilson_interval(mean, n),
        accuracy_groupings=accuracies,
        per_class_accuracy=[
            right / seen if seen else None
            for right, seen in zip(confusion.diag().tolist(), confusion.sum(1).tolist(), strict=True)
        ],
        confusion=confusion,
        predictions=first[1],
        confidence=first[2],
    )
    if f > 1 and orders:
        agreeing = order_agreement(net, split.images, first[0], first[1])
        result.orders = math.factorial(f)
        result.orders_agreeing = agreeing
        result.order_agreement = agreeing.float().mean().item() / result.orders
        result.order_all_agree = (agreeing == result.orders).float().mean().item()
    return result


def accuracy_and_loss(net: nn.Module, f: int, split: DeviceSplit, seed: int) -> tuple[float, float]:
    """Accuracy and mean cross entropy over one random grouping, the same one for the same seed."""
    stacks = random_stacks(len(split.labels), f, torch.Generator().manual_seed(seed))
    logits, labels = predict(net, split.images, stacks), split.labels.cpu()
    right = (logits.argmax(1) == labels).float().mean().item()
    return right, functional.cross_entropy(logits, labels).item()
