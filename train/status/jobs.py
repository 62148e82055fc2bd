"""The jobs of a folder of results, from their records and from the folders of the runs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import filelock

from textgen.common.job_records import JobRecord, name_jobs, read_records

MAX_BYTES = 64 << 20  # of a result.json or metrics.jsonl


@dataclass(frozen=True)
class Job:
    """A job of a sweep, or a run on its own.

    `state` is waiting, running, stopped, done or failed. `epoch` of `epochs` is finished; `validation` is the best
    validation accuracy so far, 0 to 1; `seconds` is how long it has trained. None: not known, or none yet.
    """

    name: str
    state: str
    game: str = ""
    folder: Path | None = None
    epoch: int | None = None
    epochs: int | None = None
    validation: float | None = None
    seconds: float | None = None
    error: str = ""

    @property
    def remaining_share(self) -> float | None:
        """The share of the epochs that is left, 0 to 1."""
        return None if self.epoch is None or not self.epochs else max(1 - self.epoch / self.epochs, 0.0)


def collect_jobs(folder: Path) -> list[Job]:
    """The jobs of the sweeps into `folder` in the order of their names, and runs in it that no record names."""
    records = list(read_records(folder))
    names = name_jobs([record.overrides for record in records])
    jobs = [_of_record(record, name, folder) for record, name in zip(records, names, strict=True)]
    known = {job.folder for job in jobs}
    runs = sorted(path.parent.resolve() for path in folder.glob("*/config.yaml"))
    return sorted(jobs, key=lambda job: job.name) + [_of_run(run) for run in runs if run not in known]


def estimate_seconds_left(jobs: Sequence[Job]) -> float | None:
    """How long the waiting and running jobs will take, from the mean time of those that are done; None without one.

    As many jobs are taken to run at once as do now.
    """
    times = [job.seconds for job in jobs if job.state == "done" and job.seconds is not None]
    running = [job for job in jobs if job.state == "running"]
    if not times or not running:
        return None
    shares = [1.0 if (share := job.remaining_share) is None else share for job in running]
    waiting = sum(job.state in ("waiting", "stopped") for job in jobs)
    return mean(times) * (waiting + sum(shares)) / len(running)


def _of_record(record: JobRecord, name: str, sweep: Path) -> Job:
    state = "stopped" if record.state == "lost" else record.state
    folder = None
    if record.folder is not None:
        # The results may have been moved since, or be mounted elsewhere.
        folder = next(
            (path for path in (Path(record.folder), sweep.resolve() / Path(record.folder).name) if path.is_dir()), None
        )
    game = next(
        (setting.partition("=")[2] for setting in record.overrides if setting.startswith(("game=", "task="))), ""
    )
    if folder is None:
        seconds = record.ended - record.started if record.ended and record.started else None
        return Job(name, state, game, seconds=seconds, error=record.error)
    found = _progress(folder)
    if state == "running" and record.started is not None and found["seconds"] is None:
        found["seconds"] = time.time() - record.started
    epochs = found.pop("epochs") or record.epochs
    return Job(name, state, found.pop("game") or game, folder, epochs=epochs, error=record.error, **found)


def _of_run(folder: Path) -> Job:
    """A run without a record: `python -m train` without -m."""
    found = _progress(folder)
    state = "done" if (folder / "result.json").is_file() else "running" if _is_locked(folder) else "stopped"
    return Job(folder.name, state, folder=folder, **found)


def _progress(folder: Path) -> dict[str, Any]:
    """The fields of `Job` that result.json and metrics.jsonl say."""
    lines = [line for line in _read_lines(folder / "metrics.jsonl") if isinstance(line.get("epoch"), int)]
    result = next(_read_lines(folder / "result.json", whole=True), {})
    accuracies = [line["val_accuracy"] for line in lines if line.get("best")]
    return {
        "game": result.get("game", ""),
        "epoch": lines[-1]["epoch"] if lines else None,
        "epochs": result.get("epochs"),
        "validation": result.get("val_accuracy", accuracies[-1] if accuracies else None),
        "seconds": lines[-1].get("seconds") if lines else None,
    }


def _read_lines(path: Path, *, whole: bool = False) -> Iterator[dict[str, Any]]:
    """The JSON objects of a file, one a line or one in all; an unfinished line is left out."""
    try:
        if path.stat().st_size > MAX_BYTES:
            return
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return
    for part in [text] if whole else text.splitlines():
        try:
            found = json.loads(part)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict):
            yield found


def _is_locked(folder: Path) -> bool:
    """Whether a process trains in the folder."""
    path = folder / ".lock"
    if not path.exists():
        return False
    try:
        with filelock.FileLock(path, timeout=0):
            return False
    except (filelock.Timeout, OSError):
        return True
