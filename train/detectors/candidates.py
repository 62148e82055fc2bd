"""Boxes before they are detections: which of them overlap another of their class, and what they are called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from textgen.common.array_types import F32
from train.detectors.detection import Detection

MAX_CANDIDATES = 10_000  # boxes of a frame that are compared with each other, the most likely ones
MAX_DETECTIONS = 1000  # of a frame


@dataclass(frozen=True)
class Candidates:
    """Boxes float32 (n, 4) as xmin, ymin, xmax, ymax, their scores float32 (n,) and classes int64 (n,)."""

    boxes: F32
    scores: F32
    classes: NDArray[np.int64]

    def take(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> Candidates:
        return Candidates(self.boxes[chosen], self.scores[chosen], self.classes[chosen])

    def at_least(self, confidence: float) -> Candidates:
        """The finite boxes with a score of at least `confidence`, the most likely first."""
        kept = self.take((self.scores >= confidence) & np.isfinite(self.boxes).all(1) & np.isfinite(self.scores))
        return kept.take(np.argsort(-kept.scores, kind="stable")[:MAX_CANDIDATES])


def suppress(candidates: Candidates, overlap: float) -> Candidates:
    """Non-maximum suppression, class by class: a box goes if it shares more than `overlap` (intersection over union)
    with a more likely one of its class."""
    if len(candidates.scores) == 0:
        return candidates
    boxes = candidates.boxes.astype(np.float64)
    sizes = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)
    kept = cv2.dnn.NMSBoxesBatched(
        sizes.tolist(), candidates.scores.tolist(), candidates.classes.tolist(), 0.0, overlap, top_k=MAX_CANDIDATES
    )
    order = np.asarray(kept, np.int64).reshape(-1)
    return candidates.take(order[np.argsort(-candidates.scores[order], kind="stable")])


def as_detections(candidates: Candidates, names: Sequence[str]) -> list[Detection]:
    """The detections, the most likely first. A class without a name is called "class 3"."""
    rows = zip(
        candidates.classes.tolist(),
        candidates.scores.clip(0, 1).tolist(),
        candidates.boxes.tolist(),
        strict=True,
    )
    return [Detection(name_of(number, names), score, *box) for number, score, box in list(rows)[:MAX_DETECTIONS]]


def name_of(number: int, names: Sequence[str]) -> str:
    """The name of a class.

    >>> name_of(1, ["person", "car"]), name_of(7, ["person", "car"])
    ('car', 'class 7')
    """
    name = names[number] if 0 <= number < len(names) else ""
    return name or f"class {number}"
