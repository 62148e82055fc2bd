"""The layout of an ImageFolder: its splits, class folders, pictures and texts. docs/how-to/formats.md describes it.

Nothing here opens a picture.
"""

from __future__ import annotations

import csv
import difflib
import io
import os
import posixpath
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from textgen.common.errors import UserError
from textgen.common.pictures import SUFFIXES
from textgen.spec.parser import OTHER

SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
JUNK = ("thumbs.db", "desktop.ini", "__macosx")  # system files, ignored like names that begin with a dot
MAX_IMAGES = 1_000_000  # per folder
MAX_TEXT_BYTES = 256 << 20  # size limit of classes.txt and metadata.csv


class PictureFile(NamedTuple):
    """A picture file with its label. `name` is its path relative to the folder of its split, with slashes."""

    file: Path
    name: str
    label: int
    text: str  # "" if unknown
    digest: str = ""  # SHA-256 of the file, once read
    size: tuple[int, int] = (0, 0)  # height, width


def class_folders(classes: Sequence[str]) -> list[str]:
    """Folder names of classes: valid on every system, unique, and in the order of the classes when sorted.

    >>> class_folders(["a/b", "A", ".."])
    ['0_a%2Fb', '1_A', '2_%2E%2E']
    """
    digits = len(str(len(classes) - 1))
    return [f"{number:0{digits}}_{_safe_name(name)}" for number, name in enumerate(classes)]


def _safe_name(name: str) -> str:
    """The first 80 characters of a percent-encoded name; they need not be unique."""
    quoted = re.sub(r"%.?$", "", quote(name, safe="")[:80])
    stem = quoted.rstrip(".")  # Windows drops dots at the end
    return stem + "%2E" * (len(quoted) - len(stem))


def find_splits(path: Path) -> dict[str, Path]:
    """Find the folders of the splits, train, val and test first; a folder without splits has the name ""."""
    folders, _ = list_folder(path)
    known = [folder for folder in folders if folder.name.lower() in SPLIT_NAMES and list_folder(folder)[0]]
    if not known:
        return {"": path}
    found: dict[str, Path] = {}
    for folder in folders:
        split = SPLIT_NAMES.get(folder.name.lower(), folder.name)
        if split not in SPLIT_NAMES and not re.fullmatch(r"test_[A-Za-z0-9_]{1,60}", split):
            raise UserError(f"{folder} is not a split: beside {known[0].name} only train, val, test and test_… may be")
        if split in found:
            raise UserError(f"{path} holds {found[split].name} and {folder.name}, names of one split: keep one")
        found[split] = folder
    if "train" not in found:
        raise UserError(f"{path} holds {known[0].name} but no train: name the folder of the training images train")
    order = ("train", "val", "test")
    return {name: found[name] for name in (*order, *sorted(found.keys() - set(order))) if name in found}


def list_folder(folder: Path) -> tuple[list[Path], list[Path]]:
    """List the folders and the files in a folder in natural order, without hidden and system files."""
    folders: list[Path] = []
    files: list[Path] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.startswith(".") and entry.name.lower() not in JUNK:
                    (folders if entry.is_dir() else files).append(Path(entry.path))
                if len(folders) + len(files) > MAX_IMAGES:
                    raise UserError(f"{folder} holds more than {MAX_IMAGES:,} files: give fewer")
    except OSError as error:
        raise UserError(f"folder {folder} cannot be read: {error.strerror} (current folder: {Path.cwd()})") from None
    return sorted(folders, key=lambda path: natural_order(path.name)), sorted(
        files, key=lambda path: natural_order(path.name)
    )


def natural_order(name: str) -> tuple[Any, ...]:
    """Sorting key: numbers by value, "other" last.

    >>> sorted(["other", "10", "2", "b"], key=natural_order)
    ['2', '10', 'b', 'other']
    """
    parts = re.split(r"([0-9]+)", name)
    return name == OTHER, [int(part) if odd % 2 else part.casefold() for odd, part in enumerate(parts)], name


def find_classes(
    path: Path, folders: Iterable[Path], given: Sequence[str] | None
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Find the classes in their order, and the class of each folder name in `folders`.

    The order is that of `given`, else of `<path>/classes.txt`, else the natural order of the folder names. A folder is
    named after its class, or as `class_folders` names it.
    """
    found = {folder.name for split in folders for folder in list_folder(split)[0]}
    listed = _read_lines(path / "classes.txt") or list(given or ())
    numbered = dict(zip(class_folders(listed), listed, strict=True))
    class_of_folder = {name: name for name in found}
    if not found <= set(listed) and found <= numbered.keys():
        class_of_folder = numbered
    classes = tuple(given or listed or sorted(found, key=natural_order))
    for name, count in Counter(classes).items():
        check_line(name, f"class {name!r} of {path}")
        if count > 1 or not name:
            problem = "listed twice" if name else "empty"
            raise UserError(f"class {name!r} of {path} is {problem}: give each class its own name")
    for folder in sorted(found, key=natural_order):
        if class_of_folder[folder] not in classes:
            near = difflib.get_close_matches(class_of_folder[folder], classes, 1)
            known = ", ".join(classes[:40]) + (", …" if len(classes) > 40 else "")
            hint = f"did you mean {near[0]!r}?" if near else f"known are {known}"
            raise UserError(f"the folder {folder!r} in {path} is not one of the classes; {hint}")
    return classes, class_of_folder


def list_pictures(folder: Path, classes: Sequence[str], class_of_folder: dict[str, str]) -> list[PictureFile]:
    """List the pictures in class folders: first those of `metadata.csv` in its order, then the others."""
    number = {name: label for label, name in enumerate(classes)}
    folders, files = list_folder(folder)
    if stray := [file for file in files if file.suffix.lower() in SUFFIXES]:
        raise UserError(f"{stray[0]} lies beside the class folders: move it into the folder of its class")
    found: dict[str, PictureFile] = {}
    for class_folder in sorted(folders, key=lambda path: number[class_of_folder[path.name]]):
        inner, pictures = list_folder(class_folder)
        if inner:
            raise UserError(f"{inner[0]} is a folder inside a class folder: move its pictures up into that folder")
        for file in pictures:
            name = f"{class_folder.name}/{file.name}"
            found[name] = PictureFile(file, name, number[class_of_folder[class_folder.name]], "")
        if len(found) > MAX_IMAGES:
            raise UserError(f"{folder} holds more than {MAX_IMAGES:,} pictures: give fewer")
    table = folder / "metadata.csv"
    rows = []
    for name, text in _read_texts(table):
        if name not in found:
            raise UserError(f"{table} lists {name!r} twice, or the file does not exist: correct or remove the table")
        rows.append(found.pop(name)._replace(text=text))
    return [*rows, *found.values()]


def _read_texts(table: Path) -> list[tuple[str, str]]:
    """Read the file names and texts of a metadata.csv with the columns file_name and text, in its order."""
    if not table.exists():
        return []
    reader = csv.DictReader(io.StringIO(_read_text(table)), strict=True)
    try:
        if "file_name" not in (reader.fieldnames or ()):
            raise UserError(f"{table} has no column file_name: its first line names the columns, file_name,label,text")
        rows = [(posixpath.normpath(row["file_name"] or ""), row.get("text") or "") for row in reader]
    except csv.Error as error:
        raise UserError(f"{table} cannot be read after line {reader.line_num}: {error}") from None
    for name, text in rows:
        check_line(text, f"the text {text!r} of {name!r} in {table}")
    return rows


def _read_lines(file: Path) -> list[str]:
    return _read_text(file).removesuffix("\n").split("\n") if file.exists() else []


def _read_text(file: Path) -> str:
    try:
        if file.stat().st_size > MAX_TEXT_BYTES:
            raise UserError(f"{file} has more than {MAX_TEXT_BYTES >> 20} MiB: it cannot be a list of this folder")
        return file.read_text(encoding="utf-8-sig")  # spreadsheets and editors write a byte order mark
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{file} is not UTF-8: save it as UTF-8") from None


def check_line(text: str, what: str) -> None:
    """Raise `UserError` for a text with control characters or line breaks; texts are stored one per line."""
    if any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in text):
        raise UserError(f"{what} holds a control character: texts and classes are one line each")
