"""Time networks in engines, in turns in one process, from the same crops to probabilities."""

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
from train.bench.task import BenchmarkTask, Subject
from train.common.answers import same
from train.folding.arithmetic import whole_stacks
from train.inference.classifier import available_forms
from train.inference.engines import PRECISIONS, Engine, Engines, Precision, Runner, reason_missing
from train.inference.network import CropArray, Network

DEFAULT_PRECISIONS: dict[str, tuple[Precision, ...]] = {"cpu": ("fp32", "int8", "int16"), "cuda": ("fp16",)}


@dataclass(frozen=True)
class Prepared:
    """A subject in an engine and a precision, ready to run."""

    subject: Subject
    engine: Engine
    precision: Precision
    runner: Runner

    def images(self, batch: int) -> int:
        """The number of images processed: the complete stacks of `batch`, at least one stack."""
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
    """Prepare every subject in every engine and precision; and notes on what cannot be measured.

    Without `precisions`, those of DEFAULT_PRECISIONS that an engine has. `narrow`: whether the narrow form is wanted.
    """
    wanted = precisions or DEFAULT_PRECISIONS[device.type]
    prepared: list[Prepared] = []
    notes = []
    available: list[tuple[Engine, Precision]] = []
    for engine in engines:
        if reason := reason_missing(engine, device):
            notes.append(f"{engine} is missing: {reason}")
            continue
        supported = PRECISIONS[engine][device.type]
        available += [(engine, precision) for precision in wanted if precision in supported]
        lacking = [precision for precision in wanted if precision not in supported]
        if lacking and (precisions or len(lacking) == len(wanted)):
            notes.append(f"{engine} has no {', '.join(lacking)} here, but {', '.join(supported)}")
    loaded = Engines(device, threads=threads, calibration=task.calibration)
    for subject in tqdm(task.subjects, desc="prepared", leave=False, disable=None):
        has_slots = len(available_forms(subject.network)) > 1
        for engine, precision in available:
            if engine == "fused" and has_slots and subject.form != "narrow":  # it runs slots as their narrow network
                if not narrow:
                    notes.append(f"fused {precision}, {subject.name}: it runs slots only in the form narrow")
                continue
            try:
                runner = loaded.prepare(engine, precision, subject.network, subject.form)
            except UserError as error:
                notes.append(f"{engine} {precision}, {subject.name}: {error}")
            else:
                prepared.append(Prepared(subject, engine, precision, runner))
    return prepared, notes


def reference_labels(network: Network, task: BenchmarkTask) -> NDArray[np.int64]:
    """The labels of `task.compared` by PyTorch in float32."""
    return network.find_labels(task.compared)


def measure_labels(
    prepared: Prepared, task: BenchmarkTask, reference: NDArray[np.int64], batch: int
) -> dict[str, float | None]:
    """The share of labels that equal the `reference`, and the accuracy of a trained network."""
    crops, subject = task.compared, prepared.subject
    count = whole_stacks(max(batch, subject.network.fold), subject.network.fold)
    labels = np.concatenate([prepared.runner.labels(crops[at : at + count]) for at in range(0, len(crops), count)])
    accuracy = float(same(labels, task.labels).mean()) if subject.trained and task.labels is not None else None
    return {"labels_as_pytorch": float(same(labels, reference).mean()), "accuracy": accuracy}


def measure_seconds(
    prepared: Sequence[Prepared], crops: CropArray, batch: int, *, trials: int, seconds: float, seed: int
) -> list[list[float]]:
    """Seconds for a batch, (prepared, trials). Every trial repeats the batch for at least `seconds` seconds."""
    calls = [
        (each.runner.run, each.runner.place(np.ascontiguousarray(crops[: each.images(batch)]))) for each in prepared
    ]
    for run, placed in calls:
        for _ in range(3):  # warm up: memory, caches, code compiled for this size
            run(placed)
    times: list[list[float]] = [[] for _ in calls]
    order = random.Random(seed)
    for _ in tqdm(range(trials), desc=f"batch {batch}", leave=False, disable=None):
        for at in order.sample(range(len(calls)), len(calls)):
            run, placed = calls[at]
            run(placed)  # refill the caches and wake the threads after another network's turn
            count, started = 0, time.perf_counter()
            while (elapsed := time.perf_counter() - started) < seconds or not count:
                run(placed)
                count += 1
            times[at].append(elapsed / count)
    return times


@contextlib.contextmanager
def pin_process(cores: int | None) -> Iterator[None]:
    """Within the context the process stays on `cores` of its cores, if the system supports it; None: on all."""
    if cores is None or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:cores])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
