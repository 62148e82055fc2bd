"""What the benchmark of kills counts as lost and as wrong."""

import sys
from pathlib import Path

import pytest
from conftest import ROOT

sys.path.append(str(ROOT / "benchmarks"))

import reliability
import reliability_kinds
from reliability_kinds import KINDS, Kind


def test_what_is_lost() -> None:
    marks = {"train-0.json": 1, "train-1.json": 2}
    assert reliability_kinds.same_stamps(marks, {**marks, "train-2.json": 3}) == []
    assert reliability_kinds.same_stamps(marks, {"whole": 4}) == []
    assert reliability_kinds.same_stamps(marks, {"train-0.json": 9}) == [
        "train-0.json was made again",
        "train-1.json is gone",
    ]
    assert reliability_kinds.not_less({"frame": 5}, {"frame": 5}) == []
    assert reliability_kinds.not_less({"frame": 5}, {"frame": 4}) == ["frame was 5, and is 4"]
    assert reliability_kinds.not_less({"frame": 5}, {}) == ["frame was 5, and is gone"]
    assert reliability_kinds.not_less({"frame": 5}, {"frame": float("inf")}) == []
    assert reliability_kinds.lost_training({"run": (2, 5)}, {}) == ["run was (2, 5), and is gone"]
    done = {"run": (float("inf"), 7)}
    assert reliability_kinds.lost_training({"run": (2, 5)}, done) == []
    assert reliability_kinds.lost_training(done, {"run": (float("inf"), 8)}) == ["run was trained again"]


def test_what_is_wrong() -> None:
    expected = {"a": "1", "b": "2"}
    assert reliability.compare(expected, {"a": "1"}, whole=False) == []
    assert reliability.compare(expected, {"a": "1"}, whole=True) == ["b is missing"]
    assert reliability.compare(expected, {"a": "3", "c": "4"}, whole=False) == ["a differs", "c differs"]


def test_kills_are_counted_and_a_job_that_goes_on_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a job that counts to 30 in a file, one that begins again, and ones that leave a half file or a hidden one."""
    (tmp_path / "counting_job.py").write_text(
        "import os, sys, time\n"
        "def main():\n"
        "    kind = sys.argv[1]\n"
        "    if kind == 'forgets' and os.path.exists('.at'):\n"
        "        os.remove('.at')\n"
        "        time.sleep(0.3)\n"
        "    at = len(open('.at').read()) if os.path.exists('.at') else 0\n"
        "    for _ in range(at, 30):\n"
        "        open('.at', 'a').write('x')\n"
        "        time.sleep(0.01)\n"
        "        if kind == 'half':\n"
        "            open('out', 'w').write('half')\n"
        "    if kind == 'leaves' and at:\n"
        "        os.makedirs('.x.part', exist_ok=True)\n"
        "        open('.x.part/state', 'w')\n"
        "    open('.out', 'w').write('whole')\n"
        "    os.replace('.out', 'out')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))

    def tally(name: str) -> reliability.Tally:
        kind = Kind(
            *(name, "counting_job", (name,), 1, lambda folder: reliability_kinds.digest_all(folder, "out")),
            parts=lambda folder: {"at": len((folder / ".at").read_text())} if (folder / ".at").exists() else {},
            lost=reliability_kinds.not_less,
        )
        (folder := tmp_path / name).mkdir()
        (folder / "inputs").mkdir()
        found = reliability.Tally(kind)
        reliability.disturb(found, 4, folder / "inputs", folder, reliability.random.Random(0))
        return found

    goes_on = tally("goes on")
    assert (goes_on.kills, goes_on.lost, goes_on.wrong) == (4, [], [])
    assert "| goes on | 4 |" in reliability.table([goes_on])
    assert tally("forgets").lost
    assert any("out differs" in each for each in tally("half").wrong)
    assert any(".x.part/state is left" in each for each in tally("leaves").wrong)
    assert "4 of 4 kills" in capsys.readouterr().err


def test_every_kind_says_what_it_needs() -> None:
    assert len({kind.name for kind in KINDS}) == len(KINDS)
    assert all(kind.command.startswith("python -m ") for kind in KINDS)
