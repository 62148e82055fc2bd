"""Similarity of crops, to find copies of crops in other splits, and of glyphs that distinguish classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from textgen.assets.fonts import Face
from textgen.common.array_types import F32, U8
from textgen.kernels.glyphs import SCALE
from textgen.spec.characters import is_blank
from textgen.spec.parser import Spec
from textgen.spec.values import OTHER

CELL = 3  # pixels a side: crops are compared by means of such cells, which average out noise and compression
BATCH_CROPS = 512  # crops compared at a time: bounds memory
MAX_ALIKE_CHARACTERS = 200  # of all values; their pairs are compared in every face
SHIFTS = [(dy, dx) for dy in (-2, 0, 2) for dx in (-4, -2, 0, 2, 4)]  # of one glyph over another, in quarter pixels


def find_identical(images: U8, others: U8) -> NDArray[np.bool_]:
    """Find the crops in `images` (n, H, W, 3) that have the same bytes as a crop in `others`: bool (n,)."""
    known = {hash(image.tobytes()) for image in others}
    return np.array([hash(image.tobytes()) in known for image in images], bool)


def measure_nearest_distances(images: U8, samples: NDArray[Any], others: U8, threshold: float) -> F32:
    """Measure the distance (n,) of each crop in `images`, drawn as `samples`, to the most similar one in `others`.

    The distance is the root mean square difference of the crops' thumbnails, relative to the larger root mean square
    of the two thumbnails: 0 if they are identical, about 1.4 if they are unrelated. If it is below `threshold`, it is
    raised to the distance of the regions around the text, because two texts on the same background differ little in
    a large crop.
    """
    thumbnails, other_thumbnails = _make_thumbnails(images), _make_thumbnails(others)
    squares = (other_thumbnails**2).sum(1)
    batches = [thumbnails[start : start + BATCH_CROPS] for start in range(0, len(thumbnails), BATCH_CROPS)]
    nearest = np.concatenate([(squares - 2 * batch @ other_thumbnails.T).argmin(1) for batch in batches])
    # Not computed from these products: small differences of large numbers would be inexact.
    distances = _measure_distances(thumbnails, other_thumbnails[nearest])
    for i in np.flatnonzero(distances < threshold).tolist():
        s = samples[i]
        box = np.s_[max(s["top"] - CELL, 0) : s["bottom"] + CELL, max(s["left"] - CELL, 0) : s["right"] + CELL]
        pair = [cv2.blur(image, (CELL, CELL))[box].astype(np.float32) for image in (images[i], others[nearest[i]])]
        region, other_region = ((part - part.mean((0, 1))).reshape(1, -1) for part in pair)
        distances[i] = max(distances[i], _measure_distances(region, other_region)[0])
    return distances


def _make_thumbnails(images: U8) -> F32:
    """Scale crops (n, H, W, 3) to one value per cell and channel, (n, d), less the mean of each channel."""
    n, height, width, _ = images.shape
    size = (max(width // CELL, 1), max(height // CELL, 1))
    small = np.stack([cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in images]).astype(np.float32)
    small -= small.mean((1, 2), keepdims=True)
    return small.reshape(n, -1)


def _measure_distances(a: F32, b: F32) -> F32:
    """Measure the relative distances of the rows of `a` and `b` (n, d): (n,)."""
    scale = np.sqrt(np.maximum((a**2).mean(1), (b**2).mean(1)))
    distances: F32 = np.sqrt(((a - b) ** 2).mean(1)) / np.maximum(scale, 1)
    return distances


def find_distinguishing_pairs(spec: Spec, other_texts: Sequence[str]) -> set[tuple[str, str]]:
    """Find the pairs of characters whose exchange turns a text of one class into a text of another class.

    `other_texts` are sample texts of class "other".
    """
    characters, values = sorted(spec.characters), spec.values
    pairs = set()

    def differs(changed: str, value: str) -> bool:
        return values.get(changed, values[value]) != values[value]

    def is_class(changed: str, _: str) -> bool:
        return spec.answer_of(changed) != OTHER

    for texts, is_of_another_class in (
        (list(values), differs),
        (sorted(set(other_texts)), is_class),
    ):
        for text in texts:
            for at, one in enumerate(text):
                for two in characters:
                    if one != two and is_of_another_class(text[:at] + two + text[at + 1 :], text):
                        pairs.add((min(one, two), max(one, two)))
    return pairs


def measure_glyph_distances(face: Face, characters: str, height: float) -> F32:
    """Measure how different the glyphs of `characters` (c,) are, with digits `height` pixels high: (c, c).

    The distance of two glyphs is |a - b| / (a + b), summed over their coverages on a common baseline: 0 for identical
    glyphs, 1 for disjoint ones. Coverages are averaged over a pixel, as in a crop, and the least distance over shifts
    of up to a pixel horizontally and half a pixel vertically counts.
    """
    glyphs = [face.draw_glyph(character, face.pixels_per_em(height)) for character in characters]
    border = 2 * SCALE
    top, bottom = min(g.top for g in glyphs), max(g.top + g.fill.shape[0] for g in glyphs)
    width = max(g.fill.shape[1] for g in glyphs)
    coverages = np.zeros((len(glyphs), bottom - top + 2 * border, width + 2 * border), np.float32)
    for coverage, g in zip(coverages, glyphs, strict=True):
        h, w = g.fill.shape
        y, x = border + g.top - top, border + (width - w) // 2
        coverage[y : y + h, x : x + w] = g.fill
        coverage[:] = cv2.blur(coverage, (SCALE, SCALE), borderType=cv2.BORDER_CONSTANT)
    ink = coverages.sum((1, 2))
    least = np.full((len(glyphs), len(glyphs)), np.inf, np.float32)
    for dy, dx in SHIFTS:
        shifted = np.roll(coverages, (dy, dx), (1, 2))
        for i in range(len(glyphs)):
            least[i] = np.minimum(least[i], np.abs(coverages[i] - shifted).sum((1, 2)))
    distances: F32 = np.minimum(least, least.T) / np.maximum(ink[:, None] + ink, 1)
    return distances


def find_alike_values(spec: Spec, faces: Sequence[Face], height: float, threshold: float) -> list[tuple[str, str]]:
    """Find pairs of values of different classes all of whose characters look alike, such as Latin and Cyrillic letters.

    Characters look alike if their distance is below `threshold` in at least half of the faces.
    """
    characters = "".join(sorted({c for value in spec.values for c in value if not is_blank(c)}))[:MAX_ALIKE_CHARACTERS]
    if not faces or characters.isascii():
        return []
    distances = np.median([measure_glyph_distances(face, characters, height) for face in faces], 0)
    first_alike = {ord(c): characters[int(np.argmax(distances[at] < threshold))] for at, c in enumerate(characters)}
    found, seen = [], dict[str, str]()
    for value in spec.values:
        other = seen.setdefault(value.translate(first_alike), value)
        if spec.values[other] != spec.values[value]:
            found.append((other, value))
    return found
