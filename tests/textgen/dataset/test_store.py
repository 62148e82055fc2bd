import io
import json
import os
import pickle
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from textgen.common.errors import UserError
from textgen.dataset import store
from textgen.dataset.store import FORMAT, SplitWriter, open_dataset

SPLIT_FILES = ("images.npy", "labels.npy", "texts.txt")
# A text is one line without control characters, as textgen.spec.parser sees to.
TEXTS = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=12)


@st.composite
def pieces(draw: st.DrawFn) -> list[tuple[np.ndarray, np.ndarray, list[str]]]:
    """What is added to a split one after the other: images, labels, texts."""
    size = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    made = []
    for count in draw(st.lists(st.integers(1, 3), min_size=1, max_size=3)):
        images = draw(hnp.arrays(np.uint8, (count, *size, 3)))
        labels = draw(hnp.arrays(np.int64, (count,), elements=st.integers(0, 2)))
        made.append((images, labels, draw(st.lists(TEXTS, min_size=count, max_size=count))))
    return made


def write(folder: Path, splits: dict[str, list[tuple[np.ndarray, np.ndarray, list[str]]]], **more: Any) -> None:
    about = {}
    for name, parts in splits.items():
        count = sum(len(images) for images, _, _ in parts)
        writer = SplitWriter(folder, name, count, parts[0][0].shape[1:3])
        for part in parts:
            writer.add(*part)
        about[name] = writer.close()
    manifest = {"format": FORMAT, "hash": "0123", "classes": ["a", "b", "other"], "splits": about, **more}
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole data set of two splits."""
    path = tmp_path / "set"
    path.mkdir()
    rng = np.random.default_rng(0)
    splits = {}
    for name, count in (("train", 12), ("test", 5)):
        images = rng.integers(0, 256, (count, 6, 8, 3), np.uint8)
        splits[name] = [(images, np.arange(count) % 3, [f"{i}é" for i in range(count)])]
    write(path, splits)
    open_dataset(path)
    return path


def refusal(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        open_dataset(folder)
    assert str(folder) in caught.value.summary
    return caught.value.summary


def edit_manifest(folder: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    file = folder / "manifest.json"
    manifest = json.loads(file.read_text())
    edit(manifest)
    file.write_text(json.dumps(manifest))


def forge(folder: Path, name: str, content: bytes) -> None:
    """Put `content` in place of a file, and its size and digest into the manifest."""
    (folder / name).write_bytes(content)

    def edit(manifest: dict[str, Any]) -> None:
        about = manifest["splits"][name.split(".", 1)[0]]
        about["bytes"][name] = len(content)
        if name in about["xxh3"]:
            about["xxh3"][name] = xxhash.xxh3_128_hexdigest(content)

    edit_manifest(folder, edit)


@settings(max_examples=60, deadline=None)
@given(splits=st.dictionaries(st.sampled_from(["train", "val", "test"]), pieces(), min_size=1))
def test_what_was_written_is_read(splits: dict[str, list[tuple[np.ndarray, np.ndarray, list[str]]]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        write(Path(name), splits)
        dataset = open_dataset(name)
        assert dataset.path == Path(name)
        assert dataset.classes == ("a", "b", "other")
        assert dataset.hash == "0123"
        assert dataset.splits.keys() == splits.keys()
        for split, parts in splits.items():
            images, labels, texts = dataset.splits[split]
            np.testing.assert_array_equal(images, np.concatenate([part[0] for part in parts]))
            np.testing.assert_array_equal(labels, np.concatenate([part[1] for part in parts]))
            assert (images.dtype, labels.dtype) == (np.uint8, np.int64)
            assert texts == [text for part in parts for text in part[2]]


def test_files_are_plain_npy_that_numpy_alone_reads(folder: Path) -> None:
    images = np.load(folder / "train.images.npy", allow_pickle=False)
    np.testing.assert_array_equal(images, open_dataset(folder).splits["train"].images)
    buffer = io.BytesIO()
    np.save(buffer, images)
    assert buffer.getvalue() == (folder / "train.images.npy").read_bytes()


def test_a_data_set_says_what_it_is_in_a_line(folder: Path) -> None:
    assert repr(open_dataset(folder)) == f"<Dataset {folder}: 3 classes; 12 train, 5 test>"


def test_arrays_are_mapped_and_cannot_be_written_to(folder: Path) -> None:
    images = open_dataset(folder).splits["train"].images
    assert isinstance(images, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        images[0, 0, 0, 0] = 1


def test_a_writer_that_got_too_few_samples_does_not_close(tmp_path: Path) -> None:
    writer = SplitWriter(tmp_path, "train", 3, (2, 2))
    writer.add(np.zeros((2, 2, 2, 3), np.uint8), np.zeros(2, np.int64), ["a", "b"])
    with pytest.raises(RuntimeError, match="2 of 3"):
        writer.close()


@pytest.mark.parametrize("kind", SPLIT_FILES)
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_missing_file_is_named(folder: Path, split: str, kind: str) -> None:
    (folder / f"{split}.{kind}").unlink()
    assert f"{split}.{kind} is missing" in refusal(folder)


@pytest.mark.parametrize("kind", SPLIT_FILES)
@pytest.mark.parametrize("left", [0, 0.5, -1])
def test_a_truncated_file_is_named_with_the_way_to_mend_it(folder: Path, kind: str, left: float) -> None:
    file = folder / f"train.{kind}"
    size = file.stat().st_size
    os.truncate(file, size - 1 if left < 0 else int(size * left))
    summary = refusal(folder)
    assert f"train.{kind}" in summary
    assert "rebuild=true" in summary


@pytest.mark.parametrize("kind", SPLIT_FILES)
def test_a_file_that_grew_is_named(folder: Path, kind: str) -> None:
    with (folder / f"test.{kind}").open("ab") as file:
        file.write(b"\0")
    assert f"test.{kind}" in refusal(folder)


@pytest.mark.parametrize("kind", SPLIT_FILES)
@pytest.mark.parametrize("place", [0, 0.3, 0.6, 0.999])
def test_a_flipped_bit_is_found(folder: Path, kind: str, place: float) -> None:
    file = folder / f"test.{kind}"
    content = bytearray(file.read_bytes())
    content[int(len(content) * place)] ^= 1
    file.write_bytes(content)
    assert f"test.{kind}" in refusal(folder)


def test_a_folder_in_place_of_a_file_is_named(folder: Path) -> None:
    (folder / "train.images.npy").unlink()
    (folder / "train.images.npy").mkdir()
    assert "train.images.npy" in refusal(folder)


def test_what_has_no_manifest_is_no_data_set(folder: Path, tmp_path: Path) -> None:
    (folder / "manifest.json").unlink()
    assert "manifest.json" in refusal(folder)
    assert "manifest.json" in refusal(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"no json", b"\xff\xfe", b"[]", b"3", b"null", b"{}", b'{"format": 2}'),
        *(b'{"format": 2, "splits": []}', b'{"format": 2, "splits": {}}', b'{"format": 2, "splits": {"train": 3}}'),
        b"[" * 100_000,
    ],
    ids=map(str, range(13)),
)
def test_a_garbled_manifest_is_named(folder: Path, content: bytes) -> None:
    (folder / "manifest.json").write_bytes(content)
    assert "manifest.json" in refusal(folder)


def test_a_truncated_manifest_is_named(folder: Path) -> None:
    whole = (folder / "manifest.json").read_bytes()
    for size in range(0, len(whole), 37):
        (folder / "manifest.json").write_bytes(whole[:size])
        assert "manifest.json" in refusal(folder)


@pytest.mark.parametrize("key", ["format", "splits", "classes", "hash"])
def test_a_manifest_that_lacks_an_entry_is_named(folder: Path, key: str) -> None:
    edit_manifest(folder, lambda manifest: manifest.pop(key))
    assert "manifest.json" in refusal(folder)


@pytest.mark.parametrize("key", ["bytes", "xxh3"])
@pytest.mark.parametrize("value", [None, "x", 3.5, [], {}])
def test_a_manifest_with_an_entry_of_the_wrong_kind_is_refused(folder: Path, key: str, value: object) -> None:
    edit_manifest(folder, lambda manifest: manifest["splits"]["train"][key].update({"train.labels.npy": value}))
    assert "damaged" in refusal(folder)


@pytest.mark.parametrize("blocks", [None, "x", [], {}, [1], ["x"], [{}], [{"xxh3": 1}], [{"xxh3": "0"}] * 2])
def test_blocks_that_do_not_fit_are_refused(folder: Path, blocks: object) -> None:
    edit_manifest(folder, lambda manifest: manifest["splits"]["train"].update(blocks=blocks))
    assert "damaged" in refusal(folder)


@pytest.mark.parametrize("shape", [(11, 6, 8, 3), (12, 0, 8, 3), (12, 6, 24), (12, 6, 8, 4)])
def test_an_array_of_another_shape_is_refused(folder: Path, shape: tuple[int, ...]) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(shape, np.uint8))
    forge(folder, "train.images.npy", buffer.getvalue())
    assert "train.images.npy" in refusal(folder)


def test_blocks_have_digests_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the pieces in which a split is added."""
    monkeypatch.setattr(store, "BLOCK_BYTES", 4 * 6 * 8 * 3)
    images = np.random.default_rng(0).integers(0, 256, (11, 6, 8, 3), np.uint8)
    labels, texts = np.arange(11), [str(i) for i in range(11)]
    entries = []
    for step in (1, 3, 4, 11):
        (tmp_path / str(step)).mkdir()
        writer = SplitWriter(tmp_path / str(step), "train", 11, (6, 8))
        for at in range(0, 11, step):
            writer.add(images[at : at + step], labels[at : at + step], texts[at : at + step])
        entries.append(writer.close())
    assert [len(entry["blocks"]) for entry in entries] == [3] * 4
    assert all(entry == entries[0] for entry in entries)


def test_a_huge_manifest_is_refused_unread(folder: Path) -> None:
    os.truncate(folder / "manifest.json", 1 << 40)
    assert "manifest.json is too large" in refusal(folder)


@pytest.mark.parametrize("number", [0, FORMAT + 1, "1", None])
def test_another_format_is_refused_by_its_number(folder: Path, number: object) -> None:
    edit_manifest(folder, lambda manifest: manifest.update(format=number))
    summary = refusal(folder)
    assert f"format {number}" in summary
    assert "rebuild" in summary


def test_a_split_cannot_lead_out_of_the_folder(folder: Path, tmp_path: Path) -> None:
    for kind in SPLIT_FILES:
        shutil.copy(folder / f"test.{kind}", tmp_path / f"secret.{kind}")

    def edit(manifest: dict[str, Any]) -> None:
        about = manifest["splits"].pop("test")
        renamed = {key: {n.replace("test", "../secret"): v for n, v in about[key].items()} for key in ("bytes", "xxh3")}
        manifest["splits"]["../secret"] = {**about, **renamed}

    edit_manifest(folder, edit)
    assert "manifest.json" in refusal(folder)


class Payload:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("kind", ["images.npy", "labels.npy"])
@pytest.mark.parametrize("bare", [False, True], ids=["object-array", "bare-pickle"])
def test_a_pickle_is_named_and_not_executed(folder: Path, tmp_path: Path, kind: str, bare: bool) -> None:
    mark, buffer = tmp_path / "executed", io.BytesIO()
    payload = Payload(mark)
    if bare:
        pickle.dump(payload, buffer)
    else:
        np.save(buffer, np.array([payload] * 12, dtype=object), allow_pickle=True)
    forge(folder, f"train.{kind}", buffer.getvalue())
    assert f"train.{kind}" in refusal(folder)
    assert not mark.exists()
    pickle.loads(pickle.dumps(payload))  # it would have been seen
    assert mark.exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.images.npy", b"no array"),
        ("train.images.npy", b""),
        ("train.labels.npy", b"\x93NUMPY\x01\x00\xff\xff"),
    ],
)
def test_a_forged_file_that_cannot_be_read_is_named(folder: Path, name: str, content: bytes) -> None:
    forge(folder, name, content)
    assert name in refusal(folder)


@pytest.mark.parametrize("content", [b"\xff\xfe\n" * 12, b"one line\n"])
def test_texts_that_cannot_be_read_are_named_when_they_are_asked_for(folder: Path, content: bytes) -> None:
    forge(folder, "train.texts.txt", content)
    texts = open_dataset(folder).splits["train"].texts
    with pytest.raises(UserError, match=r"train\.texts\.txt"):
        list(texts)
