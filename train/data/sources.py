"""Images on their way to the network: data sets as tensors on the device, crops rendered as they are needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from textgen.dataset.store import StoredSplit
from textgen.render.renderer import Renderer

CHUNK = 2048  # images that are rendered at once: a tenth of a second of work
AHEAD = 2  # chunks that wait, rendered, for the network


class Source(Protocol):
    """Images to train on, n of them an epoch; `labels` int64 (n,), on the device as the images will be."""

    @property
    def labels(self) -> Tensor: ...

    @property
    def size(self) -> tuple[int, int]: ...

    def batches(self, epoch: int, batches: Sequence[Tensor]) -> Iterator[Tensor]:
        """For each of `batches`, indices (b,) on the CPU, the images uint8 (b, H, W, 3) of that epoch on the device."""


class DeviceSplit(NamedTuple):
    """images uint8 (n, H, W, 3) and labels int64 (n,), both on the device: the same ones every epoch."""

    images: Tensor
    labels: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.images.shape[1], self.images.shape[2]

    def batches(self, epoch: int, batches: Sequence[Tensor]) -> Iterator[Tensor]:
        """See `Source`."""
        if not batches:
            return iter(())
        order = torch.cat(list(batches)).to(self.images.device)  # one transfer an epoch, and no wait after it
        return (self.images[indices] for indices in torch.split(order, len(batches[0])))


class LiveSource:
    """Crops that nobody has seen: image i of epoch e, of `count` an epoch, is training sample e·count + i of a game.

    They are rendered in a thread of their own while the network trains, CHUNK at a time, and are the same whatever
    the chunks. `count` is a multiple of the number of classes, so that image i has one class in all epochs.
    """

    def __init__(self, renderer: Renderer, count: int, device: torch.device):
        assert count % len(renderer.classes) == 0
        self._renderer, self._count, self._device = renderer, count, device
        self.size = renderer.game.size
        self.labels = (torch.arange(count) % len(renderer.classes)).to(device)

    def batches(self, epoch: int, batches: Sequence[Tensor]) -> Iterator[Tensor]:
        """See `Source`."""
        if not batches:
            return
        per_chunk = max(CHUNK // len(batches[0]), 1)
        chunks = [batches[at : at + per_chunk] for at in range(0, len(batches), per_chunk)]
        with ThreadPoolExecutor(1) as thread:
            waiting = [thread.submit(self._render, epoch, chunk) for chunk in chunks[:AHEAD]]
            try:
                for number, chunk in enumerate(chunks):
                    images = waiting.pop(0).result()
                    if number + AHEAD < len(chunks):
                        waiting.append(thread.submit(self._render, epoch, chunks[number + AHEAD]))
                    yield from torch.split(images.to(self._device), [len(batch) for batch in chunk])
            finally:  # also where training stops within an epoch
                thread.shutdown(cancel_futures=True)

    def _render(self, epoch: int, chunk: Sequence[Tensor]) -> Tensor:
        indices = torch.cat(list(chunk)).numpy() + epoch * self._count
        return torch.from_numpy(self._renderer.render("train", indices).images)


def to_device(split: StoredSplit, device: torch.device) -> DeviceSplit:
    """A split copied to `device` whole: 377 MB for the largest game, so that no epoch waits for a loader."""
    return DeviceSplit(
        torch.from_numpy(np.array(split.images)).to(device), torch.from_numpy(np.array(split.labels)).to(device)
    )


def to_input(images: Tensor) -> Tensor:
    """uint8 (n, H, W, 3) -> float32 (n, 3, H, W) in -1…1, in channels-last memory as it came."""
    return images.permute(0, 3, 1, 2).float().mul_(2 / 255).sub_(1)
