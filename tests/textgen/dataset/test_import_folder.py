"""Folders as users have them: of many systems and tools, with mistakes in them."""

import json
import os
import re
import shutil
import struct
import time
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from textgen.common import pictures
from textgen.common.errors import UserError
from textgen.dataset import import_folder as importer
from textgen.dataset.imagefolder import natural_order, order_classes
from textgen.dataset.import_folder import derive_name, import_folder
from textgen.dataset.store import Dataset, open_dataset

SIZE = (6, 9)


def picture(path: Path, seed: int = 0, size: tuple[int, int] = SIZE, **options: Any) -> np.ndarray:
    """A random picture; its pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return pixels


def fill(path: Path, counts: dict[str, int], size: tuple[int, int] = SIZE) -> Path:
    """`<path>/<class>/*` with so many pictures of each class, all different."""
    for number, (name, count) in enumerate(counts.items()):
        for i in range(count):
            picture(path / name / f"{i}.png", 1000 * number + i, size)
    return path


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    return fill(tmp_path / "crops", {"2": 12, "10": 20, "other": 5, "b": 3})


@pytest.fixture
def divided(tmp_path: Path) -> Path:
    path = tmp_path / "divided"
    for number, (split, count) in enumerate({"train": 20, "val": 2, "test": 3}.items()):
        for label, name in enumerate(("a", "b")):
            for i in range(count):
                picture(path / split / name / f"{i}.png", 10_000 * number + 100 * label + i)
    return path


def made(path: Path, **options: Any) -> Dataset:
    return import_folder(path, path.parent / "sets", **options)


def counts(dataset: Dataset) -> dict[str, list[int]]:
    """Images of each class in each split."""
    return {
        name: np.bincount(split.labels, minlength=len(dataset.classes)).tolist()
        for name, split in dataset.splits.items()
    }


def keys(images: Iterable[np.ndarray]) -> list[bytes]:
    return [image.tobytes() for image in images]


def refusal(path: Path, **options: Any) -> str:
    """The one line; nothing is left behind."""
    with pytest.raises(UserError) as caught:
        made(path, **options)
    assert "\n" not in str(caught.value)
    assert list(path.parent.rglob("*.tmp")) == []
    assert not [each for each in (path.parent / "sets").glob("*/*") if each.suffix != ".lock"]
    return caught.value.summary


# ---- Layouts and classes.


def test_a_folder_of_classes_is_divided_by_content(crops: Path) -> None:
    dataset = made(crops)
    assert dataset.classes == ("2", "10", "b", "other")
    assert counts(dataset) == {"train": [10, 16, 1, 3], "val": [1, 2, 1, 1], "test": [1, 2, 1, 1]}
    images = [key for split in dataset.splits.values() for key in keys(split.images)]
    files = sorted(np.asarray(Image.open(file)).tobytes() for file in crops.rglob("*.png"))
    assert sorted(images) == files
    assert {text for split in dataset.splits.values() for text in split.texts} == {""}


def test_names_of_files_do_not_decide_what_is_divided_by_content(crops: Path) -> None:
    before = {name: set(keys(split.images)) for name, split in made(crops).splits.items()}
    for number, file in enumerate(sorted(crops.rglob("*.png"))):
        file.rename(file.with_name(f"renamed-{number}.png"))
    dataset = made(crops)
    assert {name: set(keys(split.images)) for name, split in dataset.splits.items()} == before
    other = made(crops, seed=1)
    assert {name: set(keys(split.images)) for name, split in other.splits.items()} != before
    assert counts(other) == counts(dataset)


def test_copies_of_one_image_stay_in_one_split(tmp_path: Path) -> None:
    path = fill(tmp_path / "crops", {"a": 6, "b": 6})
    for file in list(path.rglob("*.png")):
        for copy in range(3):
            shutil.copy(file, file.with_name(f"{file.stem}-{copy}.png"))
    dataset = made(path)
    assert counts(dataset) == {"train": [16, 16], "val": [4, 4], "test": [4, 4]}
    assert dataset.manifest["repeated"] == {"in_splits": 0, "in_classes": 0}


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("Train", "valid", "TEST"), ("train", "validation", "test")]
)
def test_splits_that_are_given_are_kept(divided: Path, names: tuple[str, ...]) -> None:
    for old, new in zip(("train", "val", "test"), names, strict=True):
        (divided / old).rename(divided / f"{old}-")
        (divided / f"{old}-").rename(divided / new)
    dataset = made(divided)
    assert counts(dataset) == {"train": [20, 20], "val": [2, 2], "test": [3, 3]}
    expected = [np.asarray(Image.open(divided / names[0] / name / f"{i}.png")) for name in "ab" for i in range(20)]
    np.testing.assert_array_equal(dataset.splits["train"].images, expected)  # in natural order, by class


def test_missing_splits_are_taken_off_train_by_the_files_names(divided: Path) -> None:
    shutil.rmtree(divided / "val")
    shutil.rmtree(divided / "test")
    dataset = made(divided)
    assert counts(dataset) == {"train": [16, 16], "val": [2, 2], "test": [2, 2]}
    (divided / "test").mkdir()
    fill(divided / "test", {"a": 1, "b": 2})
    assert counts(made(divided)) == {"train": [18, 18], "val": [2, 2], "test": [1, 2]}


def test_further_test_sets_are_taken_along(divided: Path) -> None:
    fill(divided / "test_real", {"b": 4})
    fill(divided / "test_2", {"a": 1})
    dataset = made(divided)
    assert list(dataset.splits) == ["train", "val", "test", "test_2", "test_real"]
    assert counts(dataset)["test_real"] == [0, 4]


def test_classes_may_have_the_names_of_splits(tmp_path: Path) -> None:
    assert made(fill(tmp_path / "crops", {"train": 3, "test": 3, "boat": 3})).classes == ("boat", "test", "train")


def test_a_list_of_classes_gives_their_order(crops: Path) -> None:
    (crops / "classes.txt").write_bytes("\ufeffother\r\nb\r\n10\r\n2\r\n".encode())
    assert made(crops).classes == ("other", "b", "10", "2")
    assert made(crops, classes=["b", "2", "10", "other"]).classes == ("b", "2", "10", "other")


@settings(deadline=None)
@given(numbers=st.lists(st.integers(0, 10**30), unique=True))
def test_numbers_are_sorted_by_value(numbers: list[int]) -> None:
    names = [f"{number}k" for number in numbers]
    assert sorted(["other", *names], key=natural_order) == [*(f"{number}k" for number in sorted(numbers)), "other"]


@settings(deadline=None)
@given(names=st.lists(st.text(max_size=8)))
def test_any_names_can_be_sorted(names: list[str]) -> None:
    backwards = names[::-1]
    assert sorted(names, key=natural_order) == sorted(backwards, key=natural_order)


@pytest.mark.parametrize(
    "ordered",
    [
        ["-10", "-1", "0", "1", "1.5", "other"],
        ["-1,000", "-999", "-1.5", "-1.25", "-0", "0", "+3", "20", "1,000", "1,000.5", "a", "b"],
        ["\u221220", "-3", "\u22122", "7"],
        ["-10%", "-5%", "3%", "20%"],
        ["HP", "HP -10", "HP -2", "HP 1", "HP 10"],
        ["1-3", "1-12", "2-1", "a-1", "a-2", "a-10"],  # these are no signs
        ["1.5", "1.25", "2", "10", "+1"],  # without a negative number as ever
    ],
)
def test_classes_are_in_the_order_of_values(ordered: list[str]) -> None:
    assert order_classes(ordered[::-1]) == tuple(ordered)


@settings(deadline=None)
@given(numbers=st.lists(st.decimals(-(10**20), 10**20, places=2), min_size=1, unique=True))
def test_numbers_with_a_sign_are_sorted_by_value(numbers: list[Decimal]) -> None:
    names = order_classes(["-0.001", *(f"{number:f}" for number in numbers)])
    assert [Decimal(name) for name in names] == sorted([Decimal("-0.001"), *numbers])


COMPOSED, DECOMPOSED = "\u00e9", "e\u0301"


def test_class_folders_are_found_however_their_names_are_composed(tmp_path: Path) -> None:
    path, mac = (fill(tmp_path / parent / "crops", {COMPOSED: 4, "a": 4}) for parent in ("one", "two"))
    (mac / COMPOSED).rename(mac / DECOMPOSED)
    assert made(path).classes == made(mac).classes == ("a", COMPOSED)
    assert made(path).hash == made(mac).hash
    for folder, classes in ((path, (DECOMPOSED, "a")), (mac, (COMPOSED, "a"))):
        assert made(folder, classes=classes).classes == classes
        assert importer.load_test_folder(folder, classes, SIZE).labels.tolist() == [0] * 4 + [1] * 4
        (folder / "classes.txt").write_text("".join(f"{name}\n" for name in classes), encoding="utf-8")
        assert made(folder).classes == classes


def test_two_folders_with_one_name_are_named(tmp_path: Path) -> None:
    path = fill(tmp_path / "crops", {COMPOSED: 3, DECOMPOSED: 3})
    assert r"'\xe9' and 'e\u0301'" in refusal(path)


NAMES = [
    *(
        "日本",
        "中国",
        "!!!",
        "🎮",
        "🎲",
        " ",
        "%",
        "a%20b",
        "...",
        ".x",
        "x.",
        "crops",
        "Crops",
        "CON",
        "nul.txt",
        "com1",
    ),
    *("ё" * 100, "a" * 200, "a" * 199, "Café", "Cafè", "日本1", "中国1", "\udcff", "-", "_", "a\tb", "'", "~"),
]


def test_a_folder_of_any_name_has_a_distinct_name_that_is_safe() -> None:
    names = [derive_name(Path("/crops") / name) for name in [*NAMES, "/"]]
    assert len(set(names)) == len(names)
    for name in names:
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name)
        assert not name.endswith(".")
        assert not re.fullmatch(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?", name)
    assert derive_name(Path("/x") / COMPOSED) == derive_name(Path("/x") / DECOMPOSED)


@pytest.mark.parametrize("name", ["日本", "🎮", "...x..", "%", "a" * 200, "CON"])
def test_a_folder_of_any_name_is_imported(tmp_path: Path, name: str) -> None:
    dataset = made(fill(tmp_path / name, {"a": 3}))
    assert dataset.path.parent.name == dataset.manifest["name"] == derive_name(tmp_path / name)


def test_what_systems_leave_in_folders_is_passed_over(crops: Path) -> None:
    expected = made(crops).hash
    for junk in ("2/.DS_Store", "10/Thumbs.db", "b/desktop.ini", "notes.txt"):
        (crops / junk).write_text("junk")
    for junk in (".git", "__MACOSX"):
        (crops / junk).mkdir()
    assert made(crops).hash == expected


def test_a_table_gives_texts_and_order(tmp_path: Path) -> None:
    path = fill(tmp_path / "crops" / "train", {"a": 3, "b": 3}).parent
    table = '\ufefffile_name,text,more\r\nb/2.png,"14,7k",x\r\n./a/0.png,07,\r\n'
    (path / "train" / "metadata.csv").write_bytes(table.encode())
    for split in ("val", "test"):
        fill(path / split, {"a": 1, "b": 1})
    train = made(path).splits["train"]
    assert list(train.texts) == ["14,7k", "07", "", "", "", ""]
    assert train.labels.tolist() == [1, 0, 0, 0, 1, 1]


# ---- Sizes and formats.


def test_other_sizes_are_scaled_and_counted(tmp_path: Path) -> None:
    path = fill(tmp_path / "crops", {"a": 10, "b": 10})
    flat = Image.new("RGB", (27, 18), (10, 200, 30))
    for name in ("x", "y"):
        flat.save(path / "a" / f"{name}.png")
    Image.new("RGB", (3, 2), (10, 200, 30)).save(path / "a" / "small.png")
    dataset = made(path)
    assert dataset.manifest["size"] == list(SIZE)
    assert sum(about["resized"] for about in dataset.manifest["splits"].values()) == 3
    images = np.concatenate([split.images for split in dataset.splits.values()])
    assert sum((image == (10, 200, 30)).all() for image in images) == 3
    assert made(path, size=(18, 27)).splits["train"].images.shape[1:] == (18, 27, 3)


def test_pixels_are_averaged_when_scaled_down(tmp_path: Path) -> None:
    pixels = picture(tmp_path / "a.png", size=(12, 18))
    small, resized = pictures.read_pixels(tmp_path / "a.png", SIZE)
    assert resized
    np.testing.assert_allclose(small, pixels.reshape(6, 2, 9, 2, 3).mean((1, 3)), atol=1)


@pytest.mark.parametrize("suffix", ["png", "bmp", "webp", "jpg", "JPEG"])
def test_formats_are_read(tmp_path: Path, suffix: str) -> None:
    lossless = {"lossless": True} if suffix == "webp" else {}
    for name in "ab":
        for i in range(3):
            picture(tmp_path / "crops" / name / f"{i}.{suffix}", 7 * i, **lossless)
    images = np.concatenate([split.images for split in made(tmp_path / "crops").splits.values()])
    expected = sorted(keys(np.asarray(Image.open(f)) for f in (tmp_path / "crops").rglob("*.*")))
    assert sorted(keys(images)) == expected


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA"])
def test_modes_are_read_as_rgb(tmp_path: Path, mode: str) -> None:
    grey = Image.fromarray(np.random.default_rng(0).integers(0, 2, SIZE, np.uint8) * 255)
    grey.convert(mode).save(tmp_path / "a.png")
    np.testing.assert_array_equal(pictures.read_pixels(tmp_path / "a.png", SIZE)[0], np.stack([grey] * 3, -1))


# ---- The data set on the disk.


def test_a_data_set_is_built_once_and_opens_as_any_other(crops: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = made(crops)
    assert dataset.path == crops.parent / "sets" / "crops" / dataset.hash[:16]
    assert isinstance(dataset.splits["train"].images, np.memmap)
    monkeypatch.setattr(importer, "_write_dataset", None)
    assert made(crops).manifest == dataset.manifest == open_dataset(dataset.path).manifest


def test_the_same_files_elsewhere_give_the_same_bytes(crops: Path, tmp_path: Path) -> None:
    shutil.copytree(crops, tmp_path / "copy" / "crops")
    one, two = made(crops), made(tmp_path / "copy" / "crops")
    assert one.path != two.path
    assert {p.name: p.read_bytes() for p in one.path.iterdir()} == {p.name: p.read_bytes() for p in two.path.iterdir()}


@pytest.mark.parametrize(
    "change",
    [
        lambda path: picture(path / "2" / "0.png", 99),
        lambda path: (path / "2" / "0.png").unlink(),
        lambda path: (path / "2" / "0.png").rename(path / "10" / "x.png"),
        lambda path: (path / "2" / "0.png").rename(path / "2" / "x.png"),
        lambda path: (path / "2").rename(path / "3"),
        lambda path: (path / "metadata.csv").write_text("file_name,text\n2/0.png,two\n"),
        lambda path: (path / "classes.txt").write_text("10\n2\nother\nb\n"),
    ],
)
def test_the_hash_changes_with_what_decides_the_arrays(crops: Path, change: Callable[[Path], object]) -> None:
    before = made(crops).hash
    change(crops)
    assert made(crops).hash != before


def test_a_data_set_of_another_folder_does_not_pass(crops: Path) -> None:
    path = made(crops).path
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**manifest, "hash": "0" * 64}))
    with pytest.raises(UserError, match="another folder"):
        made(crops)


@pytest.mark.parametrize("name", ["x", None])
def test_the_name_is_that_of_the_folder_or_given(tmp_path: Path, name: str | None) -> None:
    path = fill(tmp_path / " My Crops!", {"a": 3})
    assert made(path, name=name).path.parent.name == (name or "My_Crops_")


def test_repeated_images_are_counted(divided: Path) -> None:
    shutil.copy(divided / "train" / "a" / "0.png", divided / "test" / "a" / "again.png")
    shutil.copy(divided / "train" / "a" / "1.png", divided / "train" / "b" / "wrong.png")
    assert made(divided).manifest["repeated"] == {"in_splits": 1, "in_classes": 1}


# ---- Mistakes.


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims to be large."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def gif() -> bytes:
    start = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff"
    return start + b",\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.png", b"", "not a picture"),
        ("x.png", b"no picture at all", "not a picture"),
        ("x.gif", gif(), "PNG, JPEG, WEBP, BMP"),
        ("x.png", gif(), "PNG, JPEG, WEBP, BMP"),
        ("x.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture"),
        ("notes.txt", b"some notes", "not a picture"),
        ("x.png", bomb(9000, 9000), "50,000,000"),
        ("x.png", bomb(60_000, 60_000), "50,000,000"),
        ("x.png", bomb(60, 600), "cannot be read as a picture"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_a_file_that_is_no_picture_is_named(crops: Path, name: str, content: bytes, words: str) -> None:
    (crops / "10" / name).write_bytes(content)
    summary = refusal(crops)
    assert str(crops / "10" / name) in summary
    assert words in summary


def test_a_picture_that_is_cut_is_named(crops: Path) -> None:
    os.truncate(crops / "10" / "0.png", 150)
    assert str(crops / "10" / "0.png") in refusal(crops)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda path: (path / "0.png").write_bytes(b""), ["0.png", "beside the class folders"]),
        (lambda path: fill(path / "b" / "inner", {"c": 1}), ["inner", "inside a class folder"]),
        (lambda path: (path / "b" / "0.png").unlink(), ["class 'b' (2): give at least 3 of each"]),
        (
            lambda path: shutil.copy(path / "b" / "0.png", path / "b" / "1.png"),
            ["too few different images of class 'b' (2)"],
        ),
        (lambda path: (path / "classes.txt").write_text("2\n10\nother\n"), ["'b'", "not one of the classes"]),
        (lambda path: (path / "classes.txt").write_text("2\n10\nothr\nb\n"), ["'other'", "did you mean 'othr'?"]),
        (lambda path: (path / "classes.txt").write_text("2\n2\n10\nother\nb\n"), ["'2'", "twice"]),
        (lambda path: (path / "classes.txt").write_text("2\n\n10\nother\nb\n"), ["''", "empty"]),
        (
            lambda path: (path / "classes.txt").write_text("2\n10\nother\nb\nc\n"),
            ["too few different images of class 'c' (0)"],
        ),
        (lambda path: (path / "classes.txt").write_bytes(b"\xff\xfe"), ["classes.txt", "UTF-8"]),
        (lambda path: (path / "classes.txt").mkdir(), ["classes.txt", "directory"]),
        (lambda path: (path / "b").rename(path / "b\x07"), ["control character"]),
        (lambda path: (path / "b" / "link.png").symlink_to("nowhere"), ["link.png", "No such file"]),
        (
            lambda path: (path / "metadata.csv").write_text("file_name,text\n2/99.png,x\n"),
            ["metadata.csv", "'2/99.png'"],
        ),
        (lambda path: (path / "metadata.csv").write_text("file_name\n2/1.png\n2/1.png\n"), ["'2/1.png'", "twice"]),
        (lambda path: (path / "metadata.csv").write_text("file_name\n../../etc/passwd\n"), ["metadata.csv", "passwd"]),
        (lambda path: (path / "metadata.csv").write_text("name,text\n2/0.png,x\n"), ["metadata.csv", "file_name"]),
        (lambda path: (path / "metadata.csv").write_text(""), ["metadata.csv", "file_name"]),
        (lambda path: (path / "metadata.csv").write_text('file_name\n"2/0.png'), ["metadata.csv", "unexpected end"]),
        (lambda path: (path / "metadata.csv").write_text('file_name,text\n2/0.png,"a\nb"\n'), ["control character"]),
    ],
)
def test_a_mistake_in_a_folder_is_named(crops: Path, change: Callable[[Path], object], words: list[str]) -> None:
    change(crops)
    summary = refusal(crops)
    assert all(word in summary for word in words), summary


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda path: fill(path / "extra", {"a": 1}), ["extra", "not a split"]),
        (lambda path: fill(path / "test_é", {"a": 1}), ["test_é", "not a split"]),
        (lambda path: fill(path / "valid", {"a": 1}), ["valid", "val", "names of one split"]),
        (lambda path: shutil.rmtree(path / "train"), ["no train"]),
        (lambda path: fill(path / "test", {"c": 1}), ["too few different images of class 'c' (0)"]),
        (lambda path: [file.unlink() for file in (path / "val").rglob("*.png")], ["val", "no pictures"]),
    ],
)
def test_a_mistake_in_splits_is_named(divided: Path, change: Callable[[Path], object], words: list[str]) -> None:
    change(divided)
    summary = refusal(divided)
    assert all(word in summary for word in words), summary


def test_wrong_arguments_are_named(crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "did you mean 'others'?" in refusal(crops, classes=["2", "10", "b", "others"])
    assert "0×9" in refusal(crops, size=(0, 9))
    assert "9×513" in refusal(crops, size=(9, 513))
    assert "../up" in refusal(crops, name="../up")
    assert "nowhere" in refusal(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "0 pictures" in refusal(tmp_path / "empty")
    assert "512" in refusal(fill(tmp_path / "frames", {"a": 3}, (600, 20)))
    monkeypatch.setattr(importer, "MAX_IMAGES", 30)
    assert "40 pictures" in refusal(crops)


def test_a_file_that_changes_meanwhile_is_named(crops: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    divide = importer._assign_splits

    def later(*arguments: Any) -> Any:
        picture(crops / "10" / "3.png", 77)
        return divide(*arguments)

    monkeypatch.setattr(importer, "_assign_splits", later)
    assert "3.png changed" in refusal(crops)


@settings(max_examples=30, deadline=None)
@given(place=st.integers(0, 10**6), value=st.integers(0, 255), length=st.integers(0, 10**6))
@pytest.mark.parametrize("format", pictures.FORMATS)
def test_a_garbled_picture_is_read_or_named(
    tmp_path_factory: pytest.TempPathFactory, format: str, place: int, value: int, length: int
) -> None:
    file = tmp_path_factory.getbasetemp() / f"garbled.{format}"
    picture(file, format=format)
    content = bytearray(file.read_bytes())
    content[place % len(content)] = value
    file.write_bytes(content[: length % (2 * len(content))])
    named = str(file)
    try:
        pictures.inspect_picture(file)
        assert pictures.read_pixels(file, SIZE)[0].shape == (*SIZE, 3)
    except UserError as error:
        named = error.summary
    assert str(file) in named


# ---- Real crops as a test set.


def test_real_crops_are_a_test_set(tmp_path: Path) -> None:
    path = fill(tmp_path / "real", {"b": 2, "other": 1}, (12, 18))
    split = importer.load_test_folder(path, ["a", "b", "other"], SIZE)
    assert (split.images.shape, split.images.dtype) == ((3, *SIZE, 3), np.uint8)
    assert (split.labels.tolist(), split.labels.dtype, split.texts) == ([1, 1, 2], np.int64, ["", "", ""])


def test_a_test_set_of_other_classes_is_refused(tmp_path: Path) -> None:
    path = fill(tmp_path / "real", {"b": 1, "othr": 1})
    with pytest.raises(UserError, match=r"'othr' .* did you mean 'other'\?"):
        importer.load_test_folder(path, ["a", "b", "other"], SIZE)
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="0 pictures"):
        importer.load_test_folder(tmp_path / "none", ["a"], SIZE)


def test_two_processes_at_once_import_once(crops: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads here: the lock is held by an open file."""
    write, written = importer._write_dataset, []

    def slowly(*arguments: Any) -> None:
        written.append(1)
        time.sleep(0.3)
        write(*arguments)

    monkeypatch.setattr(importer, "_write_dataset", slowly)
    with ThreadPoolExecutor(2) as threads:
        one, two = (each.result() for each in [threads.submit(made, crops) for _ in range(2)])
    assert len(written) == 1
    assert one.path == two.path
