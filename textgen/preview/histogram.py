"""Histograms for a page: the geometry that partials/histogram.html draws as SVG."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Bar(NamedTuple):
    """A rectangle of the histogram. `kind` is its CSS class: "in" for passed samples, "out" for refused ones."""

    kind: str
    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True)
class Histogram:
    """Bars, ticks (x, value) of the axis, and the x of a threshold. `label` is for screen readers."""

    WIDTH: ClassVar[int] = 360
    HEIGHT: ClassVar[int] = 130
    BASE: ClassVar[int] = 108  # y of the axis

    label: str
    bars: list[Bar]
    ticks: list[tuple[float, int]]
    mark: float | None


def build_histogram(
    label: str,
    edges: NDArray[Any],
    passed: NDArray[Any],
    refused: NDArray[Any] | None = None,
    threshold: float | None = None,
) -> Histogram:
    """Stack counts of `passed` (n,) on counts of `refused` (n,), between `edges` (n + 1,)."""
    if refused is None:
        refused = np.zeros(len(passed))
    scale = (Histogram.BASE - 6) / max(float((passed + refused).max()), 1)
    low, high = float(edges[0]), float(edges[-1])

    def x(value: float) -> float:
        return 4 + (value - low) / (high - low) * (Histogram.WIDTH - 8)

    bars = []
    for left, right, *counts in zip(edges[:-1], edges[1:], refused.tolist(), passed.tolist(), strict=True):
        y = float(Histogram.BASE)
        for count, kind in zip(counts, ("out", "in"), strict=True):
            if count:
                y -= count * scale
                title = f"{left:.4g} to {right:.4g}: {count:g}"
                bars.append(Bar(kind, x(left), y, x(right) - x(left) - 1, count * scale, title))
    step = next(step for step in (1, 2, 5, 10, 20, 25, 50, 100, 1000) if step * 8 >= high - low or step == 1000)
    ticks = [(x(tick), tick) for tick in range(int(np.ceil(low / step)) * step, int(high) + 1, step)]
    return Histogram(label, bars, ticks, x(threshold) if threshold is not None and threshold > low else None)
