"""`python -m textgen.export game=… to=… out=…`: a data set in a format that others read. docs/formats.md has them."""

from __future__ import annotations

import csv
import importlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import cv2
import hydra
import numpy as np
from omegaconf import DictConfig
from pydantic import ConfigDict, StrictBool
from pydantic.dataclasses import dataclass

from textgen.common import hydra_app
from textgen.common.atomic import OTHER_OUT, atomic_folder
from textgen.common.errors import UserError
from textgen.common.pictures import map_in_threads
from textgen.common.progress import progress_bar
from textgen.common.validation import Positive, Seed, UserPath, validate
from textgen.dataset.build import ensure_dataset
from textgen.dataset.imagefolder import check_line, class_folders
from textgen.dataset.store import Dataset, StoredSplit, damaged_error
from textgen.schema.definition import command_settings, parse_definition

ABOUT = "export.json"  # what was exported; only a folder that holds it is ever replaced
CHUNK, CHUNK_BYTES = 64, 4 << 20  # images a task of a thread
SHARD_BYTES = 256 << 20  # of a parquet or tar file, at most
GROUP, GROUP_BYTES = 1000, 16 << 20  # rows of a parquet file that are read at once
COMPRESSION = [cv2.IMWRITE_PNG_COMPRESSION, 3]  # 9 takes a quarter longer for one percent


class Sample(NamedTuple):
    """One row of a split, its image as a PNG file's bytes."""

    row: int
    png: bytes
    label: int
    text: str


def export(dataset: Dataset, to: str, out: Path, *, overwrite: bool = False, quiet: bool = False) -> None:
    """Write all splits of `dataset` as the folder `out`, in the format `to`; it is there when it is whole.

    The same data set gives the same bytes. Raises `UserError` for a folder that exists, a format that is not known or
    lacks its library, no room, no permission.
    """
    check(to, out, overwrite)
    _check_content(dataset)
    with atomic_folder(out, OTHER_OUT, "replace" if overwrite else "refuse") as folder:
        total = sum(len(split.labels) for split in dataset.splits.values())
        with progress_bar(total, f"to {to}", quiet=quiet) as shown:
            for name, split in dataset.splits.items():
                with closing(_samples(split, shown)) as samples:  # or its threads would outlive an error
                    FORMATS[to](folder, name, split, samples, dataset.classes)
        # A byte order mark that belongs to the first class would be taken for that of the file: give the file one.
        encoding = "utf-8-sig" if dataset.classes[0].startswith("\ufeff") else "utf-8"
        _text(folder / "classes.txt", "".join(f"{name}\n" for name in dataset.classes), encoding)
        counts = {name: len(split.labels) for name, split in dataset.splits.items()}
        about = {"format": to, "dataset": dataset.hash, "classes": dataset.classes, "images": counts}
        _text(folder / ABOUT, json.dumps(about, indent=1) + "\n")


def check(to: str, out: Path, overwrite: bool) -> None:
    """Raise the `UserError` that `export` would end in, before a data set is built for it."""
    if to not in FORMATS:
        raise UserError(f"to={to} is no format: give one of {', '.join(FORMATS)}")
    if to == "parquet":
        _pyarrow()
    if not os.path.lexists(out):
        return
    if not overwrite:
        raise UserError(f"{out} exists: choose {OTHER_OUT}, or replace an older export with overwrite=true")
    if not (out / ABOUT).is_file():
        raise UserError(f"{out} is no older export, which alone overwrite=true replaces: choose {OTHER_OUT}")


def _check_content(dataset: Dataset) -> None:
    for name in dataset.classes:
        check_line(name, f"class {name!r}")
    for name, split in dataset.splits.items():
        images, labels, texts = split.images, split.labels, split.texts
        if not len(images) == len(labels) == len(texts):
            raise damaged_error(
                dataset.path, f"split {name} has {len(images)} images, {len(labels)} labels, {len(texts)} texts"
            )
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(dataset.classes):
            raise damaged_error(
                dataset.path, f"split {name} has a label that is none of {len(dataset.classes)} classes"
            )


def _samples(split: StoredSplit, shown: Any) -> Generator[Sample, None, None]:
    """The rows of a split in order, encoded on all cores; a few chunks are in memory at once."""
    count = len(split.labels)
    per = max(1, min(CHUNK, CHUNK_BYTES // _image_bytes(split)))
    chunks = map_in_threads(lambda start: _pngs(split.images[start : start + per]), range(0, count, per))
    pngs = (png for chunk in chunks for png in chunk)
    for row, (png, label, text) in enumerate(zip(pngs, split.labels, split.texts, strict=True)):
        yield Sample(row, png, int(label), text)
        shown.update()


def _pngs(images: Any) -> list[bytes]:
    """Images uint8 (n, H, W, 3), RGB, as PNG files."""
    return [cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]), COMPRESSION)[1].tobytes() for image in images]


# The formats. Each writes one split.


def _imagefolder(
    folder: Path, name: str, split: StoredSplit, samples: Iterator[Sample], classes: tuple[str, ...]
) -> None:
    folders = class_folders(classes)
    for of_class in folders:  # also of a class without images: a folder that lacks would shift the labels of the others
        (folder / name / of_class).mkdir(parents=True)
    with (folder / name / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["file_name", "label", "text"])
        for row, png, label, text in samples:
            file_name = f"{folders[label]}/{row:06}.png"
            (folder / name / file_name).write_bytes(png)
            table.writerow([file_name, label, text])


def _parquet(folder: Path, name: str, split: StoredSplit, samples: Iterator[Sample], classes: tuple[str, ...]) -> None:
    pa, pq = _pyarrow()
    features = {
        "image": {"_type": "Image"},
        "label": {"names": list(classes), "_type": "ClassLabel"},
        "text": {"dtype": "string", "_type": "Value"},
    }
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([("image", image), ("label", pa.int64()), ("text", pa.string())])
    schema = schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    group = max(1, min(GROUP, GROUP_BYTES // _image_bytes(split)))
    shards = _shards(split, samples)
    for number, shard in enumerate(shards):
        path = folder / f"{name}-{number:05}-of-{len(shards):05}.parquet"
        # PNGs do not shrink further, and statistics of their bytes would be bytes of theirs.
        options = {"compression": "none", "use_dictionary": ["text"], "write_statistics": ["label", "text"]}
        with path.open("wb") as file, pq.ParquetWriter(file, schema, **options) as writer:
            while rows := list(islice(shard, group)):
                images = [{"bytes": row.png, "path": f"{name}-{row.row:06}.png"} for row in rows]
                columns = [images, [row.label for row in rows], [row.text for row in rows]]
                writer.write_table(pa.table(columns, schema=schema), row_group_size=group)


def _webdataset(
    folder: Path, name: str, split: StoredSplit, samples: Iterator[Sample], classes: tuple[str, ...]
) -> None:
    for number, shard in enumerate(_shards(split, samples)):
        with tarfile.open(folder / f"{name}-{number:06}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for row, png, label, text in shard:
                for suffix, content in (("png", png), ("cls", str(label).encode()), ("txt", text.encode())):
                    member = tarfile.TarInfo(f"{row:06}.{suffix}")  # no time, owner 0, mode 0644
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))


FORMATS: dict[str, Callable[[Path, str, StoredSplit, Iterator[Sample], tuple[str, ...]], None]] = {
    "imagefolder": _imagefolder,
    "parquet": _parquet,
    "webdataset": _webdataset,
}


def _shards(split: StoredSplit, samples: Iterator[Sample]) -> list[Iterator[Sample]]:
    """The samples in files of at most SHARD_BYTES each, at least one; to be read one after the other.

    A PNG is at most a little larger than its pixels, so that the number of files is known before the first image is
    encoded. Four kilobytes hold the text, the label and the headers of a tar archive.
    """
    per = max(1, SHARD_BYTES // (_image_bytes(split) * 257 // 256 + 4096))
    return [islice(samples, per) for _ in range(0, max(len(split.labels), 1), per)]


def _image_bytes(split: StoredSplit) -> int:
    return int(np.prod(split.images.shape[1:]))


def _text(path: Path, content: str, encoding: str = "utf-8") -> None:
    path.write_text(content, encoding=encoding, newline="\n")


def _pyarrow() -> tuple[Any, Any]:
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise UserError("to=parquet needs pyarrow: install the extra formats, pip install '.[formats]'") from None


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Settings:
    """The settings of conf/export.yaml outside the data set's definition."""

    to: Literal["imagefolder", "parquet", "webdataset"]
    out: UserPath
    overwrite: StrictBool
    data: UserPath
    seed: Seed
    workers: Positive | None
    rebuild: StrictBool


@hydra.main(version_base="1.3", config_path="pkg://conf", config_name="export")
@hydra_app.command
def _main(config: DictConfig) -> None:
    c = hydra_app.to_plain(config)
    s = validate(Settings, command_settings(c))
    check(s.to, s.out, s.overwrite)
    dataset = ensure_dataset(parse_definition(c, s.seed), s.data, workers=s.workers, rebuild=s.rebuild)
    export(dataset, s.to, s.out, overwrite=s.overwrite)
    print(s.out)


def main() -> None:
    """The console script."""
    hydra_app.run(_main, "export")
