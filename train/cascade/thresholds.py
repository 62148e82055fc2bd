"""Between which probabilities a network is unsure, so that its errors stay below targets with a given confidence."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.metrics.binomial import least_trials, most_errors, upper_bound

F64 = NDArray[np.float64]
Flags = NDArray[np.bool_]
ABSENT, PRESENT, FORWARDED = 0, 1, 2  # decisions; the first two are the classes


@dataclass(frozen=True)
class Thresholds:
    """With the probability p of "present", a frame is absent if p < low, present if p >= high, and forwarded between.

    low <= high. low=0: nothing is absent without the reference; high=inf: nothing is present without it.
    """

    low: float
    high: float

    def decide(self, present: F64) -> NDArray[np.int8]:
        """`ABSENT`, `PRESENT` or `FORWARDED` for probabilities of "present", (n,) -> int8 (n,)."""
        decisions = np.full(len(present), FORWARDED, np.int8)
        decisions[present >= self.high] = PRESENT
        decisions[present < self.low] = ABSENT
        return decisions

    def to_dict(self) -> dict[str, Any]:
        """`high` is null where it is infinite: JSON has no such number."""
        return {"low": self.low, "high": None if math.isinf(self.high) else self.high}


@dataclass(frozen=True)
class Promise:
    """What thresholds must hold: a rate of missed frames (answered absent) among those with the object of at most `fn`,
    and of false alarms (answered present) among those without it of at most `fp`, both with the `confidence` together.
    """

    fn: float
    fp: float
    confidence: float

    @property
    def alpha(self) -> float:
        """The probability that one of the two rates is exceeded: half of what the confidence leaves."""
        return (1 - self.confidence) / 2


@dataclass(frozen=True)
class Rate:
    """`errors` in `n` frames, and the upper bound of their rate at the confidence of a `Promise`."""

    errors: int
    n: int
    bound: float

    @property
    def rate(self) -> float | None:
        """None without frames."""
        return self.errors / self.n if self.n else None

    def to_dict(self) -> dict[str, Any]:
        return {"errors": self.errors, "frames": self.n, "rate": self.rate, "bound": self.bound}


def measure_rates(thresholds: Thresholds, present: F64, truth: Flags, promise: Promise) -> tuple[Rate, Rate]:
    """The rates of missed frames and of false alarms, for probabilities of "present" and the `truth`, (n,) each."""
    decisions = thresholds.decide(present)
    counts = (
        (int((decisions[truth] == ABSENT).sum()), int(truth.sum())),
        (int((decisions[~truth] == PRESENT).sum()), int((~truth).sum())),
    )
    missed, alarms = (Rate(errors, n, upper_bound(errors, n, promise.alpha)) for errors, n in counts)
    return missed, alarms


def fit_thresholds(present: F64, truth: Flags, promise: Promise) -> tuple[Thresholds, list[str]]:
    """The thresholds that forward the fewest frames and hold the `promise`; and lines about classes with few frames.

    `present` are the probabilities of "present" on labelled frames, `truth` whether the object is there, (n,) each. The
    frames count as independent; see `thin` in docs/reference/cascade.md.

    `low` is the largest threshold at which the exact upper bound (Clopper and Pearson) of the rate of missed frames is
    at most `fn`, and so it is at all smaller ones. `high` is the smallest one for false alarms and `fp`. Each bound has
    the confidence 1 - `promise.alpha`, so that both hold with `promise.confidence`. Choosing a threshold among all
    needs no correction: errors only grow as their threshold becomes less cautious, so that a chosen threshold that
    breaks the target means that the bound was met at every one between it and the first that does, in the population;
    and that is one fixed threshold (fixed-sequence testing). Frames with the same probability are all on one side.

    Where so few frames cannot show a target, everything on that side is forwarded: low=0, high=inf.
    """
    with_object, without = np.sort(present[truth]), np.sort(present[~truth])[::-1]
    misses = most_errors(len(with_object), promise.fn, promise.alpha) if len(with_object) else -1
    alarms = most_errors(len(without), promise.fp, promise.alpha) if len(without) else -1
    low = float(with_object[misses]) if misses >= 0 else 0.0  # strictly below it: at most `misses` frames
    high = float(np.nextafter(without[alarms], np.inf)) if alarms >= 0 else math.inf
    if low > high:  # both hold at every threshold between: take the most likely class, as far as they allow
        low = high = min(max(0.5, high), low)
    notes = []
    for name, rows, found, target in (
        ("absent", with_object, misses, promise.fn),
        ("present", without, alarms, promise.fp),
    ):
        if found < 0:
            what = "with" if name == "absent" else "without"
            notes.append(
                f"nothing is answered {name} by the network: {len(rows)} validation frames {what} the object count, and"
                f" a rate of {target:.2%} needs {least_trials(target, promise.alpha)}"
            )
    return Thresholds(low, high), notes
