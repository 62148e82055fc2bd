"""The cascade itself: frames in, answers out, in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from textgen.footage.frames import Frame
from textgen.frames.settings import CLASSES
from train.cascade.networks import CascadeNetwork
from train.cascade.reference import Reference
from train.cascade.thresholds import FORWARDED, PRESENT, Thresholds
from train.predict.reading import Clock

MAX_WAITING = 1 << 16  # answers that wait for the reference: it is then called with fewer frames than `reference_batch`
NETWORK, REFERENCE, COMPARISON, PREPARING = "network", "reference", "comparison", "preparing"  # of a `Clock`


class Answer(NamedTuple):
    """The answer for a frame: a class. `probability` is the network's of "present", whoever decided."""

    frame: int
    time: float
    answer: str
    probability: float
    decided_by: str


@dataclass
class Counts:
    """What a cascade has counted. Those of the comparison are of the frames that the network decided."""

    frames: int = 0
    forwarded: int = 0
    present: int = 0
    compared: int = 0
    missed: int = 0  # the network says absent, the reference present
    false_alarms: int = 0  # the network says present, the reference absent
    reference_present: int = 0  # of the frames compared


@dataclass(slots=True)
class _Waiting:
    """A frame whose answer is not given out yet; `frame` is there only while the reference may need it."""

    index: int
    time: float
    probability: float
    decision: int
    frame: Frame | None
    decided_by: str = NETWORK


class Cascade:
    """A network in front of a reference.

    Frames go through the network in batches of its size. Those between the thresholds are kept until the reference is
    called with `reference_batch` of them. With `compare`, the reference answers the others, too, and `counts` tells how
    often it agrees; the answers stay the cascade's. At most the frames of a batch and of a reference batch are kept.
    `clock` is given the seconds of each part.
    """

    def __init__(
        self,
        network: CascadeNetwork,
        thresholds: Thresholds,
        reference: Reference,
        *,
        reference_batch: int,
        compare: bool,
        clock: Clock,
    ):
        self.network, self.thresholds, self.reference = network, thresholds, reference
        self.counts = Counts()
        self._reference_batch, self._compare, self._clock = reference_batch, compare, clock
        self._waiting: deque[_Waiting] = deque()  # in the order of frames
        self._forwarded: list[_Waiting] = []  # those of them that the reference has to answer

    def run(self, frames: Iterable[Frame]) -> Iterator[Answer]:
        """The answers of all frames, in their order. Raises `UserError` for one that the reference cannot answer."""
        prepared = np.empty((self.network.batch, *self.network.size, 3), np.uint8)
        group: list[_Waiting] = []
        for frame in frames:
            self.reference.check(frame.index)
            with self._clock.measure(PREPARING):
                prepared[len(group)] = self.network.prepare(frame)
            kept = frame if self.reference.needs_pixels else None
            group.append(_Waiting(frame.index, frame.time, 0.0, FORWARDED, kept))
            del frame, kept  # its pixels are needed no more, unless they are kept
            if len(group) == len(prepared):
                yield from self._decide(group, prepared)
                group = []
        if group:
            yield from self._decide(group, prepared[: len(group)])
        self._call_reference()
        yield from self._ready()

    def _decide(self, group: list[_Waiting], prepared: np.ndarray) -> Iterator[Answer]:
        """Classify the frames of a batch; give out what is decided."""
        with self._clock.measure(NETWORK):
            probabilities = self.network.probabilities(prepared)
            decisions = self.thresholds.decide(probabilities)
        for each, probability, decision in zip(group, probabilities.tolist(), decisions.tolist(), strict=True):
            each.probability, each.decision = probability, decision
        if self._compare:
            self._call_for_comparison([each for each in group if each.decision != FORWARDED])
        self.counts.frames += len(group)
        for each in group:
            self._waiting.append(each)
            if each.decision != FORWARDED:
                each.frame = None
                continue
            self._forwarded.append(each)
            self.counts.forwarded += 1
            if len(self._forwarded) == self._reference_batch:
                self._call_reference()
        if len(self._waiting) > MAX_WAITING:
            self._call_reference()
        yield from self._ready()

    def _call_reference(self) -> None:
        """Let the reference answer what is forwarded."""
        for each, present in zip(self._forwarded, self._ask(self._forwarded, REFERENCE), strict=True):
            each.decision, each.decided_by, each.frame = int(present), REFERENCE, None
        self._forwarded = []

    def _call_for_comparison(self, decided: Sequence[_Waiting]) -> None:
        for at in range(0, len(decided), self._reference_batch):
            part = decided[at : at + self._reference_batch]
            for each, present in zip(part, self._ask(part, COMPARISON), strict=True):
                self.counts.compared += 1
                self.counts.reference_present += present
                self.counts.missed += present and each.decision != PRESENT
                self.counts.false_alarms += not present and each.decision == PRESENT

    def _ask(self, waiting: Sequence[_Waiting], what: str) -> list[bool]:
        """The reference's answers. Converting the pixels of frames is not its time."""
        if not waiting:
            return []
        with self._clock.measure(PREPARING):
            frames = [each.frame.rgb() for each in waiting if each.frame is not None]
        with self._clock.measure(what):
            return self.reference.answer([each.index for each in waiting], frames)

    def _ready(self) -> Iterator[Answer]:
        """The answers up to the first frame that waits for the reference."""
        while self._waiting and self._waiting[0].decision != FORWARDED:
            each = self._waiting.popleft()
            self.counts.present += each.decision == PRESENT
            yield Answer(each.index, each.time, CLASSES[each.decision], each.probability, each.decided_by)
