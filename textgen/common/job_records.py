"""Records of the jobs of a multirun: a file each, in the folder `.jobs` of its results."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Literal

from textgen.common.atomic import write_atomic
from textgen.common.bounded_text import load_json

FOLDER = ".jobs"
HEARTBEAT = 10.0  # seconds between two signs of life of a job
SILENT = 60.0  # seconds without one after which a job of another machine is taken for lost
State = Literal["waiting", "running", "stopped", "done", "failed"]
STATES: tuple[State, ...] = ("waiting", "running", "stopped", "done", "failed")


@dataclass
class JobRecord:
    """What is known of one job. Times are seconds since 1970, `error` says why it failed.

    `folders` are those of the runs that it has begun, of `runs` in all, each of `epochs` epochs. `host`, `pid` and
    `process_start` are of its process, and of that of the multirun while it waits. A record that says "waiting" or
    "running" is "stopped" if that process is gone.
    """

    overrides: list[str]
    state: State = "waiting"
    host: str = ""
    pid: int = 0
    process_start: int = 0
    started: float | None = None
    ended: float | None = None
    folders: list[str] = field(default_factory=list)
    runs: int = 1
    epochs: int | None = None
    error: str = ""
    path: Path = field(default=Path(), compare=False)

    def take_process(self) -> None:
        """Enter this process."""
        self.host, self.pid = socket.gethostname(), os.getpid()
        self.process_start = process_start(self.pid) or 0

    @classmethod
    def of(cls, sweep: Path, overrides: Sequence[str]) -> JobRecord:
        """A new record of the job with `overrides`, whose order does not matter, in the folder of results `sweep`."""
        name = hashlib.sha256("\n".join(sorted(overrides)).encode()).hexdigest()[:16]
        return cls(list(overrides), path=sweep.absolute() / FOLDER / f"{name}.json")


def name_jobs(jobs: Sequence[Sequence[str]]) -> list[str]:
    """Each job's overrides without those that all jobs have.

    >>> name_jobs([["game=a", "fold=1", "epochs=3"], ["game=a", "fold=4", "epochs=3"]])
    ['fold=1', 'fold=4']
    """
    counts = Counter(setting for job in jobs for setting in {*job})
    varying = [[setting for setting in job if counts[setting] < len(jobs)] for job in jobs]
    return [" ".join(own or job) for own, job in zip(varying, jobs, strict=True)]


def write_record(record: JobRecord, *, is_synced: bool = True) -> None:
    """Replace the record's file. Raises `UserError` where it cannot be written.

    `is_synced` is that of `write_atomic`: thousands of waiting jobs need not be on the disk before the first begins.
    """
    record.path.parent.mkdir(parents=True, exist_ok=True)
    content = {key: value for key, value in asdict(record).items() if key != "path"}
    write_atomic(record.path, json.dumps(content, indent=1).encode(), "another folder of results", is_synced=is_synced)


def read_records(sweep: Path) -> Iterator[JobRecord]:
    """The records in a folder of results; what is no record is left out."""
    known = {each.name for each in fields(JobRecord)} - {"path"}
    for path in sorted((sweep / FOLDER).glob("*.json")):
        try:
            content = load_json(path)
            record = JobRecord(**{key: content[key] for key in known & content.keys()}, path=path)
            texts = [*record.overrides, *record.folders]
            valid = record.state in STATES and all(isinstance(text, str) for text in texts)
        except (OSError, ValueError, TypeError, AttributeError):
            continue
        if valid:
            if record.state in ("waiting", "running") and _is_gone(record):
                record.state = "stopped"
            yield record


def process_start(pid: int) -> int | None:
    """When a process of this machine began, in the kernel's ticks since it started; None if there is no such process.

    With it, a process is told from a later one that has its number. 0 where the system does not say it.
    """
    if not os.path.isdir("/proc/self"):
        return 0
    try:
        about = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    return int(about.rpartition(")")[2].split()[19])  # field 22; the name before ")" may hold blanks


def _is_gone(record: JobRecord) -> bool:
    """Whether a process of this machine has ended, or a job that ran on another one gives no sign of life."""
    if record.state == "running" and time.time() - record.path.stat().st_mtime > SILENT:
        return True
    return record.host == socket.gethostname() and process_start(record.pid) != record.process_start
