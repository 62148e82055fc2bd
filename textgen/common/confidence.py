"""Confidence intervals of proportions."""

from __future__ import annotations

import math

Z95 = 1.959964  # quantile of the normal distribution for a two-sided 95 % interval


def wilson_interval(share: float, n: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval for a `share` of `n` trials, by default the 95 % interval.

    >>> [round(bound, 3) for bound in wilson_interval(0.95, 2700)]
    [0.941, 0.958]
    """
    center = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(center - half, 0.0), min(center + half, 1.0)
