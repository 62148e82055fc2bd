"""Copies of CIFAR in each of the formats in which it is published, whole and with mistakes."""

import gzip
import io
import json
import shutil
import struct
import sys
import tarfile
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cifar_copies import (
    FOLDERS,
    Sample,
    batch,
    draw,
    pack,
    planes,
    png,
    python2_pickle,
    write_binary,
    write_parquet,
    write_python,
)

from textgen.common.errors import UserError
from textgen.dataset import cifar as importer
from textgen.dataset import cifar_files, cifar_parquet
from textgen.dataset.cifar import import_cifar
from textgen.dataset.cifar_files import CLASSES, Kind, read_cifar
from textgen.dataset.store import Dataset, open_dataset

KINDS: tuple[Kind, Kind] = ("cifar10", "cifar100")
Write = Callable[..., Path]


class Copy:
    """What a small copy of CIFAR holds."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.batches = [draw(kind, 3, seed) for seed in range(5 if kind == "cifar10" else 1)]
        self.test = draw(kind, 2, 9)

    @property
    def train(self) -> Sample:
        return Sample(*map(np.concatenate, zip(*self.batches, strict=True)))

    def write(self, write: Write, folder: Path) -> Path:
        return write(folder, self.kind, self.batches, self.test)


@pytest.fixture(params=KINDS)
def copy(request: pytest.FixtureRequest) -> Copy:
    return Copy(request.param)


def made(path: Path, kind: Kind = "cifar10", validation: int = 20, seed: int = 0, **options: Any) -> Dataset:
    return import_cifar(path, path.parent / "sets", kind=kind, validation=validation, seed=seed, **options)


def refusal_in_little_memory(path: Path) -> str:
    """The one line, for which at most 16 MiB are allocated at a time."""
    tracemalloc.start()
    try:
        reason = refusal(path)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
        return reason
    finally:
        tracemalloc.stop()


def refusal(path: Path, kind: Kind = "cifar10", **options: Any) -> str:
    """The one line; nothing is left behind."""
    with pytest.raises(UserError) as caught:
        made(path, kind, **options)
    assert "\n" not in str(caught.value)
    assert not list((path.parent / "sets").rglob("*"))
    return str(caught.value)


def keys(split: Any) -> list[tuple[bytes, int]]:
    """Images and labels of a split, in order."""
    return [(image.tobytes(), int(label)) for image, label in zip(split.images, split.labels, strict=True)]


# ---- Formats.


@pytest.mark.parametrize("write", [write_python, write_binary, write_parquet])
def test_each_format_gives_the_images_that_were_written(copy: Copy, write: Write, tmp_path: Path) -> None:
    dataset = made(copy.write(write, tmp_path / "mine"), copy.kind, validation=100)
    assert dataset.classes == CLASSES[copy.kind]
    assert list(dataset.splits) == ["train", "val", "test"]
    np.testing.assert_array_equal(dataset.splits["test"].images, copy.test.images)
    np.testing.assert_array_equal(dataset.splits["test"].labels, copy.test.labels)
    assert sorted(keys(dataset.splits["train"]) + keys(dataset.splits["val"])) == sorted(keys(copy.train))
    in_val = set(keys(dataset.splits["val"]))
    assert keys(dataset.splits["train"]) == [key for key in keys(copy.train) if key not in in_val]  # in order
    assert dataset.manifest["given"] == {"train": len(copy.train.labels), "test": len(copy.test.labels)}
    assert set(dataset.splits["train"].texts) == {""}


def test_all_formats_of_one_copy_give_one_data_set(copy: Copy, tmp_path: Path) -> None:
    python, binary = (tmp_path / name for name in FOLDERS[copy.kind])
    paths = [copy.write(write_python, python), copy.write(write_binary, binary)]
    paths += [pack(python), pack(binary), copy.write(write_parquet, tmp_path / "hub" / "plain_text")]
    found = [import_cifar(p, tmp_path / "sets", kind=copy.kind, validation=50, seed=3) for p in paths]
    assert len({dataset.path for dataset in found}) == 1
    assert [path.name for path in (tmp_path / "sets").iterdir()] == [copy.kind]
    assert found[0].path == tmp_path / "sets" / copy.kind / found[0].hash[:16]


def test_channels_are_red_green_blue(tmp_path: Path) -> None:
    images = np.zeros((10, 32, 32, 3), np.uint8)
    images[:] = (200, 100, 50)
    images[:, 3, 7] = (1, 2, 3)  # row 3, column 7
    sample = Sample(images, np.arange(10))
    more = draw("cifar10", 1)
    for name, write in (("a", write_python), ("b", write_binary), ("c", write_parquet)):
        dataset = made(write(tmp_path / name, "cifar10", [more, more], sample), validation=5)
        assert dataset.splits["test"].images[0, 3, 7].tolist() == [1, 2, 3]
        assert dataset.splits["test"].images[0, 7, 3].tolist() == [200, 100, 50]


def test_a_second_call_finds_the_first_ones_data_set(copy: Copy, tmp_path: Path) -> None:
    path = copy.write(write_binary, tmp_path / "mine")
    first = made(path, copy.kind)
    before = {file: file.stat().st_mtime_ns for file in first.path.iterdir()}
    again = made(path, copy.kind)
    assert again.path == first.path
    assert {file: file.stat().st_mtime_ns for file in again.path.iterdir()} == before
    assert {file: file.stat().st_mtime_ns for file in made(path, copy.kind, rebuild=True).path.iterdir()} != before
    assert keys(open_dataset(first.path).splits["train"]) == keys(again.splits["train"])


def test_a_damaged_data_set_is_found(tmp_path: Path) -> None:
    path = Copy("cifar10").write(write_binary, tmp_path / "mine")
    file = made(path).path / "val.images.npy"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(UserError, match=r"val\.images\.npy does not have the bytes"):
        made(path)
    assert made(path, rebuild=True).splits["val"].images.shape == (20, 32, 32, 3)


def test_a_subset_with_fewer_batches_is_counted_as_it_is(tmp_path: Path) -> None:
    copy = Copy("cifar10")
    path = copy.write(write_python, tmp_path / "mine")
    (path / "data_batch_2").unlink()
    (path / "batches.meta").unlink()
    dataset = made(path)
    assert dataset.manifest["given"] == {"train": 120, "test": 20}
    assert dataset.classes == CLASSES["cifar10"]


def test_the_folder_above_is_enough(copy: Copy, tmp_path: Path) -> None:
    for number, name in enumerate((*FOLDERS[copy.kind], "plain_text", "data")):
        write = (write_python, write_binary, write_parquet, write_parquet)[number]
        copy.write(write, tmp_path / str(number) / name)
        assert made(tmp_path / str(number), copy.kind).manifest["given"]["train"] == len(copy.train.labels)


def test_class_names_are_those_of_the_copy(tmp_path: Path) -> None:
    names = [f"class {number}" for number in range(10)]
    copy = Copy("cifar10")
    python, binary = copy.write(write_python, tmp_path / "a"), copy.write(write_binary, tmp_path / "b")
    (python / "batches.meta").write_bytes(python2_pickle({"label_names": names}))
    (binary / "batches.meta.txt").write_text("\r\n".join(names) + "\r\n\r\n")
    assert made(python).classes == made(binary).classes == tuple(names)
    for wrong in (names[:9], [*names[:9], names[0]], [*names[:9], "a\nb"], [*names[:9], ""]):
        shutil.rmtree(tmp_path / "sets", ignore_errors=True)
        (python / "batches.meta").write_bytes(python2_pickle({"label_names": wrong}))
        assert "does not name the 10 different classes of cifar10" in refusal(python)
    (python / "batches.meta").write_bytes(python2_pickle({"label_names": 3}))
    assert "no names of classes" in refusal(python)
    (binary / "batches.meta.txt").write_bytes(b"\xff\n")
    assert "is not UTF-8" in refusal(binary)


# ---- Validation images.


def test_validation_has_as_many_images_of_each_class_as_far_as_possible(copy: Copy, tmp_path: Path) -> None:
    path = copy.write(write_binary, tmp_path / "mine")
    classes = len(CLASSES[copy.kind])
    for count in (1, classes, classes + 3, 2 * classes):
        labels = made(path, copy.kind, count).splits["val"].labels
        counts = np.bincount(labels, minlength=classes)
        assert counts.sum() == count
        assert counts.max() - counts.min() <= 1


def test_a_rare_class_gives_less_and_the_others_more(tmp_path: Path) -> None:
    many, test = draw("cifar10", 8), draw("cifar10", 1, 5)
    kept = np.flatnonzero((many.labels != 4) | (np.cumsum(many.labels == 4) <= 2))  # two images of class 4
    path = write_binary(tmp_path / "mine", "cifar10", [Sample(*(each[kept] for each in many))], test)
    counts = np.bincount(made(path, validation=10).splits["val"].labels, minlength=10)
    assert counts.tolist() == [1] * 10
    assert "takes all 2 training images of class 'deer'" in refused_after(path, validation=30)


def refused_after(path: Path, **options: Any) -> str:
    shutil.rmtree(path.parent / "sets")
    return refusal(path, **options)


def test_validation_depends_on_the_seed_and_not_on_the_order_of_the_files(tmp_path: Path) -> None:
    copy = Copy("cifar10")
    first = copy.write(write_binary, tmp_path / "a")
    copy.batches.reverse()
    other_order = copy.write(write_binary, tmp_path / "b")
    chosen = [
        set(keys(made(path, seed=seed).splits["val"])) for path, seed in ((first, 0), (other_order, 0), (first, 1))
    ]
    assert chosen[0] == chosen[1] != chosen[2]


@pytest.mark.parametrize("count", [-1, 0, 150, 10**9])
def test_validation_leaves_training_images(tmp_path: Path, count: int) -> None:
    path = Copy("cifar10").write(write_binary, tmp_path / "mine")
    assert f"validation={count}: give 1 to 149, of 150 training images" in refusal(path, validation=count)


# ---- Mistakes.


@pytest.mark.parametrize("write", [write_python, write_binary, write_parquet])
def test_the_other_data_set_is_named(copy: Copy, write: Write, tmp_path: Path) -> None:
    path = copy.write(write, tmp_path / "mine")
    other = KINDS[1 - KINDS.index(copy.kind)]
    if write is not write_parquet:
        assert f"which is {copy.kind}: give a copy of {other}, or task={copy.kind}" in refusal(path, other)
    elif other == "cifar10":
        assert "has a column fine_label, which cifar100 has" in refusal(path, other)
    else:  # a column called label can be either's: the number of classes tells
        assert "does not name the 100 different classes of cifar100" in refusal(path, other)


def test_what_is_no_copy_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "folders" / "train" / "cat").mkdir(parents=True)
    (tmp_path / "text.tar.gz").write_text("<html>404</html>")
    (tmp_path / "broken.tar.gz").write_bytes(gzip.compress(b"no tar" * 1000))
    assert "does not exist" in refusal(tmp_path / "nowhere")
    for name in ("empty", "folders"):
        assert "does not hold CIFAR: give cifar-10-batches-py" in refusal(tmp_path / name)
    for name in ("text.tar.gz", "broken.tar.gz"):
        assert f"{name} cannot be read: it is damaged, or no .tar.gz" in refusal(tmp_path / name)


def test_a_folder_with_several_copies_is_refused(tmp_path: Path) -> None:
    copy = Copy("cifar10")
    for write in (write_python, write_binary):
        copy.write(write, tmp_path / "both" / FOLDERS["cifar10"][write is write_binary])
        shutil.copytree(copy.write(write, tmp_path / write.__name__), tmp_path / "mixed", dirs_exist_ok=True)
    assert "holds CIFAR several times: give one of " in refusal(tmp_path / "both")
    assert "holds files of cifar-10-batches-py and cifar-10-batches-bin" in refusal(tmp_path / "mixed")
    copy.write(write_parquet, tmp_path / "p")
    shutil.copytree(tmp_path / "p", tmp_path / "write_binary", dirs_exist_ok=True)
    assert "holds Parquet files and batches" in refusal(tmp_path / "write_binary")


@pytest.mark.parametrize("missing", ["test", "train"])
@pytest.mark.parametrize("write", [write_python, write_binary, write_parquet])
def test_a_copy_needs_training_and_test_images(copy: Copy, write: Write, missing: str, tmp_path: Path) -> None:
    path = copy.write(write, tmp_path / "mine")
    for file in list(path.iterdir()):
        if file.name.startswith(missing) or (missing == "train" and file.name.startswith("data_batch")):
            file.unlink()
    assert f"{path} has no " in refusal(path, copy.kind)


BATCH = batch("cifar10", draw("cifar10", 1))
PIXELS = BATCH["data"]


def broken(**changes: Any) -> bytes:
    return python2_pickle({key: value for key, value in {**BATCH, **changes}.items() if value is not None})


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (broken(labels=None), "holds no data and labels of cifar10"),
        (broken(data=None), "holds no data and labels of cifar10"),
        (broken(data="x"), "holds no data and labels of cifar10"),
        (broken(labels=["x"] * 10), "a label that is no whole number"),
        (broken(labels=[True] * 10), "a label that is no whole number"),
        (broken(labels=[0] * 9), "holds 10×3072 bytes for 9 labels"),
        (broken(data=PIXELS[:, :3071]), "holds 10×3071 bytes for 10 labels"),
        (broken(data=PIXELS.reshape(10, 32, 96)), "holds 10×32×96 bytes for 10 labels"),
        (broken(labels=[*range(9), 10]), "a training image has label 10, cifar10 has 0 to 9"),
        (broken(labels=[*range(9), -1]), "a training image has label -1, cifar10 has 0 to 9"),
        (broken(data=PIXELS.astype(np.uint16)), "an array does not hold uint8"),
        (python2_pickle(BATCH)[:-20], "its end is missing"),
        (b"\x80\x02cposix\nsystem\nU\x04true\x85R.", "it names 'posix.system'"),
        (b"", "its end is missing"),
    ],
)
def test_a_wrong_pickle_is_refused(data: bytes, reason: str, tmp_path: Path) -> None:
    path = Copy("cifar10").write(write_python, tmp_path / "mine")
    (path / "data_batch_3").write_bytes(data)
    assert reason in refusal(path)


def test_a_wrong_binary_is_refused(copy: Copy, tmp_path: Path) -> None:
    path = copy.write(write_binary, tmp_path / "mine")
    file = path / ("test_batch.bin" if copy.kind == "cifar10" else "test.bin")
    data = file.read_bytes()
    file.write_bytes(data[:-1])
    assert f"{file} has {len(data) - 1:,} bytes, no multiple of" in refusal(path, copy.kind)
    file.write_bytes(b"\xc8" * len(data))
    assert "a test image has label 200" in refusal(path, copy.kind)
    file.write_bytes(b"")
    assert "holds no test images" in refusal(path, copy.kind)


def test_more_than_cifar_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    copy = Copy("cifar10")
    paths = [copy.write(write, tmp_path / write.__name__) for write in (write_python, write_binary, write_parquet)]
    monkeypatch.setattr(cifar_files, "MAX_IMAGES", 169)
    for path in paths:
        assert "more than" in refusal(path)
    monkeypatch.setattr(cifar_files, "MAX_IMAGES", 170)
    assert made(paths[0]).path == made(paths[2]).path
    monkeypatch.setattr(cifar_files, "MAX_BYTES", 1000)
    assert "has more than 0 MiB: no file of CIFAR has" in refused_after(paths[1])
    monkeypatch.setattr(cifar_parquet, "MAX_BYTES", 1000)
    assert "has more than 0 MiB: no file of CIFAR has" in refusal(paths[2])


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file that gives an error when it is read")
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = Copy("cifar10").write(write_python, tmp_path / "mine")
    (path / "test_batch").unlink()
    (path / "test_batch").symlink_to("/proc/self/mem")
    assert "test_batch cannot be read: Input/output error" in refusal(path)


# ---- Archives.


def archive(path: Path, members: list[tuple[tarfile.TarInfo, bytes]], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as opened:  # type: ignore[call-overload]
        for info, data in members:
            opened.addfile(info, io.BytesIO(data))
    return path


def member(name: str, data: bytes, **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data


def binary_members() -> list[tuple[tarfile.TarInfo, bytes]]:
    rows = [np.hstack([labels[:, None], planes(images)]).astype(np.uint8) for images, labels in (draw("cifar10", 3),)]
    return [member(f"x/{name}.bin", rows[0].tobytes()) for name in ("data_batch_1", "test_batch")]


def test_an_archive_that_is_unpacked_is_read_too(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar", binary_members(), "w")
    assert made(path, validation=10).manifest["given"] == {"train": 30, "test": 30}


def test_nothing_but_the_files_of_cifar_is_taken_from_an_archive(tmp_path: Path) -> None:
    """Links, devices and paths out of the folder are neither followed nor written."""
    strange = [
        member("../../escaped", b"x"),
        member("/etc/escaped", b"x"),
        member("x/data_batch_2.bin", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        member("x/data_batch_3.bin", b"", type=tarfile.LNKTYPE, linkname="x/escaped"),
        member("x/data_batch_4.bin", b"", type=tarfile.FIFOTYPE),
        member("x/data_batch_5.bin", b"", type=tarfile.CHRTYPE),
        member("x/batches.meta.txt", b"", type=tarfile.DIRTYPE),
    ]
    path = archive(tmp_path / "a.tar.gz", [*strange, *binary_members()])
    assert made(path, validation=10).manifest["given"] == {"train": 30, "test": 30}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.tar.gz", "sets"]


def test_an_archive_with_a_file_twice_is_refused(tmp_path: Path) -> None:
    members = binary_members()
    path = archive(tmp_path / "a.tar.gz", [*members, member("y/test_batch.bin", b"")])
    assert "holds test_batch.bin twice" in refusal(path)


def test_an_archive_that_ends_early_is_refused(tmp_path: Path) -> None:
    packed = archive(tmp_path / "a.tar.gz", binary_members()).read_bytes()
    plain = gzip.decompress(packed)
    for end in (1, 10, 100, 1000, len(packed) // 2, len(packed) - 9):
        (tmp_path / "b.tar.gz").write_bytes(packed[:end])
        assert "cannot be read" in refusal(tmp_path / "b.tar.gz")
    for end in (300, 5000, 512 + 30 * 3073 - 1):
        (tmp_path / "b.tar").write_bytes(plain[:end])
        refusal(tmp_path / "b.tar")


def test_an_archive_with_a_changed_byte_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar.gz", binary_members())
    data = bytearray(path.read_bytes())
    data[-8] ^= 1  # of the checksum, so all else is read
    path.write_bytes(data)
    assert "cannot be read" in refusal(path)


def test_an_archive_of_claims_and_zeros_takes_no_memory(tmp_path: Path) -> None:
    """Gigabytes that are claimed, or packed as zeros, are refused by the headers."""
    huge = member("x/test_batch.bin", b"")
    huge[0].size = 1 << 40
    head = huge[0].tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(head + bytes(1 << 20)))
    assert "is larger than any archive of CIFAR" in refusal_in_little_memory(tmp_path / "a.tar.gz")
    negative = bytearray(member("x/test_batch.bin", b"")[0].tobuf(tarfile.GNU_FORMAT))
    negative[124:136] = b"\xff" * 11 + b"\x00"  # a size in base 256
    negative[148:156] = b" " * 8
    negative[148:156] = b"%06o\0 " % sum(negative)
    (tmp_path / "a.tar").write_bytes(bytes(negative) + bytes(10240))
    assert "larger than any archive" in refusal_in_little_memory(tmp_path / "a.tar")
    for kind in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME):
        long = tarfile.TarInfo("x")
        long.type, long.size = kind, 200 << 20
        head = long.tobuf(tarfile.GNU_FORMAT)
        (tmp_path / "a.tar.gz").write_bytes(gzip.compress(head + bytes(200 << 20), 1))
        assert "cannot be read" in refusal_in_little_memory(tmp_path / "a.tar.gz")
    archive(tmp_path / "c.tar", binary_members(), "w")
    zeros = bytes(64 << 20)
    with gzip.open(tmp_path / "c.tar.gz", "wb", 1) as file:
        file.write((tmp_path / "c.tar").read_bytes())
        for _ in range(17):
            file.write(zeros)
    assert "larger than any archive" in refusal_in_little_memory(tmp_path / "c.tar.gz")
    many = [member(f"x/{number}", b"") for number in range(cifar_files.MAX_MEMBERS + 1)]
    assert "larger than any archive" in refusal_in_little_memory(archive(tmp_path / "b.tar.gz", many))


def test_a_chain_of_headers_is_refused(tmp_path: Path) -> None:
    """tarfile reads a header behind a header by calling itself."""
    head = tarfile.TarInfo("x")
    head.type, head.size = tarfile.XHDTYPE, 512
    block = head.tobuf(tarfile.USTAR_FORMAT) + b"9 a=bcde\n".ljust(512, b"\0")
    (tmp_path / "a.tar").write_bytes(block * 5000 + bytes(10240))
    assert "cannot be read" in refusal(tmp_path / "a.tar")


# ---- Parquet.


def table(path: Path, columns: dict[str, Any], metadata: dict[str, str] | None = None) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    made_table = pa.table(columns)
    pq.write_table(made_table.replace_schema_metadata(metadata) if metadata else made_table, path)


def parquet(tmp_path: Path, test: dict[str, Any], metadata: dict[str, str] | None = None) -> Path:
    """A copy whose test file has these columns."""
    path = Copy("cifar10").write(write_parquet, tmp_path / "mine")
    (path / "test-00000-of-00001.parquet").unlink()
    table(path / "test-0.parquet", test, metadata)
    return path


IMAGE = draw("cifar10", 1).images[0]


def test_another_name_of_the_column_and_no_names_of_classes(tmp_path: Path) -> None:
    copy = Copy("cifar10")
    path = write_parquet(tmp_path / "mine", "cifar10", copy.batches, copy.test, "image")
    first = made(path)
    table(path / "test-0.parquet", {"image": [{"bytes": png(IMAGE)}], "label": [3]})
    (path / "test-00000-of-00001.parquet").unlink()
    second = made(path)
    assert second.manifest["given"] == {"train": 150, "test": 1}
    np.testing.assert_array_equal(second.splits["test"].images, IMAGE[None])
    assert keys(first.splits["val"]) == keys(second.splits["val"])


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"picture": [1], "label": [1]}, "has the columns picture, label; cifar10 has img or image, and label"),
        ({"img": [{"bytes": png(IMAGE)}]}, "has the columns img; cifar10 has"),
        ({"img": [b"x"], "label": [1]}, "column img holds no pictures"),
        ({"img": [{"path": "x.png"}], "label": [1]}, "column img holds no pictures"),
        ({"img": [{"bytes": "text"}], "label": [1]}, "column img holds no pictures"),
        ({"img": [{"bytes": png(IMAGE)}], "label": ["cat"]}, "column label holds no whole numbers"),
        ({"img": [{"bytes": png(IMAGE)}], "label": [0.5]}, "column label holds no whole numbers"),
        ({"img": [{"bytes": png(IMAGE)}] * 2, "label": [1, None]}, "an image without a label"),
        ({"img": [{"bytes": png(IMAGE)}, None], "label": [1, 1]}, "has an image of 0 bytes"),
        ({"img": [{"bytes": png(IMAGE)}, {"bytes": None}], "label": [1, 1]}, "has an image of 0 bytes"),
        ({"img": [{"bytes": b"x" * 70000}], "label": [1]}, "has an image of 70,000 bytes"),
        ({"img": [{"bytes": b"no picture"}], "label": [1]}, "an image is not a picture"),
        ({"img": [{"bytes": png(IMAGE[:31])}], "label": [1]}, "has 31×32 pixels, CIFAR's have 32×32"),
        ({"img": [{"bytes": png(np.repeat(IMAGE, 2, 0))}], "label": [1]}, "has 64×32 pixels, more than 1,024"),
        ({"img": [{"bytes": png(IMAGE)}], "label": [-1]}, "a test image has label -1"),
        ({"img": [{"bytes": png(IMAGE)}], "label": [10]}, "a test image has label 10"),
        ({"img": [{"bytes": png(IMAGE)}], "label": [2**63 - 1]}, "a test image has label 9223372036854775807"),
        ({"img": [{"bytes": png(IMAGE)}], "label": np.array([2**64 - 1], np.uint64)}, "or is damaged"),
    ],
)
def test_wrong_columns_are_refused(columns: dict[str, Any], reason: str, tmp_path: Path) -> None:
    assert reason in refusal(parquet(tmp_path, columns))


def test_files_that_name_other_classes_are_refused(tmp_path: Path) -> None:
    features = {"label": {"names": [f"class {number}" for number in range(10)]}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    path = parquet(tmp_path, {"img": [{"bytes": png(IMAGE)}], "label": [1]}, metadata)
    assert "names other classes than the files before it" in refusal(path)


@pytest.mark.parametrize(
    "text", ["{", "[]", "3", "[" * 5000, json.dumps({"info": {"features": {"label": {"names": 3}}}})]
)
def test_metadata_that_name_no_classes_are_passed_over(text: str, tmp_path: Path) -> None:
    path = parquet(tmp_path, {"img": [{"bytes": png(IMAGE)}], "label": [1]}, {"huggingface": text})
    assert made(path).classes == CLASSES["cifar10"]


def test_hugging_faces_slip_in_a_name_is_mended(tmp_path: Path) -> None:
    names = ["cra" if name == "crab" else name for name in CLASSES["cifar100"]]
    metadata = {"huggingface": json.dumps({"info": {"features": {"fine_label": {"names": names}}}})}
    (tmp_path / "mine").mkdir()
    for split, each in (("train", 2), ("test", 1)):
        images, labels = draw("cifar100", each)
        columns = {"img": [{"bytes": png(image)} for image in images], "fine_label": labels}
        table(tmp_path / "mine" / f"{split}-0.parquet", columns, metadata)
    assert made(tmp_path / "mine", "cifar100").classes == CLASSES["cifar100"]


def test_a_damaged_parquet_file_is_refused(tmp_path: Path) -> None:
    path = Copy("cifar10").write(write_parquet, tmp_path / "mine")
    file = path / "test-00000-of-00001.parquet"
    data = file.read_bytes()
    for wrong in (b"", b"PAR1", data[:-1], data[: len(data) // 2], data[:-8] + struct.pack("<I", 1 << 31) + b"PAR1"):
        file.write_bytes(wrong)
        assert "is no Parquet file of CIFAR, or is damaged" in refusal(path)


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Copy("cifar10").write(write_parquet, tmp_path / "mine")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "pip install 'foldtext[formats]'" in refusal(path)


def test_reading_leaves_no_file_behind(copy: Copy, tmp_path: Path) -> None:
    path = pack(copy.write(write_python, tmp_path / FOLDERS[copy.kind][0]))
    before = sorted(tmp_path.rglob("*"))
    cifar = read_cifar(path, copy.kind)
    np.testing.assert_array_equal(cifar.train.images, copy.train.images)
    assert sorted(tmp_path.rglob("*")) == before


def test_two_processes_at_once_import_once(copy: Copy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads here: the lock is held by an open file."""
    write, written = importer._write_dataset, []
    path = copy.write(write_python, tmp_path / "mine")

    def slowly(*arguments: Any) -> None:
        written.append(1)
        time.sleep(0.3)
        write(*arguments)

    monkeypatch.setattr(importer, "_write_dataset", slowly)
    with ThreadPoolExecutor(2) as threads:
        one, two = (each.result() for each in [threads.submit(made, path, copy.kind, validation=50) for _ in range(2)])
    assert len(written) == 1
    assert one.path == two.path
