"""Hostile files, each given to what reads files of its kind, in a process of its own.

    python tests/hostile_child.py GROUP FOLDER [KIND …]

writes the files of a group ("textgen" or "train") to FOLDER. For each it prints a line of JSON: the kind, the outcome
("refused: …" of a `UserError`, "done" or a traceback's last line), the seconds of processor time, and the megabytes
above what the process had after its imports.
"""

# ruff: noqa: PLC0415 - each group imports what it needs

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import pickle
import resource
import signal
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

LIMIT = 60  # seconds after which a case is ended
KINDS: dict[str, dict[str, Callable[[Path], Callable[[], object]]]] = {"textgen": {}, "train": {}}


def kind(group: str) -> Callable[[Callable[[Path], Callable[[], object]]], None]:
    """Register a function that writes a hostile file into a new folder, and gives what reads it."""

    def register(make: Callable[[Path], Callable[[], object]]) -> None:
        KINDS[group][make.__name__] = make

    return register


def write(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def write_long(path: Path, begin: bytes, size: int) -> Path:
    """A file of `size` bytes that takes no space on most disks: `begin`, and zeros."""
    write(path, begin)
    os.truncate(path, size)
    return path


def imported(name: str) -> Any:
    return importlib.import_module(name)


# ---- YAML, and what Hydra does with it.


def bomb(value: str, item: str, separator: str = ", ") -> str:
    """Nine levels, of which each holds the one before it ten times. `item` has {} for its number."""
    lines = [f"a0: &a0 {value}"]
    lines += [f"a{n}: &a{n} [{separator.join([item.format(n - 1)] * 10)}]" for n in range(1, 10)]
    return "\n".join(lines)


def compose(folder: Path, group: str, text: str) -> Callable[[], object]:
    write(folder / group / "hostile.yaml", text)
    game = () if group == "game" else ("game=sot_time",)
    app = imported("textgen.common.hydra_app")
    return lambda: app.compose_config(
        "train", f"hydra.searchpath=[file://{folder}]", *game, f"{'+' * (group == 'experiment')}{group}=hostile"
    )


@kind("textgen")
def yaml_aliases(folder: Path) -> Callable[[], object]:
    return compose(folder, "game", bomb("[x]", "*a{}"))


@kind("textgen")
def yaml_merged_aliases(folder: Path) -> Callable[[], object]:
    text = "\n".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 10))
    return compose(folder, "game", f"a0: &a0 {{x: 1}}\n{text}")


@kind("textgen")
def yaml_alias_within_itself(folder: Path) -> Callable[[], object]:
    return compose(folder, "game", "fields: &a {X: *a}")


@kind("textgen")
def yaml_long_text_repeated(folder: Path) -> Callable[[], object]:
    return compose(folder, "game", f"a: &a {'x' * 100_000}\nb: [{'*a, ' * 1000}]")


@kind("textgen")
def yaml_references(folder: Path) -> Callable[[], object]:
    refer = "'${{game.a{}}}'"
    lines = ["a0: [x]", *(f"a{n}: [{', '.join([refer.format(n - 1)] * 10)}]" for n in range(1, 10))]
    return compose(folder, "game", "\n".join(lines))


@kind("textgen")
def yaml_references_in_texts(folder: Path) -> Callable[[], object]:
    lines = ["a0: xxxxxxxxxx", *(f"a{n}: '{f'${{game.a{n - 1}}}' * 10}'" for n in range(1, 10))]
    return compose(folder, "game", "\n".join(lines))


@kind("textgen")
def yaml_nested(folder: Path) -> Callable[[], object]:
    return compose(folder, "game", "a: " + "[" * 100_000)


@kind("textgen")
def yaml_number(folder: Path) -> Callable[[], object]:
    return compose(folder, "game", "a: " + "1:" * 300_000 + "1")


@kind("textgen")
def yaml_tag(folder: Path) -> Callable[[], object]:
    return compose(folder, "game", f"a: !!python/object/apply:os.mkdir [{folder / 'called'}]")


@kind("textgen")
def yaml_large(folder: Path) -> Callable[[], object]:
    write_long(folder / "game/hostile.yaml", b"a: b\n", 3 << 30)
    app = imported("textgen.common.hydra_app")
    return lambda: app.compose_config("train", f"hydra.searchpath=[file://{folder}]", "game=hostile")


@kind("textgen")
def yaml_code_for_hydra(folder: Path) -> Callable[[], object]:
    call = f"{{_target_: os.mkdir, path: {folder / 'called'}}}"
    return compose(folder, "experiment", f"# @package _global_\nhydra: {{callbacks: {{a: {call}}}}}")


@kind("textgen")
def yaml_code_at_the_end(folder: Path) -> Callable[[], object]:
    return compose(folder, "game", "a:\n" + "- 1\n" * 240_000 + f"b: {{_target_: os.mkdir, path: {folder / 'called'}}}")


@kind("textgen")
def yaml_code_at_the_end_with_aliases(folder: Path) -> Callable[[], object]:
    return compose(folder, "game", "x: &x 1\na:\n" + "- 1\n" * 240_000 + "b: {y: *x, _target_: os.mkdir}")


@kind("textgen")
def yaml_error_at_the_end(folder: Path) -> Callable[[], object]:
    return compose(folder, "game", "a:\n" + "- 1\n" * 240_000 + "b: [")


@kind("textgen")
def yaml_hydra_at_the_end(folder: Path) -> Callable[[], object]:
    text = "# @package _global_\na:\n" + "- 1\n" * 240_000 + "hydra: {callbacks: {}}"
    return compose(folder, "experiment", text)


@kind("textgen")
def yaml_command_for_the_launcher(folder: Path) -> Callable[[], object]:
    setup = f"hydra: {{mode: MULTIRUN, launcher: {{setup: ['touch {folder / 'called'}']}}}}"
    text = f"# @package _global_\ndefaults: [override /hydra/launcher: slurm]\n{setup}"
    return compose(folder, "experiment", text)


@kind("textgen")
def yaml_references_in_a_setting_of_hydra(folder: Path) -> Callable[[], object]:
    """Hydra resolves runs for the folder of a multirun, before foldtext resolves all settings."""
    lines = ["a0: xxxxxxxxxx", *(f"a{n}: '{f'${{game.a{n - 1}}}' * 10}'" for n in range(1, 10))]
    write(folder / "game/hostile.yaml", "\n".join(lines))
    write(folder / "experiment/hostile.yaml", "# @package _global_\nruns: ${game.a9}\nhydra: {mode: MULTIRUN}")
    main = imported("train.main").main

    def call() -> None:
        sys.argv[1:] = ["--config-dir", str(folder), "game=hostile", "experiment=hostile"]
        with contextlib.redirect_stderr(io.StringIO()) as said, contextlib.suppress(SystemExit):
            main()
        raise imported("textgen.common.errors").UserError(said.getvalue().strip())

    return call


@kind("textgen")
def yaml_regions(folder: Path) -> Callable[[], object]:
    file = write(folder / "regions.yaml", bomb("[x]", "*a{}"))
    read = imported("textgen.footage.regions").load_regions
    return lambda: read(file, (100, 100))


# ---- Games.


def game(**changes: Any) -> Callable[[], object]:
    import yaml

    config = {**yaml.safe_load((ROOT / "conf/game/sot_time.yaml").read_text(encoding="utf-8")), **changes}
    return lambda: imported("textgen.schema.game").Game.from_config(config)


@kind("textgen")
def spec_of_a_trillion_digits(folder: Path) -> Callable[[], object]:
    return game(spec="N" * 12, label="N", fields=None)


@kind("textgen")
def spec_of_a_trillion_values(folder: Path) -> Callable[[], object]:
    return game(spec="N", label="N", fields={"N": "0..999999999999"})


@kind("textgen")
def spec_within_itself(folder: Path) -> Callable[[], object]:
    return game(spec="N" + "[a" * 99 + "]" * 99, label="N", fields=None)


# ---- Fonts and pictures.


def open_font(path: Path) -> Callable[[], object]:
    fonts = imported("textgen.assets.fonts")
    return lambda: fonts.open_face(path, frozenset("0123"))


@kind("textgen")
def font_of_two_gigabytes(folder: Path) -> Callable[[], object]:
    return open_font(write_long(folder / "a.ttf", b"\x00\x01\x00\x00", 2 << 30))


@kind("textgen")
def font_of_lying_tables(folder: Path) -> Callable[[], object]:
    tables = b"".join(struct.pack(">4sIII", f"t{n:03}".encode(), 0, 0, 0xFFFFFFFF) for n in range(900))
    named = b"".join(struct.pack(">4sIII", tag, 0, 64, 0x7FFFFFFF) for tag in (b"cmap", b"glyf", b"head", b"loca"))
    return open_font(write(folder / "a.ttf", b"\x00\x01\x00\x00" + struct.pack(">HHHH", 904, 0, 0, 0) + tables + named))


def png(width: int, height: int, chunks: bytes = b"", pixels: bytes = b"") -> bytes:
    def chunk(tag: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunks + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def read_picture(path: Path) -> Callable[[], object]:
    read = imported("textgen.common.pictures").read_picture
    return lambda: read(path)


@kind("textgen")
def picture_of_many_pixels(folder: Path) -> Callable[[], object]:
    return read_picture(write(folder / "a.png", png(60_000, 60_000, pixels=zlib.compress(bytes(10_000_000)))))


@kind("textgen")
def picture_of_two_gigabytes(folder: Path) -> Callable[[], object]:
    return read_picture(write_long(folder / "a.png", png(8, 8), 2 << 30))


@kind("textgen")
def picture_with_a_packed_text(folder: Path) -> Callable[[], object]:
    data = b"k\0\0" + zlib.compress(bytes(80 << 20), 1)
    text = struct.pack(">I", len(data)) + b"zTXt" + data + struct.pack(">I", zlib.crc32(b"zTXt" + data))
    return read_picture(write(folder / "a.png", png(8, 8, text, zlib.compress(bytes(8 * 25)))))


# ---- Videos.


def read_frames(path: Path) -> Callable[[], object]:
    footage = imported("textgen.footage.frames")

    def read() -> None:
        with footage.open_frames(path) as reader:
            for _ in reader:
                pass

    return read


def vp8(path: Path, width: int, height: int, frames: int = 2) -> Path:
    """A video of tiny pictures, whose headers declare others."""
    import av
    import numpy as np

    small = path.with_name("small.ivf")
    with av.open(str(small), "w") as out:
        stream = out.add_stream("libvpx", rate=30)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        for _ in range(frames):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8))))
        out.mux(stream.encode())
    data = small.read_bytes()
    declared = struct.pack("<HH", width, height)
    data = data[:12] + declared + data[16:]
    at = data.index(b"\x9d\x01\x2a")
    return write(path, data[: at + 3] + declared + data[at + 7 :])


@kind("textgen")
def video_of_many_pixels(folder: Path) -> Callable[[], object]:
    return read_frames(vp8(folder / "a.ivf", 14_000, 14_000))


@kind("textgen")
def video_of_other_pixels_later(folder: Path) -> Callable[[], object]:
    """The container declares small frames, the frames are large."""
    path = vp8(folder / "a.ivf", 14_000, 14_000)
    data = path.read_bytes()
    return read_frames(write(path, data[:12] + struct.pack("<HH", 16, 16) + data[16:]))


@kind("textgen")
def video_without_compression(folder: Path) -> Callable[[], object]:
    path = write_long(folder / "a.y4m", b"YUV4MPEG2 W14000 H14000 F30:1 Ip A1:1 C420jpeg\nFRAME\n", 2 << 30)
    return read_frames(path)


# ---- Data sets.


def data_set(folder: Path, **changes: Any) -> Path:
    import numpy as np

    store = imported("textgen.dataset.store")
    folder.mkdir(parents=True, exist_ok=True)
    writer = store.SplitWriter(folder, "train", 2, (8, 8))
    writer.add(np.zeros((2, 8, 8, 3), np.uint8), np.zeros(2, np.int64), ["a", "b"])
    entry = {**writer.close(), **changes}
    manifest = {"format": store.FORMAT, "hash": "0123", "classes": ["a"], "splits": {"train": entry}}
    write(folder / "manifest.json", json.dumps(manifest))
    return folder


def open_dataset(folder: Path) -> Callable[[], object]:
    read = imported("textgen.dataset.store").open_dataset
    return lambda: read(folder)


@kind("textgen")
def manifest_of_absurd_counts(folder: Path) -> Callable[[], object]:
    return open_dataset(data_set(folder, images=10**12))


@kind("textgen")
def manifest_of_many_lists(folder: Path) -> Callable[[], object]:
    data_set(folder)
    write(folder / "manifest.json", "[" + "[]," * (60 << 20) + "[]]")
    return open_dataset(folder)


@kind("textgen")
def manifest_nested(folder: Path) -> Callable[[], object]:
    data_set(folder)
    write(folder / "manifest.json", "[" * 1_000_000)
    return open_dataset(folder)


@kind("textgen")
def array_of_absurd_shape(folder: Path) -> Callable[[], object]:
    import numpy as np

    store = imported("textgen.dataset.store")
    data_set(folder)
    header = store.npy_header((10**12, 8, 8, 3), np.dtype(np.uint8))
    write(folder / "train.images.npy", header)
    manifest = json.loads((folder / "manifest.json").read_text())
    entry = manifest["splits"]["train"]
    entry["images"], entry["bytes"]["train.images.npy"] = 10**12, len(header)
    write(folder / "manifest.json", json.dumps(manifest))
    return open_dataset(folder)


@kind("textgen")
def cut_index_outside(folder: Path) -> Callable[[], object]:
    """An index of crops that names a file outside its folder."""
    write(folder / "secret.png", png(8, 8))
    write(folder / "crops/index.csv", "file,region,frame,time\n../secret.png,a,0,0\n")
    read = imported("textgen.footage.index").read_index
    return lambda: read(folder / "crops")


def long_line(path: Path, begin: str) -> Path:
    with path.open("wb") as file:
        file.write(begin.encode())
        for _ in range(200):
            file.write(b"x" * 1_000_000)
    return path


@kind("textgen")
def index_of_one_line(folder: Path) -> Callable[[], object]:
    long_line(folder / "index.csv", "file,region,frame,time\n")
    read = imported("textgen.footage.index").read_index
    return lambda: read(folder)


@kind("textgen")
def labels_of_one_line(folder: Path) -> Callable[[], object]:
    path = write_long(folder / "labels.csv", b"file,text\n", 1 << 30)
    read = imported("textgen.dataset.labels_file").read_labels
    return lambda: read(path)


@kind("textgen")
def labels_of_wide_characters(folder: Path) -> Callable[[], object]:
    path = write(folder / "labels.csv", "file,text\n" + "a" * (60 << 20) + "\U0001f600")
    read = imported("textgen.dataset.labels_file").read_labels
    return lambda: read(path)


def label_table(path: Path) -> Callable[[], object]:
    task = imported("textgen.common.validation").validate(
        imported("textgen.frames.settings").FrameTask,
        {**imported("textgen.common.hydra_app").compose_config("train", "task=coral")["task"]},
    )
    read = imported("textgen.frames.label_table").read_label_table
    return lambda: read(path, task)


@kind("textgen")
def label_table_of_one_line(folder: Path) -> Callable[[], object]:
    return label_table(long_line(folder / "a.csv", "frame,object_name,confidence\n"))


@kind("textgen")
def label_table_of_one_header(folder: Path) -> Callable[[], object]:
    return label_table(long_line(folder / "a.csv", ""))


@kind("textgen")
def parquet_of_many_rows(folder: Path) -> Callable[[], object]:
    """A few kilobytes that stand for two billion rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = 1 << 22
    table = pa.table(
        {
            "frame": pa.repeat(0, rows),
            "object_name": pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int8()), rows), ["car"]),
            "confidence": pa.repeat(1.0, rows),
        }
    )
    with pq.ParquetWriter(folder / "a.parquet", table.schema, compression="zstd") as out:
        for _ in range(50):
            out.write_table(table, row_group_size=rows)
    return label_table(folder / "a.parquet")


@kind("textgen")
def parquet_of_long_names(folder: Path) -> Callable[[], object]:
    """A name of 16 MB, once in the file, in each of 60,000 rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int8()), 60_000), ["x" * (16 << 20)])
    table = pa.table({"frame": pa.repeat(0, 60_000), "object_name": names, "confidence": pa.repeat(1.0, 60_000)})
    pq.write_table(table, folder / "a.parquet", compression="zstd")
    return label_table(folder / "a.parquet")


@kind("textgen")
def json_beside_a_label_table(folder: Path) -> Callable[[], object]:
    path = write(folder / "a.csv", "frame,object_name,confidence\n0,car,1\n")
    write(folder / "a.csv.json", "[" * 1_000_000)
    return label_table(path)


# ---- CIFAR.


def read_cifar(path: Path) -> Callable[[], object]:
    read = imported("textgen.dataset.cifar_files").read_cifar
    return lambda: read(path, "cifar10")


@kind("textgen")
def cifar_pickle_of_code(folder: Path) -> Callable[[], object]:
    class Code:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(folder / "called"),)

    for name in ("data_batch_1", "test_batch"):
        write(folder / name, pickle.dumps({"data": Code(), "labels": [0]}))
    return read_cifar(folder)


@kind("textgen")
def cifar_pickle_of_lying_lengths(folder: Path) -> Callable[[], object]:
    for name in ("data_batch_1", "test_batch"):
        write(folder / name, b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"x")
    return read_cifar(folder)


@kind("textgen")
def cifar_pickle_of_repeated_lists(folder: Path) -> Callable[[], object]:
    level: list[Any] = []
    for _ in range(40):
        level = [level] * 10
    for name in ("data_batch_1", "test_batch"):
        write(folder / name, pickle.dumps({"data": level, "labels": level}, 2))
    return read_cifar(folder)


@kind("textgen")
def cifar_archive_bomb(folder: Path) -> Callable[[], object]:
    """Ten gigabytes of zeros, and members as large as are read."""
    import gzip
    import tarfile

    block = zlib.compressobj(9, zlib.DEFLATED, 31)
    head = tarfile.TarInfo("cifar-10-batches-py/other")
    head.size = 10 << 30
    data = io.BytesIO()
    with gzip.GzipFile(fileobj=data, mode="wb") as out:
        out.write(head.tobuf(tarfile.GNU_FORMAT))
    with (folder / "a.tar.gz").open("wb") as file:
        file.write(data.getvalue())
        one = block.compress(bytes(8 << 20)) + block.flush()
        for _ in range(160):
            file.write(one)
    return read_cifar(folder / "a.tar.gz")


@kind("textgen")
def cifar_archive_of_members(folder: Path) -> Callable[[], object]:
    import tarfile

    with tarfile.open(folder / "a.tar.gz", "w:gz", compresslevel=1) as out:
        for number in range(1, 6):
            info = tarfile.TarInfo(f"cifar-10-batches-py/data_batch_{number}")
            info.size = 100 << 20
            out.addfile(info, io.BytesIO(bytes(info.size)))
    return read_cifar(folder / "a.tar.gz")


@kind("textgen")
def cifar_parquet_bomb(folder: Path) -> Callable[[], object]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    picture = {"bytes": bytes(60 << 20), "path": ""}
    table = pa.table({"img": [picture] * 10, "label": [0] * 10})
    for name in ("train-0", "test-0"):
        pq.write_table(table, folder / f"{name}.parquet", compression="zstd", use_dictionary=False)
    return read_cifar(folder)


# ---- Networks and states of commands.


@kind("train")
def checkpoint_bomb(folder: Path) -> Callable[[], object]:
    import torch

    torch.save({"identity": "x", "a": torch.zeros(2)}, folder / "whole.pt")
    with zipfile.ZipFile(folder / "whole.pt") as whole, zipfile.ZipFile(folder / "checkpoint.pt", "w") as out:
        for name in whole.namelist():
            out.writestr(name, whole.read(name))
        with out.open(zipfile.ZipInfo("whole/data/1"), "w", force_zip64=True) as part:
            part._compressor = zlib.compressobj(1, zlib.DEFLATED, -15)  # type: ignore[attr-defined]
            part._zinfo.compress_type = zipfile.ZIP_DEFLATED  # type: ignore[attr-defined]
            for _ in range(80):
                part.write(bytes(8 << 20))
    return refused_checkpoint(folder)


def refused_checkpoint(folder: Path) -> Callable[[], object]:
    checkpoint, errors = imported("train.trainer.checkpoint"), imported("textgen.common.errors")

    def read() -> None:
        found: list[str] = []
        state = checkpoint._newest(folder, lambda text, **_: found.append(text))
        if state is None:
            raise errors.UserError(found[0])

    return read


@kind("train")
def checkpoint_of_code(folder: Path) -> Callable[[], object]:
    class Code:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(folder / "called"),)

    import torch

    torch.save({"identity": Code()}, folder / "checkpoint.pt")
    return refused_checkpoint(folder)


@kind("train")
def checkpoint_of_no_zip(folder: Path) -> Callable[[], object]:
    write_long(folder / "checkpoint.pt", b"PK\x03\x04", 4 << 30)
    return refused_checkpoint(folder)


def network(path: Path, header: bytes, size: int | None = None) -> Callable[[], object]:
    file = imported("train.inference.network_file")
    write(path, struct.pack("<Q", len(header) if size is None else size) + header)
    return lambda: file.read_network_file(path)


def notation(**changes: Any) -> bytes:
    about = {"arch": "C8 M F", "pool": "2x2 stride 2", "size": [8, 8], "classes": ["a", "b"], "fold": 1, **changes}
    return json.dumps({"__metadata__": {"network": json.dumps(about)}}).encode()


@kind("train")
def network_with_a_lying_header(folder: Path) -> Callable[[], object]:
    return network(folder / "model.safetensors", b"{}", 1 << 50)


@kind("train")
def network_with_a_long_header(folder: Path) -> Callable[[], object]:
    return network(folder / "model.safetensors", b'{"a":' + b"[" * (99 << 20))


@kind("train")
def network_with_lying_offsets(folder: Path) -> Callable[[], object]:
    lie = {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}
    return network(folder / "model.safetensors", json.dumps({"a": lie}).encode())


@kind("train")
def network_with_a_long_notation(folder: Path) -> Callable[[], object]:
    return network(folder / "model.safetensors", notation(classes=[[]] * (8 << 20)))


@kind("train")
def network_of_many_layers(folder: Path) -> Callable[[], object]:
    return network(folder / "model.safetensors", notation(arch="C8 " * 300_000 + "F"))


@kind("train")
def network_of_absurd_sizes(folder: Path) -> Callable[[], object]:
    return network(folder / "model.safetensors", notation(size=[10**9, 10**9], fold=10**9, arch="C999999999 M F"))


@kind("train")
def network_of_large_weights(folder: Path) -> Callable[[], object]:
    """Four gigabytes of weights that the notation does not have."""
    about = json.loads(notation())
    about["a"] = {"dtype": "F32", "shape": [1 << 30], "data_offsets": [0, 1 << 32]}
    header = json.dumps(about).encode()
    read = network(folder / "model.safetensors", header)
    os.truncate(folder / "model.safetensors", 8 + len(header) + (1 << 32))
    return read


def detector(path: Path) -> Callable[[], object]:
    load = imported("train.detectors.load").load_detector
    imported("onnx"), imported("onnxruntime")
    return lambda: load(str(path), threads=1, confidence=0.5)


def onnx_model(path: Path, *nodes: Any, dims: tuple[int, ...] = (1, 3, 32, 32), tensors: Any = ()) -> Path:
    from onnx import TensorProto, helper

    given = helper.make_tensor_value_info("images", TensorProto.FLOAT, dims)
    out = helper.make_tensor_value_info("output0", TensorProto.FLOAT, None)
    nodes = nodes or (helper.make_node("Identity", ["images"], ["output0"]),)
    graph = helper.make_graph(list(nodes), "a", [given], [out], list(tensors))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return write(path, model.SerializeToString())


@kind("train")
def detector_of_two_gigabytes(folder: Path) -> Callable[[], object]:
    return detector(write_long(folder / "a.onnx", b"\x08\x08", (2 << 30) - 2))


@kind("train")
def detector_with_weights_outside(folder: Path) -> Callable[[], object]:
    from onnx import TensorProto, helper

    outside = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    entry = outside.external_data.add()
    entry.key, entry.value = "location", "../../../etc/passwd"
    node = helper.make_node("Add", ["images", "w"], ["output0"])
    return detector(onnx_model(folder / "a.onnx", node, tensors=[outside]))


@kind("train")
def detector_of_an_absurd_input(folder: Path) -> Callable[[], object]:
    return detector(onnx_model(folder / "a.onnx", dims=(1, 3, 1 << 30, 1 << 30)))


@kind("train")
def detector_of_lying_weights(folder: Path) -> Callable[[], object]:
    from onnx import TensorProto, helper

    lie = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1 << 40], raw_data=b"abcd")
    node = helper.make_node("Add", ["images", "w"], ["output0"])
    return detector(onnx_model(folder / "a.onnx", node, tensors=[lie]))


@kind("train")
def state_bomb(folder: Path) -> Callable[[], object]:
    """The state of a half-done table: an archive with an array of zeros."""
    import numpy as np

    resume = imported("train.common.resume")
    path, data = resume.state_path(folder / "a.csv"), io.BytesIO()
    np.savez_compressed(data, about=np.zeros(1, np.uint8), a=np.zeros(600 << 20, np.uint8))
    write(path, data.getvalue() + resume._check(data.getvalue()))
    write(folder / "a.csv", "")
    return lambda: resume.load_state(folder / "a.csv", folder / "a.csv", {})


@kind("train")
def result_nested(folder: Path) -> Callable[[], object]:
    write(folder / "result.json", "[" * 1_000_000)
    read = imported("train.runs.finished_runs").load_result
    return lambda: read(folder)


@kind("train")
def result_of_many_lists(folder: Path) -> Callable[[], object]:
    write(folder / "result.json", "[" + "[]," * (40 << 20) + "[]]")
    read = imported("train.runs.finished_runs").load_result
    return lambda: read(folder)


@kind("train")
def run_configuration(folder: Path) -> Callable[[], object]:
    write(folder / "config.yaml", bomb("[x]", "*a{}"))
    read = imported("train.runs.finished_runs").load_config
    return lambda: read(folder)


# ---- Measuring.


def run(name: str, read: Callable[[], object]) -> dict[str, Any]:
    """The outcome of a case, in a fork of this process."""
    errors = imported("textgen.common.errors")
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    receive, send = os.pipe()
    child = os.fork()
    if not child:
        signal.alarm(LIMIT)
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        try:
            read()
            outcome = "done"
        except errors.UserError as error:
            outcome = f"refused: {error.summary}"
        except BaseException as error:
            import traceback

            at = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
            outcome = f"FAILED: {type(error).__name__}: {str(error)[:200]} at {' '.join(at[-6:])}"
        os.write(send, outcome[:4000].encode())
        os._exit(0)
    os.close(send)
    _, status, used = os.wait4(child, 0)
    with os.fdopen(receive, "rb") as file:
        said = file.read().decode()
    peak = used.ru_maxrss * 1024 - before
    seconds = round(used.ru_utime + used.ru_stime, 2)
    return {"kind": name, "outcome": said or f"FAILED: status {status}", "seconds": seconds, "mb": max(0, peak) >> 20}


def main() -> None:
    group, folder, *names = sys.argv[1], Path(sys.argv[2]), *sys.argv[3:]
    for name, make in KINDS[group].items():
        if names and name not in names:
            continue
        (folder / name).mkdir(parents=True, exist_ok=True)
        read = make(folder / name)
        result = run(name, read)
        result["called"] = (folder / name / "called").exists()
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
