"""`foldtext status runs/`: what of a sweep is done, runs, waits or has failed, the best so far, and the time left."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from textgen.common import cli
from textgen.common.errors import UserError
from train.common.text_table import format_columns
from train.status.jobs import Job, collect_jobs, estimate_seconds_left

STATES = ("done", "running", "waiting", "stopped", "failed")  # in this order
LONGEST_ERROR = 200  # characters


def show_status() -> None:
    """The command; raises `UserError` for a folder that is none."""
    parser = argparse.ArgumentParser("foldtext status", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=Path("runs"), help="folder of runs; default: runs")
    parser.add_argument(
        "--watch", type=float, metavar="SECONDS", help="show it again after so many seconds, until Ctrl-C"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object, with all that is known of each job")
    parser.add_argument("--version", action="version", version=cli.version())
    given = parser.parse_args()
    if not given.folder.is_dir():
        raise UserError(f"{given.folder} is no folder: give the folder of runs of a sweep, as runs/table4")
    if given.watch is not None and not given.watch >= 0.1:
        raise UserError(f"--watch {given.watch}: give seconds, 0.1 or more")
    while True:
        jobs = collect_jobs(given.folder)
        text = _as_json(jobs) if given.json else format_status(given.folder, jobs)
        if given.watch and sys.stdout.isatty():
            print("\x1b[2J\x1b[H", end="")
        print(text, flush=True)
        if not given.watch:
            return
        time.sleep(given.watch)


def format_status(folder: Path, jobs: Sequence[Job]) -> str:
    """The status as text: a line of sums, the best of each game by validation, and a line for each job."""
    counts = Counter(job.state for job in jobs)
    sums = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state]) or "none yet"
    left = estimate_seconds_left(jobs)
    lines = [f"{folder}: {len(jobs)} jobs: {sums}" + (f"; about {_duration(left)} left" if left is not None else "")]
    for game in sorted({job.game for job in jobs}):
        known = [job for job in jobs if job.game == game and job.validation is not None]
        if known:
            best = max(known, key=lambda job: job.validation or 0.0)
            lines.append(
                f"best {game or 'run'} by validation: {best.validation:.2%}, {best.name}, {_shorten(best.folder)}"
            )
    if not jobs:
        return lines[0]
    header = ["state", "job", "epoch", "validation", "time"]
    rows = [_row(job) for job in sorted(jobs, key=lambda job: STATES.index(job.state))]
    lines += ["", *format_columns(header, rows, left=2)]
    for job in jobs:
        if job.error:
            error = job.error if len(job.error) <= LONGEST_ERROR else f"{job.error[:LONGEST_ERROR]}…"
            lines.append(f"failed: {job.name}: {' '.join(error.split())}")
    return "\n".join(lines)


def _row(job: Job) -> list[str]:
    epoch = "" if job.epoch is None else f"{job.epoch}/{job.epochs}" if job.epochs else str(job.epoch)
    validation = "" if job.validation is None else f"{job.validation:.2%}"
    return [job.state, job.name, epoch, validation, "" if job.seconds is None else _duration(job.seconds)]


def _duration(seconds: float) -> str:
    """
    >>> _duration(59.4), _duration(200), _duration(7260)
    ('59 s', '3 min 20 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _shorten(folder: Path | None) -> str:
    return "" if folder is None else os.path.relpath(folder)


def _as_json(jobs: Sequence[Job]) -> str:
    left = estimate_seconds_left(jobs)
    described = [{**asdict(job), "folder": job.folder and str(job.folder)} for job in jobs]
    return json.dumps({"seconds_left": left, "jobs": described}, indent=1)
