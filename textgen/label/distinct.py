"""The distinct crops of a sequence: each is read once, and so are those that hardly differ from the one before them.

Readings are kept on disk, one line each, appended as soon as they are made, so that an ended process loses none. They
are found again by the pixels of the crop and the name of the reader.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import xxhash

from textgen.common.array_types import U8
from textgen.common.atomic import os_errors_as_user_errors
from textgen.common.pictures import read_picture
from textgen.label.readers import Reader, Reading

FILE = "readings.jsonl"
ADVICE = "another folder with crops=…"
# The largest mean difference, in levels of 255, over any square of `SQUARE` pixels of one channel. In five counters of
# three videos, crops with different texts differ by at least 67, and those that follow each other on a background that
# stands still by less than 8.
NEAR = 8
SQUARE = 4
BATCH = 16  # crops that are read at once, and at most lost when the process is ended


def hash_crop(crop: U8) -> str:
    """A digest of the size and the pixels of a crop, uint8 (h, w, 3)."""
    digest = xxhash.xxh3_128(str(crop.shape).encode())
    digest.update(np.ascontiguousarray(crop).data)
    return digest.hexdigest()


class ReadingCache:
    """The readings of one reader in the file `path`, which may hold those of others."""

    def __init__(self, path: Path, reader: str) -> None:
        self._path, self._reader = path, reader
        self._readings: dict[str, Reading] = {}
        self._cut_off = False  # the last line, by the end of an earlier process
        if path.is_file():
            with path.open("rb") as file:
                for line in file:
                    self._cut_off = not line.endswith(b"\n")
                    self._load(line)

    def get(self, crop: str) -> Reading | None:
        """The reading of the crop with this digest, if there is one."""
        return self._readings.get(crop)

    def add(self, readings: Iterable[tuple[str, Reading]]) -> None:
        """Append readings of crops with these digests. Raises `UserError` if the file cannot be written."""
        lines = []
        for crop, reading in readings:
            self._readings[crop] = reading
            line = {"crop": crop, "reader": self._reader, **reading._asdict()}
            lines.append(json.dumps({**line, "check": _check(line)}, ensure_ascii=False) + "\n")
        with os_errors_as_user_errors(self._path, ADVICE), self._path.open("ab") as file:
            file.write((b"\n" if self._cut_off else b"") + "".join(lines).encode("utf-8", "replace"))
        self._cut_off = False

    def _load(self, line: bytes) -> None:
        """Take a line; one that is damaged is left out, and its crop is read again."""
        try:
            row = json.loads(line)
            if row.pop("check", None) not in (_check(row), None):  # lines of older versions have none
                return
            if row["reader"] == self._reader:
                self._readings[row["crop"]] = Reading(row["text"], float(row["confidence"]), row["label"])
        except (ValueError, KeyError, TypeError, AttributeError):
            return


def _check(line: dict[str, object]) -> str:
    """The digest of a line's other values."""
    return xxhash.xxh3_64_hexdigest(json.dumps(line).encode())


@dataclass(frozen=True)
class Distinct:
    """A distinct crop: the digest of its pixels, and the rows of the sequence, in order, that it stands for."""

    digest: str
    rows: tuple[int, ...]


def differ(one: U8, two: U8) -> float:
    """The largest mean difference, in levels, over any square of both crops, uint8 (h, w, 3); inf if sizes differ."""
    if one.shape != two.shape:
        return float("inf")
    return float(cv2.blur(cv2.absdiff(one, two).astype(np.float32), (SQUARE, SQUARE)).max())


def read_distinct(
    files: Iterable[Path], reader: Reader, cache: ReadingCache, progress: Callable[[int], object] | None = None
) -> tuple[list[Distinct], list[Reading]]:
    """Read the crops in `files`, which are in the order of time, as far as `cache` does not hold their readings.

    Returns the distinct ones in the same order, and their readings. A crop that hardly differs from the first of its
    group joins it, so that slow changes do not add up. Holds `BATCH` crops at a time. `progress` is called with numbers
    of crops that are done.
    """
    groups: list[tuple[str, list[int]]] = []
    pending: dict[str, U8] = {}
    first: U8 | None = None
    done = -1
    for row, file in enumerate(files):
        crop = read_picture(file)
        if first is not None and differ(first, crop) <= NEAR:
            groups[-1][1].append(row)
            continue
        first, digest = crop, hash_crop(crop)
        groups.append((digest, [row]))
        if cache.get(digest) is None:
            pending[digest] = crop
        if len(pending) >= BATCH:
            _read(pending, reader, cache)
            if progress:
                progress(row - done)
            done = row
    _read(pending, reader, cache)
    if progress and groups:
        progress(row - done)
    distinct = [Distinct(digest, tuple(rows)) for digest, rows in groups]
    readings = [cache.get(one.digest) for one in distinct]
    return distinct, [reading for reading in readings if reading is not None]


def _read(pending: dict[str, U8], reader: Reader, cache: ReadingCache) -> None:
    if pending:
        cache.add(zip(pending, reader.read(list(pending.values())), strict=True))
        pending.clear()
