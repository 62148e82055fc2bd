"""A data set on disk: .npy arrays, texts and a manifest that describes them.

Images are written and checked in blocks of rows, each with its xxh3 digest in the manifest, so that threads share the
work and a stopped build can be resumed. The digests detect damage, not forgery.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tokenize import TokenError
from typing import Any, NamedTuple, overload

import numpy as np
import xxhash
from numpy.typing import NDArray

from textgen.common.array_types import U8
from textgen.common.bounded_text import MAX_JSON_BYTES, parse_json
from textgen.common.digests import digest_file
from textgen.common.errors import UserError
from textgen.spec.label_fields import LabelFields

FORMAT = 2
BLOCK_BYTES = 8 << 20  # maximum size of a block of images; at least one image
MAX_MANIFEST_BYTES = MAX_JSON_BYTES
MAX_BLOCK_ENTRY = 192  # bytes of the manifest for each block: 81 to 113 mostly, and 182 with the largest counts
OTHER_DATA_FOLDER = "another folder (out=… of textgen, data_dir=… of train)"  # the advice of errors about a folder


class DamagedDataset(UserError):
    """A data set whose files differ from what was written. `problem` says in what."""

    def __init__(self, message: str, problem: str = "") -> None:
        super().__init__(message)
        self.problem = problem


class StoredSplit(NamedTuple):
    """One split: images uint8 (n, H, W, 3) and labels int64 (n,), indices of the classes, both memory-mapped; texts.

    Labels of m fields are (n, m), a column a field.
    """

    images: U8
    labels: NDArray[np.int64]
    texts: Sequence[str]


class Texts(Sequence[str]):
    """The lines of a file, read at the first access."""

    def __init__(self, path: Path, count: int):
        self._path, self._count = path, count

    @cached_property
    def _lines(self) -> list[str]:
        try:
            lines = self._path.read_text(encoding="utf-8").split("\n")[:-1]
        except UnicodeDecodeError:
            raise damaged_error(self._path.parent, f"{self._path.name} is not UTF-8") from None
        if len(lines) != self._count:
            raise damaged_error(self._path.parent, f"{self._path.name} has {len(lines):,} lines of {self._count:,}")
        return lines

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        return self._lines[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def __hash__(self) -> int:
        return hash(self._path)


@dataclass(frozen=True, repr=False)
class Dataset:
    """An opened data set: its splits by name (train, val, test, test_…) and its manifest.

    `fields` are those of the label, with their classes.
    """

    path: Path
    fields: LabelFields
    splits: dict[str, StoredSplit]
    manifest: dict[str, Any]

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of all classes, see `LabelFields.classes`."""
        return self.fields.classes

    @property
    def hash(self) -> str:
        """The hash of everything that decides the bytes; its beginning is the folder's name."""
        return str(self.manifest["hash"])

    def __repr__(self) -> str:
        counts = ", ".join(f"{len(split.labels)} {name}" for name, split in self.splits.items())
        return f"<Dataset {self.path}: {len(self.classes)} classes; {counts}>"


def open_dataset(path: str | Path, verify: bool = True) -> Dataset:
    """Open a data set and check every byte of it against its manifest (about one second per gigabyte).

    Without `verify`, only the number and size of the images are checked, for a data set that was just written. Nothing
    in the folder is executed. Raises `UserError` that names the missing, truncated or changed file.
    """
    path = Path(path)
    try:
        return _open_and_check(path, verify)
    except OSError as error:
        raise UserError(f"data set {path} cannot be read: {error.strerror} ({error.filename})") from None


def block_rows(size: tuple[int, int]) -> int:
    """The number of samples in a block of images of `size` (H, W), a power of two."""
    rows = max(BLOCK_BYTES // max(size[0] * size[1] * 3, 1), 1)
    return 1 << (rows.bit_length() - 1)


def _open_and_check(path: Path, verify: bool) -> Dataset:
    manifest = _read_manifest(path)
    splits, fields = {}, manifest_fields(manifest)
    for name, entry in manifest["splits"].items():
        for file_name, expected in entry["bytes"].items():
            file = path / file_name
            if not file.is_file():
                raise damaged_error(path, f"{file.name} is missing")
            if file.stat().st_size != expected:
                raise damaged_error(path, f"{file.name} has {file.stat().st_size:,} bytes of {expected:,}")
        images, labels, texts = file_names(name)
        for file_name in (labels, texts):
            if digest_file(path / file_name).hexdigest() != entry["xxh3"][file_name]:
                raise damaged_error(path, f"{file_name} does not have the bytes that were written")
        splits[name] = StoredSplit(
            _load_array(path, images, entry["images"]),
            _load_array(path, labels, entry["images"], fields),
            Texts(path / texts, entry["images"]),
        )
        if verify:
            _check_blocks(path, images, splits[name].images, entry["blocks"])
        if not labels_fit(splits[name].labels, fields):
            raise damaged_error(path, f"{labels} holds labels of classes that manifest.json does not name")
    return Dataset(path, fields, splits, manifest)


def labels_fit(labels: NDArray[Any], fields: LabelFields) -> bool:
    """Whether labels (n,), or (n, m), are numbers of the classes of their fields."""
    return not len(labels) or bool((labels.min(0) >= 0).all() and (labels.max(0) < fields.sizes).all())


def _check_blocks(path: Path, name: str, images: U8, blocks: list[Mapping[str, Any]]) -> None:
    rows = block_rows(images.shape[1:3])
    if len(blocks) != -(-len(images) // rows):
        raise damaged_error(path, f"{name} has {len(images):,} images, which do not fit its {len(blocks):,} blocks")

    start = (path / name).stat().st_size - images.nbytes
    size = rows * int(np.prod(images.shape[1:]))

    def is_intact(number: int) -> bool:
        # Reading through the memory map would count the pages as memory of this process.
        with (path / name).open("rb", buffering=0) as file:
            file.seek(start + number * size)
            return bool(xxhash.xxh3_128_hexdigest(file.read(size)) == blocks[number]["xxh3"])

    with ThreadPoolExecutor() as threads:
        if not all(threads.map(is_intact, range(len(blocks)))):
            raise damaged_error(path, f"{name} does not have the bytes that were written")


def _load_array(path: Path, name: str, count: int, fields: LabelFields | None = None) -> NDArray[Any]:
    """The images of a file, or its labels of `fields`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy warns of headers written by Python 2
            array: NDArray[Any] = np.load(path / name, mmap_mode="r" if count else None, allow_pickle=False)
    except (
        ValueError,
        OSError,
        EOFError,
        TypeError,
        SyntaxError,
        TokenError,
        OverflowError,
        MemoryError,
        RecursionError,
    ):
        raise damaged_error(path, f"{name} holds no array of numbers") from None
    is_images = array.ndim == 4 and array.shape[3] == 3
    shape_fits = is_images if fields is None else array.shape[1:] == fields.shape
    if not shape_fits or len(array) != count or array.dtype != (np.uint8 if fields is None else np.int64):
        raise damaged_error(path, f"{name} does not hold the array that was written")
    return array


def _read_manifest(path: Path) -> dict[str, Any]:
    file = path / "manifest.json"
    if not file.is_file():
        message = f"{path} has no manifest.json, it is not a data set: give the folder that textgen printed"
        raise DamagedDataset(message, "manifest.json is missing")
    if file.stat().st_size > MAX_MANIFEST_BYTES:
        raise damaged_error(path, "manifest.json is too large")
    return parse_manifest(file.read_bytes(), path)


def parse_manifest(content: bytes, path: Path | str) -> dict[str, Any]:
    """The manifest of the data set at `path`, checked as far as readers rely on it. Raises `UserError`."""
    try:
        manifest = parse_json(content)
        if manifest["format"] != FORMAT:
            raise UserError(f"data set {path} has format {manifest['format']}, this version reads {FORMAT}: rebuild it")
        classes = manifest["classes"]
        if not isinstance(manifest["hash"], str) or not isinstance(classes, list):
            raise TypeError
        if not all(isinstance(name, str) for name in classes) or list(manifest_fields(manifest).classes) != classes:
            raise TypeError
        for name, entry in manifest["splits"].items():
            if not re.fullmatch(r"\w+", name) or not all(isinstance(size, int) for size in entry["bytes"].values()):
                raise TypeError(name)
            if set(entry["bytes"]) != set(file_names(name)) or set(entry["xxh3"]) != set(file_names(name)[1:]):
                raise KeyError(name)
            if not isinstance(entry["images"], int) or not all(isinstance(b["xxh3"], str) for b in entry["blocks"]):
                raise TypeError(name)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise damaged_error(path, "manifest.json is damaged") from None
    return dict(manifest)


def manifest_fields(manifest: Mapping[str, Any]) -> LabelFields:
    """The fields of the label of a data set. Raises `ValueError`."""
    return LabelFields.parse(manifest["label"]) if "label" in manifest else LabelFields.single(manifest["classes"])


def damaged_error(path: Path | str, problem: str) -> DamagedDataset:
    """Return the error for a data set whose files differ from what was written."""
    advice = "build it again with rebuild=true, or remove the folder"
    return DamagedDataset(f"data set {path} is damaged: {problem}; {advice}", problem)


def file_names(split: str) -> tuple[str, str, str]:
    """The file names of a split: images, labels, texts."""
    return f"{split}.images.npy", f"{split}.labels.npy", f"{split}.texts.txt"


class SplitWriter:
    """Writes the samples of one split in order, in chunks, and computes the digests of its blocks."""

    def __init__(self, folder: Path, split: str, count: int, size: tuple[int, int], shape: tuple[int, ...] = ()):
        """`shape` is that of one sample's labels, see `LabelFields.shape`."""
        self._folder, self._split, self._count, self._written = folder, split, count, 0
        self._rows = block_rows(size)
        self._blocks: list[dict[str, Any]] = []
        self._digest = xxhash.xxh3_128()
        self._labels_and_texts = LabelAndTextWriter(folder, split, count, shape)
        self._images = (folder / file_names(split)[0]).open("wb")
        self._images.write(npy_header((count, *size, 3), np.dtype(np.uint8)))

    def add(self, images: U8, labels: NDArray[np.int64], texts: Iterable[str]) -> None:
        """Append images uint8 (n, H, W, 3), labels (n,), or (n, m), and texts."""
        start = 0
        while start < len(images):
            chunk = np.ascontiguousarray(images[start : start + self._rows - self._written % self._rows])
            self._images.write(chunk.data)
            self._digest.update(chunk.data)
            self._written += len(chunk)
            start += len(chunk)
            if self._written % self._rows == 0 or self._written == self._count:
                self._blocks.append({"xxh3": self._digest.hexdigest()})
                self._digest.reset()
        self._labels_and_texts.add(labels, texts)

    def close(self) -> dict[str, Any]:
        """Close the files and return the entry of this split for the manifest."""
        self._images.close()
        if self._written != self._count:
            raise RuntimeError(f"{self._written} of {self._count} samples were written")
        return manifest_entry(self._folder, self._split, self._count, self._blocks, self._labels_and_texts.close())


class LabelAndTextWriter:
    """Writes the labels and texts of a split in order and computes the digests of their files."""

    def __init__(self, folder: Path, split: str, count: int, shape: tuple[int, ...] = ()):
        self._names = file_names(split)[1:]
        self._files = [(folder / name).open("wb") for name in self._names]
        self._digests = [xxhash.xxh3_128() for _ in self._names]
        self._write(0, npy_header((count, *shape), np.dtype("<i8")))

    def add(self, labels: NDArray[np.int64], texts: Iterable[str]) -> None:
        """Append labels (n,), or (n, m), and texts."""
        self._write(0, labels.astype("<i8").tobytes())
        self._write(1, "".join(f"{text}\n" for text in texts).encode())

    def close(self) -> dict[str, str]:
        """Close the files and return their digests by file name."""
        for file in self._files:
            file.close()
        return {name: digest.hexdigest() for name, digest in zip(self._names, self._digests, strict=True)}

    def _write(self, index: int, data: bytes) -> None:
        self._files[index].write(data)
        self._digests[index].update(data)


def manifest_entry(
    folder: Path, split: str, count: int, blocks: list[dict[str, Any]], digests: Mapping[str, str]
) -> dict[str, Any]:
    """The entry of the manifest for a split whose files are in `folder`."""
    sizes = {name: (folder / name).stat().st_size for name in file_names(split)}
    return {"images": count, "bytes": sizes, "xxh3": dict(digests), "blocks": blocks}


def npy_header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    """The header of an .npy file."""
    buffer = io.BytesIO()
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue()
