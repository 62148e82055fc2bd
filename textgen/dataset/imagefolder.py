"""The layout of a folder of pictures: its splits, classes, pictures and texts. docs/how-to/formats.md describes it.

Pictures lie in class folders, or a labels file lists them. Nothing here opens a picture.
"""

from __future__ import annotations

import difflib
import os
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from textgen.common.errors import UserError
from textgen.common.pictures import SUFFIXES
from textgen.dataset.labels_file import FORM, LabelLine, looks_like_labels, read_classes, read_labels
from textgen.dataset.text_files import MAX_IMAGES, check_line, read_text, to_nfc
from textgen.spec.parser import Spec
from textgen.spec.values import OTHER

SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
JUNK = ("thumbs.db", "desktop.ini", "__macosx")  # system files, ignored like names that begin with a dot
LABELS_FILE = re.compile(r"(metadata|labels|rec_gt)(?:_(\w+))?\.(csv|tsv|jsonl|txt)", re.ASCII | re.IGNORECASE)
TEST_SPLIT = re.compile(r"test_[A-Za-z0-9_]{1,60}")
# A number; a sign before it counts only at the beginning and after a blank: "HP -5", but not "2-1" and "a-1".
SIGNED_NUMBER = re.compile(r"((?:(?<!\S)[+\-\u2212])?(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?)")


class PictureFile(NamedTuple):
    """A picture file with its label. `name` is its path from the folder of its split, with slashes and in NFC."""

    file: Path
    name: str
    label: int | tuple[int, ...]  # one number, or one for each field
    text: str  # "" if unknown
    digest: str = ""  # SHA-256 of the file, once read
    size: tuple[int, int] = (0, 0)  # height, width


class SplitSource(NamedTuple):
    """Where the pictures of a split are: in the class folders of `folder`, or in `folder` as `labels` lists them."""

    folder: Path
    labels: Path | None = None


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


def find_splits(path: Path) -> dict[str, SplitSource]:
    """Find the splits, train, val and test first; a folder without splits has the name "".

    A split is a folder, or a labels file such as rec_gt_train.txt.
    """
    if files := find_labels_files(path):
        found = {split: SplitSource(path, file) for split, file in files.items()}
        return found if "" in found else _order_splits(path, found, "labels file")
    folders, _ = list_folder(path)
    known = [folder for folder in folders if folder.name.lower() in SPLIT_NAMES and _holds_crops(folder)]
    if not known:
        return {"": SplitSource(path)}
    names: dict[str, Path] = {}
    for folder in folders:
        split = SPLIT_NAMES.get(folder.name.lower(), folder.name)
        if split not in SPLIT_NAMES and not TEST_SPLIT.fullmatch(split):
            raise UserError(f"{folder} is not a split: beside {known[0].name} only train, val, test and test_… may be")
        if split in names:
            raise UserError(f"{path} holds {names[split].name} and {folder.name}, names of one split: keep one")
        names[split] = folder
    found = {split: find_source(folder) for split, folder in names.items()}
    return _order_splits(path, found, "folder")


def find_source(folder: Path) -> SplitSource:
    """Find out how the pictures of one split are labelled: by class folders or by a labels file."""
    files = find_labels_files(folder)
    if files.keys() - {""}:
        named = ", ".join(file.name for file in files.values())
        raise UserError(f"{folder} holds {named}: a labels file for each split, but one split is needed here")
    return SplitSource(folder, files.get(""))


def _holds_crops(folder: Path) -> bool:
    return bool(list_folder(folder)[0] or find_labels_files(folder))


def _order_splits(path: Path, found: Mapping[str, SplitSource], kind: str) -> dict[str, SplitSource]:
    if "train" not in found:
        source = next(iter(found.values()))
        name = (source.labels if kind == "labels file" and source.labels else source.folder).name
        raise UserError(f"{path} holds {name} but no train: name the {kind} of the training images train")
    order = ("train", "val", "test")
    return {name: found[name] for name in (*order, *sorted(found.keys() - set(order))) if name in found}


def find_labels_files(folder: Path) -> dict[str, Path]:
    """Find the labels file of `folder`, with the name "", or those of its splits; none if it holds class folders.

    A file with such a name is one if pictures lie beside it, or if it lists those of subfolders; metadata.csv gives
    only the texts of pictures in class folders. Raises `UserError` for two labels files of one split.
    """
    folders, files = list_folder(folder)
    pictures = [file.name for file in files if file.suffix.lower() in SUFFIXES]
    found: dict[str, Path] = {}
    for file in files:
        if not (match := LABELS_FILE.fullmatch(file.name)):
            continue
        split = SPLIT_NAMES.get((match[2] or "").lower(), match[2] or "")
        if split and split not in SPLIT_NAMES and not TEST_SPLIT.fullmatch(split):
            continue
        if not (pictures or looks_like_labels(file)):
            continue
        if match[1].lower() == "metadata" and not (pictures and (not folders or _names_one(file, pictures))):
            continue
        if other := found.get(split) or (found.get("") if split else next(iter(found.values()), None)):
            raise UserError(f"{folder} holds the labels files {other.name} and {file.name}: keep one")
        found[split] = file
    return found


def _names_one(file: Path, pictures: Sequence[str]) -> bool:
    """Whether a table beside class folders lists pictures beside them; else they have strayed there."""
    names = {to_nfc(name) for name in pictures}
    return any(line.name in names for line in read_labels(file))


def list_folder(folder: Path) -> tuple[list[Path], list[Path]]:
    """List the folders and the files in a folder in natural order, without hidden and system files.

    Raises `UserError` for two names that differ only in how their characters are composed.
    """
    entries: dict[str, os.DirEntry[str]] = {}  # by the name in NFC
    try:
        with os.scandir(folder) as scanned:
            for entry in scanned:
                if entry.name.startswith(".") or entry.name.lower() in JUNK:
                    continue
                other = entries.setdefault(to_nfc(entry.name), entry)
                if other is not entry:
                    names = " and ".join(sorted(ascii(name) for name in (other.name, entry.name)))
                    raise UserError(f"{folder} holds {names}, which are one name in two encodings: rename one")
                if len(entries) > MAX_IMAGES:
                    raise UserError(f"{folder} holds more than {MAX_IMAGES:,} files: give fewer")
            folders = {name for name, entry in entries.items() if entry.is_dir()}
    except OSError as error:
        raise UserError(f"folder {folder} cannot be read: {error.strerror} (current folder: {Path.cwd()})") from None
    ordered = [(name, Path(entries[name].path)) for name in sorted(entries, key=natural_order)]
    return [path for name, path in ordered if name in folders], [path for name, path in ordered if name not in folders]


def natural_order(name: str) -> tuple[Any, ...]:
    """Sorting key: numbers by value, "other" last.

    >>> sorted(["other", "10", "2", "b"], key=natural_order)
    ['2', '10', 'b', 'other']
    """
    parts = re.split(r"([0-9]+)", name)
    return name == OTHER, [_by_value(part) if odd % 2 else part.casefold() for odd, part in enumerate(parts)], name


def _by_value(digits: str) -> tuple[int, str]:
    """Sorting key of a number of any length: int() takes 4300 digits."""
    significant = digits.lstrip("0")
    return len(significant), significant


def order_classes(names: Iterable[str]) -> tuple[str, ...]:
    """Order class names naturally, and by the value of whole numbers if one of them is negative.

    Without a negative number the digits before and after a point are compared as numbers of their own, as for versions.

    >>> order_classes(["other", "1.25", "-10", "1.5", "a", "-1", "0"])
    ('-10', '-1', '0', '1.25', '1.5', 'a', 'other')
    """
    parts = {name: SIGNED_NUMBER.split(name) for name in names}
    if not any(number[0] in "-\u2212" for split in parts.values() for number in split[1::2]):
        return tuple(sorted(parts, key=natural_order))

    def key(name: str) -> tuple[Any, ...]:
        return name == OTHER, [_value(p) if odd % 2 else p.casefold() for odd, p in enumerate(parts[name])], name

    return tuple(sorted(parts, key=key))


def _value(number: str) -> Decimal:
    return Decimal(number.replace("\u2212", "-").replace(",", ""))


def list_crops(
    path: Path, sources: Mapping[str, SplitSource], given: Sequence[str] | None = None, spec: Spec | None = None
) -> tuple[tuple[str, ...], dict[str, list[PictureFile]]]:
    """List the pictures of each split in `sources` with their labels; also return the classes in their order.

    The order is that of `given`, else of `<path>/classes.txt`, else the natural order of the names. `spec` gives the
    classes of the texts of labels files. Raises `UserError` that names the wrong folder, file or line.
    """
    tables = {split: read_classes(of.labels, spec) for split, of in sources.items() if of.labels}
    folders = [of.folder for of in sources.values() if not of.labels]
    found = {to_nfc(folder.name) for split in folders for folder in list_folder(split)[0]}
    listed = read_text(file).removesuffix("\n").split("\n") if (file := path / "classes.txt").exists() else []
    listed = listed or list(given or ())
    if len(found) == 1 and not found & {*map(to_nfc, (*(given or ()), *listed)), *class_folders(listed)}:
        for folder in folders:
            _refuse_table_of_subfolder(folder, *found)
    names = set() if spec and spec.is_joint else {name for table in tables.values() for _, name in table}
    classes = tuple(given or listed or order_classes(found | names))
    _check_classes(path, classes)
    class_of_folder = _match_folders(path, found, listed, classes)
    rows = {}
    for split, of in sources.items():
        if of.labels:
            rows[split] = _list_labelled(of.folder, of.labels, tables[split], classes, spec)
        elif spec and not spec.fields.is_single:
            raise UserError(
                f"{of.folder} has class folders, and the label has {len(spec.fields.fields)} fields: list the pictures"
                f" and their texts in labels.csv, {FORM}"
            )
        else:
            rows[split] = _list_class_folders(of.folder, classes, class_of_folder)
    return classes, rows


def _refuse_table_of_subfolder(folder: Path, name: str) -> None:
    """Refuse the only subfolder of `folder` as a class if a metadata file lists its pictures with other texts.

    Hugging Face writes such folders, and nobody listed `name` as a class.
    """
    for file in list_folder(folder)[1]:
        match = LABELS_FILE.fullmatch(file.name)
        if match and match[1].lower() == "metadata" and looks_like_labels(file):
            lines = [line for line in read_labels(file) if line.name.startswith(f"{name}/")]
            if any(to_nfc((line.text or name).strip()) != name for line in lines):
                raise UserError(
                    f"{folder} has one folder, {name}, and {file.name} lists its pictures with other texts: rename"
                    f" the file to labels{file.suffix} if they are labelled by its texts, or list the class {name} in"
                    " classes.txt"
                )


def _check_classes(path: Path, classes: Sequence[str]) -> None:
    for name, count in Counter(classes).items():
        check_line(name, f"class {name!r} of {path}")
        if count > 1 or not name:
            problem = "listed twice" if name else "empty"
            raise UserError(f"class {name!r} of {path} is {problem}: give each class its own name")


def _match_folders(path: Path, found: set[str], listed: Sequence[str], classes: Sequence[str]) -> dict[str, str]:
    """The class of each name of a folder, in NFC: a folder is named after its class, or as `class_folders` does."""
    composed = {to_nfc(name): name for name in classes} | {name: name for name in classes}
    numbered = dict(zip(class_folders(listed), listed, strict=True))
    if not found <= composed.keys() and found <= numbered.keys():
        composed = numbered
    for name in sorted(found, key=natural_order):
        if composed.get(name) not in classes:
            raise _unknown_class(f"the folder {name!r} in {path} is", composed.get(name, name), classes)
    return {name: composed[name] for name in found}


def _unknown_class(subject: str, name: str, classes: Sequence[str]) -> UserError:
    near = difflib.get_close_matches(name, classes, 1)
    known = ", ".join(classes[:40]) + (", …" if len(classes) > 40 else "")
    hint = f"did you mean {near[0]!r}?" if near else f"known are {known}"
    return UserError(f"{subject} not one of the classes; {hint}")


def _list_class_folders(folder: Path, classes: Sequence[str], class_of_folder: Mapping[str, str]) -> list[PictureFile]:
    """List the pictures in class folders: first those of `metadata.csv` in its order, then the others."""
    number = {name: label for label, name in enumerate(classes)}
    folders, files = list_folder(folder)
    if stray := [file for file in files if file.suffix.lower() in SUFFIXES]:
        raise UserError(
            f"{stray[0]} lies beside the class folders: move it into the folder of its class, or list it in"
            f" labels.csv, {FORM}"
        )
    label_of = {path: number[class_of_folder[to_nfc(path.name)]] for path in folders}
    found: dict[str, PictureFile] = {}
    for class_folder in sorted(folders, key=lambda path: label_of[path]):
        inner, pictures = list_folder(class_folder)
        if inner:
            raise UserError(f"{inner[0]} is a folder inside a class folder: move its pictures up into that folder")
        for file in pictures:
            name = to_nfc(f"{class_folder.name}/{file.name}")
            found[name] = PictureFile(file, name, label_of[class_folder], "")
        if len(found) > MAX_IMAGES:
            raise UserError(f"{folder} holds more than {MAX_IMAGES:,} pictures: give fewer")
    table = folder / "metadata.csv"
    rows = []
    for line in read_labels(table) if table.exists() else []:
        if line.name not in found:
            raise _missing_picture(table, line)
        rows.append(found.pop(line.name)._replace(text=line.text or ""))
    return [*rows, *found.values()]


def _list_labelled(
    folder: Path, table: Path, lines: Sequence[tuple[LabelLine, str]], classes: Sequence[str], spec: Spec | None
) -> list[PictureFile]:
    """List the pictures that a labels file names, in its order; pictures that it does not name are left out."""
    if spec and spec.is_joint:
        files = find_pictures(folder, table, [line for line, _ in lines])
        return [
            PictureFile(file, line.name, spec.labels_of(line.text or ""), line.text or "")
            for file, (line, _) in zip(files, lines, strict=True)
        ]
    number = {to_nfc(name): label for label, name in enumerate(classes)}
    for line, name in lines:
        if to_nfc(name) not in number:
            raise _unknown_class(f"the text {name!r} in line {line.number} of {table} is", name, classes)
    files = find_pictures(folder, table, [line for line, _ in lines])
    return [
        PictureFile(file, line.name, number[to_nfc(name)], line.text or "")
        for file, (line, name) in zip(files, lines, strict=True)
    ]


def find_pictures(folder: Path, table: Path, lines: Sequence[LabelLine]) -> list[Path]:
    """Find the files in `folder` that the lines of a labels file name, however their names are composed.

    Raises `UserError` for a picture that does not exist.
    """
    listed: dict[str, dict[str, Path]] = {}  # the files of each subfolder by their names in NFC
    found = []
    for line in lines:
        parent, base = posixpath.split(line.name)
        if parent not in listed:
            listed[parent] = _find_files(folder, parent)
        if base not in listed[parent]:
            raise _missing_picture(table, line)
        found.append(listed[parent][base])
    return found


def _find_files(folder: Path, parent: str) -> dict[str, Path]:
    """The files in a subfolder of `folder` by their names in NFC; none if there is no such subfolder."""
    for part in parent.split("/") if parent else []:
        inner = {to_nfc(path.name): path for path in list_folder(folder)[0]}
        if part not in inner:
            return {}
        folder = inner[part]
    return {to_nfc(path.name): path for path in list_folder(folder)[1]}


def _missing_picture(table: Path, line: LabelLine) -> UserError:
    return UserError(
        f"{table}, line {line.number}, lists {line.name!r}, which is no file in {table.parent}: correct the table"
    )
