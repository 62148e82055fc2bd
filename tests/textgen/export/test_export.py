"""Exports as their readers see them: numpy, PIL, csv, tarfile, pyarrow, webdataset and, where it is there, datasets."""

import csv
import io
import json
import os
import resource
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from hydra.core.global_hydra import GlobalHydra
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import textgen.common.pictures
import textgen.export.formats
import textgen.export.main
from textgen.common.errors import UserError
from textgen.dataset import import_folder as importer
from textgen.dataset.imagefolder import class_folders
from textgen.dataset.store import FORMAT, Dataset, SplitWriter, open_dataset
from textgen.export.formats import FORMATS, export
from textgen.spec.label_fields import LabelFields

HOSTILE = (
    "a/b",
    "a_b",
    "..",
    "con",
    "%",
    "a%2Fb",
    "é",
    "e\u0301",
    "A",
    "a",
    " ",
    ".",
    "a.",
    "金" * 200,
    "x" * 200,
    "other",
)
NAMES = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=120)
SMALL = ["game=sot_time", "game.images={train:2,val:1,test:1}", "workers=1"]


def write(path: Path, classes: tuple[str, ...], counts: dict[str, int], size: tuple[int, int] = (5, 7)) -> Dataset:
    """A data set of random images; texts are hostile to csv."""
    rng = np.random.default_rng(len(classes))
    path.mkdir(parents=True)
    about = {}
    for split, count in counts.items():
        writer = SplitWriter(path, split, count, size)
        images = rng.integers(0, 256, (count, *size, 3), np.uint8)
        texts = [["", "07", 'a,"b"', " x ", "NA", "'", "é,金"][row % 7] for row in range(count)]
        writer.add(images, rng.permutation(np.arange(count) % len(classes)), texts)
        about[split] = writer.close()
    manifest = {"format": FORMAT, "hash": "01" * 32, "classes": classes, "splits": about}
    (path / "manifest.json").write_text(json.dumps(manifest))
    return open_dataset(path)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Three splits and a further test set, classes whose names are hostile to file systems."""
    n = len(HOSTILE)
    return write(tmp_path / "set", HOSTILE, {"train": 3 * n, "val": n, "test": n, "test_fonts": n})


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def pixels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        return np.asarray(image)


def rows(out: Path, to: str, split: str) -> list[tuple[bytes, int, str]]:
    """PNG, label and text of every row of an export, in order."""
    return {"imagefolder": _of_folder, "parquet": _of_parquet, "webdataset": _of_tar}[to](out, split)


def _of_folder(out: Path, split: str) -> list[tuple[bytes, int, str]]:
    listing = sorted(path.name for path in (out / split).iterdir() if path.is_dir())
    with (out / split / "metadata.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file, strict=True))
    for row in table:  # what ImageFolder makes of it
        assert listing.index(row["file_name"].split("/")[0]) == int(row["label"])
    return [((out / split / row["file_name"]).read_bytes(), int(row["label"]), row["text"]) for row in table]


def _of_parquet(out: Path, split: str) -> list[tuple[bytes, int, str]]:
    parquet = pytest.importorskip("pyarrow.parquet")

    files = sorted(out.glob(f"{split}-?????-of-?????.parquet"))
    assert [file.name for file in files] == [f"{split}-{i:05}-of-{len(files):05}.parquet" for i in range(len(files))]
    table = [row for file in files for row in parquet.read_table(file).to_pylist()]
    assert [row["image"]["path"] for row in table] == [f"{split}-{i:06}.png" for i in range(len(table))]
    return [(row["image"]["bytes"], row["label"], row["text"]) for row in table]


def _of_tar(out: Path, split: str) -> list[tuple[bytes, int, str]]:
    members: list[tuple[str, bytes]] = []
    for path in sorted(out.glob(f"{split}-??????.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                assert (member.mtime, member.uid, member.gid, member.uname, member.mode) == (0, 0, 0, "", 0o644)
                file = tar.extractfile(member)
                assert file is not None
                members.append((member.name, file.read()))
    kinds = ("png", "cls", "txt")
    assert [name for name, _ in members] == [f"{i:06}.{kind}" for i in range(len(members) // 3) for kind in kinds]
    parts = [content for _, content in members]
    return [(png, int(cls), txt.decode()) for png, cls, txt in zip(parts[::3], parts[1::3], parts[2::3], strict=True)]


@pytest.mark.parametrize("to", FORMATS)
def test_every_row_is_there_in_order(dataset: Dataset, tmp_path: Path, to: str) -> None:
    export(dataset, to, tmp_path / "out", quiet=True)
    for name, split in dataset.splits.items():
        read = rows(tmp_path / "out", to, name)
        np.testing.assert_array_equal(np.stack([pixels(png) for png, _, _ in read]), split.images)
        assert [label for _, label, _ in read] == split.labels.tolist()
        assert [text for _, _, text in read] == list(split.texts)
    assert (tmp_path / "out" / "classes.txt").read_text(encoding="utf-8").split("\n") == [*HOSTILE, ""]
    about = json.loads((tmp_path / "out" / "export.json").read_text())
    assert (about["format"], about["dataset"], about["classes"]) == (to, dataset.hash, list(HOSTILE))


@pytest.mark.parametrize("to", FORMATS)
def test_the_same_data_set_gives_the_same_bytes(dataset: Dataset, tmp_path: Path, to: str) -> None:
    export(dataset, to, tmp_path / "one", quiet=True)
    export(dataset, to, tmp_path / "two", quiet=True)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.parametrize("to", ["parquet", "webdataset"])
def test_files_are_bounded_and_in_order(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str
) -> None:
    export(dataset, to, tmp_path / "whole", quiet=True)
    monkeypatch.setattr(textgen.export.formats, "SHARD_BYTES", 20_000)
    monkeypatch.setattr(textgen.export.formats, "GROUP", 2)
    export(dataset, to, tmp_path / "out", quiet=True)
    assert rows(tmp_path / "out", to, "train") == rows(tmp_path / "whole", to, "train")
    files = list((tmp_path / "out").glob("train-*"))
    assert len(files) > 5
    if to == "webdataset":  # a parquet file of so few rows is mostly its schema
        assert max(file.stat().st_size for file in files) <= 20_000 + tarfile.RECORDSIZE
    else:
        parquet = pytest.importorskip("pyarrow.parquet")

        about = parquet.ParquetFile(files[0]).metadata
        assert [about.row_group(i).num_rows for i in range(about.num_row_groups)] == [2, 2]


@pytest.mark.parametrize("to", FORMATS)
def test_a_split_or_a_class_without_images(tmp_path: Path, to: str) -> None:
    dataset = write(tmp_path / "set", ("a", "b", "c"), {"train": 2, "test": 0})
    export(dataset, to, tmp_path / "out", quiet=True)
    assert len(rows(tmp_path / "out", to, "train")) == 2
    assert rows(tmp_path / "out", to, "test") == []
    if to == "imagefolder":
        assert len([path for path in (tmp_path / "out" / "test").iterdir() if path.is_dir()]) == 3


# ---- The names of folders.


@settings(max_examples=100, deadline=None)
@given(classes=st.lists(NAMES, min_size=1, max_size=30, unique=True))
def test_folders_of_classes_are_safe_distinct_and_in_order(classes: list[str]) -> None:
    folders = class_folders(classes)
    assert len({name.casefold() for name in folders}) == len(classes)
    assert sorted(folders) == folders
    for name in folders:
        assert name.isascii()
        assert not set(name) & set('/\\:*?"<>| ')
        assert not name.endswith(".")
        assert len(name) <= 255
        assert Path("/root", name).resolve().parent == Path("/root")


def test_many_classes_stay_in_order() -> None:
    folders = class_folders([f"{number}" for number in range(1234)])
    assert folders[7] == "0007_7"
    assert sorted(folders) == folders


# ---- Round trip.


def assert_same(one: Dataset, two: Dataset) -> None:
    assert one.classes == two.classes
    assert list(one.splits) == list(two.splits)
    for name, split in one.splits.items():
        np.testing.assert_array_equal(split.images, two.splits[name].images)
        np.testing.assert_array_equal(split.labels, two.splits[name].labels)
        assert list(split.texts) == list(two.splits[name].texts)


def test_an_export_is_imported_as_it_was(dataset: Dataset, tmp_path: Path) -> None:
    export(dataset, "imagefolder", tmp_path / "out", quiet=True)
    imported = importer.import_folder(tmp_path / "out", tmp_path / "sets")
    assert_same(dataset, imported)
    assert [about["resized"] for about in imported.manifest["splits"].values()] == [0] * 4
    real = importer.load_test_folder(tmp_path / "out" / "test_fonts", dataset.classes, (5, 7))
    np.testing.assert_array_equal(real.images, dataset.splits["test_fonts"].images)
    assert (real.labels.tolist(), real.texts) == (
        dataset.splits["test_fonts"].labels.tolist(),
        list(dataset.splits["test_fonts"].texts),
    )


@settings(max_examples=12, deadline=None)
@given(
    classes=st.lists(NAMES, min_size=1, max_size=4, unique=True), size=st.tuples(st.integers(1, 4), st.integers(1, 4))
)
def test_any_export_is_imported_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, classes: list[str], size: tuple[int, int]
) -> None:
    folder = tmp_path_factory.mktemp("round")
    n = len(classes)
    dataset = write(folder / "set", tuple(classes), {"train": 2 * n, "val": n, "test": n}, size)
    export(dataset, "imagefolder", folder / "out", quiet=True)
    assert_same(dataset, importer.import_folder(folder / "out", folder / "sets"))


# ---- Its readers.


def test_parquet_says_what_its_columns_are(dataset: Dataset, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")

    export(dataset, "parquet", tmp_path / "out", quiet=True)
    schema = parquet.read_schema(tmp_path / "out" / "test-00000-of-00001.parquet")
    assert str(schema.field("image").type) == "struct<bytes: binary, path: string>"
    assert [str(schema.field(name).type) for name in ("label", "text")] == ["int64", "string"]
    assert json.loads(schema.metadata[b"huggingface"])["info"]["features"] == {
        "image": {"_type": "Image"},
        "label": {"names": list(HOSTILE), "_type": "ClassLabel"},
        "text": {"dtype": "string", "_type": "Value"},
    }


def test_webdataset_reads_it(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = pytest.importorskip("webdataset")
    monkeypatch.setattr(textgen.export.formats, "SHARD_BYTES", 50_000)
    export(dataset, "webdataset", tmp_path / "out", quiet=True)
    shards = sorted(str(path) for path in (tmp_path / "out").glob("train-*.tar"))
    read = list(reader.WebDataset(shards, shardshuffle=False).decode("rgb8").to_tuple("png", "cls", "txt"))
    train = dataset.splits["train"]
    np.testing.assert_array_equal(np.stack([image for image, _, _ in read]), train.images)
    assert [label for _, label, _ in read] == train.labels.tolist()
    assert [text for _, _, text in read] == list(train.texts)


def test_hugging_face_reads_it(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    reader = pytest.importorskip("datasets")
    for to in ("parquet", "imagefolder"):
        export(dataset, to, tmp_path / to, quiet=True)
    files = {name: f"{tmp_path}/parquet/{name}-*.parquet" for name in dataset.splits}
    read = reader.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "cache"))
    for name, split in dataset.splits.items():
        assert read[name].features["label"].names == list(HOSTILE)
        np.testing.assert_array_equal(np.stack([np.asarray(image) for image in read[name]["image"]]), split.images)
        assert list(read[name]["label"]) == split.labels.tolist()
        assert list(read[name]["text"]) == list(split.texts)
    read = reader.load_dataset("imagefolder", data_dir=str(tmp_path / "imagefolder"), cache_dir=str(tmp_path / "cache"))
    np.testing.assert_array_equal(
        np.stack([np.asarray(image) for image in read["train"]["image"]]), dataset.splits["train"].images
    )
    assert list(read["train"]["label"]) == dataset.splits["train"].labels.tolist()


# ---- What can go wrong.


def refusal(dataset: Dataset, to: str, out: Path, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        export(dataset, to, out, quiet=True, **options)
    return caught.value.summary


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_export_is_never_replaced(dataset: Dataset, tmp_path: Path, kind: str, overwrite: bool) -> None:
    out = tmp_path / "home"
    {"folder": out.mkdir, "file": out.touch, "link": lambda: out.symlink_to("nowhere")}[kind]()
    summary = refusal(dataset, "webdataset", out, overwrite=overwrite)
    assert str(out) in summary
    assert "out=" in summary
    assert "overwrite=true" in summary
    assert overwrite == ("not an older export" in summary)
    assert os.path.lexists(out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "set"]


def test_an_older_export_is_replaced_when_told_so(dataset: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(dataset, "imagefolder", out, quiet=True)
    before = contents(out)
    assert "overwrite=true" in refusal(dataset, "webdataset", out)
    assert contents(out) == before
    export(dataset, "webdataset", out, overwrite=True, quiet=True)
    assert len(contents(out)) == 6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "set"]


@pytest.mark.parametrize("to", FORMATS)
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_nothing_half_written_remains(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str, error: type[BaseException]
) -> None:
    export(dataset, to, tmp_path / "out", quiet=True)
    before, threads = contents(tmp_path), threading.active_count()
    encode, calls = textgen.export.formats._encode_pngs, iter(range(100))

    def failing(images: Any) -> list[bytes]:
        if next(calls) == 2:
            raise error
        return encode(images)

    monkeypatch.setattr(textgen.export.formats, "_encode_pngs", failing)
    monkeypatch.setattr(textgen.common.pictures, "CHUNK", 8)
    with pytest.raises(error):
        export(dataset, to, tmp_path / "out", overwrite=True, quiet=True)
    assert contents(tmp_path) == before
    assert threading.active_count() == threads


def test_a_full_disk_is_one_line_and_leaves_nothing(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(textgen.common.pictures, "CHUNK", 2)
    threads = threading.active_count()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))  # a larger file is an error of the system
    try:
        for to in ("parquet", "webdataset"):
            assert "make room" in refusal(dataset, to, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    assert threading.active_count() == threads


def test_ctrl_c_leaves_nothing(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encode, calls = textgen.export.formats._encode_pngs, iter(range(100))

    def interrupted(images: Any) -> list[bytes]:
        if next(calls) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.02)
        return encode(images)

    monkeypatch.setattr(textgen.export.formats, "_encode_pngs", interrupted)
    monkeypatch.setattr(textgen.common.pictures, "CHUNK", 2)
    before = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt):
        export(dataset, "imagefolder", tmp_path / "out", quiet=True)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    begun = {type(thread).__name__ for thread in set(threading.enumerate()) - before}
    assert begun <= {"TMonitor"}  # tqdm's own, one a process


def test_an_unknown_format_is_answered_with_the_known_ones(dataset: Dataset, tmp_path: Path) -> None:
    assert "imagefolder, parquet, webdataset" in refusal(dataset, "zip", tmp_path / "out")


def test_without_pyarrow_the_extra_is_named(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    summary = refusal(dataset, "parquet", tmp_path / "out")
    assert "pip install 'foldtext[formats]'" in summary
    assert not (tmp_path / "out").exists()
    export(dataset, "webdataset", tmp_path / "out", quiet=True)


def test_a_label_that_is_no_class_is_named(tmp_path: Path) -> None:
    dataset = write(tmp_path / "set", ("a", "b", "c"), {"train": 3})
    assert "outside its 2 classes" in refusal(
        Dataset(dataset.path, LabelFields.single("ab"), dataset.splits, dataset.manifest), "parquet", tmp_path / "o"
    )


def test_a_class_of_two_lines_is_named(tmp_path: Path) -> None:
    dataset = write(tmp_path / "set", ("a\nb", "other"), {"train": 2})
    assert "control character" in refusal(dataset, "imagefolder", tmp_path / "out")


# ---- The program.


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run `main` in this process, in an empty working folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["foldtext-export", *arguments])
        GlobalHydra.instance().clear()
        with pytest.raises(SystemExit) as caught:
            textgen.export.main.main()
        assert isinstance(caught.value.code, int)
        return caught.value.code, *capsys.readouterr()

    return call


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["to=zip", "out=x"], "to"),
        (["to=parquet"], "out"),
        (["to=parquet", "out=."], "overwrite=true"),
        (["to=parquet", "out=.", "overwrite=true"], "not an older export"),
        (["to=parquet", "out=x", "sed=3"], "sed"),
        (["to=parquet", "out=x", "seed=-1"], "seed"),
        (["to=parquet", "out=/proc/foldtext"], "/proc/foldtext"),
    ],
)
def test_a_wrong_setting_is_one_line(run: Callable[..., tuple[int, str, str]], arguments: list[str], word: str) -> None:
    code, out, err = run(*SMALL, *arguments)
    assert (code, out) == (2, "")
    assert "Traceback" not in err
    last = err.splitlines()[-1]
    assert last.startswith("error: ")
    assert word in last
    assert not list(Path.cwd().rglob("*.tmp"))
    assert not Path("x").exists()


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "textgen.export", *arguments]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_process_builds_and_exports(tmp_path: Path) -> None:
    process = start(tmp_path, *SMALL, "to=webdataset", "out=tars", "augment=off", "seed=3")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert out == "tars\n"
    (path,) = (tmp_path / "data" / "sot_time").glob("[!.]*")  # a lock stands beside it
    dataset = open_dataset(path)
    assert dataset.manifest["seed"] == 3
    for name, split in dataset.splits.items():
        read = rows(tmp_path / "tars", "webdataset", name)
        np.testing.assert_array_equal(np.stack([pixels(png) for png, _, _ in read]), split.images)
