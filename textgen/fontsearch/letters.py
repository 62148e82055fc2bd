"""Letters cut out of crops: where the fill of each one is, from the text line that `textgen.new` has measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from textgen.common.array_types import F32, U8

INSIDE = 0.5  # of the fill's share in a pixel: from here on it belongs to a letter
ENCLOSED = 0.65  # the same, where a thin outline is all that parts fill and ground
SAME_COLOR = 60.0  # in RGB: within it, fill and ground are told apart only by the outline between them
MIN_PIXELS = 4  # of a letter
ALIKE_HEIGHTS = 0.12  # by which letters of one line differ in height, at most
MAX_ASPECT = 1.15  # width of a letter over its height; wider ones touch each other


@dataclass(frozen=True)
class Look:
    """Colours (3,), 0…255, that tell the fill of a text from the rest: its own, the ground's, the edge's if any."""

    fill: F32
    ground: F32
    edge: F32 | None = None


@dataclass(frozen=True)
class Letter:
    """One letter: its fill, float32 (h, w) in 0…1, with its corner at pixel (y, x) of crop number `crop`.

    `top`, `bottom`, `left` and `right` are the ends of the ink to fractions of a pixel. `cut` is whether it reaches the
    edge of the crop.
    """

    crop: int
    fill: F32
    y: int
    x: int
    top: float
    bottom: float
    left: float
    right: float
    cut: bool

    @property
    def height(self) -> float:
        return self.bottom - self.top

    @property
    def width(self) -> float:
        return self.right - self.left


@dataclass(frozen=True)
class Line:
    """The letters and marks of one crop from left to right. `tall` has those as high as digits."""

    crop: int
    letters: tuple[Letter, ...]
    tall: tuple[Letter, ...]


def measure_fill(crop: U8, look: Look, box: tuple[int, int, int, int]) -> F32:
    """The share of the text's fill in every pixel of a crop uint8 (H, W, 3): float32 (H, W), zero outside of `box`.

    The colour of the fill may change from top to bottom of the box (top, left, bottom, right).
    """
    pixels = crop.astype(np.float32)
    outlined = look.edge is not None and float(np.linalg.norm(look.fill - look.ground)) < SAME_COLOR
    others = [color for color in (look.ground, look.edge) if color is not None][outlined:]
    top, left, bottom, right = box
    fill = np.broadcast_to(look.fill, (crop.shape[0], 1, 3))
    share = np.zeros(crop.shape[:2], np.float32)
    for _ in range(2):  # the second time with the gradient that the first has found
        near = np.linalg.norm(pixels - fill, axis=2)
        far = np.min([np.linalg.norm(pixels - other, axis=2) for other in others], 0)
        share = np.clip(1.6 * far / np.maximum(near + far, 1e-3) - 0.3, 0, 1).astype(np.float32)
        inside = np.zeros_like(share)
        inside[top:bottom, left:right] = share[top:bottom, left:right]
        core = cv2.erode(inside, np.ones((2, 2), np.uint8)) > 0.6
        rows, columns = np.nonzero(core)
        if len(rows) < 12 or np.ptp(rows) < 4 or outlined:
            break
        slope = np.polyfit(rows, pixels[rows, columns], 1)  # (2, 3)
        lines = np.clip(np.arange(crop.shape[0]), rows.min(), rows.max())[:, None]
        fill = np.clip(lines * slope[0] + slope[1], 0, 255).astype(np.float32)[:, None]
    if outlined:
        share = _keep_outlined(share)
    kept = np.zeros_like(share)
    kept[top:bottom, left:right] = share[top:bottom, left:right]
    return kept


def _keep_outlined(share: F32) -> F32:
    """Only what an outline encloses, without the holes of letters: their ground has the colour of the fill."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats((share > ENCLOSED).astype(np.uint8), connectivity=4)
    height, width = share.shape
    boxes = [(x, y, x + w, y + h) for x, y, w, h, _ in stats.tolist()]
    outside = [k for k, box in enumerate(boxes) if box[0] == 0 or box[1] == 0 or box[2] == width or box[3] == height]
    kept = np.zeros(count, bool)
    for k in range(1, count):
        x0, y0, x1, y1 = boxes[k]
        inner = any(
            b[0] < x0 and b[1] < y0 and b[2] > x1 and b[3] > y1
            for j, b in enumerate(boxes)
            if j not in (0, k) and j not in outside
        )
        kept[k] = k not in outside and not inner
    mask = kept[labels]
    # Pixels next to what is kept hold the rest of its soft edge.
    near = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return np.where(mask | (near & (share <= ENCLOSED)), share, 0).astype(np.float32)


def find_letters(share: F32, crop: int = 0) -> tuple[Letter, ...]:
    """The letters of a line from left to right, from the share of the fill in every pixel, float32 (H, W).

    Pieces above each other, such as the dots of a colon, are one letter.
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats((share > INSIDE).astype(np.uint8), connectivity=8)
    pieces = [(int(x), int(x + w), [k]) for k, (x, _, w, _, area) in enumerate(stats) if k and area >= MIN_PIXELS]
    merged: list[tuple[int, int, list[int]]] = []
    for left, right, members in sorted(pieces):
        if merged:
            l0, r0, old = merged[-1]
            if min(right, r0) - max(left, l0) > 0.5 * min(right - left, r0 - l0):
                merged[-1] = (min(left, l0), max(right, r0), old + members)
                continue
        merged.append((left, right, members))
    return tuple(_cut_letter(share, np.isin(labels, members), crop) for _, _, members in merged) if count > 1 else ()


def _cut_letter(share: F32, mask: NDArray[np.bool_], crop: int) -> Letter:
    height, width = share.shape
    near = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    own = np.where(mask | (near & (share <= INSIDE)), share, 0).astype(np.float32)
    rows, columns = np.flatnonzero(own.any(1)), np.flatnonzero(own.any(0))
    y0, y1, x0, x1 = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    top, bottom = _find_ends(own.max(1))
    left, right = _find_ends(own.max(0))
    solid = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    cut = bool(solid[0][0] == 0 or solid[0][-1] == width - 1 or solid[1][0] == 0 or solid[1][-1] == height - 1)
    return Letter(crop, own[y0:y1, x0:x1], int(y0), int(x0), top, bottom, left, right, cut)


def _find_ends(profile: F32) -> tuple[float, float]:
    """The ends of the ink: a pixel that is covered by half counts half."""
    solid = np.flatnonzero(profile > INSIDE)
    first, last = int(solid[0]), int(solid[-1])
    most = max(float(profile.max()), 1e-3)
    before = float(profile[first - 1]) / most if first else 0.0
    after = float(profile[last + 1]) / most if last + 1 < len(profile) else 0.0
    edge = min(float(profile[first]) / most, 1.0), min(float(profile[last]) / most, 1.0)
    return first + 1 - edge[0] - before, last + edge[1] + after


def find_lines(shares: Sequence[F32]) -> list[Line]:
    """The letters of every crop, from the shares of the fill, float32 (H, W) each; crops without letters are left out.

    Letters of the height of most are `tall`; others are marks, or letters that touch each other.
    """
    found = [find_letters(share, number) for number, share in enumerate(shares)]
    whole = [letter.height for letters in found for letter in letters if letter.width <= MAX_ASPECT * letter.height]
    if not whole:
        return []
    common = _find_common_height(np.array(whole))
    lines = []
    for number, letters in enumerate(found):
        tall = tuple(
            letter
            for letter in letters
            if abs(letter.height / common - 1) <= ALIKE_HEIGHTS and letter.width <= MAX_ASPECT * letter.height
        )
        if tall:
            lines.append(Line(number, letters, tall))
    return lines


def _find_common_height(heights: NDArray[np.float64]) -> float:
    """The height that the most letters have within a tenth, larger ones counting more: dots are no letters."""
    votes = [float(heights[np.abs(heights / height - 1) <= ALIKE_HEIGHTS].sum()) for height in heights]
    best = heights[int(np.argmax(votes))]
    return float(np.median(heights[np.abs(heights / best - 1) <= ALIKE_HEIGHTS]))
