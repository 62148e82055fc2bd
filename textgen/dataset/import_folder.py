"""Folders of the user's own crops into the arrays that the trainer memory-maps.

A folder holds `<split>/<class>/*`, or `<class>/*`, which is then divided 80/10/10. docs/formats.md describes both.
"""

from __future__ import annotations

import hashlib
import json
import os
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

from textgen.common.arrays import U8
from textgen.common.atomic import atomic_folder
from textgen.common.errors import UserError
from textgen.common.pictures import Size, inspect_picture, map_in_threads, read_pixels
from textgen.dataset.imagefolder import MAX_IMAGES, PictureFile, find_classes, find_splits, list_pictures
from textgen.dataset.store import FORMAT, Dataset, SplitWriter, StoredSplit, damaged_error, open_dataset

IMPORTER = 1  # raise it when the same folder gives other arrays, so that no older data set passes for the new one
MAX_SIDE = 512  # of a crop, as in games
MAX_TEST_BYTES = 4 << 30  # of a test set, which is held in memory
SHOWN = 6  # classes that a message names
SHARE = 10  # one image in so many goes to a split that the folder does not have
CHUNK, CHUNK_BYTES = 64, 4 << 20  # images a task
LIBRARIES = ("numpy", "pillow", "opencv-python-headless")  # whose versions can change a pixel


def import_folder(
    path: str | Path,
    out: str | Path,
    *,
    size: Size | None = None,
    classes: Sequence[str] | None = None,
    name: str | None = None,
    seed: int = 0,
    rebuild: bool = False,
) -> Dataset:
    """The pictures of a folder as a data set, written to `<out>/<name>/<hash>/` if it is not there, and verified.

    `size` (height, width) is that of the crops, by default the most frequent one; other pictures are scaled to it, and
    the manifest counts them. `classes` are the names in their order, by default those of `classes.txt`, or the folders'
    names in natural order. `name` is by default the folder's. `seed` draws the splits that the folder does not have;
    `rebuild` imports again.
    Raises `UserError` that names the file, folder or class to blame.
    """
    path = Path(path).expanduser()
    name = _name(name, path)
    folders = find_splits(path)
    names, of_folder = find_classes(path, folders.values(), classes)
    listed = {split: list_pictures(folder, names, of_folder) for split, folder in folders.items()}
    count = sum(map(len, listed.values()))
    if not 0 < count <= MAX_IMAGES:
        raise UserError(f"{path} holds {count:,} pictures: give 1 to {MAX_IMAGES:,}, in one folder a class")
    read = {split: list(chain(*map_in_threads(_inspected, _chunks(rows)))) for split, rows in listed.items()}
    size = _checked(size or _most_frequent(row.size for row in chain(*read.values())))
    rows = _divided(path, read, names, seed)
    identity = _identity(name, names, size, rows)
    target = Path(out).expanduser() / name / identity["hash"][:16]
    if rebuild or not os.path.lexists(target):
        with atomic_folder(target, "another folder (out)", "replace" if rebuild else "keep") as folder:
            _write(folder, identity, rows, size)
    dataset = open_dataset(target)
    if dataset.hash != identity["hash"] or dataset.classes != names:
        raise damaged_error(target, "its manifest is that of another folder")
    return dataset


def load_test_folder(path: str | Path, classes: Sequence[str], size: Size) -> StoredSplit:
    """Real crops, a folder a class, as one further test set of a game with these `classes` and crops of this `size`.

    The images, uint8 (n, H, W, 3), are held in memory. Not every class need have some. Raises `UserError` for a folder
    that is none of the classes, and as `import_folder` does.
    """
    path = Path(path).expanduser()
    height, width = _checked(size)
    names, of_folder = find_classes(path, [path], classes)
    rows = list_pictures(path, names, of_folder)
    if not 0 < len(rows) * height * width * 3 <= MAX_TEST_BYTES:
        raise UserError(f"{path} holds {len(rows):,} pictures: give at least one, and at most 4 GiB of crops")
    images, labels, texts, _ = zip(*_decoded(rows, size), strict=True)
    return StoredSplit(np.concatenate(images), np.concatenate(labels), list(chain(*texts)))


load_test_folder.__test__ = False  # type: ignore[attr-defined]  # pytest would take its name for that of a test


def _divided(
    path: Path, given: Mapping[str, list[PictureFile]], classes: Sequence[str], seed: int
) -> dict[str, list[PictureFile]]:
    """The rows of every split; the splits that are not given are taken off the training images, class by class.

    Files of one content stay together where no split is given: a test image that was trained on tells nothing.
    """
    key: Callable[[PictureFile], str] = (lambda row: row.digest) if "" in given else (lambda row: row.file.name)
    whole = given["" if "" in given else "train"]
    missing = [split for split in ("val", "test") if split not in given]
    of_class: dict[int, set[str]] = defaultdict(set)
    for row in whole:
        of_class[row.label].add(key(row))
    counts = [(name, len(of_class[label])) for label, name in enumerate(classes)]
    few = [f"{name!r} ({count})" for name, count in counts if count <= len(missing)]
    if few:
        shown = ", ".join(few[:SHOWN]) + (f" and {len(few) - SHOWN} more" if len(few) > SHOWN else "")
        raise UserError(
            f"{path} has too few different images of class {shown}: give at least {len(missing) + 1} of each,"
            f" for {' and '.join(['train', *missing])}"
        )
    drawn: dict[tuple[int, str], str] = {}
    for label in range(len(classes)):
        keys = sorted(of_class[label], key=lambda k: hashlib.sha256(f"{seed}/{k}".encode("utf-8", "replace")).digest())
        share = max((len(keys) + SHARE // 2) // SHARE, 1)
        for number, split in enumerate(missing):
            drawn |= {(label, k): split for k in keys[number * share : (number + 1) * share]}
    divided: dict[str, list[PictureFile]] = {split: [] for split in ("train", "val", "test")}
    for row in whole:
        divided[drawn.get((row.label, key(row)), "train")].append(row)
    divided |= {split: rows for split, rows in given.items() if split not in ("", "train")}
    if empty := [split for split, rows in divided.items() if not rows]:
        raise UserError(f"{path}/{empty[0]} holds no pictures: fill it, or remove it")
    return divided


def _identity(name: str, classes: Sequence[str], size: Size, rows: Mapping[str, list[PictureFile]]) -> dict[str, Any]:
    """What the manifest says before a picture is decoded, with the hash of it all."""
    files = {}
    for split, of_split in rows.items():
        digest = hashlib.sha256()
        for row in of_split:
            digest.update(json.dumps([row.name, row.digest, row.label, row.text]).encode())
        files[split] = digest.hexdigest()
    identity = {
        "format": FORMAT,
        "importer": IMPORTER,
        "name": name,
        "size": list(size),
        "classes": list(classes),
        "files": files,
        "versions": {library: version(library) for library in LIBRARIES},
    }
    return {**identity, "hash": hashlib.sha256(json.dumps(identity).encode()).hexdigest()}


def _write(folder: Path, identity: dict[str, Any], rows: Mapping[str, list[PictureFile]], size: Size) -> None:
    about = {}
    for split, of_split in rows.items():
        writer = SplitWriter(folder, split, len(of_split), size)
        resized = 0
        for images, labels, texts, count in _decoded(of_split, size):
            writer.add(images, labels, texts)
            resized += count
        about[split] = {**writer.close(), "resized": resized}
    manifest = json.dumps({**identity, "repeated": _repeated(rows), "splits": about}, indent=1)
    (folder / "manifest.json").write_text(manifest, encoding="utf-8")


def _repeated(rows: Mapping[str, list[PictureFile]]) -> dict[str, int]:
    """How many contents stand in two splits, and how many in two classes, one of which is wrong."""
    in_splits: dict[str, set[str]] = defaultdict(set)
    in_classes: dict[str, set[int]] = defaultdict(set)
    for split, of_split in rows.items():
        for row in of_split:
            in_splits[row.digest].add(split)
            in_classes[row.digest].add(row.label)
    return {
        "in_splits": sum(len(s) > 1 for s in in_splits.values()),
        "in_classes": sum(len(c) > 1 for c in in_classes.values()),
    }


Decoded = tuple[U8, NDArray[np.int64], list[str], int]


def _decoded(rows: Sequence[PictureFile], size: Size) -> Iterator[Decoded]:
    """Images, labels and texts in order, a chunk at a time, and how many of a chunk were resized."""
    per = max(1, min(CHUNK, CHUNK_BYTES // (size[0] * size[1] * 3)))
    return map_in_threads(partial(_decode, size=size), _chunks(rows, per))


def _decode(rows: Sequence[PictureFile], size: Size) -> Decoded:
    made = [read_pixels(row.file, size, row.digest) for row in rows]
    labels = np.array([row.label for row in rows], np.int64)
    images = np.stack([image for image, _ in made])
    return images, labels, [row.text for row in rows], sum(resized for _, resized in made)


def _inspected(rows: Sequence[PictureFile]) -> list[PictureFile]:
    made = [inspect_picture(row.file) for row in rows]
    return [row._replace(digest=digest, size=size) for row, (digest, size) in zip(rows, made, strict=True)]


def _chunks(rows: Sequence[PictureFile], per: int = CHUNK) -> Iterator[Sequence[PictureFile]]:
    return (rows[start : start + per] for start in range(0, len(rows), per))


def _most_frequent(sizes: Iterator[Size]) -> Size:
    """Of equally frequent sizes the largest."""
    return max(Counter(sizes).items(), key=lambda entry: (entry[1], entry[0][0] * entry[0][1], entry[0]))[0]


def _checked(size: Size) -> Size:
    height, width = size
    if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE):
        raise UserError(f"crops of {height}×{width} pixels: a side has 1 to {MAX_SIDE}; give size=(height, width)")
    return height, width


def _name(given: str | None, path: Path) -> str:
    name = given or re.sub(r"[^A-Za-z0-9_.-]+", "_", path.resolve().name).lstrip("_.-")[:64]
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
        raise UserError(f'name {name!r} names a folder: letters, digits, ".", "_" and "-", at most 64; give name=…')
    return name
