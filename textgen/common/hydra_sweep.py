"""The jobs of a multirun: how many threads each may use, and a file about each, from which `foldtext status` reads."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import joblib
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode, TaskFunction
from omegaconf import DictConfig

from textgen.common.errors import UserError
from textgen.common.job_records import HEARTBEAT, JobRecord, read_records, write_record

_running: JobRecord | None = None  # the job of this process
_stop_heartbeat = threading.Event()


def threads_of_job() -> int | None:
    """The share of this machine's cores that the launcher gives to a job; None outside a multirun, or for all cores.

    hydra/launcher=joblib runs `n_jobs` jobs at once; Ray and Slurm give a job the cores that it asks for.
    """
    config = HydraConfig.get()
    if config.mode != RunMode.MULTIRUN:
        return None
    launcher = config.launcher
    if (jobs := launcher.get("n_jobs")) is not None:
        cores: int = joblib.cpu_count()
        at_once = int(jobs) if jobs > 0 else max(cores + 1 + int(jobs), 1)
        return max(cores // at_once, 1)
    of_job = launcher.get("cpus") or launcher.get("cpus_per_task")
    return max(int(of_job), 1) if of_job else None


def note_run(folder: Path, epochs: int | None, *, runs: int) -> None:
    """Note in the record of this process's job, if it is one of a multirun, that a run begins, one of `runs`."""
    if _running is not None:
        _running.folders.append(str(folder.resolve()))
        _running.epochs, _running.runs = epochs, runs
        write_record(_running)


class JobRecords(Callback):
    """Hydra's callback that writes the records: jobs wait, run, and are done or have failed."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Write a record for every job of the multirun; a sweeper that chooses its jobs as it goes names none.

        What multiruns that have ended left waiting, lost or failed is removed.
        """
        folder = Path(config.hydra.sweep.dir)
        for record in list(read_records(folder)):
            if record.state in ("stopped", "failed"):
                record.path.unlink(missing_ok=True)
        for overrides in _planned_jobs(config):
            record = JobRecord.of(folder, overrides)
            record.take_process()
            write_record(record, is_synced=False)

    def on_job_start(self, config: DictConfig, *, task_function: TaskFunction, **_: Any) -> None:
        global _running  # noqa: PLW0603, a process has one job
        if HydraConfig.get().mode != RunMode.MULTIRUN:
            return
        record = JobRecord.of(Path(config.hydra.sweep.dir), list(config.hydra.overrides.task))
        record.state, record.started = "running", time.time()
        record.take_process()
        write_record(record)
        _running = record
        _stop_heartbeat.clear()
        threading.Thread(target=_beat, args=(record.path,), daemon=True).start()

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        global _running
        record, _running = _running, None
        _stop_heartbeat.set()
        if record is None:
            return
        record.ended = time.time()
        record.state = "done" if job_return.status == JobStatus.COMPLETED else "failed"
        if record.state == "failed":
            error = job_return._return_value
            record.error = error.summary if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        write_record(record)


def _beat(path: Path) -> None:
    """Touch the record while the job runs, so that a job whose machine is lost is told from one that computes."""
    while not _stop_heartbeat.wait(HEARTBEAT):
        with suppress(OSError):
            os.utime(path)


def _planned_jobs(config: DictConfig) -> Iterator[list[str]]:
    """The overrides of each job, as Hydra's own sweeper makes them."""
    sweeper = config.hydra.sweeper
    if not str(sweeper.get("_target_")).endswith(".BasicSweeper"):
        return
    params = [f"{key}={value}" for key, value in (sweeper.params or {}).items()]
    loader = GlobalHydra.instance().config_loader()  # for glob(*)
    parsed = OverridesParser.create(loader).parse_overrides([*params, *config.hydra.overrides.task])
    for batch in BasicSweeper.split_arguments(parsed, None):
        yield from batch
