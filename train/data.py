"""A data set as tensors on the device, and the way from its bytes to the network's input."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from textgen.store import Dataset


class Split(NamedTuple):
    """images uint8 (n, H, W, 3) and labels int64 (n,), both on the device."""

    images: Tensor
    labels: Tensor


def load(dataset: Dataset, device: torch.device) -> dict[str, Split]:
    """All splits, copied to `device` whole: 377 MB for the largest game, so that no epoch waits for a loader."""
    return {
        name: Split(
            torch.from_numpy(np.array(split.images)).to(device),
            torch.from_numpy(np.array(split.labels)).to(device),
        )
        for name, split in dataset.splits.items()
    }


def to_input(images: Tensor) -> Tensor:
    """uint8 (n, H, W, 3) -> float32 (n, 3, H, W) in -1…1, in channels-last memory as it came."""
    return images.permute(0, 3, 1, 2).float().mul_(2 / 255).sub_(1)
