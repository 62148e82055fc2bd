"""Labels files: tables of the pictures of a folder and the text that each shows. docs/how-to/formats.md describes them.

Nothing here opens a picture.
"""

from __future__ import annotations

import csv
import io
import json
import posixpath
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from textgen.common.errors import UserError
from textgen.common.pictures import SUFFIXES
from textgen.dataset.text_files import MAX_IMAGES, check_line, read_text, to_nfc
from textgen.spec.automaton import Automaton
from textgen.spec.label_fields import ABSENT
from textgen.spec.parser import Spec
from textgen.spec.values import OTHER

FILE_COLUMNS = ("file_name", "file", "filename")  # the first is that of Hugging Face, the last that of EasyOCR
TEXT_COLUMNS = ("text", "words")
FORM = f"a table with the columns {FILE_COLUMNS[0]} and {TEXT_COLUMNS[0]}"
MAX_SHOWN = 3  # lines in a message


class LabelLine(NamedTuple):
    """A line of a labels file: its number from 1, the path of a picture with slashes and in NFC, and the text."""

    number: int
    name: str
    text: str | None  # None if there is no column of texts


def read_labels(file: Path, spec: Spec | None = None) -> list[LabelLine]:
    """Read a labels file; its suffix decides its form: .csv, .tsv and .jsonl name their columns, .txt has none.

    A table without texts that has a column for each field of `spec` gives the texts that their values make up. Raises
    `UserError` that names the line for whatever is not in that form, for paths out of the folder, for a
    picture that is listed twice, and for more than `MAX_IMAGES` pictures.
    """
    lines: dict[str, LabelLine] = {}
    for number, given, text in _parse(file, spec):
        where = f"{file}, line {number},"
        name = _path_inside(given, where)
        check_line(text or "", f"the text {text!r} of {name!r} in {file}")
        if name in lines:
            raise UserError(f"{where} lists {name!r} twice, first in line {lines[name].number}: remove one of them")
        lines[name] = LabelLine(number, name, text)
        if len(lines) > MAX_IMAGES:
            raise UserError(f"{file} lists more than {MAX_IMAGES:,} pictures: give fewer")
    return list(lines.values())


def read_classes(file: Path, spec: Spec | None) -> list[tuple[LabelLine, str]]:
    """Read a labels file, and find the class of each text: that of `spec`, or without one the text itself.

    Texts are stripped and in NFC. The text "other" is of the class other, and so are the texts that the key `other` of
    the game describes. Raises `UserError` for lines without a text, and for texts that `spec` does not describe: nobody
    said that their crops show no value of the label.
    """
    lines = [line._replace(text=line.text and to_nfc(line.text.strip())) for line in read_labels(file, spec)]
    if missing := [line.number for line in lines if line.text is None]:
        names = ", ".join(spec.fields.names) if spec and spec.is_joint else ""
        decides = spec and spec.fields.pattern is not None
        fields = f", or all of {names}" if names and decides else ""
        alone = f" ({names} do not decide the texts of {spec.text!r})" if spec and names and not decides else ""
        raise UserError(
            f"{file} has no column {TEXT_COLUMNS[0]}{fields} in line {missing[0]}: it needs {FORM}{fields}{alone}"
        )
    if empty := [line for line in lines if not line.text]:
        raise UserError(
            f"{file} has {len(empty):,} of {len(lines):,} lines without a text, the first is line {empty[0].number},"
            f" {empty[0].name!r}: write the text, or {OTHER} where a crop shows none"
        )
    classify = _text_classifier(spec)
    classes = [classify(line.text or "") for line in lines]
    if unknown := [line for line, name in zip(lines, classes, strict=True) if name is None]:
        shown = ", ".join(f"{str(line.text)[:80]!r} in line {line.number}" for line in unknown[:MAX_SHOWN])
        more = ", …" if len(unknown) > MAX_SHOWN else ""
        raise UserError(
            f"{file} has {len(unknown):,} of {len(lines):,} texts that the spec {spec and spec.text!r} does not"
            f" describe ({shown}{more}): correct or remove these lines, or write {OTHER} where a crop shows no value of"
            " the label"
        )
    return [(line, name) for line, name in zip(lines, classes, strict=True) if name is not None]


def looks_like_labels(file: Path) -> bool:
    """Whether the first line of `file` has the columns of a labels file, or begins with the name of a picture."""
    suffix = file.suffix.lower()
    try:
        first = next(line for _, line in _number_lines(read_text(file)))
        if suffix == ".txt":
            return next(_parse_lines(file, first))[1].lower().endswith(SUFFIXES)
        names = list(_parse_json(file, 1, first)) if suffix == ".jsonl" else next(_csv_reader(file, first), [])
        return len(_choose_columns(names)) == 2
    except (UserError, csv.Error, StopIteration):
        return False


def _text_classifier(spec: Spec | None) -> Callable[[str], str | None]:
    if spec is None:
        return lambda text: text
    automaton = Automaton()
    others = [automaton.add(items) for items in spec.others.options]

    def classify(text: str) -> str | None:
        label = spec.answer_of(text)
        if label != OTHER or text == OTHER or any(automaton.find_labels(start, text) for start in others):
            return label
        return None

    return classify


Parsed = Iterator[tuple[int, str, str | None]]  # number of the line, path of the picture, text


def _parse(file: Path, spec: Spec | None) -> Parsed:
    content = read_text(file)
    parsers = {".csv": _parse_table, ".tsv": _parse_table, ".jsonl": _parse_json_lines, ".txt": _parse_lines}
    return parsers[file.suffix.lower()](file, content, spec)


def _parse_table(file: Path, content: str, spec: Spec | None) -> Parsed:
    reader = _csv_reader(file, content)
    try:
        header: list[str] = next(filter(None, reader), [])
        columns = _require_columns(file, header, 1)
        at = {key: header.index(name) for key, name in columns.items()}
        for row in filter(None, reader):
            if len(row) != len(header):
                raise UserError(
                    f"{file}, line {reader.line_num}, has {len(row)} fields and the first line {len(header)}: put"
                    " a text that contains the separator between double quotes"
                )
            text = (
                row[at["text"]]
                if "text" in at
                else _join(spec, dict(zip(header, row, strict=True)), f"{file}, line {reader.line_num},")
            )
            yield reader.line_num, row[at["file"]], text
    except csv.Error as error:
        raise UserError(
            f"{file} cannot be read after line {reader.line_num}: {error}; correct the quotes there"
        ) from None


def _csv_reader(file: Path, content: str) -> Any:
    delimiter = "\t" if file.suffix.lower() == ".tsv" else ","
    return csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True)


def _parse_json_lines(file: Path, content: str, spec: Spec | None) -> Parsed:
    for number, line in _number_lines(content):
        row = _parse_json(file, number, line)
        columns = _require_columns(file, list(row), number)
        name, text = row[columns["file"]], row[columns["text"]] if "text" in columns else None
        text = text if "text" in columns else _join(spec, row, f"{file}, line {number},")
        for value in (name,) if text is None and "text" not in columns else (name, text):
            if not isinstance(value, str):
                raise UserError(f"{file}, line {number}, has {value!r} where a text is needed: write it in quotes")
        yield number, name, text


def _number_lines(content: str) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, with their numbers from 1; one at a time, since a file may have very many."""
    lines = enumerate(io.StringIO(content), 1)
    return ((number, line.removesuffix("\n")) for number, line in lines if line.strip())


def _parse_json(file: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file}, line {number}, is not JSON: {error}") from None
    if not isinstance(row, dict):
        raise UserError(f'{file}, line {number}, is no JSON object: write {{"file_name": "…", "text": "…"}}')
    return row


def _parse_lines(file: Path, content: str, spec: Spec | None = None) -> Parsed:
    """Lines without a header: path, tab, text, as PaddleOCR writes them, or name, space, text, as trdg does."""
    separator = None
    for number, line in _number_lines(content):
        separator = separator or ("\t" if "\t" in line else " ")  # the first line decides
        name, found, text = line.partition(separator)
        if not found:
            missing = "tab" if separator == "\t" else "space"
            raise UserError(f"{file}, line {number}, has no {missing} between file and text: {line[:80]!r}")
        if separator == " " and not name.lower().endswith(SUFFIXES):
            raise UserError(
                f"{file}, line {number}, names {name[:80]!r}, which is no picture: if the name has blanks, put a tab"
                " between file and text in all lines"
            )
        yield number, name, text


def _join(spec: Spec | None, row: Mapping[str, Any], where: str) -> str | None:
    """The text that a row's values of all fields make up; None if it lacks one, or they do not decide the text.

    Raises `UserError` for a value that is no class of its field, and for values that no text has together.
    """
    if spec is None or spec.fields.is_plain or spec.fields.pattern is None:
        return None
    fields, given = spec.fields, {name.strip(): value for name, value in row.items()}
    if not given.keys() >= {*fields.names}:
        return None
    values = tuple(to_nfc(str(given[name]).strip()) for name in fields.names)
    for field, value in zip(fields.fields, values, strict=True):
        if value not in field.classes:
            shown = [name for name in field.classes if name not in (ABSENT, OTHER)]
            rest = [name for name in field.classes if name in (ABSENT, OTHER)]
            some = ", ".join([*shown[:3], *["…"] * (len(shown) > 3), *rest])
            raise UserError(f"{where} has {field.name} = {value!r}, which is none of its classes: write {some}")
    if OTHER in values and {*values} != {OTHER}:
        raise UserError(f"{where} is {OTHER!r} in some fields only: write it in all of them, or in none")
    text = fields.join(values)
    read = fields.values(spec.labels_of(text))
    if values != read and OTHER not in read:
        name, value, own = next(of for of in zip(fields.names, values, read, strict=True) if of[1] != of[2])
        raise UserError(
            f"{where} has {name} = {value!r}, but the text {text!r}, which all values make up, has {own!r}: correct one"
            " of them"
        )
    return text


def _choose_columns(names: Sequence[str]) -> dict[str, str]:
    """Map "file" and "text", as far as they are among the columns, to the name of the column."""
    given = {name.strip().lower(): name for name in reversed(names)}
    aliases = {"file": FILE_COLUMNS, "text": TEXT_COLUMNS}
    return {
        key: given[found[0]] for key, known in aliases.items() if (found := [name for name in known if name in given])
    }


def _require_columns(file: Path, names: Sequence[str], number: int) -> dict[str, str]:
    columns = _choose_columns(names)
    if twice := [name for name in columns.values() if list(names).count(name) > 1]:
        raise UserError(f"{file}, line {number}, has the column {twice[0]!r} more than once: leave one")
    if "file" not in columns:
        has = ", ".join(map(repr, names[:10])) or "nothing"
        raise UserError(f"{file} has no column {FILE_COLUMNS[0]}: line {number} has {has}, but it needs {FORM}")
    return columns


def _path_inside(given: str, where: str) -> str:
    name = posixpath.normpath(to_nfc(given.strip()).replace("\\", "/"))
    if not given.strip() or name == ".":
        raise UserError(f"{where} names no picture: write its path")
    if name.startswith("/") or re.match("[A-Za-z]:/", name) or name.split("/")[0] == "..":
        raise UserError(f"{where} names {given!r}, which is not inside the folder: give paths relative to the folder")
    return name
