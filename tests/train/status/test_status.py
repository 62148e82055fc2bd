"""The state of a sweep, from the records of its jobs and from its runs."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from textgen.common.atomic import file_lock
from textgen.common.job_records import SILENT, JobRecord, process_start, read_records, write_record
from train.status.jobs import Job, collect_jobs, estimate_seconds_left
from train.status.main import format_status

SMALL = ["game.images.train=4", "game.images.val=2", "game.images.test=1", "augment=off", "epochs=2", "groupings=1"]


def record(sweep: Path, *overrides: str, **known: Any) -> JobRecord:
    made = JobRecord.of(sweep, list(overrides))
    for name, value in known.items():
        setattr(made, name, value)
    write_record(made)
    return made


def run_folder(sweep: Path, name: str, epochs: int, seconds: float, result: dict[str, Any] | None = None) -> Path:
    folder = sweep / name
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("recipe: {}\n")
    lines = [
        {"epoch": n + 1, "val_accuracy": (n + 1) / 10, "best": n != 1, "seconds": seconds * (n + 1) / epochs}
        for n in range(epochs)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"epoch": 99, "val')
    if result is not None:
        (folder / "result.json").write_text(json.dumps(result))
    return folder


def test_every_state_and_the_time_left(tmp_path: Path) -> None:
    here, pid = socket.gethostname(), os.getpid()
    done = run_folder(tmp_path, "a", 4, 100, {"game": "sot_time", "val_accuracy": 0.875, "epochs": 4})
    running = run_folder(tmp_path, "b", 2, 50)
    record(tmp_path, "game=sot_time", "fold=1", "x=1", state="done", folders=[str(done)], epochs=4)
    known = {"host": here, "pid": pid, "started": time.time() - 9, "folders": [str(running)], "epochs": 8}
    known["process_start"] = process_start(pid)
    record(tmp_path, "game=sot_time", "fold=2", "x=1", state="running", **known)
    record(tmp_path, "game=sot_time", "fold=3", "x=1", host=here, pid=pid, process_start=process_start(pid))
    record(tmp_path, "game=sot_time", "fold=9", "x=1", state="failed", error="fold: at most 6\n(given: 9)")
    with subprocess.Popen(["true"]) as gone:
        begun = process_start(gone.pid)
    record(tmp_path, "game=sot_time", "fold=5", "x=1", state="running", host=here, pid=gone.pid, process_start=begun)
    jobs = collect_jobs(tmp_path)
    assert [(job.name, job.state) for job in jobs] == [
        ("fold=1", "done"),
        ("fold=2", "running"),
        ("fold=3", "waiting"),
        ("fold=5", "stopped"),
        ("fold=9", "failed"),
    ]
    assert (jobs[0].epoch, jobs[0].epochs, jobs[0].validation, jobs[0].seconds) == (4, 4, 0.875, 100)
    assert (jobs[1].epoch, jobs[1].epochs, jobs[1].validation) == (2, 8, 0.1), "the second epoch was not the best"
    # One job runs, with 6 of 8 epochs left, and one waits; those that are done took 100 seconds.
    assert estimate_seconds_left(jobs) == pytest.approx(100 * 1.75)
    lines = format_status(tmp_path, jobs).splitlines()
    assert lines[0] == f"{tmp_path}: 5 jobs: 1 done, 1 running, 1 waiting, 1 stopped, 1 failed; about 2 min 55 s left"
    assert lines[1].startswith("best sot_time by validation: 87.50%, fold=1, ")
    assert lines[-1] == "failed: fold=9: fold: at most 6 (given: 9)"


def test_a_job_of_another_machine_is_stopped_without_a_sign_of_life(tmp_path: Path) -> None:
    made = record(tmp_path, "fold=1", state="running", host="elsewhere", pid=1, started=time.time() - 1000)
    assert [found.state for found in read_records(tmp_path)] == ["running"]
    before = time.time() - SILENT - 1
    os.utime(made.path, (before, before))
    assert [found.state for found in read_records(tmp_path)] == ["stopped"]


def test_a_process_is_told_from_a_later_one_with_its_number(tmp_path: Path) -> None:
    known = {"state": "running", "host": socket.gethostname(), "pid": os.getpid()}
    record(tmp_path, "fold=1", process_start=process_start(os.getpid()), **known)
    record(tmp_path, "fold=2", process_start=(process_start(os.getpid()) or 0) - 1, **known)
    assert {found.overrides[0]: found.state for found in read_records(tmp_path)} == {
        "fold=1": "running",
        "fold=2": "stopped",
    }


def test_what_is_no_record_is_left_out_and_the_order_of_settings_does_not_matter(tmp_path: Path) -> None:
    record(tmp_path, "a=1", "b=2")
    record(tmp_path, "b=2", "a=1", state="done")
    for number, text in enumerate(
        ["", "[]", "{}", '{"overrides": 3}', '{"overrides": [], "state": "what"}', "\xff" * 9]
    ):
        (tmp_path / ".jobs" / f"{number}.json").write_bytes(text.encode("latin-1"))
    assert [(found.overrides, found.state) for found in read_records(tmp_path)] == [(["b=2", "a=1"], "done")]


def test_a_sweep_of_several_seeds_and_one_that_was_started_again_with_other_threads(tmp_path: Path) -> None:
    """Each run is shown once, by its newest record, and a job is done when all its runs are."""
    result = {"game": "g", "val_accuracy": 1.0, "epochs": 4}
    whole = [str(run_folder(tmp_path, f"s{n}", 4, 10, result)) for n in range(3)]
    half = str(run_folder(tmp_path, "half", 2, 5))
    here = {"host": socket.gethostname(), "pid": os.getpid(), "process_start": process_start(os.getpid())}
    record(tmp_path, "g=1", "threads=1", state="running", started=1.0, folders=whole[:2], runs=3)
    record(tmp_path, "g=1", "threads=2", state="done", started=2.0, folders=whole, runs=3)
    record(tmp_path, "g=2", "threads=2", state="running", started=3.0, folders=[half], runs=2, epochs=4, **here)
    one, two = collect_jobs(tmp_path)
    assert (one.name, one.state, one.seconds) == ("g=1", "done", 30)
    assert (two.name, two.state, two.left) == ("g=2", "running", 0.75)
    assert estimate_seconds_left([one, two]) == pytest.approx(0.75 * 30)


def test_runs_without_a_record(tmp_path: Path) -> None:
    run_folder(tmp_path, "whole", 3, 30, {"game": "g", "val_accuracy": 1.0, "epochs": 3})
    running = run_folder(tmp_path, "running", 1, 5)
    run_folder(tmp_path, "stopped", 1, 5)
    (tmp_path / "no run").mkdir()
    with file_lock(running / ".lock", ""):
        states = {job.name: job.state for job in collect_jobs(tmp_path)}
    assert states == {"whole": "done", "running": "running", "stopped": "stopped"}


def test_nothing_is_estimated_without_a_finished_job() -> None:
    assert estimate_seconds_left([Job("a", "running"), Job("b", "waiting")]) is None


def test_a_real_sweep_and_the_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "train", "-m", "game=apex_count", "fold=1,9", *SMALL, "recipe=paper", "threads=1"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 2, ended.stderr
    status = [sys.executable, "-m", "foldtext", "status", "--json"]
    told = json.loads(subprocess.run(status, cwd=tmp_path, capture_output=True, text=True, check=True).stdout)
    assert told["seconds_left"] is None
    one, nine = told["jobs"]
    assert (one["name"], one["state"], one["epoch"], one["epochs"], one["game"]) == (
        "fold=1",
        "done",
        2,
        2,
        "apex_count",
    )
    assert yaml.safe_load((Path(one["folder"]) / "config.yaml").read_text())["workers"] is None
    assert (nine["name"], nine["state"], nine["folder"]) == ("fold=9", "failed", None)
    assert "less than or equal to 6" in nine["error"]
    missing = subprocess.run([*status, "nowhere"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (missing.returncode, missing.stdout) == (2, "")
    assert missing.stderr.startswith("error: nowhere is no folder: ")
