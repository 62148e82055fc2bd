"""Folders of crops for --like, with class folders or a labels file."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from textgen.common.errors import UserError
from textgen.new.crop_folder import read_crop_folder


def draw(file: Path, value: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((12, 20, 3), value, np.uint8)).save(file)


@pytest.mark.parametrize(("labels", "under"), [("labels.txt", ""), ("rec_gt.txt", "crop_img/"), ("labels.txt", "a/")])
def test_pictures_that_a_labels_file_calls_other_are_left_out(tmp_path: Path, labels: str, under: str) -> None:
    for value in range(5):
        draw(tmp_path / under / f"{value}.png", value)
    lines = [("0", "7:05"), ("1", "other"), ("2", "7:06"), ("3", "other")]
    prefix, separator = (under, "\t") if labels == "rec_gt.txt" else ("", " ")
    table = tmp_path / labels if labels == "rec_gt.txt" else tmp_path / under / labels
    table.write_text("".join(f"{prefix}{name}.png{separator}{text}\n" for name, text in lines))
    crops = read_crop_folder(tmp_path)
    assert [int(image.max()) for image in crops.images] == [0, 2, 4]
    assert crops.blank_folders == []
    assert crops.notes[0].startswith("2 crops are labelled other")


def test_a_wrong_labels_file_and_one_without_texts_are_refused(tmp_path: Path) -> None:
    draw(tmp_path / "0.png", 0)
    (tmp_path / "labels.csv").write_text("file_name,text\n0.png,other\n")
    with pytest.raises(UserError, match="only crops without text"):
        read_crop_folder(tmp_path)
    (tmp_path / "labels.csv").write_text("file_name,text\n1.png,other\n")
    with pytest.raises(UserError, match=r"labels\.csv, line 2, lists '1\.png'"):
        read_crop_folder(tmp_path)
