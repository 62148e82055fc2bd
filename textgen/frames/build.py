"""Build the data set of a video task: scaled frames, labelled by a table, in contiguous chunks of the video."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from textgen.common.array_types import U8
from textgen.common.atomic import atomic_folder, file_lock, os_errors_as_user_errors
from textgen.common.digests import digest_file
from textgen.common.errors import UserError
from textgen.common.pyav import import_pyav
from textgen.dataset.store import (
    FORMAT,
    OTHER_DATA_FOLDER,
    Dataset,
    SplitWriter,
    damaged_error,
    open_dataset,
)
from textgen.footage.frames import URL
from textgen.footage.picture_files import find_pattern
from textgen.footage.video import NEEDS_PYAV
from textgen.frames.chunks import Chunk, list_chunks
from textgen.frames.decode import DecodedFrames, decode_frames
from textgen.frames.label_table import LabelTable, read_label_table
from textgen.frames.preparation import MEAN, Preparation
from textgen.frames.settings import CLASSES, FRAME_SPLITS, FrameTask

BUILDER = 1  # part of the hash: increment it when the same video and table give other arrays
LIBRARIES = ("numpy", "opencv-python-headless", "av")  # their versions are part of the hash: they can change pixels
WRITTEN = 4096  # frames that are labelled and written at once


def ensure_frames(task: FrameTask, source: Path, labels: Path, out: Path, *, rebuild: bool = False) -> Dataset:
    """The data set of `task` in `<out>/<name>/<hash>/`, built unless it exists, and verified.

    `source` is a video file, a folder of pictures or a pattern such as "shot_%05d.png". Classes are "absent" and
    "present"; the text of a sample is the number of its frame. Memory is bounded; the frames of a build that was
    stopped are kept beside the data set. Raises `UserError` for a source, a table or settings that are wrong.
    """
    source, labels = source.expanduser(), labels.expanduser()
    if URL.match(str(source)) or not (source.exists() or "%" in source.name):
        raise UserError(f"source={source} is no file or folder: give the video that labels={labels} is about")
    if not labels.is_file():
        raise UserError(f"labels={labels} is no file: give a table of {task.columns.frame}, … in CSV or Parquet")
    import_pyav(NEEDS_PYAV)
    table = read_label_table(labels, task)
    if task.step % table.every:
        raise UserError(
            f"labels={labels} has one frame in {table.every} labelled: give task.step={table.every}, or a multiple"
        )
    first, end = task.range or (0, (table.labelled.last or 0) + 1)  # the true end is known when it is decoded
    table.labelled.check(labels, first, end)
    identity, pixels = _identify(task, source, labels, table)
    target = out.expanduser() / task.name / identity["hash"][:16]
    partial = target.with_name(f".{pixels}.partial")  # with other labels the same frames are decoded
    with os_errors_as_user_errors(target, OTHER_DATA_FOLDER):
        target.parent.mkdir(parents=True, exist_ok=True)
        with file_lock(target.with_name(f".{pixels}.lock"), f"another process builds {target}"):
            if rebuild or not target.exists():
                decoded = decode_frames(task, source, partial)
                table.labelled.check(labels, *(task.range or (0, decoded.decoded)))
                with atomic_folder(target, OTHER_DATA_FOLDER, "replace" if rebuild else "keep") as folder:
                    _write_dataset(folder, identity, task, table, decoded)
                shutil.rmtree(partial, ignore_errors=True)
                dataset = open_dataset(target)
                print("\n".join(describe_frames(dataset)), file=sys.stderr)
                return dataset
            shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed before it removed it
    dataset = open_dataset(target)
    same = all(dataset.manifest.get(key) == json.loads(json.dumps(value)) for key, value in identity.items())
    if not same or dataset.classes != CLASSES:
        raise damaged_error(target, "its manifest belongs to another video")
    return dataset


def open_frames_dataset(path: Path, task: FrameTask) -> Dataset:
    """Open the data set of a video task that was built before, for example on another machine. Raises `UserError`."""
    dataset = open_dataset(path.expanduser())
    if "video" not in dataset.manifest or dataset.classes != CLASSES:
        raise UserError(f"path={path} is no data set of a video task: give what python -m textgen.frames printed")
    built = {**dataset.manifest["task"], "name": task.name}
    given = json.loads(json.dumps({key: value for key, value in asdict(task).items() if key != "network"}))
    if differs := [key for key in given if built.get(key) != given[key]]:
        had = json.dumps(built.get(differs[0]))
        raise UserError(
            f"path={path} was built with task.{differs[0]}={had}, and this is another: give the same settings"
        )
    return dataset


def describe_frames(dataset: Dataset) -> list[str]:
    """Lines about the data set of a video task: where its chunks lie, how balanced they are, and what was odd."""
    video = dataset.manifest["video"]
    lines = []
    if video["declared"] not in (None, video["decoded"]) and not video["range"]:
        lines.append(f"note: the video declares {video['declared']:,} frames and has {video['decoded']:,}")
    if video["problem"]:
        lines.append(f"note: {video['problem']}")
    if video["labels"]["beyond"]:
        lines.append(f"note: {video['labels']['beyond']:,} labelled frames lie behind the last frame of the video")
    for chunk in video["chunks"]:
        share = chunk["present"] / chunk["frames"]
        lines.append(
            f"{chunk['split']}: chunk {chunk['number']}, frames {chunk['first']:,} to {chunk['last'] - 1:,}:"
            f" {chunk['frames']:,} taken, {share:.1%} {CLASSES[1]}"
        )
    return lines


@dataclass
class _Written:
    """What the manifest says about a split."""

    entry: dict[str, Any]
    present: dict[int, int]  # frames with the object by the number of the chunk
    taken: dict[int, int]


def _write_dataset(
    folder: Path, identity: dict[str, Any], task: FrameTask, table: LabelTable, decoded: DecodedFrames
) -> None:
    chunks = list_chunks(task, task.range[1] if task.range else decoded.decoded)
    for chunk in chunks:
        if not chunk.count(task.step):
            raise UserError(
                f"chunk {chunk.number} of {task.split.chunks} has no frames, the video has {decoded.decoded:,}:"
                " give fewer task.split.chunks, or a smaller task.step"
            )
    presence = table.presence(decoded.decoded, task.window)
    _check_classes(chunks, presence, task)
    mean = _mean_frame(decoded) if task.subtract_mean else None
    if mean is not None:
        Image.fromarray(mean).save(folder / MEAN)
    prepare = Preparation((task.size[0], task.size[1]), mean)
    written = {split: _write_split(folder, split, decoded, presence, prepare, chunks) for split in FRAME_SPLITS}
    video = {
        "declared": decoded.declared,
        "decoded": decoded.decoded,
        "rate": decoded.rate,
        "range": task.range,
        "problem": decoded.problem,
        "labels": {
            "rows": table.rows,
            "objects": table.objects,
            "below_threshold": table.below,
            "frames": len(table.frames),
            "beyond": table.count_beyond(decoded.decoded) if not task.range else 0,
        },
        "chunks": [
            {
                **asdict(chunk),
                "frames": written[chunk.split].taken[chunk.number],
                "present": written[chunk.split].present[chunk.number],
            }
            for chunk in chunks
        ],
    }
    splits = {split: each.entry for split, each in written.items()}
    manifest = json.dumps({**identity, "classes": list(CLASSES), "video": video, "splits": splits}, indent=1)
    (folder / "manifest.json").write_text(manifest, encoding="utf-8")


def _check_classes(chunks: list[Chunk], presence: NDArray[np.bool_], task: FrameTask) -> None:
    """Training needs frames of both classes."""
    taken = [presence[chunk.first : chunk.last] for chunk in chunks if chunk.split == "train"]
    shares = {bool(value) for each in taken for value in np.unique(each)}
    if len(shares) < 2:
        where = ", ".join(f"{chunk.first:,} to {chunk.last - 1:,}" for chunk in chunks if chunk.split == "train")
        which = "every frame has" if shares == {True} else "no frame has"
        raise UserError(
            f"train: {which} {task.object!r} in frames {where}: give other chunks, task.split.train=[…], or threshold"
        )


def _write_split(
    folder: Path,
    split: str,
    decoded: DecodedFrames,
    presence: NDArray[np.bool_],
    prepare: Preparation,
    chunks: list[Chunk],
) -> _Written:
    own = [chunk for chunk in chunks if chunk.split == split]
    present, taken = ({chunk.number: 0 for chunk in own} for _ in range(2))
    writer = SplitWriter(folder, split, decoded.count(split), decoded.size)
    for numbers, frames in decoded.read(split, WRITTEN):
        labels = presence[numbers].astype(np.int64)
        for chunk in own:
            inside = (chunk.first <= numbers) & (numbers < chunk.last)
            taken[chunk.number] += int(inside.sum())
            present[chunk.number] += int(labels[inside].sum())
        writer.add(prepare.subtract_mean(frames), labels, map(str, numbers.tolist()))
    return _Written(writer.close(), present, taken)


def _mean_frame(decoded: DecodedFrames) -> U8:
    """The mean of the training frames, uint8 (H, W, 3)."""
    total = np.zeros((*decoded.size, 3), np.int64)
    for _, frames in decoded.read("train", WRITTEN):
        total += frames.sum(0, dtype=np.int64)
    mean: U8 = np.rint(total / decoded.count("train")).astype(np.uint8)
    return mean


def _identify(task: FrameTask, source: Path, labels: Path, read: LabelTable) -> tuple[dict[str, Any], str]:
    """The part of the manifest that decides the arrays, with its hash, and the hash of what decides the pixels."""
    video, table = _digest_source(source), digest_file(labels).hexdigest()
    versions = {library: version(library) for library in LIBRARIES}
    settings = {key: value for key, value in asdict(task).items() if key != "network"}
    of_pixels = {key: settings[key] for key in ("split", "size", "region", "range", "step")}
    pixels = _hash({"builder": BUILDER, "source": video, "versions": versions, **of_pixels})
    decides = {"format": FORMAT, "pixels": pixels, "labels": [table, read.every], "task": settings}
    identity = {
        "format": FORMAT,
        "builder": BUILDER,
        "name": task.name,
        "task": settings,
        "source": {"name": source.name, "xxh3": video},
        "labels": {"name": labels.name, "xxh3": table, "every": read.every},
        "versions": versions,
        "hash": _hash(decides),
    }
    return identity, pixels[:16]


def _hash(decides: Any) -> str:
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def _digest_source(path: Path) -> str:
    """Of a file its digest, of a folder or a pattern that of its files with their names."""
    if path.is_file():
        return digest_file(path).hexdigest()
    files = sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else find_pattern(path)
    return _hash([[file.name, digest_file(file).hexdigest()] for file in files])
