"""Tables of rows that only grow: lines of CSV or JSON in a file, and Parquet, made of such lines at the end."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Literal

import xxhash

from textgen.common.atomic import OTHER_OUT, atomic_path, os_errors_as_user_errors
from textgen.common.digests import digest_file
from textgen.common.errors import UserError
from textgen.common.parquet import import_pyarrow

Format = Literal["csv", "jsonl", "parquet"]
FORMATS: tuple[Format, ...] = ("csv", "jsonl", "parquet")
PARQUET_BLOCK = 4 << 20  # bytes of rows in memory while they are converted


def find_format(out: Path, formats: tuple[Format, ...] = FORMATS) -> Format:
    """The format of a file, by its suffix. Raises `UserError` for another suffix, and for Parquet without pyarrow."""
    found = next((form for form in formats if out.suffix.lower() == f".{form}"), None)
    if found is None:
        known = ", ".join(f".{form}" for form in formats)
        raise UserError(f"out={out}: the suffix gives the format: end it in {known}")
    if found == "parquet":
        import_pyarrow(f"out={out}: Parquet")
    return found


class LineFile:
    """The file that lines are appended to: `out` itself, or for Parquet a hidden file of CSV beside it.

    With `hidden`, CSV and JSON lines grow in a hidden file as well: `out` is complete, or is not there.
    """

    def __init__(self, out: Path, form: Format, header: bytes, *, offset: int | None, hidden: bool = False):
        """Start a new file, or go on at `offset`, the bytes of a file that were complete. Raises `UserError`."""
        self._out, self._form = out, form
        self.path = lines_path(out, form, hidden=hidden)
        with os_errors_as_user_errors(self.path, OTHER_OUT):
            self._digest = xxhash.xxh3_128() if offset is None else digest_file(self.path, offset)
            self._file: IO[bytes] = self.path.open("wb" if offset is None else "r+b")
            if offset is not None:
                self._file.truncate(offset)
                self._file.seek(offset)
        if offset is None:
            self.write(header)

    @property
    def digest(self) -> str:
        """Of all lines up to here."""
        return self._digest.hexdigest()

    def write(self, lines: bytes) -> int:
        """Append lines; return the bytes of the file."""
        try:
            with os_errors_as_user_errors(self.path, OTHER_OUT):
                self._file.write(lines)
                self._file.flush()
        except UserError:
            self.close()
            raise
        self._digest.update(lines)
        return self._file.tell()

    def sync(self) -> int:
        """Wait until all lines are on the disk; return the bytes of the file."""
        with os_errors_as_user_errors(self.path, OTHER_OUT):
            os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        """Close the file; what a full disk does not take is dropped."""
        with suppress(OSError):
            self._file.close()

    def finish(self, types: Mapping[str, str], before: Callable[[Path], None] = lambda path: None) -> None:
        """Close the file and put it in place; for Parquet, convert it. `types` names Arrow's type of each column.

        `before` is called with the path of the complete file right before it takes the place of `out`.
        """
        self.sync()
        self.close()
        if self._form == "parquet":
            _convert_to_parquet(self.path, self._out, types, before)
            self.path.unlink()
        elif self.path != self._out:
            with os_errors_as_user_errors(self._out, OTHER_OUT):
                before(self.path)
                self.path.replace(self._out)
        else:
            before(self.path)


def lines_path(out: Path, form: Format, *, hidden: bool = False) -> Path:
    """The file of lines of the output `out`."""
    suffix = "csv" if form == "parquet" else form
    return out.with_name(f".{out.name}.rows.{suffix}") if hidden or form == "parquet" else out


def digest_lines(path: Path, offset: int) -> str | None:
    """The digest of the first `offset` bytes of a file of lines; None for a shorter file."""
    return digest_file(path, offset).hexdigest() if path.stat().st_size >= offset else None


def _convert_to_parquet(lines: Path, out: Path, types: Mapping[str, str], before: Callable[[Path], None]) -> None:
    """Convert block by block."""
    arrow, csv_reader, parquet = (importlib.import_module(f"pyarrow{name}") for name in ("", ".csv", ".parquet"))
    arrow_types: dict[str, Any] = {name: arrow.type_for_alias(text) for name, text in types.items()}
    options = csv_reader.ConvertOptions(column_types=arrow_types, strings_can_be_null=False)
    with atomic_path(out, OTHER_OUT) as temporary:
        reader = csv_reader.open_csv(
            lines, csv_reader.ReadOptions(block_size=PARQUET_BLOCK, use_threads=False), convert_options=options
        )
        with parquet.ParquetWriter(temporary, reader.schema) as writer:
            for batch in reader:
                writer.write_batch(batch)
        before(temporary)
