"""Read CIFAR-10 and CIFAR-100 from the Parquet files of Hugging Face."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textgen.common.array_types import U8
from textgen.common.errors import UserError
from textgen.common.parquet import import_pyarrow, reading_errors
from textgen.common.pictures import CHUNK, Size, map_in_threads, open_picture

FILE_NAME = re.compile(r"(train|test)-[\w-]+\.parquet", re.ASCII)
MAX_BYTES = 256 << 20  # of a file, and of its columns when they are unpacked; CIFAR's have 120 MB
MAX_PICTURE_BYTES = 64 << 10  # of one picture file; CIFAR's have 2 kB
MAX_SCHEMA_BYTES = 1 << 20
IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = {"cifar10": ("label",), "cifar100": ("fine_label", "label")}

Shards = tuple[list[Path], list[Path]]  # of training and test
Arrays = tuple[U8, NDArray[np.int64]]  # images (n, H, W, 3) and labels (n,)


def find_parquet(folder: Path) -> Shards | None:
    """The files `train-….parquet` and `test-….parquet` of a folder, in order of their names; None if it has none."""
    found = sorted(file for file in folder.glob("*.parquet") if FILE_NAME.fullmatch(file.name) and file.is_file())
    train, test = ([file for file in found if file.name.startswith(name)] for name in ("train-", "test-"))
    return (train, test) if found else None


def read_parquet(files: Shards, kind: str, max_images: int, size: Size) -> tuple[tuple[Arrays, Arrays], list[Any]]:
    """Read training and test images of `size` (H, W) with their labels, and the names of classes, if files have any.

    Raises `UserError` for a missing library, a file that is damaged or has other columns, a picture of another size,
    and more images than `max_images`.
    """
    parts: list[Arrays] = []
    names: list[Any] = []
    left = max_images
    for split, shards in zip(("train", "test"), files, strict=True):
        if not shards:
            raise UserError(f"{(files[0] or files[1])[0].parent} has no {split}-*.parquet: copy or download it again")
        images, labels = [], []
        for shard in shards:
            for image_chunk, label_chunk in _read_shard(shard, kind, size, left, names):
                images.append(image_chunk)
                labels.append(label_chunk)
                left -= len(label_chunk)
        parts.append((_join(images, (0, *size, 3), np.uint8), _join(labels, (0,), np.int64)))
    return (parts[0], parts[1]), names


def _join(arrays: Sequence[NDArray[Any]], empty: tuple[int, ...], dtype: type) -> NDArray[Any]:
    return np.concatenate(arrays) if arrays else np.empty(empty, dtype)


def _read_shard(path: Path, kind: str, size: Size, max_images: int, names: list[Any]) -> Iterator[Arrays]:
    """Yield the images and labels of a file, in chunks; put the names of classes into `names`."""
    _, pq = import_pyarrow()
    try:
        with pq.ParquetFile(path) as file:
            image, label = _find_columns(file.schema_arrow, kind, path)
            _check_amount(file.metadata, path, max_images)
            found = _class_names(file.schema_arrow.metadata or {}, label)
            if names and found and found != names:
                raise UserError(f"{path} names other classes than the files before it: give files of one data set")
            names[:] = found or names
            chunks = file.iter_batches(CHUNK, columns=[image, label])
            yield from map_in_threads(partial(_decode, columns=(image, label), path=path, size=size), chunks)
    except UserError:
        raise
    except reading_errors() as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} is no Parquet file of CIFAR, or is damaged: {reason}") from None


def _find_columns(schema: Any, kind: str, path: Path) -> tuple[str, str]:
    types = import_pyarrow()[0].types
    if kind == "cifar10" and "fine_label" in schema.names:
        raise UserError(f"{path} has a column fine_label, which cifar100 has: give a copy of cifar10, or task=cifar100")
    image = next((name for name in IMAGE_COLUMNS if name in schema.names), None)
    label = next((name for name in LABEL_COLUMNS[kind] if name in schema.names), None)
    if image is None or label is None:
        wanted = f"{' or '.join(IMAGE_COLUMNS)}, and {' or '.join(LABEL_COLUMNS[kind])}"
        raise UserError(f"{path} has the columns {', '.join(schema.names)[:200]}; {kind} has {wanted}")
    struct = schema.field(image).type
    if not types.is_struct(struct) or struct.get_field_index("bytes") < 0:
        raise UserError(f"{path}: column {image} holds no pictures, which have bytes and path")
    held = struct.field(struct.get_field_index("bytes")).type
    if not types.is_binary(held) and not types.is_large_binary(held):
        raise UserError(f"{path}: column {image} holds no pictures, which have bytes and path")
    if not types.is_integer(schema.field(label).type):
        raise UserError(f"{path}: column {label} holds no whole numbers")
    return image, label


def _check_amount(metadata: Any, path: Path, max_images: int) -> None:
    """Refuse a file that would unpack to much more than CIFAR, before its columns are read."""
    if metadata.num_rows > max_images:
        raise UserError(f"{path} brings the images to more than CIFAR's 60,000: give one copy of it")
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    if path.stat().st_size > MAX_BYTES or sum(group.total_byte_size for group in groups) > MAX_BYTES:
        raise UserError(f"{path} has more than {MAX_BYTES >> 20} MiB: no file of CIFAR has")


def _class_names(metadata: dict[bytes, bytes], label: str) -> list[Any]:
    """The names of the classes that Hugging Face's library writes into a schema; empty if it has none."""
    try:
        text = metadata.get(b"huggingface", b"")
        names = json.loads(text[:MAX_SCHEMA_BYTES])["info"]["features"][label]["names"] if text else []
    except (ValueError, KeyError, TypeError, RecursionError):
        return []
    return names if isinstance(names, list) else []


def _decode(chunk: Any, columns: tuple[str, str], path: Path, size: Size) -> Arrays:
    pictures, labels = (chunk.column(chunk.schema.get_field_index(name)).to_pylist() for name in columns)
    if any(label is None for label in labels):
        raise UserError(f"{path} has an image without a label: give the data set with labels")
    images = [_decode_picture(picture, path, size) for picture in pictures]
    return np.stack(images), np.array(labels, np.int64)


def _decode_picture(picture: Any, path: Path, size: Size) -> U8:
    data = (picture or {}).get("bytes")
    if not data or len(data) > MAX_PICTURE_BYTES:
        raise UserError(f"{path} has an image of {len(data or b''):,} bytes: CIFAR's have 1 to {MAX_PICTURE_BYTES:,}")
    with open_picture(data, f"{path}: an image", max_pixels=size[0] * size[1]) as opened:
        if opened.size != size:
            found = "×".join(map(str, opened.size))
            raise UserError(f"{path}: an image has {found} pixels, CIFAR's have {size[0]}×{size[1]}")
        return opened.decode_rgb()
