"""A data set on disk: plain arrays beside a manifest, so that a folder that is there is whole and says what it is."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from textgen.arrays import U8
from textgen.errors import UserError

FORMAT = 1
MAX_MANIFEST_BYTES = 16 << 20


class Split(NamedTuple):
    """One split, memory-mapped: images uint8 (n, H, W, 3), labels int64 (n,) that index the classes, texts."""

    images: U8
    labels: NDArray[np.int64]
    texts: list[str]


@dataclass(frozen=True)
class Dataset:
    """A verified data set. `splits` maps train, val and test; `manifest` is all that went into it."""

    path: Path
    classes: tuple[str, ...]
    splits: dict[str, Split]
    manifest: dict[str, Any]

    @property
    def hash(self) -> str:
        """Of all that went in; the folder's name is its beginning."""
        return str(self.manifest["hash"])


def open_dataset(path: str | Path) -> Dataset:
    """Open a data set and check every byte of it against its manifest (a second for a gigabyte).

    Nothing in the folder is executed. Raises `UserError` that names the file which is missing, cut or changed.
    """
    path = Path(path)
    try:
        return _open(path)
    except OSError as error:
        raise UserError(f"data set {path} cannot be read: {error.strerror} ({error.filename})") from None


def _open(path: Path) -> Dataset:
    manifest = _read_manifest(path)
    splits = {}
    for name, about in manifest["splits"].items():
        for kind, expected in about["sha256"].items():
            file = path / kind
            if not file.is_file():
                raise damaged(path, f"{file.name} is missing")
            if file.stat().st_size != about["bytes"][kind]:
                raise damaged(path, f"{file.name} has {file.stat().st_size:,} bytes of {about['bytes'][kind]:,}")
            with file.open("rb") as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() != expected:
                    raise damaged(path, f"{file.name} does not have the bytes that were written")
        splits[name] = Split(
            images=_array(path, f"{name}.images.npy"),
            labels=_array(path, f"{name}.labels.npy"),
            texts=_texts(path, f"{name}.texts.txt"),
        )
    return Dataset(path, tuple(manifest["classes"]), splits, manifest)


def _array(path: Path, name: str) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path / name, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError):
        raise damaged(path, f"{name} holds no array of numbers") from None
    return array


def _texts(path: Path, name: str) -> list[str]:
    try:
        return (path / name).read_text(encoding="utf-8").split("\n")[:-1]
    except UnicodeDecodeError:
        raise damaged(path, f"{name} is no UTF-8") from None


def _read_manifest(path: Path) -> dict[str, Any]:
    file = path / "manifest.json"
    if not file.is_file():
        raise UserError(f"{path} is no data set: it has no manifest.json; build it again with rebuild=true")
    if file.stat().st_size > MAX_MANIFEST_BYTES:
        raise damaged(path, "manifest.json is too large to be one")
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT:
            raise UserError(f"data set {path} has format {manifest['format']}, this version reads {FORMAT}: rebuild it")
        if not isinstance(manifest["hash"], str) or not all(isinstance(c, str) for c in manifest["classes"]):
            raise TypeError
        for name, about in manifest["splits"].items():
            if not re.fullmatch(r"\w+", name) or not all(isinstance(size, int) for size in about["bytes"].values()):
                raise TypeError(name)
            if set(about["sha256"]) != set(_names(name)) or set(about["bytes"]) != set(_names(name)):
                raise KeyError(name)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise damaged(path, "manifest.json is damaged") from None
    return dict(manifest)


def damaged(path: Path, what: str) -> UserError:
    """The error for a data set that is not what was written."""
    return UserError(f"data set {path} is damaged: {what}; build it again with rebuild=true, or remove the folder")


def _names(split: str) -> tuple[str, str, str]:
    return f"{split}.images.npy", f"{split}.labels.npy", f"{split}.texts.txt"


class SplitWriter:
    """Writes one split piece by piece, in order, and hashes it on the way: memory stays that of a piece."""

    def __init__(self, folder: Path, split: str, count: int, size: tuple[int, int]):
        self._count, self._written = count, 0
        self._shape = (count, *size, 3)
        self._names = _names(split)
        self._files = [(folder / name).open("wb") for name in self._names]
        self._hashes = [hashlib.sha256() for _ in self._names]
        self._write(0, _header(self._shape, np.dtype(np.uint8)))
        self._write(1, _header((count,), np.dtype("<i8")))

    def add(self, images: U8, labels: NDArray[np.int64], texts: Iterable[str]) -> None:
        """The next images uint8 (n, H, W, 3), labels (n,) and texts."""
        self._written += len(images)
        self._write(0, np.ascontiguousarray(images).tobytes())
        self._write(1, labels.astype("<i8").tobytes())
        self._write(2, "".join(f"{text}\n" for text in texts).encode())

    def close(self) -> dict[str, Any]:
        """The manifest's entry for this split."""
        sizes = [file.tell() for file in self._files]
        for file in self._files:
            file.close()
        if self._written != self._count:
            raise RuntimeError(f"{self._written} of {self._count} samples were written")
        return {
            "images": self._count,
            "bytes": dict(zip(self._names, sizes, strict=True)),
            "sha256": {name: hash.hexdigest() for name, hash in zip(self._names, self._hashes, strict=True)},
        }

    def _write(self, which: int, data: bytes) -> None:
        self._files[which].write(data)
        self._hashes[which].update(data)


def _header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    """The beginning of an .npy file."""
    buffer = io.BytesIO()
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue()
