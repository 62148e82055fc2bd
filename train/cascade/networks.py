"""A network of a cascade: probabilities of "present", how long they take, and its figures on labelled frames."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textgen.common.array_types import U8
from textgen.common.errors import UserError
from textgen.frames.preparation import Preparation
from textgen.frames.settings import CLASSES
from train.cascade.thresholds import (
    F64,
    FORWARDED,
    PRESENT,
    Flags,
    Promise,
    Rate,
    Thresholds,
    fit_thresholds,
    measure_rates,
)
from train.data.tasks import TaskData
from train.inference.network_file import weights_path
from train.metrics.binomial import upper_bound
from train.predict.predictor import Engine, Predictor
from train.runs.finished_runs import load_config

ROUNDS = 9  # in which the latencies of networks are measured in turns
SECONDS = 0.02  # that a network has in each round, at least


def spread(n: int, f: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """In which order `n` consecutive frames fill stacks of `f`, and at which place of that order each frame is.

    Of s = ⌈n / f⌉ stacks, stack j takes frames j, j + s, j + 2s, …: frames of a stack are as far apart in time as the
    batch allows. Training stacks are random, and neighbouring frames are almost the same picture, so stacks of
    neighbours would be unlike any that the network was trained on. The last frame fills up what is missing.

    >>> order, places = spread(7, 3)
    >>> order.tolist(), places.tolist()
    ([0, 3, 6, 1, 4, 6, 2, 5, 6], [0, 3, 6, 1, 4, 7, 2])
    """
    stacks = -(-n // f)
    order = np.minimum(np.arange(stacks)[:, None] + stacks * np.arange(f), max(n - 1, 0)).ravel()
    frames = np.arange(n)
    return order, frames % stacks * f + frames // stacks if n else frames


class CascadeNetwork:
    """A trained run of a video task.

    `size` (H, W) is that of prepared frames, `fold` the number of frames in a stack, `engine` what runs it. `batch`
    frames go through it at once, a multiple of `fold`.
    """

    def __init__(self, run: Path, *, engine: Engine, device: str, threads: int, batch: int):
        """Raises `UserError` for what is no run of a video task, and a `batch` of less than one stack."""
        self._predictor = Predictor.load(run, engine=engine, device=device, threads=threads, threshold=0, prepared=True)
        self.run, self.fold, self.engine = run, self._predictor.fold, self._predictor.engine
        if self._predictor.classes != CLASSES:
            shown = ", ".join(self._predictor.classes[:4])
            raise UserError(
                f"run={run} reads {self._predictor.name}, with {len(self._predictor.classes)} classes ({shown}, …): a"
                f" cascade needs a run of a video task, which has {' and '.join(CLASSES)}"
            )
        self.size = self._predictor.size
        folder = weights_path(run).parent
        region = (load_config(folder).get("task") or {}).get("region")
        self.prepare = Preparation.of_run(folder, self.size, region)
        self.set_batch(batch)

    def set_batch(self, batch: int) -> None:
        """Put at most `batch` frames through the network at once, in whole stacks. Raises `UserError`."""
        if batch < self.fold:
            raise UserError(f"batch={batch} is less than a stack of {self.fold} frames: give batch={self.fold} or more")
        self.batch = batch // self.fold * self.fold

    def probabilities(self, frames: U8) -> F64:
        """The probability of "present", float64 (n,), of prepared frames uint8 (n, H, W, 3) in order of time.

        Each `batch` of them, and the rest, is put in stacks by `spread`.
        """
        parts = [self._classify(frames[at : at + self.batch]) for at in range(0, len(frames), self.batch)]
        return np.concatenate(parts) if parts else np.empty(0)

    def _classify(self, frames: U8) -> F64:
        if self.fold > 1:
            order, places = spread(len(frames), self.fold)
            found = self._predictor.log_probabilities(frames[order])[places, PRESENT]
        else:
            found = self._predictor.log_probabilities(frames)[:, PRESENT]
        present: F64 = np.exp(found.astype(np.float64))
        return present


def measure_latencies(networks: Sequence[CascadeNetwork], frames: U8) -> list[float]:
    """T_s of each network: seconds a frame in batches of its size, without decoding and preparation.

    `frames` are prepared, uint8 (n, H, W, 3), and are repeated if they are fewer than a batch. The networks take turns,
    so that other load on the machine slows all of them; of the rounds the median counts.
    """
    batches = [np.resize(frames, (network.batch, *frames.shape[1:])) for network in networks]
    for network, batch in zip(networks, batches, strict=True):  # code is compiled, memory is touched
        network.probabilities(batch)
    found: list[list[float]] = [[] for _ in networks]
    for _ in range(ROUNDS):
        for seconds, network, batch in zip(found, networks, batches, strict=True):
            started, passes = time.perf_counter(), 0
            while not passes or time.perf_counter() - started < SECONDS:
                network.probabilities(batch)
                passes += 1
            seconds.append((time.perf_counter() - started) / (passes * len(batch)))
    return [statistics.median(seconds) for seconds in found]


@dataclass(frozen=True)
class LabelledFrames:
    """Probabilities of "present", float64 (n,), and whether the object is there by the labels, bool (n,)."""

    probabilities: F64
    truth: Flags

    @property
    def accuracy(self) -> float:
        """Of the network alone, which answers with the more likely class."""
        return float(((self.probabilities >= 0.5) == self.truth).mean())

    def forwarded(self, thresholds: Thresholds) -> float:
        """The share that a cascade forwards, u."""
        return float((thresholds.decide(self.probabilities) == FORWARDED).mean())

    def cascade_accuracy(self, thresholds: Thresholds) -> float:
        """Of a cascade whose reference answers as the labels say."""
        decisions = thresholds.decide(self.probabilities)
        return float(((decisions == FORWARDED) | (decisions == self.truth)).mean())

    def thinned(self, thin: int) -> LabelledFrames:
        """Every `thin`-th frame."""
        return LabelledFrames(self.probabilities[::thin], self.truth[::thin])

    def describe(self, thresholds: Thresholds, promise: Promise, thin: int) -> dict[str, Any]:
        """All figures; rates are of all frames, their bounds of every `thin`-th."""
        few = self.thinned(thin)
        all_rates = measure_rates(thresholds, self.probabilities, self.truth, promise)
        thin_rates = measure_rates(thresholds, few.probabilities, few.truth, promise)
        return {
            "frames": len(self.truth),
            "present": float(self.truth.mean()),
            "forwarded": self.forwarded(thresholds),
            "network_accuracy": self.accuracy,
            "cascade_accuracy": self.cascade_accuracy(thresholds),
            "missed": _describe_rate(all_rates[0], thin_rates[0]),
            "false_alarms": _describe_rate(all_rates[1], thin_rates[1]),
        }


def _describe_rate(all_frames: Rate, thinned: Rate) -> dict[str, Any]:
    return {
        "errors": all_frames.errors,
        "of": all_frames.n,
        "rate": all_frames.rate,
        "bound": thinned.bound,
        "bound_errors": thinned.errors,
        "bound_of": thinned.n,
    }


@dataclass(frozen=True)
class FittedNetwork:
    """A network with the thresholds that its validation frames allow, and its labelled frames."""

    network: CascadeNetwork
    thresholds: Thresholds
    notes: tuple[str, ...]
    val: LabelledFrames
    test: LabelledFrames

    def describe(self, promise: Promise, thin: int) -> dict[str, Any]:
        splits = {"validation": self.val, "test": self.test}
        figures = {name: frames.describe(self.thresholds, promise, thin) for name, frames in splits.items()}
        return {
            "run": str(self.network.run),
            "fold": self.network.fold,
            "engine": self.network.engine,
            "batch": self.network.batch,
            "thresholds": self.thresholds.to_dict(),
            "notes": [*self.notes, *_note_broken(figures["test"], promise)],
            **figures,
        }


def _note_broken(test: Mapping[str, Any], promise: Promise) -> list[str]:
    """A line for each target that the test frames do not hold, if that is no chance: by the lower bound of the rate."""
    notes = []
    for key, name, target in (("missed", "missed frames", promise.fn), ("false_alarms", "false alarms", promise.fp)):
        errors, n = test[key]["bound_errors"], test[key]["bound_of"]
        if 1 - upper_bound(n - errors, n, promise.alpha) > target:
            notes.append(
                f"the test frames have {test[key]['rate']:.2%} {name}, more than the {target:.2%} allowed: they are"
                " unlike the validation frames, and so may other footage be"
            )
    return notes


def fit_network(network: CascadeNetwork, data: TaskData, promise: Promise, thin: int) -> FittedNetwork:
    """Classify the validation and test frames of a run, in order of time, and fit thresholds.

    Stacks are formed as in footage, so that the probabilities are those that the cascade will see. `thin` is that of
    `LabelledFrames.thinned`.
    """
    val, test = (
        LabelledFrames(network.probabilities(split.images.numpy()), split.labels.numpy().astype(np.bool_))
        for split in (data.val, data.tests["test"])
    )
    few = val.thinned(thin)
    thresholds, notes = fit_thresholds(few.probabilities, few.truth, promise)
    if notes and thin > 1:
        notes.append(f"one frame in {thin} counts; more footage, a larger fn= or fp=, or a smaller thin= would do")
    return FittedNetwork(network, thresholds, tuple(notes), val, test)
