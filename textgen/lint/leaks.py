"""What a data set may give away besides its texts, measured: ties of class and style, guesses of the class from what
must not show it, duplicates, and glyphs that look alike. Numbers only: `textgen.lint` judges them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import erfc, sqrt
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from textgen.assets.fonts import Face
from textgen.common.arrays import F32, U8, Rng
from textgen.kernels.glyphs import SCALE
from textgen.spec.parser import OTHER, Spec

BINS = 10  # of a continuous attribute, equally full
HIDDEN = 384  # random features
FOLDS, RIDGE = 3, 0.1  # RIDGE is that of features with deviation 1, times their number
MAX_GROUPS = 256  # of classes that are guessed
CELL = 3  # pixels a side: crops are compared by the mean of such cells, which averages noise and compression away
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
WORKING = 4 << 20  # values that features are made of at a time
BLOCK = 512  # crops compared at a time
SHIFTS = [(dy, dx) for dy in (-2, 0, 2) for dx in (-4, -2, 0, 2, 4)]  # of one glyph over another, in quarter pixels

Ints = NDArray[np.int64]


class Tie(NamedTuple):
    """How strongly two attributes go together: Cramér's V without bias, and the chance p of as much by accident."""

    effect: float
    p: float


def tie(one: Ints, other: Ints) -> Tie:
    """The tie of two attributes (n,) of the same samples, numbers of categories.

    V is bias-corrected (Bergsma, J. Korean Stat. Soc. 42, 2013): where the one decides the other in a share t of the
    samples and chance in the rest, V is about t, whatever the number of categories. p is the tail of Pearson's chi²
    over all permutations of one attribute: a gamma distribution with their exact mean and variance (Dawson, Biometrika
    41, 1954), by the cube-root transform of Wilson and Hilferty (PNAS 17, 1931). Unlike the usual chi² distribution it
    needs no expected count of five.
    """
    n = len(one)
    _, one = np.unique(one, return_inverse=True)
    _, other = np.unique(other, return_inverse=True)
    rows, columns = np.bincount(one), np.bincount(other)
    r, c = len(rows), len(columns)
    most = min(k - (k - 1) ** 2 / max(n - 1, 1) for k in (r, c)) - 1  # of phi, where the one decides the other
    if n < 5 or most <= 1e-6:  # one of the two never varies, or all its values differ
        return Tie(0.0, 1.0)
    cells = np.bincount(one * c + other, minlength=r * c).reshape(r, c).astype(np.float64)
    chi = n * float((cells**2 / np.outer(rows, columns)).sum() - 1)

    free = (r - 1) * (c - 1)
    phi = max(0.0, chi / n - free / (n - 1))
    effect = sqrt(phi / most)

    (v1, w1), (v2, w2) = (_spread(margin, n) for margin in (rows, columns))
    mean = n / (n - 1) * free
    variance = 2 * n / (n - 3) * (v1 - w1) * (v2 - w2) + n**2 / (n - 1) * w1 * w2
    ninth = variance / mean**2 / 9
    z = (max(chi / mean, 0.0) ** (1 / 3) - (1 - ninth)) / sqrt(max(ninth, 1e-12))
    return Tie(min(effect, 1.0), erfc(z / sqrt(2)) / 2)


def _spread(margin: Ints, n: int) -> tuple[float, float]:
    """Dawson's v and w of one margin."""
    k = len(margin)
    return (k - 1) * (n - k) / (n - 1), (float((1 / margin).sum()) - k**2 / n) / (n - 2)


def holm(ps: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm, Scand. J. Stat. 6, 1979), in the order given.

    >>> holm([0.01, 0.5, 0.02])
    [0.03, 0.5, 0.04]
    """
    corrected, most = [0.0] * len(ps), 0.0
    for rank, i in enumerate(np.argsort(ps).tolist()):
        most = max(most, min(1.0, (len(ps) - rank) * ps[i]))
        corrected[i] = most
    return corrected


def binned(values: NDArray[Any]) -> Ints:
    """Continuous values (n,) as numbers of bins, equally full but for equal values, which share one."""
    edges = np.unique(np.quantile(values, np.arange(1, BINS) / BINS))
    return np.searchsorted(edges, values, side="right").astype(np.int64)


def rank_within(values: NDArray[Any], strata: NDArray[Any], rng: Rng) -> NDArray[np.float64]:
    """The rank in 0…1 of each value (n,) among those of its stratum, equal values in random order.

    Where a value depends on the class through its stratum alone, its rank does not depend on the class.
    """
    order = np.lexsort((rng.random(len(values)), values, strata))
    _, firsts, counts = np.unique(strata[order], return_index=True, return_counts=True)
    ranks = np.empty(len(values))
    ranks[order] = (np.arange(len(values)) - np.repeat(firsts, counts) + 0.5) / np.repeat(counts, counts)
    return ranks


def attributes(samples: NDArray[Any], size: tuple[int, int], rng: Rng) -> dict[str, Ints]:
    """What a class must not decide, of samples with ink, each as categories (n,).

    The room that a text leaves depends on its width, and so does where it can stand. Hence x and y as they are drawn,
    in shares of that room; and the box of the ink among those of the same width (height).
    """
    s = samples
    canvases = s["source"].astype(np.int64) * (int(s["canvas"].max(initial=0)) + 1) + s["canvas"]
    categories = {"face": s["face"], "height": s["height"], "outline": s["stroke"], "slant": s["slant"]}
    categories |= {"source": s["source"], "canvas": canvases, "neighbour": s["side"]}
    values = {"x": s["x"], "y": s["y"], "spacing": s["spacing"]}
    values |= {"red": s["red"], "green": s["green"], "blue": s["blue"]}
    values["left, of equal widths"] = rank_within(s["left"], s["right"] - s["left"], rng)
    values["top, of equal heights"] = rank_within(s["top"], s["bottom"] - s["top"], rng)
    whole = {name: value.astype(np.int64) for name, value in categories.items()}
    return whole | {name: binned(value) for name, value in values.items()}


@dataclass(frozen=True)
class Guess:
    """How often a classifier was right on samples that it had not seen, and how often the commonest class is."""

    hits: int
    tested: int
    chance: float

    @property
    def accuracy(self) -> float:
        return self.hits / self.tested

    def interval(self, z: float) -> tuple[float, float]:
        """Wilson's interval for the accuracy, `z` standard deviations to both sides."""
        n, share = self.tested, self.accuracy
        middle, reach = share + z**2 / (2 * n), z * sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
        return (middle - reach) / (1 + z**2 / n), (middle + reach) / (1 + z**2 / n)


def guess(features: F32, labels: Ints, rng: Rng, hidden: int = 0) -> Guess:
    """Guess labels (n,) from features (n, d): ridge regression to one-hot labels, each third by the others.

    With `hidden` as many random rectified features beside the given ones (Rahimi and Recht, NIPS 2008), so that it is
    a network of one hidden layer that is left as it was initialised.
    """
    _, labels = np.unique(labels, return_inverse=True)
    if labels.max() >= MAX_GROUPS:  # of many classes, whether their groups can be guessed
        labels = rng.permutation(int(labels.max()) + 1)[labels] % MAX_GROUPS
    x = (features - features.mean(0)) / (features.std(0) + 1e-6)
    if hidden:
        weights = rng.standard_normal((x.shape[1], hidden)).astype(np.float32) / np.float32(sqrt(x.shape[1]))
        x = np.hstack([x, np.maximum(x @ weights + rng.standard_normal(hidden).astype(np.float32), 0)])
        x = (x - x.mean(0)) / (x.std(0) + 1e-6)
    fold = np.empty(len(x), np.int64)
    fold[np.lexsort((rng.random(len(x)), labels))] = np.arange(len(x)) % FOLDS  # every class in all of them alike
    parts = [np.flatnonzero(fold == number) for number in range(FOLDS)]
    targets = np.eye(int(labels.max()) + 1, dtype=np.float32)[labels] - np.bincount(labels).astype(np.float32) / len(x)
    grams, products = [x[part].T @ x[part] for part in parts], [x[part].T @ targets[part] for part in parts]
    ridge = RIDGE * len(x) * np.eye(x.shape[1], dtype=np.float32)
    hits = 0
    for part, gram, product in zip(parts, grams, products, strict=True):
        learnt = np.linalg.solve(sum(grams) - gram + ridge, sum(products) - product)
        hits += int(((x[part] @ learnt).argmax(1) == labels[part]).sum())
    return Guess(hits, len(x), float(np.bincount(labels).max() / len(labels)))


def one_hot(columns: Sequence[Ints]) -> F32:
    """Categories (n,) each as one array (n, all categories) of zeros and ones."""
    parts = []
    for column in columns:
        values, numbers = np.unique(column, return_inverse=True)
        parts.append(np.eye(len(values), dtype=np.float32)[numbers])
    return np.hstack(parts)


def ground_features(images: U8) -> F32:
    """What tells one background from another: colours of 6×8 fields, mean and deviation of all, and fine detail."""
    step = max(1, WORKING // images[0].size)
    return np.concatenate([_ground_features(images[start : start + step]) for start in range(0, len(images), step)])


def _ground_features(images: U8) -> F32:
    n = len(images)
    fields = np.stack([cv2.resize(image, (8, 6), interpolation=cv2.INTER_AREA) for image in images]).astype(np.float32)
    pixels = images.reshape(n, -1, 3).astype(np.float32)
    luma = images.astype(np.float32) @ LUMA
    detail = [np.log1p(np.abs(np.diff(luma, axis=axis)).mean((1, 2))) for axis in (1, 2)]
    return np.hstack([fields.reshape(n, -1), pixels.mean(1), pixels.std(1), np.stack(detail, 1)])


def repeated(images: U8, others: U8) -> NDArray[np.bool_]:
    """For each of `images` (n,) whether one of `others` has the same bytes."""
    known = {hash(image.tobytes()) for image in others}
    return np.array([hash(image.tobytes()) in known for image in images], bool)


def thumbnails(images: U8) -> F32:
    """Crops (n, H, W, 3) as means of cells of CELL pixels, (n, d), less the mean of each channel: light may differ."""
    n, height, width, _ = images.shape
    size = (max(width // CELL, 1), max(height // CELL, 1))
    small = np.stack([cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in images]).astype(np.float32)
    small -= small.mean((1, 2), keepdims=True)
    return small.reshape(n, -1)


def nearest(images: U8, samples: NDArray[Any], others: U8, below: float) -> F32:
    """The distance of each of `images`, drawn as `samples`, to the crop among `others` that is most alike.

    It is the root mean square difference of thumbnails, as a share of the larger one's own: 0 alike, and about 1.4 for
    two that have nothing in common. Where that is less than `below`, the texts decide if they are further apart: in a
    large crop two texts on one background would be lost.
    """
    ours, theirs = thumbnails(images), thumbnails(others)
    squares = (theirs**2).sum(1)
    blocks = [ours[start : start + BLOCK] for start in range(0, len(ours), BLOCK)]
    numbers = np.concatenate([(squares - 2 * block @ theirs.T).argmin(1) for block in blocks])
    # Not from the products: the difference of large numbers would hide a small one.
    distances = _apart(ours, theirs[numbers])
    for i in np.flatnonzero(distances < below).tolist():
        s = samples[i]
        box = np.s_[max(s["top"] - CELL, 0) : s["bottom"] + CELL, max(s["left"] - CELL, 0) : s["right"] + CELL]
        one, two = (cv2.blur(image, (CELL, CELL))[box].astype(np.float32) for image in (images[i], others[numbers[i]]))
        pair = [(part - part.mean((0, 1))).reshape(1, -1) for part in (one, two)]
        distances[i] = max(distances[i], _apart(*pair)[0])
    return distances


def _apart(ours: F32, theirs: F32) -> F32:
    """The distances of rows (n, d)."""
    own = np.sqrt(np.maximum((ours**2).mean(1), (theirs**2).mean(1)))
    distances: F32 = np.sqrt(((ours - theirs) ** 2).mean(1)) / np.maximum(own, 1)
    return distances


def telling_pairs(spec: Spec, others: Sequence[str]) -> set[tuple[str, str]]:
    """The pairs of characters of which one in place of the other makes a text of one class one of another class.

    `others` are some texts of class "other".
    """
    characters, names = sorted(spec.characters), set(spec.classes[:-1])
    pairs = set()
    for texts, is_class in ((names, names.__contains__), (set(others), lambda text: spec.label_of(text) != OTHER)):
        for text in texts:
            for at, one in enumerate(text):
                for two in characters:
                    if one != two and is_class(text[:at] + two + text[at + 1 :]):
                        pairs.add((min(one, two), max(one, two)))
    return pairs


def glyph_distances(face: Face, characters: str, height: float) -> F32:
    """How different the characters (c,) are in a face with digits `height` pixels high: (c, c), 0 alike to 1 disjoint.

    Coverage as in a crop, each sample of it averaged over a pixel, on one baseline; |a - b| as a share of a + b where
    the one, shifted by at most a pixel across and half a pixel down, lies best on the other.
    """
    glyphs = [face.glyph(character, face.pixels_per_em(height)) for character in characters]
    rim = 2 * SCALE
    top, bottom = min(g.top for g in glyphs), max(g.top + g.fill.shape[0] for g in glyphs)
    width = max(g.fill.shape[1] for g in glyphs)
    canvas = np.zeros((len(glyphs), bottom - top + 2 * rim, width + 2 * rim), np.float32)
    for mask, g in zip(canvas, glyphs, strict=True):
        h, w = g.fill.shape
        y, x = rim + g.top - top, rim + (width - w) // 2
        mask[y : y + h, x : x + w] = g.fill
        mask[:] = cv2.blur(mask, (SCALE, SCALE), borderType=cv2.BORDER_CONSTANT)
    ink = canvas.sum((1, 2))
    best = np.full((len(glyphs), len(glyphs)), np.inf, np.float32)
    for dy, dx in SHIFTS:
        moved = np.roll(canvas, (dy, dx), (1, 2))
        for i in range(len(glyphs)):
            best[i] = np.minimum(best[i], np.abs(canvas[i] - moved).sum((1, 2)))
    distances: F32 = np.minimum(best, best.T) / np.maximum(ink[:, None] + ink, 1)
    return distances
