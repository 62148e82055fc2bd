"""Labels files with a column for each field in place of the text."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from textgen.common.errors import UserError
from textgen.dataset.import_folder import import_folder
from textgen.dataset.labels_file import read_classes
from textgen.spec import Spec

CLOCK = Spec.parse("M:SS[k]", label="text", fields={"M": "0..9", "S": "00..59"})
NESTED = Spec.parse("K[ NN:MM]", label="all")


def read(tmp_path: Path, spec: Spec, *lines: str) -> list[str]:
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    return [text for _, text in read_classes(tmp_path / "labels.csv", spec)]


def test_values_make_up_texts(tmp_path: Path) -> None:
    lines = " file , M , S,[k]", "a.png,1,02,absent", "b.png,1,02,present", "c.png,other,other,other"
    assert read(tmp_path, CLOCK, *lines) == ["1:02", "1:02k", "other"]
    assert read(tmp_path, NESTED, "file,K,N,M", "a.png,3,04,20", "b.png,3,absent,absent") == ["3 04:20", "3"]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("1,22,other", "'other' in some fields only"),
        ("1,75,absent", "S = '75', which is none of its classes: write 00, 01, 02, …, other"),
        ("1,22,yes", r"\[k\] = 'yes', which is none of its classes: write present, absent, other"),
        ("1,22,", r"\[k\] = ''"),
    ],
)
def test_a_row_with_a_wrong_value_is_refused(tmp_path: Path, row: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        read(tmp_path, CLOCK, "file,M,S,[k]", "a.png,1,02,absent", f"b.png,{row}")
    assert "line 3" in caught.value.summary


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("3,absent,20", "has M = '20', but the text '3', which all values make up, has 'absent'"),
        ("3,04,absent", r"the spec 'K\[ NN:MM\]' does not describe \('3 04:' in line 2\)"),
    ],
)
def test_values_that_no_text_has_together_are_refused(tmp_path: Path, row: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        read(tmp_path, NESTED, "file,K,N,M", f"a.png,{row}")


def test_absent_is_among_the_classes_that_a_message_shows(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"N = '', which is none of its classes: write 00, 01, 02, …, absent, other"):
        read(tmp_path, NESTED, "file,K,N,M", "a.png,3,,20")


def test_missing_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no column text, or all of M, S, \[k\] in line 2"):
        read(tmp_path, CLOCK, "file,M", "a.png,1")


def test_fields_that_do_not_decide_the_text_are_no_labels(tmp_path: Path) -> None:
    spec = Spec.parse("H:MM:SS", label=["M", "S"])
    with pytest.raises(UserError, match=r"has no column text in line 2: .* \(M, S do not decide the texts of"):
        read(tmp_path, spec, "file,M,S", "a.png,01,02")


def test_too_few_pictures_are_named(tmp_path: Path) -> None:
    for number in range(2):
        Image.fromarray(np.full((8, 16, 3), number, np.uint8)).save(tmp_path / f"{number}.png")
    (tmp_path / "labels.csv").write_text("file,K,N,M\n0.png,3,04,20\n1.png,3,absent,absent\n")
    with pytest.raises(UserError, match=r"too few different images \(2\): give at least 3, for train and val and test"):
        import_folder(tmp_path, tmp_path / "data", spec=NESTED, size=(8, 16))
