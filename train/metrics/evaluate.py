"""Evaluation of a FoldedCNN: accuracy over random groupings, and order agreement."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from itertools import chain

import torch
from torch import Tensor, nn

from textgen.common.confidence import wilson_interval
from textgen.spec.label_fields import LabelFields
from train.common.answers import answer, same
from train.common.parallel import ALONE, Group
from train.data.sources import DeviceSplit
from train.metrics.losses import cross_entropy
from train.metrics.order_agreement import order_agreement
from train.metrics.predict import predict, predict_answers, random_stacks


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

    Of a label of several fields, a prediction is right, and an order agrees, if all fields do; `predictions` are
    (n, m), and `fields` has the results of each field. `per_class_accuracy` and `confusion` are then about the classes
    of all fields, in the order of `LabelFields.classes`.
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
    fields: dict[str, Evaluation] = field(default_factory=dict)


def evaluate(
    net: nn.Module, f: int, split: DeviceSplit, *, fields: LabelFields, groupings: int, seed: int, orders: bool = True
) -> Evaluation:
    """Score every image of `split` exactly once in each of `groupings` random groupings into stacks of `f`.

    With `orders` it also measures the order agreement, which costs f! passes over the split.
    """
    n = len(split.labels)
    generator = torch.Generator().manual_seed(seed)
    labels = split.labels.cpu()
    predicted: list[Tensor] = []
    for grouping in range(groupings if f > 1 else 1):  # f=1 has one grouping: every image alone
        stacks = random_stacks(n, f, generator)  # (⌈n/f⌉, f)
        logits = predict(net, split.images, stacks)  # (n, k)
        predicted.append(predict_answers(logits, fields))
        if grouping == 0:
            first_stacks, first_logits = stacks, logits
    by_field = [
        _evaluation([_column(answers, number) for answers in predicted], _column(labels, number), size)
        for number, size in enumerate(fields.sizes)
    ]
    result = by_field[0] if fields.is_single else _join(by_field, predicted, labels, fields)
    found = answer(first_logits.numpy(), fields)
    for number, of in enumerate(by_field):
        of.confidence = torch.from_numpy(found.each[:, number])
    result.confidence = first_logits.softmax(1).amax(1) if fields.is_single else torch.from_numpy(found.probability)
    if f > 1 and orders:
        agreeing = order_agreement(net, split.images, first_stacks, predicted[0], fields)
        result.orders = math.factorial(f)
        result.orders_agreeing = agreeing
        result.order_agreement = agreeing.float().mean().item() / result.orders
        result.order_all_agree = (agreeing == result.orders).float().mean().item()
    return result


def _column(labels: Tensor, number: int) -> Tensor:
    return labels if labels.ndim == 1 else labels[:, number]


def _evaluation(predicted: list[Tensor], labels: Tensor, classes: int) -> Evaluation:
    """Of one field with so many `classes`, from its answers (n,) in each grouping."""
    true, guesses = labels.repeat(len(predicted)), torch.cat(predicted)
    right, all_images = (torch.bincount(of, minlength=classes) for of in (true[true == guesses], true))
    return replace(
        _whole(predicted, labels),
        per_class_accuracy=[
            correct / images if images else None
            for correct, images in zip(right.tolist(), all_images.tolist(), strict=True)
        ],
        confusion=_count_pairs(true, guesses, classes),
    )


def _whole(predicted: list[Tensor], labels: Tensor) -> Evaluation:
    """Of answers (n,), or (n, m), in each grouping, without what is about classes."""
    n = len(labels)
    right = [same(answers, labels) for answers in predicted]
    accuracies = [of_grouping.float().mean().item() for of_grouping in right]
    mean = sum(accuracies) / len(accuracies)
    return Evaluation(
        accuracy=mean,
        accuracy_ci95=wilson_interval(mean, n),
        accuracy_groupings=accuracies,
        per_class_accuracy=[],
        confusion=torch.empty(0),
        predictions=predicted[0],
        confidence=torch.empty(0),
        groupings_right=sum(right, torch.zeros(n, dtype=torch.long)),
    )


def _join(by_field: list[Evaluation], predicted: list[Tensor], labels: Tensor, fields: LabelFields) -> Evaluation:
    """Of several fields: an answer is right if all of them are."""
    size = len(fields.classes)
    places = [of.confusion.indices() + at.start for of, at in zip(by_field, fields.slices, strict=True)]
    counts = torch.cat([of.confusion.values() for of in by_field])
    return replace(
        _whole(predicted, labels),
        per_class_accuracy=list(chain.from_iterable(of.per_class_accuracy for of in by_field)),
        confusion=torch.sparse_coo_tensor(
            torch.cat(places, 1), counts, (size, size), check_invariants=False, is_coalesced=True
        ),
        fields=dict(zip(fields.names, by_field, strict=True)),
    )


def _count_pairs(true: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """The confusion matrix of labels int64 (n,), sparse, because a dense one of 10 000 classes takes 800 MB."""
    pairs, counts = torch.unique(true * classes + predicted, return_counts=True)  # sorted
    places = torch.stack((pairs // classes, pairs % classes))
    return torch.sparse_coo_tensor(places, counts, (classes, classes), check_invariants=False, is_coalesced=True)


def accuracy_and_loss(
    net: nn.Module, f: int, split: DeviceSplit, seed: int, fields: LabelFields, group: Group = ALONE
) -> tuple[float, float]:
    """Accuracy, of all fields together, and mean cross entropy over one random grouping, which `seed` determines.

    For `group` see `predict`.
    """
    stacks = random_stacks(len(split.labels), f, torch.Generator().manual_seed(seed))
    logits, labels = predict(net, split.images, stacks, group), split.labels.cpu()
    accuracy = same(predict_answers(logits, fields), labels).float().mean().item()
    return accuracy, cross_entropy(logits, labels, fields).item()
