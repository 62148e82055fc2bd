"""From readings in the order of time to labels: which are kept, which are corrected, and which stay doubtful.

A label that is kept has to be right, since networks learn from it; one that is left out costs little. The most likely
sequence (`textgen.footage.smoothing`) is found on the readings with their confidence. Then

- a reading that is a text of the game and agrees with the sequence is kept if it is confident, or if a neighbour was
  read alike on its own;
- a reading that contradicts the sequence, or is no text of the game, is replaced where the readings before and after it
  are confident and alike;
- "no counter" is kept only within a run of confident readings of nothing;
- everything else is doubtful.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from textgen.common.array_types import F32
from textgen.footage.smoothing import F64, Kind, smooth
from textgen.label.matching import Match, Matcher
from textgen.label.readers import Reading
from textgen.spec.values import OTHER

CONFIDENT = 0.9  # alone
SUPPORTED = 0.5  # with a neighbour that was read alike
EMPTY = 0.7  # of a reading of nothing, within a run
EMPTY_RUN = 3  # frames
MOST_REPEATED = 8  # frames that are alike and show nothing count so often at most
REACH = 1.0  # seconds between neighbours
MOST, LEAST = 0.99, 0.3  # limits of the confidence that the sequence is found with


@dataclass(frozen=True)
class Evidence:
    """A crop of the sequence: its seconds, what was read, and what that stands for.

    It stands for `count` crops that are alike. What is `given` by the user is certain.
    """

    time: float
    reading: Reading
    match: Match | None
    count: int = 1
    given: bool = False

    @property
    def is_empty(self) -> bool:
        return self.match is None and self.reading.text == "" and self.reading.label is None


@dataclass(frozen=True)
class Decision:
    """A label, with its text, or else the reason why there is none. `corrected`: it is not what was read."""

    match: Match | None
    reason: str = ""
    corrected: bool = False


def find_match(matcher: Matcher, reading: Reading) -> Match | None:
    """What a reading stands for; a class without a text gets one of its texts, always the same."""
    if reading.label is not None:
        text = "" if reading.label == OTHER else matcher.spec.sample(reading.label, np.random.default_rng(0))
        return Match(text, reading.label)
    return matcher.match(reading.text or "")


def decide(crops: Sequence[Evidence], classes: Sequence[str], kind: Kind) -> list[Decision]:
    """Decide about each of `crops`, which are in the order of time."""
    if not crops:
        return []
    times = np.array([crop.time for crop in crops])
    scores = _log_likelihoods(crops, {name: number for number, name in enumerate(classes)})
    # Nothing to read in many frames is more evidence than in one; of a misread text the same would be wrong.
    repeats = [min(crop.count, MOST_REPEATED) if crop.is_empty else 1 for crop in crops]
    smoothed = smooth(np.repeat(scores, repeats, 0), np.repeat(times, repeats), classes, kind)
    best = [classes[number] for number in smoothed[np.cumsum(repeats) - 1]]
    agrees = [_is_sure(crop, label) for crop, label in zip(crops, best, strict=True)]
    return [_decide_one(crops, best, agrees, at, times, kind) for at in range(len(crops))]


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


def _is_sure(crop: Evidence, label: str) -> bool:
    """Whether a crop was read as `label` with confidence, so that it speaks for its neighbours."""
    return crop.match is not None and crop.match.label == label and (crop.given or crop.reading.confidence >= SUPPORTED)


def _decide_one(
    crops: Sequence[Evidence], best: Sequence[str], agrees: Sequence[bool], at: int, times: F64, kind: Kind
) -> Decision:
    crop, label = crops[at], best[at]
    if crop.given and crop.match:
        return Decision(crop.match)
    if crop.is_empty:
        return _decide_empty(crops, best, at)
    shown = crop.reading.text if crop.reading.text is not None else crop.reading.label
    confidence = crop.reading.confidence
    near = [
        n for n in (at - 1, at + 1) if kind != "none" and 0 <= n < len(crops) and abs(times[n] - times[at]) <= REACH
    ]
    if crop.match and crop.match.label == label:
        alike = any(agrees[n] and best[n] == label for n in near)
        if confidence >= CONFIDENT or (alike and confidence >= SUPPORTED):
            return Decision(crop.match)
        return Decision(None, f"reads {shown!r}, but is not sure" + (", and no neighbour reads alike" if near else ""))
    problem = f"reads {shown!r}, which the game cannot show" if crop.match is None else f"reads {shown!r}"
    source = _find_agreement(crops, best, agrees, at, times) if len(near) == 2 else None
    if source is None:
        return Decision(None, problem if crop.match is None else f"{problem}, against its neighbours")
    return Decision(source, f"{problem}, between crops that read {source.text!r}", corrected=True)


def _find_agreement(
    crops: Sequence[Evidence], best: Sequence[str], agrees: Sequence[bool], at: int, times: F64
) -> Match | None:
    """The text that two crops before and two after, all within reach, show alike; None if they do not."""
    found: list[Match | None] = []
    for step in (-1, 1):
        seen = 0
        n = at + step
        while 0 <= n < len(crops) and abs(times[n] - times[at]) <= REACH and best[n] == best[at] and seen < 2:
            if agrees[n]:
                found.append(crops[n].match)
                seen += 1
            n += step
        if seen < 2:
            return None
    return found[0] if len({match.text for match in found if match}) == 1 else None


def _decide_empty(crops: Sequence[Evidence], best: Sequence[str], at: int) -> Decision:
    """About a crop in which nothing was read: it shows no counter if this goes on for some frames."""
    first = last = at
    while first > 0 and best[first - 1] == OTHER:
        first -= 1
    while last + 1 < len(crops) and best[last + 1] == OTHER:
        last += 1
    run = sum(crop.count for crop in crops[first : last + 1] if crop.is_empty)
    if best[at] != OTHER or run < min(EMPTY_RUN, sum(crop.count for crop in crops)):
        return Decision(None, "nothing was read, unlike in its neighbours")
    if crops[at].reading.confidence < EMPTY:
        return Decision(None, "nothing was read, but the reader is not sure")
    return Decision(Match("", OTHER))
