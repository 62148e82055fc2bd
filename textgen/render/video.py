"""Which crops are frames of an H.264 video, and how each is encoded."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from textgen.kernels.tables import OK
from textgen.schema.augment import H264


class Videos(NamedTuple):
    """The samples that become videos, and their settings, one per video."""

    chosen: NDArray[np.int64]  # (k,) positions in the batch
    crfs: NDArray[np.int64]  # (k,) quality settings of x264
    velocities: NDArray[np.int64]  # (k, 2) pixels that the background moves from frame to frame, down and right
    corners: NDArray[np.int64]  # (k, 2) row and column of the crop's corner in a macroblock


def choose_videos(samples: NDArray[Any], key: np.uint64, h264: H264) -> Videos:
    """Choose among the samples (n,) that have been drawn, each by a random stream of its own."""
    rows = []
    for at, sample in enumerate(samples):
        counter = [0, 1, int(sample["attempt"]), int(sample["index"])]
        rng = np.random.Generator(np.random.Philox(key=int(key), counter=counter))
        if sample["status"] == OK and rng.random() < h264.chance:
            low, high = h264.crf
            rows.append((at, rng.integers(low, high + 1), *rng.integers(-2, 3, 2), *rng.integers(0, 16, 2)))
    table = np.array(rows, np.int64).reshape(-1, 6)
    return Videos(table[:, 0], table[:, 1], table[:, 2:4], table[:, 4:6])
