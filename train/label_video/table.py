"""The label table, with NoScope's columns, and the file beside it that says what was labelled."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from textgen.common.atomic import OTHER_OUT, write_atomic
from textgen.common.bounded_text import parse_json
from textgen.common.digests import digest_file
from textgen.frames.label_table import about_path
from train.common.lines import Format, LineFile
from train.detectors.detection import Detection

COLUMNS = ("frame", "object_name", "confidence", "xmin", "ymin", "xmax", "ymax")
TYPES = {"frame": "int64", "object_name": "string"} | dict.fromkeys(COLUMNS[2:], "float32")  # Arrow's
FORMATS: tuple[Format, ...] = ("csv", "parquet")


class TableFile:
    """A label table that grows in a hidden file beside `out`, and takes its place when it is complete."""

    def __init__(self, out: Path, form: Format, offset: int | None) -> None:
        """Start a new table, or go on at `offset` bytes. Raises `UserError` for a place that cannot be written."""
        self._out = out
        self._lines = LineFile(out, form, f"{','.join(COLUMNS)}\n".encode(), offset=offset, hidden=True)
        self.path = self._lines.path

    def append(self, frames: Sequence[tuple[int, Sequence[Detection]]]) -> int:
        """Write a row for each object in `frames`, with their numbers; return the bytes of the file."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        for frame, detections in frames:
            for name, confidence, *box in detections:
                writer.writerow([frame, name, f"{confidence:.4f}", *(f"{side:.2f}" for side in box)])
        return self._lines.write(buffer.getvalue().encode())

    def sync(self) -> int:
        """Wait until all rows are on the disk; return the bytes of the file."""
        return self._lines.sync()

    @property
    def digest(self) -> str:
        """Of all lines up to here."""
        return self._lines.digest

    def close(self) -> None:
        self._lines.close()

    def finish(self, about: Mapping[str, Any]) -> None:
        """Put the table in its place, and before it the file beside it, which names it: a command that is killed
        between the two leaves a file that is about no table."""
        self._lines.finish(
            TYPES, lambda table: _write_about(self._out, {**about, "table": digest_file(table).hexdigest()})
        )


@dataclass
class Counts:
    """What a table holds: `frames` labelled, `first` and `last` of them; per object rows, and frames with it."""

    frames: int = 0
    first: int | None = None
    last: int | None = None
    rows: Counter[str] = field(default_factory=Counter)
    frames_with: Counter[str] = field(default_factory=Counter)

    def add(self, frame: int, detections: Sequence[Detection]) -> None:
        self.frames += 1
        self.first, self.last = frame if self.first is None else self.first, frame
        names = [each.object_name for each in detections]
        self.rows.update(names)
        self.frames_with.update(set(names))

    def to_json(self) -> bytes:
        return json.dumps(vars(self)).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Counts:
        """Raises `ValueError`, `KeyError` or `TypeError` for anything else than `to_json` gave."""
        given = parse_json(data)
        counters = (Counter({str(name): int(n) for name, n in given[key].items()}) for key in ("rows", "frames_with"))
        return cls(int(given["frames"]), given["first"], given["last"], *counters)


def _write_about(out: Path, about: dict[str, Any]) -> None:
    """Write the file beside the table `out`."""
    write_atomic(about_path(out), f"{json.dumps(about, indent=1, ensure_ascii=False)}\n".encode(), OTHER_OUT)
