"""From readings in the order of time to labels: which are kept, which are corrected, and which stay doubtful.

A label that is kept has to be right, since networks learn from it; one that is left out costs little. The most likely
sequence (`textgen.footage.smoothing`) is found on the readings with their confidence. Then

- a reading that is a text of the game and agrees with the sequence is kept if it is confident, or if a neighbour was
  read alike on its own;
- a reading that contradicts the sequence, or is no text of the game, is replaced where two readings before it and two
  after it are confident and alike, if a counter hardly changes there and back so quickly;
- a value that such neighbours surround and that is another one is doubtful, however confident it is;
- "no counter" is kept only within a run of confident readings of nothing;
- everything else is doubtful.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from textgen.common.array_types import F32
from textgen.footage.smoothing import Kind, smooth
from textgen.label.matching import Match, Matcher
from textgen.label.readers import Reading
from textgen.spec.values import OTHER

CONFIDENT = 0.9  # alone
SUPPORTED = 0.5  # with a neighbour that was read alike
EMPTY = 0.7  # of a reading of nothing, within a run
EMPTY_RUN = 3  # frames
MOST_REPEATED = 8  # frames that are alike and show nothing count so often at most
REACH = 1.0  # seconds between neighbours
EXPECTED = 0.3  # changes of a counter between crops, above which the one between them may be a value of its own
MOST, LEAST = 0.99, 0.3  # limits of the confidence that the sequence is found with


@dataclass(frozen=True)
class Evidence:
    """What was read in a crop, and what that stands for; also in `count` crops that are alike, from `time` to `until`.

    Times are in seconds. What is `given` by the user is certain.
    """

    time: float
    until: float
    reading: Reading
    match: Match | None
    count: int = 1
    given: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether the reader found nothing."""
        return self.match is None and self.reading.text == "" and self.reading.label is None

    @property
    def shown(self) -> str:
        """The text or class that was read, for messages."""
        return repr(self.reading.text if self.reading.text is not None else self.reading.label)


@dataclass(frozen=True)
class Decision:
    """A label, with its text, or else the reason why there is none. `corrected`: it is not what was read."""

    match: Match | None
    reason: str = ""
    corrected: bool = False


def find_match(matcher: Matcher, reading: Reading) -> Match | None:
    """What a reading stands for; a class without a text gets one of its texts, always the same."""
    if reading.label is not None:
        if reading.label != OTHER and matcher.spec.is_joint:  # the text itself
            return matcher.match_exactly(reading.label)
        text = "" if reading.label == OTHER else matcher.spec.sample(reading.label, np.random.default_rng(0))
        return Match(text, reading.label)
    return matcher.match(reading.text or "")


def decide(crops: Sequence[Evidence], classes: Sequence[str], kind: Kind) -> list[Decision]:
    """Decide about each of `crops`, which are in the order of time. With kind "none" they are no neighbours."""
    if not crops:
        return []
    scores = _log_likelihoods(crops, {name: number for number, name in enumerate(classes)})
    # Nothing to read in many frames is more evidence than in one; of a misread text the same would be wrong.
    repeats = [min(crop.count, MOST_REPEATED) if crop.is_empty else 1 for crop in crops]
    times = np.repeat([crop.time for crop in crops], repeats)
    smoothed = smooth(np.repeat(scores, repeats, 0), times, classes, kind)
    best = [classes[number] for number in smoothed[np.cumsum(repeats) - 1]]
    sequence = _Sequence(crops, best, kind)
    return [sequence.decide(at) for at in range(len(crops))]


class _Sequence:
    """Crops with the most likely class of each."""

    def __init__(self, crops: Sequence[Evidence], best: Sequence[str], kind: Kind) -> None:
        self._crops, self._best, self._kind = crops, best, kind
        self._agrees = [_is_sure(crop, label) for crop, label in zip(crops, best, strict=True)]
        changes = sum(one != two for one, two in pairwise(best))
        self._frequency = changes / max(crops[-1].until - crops[0].time, REACH) if kind == "counter" else 0.0

    def decide(self, at: int) -> Decision:
        crop, label = self._crops[at], self._best[at]
        if crop.given and crop.match:
            return Decision(crop.match)
        if crop.is_empty:
            return self._decide_empty(at)
        around = self._find_around(at)
        if crop.match and crop.match.label == label:
            return self._decide_agreeing(at, crop.match, around)
        problem = f"reads {crop.shown}" + ", which the game cannot show" * (crop.match is None)
        if around and around.label == label:
            return Decision(around, f"{problem}, between crops that read {around.text!r}", corrected=True)
        return Decision(None, problem if crop.match is None else f"{problem}, against its neighbours")

    def _decide_agreeing(self, at: int, match: Match, around: Match | None) -> Decision:
        """About a crop that was read as the sequence has it; `around` is what its neighbours show."""
        crop = self._crops[at]
        if around and around.label != match.label:
            return Decision(None, f"reads {crop.shown}, alone between crops that read {around.text!r}")
        neighbours = [n for n in (at - 1, at + 1) if self._is_near(at, n)]
        alike = any(self._agrees[n] and self._best[n] == match.label for n in neighbours)
        if crop.reading.confidence >= CONFIDENT or (alike and crop.reading.confidence >= SUPPORTED):
            return Decision(match)
        return Decision(
            None, f"reads {crop.shown}, but is not sure" + ", and no neighbour reads alike" * bool(neighbours)
        )

    def _is_near(self, at: int, other: int) -> bool:
        """Whether `other` is a crop of the sequence, close to the crop `at`."""
        if self._kind == "none" or not 0 <= other < len(self._crops):
            return False
        first, last = sorted((at, other))
        return self._crops[last].time - self._crops[first].until <= REACH

    def _find_around(self, at: int) -> Match | None:
        """The text that two confident crops before and two after show alike, if the crop `at` must show it as well.

        Crops that are not confident are passed over, others end the search. None if there is no such text.
        """
        found: list[int] = []
        for step in (-1, 1):
            seen, n = 0, at + step
            while seen < 2 and self._is_near(at, n):
                if self._agrees[n]:
                    found.append(n)
                    seen += 1
                elif self._best[n] != self._best[at + step]:
                    return None
                n += step
            if seen < 2:
                return None
        matches = {match for n in found if (match := self._crops[n].match)}
        apart = self._crops[found[2]].time - self._crops[found[0]].until
        return matches.pop() if len(matches) == 1 and apart * self._frequency <= EXPECTED else None

    def _decide_empty(self, at: int) -> Decision:
        """About a crop in which nothing was read: it shows no counter if this goes on for some frames."""
        first = last = at
        while first > 0 and self._best[first - 1] == OTHER:
            first -= 1
        while last + 1 < len(self._crops) and self._best[last + 1] == OTHER:
            last += 1
        run = sum(crop.count for crop in self._crops[first : last + 1] if crop.is_empty)
        if self._best[at] != OTHER or run < min(EMPTY_RUN, sum(crop.count for crop in self._crops)):
            return Decision(None, "nothing was read, unlike in its neighbours")
        if self._crops[at].reading.confidence < EMPTY:
            return Decision(None, "nothing was read, but the reader is not sure")
        return Decision(Match("", OTHER))


def _is_sure(crop: Evidence, label: str) -> bool:
    """Whether a crop was read as `label` with confidence, so that it speaks for its neighbours."""
    return crop.match is not None and crop.match.label == label and (crop.given or crop.reading.confidence >= SUPPORTED)


def _log_likelihoods(crops: Sequence[Evidence], number: dict[str, int]) -> F32:
    """Logarithms of the probability of each class, (n, classes): uniform where a reading says nothing."""
    count = len(number)
    shares = np.full((len(crops), count), 1 / count)
    for row, crop in zip(shares, crops, strict=True):
        label = crop.match.label if crop.match else OTHER if crop.is_empty else None
        if label is not None and label in number and count > 1:
            chance = min(max(crop.reading.confidence, LEAST), MOST)
            row[:] = (1 - chance) / (count - 1)
            row[number[label]] = chance
    scores: F32 = np.log(shares).astype(np.float32)
    return scores
