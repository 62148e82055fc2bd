"""From frames to rows: regions are cut and scaled, read in groups, smoothed, joined and put in order."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from textgen.common.array_types import F32, U8
from textgen.common.pictures import resize
from textgen.footage.field_smoothing import FieldsSmoother
from textgen.footage.frames import Frame
from textgen.footage.smoothing import LAG
from train.common.answers import Answers, answer_scores
from train.predict.predictor import UNSURE, Predictor
from train.predict.readouts import Joined, Readout
from train.predict.rows import Row

GROUP = 240  # frames that are read at once: whole stacks for fold 1 to 6
LIVE_GROUP = 12  # of a stream that is shown while it is read
LONG_LAG = 600  # frames after which a value of a file is decided
T = TypeVar("T")
Key = tuple[str, tuple[int, int]]  # a region and a size (H, W) of crops


class Clock:
    """Seconds by what they were spent on."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - started

    def wait(self, name: str, items: Iterable[T]) -> Iterator[T]:
        """The items, with the time that is spent on waiting for them; none is kept."""
        iterator = iter(items)
        while True:
            with self.measure(name):
                item = next(iterator, None)
            if item is None:
                return
            yield item
            del item


class Entry(NamedTuple):
    """What a row says of a readout, of one of its fields, "timer.S", or of a joined text."""

    name: str
    value: str
    probability: float
    smoothed: str


class FrameReading(NamedTuple):
    """What a readout knows of a frame: its entry and those of its fields, if it has several, and `Answers.presence`."""

    entries: list[Entry]
    presence: float

    def probability(self, entries: Collection[int]) -> float:
        """That of some of the entries together."""
        if 0 in entries or not self.presence:  # the whole answer
            return self.entries[0].probability
        return self.presence * math.prod(self.entries[entry].probability / self.presence for entry in entries)


class ReadoutState:
    """What one readout knows of frames whose rows are not written yet."""

    def __init__(self, readout: Readout, lag: int):
        self.readout = readout
        fields = readout.predictor.fields
        self.found = answer_scores(np.empty((0, sum(fields.sizes)), np.float32), fields)
        self.decided = np.empty((0, *fields.shape), np.int64)
        self.smoother = FieldsSmoother(fields, readout.kinds, lag) if readout.kinds else None

    def add(self, scores: F32, times: NDArray[np.float64]) -> None:
        found = answer_scores(scores, self.readout.predictor.fields)
        pairs: Iterable[tuple[NDArray[Any], NDArray[Any]]] = zip(self.found, found, strict=True)
        self.found = Answers._make(np.concatenate(pair) for pair in pairs)
        self._decide(self.smoother.push(scores, times) if self.smoother else found.labels)

    def finish(self) -> None:
        if self.smoother:
            self._decide(self.smoother.finish())

    def _decide(self, labels: NDArray[np.int64]) -> None:
        self.decided = np.concatenate([self.decided, labels])

    def forget(self, count: int) -> None:
        self.found = Answers._make(of[count:] for of in self.found)
        self.decided = self.decided[count:]

    def read(self, count: int) -> list[FrameReading]:
        """What the first `count` frames show."""
        name, predictor = self.readout.name, self.readout.predictor
        fields, frames = predictor.fields, []
        columns = (*self.found, self.decided)
        for labels, chance, each, presence, decided in zip(*(of[:count].tolist() for of in columns), strict=True):
            row = [Entry(name, predictor.name_of(labels, chance), chance, fields.name_of(decided))]
            if not fields.is_single:
                read = zip(fields.names, fields.values(labels), each, fields.values(decided), strict=True)
                row += [
                    Entry(f"{name}.{of}", value if own >= predictor.threshold else UNSURE, own, final)
                    for of, value, own, final in read
                ]
            frames.append(FrameReading(row, presence))
        return frames


class FootageReader:
    """Takes frames one after the other and gives rows, in the order of frames and readouts, joined texts last.

    Its memory does not grow. `save` and `restore` carry it over to another process, between groups of frames.
    """

    def __init__(
        self, readouts: Sequence[Readout], joined: Sequence[Joined], *, changes: bool, live: bool, clock: Clock
    ):
        self._readouts, self._joined, self._changes, self._clock = readouts, joined, changes, clock
        self.group = LIVE_GROUP if live else GROUP
        self._states = [ReadoutState(readout, LAG if live else LONG_LAG) for readout in readouts]
        self._smooths = any(readout.kinds for readout in readouts)
        self._crops: dict[Key, U8] = {}
        for readout in readouts:
            size = readout.predictor.size
            self._crops[readout.region.name, size] = np.empty((self.group, *size, 3), np.uint8)
        self._sizes = defaultdict[str, list[tuple[int, int]]](list)
        for name, size in self._crops:
            self._sizes[name].append(size)
        self._regions = {readout.region.name: readout.region for readout in readouts}
        self._frames, self._times = np.empty(0, np.int64), np.empty(0, np.float64)
        self._new: list[tuple[int, float]] = []  # frame and time of the crops that are not read yet
        self._is_warm = False
        self._shown: dict[str, str] = {}  # the value of each region in its last row
        self.counts: defaultdict[tuple[str, str], int] = defaultdict(
            int
        )  # values "unsure" and "other", and all, by name

    @property
    def is_between_groups(self) -> bool:
        return not self._new

    def add(self, frame: Frame) -> list[Row]:
        """Take a frame; return the rows that are known now."""
        if not self._is_warm:
            self._warm_up(frame)
        with self._clock.measure("crops"):
            at = len(self._new)
            for name, region in self._regions.items():
                crop = frame.crop(region)
                for size in self._sizes[name]:
                    self._crops[name, size][at] = crop if crop.shape[:2] == size else resize(crop, size)
            self._new.append((frame.index, frame.time))
        return self._read() if len(self._new) == self.group else []

    def _warm_up(self, frame: Frame) -> None:
        """Load, or compile, what is compiled when it is first called, so that its time is told apart."""
        self._is_warm = True
        with self._clock.measure("start"):
            frame.crop(self._readouts[0].region)
            for readout in self._readouts:
                if readout.kinds:
                    smoother = FieldsSmoother(readout.predictor.fields, readout.kinds, 1)
                    smoother.push(np.zeros((3, len(readout.predictor.classes)), np.float32), np.arange(3.0))
                    smoother.finish()

    def finish(self) -> list[Row]:
        """Return the rows that are left."""
        rows = self._read() if self._new else []
        with self._clock.measure("smoothing"):
            for state in self._states:
                state.finish()
        return rows + self._take_rows()

    def _read(self) -> list[Row]:
        count = len(self._new)
        times = np.array([seconds for _, seconds in self._new])
        self._frames = np.concatenate([self._frames, np.array([index for index, _ in self._new], np.int64)])
        self._times = np.concatenate([self._times, times])
        self._new = []
        scores = self._compute(count)
        with self._clock.measure("smoothing"):
            for state in self._states:
                key = state.readout.region.name, state.readout.predictor
                state.add(scores[key], times)
        return self._take_rows()

    def _compute(self, count: int) -> dict[tuple[str, Predictor], F32]:
        """The log probabilities of the new crops, one call for each network."""
        regions: dict[Predictor, list[str]] = defaultdict(list)
        for readout in self._readouts:
            if readout.region.name not in regions[readout.predictor]:
                regions[readout.predictor].append(readout.region.name)
        scores = {}
        with self._clock.measure("network"):
            for predictor, names in regions.items():
                crops = [self._crops[name, predictor.size][:count] for name in names]
                together = predictor.log_probabilities(crops[0] if len(crops) == 1 else np.concatenate(crops))
                for number, name in enumerate(names):
                    scores[name, predictor] = together[number * count : (number + 1) * count]
        return scores

    def _take_rows(self) -> list[Row]:
        """The rows of frames whose values are all decided."""
        with self._clock.measure("rows"):
            count = min(len(state.decided) for state in self._states)
            read = [state.read(count) for state in self._states]
            for state in self._states:
                state.forget(count)
            rows = []
            for at, (frame, seconds) in enumerate(
                zip(self._frames[:count].tolist(), self._times[:count].tolist(), strict=True)
            ):
                for name, value, chance, final in self._entries([of[at] for of in read]):
                    row = Row(frame, seconds, name, value, chance, final if self._smooths else None)
                    if self._is_wanted(row):
                        rows.append(row)
            self._frames, self._times = self._frames[count:], self._times[count:]
        return rows

    def _entries(self, read: Sequence[FrameReading]) -> Iterator[Entry]:
        """The entries of one frame: what every readout has `read`, and the joined texts."""
        for reading in read:
            yield from reading.entries
        for joined in self._joined:
            parts = [read[readout].entries[entry] for readout, entry in joined.parts]
            value, final = joined.join([of.value for of in parts]), joined.join([of.smoothed for of in parts])
            chances = (read[readout].probability(entries) for readout, entries in joined.by_readout.items())
            yield Entry(joined.name, value, math.prod(chances), final)

    def _is_wanted(self, row: Row) -> bool:
        self.counts[row.region, row.value if row.value in (UNSURE, "other") else ""] += 1
        if not self._changes:
            return True
        shown = row.value if row.smoothed is None else row.smoothed
        if shown == UNSURE or self._shown.get(row.region) == shown:
            return False
        self._shown[row.region] = shown
        return True

    def save(self) -> dict[str, NDArray[Any]]:
        """All that later rows depend on, as arrays."""
        assert self.is_between_groups
        arrays: dict[str, NDArray[Any]] = {"frames": self._frames, "times": self._times}
        arrays["shown"] = np.array([*self._shown.items()] or [("", "")])
        for number, state in enumerate(self._states):
            own: dict[str, NDArray[Any]] = {**state.found._asdict(), "decided": state.decided}
            if state.smoother:
                own |= {f"smoother.{name}": array for name, array in state.smoother.save().items()}
            arrays |= {f"{number}.{name}": array for name, array in own.items()}
        return arrays

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `save` returned. Raises `KeyError` for arrays of another reader."""
        self._frames, self._times = arrays["frames"], arrays["times"]
        self._shown = {name: shown for name, shown in arrays["shown"].tolist() if name}
        for number, state in enumerate(self._states):
            own = {name.partition(".")[2]: array for name, array in arrays.items() if name.startswith(f"{number}.")}
            state.found = Answers._make(own[name] for name in Answers._fields)
            state.decided = own["decided"]
            if state.smoother:
                prefix = "smoother."
                state.smoother.restore({n.removeprefix(prefix): a for n, a in own.items() if n.startswith(prefix)})
