"""How an ImageFolder lies on the disk: the names of its folders, its classes, splits and texts. docs/formats.md has it.

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
JUNK = ("thumbs.db", "desktop.ini", "__macosx")  # what systems leave in folders, beside names that begin with a dot
MAX_IMAGES = 1_000_000  # of one folder
MAX_TEXT_BYTES = 256 << 20  # of classes.txt and metadata.csv


class PictureFile(NamedTuple):
    """A picture file with its label. `name` is its path below the folder of its split, with slashes."""

    file: Path
    name: str
    label: int
    text: str  # "" if nobody said it
    digest: str = ""  # of the file's bytes, once they are read
    size: tuple[int, int] = (0, 0)  # height, width


def class_folders(classes: Sequence[str]) -> list[str]:
    """Folder names, safe on every system, that no two classes share and that an alphabetical listing keeps in order.

    >>> class_folders(["a/b", "A", ".."])
    ['0_a%2Fb', '1_A', '2_%2E%2E']
    """
    digits = len(str(len(classes) - 1))
    return [f"{number:0{digits}}_{_safe(name)}" for number, name in enumerate(classes)]


def _safe(name: str) -> str:
    """For people to recognise, the first 80 characters; the number before it is what tells names apart."""
    cut = re.sub(r"%.?$", "", quote(name, safe="")[:80])
    bare = cut.rstrip(".")  # Windows drops dots at the end
    return bare + "%2E" * (len(cut) - len(bare))


def find_splits(path: Path) -> dict[str, Path]:
    """The folders of the splits, in order; with the name "" the whole folder, if it is not divided into splits."""
    tops, _ = list_folder(path)
    named = [folder for folder in tops if folder.name.lower() in SPLIT_NAMES and list_folder(folder)[0]]
    if not named:
        return {"": path}
    found: dict[str, Path] = {}
    for folder in tops:
        split = SPLIT_NAMES.get(folder.name.lower(), folder.name)
        if split not in SPLIT_NAMES and not re.fullmatch(r"test_[A-Za-z0-9_]{1,60}", split):
            raise UserError(f"{folder} is no split: beside {named[0].name} stand only train, val, test and test_…")
        if split in found:
            raise UserError(f"{path} holds {found[split].name} and {folder.name}, which are one split: keep one")
        found[split] = folder
    if "train" not in found:
        raise UserError(f"{path} holds {named[0].name} but no train: name the folder of the training images train")
    order = ("train", "val", "test")
    return {name: found[name] for name in (*order, *sorted(found.keys() - set(order))) if name in found}


def list_folder(folder: Path) -> tuple[list[Path], list[Path]]:
    """The folders and the other entries of a folder, in natural order, without hidden ones and junk of the system."""
    folders: list[Path] = []
    files: list[Path] = []
    try:
        with os.scandir(folder) as found:
            for entry in found:
                if not entry.name.startswith(".") and entry.name.lower() not in JUNK:
                    (folders if entry.is_dir() else files).append(Path(entry.path))
                if len(folders) + len(files) > MAX_IMAGES:
                    raise UserError(f"{folder} holds more than {MAX_IMAGES:,} files: give fewer")
    except OSError as error:
        raise UserError(f"folder {folder} cannot be read: {error.strerror} (seen from {Path.cwd()})") from None
    return sorted(folders, key=lambda path: natural_order(path.name)), sorted(
        files, key=lambda path: natural_order(path.name)
    )


def natural_order(name: str) -> tuple[Any, ...]:
    """A key that sorts numbers by value and "other" last.

    >>> sorted(["other", "10", "2", "b"], key=natural)
    ['2', '10', 'b', 'other']
    """
    parts = re.split(r"([0-9]+)", name)
    return name == OTHER, [int(part) if odd % 2 else part.casefold() for odd, part in enumerate(parts)], name


def find_classes(
    path: Path, folders: Iterable[Path], given: Sequence[str] | None
) -> tuple[tuple[str, ...], dict[str, str]]:
    """The classes in their order, and the class of every folder's name in `folders`.

    The order is that of `given`, else of `<path>/classes.txt`, else the natural one of the names. A folder has the name
    of its class, or the number and the safe name that `class_folders` gives it.
    """
    found = {folder.name for split in folders for folder in list_folder(split)[0]}
    listed = _lines(path / "classes.txt") or list(given or ())
    numbered = dict(zip(class_folders(listed), listed, strict=True))
    of_folder = {name: name for name in found}
    if not found <= set(listed) and found <= numbered.keys():
        of_folder = numbered
    classes = tuple(given or listed or sorted(found, key=natural_order))
    for name, count in Counter(classes).items():
        check_line(name, f"class {name!r} of {path}")
        if count > 1 or not name:
            raise UserError(
                f"class {name!r} of {path} is {'listed twice' if name else 'empty'}: give each its own name"
            )
    for folder in sorted(found, key=natural_order):
        if of_folder[folder] not in classes:
            near = difflib.get_close_matches(of_folder[folder], classes, 1)
            known = ", ".join(classes[:40]) + (", …" if len(classes) > 40 else "")
            hint = f"did you mean {near[0]!r}?" if near else f"known are {known}"
            raise UserError(f"the folder {folder!r} in {path} is none of the classes; {hint}")
    return classes, of_folder


def list_pictures(folder: Path, classes: Sequence[str], of_folder: dict[str, str]) -> list[PictureFile]:
    """The pictures below a folder of class folders: those of `metadata.csv` in its order, then the others."""
    number = {name: label for label, name in enumerate(classes)}
    folders, files = list_folder(folder)
    if stray := [file for file in files if file.suffix.lower() in SUFFIXES]:
        raise UserError(f"{stray[0]} lies beside the folders of the classes: put it into that of its class")
    found: dict[str, PictureFile] = {}
    for of_class in sorted(folders, key=lambda path: number[of_folder[path.name]]):
        inner, pictures = list_folder(of_class)
        if inner:
            raise UserError(f"{inner[0]} is a folder within that of a class: pictures lie right in the class's folder")
        for file in pictures:
            name = f"{of_class.name}/{file.name}"
            found[name] = PictureFile(file, name, number[of_folder[of_class.name]], "")
        if len(found) > MAX_IMAGES:
            raise UserError(f"{folder} holds more than {MAX_IMAGES:,} pictures: give fewer")
    table = folder / "metadata.csv"
    rows = []
    for name, text in _texts(table):
        if name not in found:
            raise UserError(f"{table} lists {name!r} twice, or the file is not there: mend the table, or remove it")
        rows.append(found.pop(name)._replace(text=text))
    return [*rows, *found.values()]


def _texts(table: Path) -> list[tuple[str, str]]:
    """File names and texts, in the order of a metadata.csv with columns file_name and text."""
    if not table.exists():
        return []
    reader = csv.DictReader(io.StringIO(_read(table)), strict=True)
    try:
        if "file_name" not in (reader.fieldnames or ()):
            raise UserError(f"{table} has no column file_name: its first line names the columns, file_name,label,text")
        rows = [(posixpath.normpath(row["file_name"] or ""), row.get("text") or "") for row in reader]
    except csv.Error as error:
        raise UserError(f"{table} cannot be read after line {reader.line_num}: {error}") from None
    for name, text in rows:
        check_line(text, f"the text {text!r} of {name!r} in {table}")
    return rows


def _lines(file: Path) -> list[str]:
    return _read(file).removesuffix("\n").split("\n") if file.exists() else []


def _read(file: Path) -> str:
    try:
        if file.stat().st_size > MAX_TEXT_BYTES:
            raise UserError(f"{file} has more than {MAX_TEXT_BYTES >> 20} MiB: it is no list of this folder")
        return file.read_text(encoding="utf-8-sig")  # spreadsheets and editors put a mark of their own before UTF-8
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{file} is no UTF-8: save it as UTF-8") from None


def check_line(text: str, what: str) -> None:
    """Raise `UserError` for a text that is more than one line, as which texts and classes are stored."""
    if any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in text):
        raise UserError(f"{what} holds a control character: texts and classes are one line each")
