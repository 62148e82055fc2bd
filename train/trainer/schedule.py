"""What an epoch trains on and how fast: its classes, its images in batches, the learning rate of each step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from textgen.spec.label_fields import LabelFields
from train.config.recipe import Recipe
from train.data.order import EpochBatches, Labels, batch_sizes, count_labels
from train.trainer.curriculum import class_count, class_order, class_ranks, curriculum_column, epoch_order


@dataclass(frozen=True)
class Schedule:
    """The epochs of a run.

    `class_counts` has the number of classes of each epoch, and `image_counts` the number of images, in whole stacks.
    `ranks` int64 (k,) says for each class of the curriculum's field at which place it joins. `labels` gives that
    field's labels of an epoch's images, on the CPU, and `windows` its windows of images
    (`train.data.sources.Source`).
    """

    class_counts: list[int]
    image_counts: list[int]
    ranks: Tensor
    labels: Callable[[int], Labels]
    windows: Callable[[int], Sequence[Tensor]]
    seed: int

    @classmethod
    def build(
        cls,
        recipe: Recipe,
        *,
        labels: Callable[[int], Labels],
        fields: LabelFields,
        fold: int,
        stack: int,
        seed: int,
        windows: Callable[[int], Sequence[Tensor]] | None = None,
    ) -> Schedule:
        """Of a recipe, for images with `labels` (n,), or (n, m), that are trained on in stacks of `stack`.

        `labels` gives those of an epoch. Without `windows` all images are one.
        """
        curriculum, epochs = recipe.curriculum, recipe.epochs
        assert epochs is not None
        column = curriculum_column(curriculum, fields)
        classes = fields.fields[column].classes
        order = class_order(curriculum, classes, seed) if curriculum else list(range(len(classes)))
        of_field = _Column(labels, None if fields.is_single else column)
        class_counts = [
            class_count(curriculum, epoch=epoch, epochs=epochs, classes=len(classes), fold=fold)
            for epoch in range(epochs)
        ]
        image_counts = []
        for epoch, count in enumerate(class_counts):
            images = of_field.count(epoch, order, count)
            while images < stack and class_counts[epoch] < len(order):  # rare values: further classes join early
                class_counts[epoch] += 1
                images = of_field.count(epoch, order, class_counts[epoch])
            image_counts.append(images // stack * stack)
        if windows is None:
            whole = [torch.arange(len(labels(0)))]
            windows = lambda epoch: whole  # noqa: E731
        return cls(class_counts, image_counts, class_ranks(order), of_field.labels, windows, seed)

    @property
    def all_classes(self) -> int:
        """The number of classes of the curriculum's field."""
        return len(self.ranks)

    def images(self, epoch: int) -> int:
        """The number of images of an epoch."""
        return self.image_counts[epoch]

    def images_before(self, epoch: int) -> int:
        """The number of images of all epochs before `epoch`."""
        return sum(self.images(earlier) for earlier in range(epoch))

    def batches(self, epoch: int, batch: int, stack: int) -> EpochBatches:
        """The indices of the epoch's images in batches; images that follow each other share a stack.

        Within each window, the images of the epoch's classes are shuffled.
        """
        windows, classes, labels = self.windows(epoch), self.class_counts[epoch], self.labels(epoch)

        def draw(number: int) -> Tensor:
            window = windows[number]
            return window[epoch_order(self.ranks[labels[window]], classes, self.seed, epoch, number)]

        return EpochBatches(draw, batch_sizes(self.images(epoch), batch, stack))


class _Column:
    """The labels of one field in every epoch, on the CPU; those of the epoch that was asked for last are kept.

    Every epoch has as many images. Labels are asked for only where they are needed: of live crops they are drawn.
    """

    def __init__(self, labels: Callable[[int], Labels], column: int | None):
        self._of_epoch, self._column, self._images = labels, column, len(labels(0))
        self._given: Labels | None = None
        self._kept: Labels | None = None

    def labels(self, epoch: int) -> Labels:
        """int64 (n,), or what is indexed as such."""
        given = self._of_epoch(epoch)
        if self._kept is None or given is not self._given:
            self._given, self._kept = given, given.cpu()
            if isinstance(self._kept, Tensor):
                labels = self._kept if self._column is None else self._kept[:, self._column]
                self._kept = labels.contiguous().long()
        return self._kept

    def count(self, epoch: int, order: Sequence[int], classes: int) -> int:
        """The images of an epoch whose class is one of the first `classes` of `order`."""
        if classes == len(order):
            return self._images
        return int(count_labels(self.labels(epoch), len(order))[list(order[:classes])].sum())


def learning_rate_factor(recipe: Recipe, progress: float) -> float:
    """The factor on the learning rate at `progress`, 0 to 1, of the run."""
    if recipe.schedule == "constant":
        return 1.0
    if recipe.step_decay:
        return recipe.step_decay.factor ** int(progress * recipe.step_decay.of / recipe.step_decay.every)
    if progress < recipe.warmup:
        return max(progress / recipe.warmup, 0.01)
    return 0.5 * (1 + math.cos(math.pi * (progress - recipe.warmup) / (1 - recipe.warmup)))
