"""The curriculum (I, Δ, E) of paper §4.2: which classes take part in an epoch, and the order of its images."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from textgen.common.errors import UserError
from textgen.spec.label_fields import LabelFields
from train.config.curriculum import Curriculum


def class_count(curriculum: Curriculum | None, *, epoch: int, epochs: int, classes: int, fold: int) -> int:
    """How many classes take part in `epoch` (from 0) of `epochs`.

    >>> [class_count(Curriculum(), epoch=e, epochs=1500, classes=27, fold=4) for e in (0, 59, 60, 719, 720)]
    [4, 4, 6, 26, 27]
    """
    if curriculum is None:
        return classes
    initial = curriculum.initial if curriculum.initial is not None else max(fold, classes // 10)
    step = curriculum.step if curriculum.step is not None else max(1, classes // 10)
    steps = epoch * curriculum.of // (curriculum.every * epochs)
    return min(classes, initial + step * steps)


def class_order(curriculum: Curriculum, classes: Sequence[str], seed: int) -> list[int]:
    """Indices of the classes in the order in which they join. Raises `UserError` for a list of other labels."""
    if curriculum.order == "alphabetical":
        return sorted(range(len(classes)), key=lambda i: classes[i])
    if curriculum.order == "random":
        return random.Random(f"curriculum/{seed}").sample(range(len(classes)), len(classes))
    if isinstance(curriculum.order, str) or sorted(curriculum.order) != sorted(classes):
        raise UserError(
            f"recipe.curriculum.order is {curriculum.order!r}; it is alphabetical, random, or a list of all classes: "
            + ", ".join(classes)
        )
    return [list(classes).index(label) for label in curriculum.order]


def curriculum_column(curriculum: Curriculum | None, fields: LabelFields) -> int:
    """The number of the field by whose classes the curriculum goes. Raises `UserError` for a name that is none."""
    if curriculum is None or curriculum.field is None:
        return 0
    if curriculum.field not in fields.names:
        raise UserError(
            f"recipe.curriculum.field is {curriculum.field!r}: it is a field of the label, {', '.join(fields.names)}"
        )
    return fields.names.index(curriculum.field)


def class_ranks(order: Sequence[int]) -> Tensor:
    """For each class, int64 (k,), its place in `order`: it takes part if more classes than this do."""
    ranks = torch.empty(len(order), dtype=torch.long)
    ranks[torch.tensor(order)] = torch.arange(len(order))
    return ranks


def epoch_order(ranks: Tensor, classes: int, seed: int, epoch: int, window: int = 0) -> Tensor:
    """Indices of the images of a window with `ranks` (n,) below `classes`, shuffled by `seed`, `epoch` and `window`.

    The order is the same on every device, and does not depend on earlier epochs and windows.
    """
    drawn = np.random.SeedSequence([seed, epoch, *[window] * (window > 0)]).generate_state(1, np.uint64)[0]
    shuffle = torch.Generator().manual_seed(int(drawn >> np.uint64(1)))
    pool = (ranks < classes).nonzero().squeeze(1)
    return pool[torch.randperm(len(pool), generator=shuffle)]
