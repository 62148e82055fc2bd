"""Progress in a log: whole lines, between which others print theirs."""

import sys

import pytest

from textgen.common.progress import progress_bar


def test_lines_of_a_log_are_whole(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(1000, "training") as bar:
        bar.delay, bar.mininterval = 0, 0
        for number in range(4):
            bar.update(250)
            print(f"result {number}", file=sys.stderr)
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("result")] == [f"result {number}" for number in range(4)]
    bars = [line for line in lines if not line.startswith("result")]
    assert [line.split("%")[0] for line in bars] == ["training:  25", "training: 100"]  # the first, and the last
    assert bars[-1] == lines[-1]


def test_what_ends_within_half_a_second_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(10, "training") as bar:
        bar.update(10)
    with progress_bar(10, "training", quiet=True) as bar:
        bar.update(10)
    assert capsys.readouterr().err == ""
