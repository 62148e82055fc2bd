"""Sources of training images: data sets held as tensors on the device, and crops rendered while training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from textgen.dataset.store import StoredSplit
from textgen.render.renderer import Renderer
from train.data.order import Labels

CHUNK = 2048  # images rendered at once: a tenth of a second of work
AHEAD = 2  # chunks rendered or being rendered before the network needs them


class Source(Protocol):
    """Training images, n per epoch. `labels`, those of the first epoch, are on the device, as the images of `batches`.

    Labels are int64 (n,), or (n, m) of m fields.
    """

    @property
    def labels(self) -> Labels: ...

    def labels_of(self, epoch: int) -> Labels:
        """The labels of an epoch; the same object where they are the same."""

    @property
    def size(self) -> tuple[int, int]: ...

    def windows(self, epoch: int) -> Sequence[Tensor]:
        """The indices (m,) of all images, in windows: an epoch shuffles the images of one after the other.

        A source in memory has one window, of rising indices.
        """

    def batches(self, epoch: int, batches: Sequence[Tensor], rows: Sequence[slice] | None = None) -> Iterator[Tensor]:
        """Yield images of `epoch` uint8 (b, H, W, 3), on the device, for each of `batches`, indices (b,) on the CPU.

        With `rows`, one for each batch, only those images of it; they are the same images.
        """


class DeviceSplit(NamedTuple):
    """Images uint8 (n, H, W, 3) and labels int64 (n,), or (n, m) of fields, on the device; the same in every epoch."""

    images: Tensor
    labels: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.images.shape[1], self.images.shape[2]

    def labels_of(self, epoch: int) -> Labels:
        """See `Source`."""
        return self.labels

    def windows(self, epoch: int) -> Sequence[Tensor]:
        """See `Source`."""
        return [torch.arange(len(self.labels))]

    def batches(self, epoch: int, batches: Sequence[Tensor], rows: Sequence[slice] | None = None) -> Iterator[Tensor]:
        """See `Source`."""
        if not batches:
            return iter(())
        shares = take_rows(batches, rows)
        order = torch.cat(shares).to(self.images.device)  # one transfer per epoch, not one per batch
        return (self.images[indices] for indices in torch.split(order, [len(share) for share in shares]))


class LiveSource:
    """New crops in every epoch of `count` images: image i of epoch e is training sample e·count + i of the game.

    A thread renders them while the network trains, CHUNK at a time; the images do not depend on the chunks. `count` is
    a multiple of the game's period, so that in all epochs image i has the same class, or, with a label of several
    fields, is "other" or not.
    """

    def __init__(self, renderer: Renderer, count: int, device: torch.device):
        assert count % renderer.period == 0
        self._renderer, self._count, self._device = renderer, count, device
        self.size = renderer.game.size
        self.labels = self._draw_labels(0)
        self._of_epoch = 0, self.labels

    def labels_of(self, epoch: int) -> Labels:
        """See `Source`. Those of several fields are drawn anew for every epoch, in a microsecond an image."""
        if self._renderer.spec.is_joint and self._of_epoch[0] != epoch:
            self._of_epoch = epoch, self._draw_labels(epoch)
        return self._of_epoch[1]

    def _draw_labels(self, epoch: int) -> Tensor:
        first = epoch * self._count
        return torch.from_numpy(self._renderer.draw_labels("train", range(first, first + self._count))).to(self._device)

    def windows(self, epoch: int) -> Sequence[Tensor]:
        """See `Source`."""
        return [torch.arange(self._count)]

    def batches(self, epoch: int, batches: Sequence[Tensor], rows: Sequence[slice] | None = None) -> Iterator[Tensor]:
        """See `Source`."""
        if not batches:
            return
        batches = take_rows(batches, rows)
        batches_per_chunk = max(CHUNK // len(batches[0]), 1)
        chunks = [batches[start : start + batches_per_chunk] for start in range(0, len(batches), batches_per_chunk)]
        with ThreadPoolExecutor(1) as executor:
            pending = [executor.submit(self._render, epoch, chunk) for chunk in chunks[:AHEAD]]
            try:
                for index, chunk in enumerate(chunks):
                    images = pending.pop(0).result()
                    if index + AHEAD < len(chunks):
                        pending.append(executor.submit(self._render, epoch, chunks[index + AHEAD]))
                    yield from torch.split(images.to(self._device), [len(batch) for batch in chunk])
            finally:  # also where training stops within an epoch
                executor.shutdown(cancel_futures=True)

    def _render(self, epoch: int, chunk: Sequence[Tensor]) -> Tensor:
        """The images of all batches of a chunk, uint8 (n, H, W, 3), on the CPU."""
        indices = torch.cat(list(chunk)).numpy() + epoch * self._count
        return torch.from_numpy(self._renderer.render("train", indices).images)


def take_rows(batches: Sequence[Tensor], rows: Sequence[slice] | None) -> list[Tensor]:
    """Of each of `batches` (b,) its `rows`; None: all."""
    return list(batches) if rows is None else [batch[of] for batch, of in zip(batches, rows, strict=True)]


def to_device(split: StoredSplit, device: torch.device) -> DeviceSplit:
    """Copy a whole split to `device`, 377 MB for the largest game, so that no epoch waits for a loader."""
    return DeviceSplit(
        torch.from_numpy(np.array(split.images)).to(device), torch.from_numpy(np.array(split.labels)).to(device)
    )


def as_tensor(crops: NDArray[np.uint8]) -> Tensor:
    """Crops (n, H, W, 3) as a tensor that shares their memory, or as a copy where PyTorch cannot share it.

    It shares only writable arrays without negative strides; those of a data set on disk are read-only.
    """
    shareable = crops.flags.writeable and min(crops.strides) >= 0
    return torch.from_numpy(crops if shareable else crops.copy(order="C"))


def to_input(images: Tensor) -> Tensor:
    """Convert images uint8 (n, H, W, 3) to a network's input, float32 (n, 3, H, W) in -1…1, in channels-last memory."""
    return images.permute(0, 3, 1, 2).float().mul_(2 / 255).sub_(1)
