"""Which classes are taken for which: the most frequent confusions of an evaluation, with their crops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from textgen.spec.label_fields import LabelFields
from train.metrics.evaluate import Evaluation


@dataclass(frozen=True)
class Confusion:
    """A class that was taken for another.

    `share` is that of the class's images, over all groupings; `crops` are the numbers of such images in the test set,
    in the first grouping, the surest predictions first.
    """

    true: int
    predicted: int
    share: float
    crops: tuple[int, ...]


def count_mistakes(evaluation: Evaluation) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """True class, predicted class and number of images over all groupings, int64 (n,), the most frequent first."""
    (true, predicted), images = evaluation.confusion.indices(), evaluation.confusion.values()
    wrong = true != predicted
    order = torch.argsort(images[wrong], descending=True, stable=True)
    return true[wrong][order].numpy(), predicted[wrong][order].numpy(), images[wrong][order].numpy()


def frequent_confusions(
    evaluation: Evaluation, labels: NDArray[np.int64], fields: LabelFields, most: int, crops: int
) -> list[Confusion]:
    """The `most` frequent confusions with up to `crops` crops each.

    `labels` (n,), or (n, m), are those of the test images.
    """
    of_class = torch.sparse.sum(evaluation.confusion, 1).to_dense().numpy()
    starts = np.array([of.start for of in fields.slices])  # classes are numbered over all fields
    labels, predictions = (of.reshape(len(labels), -1) + starts for of in (labels, evaluation.predictions.numpy()))
    confidence = evaluation.confidence.numpy()
    found = []
    for true, predicted, images in zip(*(each[:most].tolist() for each in count_mistakes(evaluation)), strict=True):
        shown = np.flatnonzero(((labels == true) & (predictions == predicted)).any(1))
        shown = shown[np.argsort(-confidence[shown], kind="stable")][:crops]
        found.append(Confusion(true, predicted, images / of_class[true], tuple(shown.tolist())))
    return found


def confused_classes(evaluation: Evaluation, most: int) -> list[int]:
    """At most `most` classes, those of the most frequent confusions, in the order of the classes."""
    chosen: set[int] = set()
    true, predicted, _ = count_mistakes(evaluation)
    for pair in zip(true.tolist(), predicted.tolist(), strict=True):
        if len(chosen.union(pair)) <= most:
            chosen.update(pair)
        if len(chosen) == most:
            break
    return sorted(chosen)


def confusion_shares(evaluation: Evaluation, classes: Sequence[int]) -> np.ndarray:
    """The confusion matrix (n, n) between `classes`, as shares of all images of the true class; 0 where it has none."""
    of_class = torch.sparse.sum(evaluation.confusion, 1).to_dense().clamp(min=1)
    places = torch.as_tensor(classes)
    rows = evaluation.confusion.index_select(0, places).index_select(1, places).to_dense()
    return (rows / of_class[places, None]).numpy()
