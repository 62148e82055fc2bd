"""Flat folders with a labels file, in the forms that other tools write them."""

import csv
import json
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from textgen.common.errors import UserError
from textgen.dataset import labels_file, text_files
from textgen.dataset.imagefolder import natural_order
from textgen.dataset.import_folder import import_folder, load_test_folder
from textgen.dataset.labels_file import read_labels
from textgen.dataset.store import Dataset
from textgen.spec.parser import Spec

SIZE = (6, 9)
TEXTS = ["7:05", "7:59", "8:10", "8:11", "8:12", "7:30", "other", "other", "other"]
SPEC = Spec.parse("N:MM", label="N", fields={"N": "7..8", "M": "00..59"}, other=["gold", "A.B"])


def draw(file: Path, seed: int) -> bytes:
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), np.uint8)
    Image.fromarray(pixels).save(file)
    return pixels.tobytes()


def flat(path: Path, texts: Sequence[str] = TEXTS, under: str = "") -> list[tuple[str, str]]:
    """Pictures `0.png` …, all different, in `path`/`under`; the rows of a labels file in `path`."""
    for number in range(len(texts)):
        draw(path / under / f"{number}.png", number + 100 * len(under))
    return [(f"{under}{number}.png", text) for number, text in enumerate(texts)]


def as_csv(rows: Sequence[tuple[str, str]], file: Path, columns: str = "file_name,text", separator: str = ",") -> None:
    with file.open("w", encoding="utf-8", newline="") as out:
        csv.writer(out, delimiter=separator).writerows([columns.split(","), *rows])


def as_json_lines(rows: Sequence[tuple[str, str]], file: Path) -> None:
    lines = [json.dumps({"file_name": name, "text": text}) for name, text in rows]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def imported(path: Path, spec: Spec | None = SPEC) -> Dataset:
    return import_folder(path, path.parent / "sets", spec=spec)


def samples(dataset: Dataset) -> set[tuple[bytes, str, str]]:
    """The pixels, class and text of each sample."""
    return {
        (image.tobytes(), dataset.classes[label], text)
        for split in dataset.splits.values()
        for image, label, text in zip(split.images, split.labels, split.texts, strict=True)
    }


def write_hugging_face(path: Path) -> None:
    as_csv(flat(path), path / "metadata.csv")


def write_hugging_face_json(path: Path) -> None:
    as_json_lines(flat(path), path / "metadata.jsonl")


def write_trdg(path: Path) -> None:  # name_format 2
    (path / "labels.txt").write_text("".join(f"{name} {text}\n" for name, text in flat(path)))


def write_paddle(path: Path) -> None:
    rows = flat(path, under="crop_img/")
    (path / "rec_gt.txt").write_text("".join(f"{name}\t{text}\n" for name, text in rows))


def write_easy_ocr(path: Path) -> None:
    as_csv(flat(path), path / "labels.csv", "filename,words")


def write_spreadsheet(path: Path) -> None:
    rows = [(text, f"images\\{name}") for name, text in flat(path / "images")]
    content = "".join(f"{text}\t{name}\r\n" for text, name in [("Text", "File"), *rows])
    (path / "labels.tsv").write_bytes(b"\xef\xbb\xbf" + content.encode())


@pytest.mark.parametrize(
    "write",
    [write_hugging_face, write_hugging_face_json, write_trdg, write_paddle, write_easy_ocr, write_spreadsheet],
)
def test_the_forms_of_tools_give_the_same_crops(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path / "crops")
    dataset = imported(tmp_path / "crops")
    assert dataset.classes == ("7", "8", "other")
    under = next((tmp_path / "crops").rglob("0.png")).parent
    pixels = [np.asarray(Image.open(under / f"{n}.png")).tobytes() for n in range(len(TEXTS))]
    assert samples(dataset) == {(p, SPEC.label_of(text), text) for p, text in zip(pixels, TEXTS, strict=True)}
    real = load_test_folder(tmp_path / "crops", dataset.classes, SIZE, SPEC)
    assert real.labels.tolist() == [0, 0, 1, 1, 1, 0, 2, 2, 2]  # in the order of the file
    assert list(real.texts) == TEXTS


def test_without_a_game_the_text_is_the_class(tmp_path: Path) -> None:
    texts = [text for text in ("-10", "-1", "1.5", "é") for _ in range(3)]
    as_csv(flat(tmp_path / "crops", texts), tmp_path / "crops" / "labels.csv", "file,text")
    assert imported(tmp_path / "crops", None).classes == ("-10", "-1", "1.5", "é")
    (tmp_path / "crops" / "classes.txt").write_text("e\u0301\n1.5\n-1\n-10\n", encoding="utf-8")
    assert imported(tmp_path / "crops", None).classes == ("e\u0301", "1.5", "-1", "-10")


def test_splits_are_labels_files_or_folders_with_one(tmp_path: Path) -> None:
    paddle, own = tmp_path / "paddle", tmp_path / "own"
    for split, texts in {"train": TEXTS, "val": TEXTS[::3], "test": TEXTS[2:7]}.items():
        rows = flat(paddle, texts, f"{split}/")
        (paddle / f"rec_gt_{split}.txt").write_text("".join(f"{name}\t{text}\n" for name, text in rows))
        as_json_lines(flat(own / split, texts), own / split / "metadata.jsonl")
    for path in (paddle, own):
        dataset = imported(path)
        assert {name: list(split.texts) for name, split in dataset.splits.items()} == {
            "train": TEXTS,
            "val": TEXTS[::3],
            "test": TEXTS[2:7],
        }
    (paddle / "rec_gt_val.txt").unlink()
    assert len(imported(paddle).splits["val"].labels) == 3  # one of each class, from train


def test_texts_that_other_describes_are_other_and_pictures_that_are_not_listed_are_left_out(tmp_path: Path) -> None:
    rows = flat(tmp_path / "crops", [*TEXTS[:6], "gold", "1.2", " other ", "7:01"])
    as_csv(rows[:-1], tmp_path / "crops" / "labels.csv")
    real = load_test_folder(tmp_path / "crops", SPEC.classes, SIZE, SPEC)
    assert real.labels.tolist()[6:] == [2, 2, 2]


def test_names_are_compared_however_they_are_composed(tmp_path: Path) -> None:
    composed, decomposed = "\u00e9", "e\u0301"
    (tmp_path / "crops").mkdir()
    for number, name in enumerate((f"{decomposed}0.png", f"{composed}1.png")):
        draw(tmp_path / "crops" / name, number)
    rows = [(f"{composed}0.png", decomposed), (f"{decomposed}1.png", composed)]
    as_csv(rows, tmp_path / "crops" / "labels.csv")
    assert load_test_folder(tmp_path / "crops", [composed], SIZE).labels.tolist() == [0, 0]


def test_class_folders_beside_a_list_that_is_no_labels_file_stay_classes(tmp_path: Path) -> None:
    for name in "ab":
        flat(tmp_path / "crops" / name, TEXTS[:3])
        for number in range(3):
            draw(tmp_path / "crops" / name / f"{number}.png", number + 10 * ord(name))
    (tmp_path / "crops" / "labels.txt").write_text("a cat\nb dog\n")
    (tmp_path / "crops" / "labels.csv").write_text("ClassId,Name\n0,a\n1,b\n")
    assert imported(tmp_path / "crops", None).classes == ("a", "b")


@settings(deadline=None)
@given(rows=st.dictionaries(st.integers(0, 99), st.text(st.characters(exclude_categories=("C", "Z"))), max_size=9))
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
def test_any_text_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, rows: dict[int, str]
) -> None:
    file = tmp_path_factory.getbasetemp() / f"labels{suffix}"
    written = [(f"{number}.png", text) for number, text in rows.items()]
    if suffix == ".jsonl":
        as_json_lines(written, file)
    else:
        as_csv(written, file, separator="\t" if suffix == ".tsv" else ",")
    assert [(line.name, line.text) for line in read_labels(file)] == written


# ---- Mistakes.

HEAD = "file_name,text\n"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("labels.csv", "file;text\n0.png;7:05\n", ["'file;text'", "file_name and text"]),
        ("labels.csv", "file_name,label\n0.png,7\n", ["no column text"]),
        ("labels.csv", "", ["no column file_name", "nothing"]),
        ("labels.csv", HEAD, ["0 pictures"]),
        ("labels.csv", HEAD + "0.png,7:05\n9.png,7:05\n", ["line 3", "'9.png'", "no file"]),
        ("labels.csv", HEAD + "/etc/passwd,7:05\n", ["line 2", "/etc/passwd", "relative"]),
        ("labels.csv", HEAD + "C:\\crops\\0.png,7:05\n", ["line 2", "relative"]),
        ("labels.csv", HEAD + "a/../../crops/0.png,7:05\n", ["line 2", "relative"]),
        ("labels.csv", HEAD + ",7:05\n", ["line 2", "names no picture"]),
        ("labels.csv", HEAD + "0.png,7:05\n./0.png,7:06\n", ["line 3", "twice", "line 2"]),
        ("labels.csv", HEAD + "0.png,7:05\n1.png,\n2.png,  \n", ["2 of 3 lines without a text", "line 3", "other"]),
        ("labels.csv", HEAD + "0.png,1,000\n", ["line 2", "3 fields", "double quotes"]),
        ("labels.csv", HEAD + '0.png,"7:05\n', ["unexpected end of data", "quotes"]),
        ("labels.csv", HEAD + '0.png,"7:05" x\n', ["line 2", "quotes"]),
        ("labels.csv", HEAD + '0.png,"7\n05"\n', ["control character"]),
        ("labels.csv", HEAD + "0.png,7:60\n1.png,LIVE\n2.png,7:05\n", ["2 of 3 texts", "'7:60' in line 2", "other"]),
        ("labels.csv", HEAD + f"0.png,{'9' * 5000}\n", [f"('{'9' * 80}' in line 2)"]),
        ("labels.csv", (HEAD + "0.png,7:05\n").encode("utf-16"), ["labels.csv", "UTF-8"]),
        ("labels.csv", (HEAD + "0.png,é\n").encode("cp1252"), ["labels.csv", "UTF-8"]),
        ("labels.csv", "file,text,text\n0.png,7:05,7:06\n", ["line 1", "'text' more than once"]),
        ("labels.tsv", "file\ttext\n0.png,7:05\n", ["line 2", "1 fields"]),
        ("labels.txt", "0.png\t7:05\n1.png 7:06\n", ["line 2", "no tab"]),
        ("labels.txt", "0.png 7:05\n\n1.png\n", ["line 3", "no space"]),
        ("labels.txt", "0.png 7:05\nmy crop.png 7:05\n", ["line 2", "'my'", "blanks", "tab"]),
        ("labels.jsonl", '{"file_name": "0.png", "text": "7:05"}\n{"file_name"\n', ["line 2", "JSON"]),
        ("labels.jsonl", '{"file_name": "0.png", "text": 705}\n', ["line 1", "705", "quotes"]),
        ("labels.jsonl", '["0.png", "7:05"]\n', ["line 1", "object"]),
        ("labels.jsonl", "[" * 100_000, ["line 1", "JSON"]),
        ("rec_gt_test.txt", "0.png\t7:05\n", ["rec_gt_test.txt", "no train"]),
    ],
)
def test_a_mistake_in_a_labels_file_is_one_line(
    tmp_path: Path, name: str, content: str | bytes, words: list[str]
) -> None:
    flat(tmp_path / "crops", TEXTS[:3])
    (tmp_path / "crops" / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as caught:
        imported(tmp_path / "crops")
    assert "\n" not in str(caught.value)
    assert all(word in caught.value.summary for word in words), caught.value.summary
    assert not (tmp_path / "sets").exists()


def test_two_labels_files_are_named(tmp_path: Path) -> None:
    rows = flat(tmp_path / "crops")
    as_csv(rows, tmp_path / "crops" / "labels.csv")
    as_json_lines(rows, tmp_path / "crops" / "metadata.jsonl")
    with pytest.raises(UserError, match=r"labels\.csv and metadata\.jsonl: keep one"):
        imported(tmp_path / "crops")


def test_two_pictures_with_one_name_are_named(tmp_path: Path) -> None:
    for form in ("NFC", "NFD"):
        draw(tmp_path / "crops" / f"{unicodedata.normalize(form, 'é')}.png", 0)
    as_csv([("é.png", "7:05")], tmp_path / "crops" / "labels.csv")
    with pytest.raises(UserError, match=r"'\\xe9.png' and 'e\\u0301.png'"):
        imported(tmp_path / "crops")


def test_a_picture_that_strayed_beside_class_folders_is_named_and_makes_no_labels_file(tmp_path: Path) -> None:
    """metadata.csv gives the texts of class folders, as an export writes it."""
    rows = [(f"{name}/{number}.png", f"A{name}") for name in "01" for number in range(4)]
    for seed, (name, _) in enumerate(rows):
        draw(tmp_path / "crops" / name, seed)
    as_csv(rows, tmp_path / "crops" / "metadata.csv")
    for stray in ("contact.png", "0.png"):  # 0/0.png of the table is not 0.png
        draw(tmp_path / "crops" / stray, 99)
        with pytest.raises(UserError, match=rf"{stray} lies beside the class folders"):
            import_folder(tmp_path / "crops", tmp_path / "out")
        (tmp_path / "crops" / stray).unlink()
    assert import_folder(tmp_path / "crops", tmp_path / "out").classes == ("0", "1")


@pytest.mark.parametrize("spec", [SPEC, None])
@pytest.mark.parametrize("write", [as_csv, as_json_lines])
def test_a_table_of_one_subfolder_is_no_table_of_one_class(
    tmp_path: Path, write: Callable[[Sequence[tuple[str, str]], Path], None], spec: Spec | None
) -> None:
    path = tmp_path / "crops"
    rows = flat(path, ["7:05"] * 3 + ["8:10"] * 3 + ["other"] * 3, "images/")
    table = path / f"metadata{'.csv' if write is as_csv else '.jsonl'}"
    write(rows, table)
    with pytest.raises(UserError, match=rf"one folder, images, and {table.name} .* rename the file to labels"):
        imported(path, spec)
    table.rename(path / f"labels{table.suffix}")
    assert imported(path, spec).classes == (spec.classes if spec else ("7:05", "8:10", "other"))


def test_one_class_folder_with_a_table_of_texts_is_a_class_if_it_is_listed_or_so_named(tmp_path: Path) -> None:
    path = tmp_path / "crops"
    as_csv(flat(path, ["7:05", "7:30", "7:59"], "7/"), path / "metadata.csv")
    assert load_test_folder(path, ["7", "8"], SIZE).labels.tolist() == [0, 0, 0]
    (path / "classes.txt").write_text("7\n")
    assert list(imported(path, None).classes) == ["7"]
    (path / "classes.txt").unlink()
    as_csv(flat(path, ["7", "7", "7"], "7/"), path / "metadata.csv")
    assert list(imported(path, None).classes) == ["7"]


def test_numbers_of_any_length_are_ordered_by_value() -> None:
    names = ["9" * 5000, "7", "07", "10", "other", "1" + "0" * 4999]
    assert sorted(names, key=natural_order) == ["07", "7", "10", "1" + "0" * 4999, "9" * 5000, "other"]


def test_a_labels_file_is_read_up_to_the_limit_of_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels_file, "MAX_IMAGES", 30)
    file = tmp_path / "labels.txt"
    file.write_text("".join(f"{number}.png 7\n" for number in range(30)))
    assert len(read_labels(file)) == 30
    file.write_text(file.read_text() + "30.png 7\nno picture\n")
    with pytest.raises(UserError, match="lists more than 30 pictures"):
        read_labels(file)


def test_a_large_list_with_a_wide_character_says_which_and_how_many_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_files, "MAX_WIDE", 40)
    path = tmp_path / "labels.csv"
    path.write_text("file,text\na.png,é\nb.png,\U0001f600\n", encoding="utf-8")
    assert text_files.read_text(path).endswith("\U0001f600\n")
    path.write_text("file,text\na.png,é\nb.png,\U0001f600\nc.png,\uffff and more\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"has 43 characters, and at most 40 .* in line 3: replace"):
        text_files.read_text(path)
    path.write_text(path.read_text(encoding="utf-8").replace("\U0001f600", "\uffff"), encoding="utf-8")
    assert len(text_files.read_text(path)) == 43
