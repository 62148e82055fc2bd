"""What is fuzzed: each target takes bytes as a file from a stranger would hold them, and may raise `UserError` only.

A target is made once in a process, for a folder in memory, and called many times. `SEEDS` gives whole inputs to begin
with; the inputs that reached new code since are in corpus/.
"""

from __future__ import annotations

import io
import json
import shutil
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402

Target = Callable[[bytes], None]
SPECS: list[dict[str, Any]] = [
    {"spec": "XY.Zk", "label": "Z"},
    {"spec": "N/M", "label": "N", "fields": {"N": "0..30", "M": ["0..9", {"10..90": 2}]}},
    {"spec": "N:MM[ left]:.9", "label": "N", "fields": {"N": ["0..2", "00"]}, "other": ["", "N.MM", "--:--"]},
    {"spec": "T N", "label": "T", "fields": {"T": ["GOLD", "-", "jg"], "N": "0..9"}, "groups": {"low": "GOLD"}},
]


def spec(folder: Path) -> Target:
    """The spec of a game file, as JSON; what is read is also used."""
    from textgen.spec.parser import Spec  # noqa: PLC0415

    def read(data: bytes) -> None:
        try:
            given = json.loads(data)
        except (ValueError, RecursionError):
            given = {"spec": data.decode("utf-8", "replace"), "label": "X"}
        if not isinstance(given, dict) or not isinstance(given.get("spec"), str):
            return
        known = {key: given[key] for key in ("fields", "other", "groups") if key in given}
        parsed = Spec.parse(given["spec"], label=str(given.get("label", "X")), **known)
        for text in (given["spec"], *parsed.classes[:20]):
            parsed.label_of(text)

    return read


def font(folder: Path) -> Target:
    """A font file, of which digits are drawn."""
    from textgen.assets.fonts import open_face  # noqa: PLC0415

    path = folder / "font.ttf"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        face = open_face(path, frozenset("0123456789."))
        for character in "0.":
            face.draw_glyph(character, 20.0)

    return read


def manifest(folder: Path) -> Target:
    """The manifest of a data set."""
    from textgen.dataset.store import open_dataset  # noqa: PLC0415

    data_set = _small_data_set(folder / "data")

    def read(data: bytes) -> None:
        (data_set / "manifest.json").write_bytes(data)
        for split in open_dataset(data_set).splits.values():
            list(split.texts)

    return read


def picture(folder: Path) -> Target:
    """A picture file."""
    from textgen.common.pictures import read_picture  # noqa: PLC0415

    path = folder / "picture.png"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        read_picture(path, (8, 8))

    return read


def label_table(folder: Path) -> Target:
    """A table of the labels of a video, Parquet by its first bytes, otherwise CSV; and a file of labelled pictures."""
    from textgen.common.errors import UserError  # noqa: PLC0415
    from textgen.dataset.labels_file import read_labels  # noqa: PLC0415
    from textgen.frames.label_table import read_label_table  # noqa: PLC0415

    task = _frame_task()

    def read(data: bytes) -> None:
        path = folder / ("table.parquet" if data[:4] == b"PAR1" else "table.csv")
        path.write_bytes(data)
        try:
            read_label_table(path, task)
        except UserError:
            if path.suffix == ".csv":
                read_labels(path)
            raise

    return read


def video_index(folder: Path) -> Target:
    """The index of a folder of crops cut out of a video."""
    from textgen.footage.index import crop_file, read_index  # noqa: PLC0415
    from textgen.footage.sequence import open_sequence  # noqa: PLC0415

    (folder / "crops" / "timer").mkdir(parents=True)
    for n in range(2):
        Image.new("RGB", (4, 3)).save(folder / "crops" / crop_file("timer", n))

    def read(data: bytes) -> None:
        (folder / "crops" / "index.csv").write_bytes(data)
        read_index(folder / "crops")
        open_sequence(folder / "crops", None)

    return read


def checkpoint(folder: Path) -> Target:
    """The state of a half-done training, and by its first bytes the file of a trained network."""
    from train.inference.network_file import check_weights, read_network_file  # noqa: PLC0415
    from train.trainer import checkpoint as checkpoints  # noqa: PLC0415

    def read(data: bytes) -> None:
        if data[:2] == b"PK":
            (folder / "checkpoint.pt").write_bytes(data)
            checkpoints.load(folder, "identity")
        else:
            (folder / "model.safetensors").write_bytes(data)
            check_weights(read_network_file(folder / "model.safetensors"))

    return read


TARGETS: dict[str, Callable[[Path], Target]] = {
    each.__name__: each for each in (spec, font, manifest, picture, label_table, video_index, checkpoint)
}


def seeds(name: str, folder: Path) -> Iterator[bytes]:
    """Whole inputs of a target, to begin with."""
    yield from SEEDS[name](folder)


def _seed_specs(folder: Path) -> Iterator[bytes]:
    yield from (json.dumps(each).encode() for each in SPECS)


def _seed_fonts(folder: Path) -> Iterator[bytes]:
    from font_builder import built  # noqa: PLC0415

    built(folder / "boxes.ttf", "0123456789.")
    yield (folder / "boxes.ttf").read_bytes()


def _seed_manifests(folder: Path) -> Iterator[bytes]:
    yield (_small_data_set(folder / "seed") / "manifest.json").read_bytes()


def _seed_pictures(folder: Path) -> Iterator[bytes]:
    pixels = np.arange(9 * 12 * 3, dtype=np.uint8).reshape(9, 12, 3)
    for form, mode in (("PNG", "RGB"), ("PNG", "P"), ("JPEG", "RGB"), ("WEBP", "RGB"), ("BMP", "RGB")):
        buffer = io.BytesIO()
        Image.fromarray(pixels).convert(mode).save(buffer, form)
        yield buffer.getvalue()


def _seed_tables(folder: Path) -> Iterator[bytes]:
    from pyarrow import csv as arrow_csv  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    text = "frame,object_name,confidence\n0,person,0.9\n1,car,0.5\n3,person,1\n"
    yield text.encode()
    yield b"file,text\na.png,12\nb/c.png,\n"
    (folder / "table.csv").write_text(text)
    parquet.write_table(arrow_csv.read_csv(folder / "table.csv"), folder / "table.parquet")
    yield (folder / "table.parquet").read_bytes()


def _seed_indices(folder: Path) -> Iterator[bytes]:
    from textgen.footage.index import IndexRow, crop_file, format_rows  # noqa: PLC0415

    head = ",".join(IndexRow._fields)
    rows = format_rows(IndexRow(crop_file("timer", n), "timer", n, n / 30) for n in range(2))
    yield f"{head}\n{rows}".encode()


def _seed_checkpoints(folder: Path) -> Iterator[bytes]:
    import torch  # noqa: PLC0415

    from train.inference.network import Network  # noqa: PLC0415
    from train.models.notation import build, parse  # noqa: PLC0415
    from train.trainer import checkpoint as checkpoints  # noqa: PLC0415

    checkpoints.save(folder, {"identity": "identity", "net": {"w": torch.zeros(2, 2)}, "progress": {"epoch": 1}})
    yield (folder / "checkpoint.pt").read_bytes()
    net = build(parse("C4 M F", "2x2 stride 2"), size=(8, 8), classes=2)
    yield Network(net, "C4 M F", "2x2 stride 2", (8, 8), ("0", "1"), 1).to_bytes()
    yield struct.pack("<Q", 2) + b"{}"


SEEDS: dict[str, Callable[[Path], Iterator[bytes]]] = {
    "spec": _seed_specs,
    "font": _seed_fonts,
    "manifest": _seed_manifests,
    "picture": _seed_pictures,
    "label_table": _seed_tables,
    "video_index": _seed_indices,
    "checkpoint": _seed_checkpoints,
}


def _small_data_set(path: Path) -> Path:
    """A data set of four crops in two splits."""
    from textgen.dataset.store import FORMAT, SplitWriter  # noqa: PLC0415

    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    splits = {}
    for name in ("train", "val"):
        writer = SplitWriter(path, name, 2, (4, 4))
        writer.add(np.zeros((2, 4, 4, 3), np.uint8), np.array([0, 1]), ["0", "1"])
        splits[name] = writer.close()
    content = {"format": FORMAT, "hash": "0" * 64, "classes": ["0", "1"], "splits": splits}
    (path / "manifest.json").write_text(json.dumps(content))
    return path


def _frame_task() -> Any:
    from textgen.common.hydra_app import compose_config  # noqa: PLC0415
    from train.config.tasks import parse_task  # noqa: PLC0415

    return parse_task(compose_config("train", "task=coral"))
