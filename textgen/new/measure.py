"""Measurement of the text line in a crop: its box, its colour, and the colour and clutter of the ground around it.

The text is not recognised: strokes are thin, and lighter or darker than everything around them. Blur and thin strokes
bias the measurements; `textgen.new.proposal` corrects for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from textgen.common.array_types import F32, LUMA, U8
from textgen.schema.game import Text

MAX_DEVIATION = 4  # of a line's height and position from the median, in robust standard deviations
MIN_SCORE = 0.4  # of a line, relative to the third quartile of all

GROUND_RADIUS, MIN_UNLIKE = 40.0, 0.25  # in RGB around the ground's colour; the least share of strokes outside it
RIM = 3  # pixels around the strokes in which outlines and shadows are searched
DIRECTIONS = ((0, -1), (-1, 0), (0, 1), (1, 0))  # left, up, right, down, as (y, x)

F64 = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Rim:
    """What surrounds the strokes of a line: on their left, above, right and below.

    `colors` (4, 3) are those that are the least like mixtures of strokes and ground, and `excess` (4,) is their
    distance in RGB from these mixtures. `width` is that of the part with half of this distance or more, in pixels.
    """

    colors: F32
    excess: F32
    width: float


@dataclass(frozen=True)
class TextLine:
    """The line of text in one crop: its box in pixels, and the colours of strokes and ground (RGB, 0…255).

    `clutter` is the standard deviation of the ground's luma. `score` is the difference in luma of the strokes and what
    is next to them, ground or outline, less the clutter; it is small in crops without text. `contrast` is the same to
    the ground alone. `crossings` is the mean number of strokes in a row of the middle half of the line.
    """

    top: float
    bottom: float
    left: float
    right: float
    color: F32  # (3,)
    ground: F32  # (3,)
    clutter: float
    score: float
    contrast: float
    crossings: float
    rim: Rim

    def select(self, size: tuple[int, int], margin: int = 0) -> Mask:
        """Select the pixels of the box and `margin` pixels around it in a crop of `size`, bool (H, W)."""
        return select_box(size, self.top, self.bottom, self.left, self.right, margin)

    @property
    def height(self) -> float:
        return self.bottom - self.top

    def position(self, size: tuple[int, int]) -> tuple[float, float]:
        """(y, x) as fractions of the space that the line leaves free in a crop of `size` (H, W)."""
        free_y = max(size[0] - self.height - 2 * Text.margin, 1.0)
        free_x = max(size[1] - (self.right - self.left) - 2 * Text.margin, 1.0)
        y, x = (self.top - Text.margin) / free_y, (self.left - Text.margin) / free_x
        return min(max(y, 0.0), 1.0), min(max(x, 0.0), 1.0)


def find_text_lines(crops: Sequence[U8], light: bool) -> list[TextLine | None]:
    """Find the text line of each crop, uint8 (H, W, 3), with strokes lighter or darker than the ground, or None."""
    return [_find_text_line(crop, light) for crop in crops]


def _find_text_line(crop: U8, light: bool) -> TextLine | None:
    top_hat = _apply_top_hat(crop, light)
    strokes = _detect_strokes(top_hat)
    height, width = strokes.shape
    top, bottom, left, right = 0.0, float(height), 0.0, float(width)
    for _ in range(2):  # rows and columns depend on each other
        rows = _find_stretch(strokes[:, int(left) : int(np.ceil(right))].mean(1), 1.0)
        if rows is None:
            return None
        top, bottom = rows
        columns = _find_stretch(strokes[int(top) : int(np.ceil(bottom))].mean(0), max(3.0, bottom - top))
        if columns is None:
            return None
        left, right = columns
    box = select_box((height, width), top, bottom, left, right)
    inside = np.where(box, strokes, 0)
    core = inside >= max(float(np.quantile(strokes[box], 0.9)), 0.5)
    rim = max(1, round((bottom - top) / 8))  # outlines and shadows are no ground
    near_box = select_box((height, width), top, bottom, left, right, rim + 1)
    ground = near_box & ~_dilate(inside > 0.3, rim)
    if ground.sum() < 4:
        ground = near_box & ~_dilate(inside > 0.3, 1)
    if not core.any() or ground.sum() < 4:
        return None
    pixels = crop.astype(np.float32)
    ground_color = np.median(pixels[ground], 0)
    # Between outlined letters there is ground that stands out from the outlines as the fill does.
    unlike = (inside > 0.3) & (np.linalg.norm(pixels - ground_color, axis=2) > GROUND_RADIUS)
    if unlike.sum() >= MIN_UNLIKE * (inside > 0.3).sum():
        core = unlike & (inside >= np.quantile(inside[unlike], 0.7))
    color = np.median(pixels[core], 0)
    clutter = float((pixels[ground] @ LUMA).std())
    score = float(np.median(top_hat[core])) - clutter
    contrast = float(color @ LUMA - ground_color @ LUMA) * (1 if light else -1) - clutter
    ink = inside > 0.5
    quarter = (bottom - top) / 4
    middle = np.pad(ink[int(top + quarter) : int(np.ceil(bottom - quarter))], ((0, 0), (1, 0)))
    crossings = float((middle[:, 1:] & ~middle[:, :-1]).sum(1).mean())
    colors = color.astype(np.float32), ground_color.astype(np.float32)
    surroundings = _measure_rim(pixels, ink, *colors)
    return TextLine(top, bottom, left, right, *colors, clutter, score, contrast, crossings, surroundings)


def _measure_rim(pixels: F32, ink: Mask, color: F32, ground: F32) -> Rim:
    """Measure the surroundings of the strokes `ink` (H, W) in a crop, float32 (H, W, 3)."""
    height, width = ink.shape
    padded_pixels, padded_ink = np.pad(pixels, ((RIM, RIM), (RIM, RIM), (0, 0)), "edge"), np.pad(ink, RIM)
    colors, excess = np.zeros((4, RIM, 3), np.float32), np.zeros((4, RIM), np.float32)
    for number, (dy, dx) in enumerate(DIRECTIONS):
        free = ink
        for step in range(1, RIM + 1):
            window = slice(RIM + step * dy, RIM + step * dy + height), slice(RIM + step * dx, RIM + step * dx + width)
            free = free & ~padded_ink[window]  # other strokes are no surroundings
            if free.sum() >= 4:
                seen = np.median(padded_pixels[window][free], 0)
                colors[number, step - 1] = seen
                excess[number, step - 1] = measure_excess(seen, color, ground)
    four, best = np.arange(4), excess.argmax(1)
    widths = (excess > 0.5 * excess.max(1, keepdims=True)).sum(1)
    return Rim(colors[four, best], excess[four, best], float(widths.mean()))


def measure_excess(color: F32, one: F32, other: F32) -> float:
    """Compute the distance in RGB of a colour (3,) from all mixtures of two others.

    >>> round(measure_excess(np.array([50.0, 90.0, 50.0]), np.zeros(3), np.full(3, 100.0)), 1)
    32.7
    """
    along = other - one
    share = np.clip((color - one) @ along / max(float(along @ along), 1e-6), 0, 1)
    return float(np.linalg.norm(color - one - share * along))


def select_box(size: tuple[int, int], top: float, bottom: float, left: float, right: float, margin: int = 0) -> Mask:
    """Select the pixels of a box and `margin` pixels around it in a crop of `size`, bool (H, W)."""
    box = np.zeros(size, bool)
    rows = slice(max(int(top) - margin, 0), int(np.ceil(bottom)) + margin)
    box[rows, max(int(left) - margin, 0) : int(np.ceil(right)) + margin] = True
    return box


def _dilate(mask: Mask, radius: int) -> Mask:
    side = 2 * radius + 1
    return np.asarray(cv2.dilate(mask.astype(np.uint8), np.ones((side, side), np.uint8)) > 0)


def _apply_top_hat(crop: U8, light: bool) -> F32:
    """Measure how many levels each pixel of a thin structure is lighter or darker than what is around: (H, W)."""
    luma = (crop @ LUMA).astype(np.float32)
    if not light:
        luma = 255 - luma
    side = max(5, round(crop.shape[0] / 3) | 1)  # wider than a stroke: digits are no higher than the crop
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    # What reaches the edge goes on behind it: ground between the edge and the text is no thin structure.
    padded = cv2.copyMakeBorder(luma, side, side, side, side, cv2.BORDER_REPLICATE)
    top_hat = cv2.morphologyEx(padded, cv2.MORPH_TOPHAT, kernel)
    return np.asarray(top_hat[side:-side, side:-side], np.float32)


def _detect_strokes(top_hat: F32) -> F32:
    """Measure how much each pixel belongs to a stroke: (H, W), 0…1."""
    scale = max(float(np.quantile(top_hat, 0.97)), 4.0)
    strokes: F32 = np.clip((top_hat / scale - 0.25) / 0.6, 0, 1).astype(np.float32)
    return strokes


def _find_stretch(profile: F32, max_gap: float) -> tuple[float, float] | None:
    """Find the ends, to fractions of a pixel, of the stretch of a profile with the largest sum.

    Values below a threshold end a stretch if there are more than `max_gap` of them.
    """
    threshold = 0.3 * float(np.quantile(profile, 0.9)) + 1e-6
    active = np.flatnonzero(profile > threshold)
    if not len(active):
        return None
    stretches = np.split(active, np.flatnonzero(np.diff(active) > max_gap + 1) + 1)
    stretch = max(stretches, key=lambda indices: float(profile[indices].sum()))
    first, last = int(stretch[0]), int(stretch[-1])
    before = profile[first - 1] / threshold if first else 0.0  # share of the pixel before that belongs to the stretch
    after = profile[last + 1] / threshold if last + 1 < len(profile) else 0.0
    return first - float(before) * 0.5, last + 1 + float(after) * 0.5


def remove_outliers(lines: Sequence[TextLine], size: tuple[int, int]) -> list[TextLine]:
    """Remove detections that are no text: of low score, or with a height or position unlike nearly all others."""
    if not lines:
        return []
    min_score = MIN_SCORE * np.quantile([line.score for line in lines], 0.75)
    lines = [line for line in lines if line.score >= min_score]
    values = _collect_values(lines, size)
    deviations = np.abs(values - np.median(values, 0))
    # 1.4826 × the median absolute deviation estimates the standard deviation of a normal distribution.
    # A pixel and a half is no deviation, however little room there is.
    height, width = np.median([(line.height, line.right - line.left) for line in lines], 0)
    least = (0.06 * height, max(0.05, 1.5 / max(size[0] - height, 1)), max(0.05, 1.5 / max(size[1] - width, 1)))
    scales = np.maximum(1.4826 * np.median(deviations, 0), least)
    worst = (deviations / scales).max(1)
    return [line for line, deviation in zip(lines, worst, strict=True) if deviation < MAX_DEVIATION]


def _collect_values(lines: Sequence[TextLine], size: tuple[int, int]) -> F64:
    """Height, y and x of each line: (n, 3)."""
    return np.array([(line.height, *line.position(size)) for line in lines], np.float64)


def measure_ranges(lines: Sequence[TextLine], size: tuple[int, int]) -> F64:
    """Measure the ranges of height, y and x that hold the middle 90 % of the lines: (3, 2)."""
    return np.asarray(np.quantile(_collect_values(lines, size), (0.05, 0.95), axis=0).T, np.float64)


def measure_colors(lines: Sequence[TextLine]) -> F64:
    """Collect the colours of the lines that are not small, (n, 3): thin strokes mix with the ground."""
    least = 0.95 * np.median([line.height for line in lines])
    return np.array([line.color for line in lines if line.height >= least], np.float64)


def measure_noise(crop: U8) -> float:
    """Measure the noise of a crop in levels: the median change of its luma by a 3 × 3 median filter."""
    luma = (crop @ LUMA).astype(np.float32)
    return float(np.median(np.abs(luma - cv2.medianBlur(luma, 3))))
