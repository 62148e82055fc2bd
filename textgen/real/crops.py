"""Labelled crops of real footage, in the order of time, and their division into blocks of time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from textgen.common.array_types import U8
from textgen.common.errors import UserError
from textgen.common.pictures import Size, map_in_threads, open_picture, read_pixels, resize
from textgen.dataset.imagefolder import natural_order
from textgen.dataset.import_folder import MAX_TEST_BYTES, list_test_folder
from textgen.footage.index import INDEX, read_index
from textgen.spec.parser import Spec

MAX_SCALE = 3  # crops are kept at most this many times as high and wide as the network's
ROUND_SECONDS = 20.0  # of footage, in which each use below has one block
ROUND_CROPS = 400  # the same for crops without times
SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}  # of the time of each round
GAP_SECONDS, GAP_CROPS = 0.25, 2  # left out where two uses meet: neighbouring frames are nearly the same picture


@dataclass(frozen=True)
class RealCrops:
    """Crops uint8 (n, H, W, 3) in the order of time, with `labels` int64 (n,) and the texts that they show.

    A text is "" where only the class is known. `times` (n,) are seconds; None for crops without an index, whose order
    is that of their file names.
    """

    images: U8
    labels: NDArray[np.int64]
    texts: tuple[str, ...]
    times: NDArray[np.float64] | None

    def __len__(self) -> int:
        return len(self.labels)

    def scale(self, size: Size) -> U8:
        """The images in `size` (H, W)."""
        return np.stack([resize(image, size) for image in self.images])

    def select(self, indices: NDArray[np.int64]) -> RealCrops:
        """The crops at `indices` (m,), in that order."""
        times = None if self.times is None else self.times[indices]
        return RealCrops(self.images[indices], self.labels[indices], tuple(self.texts[i] for i in indices), times)


def load_real_crops(path: Path, classes: Sequence[str], size: Size, spec: Spec | None) -> RealCrops:
    """Load labelled crops: class folders, or a labels file whose texts `spec` assigns to `classes`; some may be absent.

    All are scaled to the most frequent size among them, or to MAX_SCALE times the network's `size` (H, W) if that is
    smaller. Raises `UserError` for a folder without crops, for texts and folders that are no class, and for more than
    4 GiB of crops.
    """
    if not path.is_dir():
        raise UserError(f"real={path} is no folder: give one of labelled crops, as python -m textgen.label leaves it")
    rows = list_test_folder(path, classes, spec)
    if not rows:
        raise UserError(f"real={path} holds no labelled crops: give at least one")
    frames = _read_times(path)
    timed = all(row.name in frames for row in rows)
    rows.sort(key=lambda row: frames[row.name] if timed else natural_order(row.name))
    sizes = Counter(map(tuple, map_in_threads(lambda row: _picture_size(row.file), rows)))
    native = max(sizes, key=lambda found: (sizes[found], found))
    kept = min(native[0], MAX_SCALE * size[0]), min(native[1], MAX_SCALE * size[1])
    if len(rows) * kept[0] * kept[1] * 3 > MAX_TEST_BYTES:
        raise UserError(f"real={path} holds {len(rows):,} crops, more than 4 GiB: cut fewer, with every=…")
    images = np.stack(list(map_in_threads(lambda row: read_pixels(row.file, kept)[0], rows)))
    labels = np.array([row.label for row in rows], np.int64)
    times = np.array([frames[row.name][1] for row in rows]) if timed else None
    return RealCrops(images, labels, tuple(row.text for row in rows), times)


def _read_times(path: Path) -> dict[str, tuple[str, float]]:
    """Region and seconds by file, from the index of a folder of crops, or of the one above for that of a region."""
    if (path / INDEX).is_file():
        return {row.file: (row.region, row.time) for row in read_index(path)}
    if (path.resolve().parent / INDEX).is_file():
        rows = read_index(path.resolve().parent)
        own = f"{path.resolve().name}/"
        return {row.file.removeprefix(own): (row.region, row.time) for row in rows if row.file.startswith(own)}
    return {}


def _picture_size(file: Path) -> Size:
    with open_picture(file, str(file)) as picture:
        return picture.size


def split_in_time(crops: RealCrops, uses: Sequence[str] = ("train", "val", "test")) -> dict[str, RealCrops]:
    """Divide crops among `uses`, keys of SHARES, so that no two uses have neighbouring frames.

    The footage is divided into rounds of ROUND_SECONDS or more, and each round into one block for each use. Crops
    within GAP_SECONDS of another use's block are left out. Uses may be empty for very short footage.
    """
    timed = crops.times is not None
    position = crops.times if crops.times is not None else np.arange(len(crops), dtype=np.float64)
    unit, gap = (ROUND_SECONDS, GAP_SECONDS) if timed else (ROUND_CROPS, GAP_CROPS)
    begin, length = position.min(), np.ptp(position) + 1e-6
    rounds = max(int(length // unit), 1)
    within = (position - begin) / length * rounds % 1.0  # (n,) 0…1 in the crop's round
    margin = gap / (length / rounds) / 2
    total = sum(SHARES[use] for use in uses)
    divided, start = {}, 0.0
    for use in uses:
        end = start + SHARES[use] / total
        low, high = start + margin * (start > 0 or rounds > 1), end - margin * (end < 1 - 1e-9 or rounds > 1)
        divided[use] = crops.select(np.flatnonzero((within >= low) & (within < high)))
        start = end
    return divided
