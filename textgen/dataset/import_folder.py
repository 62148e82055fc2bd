"""Import folders of pictures as data sets.

A folder holds `<split>/<class>/*`, or `<class>/*`, which is split 80/10/10, or pictures and a labels file.
docs/how-to/formats.md describes them.
"""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textgen.common.array_types import U8
from textgen.common.atomic import atomic_folder, file_lock, os_errors_as_user_errors
from textgen.common.errors import UserError
from textgen.common.pictures import CHUNK, Size, choose_chunk_size, inspect_picture, map_in_threads, read_pixels
from textgen.dataset.imagefolder import PictureFile, find_source, find_splits, list_crops
from textgen.dataset.store import (
    FORMAT,
    OTHER_DATA_FOLDER,
    Dataset,
    SplitWriter,
    StoredSplit,
    damaged_error,
    open_dataset,
)
from textgen.dataset.text_files import MAX_IMAGES, to_nfc
from textgen.schema.game import MAX_CROP_SIDE
from textgen.spec.label_fields import LabelFields
from textgen.spec.parser import Spec

IMPORTER = 2  # part of the hash: increment it when the same folder gives different arrays
MAX_TEST_BYTES = 4 << 30  # size limit of a test set, which is held in memory
MAX_CLASSES_SHOWN = 6  # in a message
MAX_NAME = 64  # characters of a data set's name
RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)", re.IGNORECASE)  # names of devices on Windows
SPLIT_DIVISOR = 10  # a missing split gets 1 / SPLIT_DIVISOR of the training images
# Their versions are part of the hash, since they can change pixels.
LIBRARIES = ("numpy", "pillow", "opencv-python-headless")


def import_folder(
    path: str | Path,
    out: str | Path,
    *,
    size: Size | None = None,
    classes: Sequence[str] | None = None,
    spec: Spec | None = None,
    name: str | None = None,
    seed: int = 0,
    rebuild: bool = False,
) -> Dataset:
    """Import the pictures of a folder as a data set at `<out>/<name>/<hash>/`, unless it exists, and verify it.

    `size` (height, width) is the size of the crops, by default the most frequent one; other pictures are scaled to it,
    and the manifest counts them. `classes` are the class names in order, by default those of `classes.txt`, else the
    names of the class folders, or the texts of the labels file, by value and alphabet. With `spec` the classes are its,
    and it finds that of each text in a labels file. `name` is by default derived from the folder's name. `seed` decides
    which images go to missing splits. `rebuild` imports again. Raises `UserError` that names the wrong file, folder,
    class or line.
    """
    path = Path(path).expanduser()
    name = _check_name(name) if name is not None else derive_name(path)
    classes = spec.classes if spec and classes is None else classes
    names, listed = list_crops(path, find_splits(path), classes, spec)
    count = sum(map(len, listed.values()))
    if not 0 < count <= MAX_IMAGES:
        raise UserError(f"{path} holds {count:,} pictures: give 1 to {MAX_IMAGES:,}, in one folder per class")
    inspected = {
        split: list(chain.from_iterable(map_in_threads(_inspect_chunk, _split_into_chunks(rows))))
        for split, rows in listed.items()
    }
    size = _check_size(size or _most_frequent_size(row.size for row in chain(*inspected.values())))
    rows = _assign_splits(path, inspected, names, seed)
    fields = spec.fields if spec and spec.is_joint else LabelFields.single(names)
    identity = _identity(name, names, size, rows, fields)
    target = Path(out).expanduser() / name / identity["hash"][:16]
    if rebuild or not os.path.lexists(target):
        lock = file_lock(target.with_name(f".{target.name}.lock"), f"another process imports {target}")
        with os_errors_as_user_errors(target, OTHER_DATA_FOLDER), lock:
            if rebuild or not os.path.lexists(target):
                with atomic_folder(target, OTHER_DATA_FOLDER, "replace" if rebuild else "keep") as folder:
                    _write_dataset(folder, identity, rows, size, fields.shape)
    dataset = open_dataset(target)
    if dataset.hash != identity["hash"] or dataset.classes != names:
        raise damaged_error(target, "its manifest belongs to another folder")
    return dataset


def load_test_folder(path: str | Path, classes: Sequence[str], size: Size, spec: Spec | None = None) -> StoredSplit:
    """Load real crops, in class folders or with a labels file, as a test set for `classes` and crops of this `size`.

    `spec` finds the class of each text in a labels file. The images, uint8 (n, H, W, 3), are held in memory. Classes
    may have no images. Raises `UserError` as `list_test_folder` does.
    """
    path = Path(path).expanduser()
    height, width = _check_size(size)
    rows = list_test_folder(path, classes, spec)
    if not 0 < len(rows) * height * width * 3 <= MAX_TEST_BYTES:
        raise UserError(f"{path} holds {len(rows):,} pictures: give at least one, and at most 4 GiB of crops")
    images, labels, texts, _ = zip(*_decode_in_chunks(rows, size), strict=True)
    return StoredSplit(np.concatenate(images), np.concatenate(labels), list(chain(*texts)))


def list_test_folder(path: Path, classes: Sequence[str], spec: Spec | None = None) -> list[PictureFile]:
    """List the crops that `load_test_folder` loads.

    Raises `UserError` for a folder or a text that is not one of `classes`, and for a labels file that is wrong.
    """
    _, rows = list_crops(path, {"test": find_source(path)}, classes, spec)
    return rows["test"]


def _assign_splits(
    path: Path, given: Mapping[str, list[PictureFile]], classes: Sequence[str], seed: int
) -> dict[str, list[PictureFile]]:
    """Assign the rows to splits; missing splits get a share of the training images of each class.

    Without given splits, files with the same content go to the same split, so that no test image was trained on.
    """
    by_content = "" in given
    key: Callable[[PictureFile], str] = lambda row: row.digest if by_content else posixpath.basename(row.name)  # noqa: E731
    training = given["" if "" in given else "train"]
    missing = [split for split in ("val", "test") if split not in given]
    by_text = any(isinstance(row.label, tuple) for row in training)  # of several fields: no text need be everywhere
    group: Callable[[PictureFile], object] = lambda row: 0 if by_text else row.label  # noqa: E731
    names = ("all",) if by_text else classes
    keys_of_group: dict[object, set[str]] = {number: set() for number in range(len(names))}
    for row in training:
        keys_of_group[group(row)].add(key(row))
    counts = [len(keys) for keys in keys_of_group.values()]
    few = [f"{name!r} ({count})" for name, count in zip(names, counts, strict=True) if count <= len(missing)]
    if few:
        shown = ", ".join(few[:MAX_CLASSES_SHOWN])
        more = f" and {len(few) - MAX_CLASSES_SHOWN} more" if len(few) > MAX_CLASSES_SHOWN else ""
        which = f" ({counts[0]})" if by_text else f" of class {shown}{more}"
        raise UserError(
            f"{path} has too few different images{which}: give at least {len(missing) + 1}"
            f"{'' if by_text else ' of each'}, for {' and '.join(['train', *missing])}"
        )
    split_of_key: dict[tuple[object, str], str] = {}
    for label, of_group in keys_of_group.items():
        keys = sorted(of_group, key=lambda k: _sha256(f"{seed}/{k}"))
        share = max((len(keys) + SPLIT_DIVISOR // 2) // SPLIT_DIVISOR, 1)
        for number, split in enumerate(missing):
            split_of_key |= {(label, k): split for k in keys[number * share : (number + 1) * share]}
    rows_of_split: dict[str, list[PictureFile]] = {split: [] for split in ("train", "val", "test")}
    for row in training:
        rows_of_split[split_of_key.get((group(row), key(row)), "train")].append(row)
    rows_of_split |= {split: rows for split, rows in given.items() if split not in ("", "train")}
    if empty := [split for split, rows in rows_of_split.items() if not rows]:
        raise UserError(f"{path}/{empty[0]} holds no pictures: fill it, or remove it")
    return rows_of_split


def _identity(
    name: str, classes: Sequence[str], size: Size, rows: Mapping[str, list[PictureFile]], fields: LabelFields
) -> dict[str, Any]:
    """The part of the manifest that decides the arrays, and its hash."""
    files = {}
    for split, split_rows in rows.items():
        digest = hashlib.sha256()
        for row in split_rows:
            digest.update(json.dumps([row.name, row.digest, row.label, row.text]).encode())
        files[split] = digest.hexdigest()
    identity = {
        "format": FORMAT,
        "importer": IMPORTER,
        "name": name,
        "size": list(size),
        "classes": list(classes),
        **({} if fields.is_plain else {"label": fields.describe()}),
        "files": files,
        "versions": {library: version(library) for library in LIBRARIES},
    }
    return {**identity, "hash": hashlib.sha256(json.dumps(identity).encode()).hexdigest()}


def _write_dataset(
    folder: Path,
    identity: dict[str, Any],
    rows: Mapping[str, list[PictureFile]],
    size: Size,
    shape: tuple[int, ...],
) -> None:
    entries = {}
    for split, split_rows in rows.items():
        writer = SplitWriter(folder, split, len(split_rows), size, shape)
        resized = 0
        for images, labels, texts, count in _decode_in_chunks(split_rows, size):
            writer.add(images, labels, texts)
            resized += count
        entries[split] = {**writer.close(), "resized": resized}
    manifest = json.dumps({**identity, "repeated": _count_repeated(rows), "splits": entries}, indent=1)
    (folder / "manifest.json").write_text(manifest, encoding="utf-8")


def _sha256(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()


def _count_repeated(rows: Mapping[str, list[PictureFile]]) -> dict[str, int]:
    """Count the file contents that occur in more than one split, and in more than one class."""
    in_splits: dict[str, set[str]] = defaultdict(set)
    in_classes: dict[str, set[int | tuple[int, ...]]] = defaultdict(set)
    for split, split_rows in rows.items():
        for row in split_rows:
            in_splits[row.digest].add(split)
            in_classes[row.digest].add(row.label)
    return {
        "in_splits": sum(len(s) > 1 for s in in_splits.values()),
        "in_classes": sum(len(c) > 1 for c in in_classes.values()),
    }


Decoded = tuple[U8, NDArray[np.int64], list[str], int]


def _decode_in_chunks(rows: Sequence[PictureFile], size: Size) -> Iterator[Decoded]:
    """Yield images, labels, texts and the number of resized images, in order and in chunks."""
    count = choose_chunk_size(size[0] * size[1] * 3)
    return map_in_threads(partial(_decode_chunk, size=size), _split_into_chunks(rows, count))


def _decode_chunk(rows: Sequence[PictureFile], size: Size) -> Decoded:
    decoded = [read_pixels(row.file, size, row.digest) for row in rows]
    labels = stack_labels(rows)
    images = np.stack([image for image, _ in decoded])
    return images, labels, [row.text for row in rows], sum(resized for _, resized in decoded)


def stack_labels(rows: Sequence[PictureFile]) -> NDArray[np.int64]:
    """The labels of pictures, int64 (n,), or (n, m) of m fields."""
    labels = np.array([row.label for row in rows], np.int64)
    return labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels


def _inspect_chunk(rows: Sequence[PictureFile]) -> list[PictureFile]:
    inspected = [inspect_picture(row.file) for row in rows]
    return [row._replace(digest=digest, size=size) for row, (digest, size) in zip(rows, inspected, strict=True)]


def _split_into_chunks(rows: Sequence[PictureFile], count: int = CHUNK) -> Iterator[Sequence[PictureFile]]:
    return (rows[start : start + count] for start in range(0, len(rows), count))


def _most_frequent_size(sizes: Iterator[Size]) -> Size:
    """The most frequent size; among equally frequent ones the largest."""
    return max(Counter(sizes).items(), key=lambda entry: (entry[1], entry[0][0] * entry[0][1], entry[0]))[0]


def _check_size(size: Size) -> Size:
    height, width = size
    if not (1 <= height <= MAX_CROP_SIDE and 1 <= width <= MAX_CROP_SIDE):
        raise UserError(
            f"crops of {height}×{width} pixels: a side may have 1 to {MAX_CROP_SIDE}; give size=(height, width)"
        )
    return height, width


def derive_name(path: Path) -> str:
    """Derive the name of a data set from that of its folder.

    It is the folder's name with "_" in place of what a data set's name cannot have. Where that loses more than ASCII
    punctuation and blanks, 8 digits of the SHA-256 of the folder's name follow.

    >>> derive_name(Path("/crops/My crops!")), derive_name(Path("/crops/日本"))
    ('My_crops_', 'folder_cf2abf0c')
    """
    given = to_nfc(path.resolve().name)
    kept = re.sub(r"[^A-Za-z0-9_.-]+", "_", given).lstrip("_.-")
    name = kept.rstrip(".") if RESERVED.match(kept) is None else ""  # what Windows refuses
    if given.isascii() and name == kept and 0 < len(name) <= MAX_NAME:
        return name
    digest = hashlib.sha256(given.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return f"{name.rstrip('_.-')[: MAX_NAME - 9] or 'folder'}_{digest}"


def _check_name(name: str) -> str:
    if not re.fullmatch(rf"[A-Za-z0-9][A-Za-z0-9_.-]{{0,{MAX_NAME - 1}}}", name):
        raise UserError(
            f'name {name!r} names a folder: letters, digits, ".", "_" and "-", at most {MAX_NAME}; give name=…'
        )
    return name
