"""The order of an epoch's images: windows that are shuffled one by one, cut into batches when these are used.

A source in memory is one window. For a source that reads from a disk, a window is what it holds in memory at a time, so
that an epoch reads every image once.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Protocol, overload

import torch
from torch import Tensor

KEPT = 3  # windows whose order is kept: a batch may lie in two of them


class Labels(Protocol):
    """Labels of n images: a tensor int64 (n,), or (n, m) of m fields, or what is indexed as one."""

    @property
    def device(self) -> torch.device: ...

    def __len__(self) -> int: ...

    def __getitem__(self, indices: Tensor, /) -> Tensor: ...

    def cpu(self) -> Labels: ...


class CyclicLabels:
    """The labels 0, 1, …, `classes` - 1, 0, 1, … of `count` images, as a game's are, which take no memory."""

    def __init__(self, count: int, classes: int, device: torch.device):
        self._count, self._classes, self.device = count, classes, device

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, indices: Tensor) -> Tensor:
        """Indices (m,), on any device, -> their labels (m,)."""
        return indices.to(self.device) % self._classes

    def cpu(self) -> CyclicLabels:
        return CyclicLabels(self._count, self._classes, torch.device("cpu"))

    def count(self) -> Tensor:
        """int64 (classes,): the number of images of each class."""
        each, more = divmod(self._count, self._classes)
        return each + (torch.arange(self._classes) < more).long()


def count_labels(labels: Labels, classes: int) -> Tensor:
    """int64 (classes,), on the CPU: the number of images of each class."""
    if isinstance(labels, CyclicLabels):
        return labels.count()
    assert isinstance(labels, Tensor)
    return torch.bincount(labels.cpu(), minlength=classes)


def batch_sizes(images: int, batch: int, stack: int) -> list[int]:
    """The number of images in each batch of an epoch of `images`, in whole stacks.

    What remains is the last batch. If that is a single stack, it joins the batch before: a batch norm has no variance
    of one stack, and no step should be taken on it alone.

    >>> batch_sizes(22, 8, 2), batch_sizes(18, 8, 2)
    ([8, 8, 6], [8, 10])
    """
    whole, rest = divmod(images, batch)
    if rest == stack and whole:
        return [batch] * (whole - 1) + [batch + rest]
    return [batch] * whole + [rest] * (rest > 0)


class EpochBatches(Sequence[Tensor]):
    """Batches of indices int64 (b,), of `sizes`, that follow each other in an epoch's order.

    `draw` gives a window's images in their order, by its number; windows are drawn when they are needed. A slice of
    batches is such a sequence, too.
    """

    def __init__(self, draw: Callable[[int], Tensor], sizes: Sequence[int]):
        self.sizes = sizes
        self._windows = _Windows(draw)
        self._starts: Sequence[int] = list(accumulate(sizes, initial=0))[:-1]

    def __len__(self) -> int:
        return len(self.sizes)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...

    @overload
    def __getitem__(self, index: slice) -> EpochBatches: ...

    def __getitem__(self, index: int | slice) -> Tensor | EpochBatches:
        if isinstance(index, slice):
            some = object.__new__(EpochBatches)
            some._windows, some._starts, some.sizes = self._windows, self._starts[index], self.sizes[index]
            return some
        return self._windows.take(self._starts[index], self.sizes[index])

    def __iter__(self) -> Iterator[Tensor]:
        """Unlike that of `Sequence`, an `IndexError` of `draw` is not taken for the end."""
        return (self[index] for index in range(len(self)))


class _Windows:
    """The images of all windows in one row; the windows that were used last are in memory."""

    def __init__(self, draw: Callable[[int], Tensor]):
        self._draw, self._kept, self._ends = draw, OrderedDict[int, Tensor](), [0]

    def take(self, start: int, count: int) -> Tensor:
        """The `count` images from place `start` on. Raises `IndexError` of `draw` where there are no more windows."""
        taken = []
        while count:
            while self._ends[-1] <= start:
                self._window(len(self._ends) - 1)
            number = bisect_right(self._ends, start) - 1
            within = start - self._ends[number]
            taken.append(self._window(number)[within : within + count])
            start, count = start + len(taken[-1]), count - len(taken[-1])
        return taken[0] if len(taken) == 1 else torch.cat(taken)

    def _window(self, number: int) -> Tensor:
        if number not in self._kept:
            self._kept[number] = window = self._draw(number)
            if number == len(self._ends) - 1:
                self._ends.append(self._ends[-1] + len(window))
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return self._kept[number]
