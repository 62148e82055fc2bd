"""Import the user's own copy of CIFAR-10 or CIFAR-100 as a data set (§5.4)."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textgen.common.array_types import U8
from textgen.common.atomic import atomic_folder, file_lock, os_errors_as_user_errors
from textgen.common.errors import UserError
from textgen.dataset.cifar_files import SIDE, Cifar, Kind, Part, read_cifar
from textgen.dataset.store import (
    FORMAT,
    OTHER_DATA_FOLDER,
    Dataset,
    SplitWriter,
    block_rows,
    damaged_error,
    open_dataset,
)

IMPORTER = 1  # part of the hash: increment it when the same images give other splits


def import_cifar(
    path: str | Path, out: str | Path, *, kind: Kind, validation: int, seed: int, rebuild: bool = False
) -> Dataset:
    """Import CIFAR as a data set at `<out>/<kind>/<hash>/` with images (32, 32, 3), unless it exists, and verify it.

    `path` is a folder or archive in one of the formats of `textgen.dataset.cifar_files`. The hash is that of the
    images, so another format of the same copy finds the same data set. `validation` training images are the split
    `val`: as many of each class as far as possible, drawn by `seed` and by their pixels, not by their order. The others
    are `train`, in order. The manifest counts what was there (`given`). CIFAR-100 has its 100 fine labels. Raises
    `UserError` for files that are not CIFAR's, and for a `validation` that leaves a class without training images.
    """
    path = Path(path).expanduser()
    cifar = read_cifar(path, kind)
    chosen = _choose_validation(cifar, validation, seed)
    train, test = cifar.train, cifar.test
    parts = {
        "train": Part(train.images[~chosen], train.labels[~chosen]),
        "val": Part(train.images[chosen], train.labels[chosen]),
        "test": test,
    }
    identity: dict[str, Any] = {
        "format": FORMAT,
        "importer": IMPORTER,
        "name": kind,
        "size": [SIDE, SIDE],
        "classes": list(cifar.classes),
        "given": {"train": len(train.labels), "test": len(test.labels)},
        "validation": validation,
        "seed": seed,
        "contents": {split: _digest(part) for split, part in parts.items()},
    }
    identity["hash"] = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
    target = Path(out).expanduser() / kind / identity["hash"][:16]
    if rebuild or not os.path.lexists(target):
        lock = file_lock(target.with_name(f".{target.name}.lock"), f"another process imports {target}")
        with os_errors_as_user_errors(target, OTHER_DATA_FOLDER), lock:
            if rebuild or not os.path.lexists(target):
                with atomic_folder(target, OTHER_DATA_FOLDER, "replace" if rebuild else "keep") as folder:
                    _write_dataset(folder, identity, parts)
    dataset = open_dataset(target)
    if dataset.hash != identity["hash"] or dataset.classes != cifar.classes:
        raise damaged_error(target, "its manifest belongs to another copy")
    return dataset


def _choose_validation(cifar: Cifar, count: int, seed: int) -> NDArray[np.bool_]:
    """Which training images are for validation, bool (n,).

    Every class gives its images in an order of its own, by a hash of the seed and the pixels; all classes give their
    first image, then their second, and so on, until there are enough. A class that has no more is skipped.
    """
    images, labels = cifar.train
    counts = np.bincount(labels, minlength=len(cifar.classes))
    if not 1 <= count < len(labels):
        raise UserError(f"task.validation={count}: give 1 to {len(labels) - 1:,}, of {len(labels):,} training images")
    keys = _hashes(images, seed)
    rank = np.empty(len(labels), np.int64)  # of an image in its class
    for label in np.flatnonzero(counts):
        rows = np.flatnonzero(labels == label)
        rank[rows[np.argsort(keys[rows], kind="stable")]] = np.arange(len(rows))
    class_keys = np.array(
        [int.from_bytes(hashlib.sha256(f"{seed}/{n}".encode()).digest()[:8]) for n in range(len(counts))]
    )
    order = np.lexsort((class_keys[labels], rank))  # which classes give one more is drawn too
    chosen = np.zeros(len(labels), np.bool_)
    chosen[order[:count]] = True
    emptied = np.flatnonzero((counts > 0) & (np.bincount(labels[~chosen], minlength=len(counts)) == 0))
    if len(emptied):
        name, held = cifar.classes[emptied[0]], counts[emptied[0]]
        raise UserError(f"task.validation={count} takes all {held} training images of class {name!r}: give fewer")
    return chosen


def _hashes(images: U8, seed: int) -> NDArray[np.uint64]:
    """The first 64 bits of the SHA-256 of the seed and each image's pixels, (n,)."""
    start = hashlib.sha256(f"{seed}/".encode())
    digests = []
    for image in images:
        digest = start.copy()
        digest.update(image.data)
        digests.append(digest.digest()[:8])
    return np.frombuffer(b"".join(digests), ">u8").astype(np.uint64)


def _digest(part: Part) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(part.images).data)
    digest.update(part.labels.astype("<i8").tobytes())
    return digest.hexdigest()


def _write_dataset(folder: Path, identity: Mapping[str, Any], parts: Mapping[str, Part]) -> None:
    entries = {}
    rows = block_rows((SIDE, SIDE))
    for split, (images, labels) in parts.items():
        writer = SplitWriter(folder, split, len(labels), (SIDE, SIDE))
        for start in range(0, len(labels), rows):
            chunk = labels[start : start + rows]
            writer.add(images[start : start + rows], chunk, [""] * len(chunk))
        entries[split] = writer.close()
    manifest = json.dumps({**identity, "splits": entries}, indent=1)
    (folder / "manifest.json").write_text(manifest, encoding="utf-8")
