"""What an epoch trains on and how fast: its classes, its images in batches, the learning rate of each step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from train.config.recipe import Recipe
from train.data.order import EpochBatches, Labels, batch_sizes, count_labels
from train.trainer.curriculum import class_count, class_order, class_ranks, epoch_order


@dataclass(frozen=True)
class Schedule:
    """The epochs of a run.

    `class_counts` has the number of classes of each epoch; `image_counts[k - 1]` is the number of images of the first k
    classes, in whole stacks. `ranks` int64 (k,) says for each class at which place of the curriculum it joins. `labels`
    are those of the images, on the CPU, and `windows` gives an epoch's windows of images (`train.data.sources.Source`).
    """

    class_counts: list[int]
    image_counts: list[int]
    ranks: Tensor
    labels: Labels
    windows: Callable[[int], Sequence[Tensor]]
    seed: int

    @classmethod
    def build(
        cls,
        recipe: Recipe,
        *,
        labels: Labels,
        classes: tuple[str, ...],
        fold: int,
        stack: int,
        seed: int,
        windows: Callable[[int], Sequence[Tensor]] | None = None,
    ) -> Schedule:
        """Of a recipe, for images with `labels` (n,) that are trained on in stacks of `stack`.

        Without `windows` all images are one.
        """
        curriculum, epochs = recipe.curriculum, recipe.epochs
        assert epochs is not None
        order = class_order(curriculum, classes, seed) if curriculum else list(range(len(classes)))
        ranks = class_ranks(order)
        class_counts = [
            class_count(curriculum, epoch=epoch, epochs=epochs, classes=len(classes), fold=fold)
            for epoch in range(epochs)
        ]
        of_class = count_labels(labels, len(classes))
        image_counts = (of_class[order].cumsum(0) // stack * stack).tolist()
        if windows is None:
            whole = [torch.arange(len(labels))]
            windows = lambda epoch: whole  # noqa: E731
        return cls(class_counts, image_counts, ranks, labels.cpu(), windows, seed)

    def images(self, epoch: int) -> int:
        """The number of images of an epoch."""
        return self.image_counts[self.class_counts[epoch] - 1]

    def images_before(self, epoch: int) -> int:
        """The number of images of all epochs before `epoch`."""
        return sum(self.images(earlier) for earlier in range(epoch))

    def batches(self, epoch: int, batch: int, stack: int) -> EpochBatches:
        """The indices of the epoch's images in batches; images that follow each other share a stack.

        Within each window, the images of the epoch's classes are shuffled.
        """
        windows, classes = self.windows(epoch), self.class_counts[epoch]

        def draw(number: int) -> Tensor:
            window = windows[number]
            return window[epoch_order(self.ranks[self.labels[window]], classes, self.seed, epoch, number)]

        return EpochBatches(draw, batch_sizes(self.images(epoch), batch, stack))


def learning_rate_factor(recipe: Recipe, progress: float) -> float:
    """The factor on the learning rate at `progress`, 0 to 1, of the run."""
    if recipe.schedule == "constant":
        return 1.0
    if recipe.step_decay:
        return recipe.step_decay.factor ** int(progress * recipe.step_decay.of / recipe.step_decay.every)
    if progress < recipe.warmup:
        return max(progress / recipe.warmup, 0.01)
    return 0.5 * (1 + math.cos(math.pi * (progress - recipe.warmup) / (1 - recipe.warmup)))
