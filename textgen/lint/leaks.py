"""Measurements of what can reveal the class of a crop besides its text.

Associations of the class with attributes of style, and the accuracy of classifiers that do not see the text.
`textgen.lint.checks` compares these figures with limits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import erfc, sqrt
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from textgen.common.array_types import F32, LUMA, U8, Rng
from textgen.common.confidence import wilson_interval

QUANTILE_BINS = 10  # of a continuous attribute
FOLDS = 3  # of the cross-validation of a probe
RIDGE = 0.1  # penalty of the ridge regression per sample, for features with standard deviation 1
MAX_TARGETS = 256  # more classes are merged at random into this many groups, which the probe predicts
HIDDEN_FEATURES = 384  # random features of the probe on pixels
BATCH_VALUES = 4 << 20  # pixel values from which features are computed at a time: bounds memory

I64 = NDArray[np.int64]


class Association(NamedTuple):
    """Strength of the association of two attributes: bias-corrected Cramér's V, and its p-value."""

    effect: float
    p: float


def cramers_v(a: I64, b: I64) -> Association:
    """Measure the association of two categorical attributes (n,) of the same samples.

    V is bias-corrected (Bergsma, J. Korean Stat. Soc. 42, 2013): if `a` determines `b` in a share t of the samples and
    `b` is random in the rest, V is about t, whatever the number of categories. p is the tail probability of Pearson's
    chi² over all permutations of one attribute: a gamma distribution with their exact mean and variance (Dawson,
    Biometrika 41, 1954), by the cube-root transform of Wilson and Hilferty (PNAS 17, 1931). Unlike the usual chi²
    distribution it does not need expected counts of at least five.
    """
    n = len(a)
    _, a = np.unique(a, return_inverse=True)
    _, b = np.unique(b, return_inverse=True)
    rows, columns = np.bincount(a), np.bincount(b)
    r, c = len(rows), len(columns)
    max_phi2 = min(k - (k - 1) ** 2 / max(n - 1, 1) for k in (r, c)) - 1  # where one attribute determines the other
    if n < 5 or max_phi2 <= 1e-6:  # an attribute is constant, or all its values differ
        return Association(0.0, 1.0)
    cells = np.bincount(a * c + b, minlength=r * c).reshape(r, c).astype(np.float64)
    chi2 = n * float((cells**2 / np.outer(rows, columns)).sum() - 1)

    freedom = (r - 1) * (c - 1)
    phi2 = max(0.0, chi2 / n - freedom / (n - 1))
    effect = sqrt(phi2 / max_phi2)

    (v1, w1), (v2, w2) = (_dawson_terms(margin, n) for margin in (rows, columns))
    mean = n / (n - 1) * freedom
    variance = 2 * n / (n - 3) * (v1 - w1) * (v2 - w2) + n**2 / (n - 1) * w1 * w2
    ninth = variance / mean**2 / 9
    z = (max(chi2 / mean, 0.0) ** (1 / 3) - (1 - ninth)) / sqrt(max(ninth, 1e-12))
    return Association(min(effect, 1.0), erfc(z / sqrt(2)) / 2)


def _dawson_terms(margin: I64, n: int) -> tuple[float, float]:
    """Compute v and w of Dawson's variance from the counts of one attribute's categories."""
    k = len(margin)
    return (k - 1) * (n - k) / (n - 1), (float((1 / margin).sum()) - k**2 / n) / (n - 2)


def correct_p_values(ps: Sequence[float]) -> list[float]:
    """Correct p-values for multiple tests (Holm, Scand. J. Stat. 6, 1979). The order is kept.

    >>> correct_p_values([0.01, 0.5, 0.02])
    [0.03, 0.5, 0.04]
    """
    corrected, largest = [0.0] * len(ps), 0.0
    for rank, i in enumerate(np.argsort(ps).tolist()):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[i]))
        corrected[i] = largest
    return corrected


def bin_by_quantiles(values: NDArray[Any]) -> I64:
    """Convert continuous values (n,) to bin numbers. Bins hold equally many values; equal values share a bin."""
    edges = np.unique(np.quantile(values, np.arange(1, QUANTILE_BINS) / QUANTILE_BINS))
    return np.searchsorted(edges, values, side="right").astype(np.int64)


def rank_within(values: NDArray[Any], strata: NDArray[Any], rng: Rng) -> NDArray[np.float64]:
    """Compute the rank, in 0…1, of each value (n,) within its stratum. Ties are broken at random.

    If a value depends on the class only through its stratum, its rank is independent of the class.
    """
    order = np.lexsort((rng.random(len(values)), values, strata))
    _, starts, counts = np.unique(strata[order], return_index=True, return_counts=True)
    ranks = np.empty(len(values))
    ranks[order] = (np.arange(len(values)) - np.repeat(starts, counts) + 0.5) / np.repeat(counts, counts)
    return ranks


def extract_style_attributes(samples: NDArray[Any], rng: Rng) -> dict[str, I64]:
    """Extract the attributes that must not depend on the class, from samples with text: name to categories (n,).

    The free space around a text depends on its width, and the possible positions of the text depend on that space.
    Hence x and y are the drawn fractions of the free space, and the ink's left (top) is ranked among boxes of the same
    width (height).
    """
    categories = {
        "face": samples["face"],
        "height": samples["height"],
        "outline": samples["stroke"],
        "slant": samples["slant"],
        "source": samples["source"],
        "canvas": number_backgrounds(samples),
        "neighbour": samples["side"],
    }
    values = {name: samples[name] for name in ("x", "y", "spacing", "red", "green", "blue")}
    left, right, top, bottom = (samples[side] for side in ("left", "right", "top", "bottom"))
    values["left, of equal widths"] = rank_within(left, right - left, rng)
    values["top, of equal heights"] = rank_within(top, bottom - top, rng)
    attributes = {name: value.astype(np.int64) for name, value in categories.items()}
    return attributes | {name: bin_by_quantiles(value) for name, value in values.items()}


def number_backgrounds(samples: NDArray[Any]) -> I64:
    """Number the background images of samples (n,): one number for each pair of source and canvas."""
    canvases = int(samples["canvas"].max(initial=0)) + 1
    numbers: I64 = samples["source"].astype(np.int64) * canvases + samples["canvas"]
    return numbers


@dataclass(frozen=True)
class ProbeResult:
    """Result of a probe: its correct predictions of held-out samples, and the share of the most frequent class."""

    correct: int
    tested: int
    chance: float

    @property
    def accuracy(self) -> float:
        return self.correct / self.tested

    def interval(self, z: float) -> tuple[float, float]:
        """Wilson interval of the accuracy, `z` standard deviations to either side."""
        return wilson_interval(self.accuracy, self.tested, z)


def probe(features: F32, labels: I64, rng: Rng, hidden_features: int = 0) -> ProbeResult:
    """Predict labels (n,) from features (n, d) by ridge regression to one-hot labels, with three-fold cross-validation.

    `hidden_features` random rectified features are appended to the given ones (Rahimi and Recht, NIPS 2008): a network
    with one hidden layer of random weights.
    """
    _, labels = np.unique(labels, return_inverse=True)
    if labels.max() >= MAX_TARGETS:
        labels = rng.permutation(int(labels.max()) + 1)[labels] % MAX_TARGETS
    x = (features - features.mean(0)) / (features.std(0) + 1e-6)
    if hidden_features:
        weights = rng.standard_normal((x.shape[1], hidden_features)).astype(np.float32) / np.float32(sqrt(x.shape[1]))
        biases = rng.standard_normal(hidden_features).astype(np.float32)
        x = np.hstack([x, np.maximum(x @ weights + biases, 0)])
        x = (x - x.mean(0)) / (x.std(0) + 1e-6)
    fold = np.empty(len(x), np.int64)
    fold[np.lexsort((rng.random(len(x)), labels))] = np.arange(len(x)) % FOLDS  # stratified by class
    parts = [np.flatnonzero(fold == number) for number in range(FOLDS)]
    targets = np.eye(int(labels.max()) + 1, dtype=np.float32)[labels] - np.bincount(labels).astype(np.float32) / len(x)
    # XᵀX and XᵀY are sums over samples: those of a training set are the totals less those of the held-out part.
    grams, products = [x[part].T @ x[part] for part in parts], [x[part].T @ targets[part] for part in parts]
    ridge = RIDGE * len(x) * np.eye(x.shape[1], dtype=np.float32)
    correct = 0
    for part, gram, product in zip(parts, grams, products, strict=True):
        coefficients = np.linalg.solve(sum(grams) - gram + ridge, sum(products) - product)
        correct += int(((x[part] @ coefficients).argmax(1) == labels[part]).sum())
    return ProbeResult(correct, len(x), float(np.bincount(labels).max() / len(labels)))


def encode_one_hot(columns: Sequence[I64]) -> F32:
    """Encode categorical attributes, each (n,), as one array (n, number of all categories) of zeros and ones."""
    parts = []
    for column in columns:
        values, numbers = np.unique(column, return_inverse=True)
        parts.append(np.eye(len(values), dtype=np.float32)[numbers])
    return np.hstack(parts)


def extract_background_features(images: U8) -> F32:
    """Compute features (n, d) that distinguish the backgrounds of crops (n, H, W, 3).

    They are the colours of a grid of 6 × 8 cells, the mean and standard deviation of each channel, and the logarithm
    of the mean luma step between neighbouring pixels.
    """
    batch = max(1, BATCH_VALUES // images[0].size)
    return np.concatenate([_extract_features(images[start : start + batch]) for start in range(0, len(images), batch)])


def _extract_features(images: U8) -> F32:
    n = len(images)
    cells = np.stack([cv2.resize(image, (8, 6), interpolation=cv2.INTER_AREA) for image in images]).astype(np.float32)
    pixels = images.reshape(n, -1, 3).astype(np.float32)
    luma = images.astype(np.float32) @ LUMA
    steps = [np.log1p(np.abs(np.diff(luma, axis=axis)).mean((1, 2))) for axis in (1, 2)]
    return np.hstack([cells.reshape(n, -1), pixels.mean(1), pixels.std(1), np.stack(steps, 1)])
