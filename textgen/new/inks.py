"""Which strokes are the fill of a text, and what is around it: an outline, a shadow or nothing.

In crops of outlined text, light strokes and dark strokes are both found. The fill is the innermost of them, not what
differs from the ground most. A colour counts as an ink if it is no mixture of the ground and of the other colour, which
blur makes in the gaps between strokes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from textgen.common.array_types import U8
from textgen.new.measure import F64, RIM, TextLine, measure_excess

MIN_INK_DISTANCE = 25.0  # in RGB, beyond the clutter of the ground, of an ink from mixtures of the others
MIN_INK_RATIO = 0.3  # of the distances of two inks from the ground
MIN_SHARE = 0.4  # of the crops in which a colour must be an ink, to be one at all
MIN_DEPTH = 0.25  # in pixels, by which the fill lies deeper within all ink than what is around it
HOLLOW_RATIO = 1.35  # times as many strokes in a row as plain text has: if outlines are taken for strokes, about 2
MIN_EXCESS = 40.0  # in RGB, of the colour of a rim from mixtures of fill and ground
MIN_EDGE_SHARE = 0.2  # of the lines, of an outline or shadow that is proposed
SHADOW_RATIO = 2.0  # of what is right and below to what is left and above, from which on a rim is a shadow
WIDTHS = (0.5, 2.0)  # that are proposed for an outline


@dataclass(frozen=True)
class Edge:
    """An outline, or a shadow to the right and below: its colour (3,), width in pixels, and share of the lines."""

    kind: str  # "outline" or "shadow"
    color: F64
    width: float
    share: float

    def move(self, target: Edge, measured: Edge) -> Edge:
        """Move colour and width by the difference of what was aimed at and what was measured."""
        width = float(np.clip(self.width + target.width - measured.width, *WIDTHS))
        return replace(self, color=np.clip(self.color + target.color - measured.color, 0, 255), width=width)

    def settings(self, color: str) -> dict[str, Any]:
        """The settings of the game's text, with the colour as text."""
        chance = 1 if self.share > 0.8 else round(self.share, 1)
        if self.kind == "shadow":
            return {"shadow": {"chance": chance, "colors": [color]}}
        width = float(np.clip(self.width, *WIDTHS))
        widths = [round(width - 0.25, 1), round(width + 0.25, 1)]
        return {"outline": {"chance": chance, "width": widths, "colors": [color]}}


def find_fill(
    crops: Sequence[U8], dark: Sequence[TextLine | None], light: Sequence[TextLine | None]
) -> tuple[bool, bool]:
    """Decide whether the light lines of the crops are the fill, not the dark ones; also return whether both are inks.

    If one alone is an ink, it may be the outline of a fill that has the colour of the ground: see `is_hollow`.
    """
    inks, depths = [], []
    for crop, a, b in zip(crops, dark, light, strict=True):
        inks.append((_is_ink(a, b), _is_ink(b, a)))
        if a and b and all(inks[-1]):
            depths.append(_compare_depths(crop, a, b))
    shares = np.mean(inks, 0)  # of dark and light
    depth = float(np.median(depths)) if depths and shares.min() >= MIN_SHARE else 0.0
    if abs(depth) >= MIN_DEPTH:
        return depth > 0, True
    return bool(shares[1] >= shares[0]), False


def _is_ink(line: TextLine | None, other: TextLine | None) -> bool:
    """Whether a line has a colour of its own, also where it stands beside one that is much stronger."""
    if line is None:
        return False
    if other is None:
        return float(np.linalg.norm(line.color - line.ground)) - line.clutter > MIN_INK_DISTANCE
    excess = measure_excess(line.color, line.ground, other.color) - line.clutter
    return excess > max(MIN_INK_DISTANCE, MIN_INK_RATIO * float(np.linalg.norm(other.color - other.ground)))


def _compare_depths(crop: U8, dark: TextLine, light: TextLine) -> float:
    """Measure how much deeper light pixels lie within all ink than dark ones, in pixels."""
    pixels = crop.astype(np.float32)
    colors = np.stack([dark.color, light.color, (dark.ground + light.ground) / 2])
    nearest = np.linalg.norm(pixels[:, :, None] - colors, axis=3).argmin(2)
    size = crop.shape[0], crop.shape[1]
    box = dark.select(size, RIM) | light.select(size, RIM)
    ink = np.pad((nearest < 2) & box, 1)
    depth = cv2.distanceTransform(ink.astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    means = [float(depth[(nearest == i) & box].mean()) if ((nearest == i) & box).any() else 0.0 for i in (0, 1)]
    return means[1] - means[0]


def is_hollow(lines: Sequence[TextLine], plain: Sequence[TextLine]) -> bool:
    """Whether lines are outlines of letters that are empty inside, from lines of plain text with the same spec.

    A row crosses two outlines where it crosses one stroke.
    """
    counts = [float(np.median([line.crossings for line in some])) for some in (lines, plain)]
    return counts[0] > HOLLOW_RATIO * counts[1]


def measure_edge(lines: Sequence[TextLine]) -> Edge | None:
    """Measure the outline or shadow of the fill, or return None if too few lines have one."""
    excess = np.array([line.rim.excess for line in lines])  # (n, 4): left, up, right, down
    near, far = excess[:, :2].mean(1), excess[:, 2:].mean(1)
    outlined = np.asarray(excess.min(1) > MIN_EXCESS)
    shadowed = np.asarray((far > MIN_EXCESS) & (far > SHADOW_RATIO * near))
    kinds = ("outline", outlined, slice(4)), ("shadow", shadowed, slice(2, 4))
    for kind, having, sides in kinds:
        if having.mean() >= MIN_EDGE_SHARE:
            rims = [line.rim for line, has in zip(lines, having, strict=True) if has]
            color = np.median([rim.colors[sides].mean(0) for rim in rims], 0)
            width = float(np.median([rim.width for rim in rims]))
            return Edge(kind, np.asarray(color, np.float64), width, float(having.mean()))
    return None
