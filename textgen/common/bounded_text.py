"""JSON and lines of text of unknown origin, read within bounds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from textgen.common.errors import UserError

MAX_JSON_BYTES = 32 << 20  # of a file
MAX_JSON_MEMORY = 256 << 20  # about what lists, mappings and values take when they are read
LIST, MAPPING, VALUE = 72, 240, 64  # bytes in memory of what [, { and a comma begin
MAX_LINE = 1 << 20  # characters


def parse_json(data: bytes) -> Any:
    """The content of JSON. Raises `ValueError` also for what is nested too deep, or takes too much memory."""
    memory = LIST * data.count(b"[") + MAPPING * data.count(b"{") + VALUE * data.count(b",")
    if len(data) > MAX_JSON_BYTES or memory > MAX_JSON_MEMORY:
        raise ValueError("it is too large")
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def load_json(path: Path) -> Any:
    """The content of a JSON file. Raises `OSError`, and `ValueError` as `parse_json` does."""
    with path.open("rb") as file:
        return parse_json(file.read(MAX_JSON_BYTES + 1))


def read_lines(file: TextIO, name: str) -> Iterator[str]:
    """The lines of a text file, one in memory at a time. Raises `UserError` for a line longer than `MAX_LINE`."""
    number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            raise UserError(f"{name}, line {number} has more than {MAX_LINE:,} characters: it is no table, or damaged")
        yield line
