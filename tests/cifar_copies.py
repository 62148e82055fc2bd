"""Small copies of CIFAR-10 and CIFAR-100 in the formats in which they are published."""

from __future__ import annotations

import io
import json
import struct
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from textgen.dataset.cifar_files import CLASSES, Kind

FOLDERS: dict[Kind, tuple[str, str]] = {
    "cifar10": ("cifar-10-batches-py", "cifar-10-batches-bin"),
    "cifar100": ("cifar-100-python", "cifar-100-binary"),
}


class Sample(NamedTuple):
    """Images (n, 32, 32, 3) and labels (n,)."""

    images: np.ndarray
    labels: np.ndarray


def draw(kind: Kind, each: int, seed: int = 0) -> Sample:
    """So many different images of each class, mixed."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(CLASSES[kind])), each))
    return Sample(rng.integers(0, 256, (len(labels), 32, 32, 3), np.uint8), labels)


def planes(images: np.ndarray) -> np.ndarray:
    """(n, 32, 32, 3) -> (n, 3072): all red pixels, then green, then blue."""
    return np.stack([np.concatenate([image[..., c].ravel() for c in range(3)]) for image in images])


# Pickles as Python 2 wrote them: protocol 2, texts of bytes, and a memo entry for all that is not a number.


def python2_pickle(value: Any) -> bytes:
    """What `cPickle.dumps(value, 2)` of Python 2 gave."""
    memo = [0]
    return b"\x80\x02" + _encode(value, memo) + b"."


def _remember(memo: list[int]) -> bytes:
    memo[0] += 1
    return b"q" + bytes([memo[0]]) if memo[0] < 256 else b"r" + struct.pack("<I", memo[0])


def _encode(value: Any, memo: list[int]) -> bytes:
    if value is None or isinstance(value, bool):
        return {None: b"N", True: b"\x88", False: b"\x89"}[value]
    if isinstance(value, int):
        return _encode_number(value)
    if isinstance(value, str):
        data = value.encode("latin-1")
        length = b"U" + bytes([len(data)]) if len(data) < 256 else b"T" + struct.pack("<i", len(data))
        return length + data + _remember(memo)
    if isinstance(value, np.ndarray):
        return _encode_array(value, memo)
    head = (b"]" if isinstance(value, list) else b"}") + _remember(memo)
    if isinstance(value, dict):
        return head + b"(" + b"".join(_encode(k, memo) + _encode(v, memo) for k, v in value.items()) + b"u"
    for start in range(0, len(value), 1000):  # as cPickle, which appends 1000 at a time
        head += b"(" + b"".join(_encode(item, memo) for item in value[start : start + 1000]) + b"e"
    return head


def _encode_number(value: int) -> bytes:
    if 0 <= value < 256:
        return b"K" + bytes([value])
    return b"M" + struct.pack("<H", value) if 0 <= value < 65536 else b"J" + struct.pack("<i", value)


def _encode_array(array: np.ndarray, memo: list[int]) -> bytes:
    made = b"cnumpy.core.multiarray\n_reconstruct\n" + _remember(memo)
    made += b"cnumpy\nndarray\n" + _remember(memo) + b"K\x00\x85" + b"U\x01b" + b"\x87" + b"R" + _remember(memo)
    dtype = b"cnumpy\ndtype\n" + _remember(memo) + b"U\x02" + array.dtype.str[1:].encode() + b"K\x00K\x01\x87R"
    dtype += _remember(memo) + b"(K\x03U\x01|NNN" + b"J\xff\xff\xff\xff" * 2 + b"K\x00tb"
    shape = b"".join(map(_encode_number, array.shape)) + {1: b"\x85", 2: b"\x86", 3: b"\x87"}[array.ndim]
    return made + b"(K\x01" + shape + dtype + b"\x89" + _encode(array.tobytes().decode("latin-1"), memo) + b"tb"


# Folders.


def batch(kind: Kind, sample: Sample, title: str = "a batch") -> dict[str, Any]:
    """The dict of a batch in the Python version."""
    labels: dict[str, Any] = {"labels": sample.labels.tolist()}
    if kind == "cifar100":
        labels = {"fine_labels": sample.labels.tolist(), "coarse_labels": (sample.labels // 5).tolist()}
    names = [f"image_s_{number:06}.png" for number in range(len(sample.labels))]
    return {"batch_label": title, **labels, "data": planes(sample.images), "filenames": names}


def write_python(folder: Path, kind: Kind, train: Sequence[Sample], test: Sample) -> Path:
    """The Python version; cifar10 has a file for each of `train`, cifar100 one for its only one."""
    folder.mkdir(parents=True)
    names = [f"data_batch_{number}" for number in range(1, len(train) + 1)] if kind == "cifar10" else ["train"]
    for name, sample in zip(names, train, strict=True):
        (folder / name).write_bytes(python2_pickle(batch(kind, sample)))
    (folder / ("test_batch" if kind == "cifar10" else "test")).write_bytes(python2_pickle(batch(kind, test)))
    classes = list(CLASSES[kind])
    if kind == "cifar10":
        meta = {"num_cases_per_batch": 10000, "label_names": classes, "num_vis": 3072}
        (folder / "batches.meta").write_bytes(python2_pickle(meta))
        (folder / "readme.html").write_text("<meta http-equiv=refresh>")
    else:
        meta = {"fine_label_names": classes, "coarse_label_names": [f"group {number}" for number in range(20)]}
        (folder / "meta").write_bytes(python2_pickle(meta))
    return folder


def write_binary(folder: Path, kind: Kind, train: Sequence[Sample], test: Sample) -> Path:
    """The binary version, with the names of classes as text."""
    folder.mkdir(parents=True)
    names = [f"data_batch_{number}" for number in range(1, len(train) + 1)] if kind == "cifar10" else ["train"]
    names.append("test_batch" if kind == "cifar10" else "test")
    for name, (images, labels) in zip(names, (*train, test), strict=True):
        columns = [labels[:, None]] if kind == "cifar10" else [labels[:, None] // 5, labels[:, None]]
        (folder / f"{name}.bin").write_bytes(np.hstack([*columns, planes(images)]).astype(np.uint8).tobytes())
    text = "".join(f"{name}\n" for name in CLASSES[kind]) + "\n"  # as in the original, with an empty line
    (folder / ("batches.meta.txt" if kind == "cifar10" else "fine_label_names.txt")).write_text(text)
    return folder


def write_parquet(folder: Path, kind: Kind, train: Sequence[Sample], test: Sample, image: str = "img") -> Path:
    """Parquet files as Hugging Face has them, with a file for each of `train`."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    folder.mkdir(parents=True)
    label = "label" if kind == "cifar10" else "fine_label"
    features = {image: {"_type": "Image"}, label: {"names": list(CLASSES[kind]), "_type": "ClassLabel"}}
    splits = [("train", number, len(train), sample) for number, sample in enumerate(train)] + [("test", 0, 1, test)]
    for split, number, count, (images, labels) in splits:
        pictures = [{"bytes": png(each), "path": None} for each in images]
        columns: dict[str, Any] = {image: pictures, label: labels}
        if kind == "cifar100":
            columns["coarse_label"] = labels // 5
        table = pa.table(columns).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        pq.write_table(table, folder / f"{split}-{number:05}-of-{count:05}.parquet")
    return folder


def png(image: np.ndarray) -> bytes:
    """A picture file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def pack(folder: Path) -> Path:
    """`<folder>.tar.gz` with the folder in it, as it is downloaded."""
    path = folder.with_name(f"{folder.name}.tar.gz")
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, folder.name)
    return path
