"""The index of a folder of crops, `index.csv`: which crop shows which region of which frame."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path, PureWindowsPath
from typing import NamedTuple

from textgen.common.bounded_text import read_lines
from textgen.common.errors import UserError

INDEX = "index.csv"
COLUMNS = ("file", "region", "frame", "time")


class IndexRow(NamedTuple):
    """A crop: its path within the folder, with /, its region's name, its frame's index, and that frame's seconds."""

    file: str
    region: str
    frame: int
    time: float


def crop_file(region: str, frame: int) -> str:
    """The path of a crop within its folder.

    >>> crop_file("timer", 12)
    'timer/0000012.png'
    """
    return f"{region}/{frame:07d}.png"


def format_rows(rows: Iterable[IndexRow]) -> str:
    """Rows as lines of CSV, without the head."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows((row.file, row.region, row.frame, f"{row.time:.6f}") for row in rows)
    return out.getvalue()


def _is_inside(file: str) -> bool:
    """Whether a path within the folder of an index stays there."""
    path = PureWindowsPath(file)  # which knows drives and both separators, on every system
    return not path.drive and not path.root and ".." not in path.parts


def read_index(folder: Path) -> tuple[IndexRow, ...]:
    """The crops of a folder that `textgen.cut` has written, in the order of frames.

    Raises `UserError` if there is no index, or it is not one, or a file of it is missing.
    """
    path = folder / INDEX
    if not path.is_file():
        raise UserError(f"{folder} has no {INDEX}: give a folder that python -m textgen.cut has written")
    rows: list[IndexRow] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(read_lines(file, str(path)))
            if not set(COLUMNS) <= set(reader.fieldnames or ()):
                raise UserError(f"{path} has the columns {reader.fieldnames}, not {', '.join(COLUMNS)}: cut again")
            for line in reader:
                try:
                    row = IndexRow(line["file"], line["region"], int(line["frame"]), float(line["time"]))
                except (TypeError, ValueError):
                    raise UserError(f"{path}, line {reader.line_num}: frame and time are numbers; cut again") from None
                if not _is_inside(row.file):
                    raise UserError(f"{path}, line {reader.line_num}: {row.file!r} is not inside the folder; cut again")
                if not (folder / row.file).is_file():
                    raise UserError(f"{path}, line {reader.line_num}: there is no {folder / row.file}; cut again")
                rows.append(row)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as CSV: {error}; cut again") from None
    return tuple(rows)
