"""Read CIFAR-10 and CIFAR-100 from a folder or an archive, in each of the formats in which they are published.

These are the Python version (pickles), the binary version, both also as the `.tar.gz` that is downloaded, and the
Parquet files of Hugging Face. Nothing is extracted to disk, and nothing in a file is executed.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from textgen.common.array_types import U8
from textgen.common.characters import breaks_line
from textgen.common.errors import UserError
from textgen.dataset.cifar_parquet import find_parquet, read_parquet
from textgen.dataset.cifar_pickle import MAX_BYTES, read_pickle

Kind = Literal["cifar10", "cifar100"]

SIDE = 32  # pixels
PIXELS = 3 * SIDE * SIDE  # bytes of an image
MAX_IMAGES = 100_000  # of training and test together; CIFAR has 60,000
MAX_NAMES_BYTES = 1 << 20  # of a file with the names of classes
MAX_MEMBERS = 1000  # of an archive; CIFAR's have 5 to 9
MAX_ARCHIVE_BYTES = 256 << 20  # of all members; CIFAR's have 185 MB
CHUNK = 1 << 20  # bytes that are read from an archive at a time

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR100 = (
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can "
    "castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin "
    "elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster "
    "man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck "
    "pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk "
    "skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger "
    "tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm"
)
CLASSES: dict[Kind, tuple[str, ...]] = {
    "cifar10": CIFAR10,
    "cifar100": tuple(CIFAR100.split(" ")),
}  # in the order of labels


class Part(NamedTuple):
    """Images uint8 (n, 32, 32, 3), RGB, and labels int64 (n,)."""

    images: U8
    labels: NDArray[np.int64]


class Cifar(NamedTuple):
    """What a folder or an archive holds, in the order of its files."""

    train: Part
    test: Part
    classes: tuple[str, ...]


class Layout(NamedTuple):
    """A format by its files: training images, test images, names of classes."""

    kind: Kind
    folder: str  # its usual name
    train: tuple[str, ...]
    test: str
    names: str


BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
LAYOUTS = (
    Layout("cifar10", "cifar-10-batches-py", BATCHES, "test_batch", "batches.meta"),
    Layout(
        "cifar10",
        "cifar-10-batches-bin",
        tuple(f"{name}.bin" for name in BATCHES),
        "test_batch.bin",
        "batches.meta.txt",
    ),
    Layout("cifar100", "cifar-100-python", ("train",), "test", "meta"),
    Layout("cifar100", "cifar-100-binary", ("train.bin",), "test.bin", "fine_label_names.txt"),
)
PARQUET_FOLDERS = ("plain_text", "cifar100", "data")  # of Hugging Face's repositories
KNOWN_FILES = {name for layout in LAYOUTS for name in (*layout.train, layout.test, layout.names)}
FORMATS = "cifar-10-batches-py, cifar-10-batches-bin, cifar-100-python, cifar-100-binary, their .tar.gz, or Parquet"

Files = dict[str, Callable[[], bytes]]  # what reads a file, by its name


def read_cifar(path: Path, kind: Kind) -> Cifar:
    """Read the images of `path`: a folder in one of the formats, the folder above it, or an archive.

    Some batches or images may be missing, but not all of training or test. Raises `UserError` for a path that holds
    the other data set, several formats or none, and for a file that is damaged or has other sizes or labels than
    CIFAR's.
    """
    try:
        return _read(path, kind)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


def _read(path: Path, kind: Kind) -> Cifar:
    if not path.exists():
        raise UserError(f"{path} does not exist: give the folder or archive with your copy of CIFAR")
    if path.is_file():
        return _read_layout(path, _list_archive(path), kind)
    inner = (layout.folder for layout in LAYOUTS)
    holding = [
        folder for folder in (path, *(path / name for name in (*inner, *PARQUET_FOLDERS))) if _holds_cifar(folder)
    ]
    if not holding:
        raise UserError(f"{path} does not hold CIFAR: give {FORMATS}")
    if len(holding) > 1:
        raise UserError(f"{path} holds CIFAR several times: give one of {', '.join(map(str, holding))}")
    files = _list_folder(holding[0])
    parquet = find_parquet(holding[0])
    if parquet and _find_layouts(files):
        raise UserError(f"{holding[0]} holds Parquet files and batches: give a folder with one of both")
    if parquet:
        (train, test), names = read_parquet(parquet, kind, MAX_IMAGES, (SIDE, SIDE))
        names = ["crab" if name == "cra" else name for name in names]  # a slip in Hugging Face's names of CIFAR-100
        classes = _check_classes(names, kind, holding[0]) if names else CLASSES[kind]
        return _check_parts(holding[0], kind, Part(*train), Part(*test), classes)
    return _read_layout(holding[0], files, kind)


def _holds_cifar(folder: Path) -> bool:
    return folder.is_dir() and bool(_find_layouts(_list_folder(folder)) or find_parquet(folder))


def _find_layouts(files: Files) -> list[Layout]:
    return [layout for layout in LAYOUTS if any(name in files for name in (*layout.train, layout.test))]


def _read_layout(path: Path, files: Files, kind: Kind) -> Cifar:
    layouts = _find_layouts(files)
    if not layouts:
        raise UserError(f"{path} does not hold CIFAR: give {FORMATS}")
    if len(layouts) > 1:
        raise UserError(f"{path} holds files of {' and '.join(each.folder for each in layouts)}: give one of them")
    (layout,) = layouts
    if layout.kind != kind:
        raise UserError(
            f"{path} holds {layout.folder}, which is {layout.kind}: give a copy of {kind}, or task={layout.kind}"
        )
    given = [name for name in layout.train if name in files]
    missing = [name for name, found in ((layout.train[0], given), (layout.test, layout.test in files)) if not found]
    if missing:
        raise UserError(f"{path} has no {missing[0]}: copy or download it again")
    pickled = not layout.test.endswith(".bin")
    read = _read_pickled_batch if pickled else _read_binary_batch
    parts = []
    count = 0
    for name in (*given, layout.test):
        parts.append(read(files.pop(name)(), str(path / name), kind))
        count += len(parts[-1].labels)
        if count > MAX_IMAGES:
            raise UserError(f"{path} holds more than {MAX_IMAGES:,} images: give CIFAR, which has 60,000")
    classes = CLASSES[kind]
    if layout.names in files:
        read_names = _read_pickled_names if pickled else _read_text_names
        names_path = path / layout.names
        classes = _check_classes(read_names(files[layout.names](), str(names_path)), kind, names_path)
    train = Part(*(np.concatenate(arrays) for arrays in zip(*parts[:-1], strict=True)))
    return _check_parts(path, kind, train, parts[-1], classes)


def _check_parts(path: Path, kind: Kind, train: Part, test: Part, classes: tuple[str, ...]) -> Cifar:
    for name, part in (("training", train), ("test", test)):
        if not len(part.labels):
            raise UserError(f"{path} holds no {name} images: copy or download it again")
        low, high = int(part.labels.min()), int(part.labels.max())
        if low < 0 or high >= len(classes):
            wrong = low if low < 0 else high
            raise UserError(f"{path}: a {name} image has label {wrong}, {kind} has 0 to {len(classes) - 1}")
    return Cifar(train, test, classes)


def _check_classes(names: Sequence[Any], kind: Kind, path: Path) -> tuple[str, ...]:
    count = len(CLASSES[kind])
    good = all(isinstance(name, str) and 0 < len(name) <= 100 and not breaks_line(name) for name in names)
    if not good or len(names) != count or len(set(names)) != count:
        raise UserError(f"{path} does not name the {count} different classes of {kind}: copy or download it again")
    return tuple(names)


# Batches.


def _read_pickled_batch(data: bytes, name: str, kind: Kind) -> Part:
    batch = read_pickle(data, name)
    labels, images = batch.get("labels" if kind == "cifar10" else "fine_labels"), batch.get("data")
    if not isinstance(labels, list) or not isinstance(images, np.ndarray):
        raise UserError(f"{name} holds no data and labels of {kind}: download it again")
    if not all(type(label) is int for label in labels):
        raise UserError(f"{name} holds a label that is no whole number: download it again")
    if images.ndim != 2 or images.shape[1] != PIXELS or len(images) != len(labels):
        shape = "×".join(map(str, images.shape))
        raise UserError(f"{name} holds {shape} bytes for {len(labels):,} labels, not {PIXELS} each: download it again")
    return Part(_to_images(images), np.array(labels, np.int64))


def _read_binary_batch(data: bytes, name: str, kind: Kind) -> Part:
    labels = 1 if kind == "cifar10" else 2  # the coarse label comes first, the fine one stands before the pixels
    row = labels + PIXELS
    if len(data) % row:
        raise UserError(f"{name} has {len(data):,} bytes, no multiple of {row}: its end is missing, download it again")
    rows = np.frombuffer(data, np.uint8).reshape(-1, row)
    return Part(_to_images(rows[:, labels:]), rows[:, labels - 1].astype(np.int64))


def _to_images(rows: U8) -> U8:
    """Planes (n, 3·32·32) of red, green and blue -> images (n, 32, 32, 3)."""
    return np.ascontiguousarray(rows.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1))


def _read_pickled_names(data: bytes, name: str) -> list[str]:
    meta = read_pickle(data, name)
    names = meta.get("label_names", meta.get("fine_label_names"))
    if not isinstance(names, list) or not all(isinstance(each, bytes | str) for each in names):
        raise UserError(f"{name} holds no names of classes: download it again, or remove it")
    return [each.decode("latin-1") if isinstance(each, bytes) else each for each in names]


def _read_text_names(data: bytes, name: str) -> list[str]:
    try:
        lines = data[:MAX_NAMES_BYTES].decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise UserError(f"{name} is not UTF-8: download it again, or remove it") from None
    return [line.strip() for line in lines if line.strip()]


# Folders and archives.


def _list_folder(folder: Path) -> Files:
    names = [name for name in sorted(KNOWN_FILES) if (folder / name).is_file()]
    return {name: partial(_read_file, folder / name) for name in names}


def _read_file(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from None
    if len(data) > MAX_BYTES:
        raise UserError(f"{file} has more than {MAX_BYTES >> 20} MiB: no file of CIFAR has")
    return data


def _list_archive(path: Path) -> Files:
    """Read the members with the names of CIFAR's files into memory."""
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            with closing(cast(BinaryIO, gzip.GzipFile(fileobj=file)) if packed else file) as content:
                return _read_members(content, path)
    except (tarfile.TarError, zlib.error, OSError, EOFError, ValueError, RecursionError, OverflowError) as error:
        if isinstance(error, UserError):
            raise
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is damaged, or no .tar.gz"
        raise UserError(f"{path} cannot be read: {reason}; download it again") from None


class _ShortReads:
    """A file that refuses long reads, which `tarfile` makes for headers of any length that an archive claims."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        """At most `CHUNK` bytes."""
        if not 0 <= size <= CHUNK:
            raise tarfile.ReadError("a header is too long")
        return self._file.read(size)


def _read_members(content: BinaryIO, path: Path) -> Files:
    files: Files = {}
    total = 0
    with tarfile.open(fileobj=cast(BinaryIO, _ShortReads(content)), mode="r:") as archive:
        for number, member in enumerate(archive):
            total += member.size
            if number >= MAX_MEMBERS or not 0 <= member.size <= MAX_BYTES or total > MAX_ARCHIVE_BYTES:
                raise UserError(f"{path} is larger than any archive of CIFAR: download it again")
            name = member.name.rpartition("/")[2]
            if name not in KNOWN_FILES or not member.isreg() or member.issparse():
                continue
            if name in files:
                raise UserError(f"{path} holds {name} twice: download it again")
            data = io.BytesIO()
            with cast(io.BufferedReader, archive.extractfile(member)) as opened:
                while chunk := opened.read(CHUNK):
                    data.write(chunk)
            if data.tell() != member.size:
                raise tarfile.ReadError("its end is missing")
            files[name] = data.getvalue
    while chunk := content.read(CHUNK):  # to its end, where gzip compares the checksum
        total += len(chunk)
        if total > MAX_ARCHIVE_BYTES:
            raise UserError(f"{path} is larger than any archive of CIFAR: download it again")
    return files
