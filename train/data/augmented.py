"""Training images that are mirrored and moved at random, as usual on CIFAR (He et al., 2016)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from train.data.order import Labels
from train.data.sources import DeviceSplit, take_rows


class AugmentedSource:
    """The images of `split`; in every epoch each is mirrored with a chance of a half, if `flip`, and moved by up to
    `shift` pixels along both axes, with black at the borders.

    What happens to an image depends on `seed`, the epoch and the image alone, on every device.
    """

    def __init__(self, split: DeviceSplit, *, flip: bool, shift: int, seed: int):
        self._split, self._flip, self._shift, self._seed = split, flip, shift, seed
        self.labels, self.size = split.labels, split.size

    def labels_of(self, epoch: int) -> Labels:
        """See `train.data.sources.Source`."""
        return self.labels

    def windows(self, epoch: int) -> Sequence[Tensor]:
        """See `train.data.sources.Source`."""
        return self._split.windows(epoch)

    def batches(self, epoch: int, batches: Sequence[Tensor], rows: Sequence[slice] | None = None) -> Iterator[Tensor]:
        """See `train.data.sources.Source`."""
        draw = torch.Generator().manual_seed(self._seed + (epoch << 20))
        mirrored = torch.rand(len(self.labels), generator=draw) < 0.5
        shifts = torch.randint(2 * self._shift + 1, (len(self.labels), 2), generator=draw)
        batches = take_rows(batches, rows)
        for images, batch in zip(self._split.batches(epoch, batches), batches, strict=True):
            yield self._change(images, mirrored[batch].to(images.device), shifts[batch].to(images.device))

    def _change(self, images: Tensor, mirrored: Tensor, shifts: Tensor) -> Tensor:
        """Images uint8 (b, H, W, 3), of which some are `mirrored` (b,), all moved by `shifts` (b, 2) from 0."""
        b, height, width, _ = images.shape
        if self._flip:
            images = torch.where(mirrored[:, None, None, None], images.flip(2), images)
        if not self._shift:
            return images
        border = self._shift
        padded = functional.pad(images, (0, 0, border, border, border, border))
        rows = shifts[:, :1] + torch.arange(height, device=images.device)  # (b, H)
        columns = shifts[:, 1:] + torch.arange(width, device=images.device)  # (b, W)
        every = torch.arange(b, device=images.device)[:, None, None]
        return padded[every, rows[:, :, None], columns[:, None, :]]
