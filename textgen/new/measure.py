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

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class TextLine:
    """The line of text in one crop: its box in pixels, and the colours of strokes and ground (RGB, 0…255).

    `clutter` is the standard deviation of the ground's luma. `score` is the difference in luma of strokes and ground
    less the clutter; it is small in crops without text.
    """

    top: float
    bottom: float
    left: float
    right: float
    color: F32  # (3,)
    ground: F32  # (3,)
    clutter: float
    score: float

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
    strokes = _detect_strokes(crop, light)
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
    box = np.zeros(strokes.shape, bool)
    box[int(top) : int(np.ceil(bottom)), int(left) : int(np.ceil(right))] = True
    inside = np.where(box, strokes, 0)
    core = inside >= max(float(np.quantile(strokes[box], 0.9)), 0.5)
    near_strokes = cv2.dilate((inside > 0.3).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    near_box = cv2.dilate(box.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    ground = near_box & ~near_strokes
    if not core.any() or ground.sum() < 4:
        return None
    pixels = crop.astype(np.float32)
    color, ground_color = np.median(pixels[core], 0), np.median(pixels[ground], 0)
    clutter = float((pixels[ground] @ LUMA).std())
    score = float(color @ LUMA - ground_color @ LUMA) * (1 if light else -1) - clutter
    colors = color.astype(np.float32), ground_color.astype(np.float32)
    return TextLine(top, bottom, left, right, *colors, clutter, score)


def _detect_strokes(crop: U8, light: bool) -> F32:
    """Measure how much each pixel belongs to a thin structure lighter or darker than its surroundings: (H, W), 0…1."""
    luma = (crop @ LUMA).astype(np.float32)
    if not light:
        luma = 255 - luma
    side = max(5, round(crop.shape[0] / 3) | 1)  # wider than a stroke: digits are no higher than the crop
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    top_hat = cv2.morphologyEx(luma, cv2.MORPH_TOPHAT, kernel, borderType=cv2.BORDER_REPLICATE)
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
    scales = np.maximum(1.4826 * np.median(deviations, 0), (0.06 * np.median(values[:, 0]), 0.05, 0.05))
    worst = (deviations / scales).max(1)
    return [line for line, deviation in zip(lines, worst, strict=True) if deviation < MAX_DEVIATION]


def _collect_values(lines: Sequence[TextLine], size: tuple[int, int]) -> F64:
    """Height, y and x of each line: (n, 3)."""
    return np.array([(line.height, *line.position(size)) for line in lines], np.float64)


def measure_ranges(lines: Sequence[TextLine], size: tuple[int, int]) -> F64:
    """Measure the ranges of height, y and x that hold the middle 90 % of the lines: (3, 2)."""
    return np.asarray(np.quantile(_collect_values(lines, size), (0.05, 0.95), axis=0).T, np.float64)


def measure_colors(lines: Sequence[TextLine]) -> F64:
    """Collect the colours of the higher half of the lines, (n, 3): thin strokes mix with the ground."""
    middle = np.median([line.height for line in lines])
    return np.array([line.color for line in lines if line.height >= middle], np.float64)


def measure_noise(crop: U8) -> float:
    """Measure the noise of a crop in levels: the median change of its luma by a 3 × 3 median filter."""
    luma = (crop @ LUMA).astype(np.float32)
    return float(np.median(np.abs(luma - cv2.medianBlur(luma, 3))))
