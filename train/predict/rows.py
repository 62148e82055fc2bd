"""The rows of a prediction: as CSV or JSON lines, which only grow, and as Parquet, made of such lines at the end."""

from __future__ import annotations

import csv
import importlib
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from train.common.lines import Format, LineFile, find_format

COLUMNS = ("frame", "time", "region", "value", "probability")
SMOOTHED = "smoothed"
TYPES = {"frame": "int64", "time": "float64", "probability": "float32"} | dict.fromkeys(
    ("region", "value", SMOOTHED), "string"
)  # Arrow's, of the columns


class Row(NamedTuple):
    """A value. `smoothed` is None where nothing is smoothed."""

    frame: int
    time: float
    region: str
    value: str
    probability: float
    smoothed: str | None


class RowFormatter:
    """Rows as lines of text, in UTF-8. The same rows give the same bytes."""

    def __init__(self, form: Format, *, smoothed: bool):
        self._json, self._smoothed = form == "jsonl", smoothed
        self._quoted: dict[str, str] = {}

    def header(self) -> bytes:
        """The first line of CSV; nothing for JSON lines."""
        columns = (*COLUMNS, SMOOTHED) if self._smoothed else COLUMNS
        return b"" if self._json else f"{','.join(columns)}\n".encode()

    def lines(self, rows: Sequence[Row]) -> bytes:
        """A line for each row."""
        line = self._json_line if self._json else self._csv_line
        return "".join(map(line, rows)).encode()

    def _csv_line(self, row: Row) -> str:
        quote = self._quote
        end = "" if row.smoothed is None else f",{quote(row.smoothed)}"
        start = f"{row.frame},{row.time:.6f},{quote(row.region)},{quote(row.value)}"
        return f"{start},{row.probability:.4f}{end}\n"

    def _json_line(self, row: Row) -> str:
        quote = self._quote
        end = "" if row.smoothed is None else f', "{SMOOTHED}": {quote(row.smoothed)}'
        start = f'{{"frame": {row.frame}, "time": {row.time:.6f}, "region": {quote(row.region)}'
        return f'{start}, "value": {quote(row.value)}, "probability": {row.probability:.4f}{end}}}\n'

    def _quote(self, text: str) -> str:
        """A text as its format needs it; there are few different ones."""
        if text not in self._quoted:
            buffer = io.StringIO()
            if self._json:
                buffer.write(json.dumps(text, ensure_ascii=False))
            else:
                csv.writer(buffer, lineterminator="").writerow([text])
            self._quoted[text] = buffer.getvalue()
        return self._quoted[text]


class RowFile:
    """The file that rows are appended to: with `hidden`, and for Parquet, a hidden file of lines beside `out`."""

    def __init__(self, out: Path, form: Format, *, smoothed: bool, offset: int | None, hidden: bool):
        """Start a new file, or go on at `offset`, the bytes of a file that were complete. Raises `UserError`."""
        self._formatter = RowFormatter(form, smoothed=smoothed)
        self._lines = LineFile(out, form, self._formatter.header(), offset=offset, hidden=hidden)

    def append(self, rows: Sequence[Row]) -> None:
        self._lines.write(self._formatter.lines(rows))

    def sync(self) -> int:
        """Wait until all rows are on the disk; return the bytes of the file."""
        return self._lines.sync()

    @property
    def digest(self) -> str:
        """Of all rows up to here."""
        return self._lines.digest

    def close(self) -> None:
        self._lines.close()

    def finish(self) -> None:
        """Close the file and put it in the place of `out`; for Parquet, convert it."""
        self._lines.finish(TYPES)


def read_rows(out: Path) -> Iterator[Row]:
    """The rows of a finished output."""
    form = find_format(out)
    if form == "csv":
        with out.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                yield _row(row)
    elif form == "jsonl":
        with out.open(encoding="utf-8") as file:
            for line in file:
                yield _row(json.loads(line))
    else:
        parquet = importlib.import_module("pyarrow.parquet")
        for batch in parquet.ParquetFile(out).iter_batches():
            for row in batch.to_pylist():
                yield _row(row)


def _row(row: dict[str, str]) -> Row:
    frame, time, probability = int(row["frame"]), float(row["time"]), float(row["probability"])
    return Row(frame, time, row["region"], row["value"], probability, row.get(SMOOTHED))
