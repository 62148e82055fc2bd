"""Training images from shards, read in every epoch, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import repeat

import numpy as np
import torch
from torch import Tensor

from train.data.order import CyclicLabels, Labels
from train.data.sharded import READERS, ShardedDataset

WINDOW = 16  # blocks of at most 8 MB whose images are shuffled among each other; two such windows are in memory


class ShardSource:
    """The training images of a data set in shards.

    In each epoch the blocks are shuffled by `seed` and epoch, and each `WINDOW` of them are one window: its images
    follow each other, shuffled. So stacks are random within a window. A thread reads the next window while the network
    trains on one. A data set of one window is shuffled as one in memory. The number of shards has no influence.
    """

    def __init__(self, dataset: ShardedDataset, device: torch.device, seed: int):
        self._dataset, self._device, self._seed = dataset, device, seed
        self.size = dataset.size
        self.labels: Labels
        if dataset.is_cyclic:
            self.labels = CyclicLabels(dataset.counts["train"], len(dataset.classes), device)
        else:
            self.labels = torch.from_numpy(dataset.load_labels("train")).to(device)

    def labels_of(self, epoch: int) -> Labels:
        """See `train.data.sources.Source`."""
        return self.labels

    def windows(self, epoch: int) -> Sequence[Tensor]:
        """See `train.data.sources.Source`."""
        return _Windows(self._blocks(epoch), self._dataset.block_rows, len(self.labels))

    def batches(self, epoch: int, batches: Sequence[Tensor], rows: Sequence[slice] | None = None) -> Iterator[Tensor]:
        """See `train.data.sources.Source`. Raises `UserError` for a block that is damaged or cannot be read."""
        blocks = self._blocks(epoch)
        places = np.empty(len(blocks), np.int64)
        places[blocks] = np.arange(len(blocks))  # of each block in the epoch's order
        place_of = torch.from_numpy(places)
        loaded: dict[int, Future[Tensor]] = {}
        with ThreadPoolExecutor(1) as ahead, ThreadPoolExecutor(READERS) as readers:
            try:
                for batch, of in zip(batches, repeat(slice(None)) if rows is None else rows, strict=False):
                    indices = batch[of]
                    places_in_order = place_of[indices // self._dataset.block_rows] * self._dataset.block_rows
                    places_in_order += indices % self._dataset.block_rows
                    windows = places_in_order // (WINDOW * self._dataset.block_rows)
                    needed = np.unique(windows.numpy()).tolist()
                    for window in [number for number in loaded if number < needed[0]]:
                        loaded.pop(window).cancel()
                    following = [needed[-1] + 1] if len(needed) == 1 else []
                    for window in needed + following:
                        if window not in loaded and window * WINDOW < len(blocks):
                            loaded[window] = ahead.submit(self._load, blocks, window, readers)
                    yield self._gather(places_in_order, windows, {w: loaded[w].result() for w in needed})
            finally:  # also where training stops within an epoch
                ahead.shutdown(cancel_futures=True)

    def _blocks(self, epoch: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """The numbers of the blocks in their order in `epoch`; those of a window rise."""
        number = self._dataset.blocks("train")
        order = np.random.default_rng([self._seed, epoch]).permutation(number)
        return np.concatenate([np.sort(order[first : first + WINDOW]) for first in range(0, number, WINDOW)])

    def _load(
        self, blocks: np.ndarray[tuple[int], np.dtype[np.int64]], window: int, readers: ThreadPoolExecutor
    ) -> Tensor:
        """The images of a window, uint8 (m, H, W, 3), on the CPU; each block has the same number of rows."""
        numbers = blocks[window * WINDOW : (window + 1) * WINDOW].tolist()
        rows = self._dataset.block_rows
        images = np.empty((len(numbers) * rows, *self.size, 3), np.uint8)

        def read(place: int) -> None:
            block = self._dataset.read_block("train", numbers[place])
            images[place * rows : place * rows + len(block)] = block

        list(readers.map(read, range(len(numbers))))
        return torch.from_numpy(images)

    def _gather(self, places: Tensor, windows: Tensor, loaded: dict[int, Tensor]) -> Tensor:
        """Images (b, H, W, 3), on the device, at `places` (b,) of the epoch's order of rows, which lie in `windows`."""
        within = places % (WINDOW * self._dataset.block_rows)
        if len(loaded) == 1:
            images = next(iter(loaded.values()))[within]
        else:
            images = torch.empty((len(places), *self.size, 3), dtype=torch.uint8)
            for window, of in loaded.items():
                here = windows == window
                images[here] = of[within[here]]
        return images.to(self._device)


class _Windows(Sequence[Tensor]):
    """The indices of the images of each window, in rising order."""

    def __init__(self, blocks: np.ndarray[tuple[int], np.dtype[np.int64]], rows: int, count: int):
        self._blocks, self._rows, self._count = blocks, rows, count

    def __len__(self) -> int:
        return (len(self._blocks) + WINDOW - 1) // WINDOW

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        if not 0 <= index < len(self):
            raise IndexError(index)
        numbers = torch.from_numpy(self._blocks[index * WINDOW : (index + 1) * WINDOW])
        indices = (numbers[:, None] * self._rows + torch.arange(self._rows)).flatten()
        return indices[indices < self._count]
