"""The jobs of a folder of results, from their records and from the folders of the runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from textgen.common.atomic import free_lock
from textgen.common.bounded_text import load_json, parse_json
from textgen.common.job_records import JobRecord, name_jobs, read_records

MAX_BYTES = 64 << 20  # of a metrics.jsonl


@dataclass(frozen=True)
class Job:
    """A job of a sweep, or a run on its own.

    `state` is waiting, running, stopped, done or failed. `epoch` of `epochs` is finished; `validation` is the best
    validation accuracy so far, 0 to 1; `seconds` is how long it has trained, `left` the share of its work, 0 to 1, that
    is to be done. None: not known, or none yet.
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
    left: float = 1.0


def collect_jobs(folder: Path) -> list[Job]:
    """The jobs of the sweeps into `folder` in the order of their names, and runs in it that no record names.

    Of several records that name a run, as of a sweep that was started again with other threads, the newest counts.
    """
    records = sorted(read_records(folder), key=lambda record: record.started or 0.0, reverse=True)
    places = [[_find(path, folder) for path in record.folders] for record in records]
    newest: dict[Path, int] = {}
    for number, found in enumerate(places):
        for place in filter(None, found):
            newest.setdefault(place, number)
    kept = [n for n, found in enumerate(places) if not found or any(place and newest[place] == n for place in found)]
    names = name_jobs([records[n].overrides for n in kept])
    jobs = [_of_record(records[n], name, places[n]) for n, name in zip(kept, names, strict=True)]
    runs = sorted(path.parent.resolve() for path in folder.glob("*/config.yaml"))
    return sorted(jobs, key=lambda job: job.name) + [_of_run(run) for run in runs if run not in newest]


def _find(path: str, sweep: Path) -> Path | None:
    """The folder of a run, which may have been moved with all results, or be mounted elsewhere."""
    moved = sweep.resolve() / Path(path).name
    return next((place for place in (Path(path), moved) if place.is_dir()), None)


def estimate_seconds_left(jobs: Sequence[Job]) -> float | None:
    """How long the waiting and running jobs will take, from the mean time of those that are done; None without one.

    As many jobs are taken to run at once as do now. Stopped jobs are not waited for.
    """
    times = [job.seconds for job in jobs if job.state == "done" and job.seconds is not None]
    running = [job for job in jobs if job.state == "running"]
    if not times or not running:
        return None
    return mean(times) * sum(job.left for job in jobs if job.state in ("waiting", "running")) / len(running)


def _of_record(record: JobRecord, name: str, places: Sequence[Path | None]) -> Job:
    """The job of a record whose runs are in the folders `places`: the figures of its last run, and the time of all."""
    values = dict(setting.split("=", 1) for setting in record.overrides if "=" in setting)
    game = values.get("game") or values.get("task") or ""
    found = [place for place in places if place is not None]
    if not found:
        seconds = record.ended - record.started if record.ended and record.started else None
        return Job(name, record.state, game, seconds=seconds, error=record.error)
    finished = sum((place / "result.json").is_file() for place in found)
    state = "done" if finished == record.runs else record.state
    progress = [_progress(place) for place in found]
    last, seconds = progress[-1], sum(each["seconds"] or 0.0 for each in progress)
    epochs = last.pop("epochs") or record.epochs
    left = record.runs - finished - (0 if finished == len(found) or not epochs else (last["epoch"] or 0) / epochs)
    return Job(
        name,
        state,
        last.pop("game") or game,
        found[-1],
        epochs=epochs,
        error=record.error if state == "failed" else "",
        left=max(left / record.runs, 0.0),
        **{**last, "seconds": seconds or None},
    )


def _of_run(folder: Path) -> Job:
    """A run without a record: `python -m train` without -m."""
    found = _progress(folder)
    state = "done" if (folder / "result.json").is_file() else "running" if _is_locked(folder) else "stopped"
    return Job(folder.name, state, folder=folder, **found)


def _progress(folder: Path) -> dict[str, Any]:
    """The fields of `Job` that result.json and metrics.jsonl say."""
    lines = [line for line in _read_metrics(folder / "metrics.jsonl") if isinstance(line.get("epoch"), int)]
    result: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        result = dict(load_json(folder / "result.json"))
    accuracies = [line["val_accuracy"] for line in lines if line.get("best")]
    return {
        "game": result.get("game", ""),
        "epoch": lines[-1]["epoch"] if lines else None,
        "epochs": result.get("epochs"),
        "validation": result.get("val_accuracy", accuracies[-1] if accuracies else None),
        "seconds": lines[-1].get("seconds") if lines else None,
    }


def _read_metrics(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of metrics.jsonl; an unfinished one is left out."""
    try:
        if path.stat().st_size > MAX_BYTES:
            return
        lines = path.read_bytes().splitlines()
    except OSError:
        return
    for line in lines:
        with suppress(ValueError):
            if isinstance(found := parse_json(line), dict):
                yield found


def _is_locked(folder: Path) -> bool:
    """Whether a process trains in the folder."""
    path = folder / ".lock"
    if not path.exists():
        return False
    try:
        with free_lock(path) as is_free:
            return not is_free
    except OSError:
        return True
