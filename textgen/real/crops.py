"""Labelled crops of real footage, in the order of time, and their division into blocks of time."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textgen.common.array_types import U8
from textgen.common.errors import UserError
from textgen.common.pictures import Size, map_in_threads, open_picture, read_pixels, resize
from textgen.dataset.imagefolder import PictureFile, find_source, natural_order
from textgen.dataset.import_folder import MAX_TEST_BYTES, list_test_folder, stack_labels
from textgen.footage.index import INDEX, read_index
from textgen.spec.parser import Spec
from textgen.spec.values import OTHER

MAX_SCALE = 3  # crops are kept at most this many times as high and wide as the network's
ROUND_SECONDS = 20.0  # of footage, in which each use below has one block
ROUND_CROPS = 400  # the same for crops without times
SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}  # of the time of each round
GAP_SECONDS, GAP_CROPS = 0.25, 2  # left out where two uses meet: neighbouring frames are nearly the same picture


@dataclass(frozen=True)
class RealCrops:
    """Crops uint8 (n, H, W, 3) in the order of time, with `labels` int64 (n,), or (n, m), and the texts that they show.

    A text is "" where only the class is known, or no counter is shown. `times` (n,) are seconds; None for crops without
    an index, whose order is that of their file names.
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


def load_real_crops(
    path: Path, classes: Sequence[str], size: Size, spec: Spec | None, option: str = "real"
) -> RealCrops:
    """Load labelled crops: class folders, or a labels file whose texts `spec` assigns to classes; some may be absent.

    All are scaled to the most frequent size among them, or to MAX_SCALE times the network's `size` (H, W) if that is
    smaller. Raises `UserError`, about the setting `option`, for a folder without crops, for texts and folders that are
    no class, and for more than 4 GiB of crops.
    """
    if not path.is_dir():
        raise UserError(
            f"{option}={path} is no folder: give one of labelled crops, as python -m textgen.label leaves it"
        )
    rows = list_test_folder(path, classes, spec)
    if not rows:
        raise UserError(f"{option}={path} holds no labelled crops: give at least one")
    frames = _read_times(path)
    timed = all(row.name in frames for row in rows)
    in_class_folders = find_source(path).labels is None
    rows.sort(key=lambda row: frames[row.name] if timed else _order_of_files(row, in_class_folders))
    sizes = Counter(map(tuple, map_in_threads(lambda row: _picture_size(row.file), rows)))
    native = max(sizes, key=lambda found: (sizes[found], found))
    kept = min(native[0], MAX_SCALE * size[0]), min(native[1], MAX_SCALE * size[1])
    if len(rows) * kept[0] * kept[1] * 3 > MAX_TEST_BYTES:
        raise UserError(f"{option}={path} holds {len(rows):,} crops, more than 4 GiB: cut fewer, with every=…")
    images = np.empty((len(rows), *kept, 3), np.uint8)
    for at, (image, _) in enumerate(map_in_threads(lambda row: read_pixels(row.file, kept), rows)):
        images[at] = image
    labels = stack_labels(rows)
    times = np.array([frames[row.name][1] for row in rows]) if timed else None
    return RealCrops(images, labels, tuple("" if row.text == OTHER else row.text for row in rows), times)


def _order_of_files(row: PictureFile, in_class_folders: bool) -> tuple[Any, ...]:
    """Sorting key of crops without times.

    Those of class folders are sorted by the names of files first: sorted by their folders, the last block of a division
    in time would be the last classes.
    """
    return (*(natural_order(posixpath.basename(row.name)) if in_class_folders else ()), *natural_order(row.name))


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

    The crops are divided into rounds of ROUND_SECONDS or more, and each round into one block of crops for each use.
    Where two uses meet, crops within GAP_SECONDS of each other are left out. Uses may be empty for very few crops.
    """
    times, unit, gap = crops.times, ROUND_SECONDS, GAP_SECONDS
    if times is None:
        times, unit, gap = np.arange(len(crops), dtype=np.float64), ROUND_CROPS, GAP_CROPS
    rounds = max(int((np.ptp(times) + 1e-6) // unit), 1)
    within = (np.arange(len(crops)) + 0.5) / len(crops) * rounds % 1.0  # (n,) 0…1 in the crop's round
    shares = np.array([SHARES[use] for use in uses])
    owner = np.searchsorted(np.cumsum(shares / shares.sum())[:-1], within, side="right")  # (n,) indices of uses
    kept = np.ones(len(crops), bool)
    for last in np.flatnonzero(np.diff(owner)):  # the last crop before another use's block
        kept &= np.abs(times - (times[last] + times[last + 1]) / 2) >= gap / 2
    return {use: crops.select(np.flatnonzero(kept & (owner == number))) for number, use in enumerate(uses)}
