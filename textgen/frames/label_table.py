"""Label tables of videos: one row for each object in a frame, as NoScope's, in CSV or Parquet."""

from __future__ import annotations

import csv
import importlib
import math
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textgen.common.bounded_text import load_json, read_lines
from textgen.common.digests import digest_file
from textgen.common.errors import UserError
from textgen.common.parquet import import_pyarrow, reading_errors
from textgen.frames.settings import FrameTask

MAX_FRAME = 1 << 40  # in a table; larger numbers are no frames
MAX_NAMES = 6  # objects that a message names
MAX_ROWS = 200_000_000  # of a table: ten objects in each frame of a week
MAX_OBJECT = 1000  # characters of an object's name
MAX_CHUNK_BYTES = 256 << 20  # of a row group of a Parquet file, unpacked
ROWS = 65_536  # of a Parquet file, read at once


@dataclass(frozen=True)
class Labelled:
    """Every `every`-th frame from `first` to `last` (None: to the end of the video) was labelled."""

    every: int = 1
    first: int = 0
    last: int | None = None

    def check(self, path: Path, first: int, end: int) -> None:
        """Raise `UserError` unless frames `first` to `end` - 1 of a video were labelled, which no row could tell."""
        if first < self.first or (self.last is not None and end > self.last + self.every):
            last = end if self.last is None else min(self.last + 1, end)
            raise UserError(
                f"labels={path} is about frames {self.first:,} to {last - 1:,}, and the task takes {first:,} to"
                f" {end - 1:,}: give task.range=[{max(self.first, first)},{last}]"
            )


@dataclass(frozen=True)
class LabelTable:
    """The rows of a table that count.

    `frames` int64 (m,) are the frames with the object, in order, each once. `rows` counts all rows, `below` those of
    the object under the threshold. `objects` counts the rows of each object. `labelled` are the frames that were
    labelled at all: those that a detector was given.
    """

    frames: NDArray[np.int64]
    rows: int
    below: int
    objects: dict[str, int]
    labelled: Labelled

    @property
    def every(self) -> int:
        """The distance of labelled frames."""
        return self.labelled.every

    def presence(self, frames: int, window: int) -> NDArray[np.bool_]:
        """Whether the object is in each of the first `frames` frames of the video, (frames,).

        With a `window`, whether at least half of the labelled frames around, up to window / 2 on each side, have it.
        Frames between labelled ones have the label of the one before.
        """
        known = self.frames[(self.frames < frames) & (self.frames % self.every == 0)] // self.every
        count = -(-frames // self.every)
        present = np.zeros(count, np.bool_)
        present[known] = True
        window //= self.every
        if window > 1 and count:
            before, after = window // 2, window - window // 2  # window frames in all, but at the ends
            sums = np.concatenate([[0], np.cumsum(present)])
            places = np.arange(count)
            first, last = np.maximum(places - before, 0), np.minimum(places + after, count)
            present = 2 * (sums[last] - sums[first]) >= last - first
        return np.repeat(present, self.every)[:frames]

    def count_beyond(self, frames: int) -> int:
        """How many frames with the object lie behind the last frame of the video."""
        return int((self.frames >= frames).sum())


def read_label_table(path: Path, task: FrameTask) -> LabelTable:
    """Read the table of a `task`, row by row. Raises `UserError` that names the column or the row that is wrong."""
    columns = task.columns
    names = [name for name in (columns.frame, columns.object, columns.confidence) if name is not None]
    try:
        rows = _read_parquet(path, names) if path.suffix.lower() in (".parquet", ".pq") else _read_csv(path, names)
        table = _collect(rows, path, task)
    except OSError as error:
        raise UserError(f"labels={path} cannot be read: {error.strerror or error}") from None
    if columns.object and task.object not in table.objects:
        shown = ", ".join(f"{name} ({count:,} rows)" for name, count in Counter(table.objects).most_common(MAX_NAMES))
        raise UserError(f"labels={path} has no row of {task.object!r}; it has {shown or 'no rows'}: give task.object=…")
    return table


def _collect(rows: Iterator[tuple[int | str, Sequence[Any]]], path: Path, task: FrameTask) -> LabelTable:
    columns = task.columns
    has_object, has_confidence = columns.object is not None, columns.confidence is not None
    frames, objects, below, count = array("q"), Counter[str](), 0, 0
    for line, row in rows:
        count += 1
        if count > MAX_ROWS:
            raise _too_many_rows(path)
        name = ("" if row[1] is None else str(row[1])) if has_object else task.object  # null in Parquet: no name
        if len(name) > MAX_OBJECT:
            raise _too_long(path, f"row {line}")
        objects[name] += 1
        frame, confidence = _number(row[0]), _number(row[-1]) if has_confidence else 1.0
        if frame is None or frame != int(frame) or not 0 <= frame < MAX_FRAME:
            raise UserError(
                f"labels={path}, row {line}: {task.columns.frame} is {row[0]!r}, give a frame's number from 0"
            )
        if confidence is None or not 0 <= confidence <= 1:
            raise UserError(
                f"labels={path}, row {line}: {task.columns.confidence} is {row[-1]!r}, give one from 0 to 1"
            )
        if name != task.object:
            continue
        if confidence < task.threshold:
            below += 1
        else:
            frames.append(int(frame))
    present = np.unique(np.frombuffer(frames, np.int64)) if frames else np.empty(0, np.int64)
    return LabelTable(present, count, below, dict(objects), _read_labelled(path))


def _number(given: Any) -> float | None:
    """A finite number; None for anything else, also for true and false."""
    if isinstance(given, bool):
        return None
    try:
        number = float(given)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def about_path(table: Path) -> Path:
    """The file beside a table that `train.label_video` writes: what was labelled, and by what."""
    return table.with_name(f"{table.name}.json")


def read_about(path: Path) -> dict[str, Any] | None:
    """What the file beside the table `path` says; None without one. Raises `UserError` for one that is damaged."""
    about = about_path(path)
    try:
        found = load_json(about)
    except FileNotFoundError:
        return None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UserError(f"{about} is damaged: write the table again, or remove it")
    return found


def _read_labelled(path: Path) -> Labelled:
    """The frames of the file beside a table; all frames without such a file, or one that names no table."""
    found = read_about(path)
    if found is None:
        return Labelled()
    about = about_path(path)
    if found.get("table", "") not in ("", digest_file(path).hexdigest()):
        raise UserError(
            f"{about} is about another table than labels={path}: write the table again, or remove {about.name} if every"
            " frame was labelled"
        )
    try:
        labelled = Labelled(found["every"], found.get("first") or 0, found.get("last"))
        if not isinstance(labelled.every, int) or not 1 <= labelled.every < MAX_FRAME:
            raise ValueError
        if not all(isinstance(frame, int) for frame in (labelled.first, labelled.last or 0)):
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"{about} does not say which frames were labelled (every): write the table again, or remove it"
        ) from None
    return labelled


def _read_csv(path: Path, names: Sequence[str]) -> Iterator[tuple[int | str, Sequence[Any]]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(read_lines(file, f"labels={path}"))
        try:
            header = [name.strip() for name in next(reader, [])]
            places = _find_columns(header, names, path)
            for row in reader:
                if len(row) > max(places):
                    yield reader.line_num, [row[place].strip() for place in places]
                elif row:
                    raise UserError(f"labels={path}, line {reader.line_num} has {len(row)} of {len(header)} columns")
        except csv.Error as error:
            raise UserError(f"labels={path}, line {reader.line_num + 1} is no CSV: {error}") from None
        except UnicodeDecodeError as error:  # of a block that is read ahead: the line is not known
            raise UserError(
                f"labels={path} is no CSV in UTF-8 ({error.reason}): save it so, or name a Parquet file .parquet"
            ) from None


def _read_parquet(path: Path, names: Sequence[str]) -> Iterator[tuple[int | str, Sequence[Any]]]:
    _, pq = import_pyarrow()
    try:
        # Texts stay as they are in the file, each once: a long one may stand in every row.
        with pq.ParquetFile(path, read_dictionary=list(dict.fromkeys(names))) as file:
            _find_columns(file.schema_arrow.names, names, path)
            _check_amount(file.metadata, path)
            number = 0
            for batch in file.iter_batches(ROWS, columns=list(dict.fromkeys(names))):
                _check_lengths(batch, path)
                columns = [batch.column(batch.schema.get_field_index(name)).to_pylist() for name in names]
                for row in zip(*columns, strict=True):
                    number += 1
                    yield number, row
    except UserError:
        raise
    except reading_errors() as error:
        raise UserError(f"labels={path} is no Parquet file, or is damaged: {' '.join(str(error).split())}") from None


def _check_amount(metadata: Any, path: Path) -> None:
    """Refuse a Parquet file that a few kilobytes make many rows, or large ones, before they are read."""
    if metadata.num_rows > MAX_ROWS:
        raise _too_many_rows(path)
    for number in range(metadata.num_row_groups):
        size = metadata.row_group(number).total_byte_size  # pyarrow's size of one column ends the process if damaged
        if size > MAX_CHUNK_BYTES:
            raise UserError(
                f"labels={path} has {size:,} bytes in a row group, more than {MAX_CHUNK_BYTES >> 20} MiB: write it with"
                " smaller row groups"
            )


def _check_lengths(batch: Any, path: Path) -> None:
    """Refuse long texts before each row gets one of its own, and lists."""
    pa, _ = import_pyarrow()
    compute = importlib.import_module("pyarrow.compute")
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        values = column.dictionary if pa.types.is_dictionary(column.type) else column
        if pa.types.is_nested(values.type):
            raise UserError(f"labels={path}: column {name!r} holds {values.type}, give one value in each row")
        if not pa.types.is_primitive(values.type) and hasattr(values, "nbytes") and values.nbytes > MAX_OBJECT:
            longest = compute.max(compute.binary_length(values.cast(pa.large_binary()))).as_py()
            if (longest or 0) > 4 * MAX_OBJECT:  # bytes of UTF-8
                raise _too_long(path, "a row")


def _too_many_rows(path: Path) -> UserError:
    return UserError(f"labels={path} has more than {MAX_ROWS:,} rows: give the table of a part of the video")


def _too_long(path: Path, where: str) -> UserError:
    return UserError(f"labels={path}, {where}: an object's name has more than {MAX_OBJECT:,} characters: shorten it")


def _find_columns(header: Sequence[str], names: Sequence[str], path: Path) -> list[int]:
    if len(header) == 1 and (other := next((sign for sign in ";\t" if sign in header[0]), None)):
        raise UserError(f"labels={path} has columns between {other!r}: separate them by commas")
    if twice := [name for name in names if header.count(name) > 1]:
        raise UserError(f"labels={path} has {header.count(twice[0])} columns {twice[0]!r}: leave one of them")
    if missing := [name for name in names if name not in header]:
        raise UserError(
            f"labels={path} has no column {missing[0]!r}; it has {', '.join(header) or 'none'}: give task.columns.…"
        )
    return [header.index(name) for name in names]
