"""Evaluation of a FoldedCNN: accuracy over random groupings, and order agreement."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from textgen.common.confidence import wilson_interval
from train.common.parallel import ALONE, Group
from train.data.sources import DeviceSplit
from train.metrics.order_agreement import order_agreement
from train.metrics.predict import predict, random_stacks


@dataclass
class Evaluation:
    """The results for n test images. Accuracies and agreements are fractions, 0…1.

    `accuracy` is the mean of `accuracy_groupings`, one for each random grouping of the test set into stacks;
    `accuracy_ci95` is Wilson's interval for it, the sampling error of the test set of n images. An order of a stack
    agrees for an image if the image's prediction is that of the first order. `order_agreement` is the mean agreement
    over images and all f! orders, `order_all_agree` the share of images for which all f! `orders` agree; these are None
    for f=1. Those of the first grouping are `predictions` (n,), their `confidence` (n,), the largest probability, and
    `orders_agreeing` (n,), the number of orders that agree for each image. `groupings_right` (n,) is the number of
    groupings in which each image is predicted correctly: their mean, divided by the number of groupings, is `accuracy`.
    """

    accuracy: float
    accuracy_ci95: tuple[float, float]
    accuracy_groupings: list[float]
    per_class_accuracy: list[float | None]  # None for a class without test images
    confusion: Tensor  # sparse (classes, classes), true by predicted class: number of images, over all groupings
    predictions: Tensor
    confidence: Tensor
    order_agreement: float | None = None
    order_all_agree: float | None = None
    orders: int | None = None
    orders_agreeing: Tensor = field(default_factory=lambda: torch.empty(0))
    groupings_right: Tensor = field(default_factory=lambda: torch.empty(0))


def evaluate(
    net: nn.Module, f: int, split: DeviceSplit, *, classes: int, groupings: int, seed: int, orders: bool = True
) -> Evaluation:
    """Score every image of `split` exactly once in each of `groupings` random groupings into stacks of `f`.

    With `orders` it also measures the order agreement, which costs f! passes over the split.
    """
    n = len(split.labels)
    generator = torch.Generator().manual_seed(seed)
    labels = split.labels.cpu()
    accuracies, predicted = [], []
    for grouping in range(groupings if f > 1 else 1):  # f=1 has one grouping: every image alone
        stacks = random_stacks(n, f, generator)  # (⌈n/f⌉, f)
        logits = predict(net, split.images, stacks)  # (n, classes)
        predictions = logits.argmax(1)
        accuracies.append((predictions == labels).float().mean().item())
        predicted.append(predictions)
        if grouping == 0:
            first_stacks, first_predictions, confidence = stacks, predictions, logits.softmax(1).amax(1)
    true, guesses = labels.repeat(len(predicted)), torch.cat(predicted)
    right, all_images = (torch.bincount(of, minlength=classes) for of in (true[true == guesses], true))
    mean = sum(accuracies) / len(accuracies)
    result = Evaluation(
        accuracy=mean,
        accuracy_ci95=wilson_interval(mean, n),
        accuracy_groupings=accuracies,
        per_class_accuracy=[
            correct / images if images else None
            for correct, images in zip(right.tolist(), all_images.tolist(), strict=True)
        ],
        confusion=_count_pairs(true, guesses, classes),
        predictions=first_predictions,
        confidence=confidence,
        groupings_right=sum((of_grouping == labels for of_grouping in predicted), torch.zeros(n, dtype=torch.long)),
    )
    if f > 1 and orders:
        agreeing = order_agreement(net, split.images, first_stacks, first_predictions)
        result.orders = math.factorial(f)
        result.orders_agreeing = agreeing
        result.order_agreement = agreeing.float().mean().item() / result.orders
        result.order_all_agree = (agreeing == result.orders).float().mean().item()
    return result


def _count_pairs(true: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """The confusion matrix of labels int64 (n,), sparse, because a dense one of 10 000 classes takes 800 MB."""
    pairs, counts = torch.unique(true * classes + predicted, return_counts=True)  # sorted
    places = torch.stack((pairs // classes, pairs % classes))
    return torch.sparse_coo_tensor(places, counts, (classes, classes), check_invariants=False, is_coalesced=True)


def accuracy_and_loss(
    net: nn.Module, f: int, split: DeviceSplit, seed: int, group: Group = ALONE
) -> tuple[float, float]:
    """Accuracy and mean cross entropy over one random grouping, which `seed` determines; for `group` see `predict`."""
    stacks = random_stacks(len(split.labels), f, torch.Generator().manual_seed(seed))
    logits, labels = predict(net, split.images, stacks, group), split.labels.cpu()
    accuracy = (logits.argmax(1) == labels).float().mean().item()
    return accuracy, functional.cross_entropy(logits, labels).item()
