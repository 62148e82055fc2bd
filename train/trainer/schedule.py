"""What an epoch trains on and how fast: its classes, its images in batches, the learning rate of each step."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from train.config.recipe import Recipe
from train.trainer.curriculum import class_count, class_order, class_ranks, epoch_order


@dataclass(frozen=True)
class Schedule:
    """The epochs of a run.

    `class_counts` has the number of classes of each epoch; `image_counts[k - 1]` is the number of images of the first k
    classes, in whole stacks. `ranks` int64 (n,) says for each image at which place of the curriculum its class joins.
    """

    class_counts: list[int]
    image_counts: list[int]
    ranks: Tensor
    seed: int

    @classmethod
    def build(
        cls, recipe: Recipe, *, labels: Tensor, classes: tuple[str, ...], fold: int, stack: int, seed: int
    ) -> Schedule:
        """Of a recipe, for images with `labels` (n,) that are trained on in stacks of `stack`."""
        curriculum, epochs = recipe.curriculum, recipe.epochs
        assert epochs is not None
        order = class_order(curriculum, classes, seed) if curriculum else list(range(len(classes)))
        ranks = class_ranks(order)[labels.cpu()]
        class_counts = [
            class_count(curriculum, epoch=epoch, epochs=epochs, classes=len(classes), fold=fold)
            for epoch in range(epochs)
        ]
        image_counts = (torch.bincount(ranks, minlength=len(classes)).cumsum(0) // stack * stack).tolist()
        return cls(class_counts, image_counts, ranks, seed)

    def images(self, epoch: int) -> int:
        """The number of images of an epoch."""
        return self.image_counts[self.class_counts[epoch] - 1]

    def images_before(self, epoch: int) -> int:
        """The number of images of all epochs before `epoch`."""
        return sum(self.images(earlier) for earlier in range(epoch))

    def order(self, epoch: int) -> Tensor:
        """The indices (images,) of the epoch's images, shuffled; images that follow each other share a stack."""
        return epoch_order(self.ranks, self.class_counts[epoch], self.seed, epoch)[: self.images(epoch)]


def split_batches(order: Tensor, batch: int, stack: int) -> tuple[Tensor, ...]:
    """`order` (n,) in parts of `batch` images.

    What remains is the last part. If that is a single stack, it joins the part before: a batch norm has no variance of
    one stack, and no step should be taken on it alone.
    """
    parts = torch.split(order, batch)
    if len(parts) > 1 and len(parts[-1]) == stack:
        return *parts[:-2], torch.cat(parts[-2:])
    return parts


def learning_rate_factor(recipe: Recipe, progress: float) -> float:
    """The factor on the learning rate at `progress`, 0 to 1, of the run."""
    if recipe.schedule == "constant":
        return 1.0
    if recipe.step_decay:
        return recipe.step_decay.factor ** int(progress * recipe.step_decay.of / recipe.step_decay.every)
    if progress < recipe.warmup:
        return max(progress / recipe.warmup, 0.01)
    return 0.5 * (1 + math.cos(math.pi * (progress - recipe.warmup) / (1 - recipe.warmup)))
