"""Where in a counter's crops each character stands, found from the changes between neighbouring frames.

Where the text changes from 0:59 to 0:58, the picture changes in the columns of the last character, and elsewhere only
as the background does. No character is recognised, and no colour or font is assumed; the characters of texts of one
length have to stand at fixed places, as they do in nearly all counters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from textgen.common.array_types import U8

F64 = NDArray[np.float64]

MAX_PAIRS = 3000  # of neighbouring crops that are compared
MAX_GAP = 0.5  # seconds between them
MIN_CHANGE = 0.3  # of a character's strongest change: columns with less are not its own
CLOSED_GAP = 5  # columns within a character that may change less, such as those of a thin stroke
MARGIN = 0.15  # of a character's width, on either side: some are wider than those that were seen to change
ITERATIONS = 200  # of the least squares


class Place(NamedTuple):
    """A character of the texts of a length, counted from 0."""

    length: int
    position: int


class Columns(NamedTuple):
    """Columns `left` to `right`, exclusive, of a crop."""

    left: int
    right: int

    @property
    def center(self) -> float:
        return (self.left + self.right) / 2


def find_characters(images: U8, texts: Sequence[str], times: F64 | None) -> dict[Place, Columns]:
    """Find the columns of every character that changes, in crops uint8 (n, H, W, 3) in the order of time.

    Texts "" are unknown. Only crops that follow each other within MAX_GAP seconds are compared; those without `times`
    all follow each other. The columns include half of the gap to a neighbouring character, and do not overlap.
    """
    places: dict[Place, Columns] = {}
    for length in sorted({len(text) for text in texts if text}):
        changed, changes = _compare_neighbours(images, texts, times, length)  # (m, length), (m, W)
        if changed.any():
            places |= _find_columns(_attribute_changes(changed, changes), np.asarray(changed.any(0)), length)
    return places


def _compare_neighbours(
    images: U8, texts: Sequence[str], times: F64 | None, length: int
) -> tuple[NDArray[np.bool_], F64]:
    """Compare pairs of neighbouring crops: which characters change (m, length), and each column's change (m, W)."""
    pairs = [
        (i, i + 1)
        for i in range(len(texts) - 1)
        if len(texts[i]) == len(texts[i + 1]) == length and (times is None or 0 <= times[i + 1] - times[i] <= MAX_GAP)
    ]
    pairs = pairs[:: max(len(pairs) // MAX_PAIRS, 1)]
    if not pairs:
        return np.zeros((0, length), bool), np.zeros((0, images.shape[2]))
    changed = np.array([[a != b for a, b in zip(texts[i], texts[j], strict=True)] for i, j in pairs])
    changes = np.array([np.abs(images[i].astype(np.int16) - images[j]).sum(2).mean(0) for i, j in pairs])
    return changed, changes


def _attribute_changes(changed: NDArray[np.bool_], changes: F64) -> F64:
    """How much each column changes with each character, (length, W): non-negative least squares.

    A column's change is modelled as the sum of what the changed characters add, and of a constant for the background.
    """
    factors = np.hstack([changed, np.ones((len(changed), 1))]).astype(np.float64)  # (m, length + 1)
    gram, target = factors.T @ factors, factors.T @ changes
    solution = np.zeros((factors.shape[1], changes.shape[1]))
    for _ in range(ITERATIONS):  # coordinate descent
        for k in np.flatnonzero(gram.diagonal()):
            solution[k] = np.maximum(solution[k] + (target[k] - gram[k] @ solution) / gram[k, k], 0)
    return solution[:-1]


def _find_columns(profiles: F64, changes: NDArray[np.bool_], length: int) -> dict[Place, Columns]:
    """The columns of each character that `changes`, bool (length,), from its profile (length, W)."""
    width = profiles.shape[1]
    extents: dict[int, Columns] = {}
    for position in np.flatnonzero(changes).tolist():
        profile = profiles[position] - np.median(profiles[position])
        own = (profile > MIN_CHANGE * np.quantile(profile, 0.95)).astype(np.uint8)
        own = cv2.morphologyEx(own[None], cv2.MORPH_CLOSE, np.ones((1, CLOSED_GAP), np.uint8))[0]
        edges = np.flatnonzero(np.diff(np.pad(own, 1)))
        runs = [Columns(int(left), int(right)) for left, right in zip(edges[::2], edges[1::2], strict=True)]
        if runs:
            extents[position] = max(runs, key=lambda run: float(profile[run.left : run.right].sum()))
    ordered = sorted(extents.items(), key=lambda item: item[1].center)
    found = {}
    for number, (position, extent) in enumerate(ordered):
        before = ordered[number - 1][1].right if number else None
        after = ordered[number + 1][1].left if number + 1 < len(ordered) else None
        margin = max(2, round(MARGIN * (extent.right - extent.left)))
        left = max(extent.left - margin, 0 if before is None else (before + extent.left) // 2)
        right = min(extent.right + margin, width if after is None else (extent.right + after) // 2)
        if right - left >= 2:
            found[Place(length, position)] = Columns(left, right)
    return found
