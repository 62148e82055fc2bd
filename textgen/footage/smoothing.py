"""The most likely sequence of labels of neighbouring frames: the Viterbi algorithm with a model of the counter.

A reader, such as a network or an OCR engine, gives every frame a probability for each class. Neighbouring frames mostly
show the same value, so that a few wrong frames among right ones can be mended. `Kind` says what a counter may do:

- "clock": it stands still, or runs by one value in one direction, about once a second, and from its last value on to
  its first. It may pause, and be set to any value at a high cost. Whether it runs up or down is found, and may change
  when it is set. The classes may be one field of a text, such as the seconds of M:SS.
- "counter": it mostly stands still. A change costs less the more often the counter changes, which is measured, and more
  with the distance, up to a limit. Each of several changes a second is kept where the reader is sure of it.
- "none": nothing is known about it; the most likely class of each frame is taken.

The class "other", in which no counter is shown, can follow and precede every class, at a cost.

>>> scores = np.log(np.array([[0.9, 0.05, 0.05], [0.1, 0.8, 0.1], [0.9, 0.05, 0.05]], np.float32))
>>> smooth(scores, np.array([0.0, 0.1, 0.2]), ["0", "1", "2"], "clock")  # a second does not last for a tenth of one
array([0, 0, 0])
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from textgen.common.array_types import F32
from textgen.kernels.viterbi import clock_forward, counter_forward, trace_back
from textgen.spec.items import Field, Items, OptionalText
from textgen.spec.parser import Spec
from textgen.spec.values import OTHER

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]
Kind = Literal["clock", "counter", "none"]
KINDS: tuple[Kind, ...] = get_args(Kind)

LAG = 90  # frames: three seconds of video
# Costs are in nats: log-likelihoods of one frame.
DOUBT = 0.1  # the share of a uniform distribution that is mixed with the reader's: no frame is certain
CHANGES = 3.0  # of a counter, a second, as long as few were seen
SEEN = 5.0  # seconds of footage that count as much as this guess
REMEMBERED = 60.0  # seconds of footage that the frequency of changes is measured on, in a stream
SLOPE = 0.3  # of a counter's cost, a value
JUMP = 14.0  # the most that a change of a counter costs
APPEAR = {"clock": 16.0, "counter": 8.0}  # or disappear: twice this is more than a change to any value
SHORTEST = 1e-3  # seconds between frames: time stamps may repeat
STEP = 32  # frames between decisions
MOST_POINTERS = 2**26  # of the whole sequence that `smooth` keeps: 128 MB


def smooth(log_likelihoods: ArrayLike, times: ArrayLike, classes: Sequence[str], kind: Kind) -> I64:
    """Return the number of the class of each frame, int64 (n,), in the most likely sequence.

    `log_likelihoods` (n, classes) are natural logarithms of probabilities, up to a constant a frame; `times` (n,) are
    seconds, in order. Raises `ValueError` for shapes that do not fit and for values that are not numbers. The result is
    exact up to 2**26 // states frames; beyond these the decision about a frame is taken that many frames later.
    """
    seconds = np.asarray(times, np.float64)
    lag = max(LAG, min(len(seconds), MOST_POINTERS // (2 * len(classes) + 1)))
    smoother = Smoother(classes, kind, lag)
    labels: I64 = np.concatenate([smoother.push(log_likelihoods, seconds), smoother.finish()])
    if kind == "counter" and len(labels) > 1:  # again, with the frequency of its changes
        changes, elapsed = np.count_nonzero(np.diff(labels)), max(float(seconds[-1] - seconds[0]), 0)
        smoother = Smoother(classes, kind, lag, (CHANGES * SEEN + changes) / (SEEN + elapsed))
        labels = np.concatenate([smoother.push(log_likelihoods, seconds), smoother.finish()])
    return labels


class Smoother:
    """`smooth` for a stream: the label of a frame is decided when `lag` to `lag` + 31 later frames are known.

    How frames are divided into calls of `push` changes no label. It keeps what the last 2 (`lag` + 32) frames need, 2
    or 4 bytes a frame and class. How often a counter changes is measured on the labels that are decided, unless
    `changes`, per second, is given.

    >>> smoother = Smoother(["0", "1"], "counter")
    >>> smoother.push([[0.0, -9.0], [-9.0, 0.0]], [0.0, 0.5]), smoother.finish()
    (array([], dtype=int64), array([0, 1]))
    """

    def __init__(self, classes: Sequence[str], kind: Kind, lag: int = LAG, changes: float | None = None) -> None:
        if kind not in KINDS or not classes or lag < 0:
            raise ValueError(f"kind={kind!r} of {len(classes)} classes with lag={lag}")
        self.classes, self.kind, self.lag, self._given = tuple(classes), kind, lag, changes
        self._order, self._other = _sort_classes(self.classes)
        values = len(self.classes) - self._other
        # The class, as an index, of each state.
        self._class_of = self._order if kind == "counter" else np.concatenate([self._order[:values], self._order])
        self._pointers = np.empty((0 if kind == "none" else 2 * (lag + STEP), len(self._class_of)), np.int16)
        self._times = np.empty(len(self._pointers), np.float64)
        self._start()

    def push(self, log_likelihoods: ArrayLike, times: ArrayLike) -> I64:
        """Take the next frames, (n, classes) and (n,), and return the labels, as int64, of those that are decided now.

        Raises `ValueError` as `smooth` does.
        """
        scores, seconds = np.asarray(log_likelihoods), np.asarray(times, np.float64)
        if scores.shape != (*seconds.shape, len(self.classes)) or seconds.ndim != 1:
            raise ValueError(f"{scores.shape} log-likelihoods, {seconds.shape} times, {len(self.classes)} classes")
        if not np.isfinite(seconds).all() or np.isnan(scores).any():
            raise ValueError("a time or a log-likelihood is no number")
        if self.kind == "none":
            best: I64 = scores.argmax(1).astype(np.int64)
            return best
        decided = [np.empty(0, np.int64)]
        first = 0
        while first < len(scores):  # decisions are taken at every `STEP`th frame, however the frames come
            block = slice(first, first + STEP - self._taken % STEP)
            self._forward(_emissions(scores[block], self._order), seconds[block])
            if self._taken % STEP == 0:
                self._scores -= self._scores.max()  # so that hours of frames lose no precision
                if self._held > self.lag:
                    decided.append(self._decide(self._held - self.lag))
            first = block.stop
        return np.concatenate(decided)

    def finish(self) -> I64:
        """Return the labels of the frames that are still open; the smoother can then take another stream."""
        decided = self._decide(self._held)
        self._start()
        return decided

    def _start(self) -> None:
        self._scores = np.zeros(len(self._class_of), np.float64)
        self._first = self._held = 0  # the rows of `_pointers` that are in use
        self._taken = 0  # frames since the start
        self._last: float | None = None  # the time of the last frame
        self._decided: tuple[int, float] | None = None  # the last label that was decided, and its time
        self._changes, self._seconds = CHANGES * SEEN, SEEN

    def save(self) -> dict[str, NDArray[Any]]:
        """What `restore` needs to go on from here, as arrays for `numpy.savez`."""
        held = slice(self._first, self._first + self._held)
        label, time = (-1, np.nan) if self._decided is None else self._decided
        last = np.nan if self._last is None else self._last
        numbers = np.array([last, label, time, self._changes, self._seconds])
        return {
            "scores": self._scores.copy(),
            "pointers": self._pointers[held].copy(),
            "times": self._times[held].copy(),
            "numbers": numbers,
        }

    def restore(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """Go on from where a smoother of the same classes, kind and lag was when it was saved."""
        last, label, time, changes, seconds = saved["numbers"].tolist()
        self._scores, self._first, self._held = saved["scores"].copy(), 0, len(saved["times"])
        self._pointers[: self._held], self._times[: self._held] = saved["pointers"], saved["times"]
        self._last = None if np.isnan(last) else last
        self._decided = None if label < 0 else (int(label), time)
        self._changes, self._seconds = changes, seconds

    def _intervals(self, times: F64) -> F64:
        """Seconds since the frame before; -1 for the first frame of all."""
        before = times[0] if self._last is None else self._last
        intervals = np.maximum(np.diff(times, prepend=before), SHORTEST)
        if self._last is None:
            intervals[0] = -1
        self._last = float(times[-1])
        return intervals

    def _forward(self, emissions: F32, times: F64) -> None:
        """Advance the scores by at most `STEP` frames, and keep their pointers."""
        intervals = self._intervals(times)
        count = len(emissions)
        if self._first + self._held + count > len(self._pointers):
            for buffer in (self._pointers, self._times):
                buffer[: self._held] = buffer[self._first : self._first + self._held].copy()
            self._first = 0
        start = self._first + self._held
        pointers = self._pointers[start : start + count]
        self._times[start : start + count] = times
        appear = APPEAR[self.kind]
        elapsed = np.maximum(intervals, SHORTEST)
        if self.kind == "clock":
            # Errors of neighbouring frames are alike. So that none of these pass for a change, it costs more among
            # frames that follow each other quickly.
            reset = np.clip(20 - 3 * np.log(elapsed), 15, 30)
            clock_forward(self._scores, emissions, intervals, reset, appear, pointers)
        else:
            frequency = self._changes / self._seconds if self._given is None else self._given
            change = np.where(intervals < 0, -1, -np.log(np.minimum(frequency * elapsed, 0.5)))
            counter_forward(self._scores, emissions, int(self._other), change, SLOPE, JUMP, appear, pointers)
        self._held += count
        self._taken += count

    def _decide(self, count: int) -> I64:
        """Trace the best sequence back, and let go of the first `count` frames that are held."""
        states = np.empty(self._held, np.int64)
        trace_back(self._pointers[self._first : self._first + self._held], int(self._scores.argmax()), states)
        decided: I64 = self._class_of[states[:count]]
        if count and self.kind == "counter":
            self._count_changes(decided, self._times[self._first : self._first + count])
        self._first, self._held = self._first + count, self._held - count
        return decided

    def _count_changes(self, labels: I64, times: F64) -> None:
        before, since = self._decided or (int(labels[0]), float(times[0]))
        self._changes += np.count_nonzero(np.diff(labels, prepend=before))
        self._seconds += max(float(times[-1]) - since, 0)
        self._decided = int(labels[-1]), float(times[-1])
        if self._seconds > REMEMBERED:
            self._changes, self._seconds = self._changes * REMEMBERED / self._seconds, REMEMBERED


def guess_kind(spec: Spec) -> Kind:
    r"""What the label of a spec probably does: a field beside a colon is a clock's, other numbers are counters.

    Names are neither, and so are digits behind a decimal separator, which may change at every frame.

    >>> kinds = [guess_kind(Spec.parse(text, label="S")) for text in ("M:SS", "SSS / 100", "X.Sk")]
    >>> kinds, guess_kind(Spec.parse("S", label="S", fields={"S": ["win", "lose"]}))
    (['clock', 'counter', 'none'], 'none')
    """
    return guess_kinds(spec)[0]


def guess_kinds(spec: Spec) -> tuple[Kind, ...]:
    """`guess_kind` for every field of the label; "none" for optional text."""
    if not spec.is_joint:
        return (_guess_kind(spec, spec.label, spec.classes),)
    return tuple(
        _guess_kind(spec, str(label.key), label.values) if isinstance(label.key, str) else "none"
        for label in spec.labels
    )


def _guess_kind(spec: Spec, letter: str, classes: Sequence[str]) -> Kind:
    if spec.groups or not all(_number(value) is not None for value in classes if value != OTHER):
        return "none"
    at = next((n for n, item in enumerate(spec.items) if isinstance(item, Field) and item.letter == letter), None)
    if at is None:  # in optional text
        return "none"
    before, after = _flatten(spec.items[:at])[-1:], _flatten(spec.items[at + 1 :])[:1]
    if ":" in (before, after):
        return "clock"
    return "none" if before in (".", ",") and at else "counter"


def _flatten(items: Items) -> str:
    """The characters of items, optional ones included, with blanks for fields."""
    return "".join(
        item if isinstance(item, str) else _flatten(item.items) if isinstance(item, OptionalText) else " "
        for item in items
    )


def _number(name: str) -> int | None:
    return int(name) if re.fullmatch(r"-?[0-9]{1,18}", name) else None


def _sort_classes(classes: tuple[str, ...]) -> tuple[I64, bool]:
    """The numbers of the classes by value, "other" last if it is among them; as given if some are no numbers."""
    at = [number for number, name in enumerate(classes) if name != OTHER]
    values = [_number(classes[number]) for number in at]
    if None not in values:
        at = [number for _, number in sorted(zip(values, at, strict=True))]
    others = [number for number, name in enumerate(classes) if name == OTHER]
    return np.array(at + others, np.int64), bool(others)


def _emissions(scores: NDArray[np.floating], order: I64) -> F32:
    """Logarithms of probabilities, float32 (n, classes), with the classes in `order`."""
    scores = scores.astype(np.float32)
    largest = scores.max(1, keepdims=True)
    shares = np.exp(scores - np.where(np.isfinite(largest), largest, 0))
    sums = shares.sum(1, keepdims=True)
    shares = np.where(sums > 0, shares / np.where(sums > 0, sums, 1), 1 / len(order))
    emissions: F32 = np.log((1 - DOUBT) * shares[:, order] + DOUBT / len(order)).astype(np.float32)
    return emissions
