"""Label tables that are not as they should be."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from coded_clips import HEADER, rows_of, task, write_table

from textgen.common.errors import UserError
from textgen.frames.label_table import read_label_table


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_label_table(path, task())
    return str(caught.value)


@pytest.mark.parametrize(("sign", "shown"), [(";", "';'"), ("\t", r"'\t'")])
def test_columns_between_other_signs_than_commas_are_named(tmp_path: Path, sign: str, shown: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(f"{sign.join(HEADER)}\n{sign.join(map(str, rows_of([3])[0]))}\n", encoding="utf-8")
    assert refusal(path) == f"labels={path} has columns between {shown}: separate them by commas"


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = write_table(tmp_path / "labels.csv", rows_of([3]), ("frame", "object_name", "confidence", "frame", *"abc"))
    assert refusal(path) == f"labels={path} has 2 columns 'frame': leave one of them"
    path = tmp_path / "labels.parquet"
    names = ["frame", "object_name", "confidence", "frame"]
    pq.write_table(pa.table([[3, 4], ["person"] * 2, [0.5] * 2, [5, 6]], names=names), path)
    assert refusal(path) == f"labels={path} has 2 columns 'frame': leave one of them"
    other = write_table(tmp_path / "other.csv", rows_of([3]), (*HEADER[:3], "x", "x", "x", "x"))
    assert read_label_table(other, task()).frames.tolist() == [3]  # a column that is not read may be there twice


def test_true_is_no_frame(tmp_path: Path) -> None:
    path = tmp_path / "labels.parquet"
    pq.write_table(pa.table({"frame": [True], "object_name": ["person"], "confidence": [0.5]}), path)
    assert refusal(path) == f"labels={path}, row 1: frame is True, give a frame's number from 0"


def test_an_object_without_a_name_is_no_object_of_the_name_none(tmp_path: Path) -> None:
    path = tmp_path / "labels.parquet"
    rows = {"frame": [3, 5], "object_name": [None, "person"], "confidence": [0.5, 0.5]}
    pq.write_table(pa.table(rows), path)
    assert read_label_table(path, task()).objects == {"": 1, "person": 1}
    assert read_label_table(path, task()).frames.tolist() == [5]


def test_no_line_is_named_for_other_encodings(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(",".join(HEADER) + "\n3,person,0.5,0,0,1,1\n4,caf\u00e9,0.5,0,0,1,1\n", encoding="latin-1")
    assert refusal(path) == (
        f"labels={path} is no CSV in UTF-8 (invalid continuation byte): save it so, or name a Parquet file .parquet"
    )
