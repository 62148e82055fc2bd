"""Faults that strike runs and predictions: damage, full disks, two processes on one output, a clock that jumps."""

import itertools
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import xxhash
from conftest import ROOT, composed, flat_game

from textgen.common.digests import DIGESTS, write_digests
from textgen.common.errors import UserError
from train.common.resume import SavedState, load_state, save_state, state_path
from train.inference.network import load
from train.predict import run as predict_run
from train.predict.predictor import Predictor
from train.predict.run import predict
from train.report.tables import collect_tables
from train.runs.finished_runs import load_config, load_result
from train.runs.run import run
from train.trainer import checkpoint

sys.path.append(str(Path(__file__).parent / "predict"))

from bits import LEFT, save_run, settings, write_video

YEAR = 365 * 24 * 3600.0


def flipped(data: bytes, at: int) -> bytes:
    """With one bit of the byte `at` changed."""
    return data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]


def damages(data: bytes, every: int = 1) -> Iterator[bytes]:
    """The data with each `every`th byte changed, and cut off in each class of lengths."""
    yield from (flipped(data, at) for at in range(0, len(data), every))
    yield from (data[:size] for size in (0, 1, min(8, len(data) // 3), len(data) // 2, len(data) - 1))


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Larger files are an error of the system, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with a network that reads `video`."""
    return save_run(tmp_path_factory.mktemp("run") / "bits", 2)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "clip.mkv", [(n // 10 % 15, 0) for n in range(900)])


def test_a_state_of_rows_with_any_damage_is_refused_by_name(tmp_path: Path) -> None:
    out, rows = tmp_path / "v.csv", tmp_path / ".v.csv.rows.csv"
    rows.write_bytes(b"a,b\n1,2\n")
    identity, digest = {"run": "a"}, xxhash.xxh3_128_hexdigest(b"a,b\n1,2\n")
    save_state(out, identity, SavedState(8, digest, 3, 0.5, {"labels": torch.arange(5).numpy()}))
    whole = state_path(out).read_bytes()
    for data in damages(whole, every=3):
        state_path(out).write_bytes(data)
        with pytest.raises(UserError, match=r"state\.npz is damaged"):
            load_state(out, rows, identity)
    state_path(out).write_bytes(whole)
    found = load_state(out, rows, identity)
    assert found is not None
    assert (found.offset, found.frame) == (8, 3)
    for data in damages(b"a,b\n1,2\n"):
        rows.write_bytes(data)
        with pytest.raises(UserError, match="has lost rows, or others"):
            load_state(out, rows, identity)


def test_a_full_disk_ends_a_prediction_in_one_line_and_the_same_command_goes_on(
    network: Path, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where the disk is full for the rows in the middle, and has room again for those behind."""
    monkeypatch.setattr(predict_run, "SAVE_EVERY", 0)
    predict(settings(network, video, {"left": LEFT}, tmp_path / "whole.csv"))
    out, command = tmp_path / "v.csv", settings(network, video, {"left": LEFT}, tmp_path / "v.csv")
    with largest_file(20_000), pytest.raises(UserError, match=r"cannot write .*rows\.csv: File too large; make room"):
        predict(command)
    assert not out.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".v.csv.rows.csv", ".v.csv.state.npz", "whole.csv"]
    capsys.readouterr()
    predict(command)
    assert " goes on at " in capsys.readouterr().err
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["v.csv", "whole.csv"]


TWO = """
import sys
from pathlib import Path
from bits import settings, LEFT
from textgen.common.cli import run
from train.predict.run import predict
run(lambda: predict(settings(Path(sys.argv[1]), sys.argv[2], {"left": LEFT}, Path(sys.argv[3]))))
"""


def test_of_two_predictions_into_one_file_the_second_waits_and_is_refused(
    network: Path, video: Path, tmp_path: Path
) -> None:
    predict(settings(network, video, {"left": LEFT}, tmp_path / "whole.csv"))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(Path(__file__).parent / "predict")])}
    command = [sys.executable, "-c", TWO, str(network), str(video), str(tmp_path / "v.csv")]
    processes = [subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    ended = sorted((process.communicate()[1], process.returncode) for process in processes)
    assert sorted(code for _, code in ended) == [0, 2], ended
    assert any("exists: choose another place" in errors for errors, _ in ended)
    assert (tmp_path / "v.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["v.csv", "whole.csv"]


def test_no_damage_of_a_finished_run_is_used(network: Path, tmp_path: Path) -> None:
    folder = save_run(tmp_path / "runs" / "bits")
    names = ["config.yaml", "model.safetensors", "result.json"]
    write_digests(folder, names, {}, "elsewhere")
    uses = {
        "config.yaml": (load_config, Predictor.load),
        "model.safetensors": (load, Predictor.load),
        "result.json": (load_result, Predictor.load, lambda run: collect_tables(run.parent)),
    }
    for name in names:
        data = (folder / name).read_bytes()
        for broken in damages(data, every=max(len(data) // 20, 1)):
            (folder / name).write_bytes(broken)
            for use in uses[name]:
                with pytest.raises(UserError, match=f"{name} is damaged: .* train again with fresh=true"):
                    use(folder)  # type: ignore[operator]
        (folder / name).write_bytes(data)
    assert Predictor.load(folder).classes == load(folder).classes


def test_any_damage_of_a_checkpoint_is_told_and_the_one_before_is_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state: dict[str, Any] = {"identity": "a", "net": {"w": torch.arange(6.0)}, "progress": {"epoch": 2}}
    checkpoint.save(tmp_path, {**state, "progress": {"epoch": 1}})
    checkpoint.save(tmp_path, state)
    data = (tmp_path / "checkpoint.pt").read_bytes()
    for broken in [*damages(data, every=5), *(data[:size] for size in range(0, len(data), 50))]:
        (tmp_path / "checkpoint.pt").write_bytes(broken)
        found = checkpoint.load(tmp_path, "a")
        assert found is not None
        assert torch.equal(found["net"]["w"], state["net"]["w"])
        told = "checkpoint.pt is damaged and not used" in capsys.readouterr().err
        assert found["progress"]["epoch"] == 2 - told


def few(tmp_path: Path) -> list[str]:
    """The settings of a run of a moment."""
    flat_game(tmp_path / "flat")
    flat = f"game.backgrounds=[{{source: {tmp_path}/flat/, light: [1, 1]}}]"
    images = [f"game.images.{split}={count}" for split, count in (("train", 4), ("val", 1), ("test", 1))]
    small = ("augment=off", "workers=1", "threads=1", "groupings=1", "epochs=2", "batch=44")
    return ["game=apex_count", flat, *images, *small, f"data_dir={tmp_path / 'data'}", f"runs={tmp_path / 'runs'}"]


def test_a_finished_run_with_a_damaged_or_missing_file_is_told_and_not_taken(tmp_path: Path) -> None:
    config = composed(*few(tmp_path))
    first = run(config)
    (folder,) = (path.parent for path in tmp_path.glob("runs/*/result.json"))
    assert run(config) == first
    for name in ("result.json", "model.safetensors", "config.yaml", "metrics.jsonl", DIGESTS):
        data = (folder / name).read_bytes()
        for broken in (data[: len(data) // 2], b"", flipped(data, len(data) // 2) if name != DIGESTS else b"[]"):
            (folder / name).write_bytes(broken)
            with pytest.raises(UserError, match=r"is damaged.* train again with fresh=true"):
                run(config)
        (folder / name).unlink()
        if name not in (DIGESTS, "result.json"):
            with pytest.raises(UserError, match=f"{name} is missing; train again with fresh=true"):
                run(config)
        (folder / name).write_bytes(data)
    assert run(config) == first
    (folder / "model.safetensors").write_bytes(b"")
    again = run({**config, "fresh": True})
    assert again["accuracy_groupings"] == first["accuracy_groupings"]
    load(folder)


def without_times(result: dict[str, Any]) -> dict[str, Any]:
    """Nor the commit, which may be another one by then."""
    times = ("train_seconds", "train_images_per_second", "commit")
    return {key: value for key, value in result.items() if key not in times}


@pytest.mark.slow
def test_a_full_disk_ends_a_training_in_one_line_and_the_same_command_goes_on(tmp_path: Path) -> None:
    config = composed(*few(tmp_path), "save_every=0")
    whole = run(composed(*few(tmp_path), f"out={tmp_path / 'whole'}"))
    for size in (2_000, 20_000, 60_000):
        with largest_file(size), pytest.raises(UserError, match=r"cannot write .*File too large; make room or choose"):
            run(config)
        assert not [*tmp_path.glob("runs/*/result.json")]
    assert without_times(run(config)) == without_times(whole)
    assert not [*tmp_path.glob("runs/*/.*.tmp")]


@pytest.mark.slow
def test_a_clock_that_jumps_by_years_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the time of day; the clock that only counts cannot be set."""
    whole = run(composed(*few(tmp_path), f"out={tmp_path / 'whole'}"))
    real, jumps = time.time, itertools.cycle((0.0, -YEAR, YEAR))
    monkeypatch.setattr(time, "time", lambda: real() + next(jumps))
    monkeypatch.setattr(time, "time_ns", lambda: int((real() + next(jumps)) * 1e9))
    assert without_times(run(composed(*few(tmp_path)))) == without_times(whole)
