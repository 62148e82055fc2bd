"""The rows of a prediction: as CSV or JSON lines, which only grow, and as Parquet, made of such lines at the end."""

from __future__ import annotations

import csv
import importlib
import io
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Literal, NamedTuple

from textgen.common.atomic import OTHER_OUT, atomic_path, os_errors_as_user_errors
from textgen.common.errors import UserError

Format = Literal["csv", "jsonl", "parquet"]
COLUMNS = ("frame", "time", "region", "value", "probability")
SMOOTHED = "smoothed"
PARQUET_BLOCK = 4 << 20  # bytes of rows in memory while they are converted


class Row(NamedTuple):
    """A value. `smoothed` is None where nothing is smoothed."""

    frame: int
    time: float
    region: str
    value: str
    probability: float
    smoothed: str | None


def find_format(out: Path) -> Format:
    """The format of a file, by its suffix. Raises `UserError` for another suffix, and for Parquet without pyarrow."""
    formats: dict[str, Format] = {".csv": "csv", ".jsonl": "jsonl", ".parquet": "parquet"}
    found = formats.get(out.suffix.lower())
    if found is None:
        raise UserError(f"out={out}: the suffix gives the format: end it in {', '.join(formats)}")
    if found == "parquet":
        try:
            importlib.import_module("pyarrow.parquet")
        except ImportError:
            raise UserError(f"out={out}: Parquet needs pyarrow: pip install 'foldtext[formats]'") from None
    return found


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
    """The file that rows are appended to: `out` itself, or for Parquet a hidden file of lines beside it."""

    def __init__(self, out: Path, form: Format, *, smoothed: bool, offset: int | None):
        """Start a new file, or go on at `offset`, the bytes of a file that were complete. Raises `UserError`."""
        self._out, self._form = out, form
        self.path = lines_path(out, form)
        self._formatter = RowFormatter(form, smoothed=smoothed)
        with os_errors_as_user_errors(self.path, OTHER_OUT):
            self._file: IO[bytes] = self.path.open("wb" if offset is None else "r+b")
            if offset is None:
                self._file.write(self._formatter.header())
                self._file.flush()
            else:
                self._file.truncate(offset)
                self._file.seek(offset)

    def append(self, rows: Sequence[Row]) -> None:
        with os_errors_as_user_errors(self.path, OTHER_OUT):
            self._file.write(self._formatter.lines(rows))
            self._file.flush()

    def sync(self) -> int:
        """Wait until all rows are on the disk; return the bytes of the file."""
        with os_errors_as_user_errors(self.path, OTHER_OUT):
            os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        self._file.close()

    def finish(self) -> None:
        """Close the file; for Parquet, convert and remove it."""
        self.sync()
        self.close()
        if self._form == "parquet":
            _convert_to_parquet(self.path, self._out)
            self.path.unlink()


def lines_path(out: Path, form: Format) -> Path:
    """The file of lines of the output `out`."""
    return out.with_name(f".{out.name}.rows.csv") if form == "parquet" else out


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


def _convert_to_parquet(lines: Path, out: Path) -> None:
    """Convert block by block."""
    arrow, csv_reader, parquet = (importlib.import_module(f"pyarrow{name}") for name in ("", ".csv", ".parquet"))
    texts = dict.fromkeys(("region", "value", SMOOTHED), arrow.string())
    types = {"frame": arrow.int64(), "time": arrow.float64(), "probability": arrow.float32(), **texts}
    options = csv_reader.ConvertOptions(column_types=types, strings_can_be_null=False)
    with atomic_path(out, OTHER_OUT) as temporary:
        reader = csv_reader.open_csv(
            lines, csv_reader.ReadOptions(block_size=PARQUET_BLOCK, use_threads=False), convert_options=options
        )
        with parquet.ParquetWriter(temporary, reader.schema) as writer:
            for batch in reader:
                writer.write_batch(batch)
