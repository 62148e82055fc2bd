"""Write a data set as ImageFolder, Parquet or WebDataset. docs/how-to/formats.md describes the formats."""

from __future__ import annotations

import csv
import io
import json
import os
import tarfile
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from textgen.common.atomic import OTHER_OUT, atomic_folder
from textgen.common.errors import UserError
from textgen.common.parquet import import_pyarrow
from textgen.common.pictures import choose_chunk_size, map_in_threads
from textgen.common.progress import progress_bar
from textgen.dataset.imagefolder import class_folders
from textgen.dataset.store import Dataset, StoredSplit, damaged_error, labels_fit
from textgen.dataset.text_files import check_line
from textgen.spec.label_fields import LabelFields
from textgen.spec.values import OTHER

INFO_FILE = "export.json"  # describes the export; overwrite=true replaces only folders that contain it
SHARD_BYTES = 256 << 20  # maximum size of a parquet or tar file
GROUP, GROUP_BYTES = 1000, 16 << 20  # rows per parquet row group
PNG_OPTIONS = [cv2.IMWRITE_PNG_COMPRESSION, 3]  # level 9 takes 25 % longer and saves 1 %


class Sample(NamedTuple):
    """One row of a split, with its image as the bytes of a PNG file."""

    row: int
    png: bytes
    labels: tuple[int, ...]  # one for each field
    text: str


def export(dataset: Dataset, to: str, out: Path, *, overwrite: bool = False, quiet: bool = False) -> None:
    """Write all splits of `dataset` to the folder `out` in the format `to`; `out` appears once it is complete.

    The same data set gives the same bytes. Raises `UserError` for an existing folder, an unknown format, a missing
    library, a full disk or a missing permission.
    """
    check_target(to, out, overwrite)
    _check_content(dataset)
    with atomic_folder(out, OTHER_OUT, "replace" if overwrite else "refuse") as folder:
        total = sum(len(split.labels) for split in dataset.splits.values())
        with progress_bar(total, f"to {to}", quiet=quiet) as progress:
            for name, split in dataset.splits.items():
                with closing(_encode_samples(split, progress)) as samples:  # so that its threads end on an error
                    FORMATS[to](folder, name, split, samples, dataset.fields)
        if dataset.fields.is_single:
            # Readers drop a byte order mark at the start of a file: add one before a class name that starts with one.
            encoding = "utf-8-sig" if dataset.classes[0].startswith("\ufeff") else "utf-8"
            _write_text(folder / "classes.txt", "".join(f"{name}\n" for name in dataset.classes), encoding)
        counts = {name: len(split.labels) for name, split in dataset.splits.items()}
        label = {} if dataset.fields.is_single else {"label": dataset.fields.describe()}
        info = {"format": to, "dataset": dataset.hash, "classes": dataset.classes, **label, "images": counts}
        _write_text(folder / INFO_FILE, json.dumps(info, indent=1) + "\n")


def check_target(to: str, out: Path, overwrite: bool) -> None:
    """Raise the `UserError` that `export` would raise for its format and folder, before the data set is built."""
    if to not in FORMATS:
        raise UserError(f"to={to} is no format: give one of {', '.join(FORMATS)}")
    if to == "parquet":
        import_pyarrow("to=parquet")
    if not os.path.lexists(out):
        return
    if not overwrite:
        raise UserError(f"{out} exists: choose {OTHER_OUT}, or replace an older export with overwrite=true")
    if not (out / INFO_FILE).is_file():
        raise UserError(f"{out} is not an older export, and overwrite=true replaces nothing else: choose {OTHER_OUT}")


def _check_content(dataset: Dataset) -> None:
    for name in dataset.classes:
        check_line(name, f"class {name!r}")
    for name, split in dataset.splits.items():
        images, labels, texts = split.images, split.labels, split.texts
        if not len(images) == len(labels) == len(texts):
            raise damaged_error(
                dataset.path, f"split {name} has {len(images)} images, {len(labels)} labels, {len(texts)} texts"
            )
        if not labels_fit(labels, dataset.fields):
            raise damaged_error(dataset.path, f"split {name} has a label outside its {len(dataset.classes)} classes")


def _encode_samples(split: StoredSplit, progress: Any) -> Generator[Sample, None, None]:
    """Encode the rows of a split on all cores and yield them in order; a few chunks are in memory at once."""
    count = len(split.labels)
    rows = choose_chunk_size(_image_bytes(split))
    chunks = map_in_threads(lambda start: _encode_pngs(split.images[start : start + rows]), range(0, count, rows))
    pngs = (png for chunk in chunks for png in chunk)
    rows_of_labels = split.labels[:, None] if split.labels.ndim == 1 else split.labels
    for row, (png, labels, text) in enumerate(zip(pngs, rows_of_labels, split.texts, strict=True)):
        yield Sample(row, png, tuple(labels.tolist()), text)
        progress.update()


def _encode_pngs(images: Any) -> list[bytes]:
    """Encode images uint8 (n, H, W, 3), RGB, as PNG files."""
    return [cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]), PNG_OPTIONS)[1].tobytes() for image in images]


# The formats. Each function writes one split.


def _write_imagefolder(
    folder: Path, name: str, split: StoredSplit, samples: Iterator[Sample], fields: LabelFields
) -> None:
    """With one field a folder a class; with several all pictures beside the table, which has a column a field."""
    folders = class_folders(fields.classes) if fields.is_single else []
    for class_folder in folders:  # also for a class without images: readers number the folders
        (folder / name / class_folder).mkdir(parents=True)
    (folder / name).mkdir(exist_ok=True)
    with (folder / name / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["file_name", *_column_names(fields), "text"])
        for row, png, labels, text in samples:
            file_name = f"{folders[labels[0]]}/{row:06}.png" if folders else f"{row:06}.png"
            (folder / name / file_name).write_bytes(png)
            table.writerow(
                [file_name, *(labels if folders else fields.values(labels)), text if folders else text or OTHER]
            )


def _column_names(fields: LabelFields) -> tuple[str, ...]:
    """Those of the columns of labels: "label" for one field, else the names of the fields."""
    return ("label",) if fields.is_single else fields.names


def _write_parquet(folder: Path, name: str, split: StoredSplit, samples: Iterator[Sample], fields: LabelFields) -> None:
    pa, pq = import_pyarrow("to=parquet")
    features = {
        "image": {"_type": "Image"},
        **{
            column: {"names": list(of.classes), "_type": "ClassLabel"}
            for column, of in zip(_column_names(fields), fields.fields, strict=True)
        },
        "text": {"dtype": "string", "_type": "Value"},
    }
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    names = _column_names(fields)
    schema = pa.schema([("image", image), *((column, pa.int64()) for column in names), ("text", pa.string())])
    schema = schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    group = max(1, min(GROUP, GROUP_BYTES // _image_bytes(split)))
    shards = _split_into_files(split, samples)
    for number, shard in enumerate(shards):
        path = folder / f"{name}-{number:05}-of-{len(shards):05}.parquet"
        # PNGs are compressed already, and the statistics of a column of images would store whole images.
        options = {"compression": "none", "use_dictionary": ["text"], "write_statistics": [*names, "text"]}
        with path.open("wb") as file, pq.ParquetWriter(file, schema, **options) as writer:
            while rows := list(islice(shard, group)):
                images = [{"bytes": row.png, "path": f"{name}-{row.row:06}.png"} for row in rows]
                labels = [list(column) for column in zip(*(row.labels for row in rows), strict=True)]
                columns = [images, *labels, [row.text for row in rows]]
                writer.write_table(pa.table(columns, schema=schema), row_group_size=group)


def _write_webdataset(
    folder: Path, name: str, split: StoredSplit, samples: Iterator[Sample], fields: LabelFields
) -> None:
    for number, shard in enumerate(_split_into_files(split, samples)):
        with tarfile.open(folder / f"{name}-{number:06}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for row, png, labels, text in shard:
                if fields.is_single:
                    label = "cls", str(labels[0]).encode()
                else:
                    label = "json", json.dumps(dict(zip(fields.names, labels, strict=True))).encode()
                for suffix, content in (("png", png), label, ("txt", text.encode())):
                    member = tarfile.TarInfo(f"{row:06}.{suffix}")  # no time, owner 0, mode 0644
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))


FORMATS: dict[str, Callable[[Path, str, StoredSplit, Iterator[Sample], LabelFields], None]] = {
    "imagefolder": _write_imagefolder,
    "parquet": _write_parquet,
    "webdataset": _write_webdataset,
}


def _split_into_files(split: StoredSplit, samples: Iterator[Sample]) -> list[Iterator[Sample]]:
    """Split the samples into files of at most SHARD_BYTES each, at least one; consume the iterators in order.

    A PNG is at most slightly larger than its pixels, so the number of files is known before the first image is
    encoded. 4096 bytes per sample are reserved for the text, the label and the tar headers.
    """
    rows = max(1, SHARD_BYTES // (_image_bytes(split) * 257 // 256 + 4096))
    return [islice(samples, rows) for _ in range(0, max(len(split.labels), 1), rows)]


def _image_bytes(split: StoredSplit) -> int:
    """The bytes of one uncompressed image."""
    return int(np.prod(split.images.shape[1:]))


def _write_text(path: Path, content: str, encoding: str = "utf-8") -> None:
    path.write_text(content, encoding=encoding, newline="\n")
