"""Clusters of colours, found with medians instead of means: a few outliers do not move them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CLUSTERED_SHARE = 0.8  # of the points that must lie near a centre
MIN_SHARE = 0.08  # of the points in a cluster; smaller ones are dropped
ITERATIONS = 8

F64 = NDArray[np.float64]


def find_centers(points: F64, max_centers: int, radius: float) -> F64:
    """Find the fewest centres (k, 3), at most `max_centers`, with CLUSTERED_SHARE of `points` (n, 3) within `radius`.

    >>> find_centers(np.array([[0, 0, 0], [0, 0, 0], [200, 0, 0], [200, 0, 0]], np.float64), 3, 40.0)
    array([[  0.,   0.,   0.],
           [200.,   0.,   0.]])
    """
    centers = np.median(points, 0, keepdims=True)
    while len(centers) < max_centers:
        distances = np.linalg.norm(points[:, None] - centers, axis=2).min(1)  # (n,)
        if np.quantile(distances, CLUSTERED_SHARE) < radius:
            break
        # The next centre starts far from all others, but not at the farthest point, which may be an outlier.
        start = points[np.argsort(distances)[int(0.95 * (len(points) - 1))]]
        centers = move_to_medians(np.vstack([centers, start]), points)
    nearest = np.linalg.norm(points[:, None] - centers, axis=2).argmin(1)
    shares = np.bincount(nearest, minlength=len(centers)) / len(points)
    return np.asarray(centers[shares >= min(MIN_SHARE, shares.max())])


def move_to_medians(centers: F64, points: F64) -> F64:
    """Move each centre (k, 3) to the median of the points (n, 3) nearest to it, ITERATIONS times."""
    for _ in range(ITERATIONS):
        nearest = np.linalg.norm(points[:, None] - centers, axis=2).argmin(1)
        centers = np.array(
            [np.median(points[nearest == j], 0) if (nearest == j).any() else c for j, c in enumerate(centers)]
        )
    return centers


def merge_similar(colors: F64, distance: float) -> F64:
    """Drop each colour (k, 3) that is within `distance` of a colour before it."""
    kept: list[F64] = []
    for color in colors:
        if all(np.linalg.norm(color - other) >= distance for other in kept):
            kept.append(color)
    return np.array(kept)
