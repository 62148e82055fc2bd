"""A Hydra launcher that runs the jobs of a multirun on Ray: `hydra/launcher=ray`, see docs/how-to/many_machines.md.

Hydra finds launchers in the namespace package `hydra_plugins`. The published hydra-ray-launcher is not used: it needs
an old cloudpickle and AWS's libraries, works in another folder, and ends the sweep with one lost job.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, configure_log, filter_overrides, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from textgen.common.errors import UserError
from textgen.common.job_records import name_jobs
from textgen.common.ray_cluster import connect, count_places

INTERRUPT_SECONDS = 30.0  # that the jobs have to save their state after Ctrl-C


class RayLauncher(Launcher):
    """Jobs as tasks of Ray; the settings are those of conf/hydra/launcher/ray.yaml.

    A job whose process or node is lost begins again on another one, up to `retries` times, and resumes what it had
    saved. All nodes need this Python environment, and the folder of the command under the same path.
    """

    def __init__(self, address: str | None, cpus: float, gpus: float, retries: int) -> None:
        self.address, self.cpus, self.gpus, self.retries = address, cpus, gpus, retries

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before `launch`."""
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run one job for each list of overrides; return their results in the same order."""
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        Path(str(self.config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        ray = connect(self.address)
        count_places(ray, self.cpus, self.gpus)
        run = ray.remote(num_cpus=self.cpus, num_gpus=self.gpus, max_retries=self.retries)(_run_job)
        context = ray.put((self.hydra_context, self.task_function, Singleton.get_state()))
        names = name_jobs([filter_overrides(overrides) for overrides in job_overrides])
        jobs = {}
        for number, overrides in enumerate(job_overrides, initial_job_idx):
            config = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
            config.hydra.job.id, config.hydra.job.num = f"{os.getpid()}_{number}", number
            job = run.remote(context, config, os.getcwd(), sys.path[0])
            jobs[job] = names[number - initial_job_idx]
        try:
            finished = _collect(ray, jobs, self.retries)
        except KeyboardInterrupt:
            for job in jobs:
                ray.cancel(job, force=False)
            ray.wait(list(jobs), num_returns=len(jobs), timeout=INTERRUPT_SECONDS)
            raise
        return [finished[job] for job in jobs]


def _collect(ray: Any, jobs: dict[Any, str], retries: int) -> dict[Any, JobReturn]:
    """The results of the jobs, which have names, with a line on stderr for each one that ends."""
    finished: dict[Any, JobReturn] = {}
    waiting = list(jobs)
    while waiting:
        (job,), waiting = ray.wait(waiting)
        try:
            result = ray.get(job)
        except ray.exceptions.RayTaskError as error:  # outside of Hydra's job: a package that a node lacks
            result = _failed(error.cause if isinstance(error.cause, Exception) else error)
        except ray.exceptions.RayError as error:
            name = type(error).__name__
            result = _failed(
                UserError(
                    f"{jobs[job]}: its process was lost {retries + 1} times ({name}); the same command goes on from"
                    " what it saved"
                )
            )
        finished[job] = result
        state = "done" if result.status == JobStatus.COMPLETED else f"failed ({_reason(result)})"
        print(f"{len(finished)} of {len(jobs)}: {jobs[job]}: {state}", file=sys.stderr)
    return finished


def _failed(error: Exception) -> JobReturn:
    result = JobReturn(status=JobStatus.FAILED)
    result.return_value = error
    return result


def _reason(result: JobReturn) -> str:
    error = result._return_value
    return error.summary if isinstance(error, UserError) else f"{type(error).__name__}: {error}"


def _run_job(context: tuple[HydraContext, TaskFunction, Any], config: DictConfig, folder: str, path: str) -> JobReturn:
    """One job, in a process of Ray's."""
    hydra_context, task_function, singletons = context
    try:
        os.chdir(folder)
    except OSError:
        node = socket.gethostname()
        return _failed(
            UserError(f"the node {node} has no folder {folder}: start the sweep in a folder that all nodes share")
        )
    if path not in sys.path:
        sys.path.insert(0, path)
    setup_globals()
    Singleton.set_state(singletons)
    HydraConfig.instance().set_config(config)
    return run_job(
        hydra_context=hydra_context,
        task_function=task_function,
        config=config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )
