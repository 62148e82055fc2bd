"""Networks in engines, timed turn by turn in one process, from the same crops to probabilities; for `train.bench`."""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from textgen.common.errors import UserError
from train.cost.intensity import NetworkCost
from train.folding.arithmetic import Form, whole_stacks
from train.inference.engines import PRECISIONS, Crops, Engine, Engines, Precision, Runner, reason_missing
from train.inference.network import Network
from train.inference.reader import available_forms

COMPARED = 1024  # random crops whose labels are compared
USUAL: dict[str, tuple[Precision, ...]] = {"cpu": ("fp32", "int8", "int16"), "cuda": ("fp16",)}


@dataclass(frozen=True)
class Subject:
    """A network in a form; `cost` counts its operations. `trained` says whether its accuracy means something."""

    name: str
    network: Network
    form: Form
    cost: NetworkCost
    trained: bool


@dataclass(frozen=True)
class BenchmarkTask:
    """What is measured: crops uint8 (n, H, W, 3) to time and to calibrate with; of runs, a test set and its labels."""

    name: str
    subjects: tuple[Subject, ...]
    crops: Crops
    calibration: Crops
    labels: NDArray[np.int64] | None

    @property
    def compared(self) -> Crops:
        """Those whose labels are compared: the test set, or some of the random crops."""
        return self.crops[:COMPARED] if self.labels is None else self.crops[: len(self.labels)]


@dataclass(frozen=True)
class Prepared:
    """A subject in an engine and a precision, ready to run."""

    subject: Subject
    engine: Engine
    precision: Precision
    runner: Runner

    def images(self, batch: int) -> int:
        """Those really processed: the whole stacks of `batch`, at least one."""
        stack = self.subject.cost.stack
        return whole_stacks(max(batch, stack), stack)


def prepare(
    task: BenchmarkTask,
    device: torch.device,
    *,
    engines: Sequence[Engine],
    precisions: Sequence[Precision] | None,
    threads: int,
    narrow: bool,
) -> tuple[list[Prepared], list[str]]:
    """What is measured, and notes of what cannot be. Without `precisions` those of `USUAL` that an engine has; `narrow`
    says whether slots may run as their narrow network."""
    wanted = precisions or USUAL[device.type]
    found: list[Prepared] = []
    notes = []
    able: list[tuple[Engine, Precision]] = []
    for engine in engines:
        if reason := reason_missing(engine, device):
            notes.append(f"{engine} is missing: {reason}")
            continue
        has = PRECISIONS[engine][device.type]
        able += [(engine, precision) for precision in wanted if precision in has]
        lacking = [precision for precision in wanted if precision not in has]
        if lacking and (precisions or len(lacking) == len(wanted)):
            notes.append(f"{engine} has no {', '.join(lacking)} here, but {', '.join(has)}")
    made = Engines(device, threads=threads, calibration=task.calibration)
    for subject in tqdm(task.subjects, desc="prepared", leave=False, disable=None):
        by_slot = len(available_forms(subject.network)) > 1
        for engine, precision in able:
            if engine == "fused" and by_slot and subject.form != "narrow":  # it runs slots as their narrow network
                if not narrow:
                    notes.append(f"fused {precision}, {subject.name}: it runs slots as form narrow alone")
                continue
            try:
                runner = made.prepare(engine, precision, subject.network, subject.form)
            except UserError as error:
                notes.append(f"{engine} {precision}, {subject.name}: {error}")
            else:
                found.append(Prepared(subject, engine, precision, runner))
    return found, notes


def labels_of_pytorch(network: Network, task: BenchmarkTask) -> NDArray[np.int64]:
    """In float32, of `task.compared`."""
    number = {name: label for label, name in enumerate(network.classes)}
    return np.array([number[name] for name in network.classify(task.compared)], np.int64)


def label_accuracy(
    prepared: Prepared, task: BenchmarkTask, usual: NDArray[np.int64], batch: int
) -> dict[str, float | None]:
    """The share of labels that are the `usual` ones and, of a trained network, of right ones."""
    crops, subject = task.compared, prepared.subject
    per = whole_stacks(max(batch, subject.network.fold), subject.network.fold)
    labels = np.concatenate([prepared.runner.labels(crops[at : at + per]) for at in range(0, len(crops), per)])
    right = float((labels == task.labels).mean()) if subject.trained and task.labels is not None else None
    return {"labels_as_pytorch": float((labels == usual).mean()), "accuracy": right}


def measure_seconds(
    prepared: Sequence[Prepared], crops: Crops, batch: int, *, trials: int, seconds: float, seed: int
) -> list[list[float]]:
    """Seconds that each of `prepared` takes for a batch, of every trial, which takes `seconds` at least."""
    work = [
        (each.runner.run, each.runner.place(np.ascontiguousarray(crops[: each.images(batch)]))) for each in prepared
    ]
    for run, placed in work:
        for _ in range(3):  # memory, caches, what is compiled for this size
            run(placed)
    found: list[list[float]] = [[] for _ in work]
    turns = random.Random(seed)
    for _ in tqdm(range(trials), desc=f"batch {batch}", leave=False, disable=None):
        for at in turns.sample(range(len(work)), len(work)):
            run, placed = work[at]
            run(placed)  # after another network's turn the caches hold that, and threads may sleep
            count, begun = 0, time.perf_counter()
            while (passed := time.perf_counter() - begun) < seconds or not count:
                run(placed)
                count += 1
            found[at].append(passed / count)
    return found


@contextlib.contextmanager
def pinned(cores: int | None) -> Iterator[None]:
    """Within it the process stays on so many of its cores, where the system can do that; None: on all."""
    if cores is None or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:cores])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
