"""Readings on disk: one line each, appended as soon as it is made, so that an ended process loses none.

They are found again by the pixels of the crop and the name of the reader.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import xxhash

from textgen.common.array_types import U8
from textgen.common.atomic import os_errors_as_user_errors
from textgen.label.readers import Reading

FILE = "readings.jsonl"
ADVICE = "another folder with out=…"


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
            lines.append(json.dumps(line, ensure_ascii=False) + "\n")
        with os_errors_as_user_errors(self._path, ADVICE), self._path.open("ab") as file:
            file.write((b"\n" if self._cut_off else b"") + "".join(lines).encode("utf-8", "replace"))
        self._cut_off = False

    def _load(self, line: bytes) -> None:
        """Take a line; one that is damaged is left out, and its crop is read again."""
        try:
            row = json.loads(line)
            if row["reader"] == self._reader:
                self._readings[row["crop"]] = Reading(row["text"], float(row["confidence"]), row["label"])
        except (ValueError, KeyError, TypeError):
            return
