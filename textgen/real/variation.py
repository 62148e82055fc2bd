"""Random variations of real crops, so that few of them teach what does not change: other colours, places and noise."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from textgen.common.array_types import F32, U8
from textgen.common.pictures import Size, resize

SHIFT, SCALE = 0.04, 0.05  # of the crop's height and width
RECOLORED, TINTED, NOISY = 0.7, 0.25, 0.5  # chances: channels mixed anew, darkened each by itself, noise
INVERTED = 0.1  # chance of a negative: text that was lighter than its background is darker
MIXTURE, TINT = (0.25, 0.25, 0.25), (0.4, 1.0)  # of a Dirichlet distribution; factors of channels
CONTRAST, BRIGHTNESS, BALANCE = (
    (0.7, 1.2),
    15.0,
    10.0,
)  # a factor; standard deviations in levels, of all and of each channel
MAX_NOISE = 8.0  # standard deviation in levels


def vary(crops: Sequence[U8], size: Size, rng: np.random.Generator) -> U8:
    """Variations uint8 (n, H, W, 3) of n crops (h, w, 3), in `size` (H, W), to which they are scaled as for prediction.

    A crop is moved and stretched by a few percent, and its colours change: a counter that turns red in its last seconds
    must not need footage of that.
    """
    n = len(crops)
    moved = np.stack([resize(_move(crop, rng), size) for crop in crops]).astype(np.float32)
    negative = rng.random(n) < INVERTED
    moved[negative] = 255 - moved[negative]
    mixed = moved.reshape(n, -1, 3) @ _draw_color_mixes(n, rng) - 128  # (n, H·W, 3) @ (n, 3, 3)
    mixed *= rng.uniform(*CONTRAST, (n, 1, 1)).astype(np.float32)
    mixed += 128 + (rng.normal(0, BRIGHTNESS, (n, 1, 1)) + rng.normal(0, BALANCE, (n, 1, 3))).astype(np.float32)
    noisy = np.flatnonzero(rng.random(n) < NOISY)
    noise = rng.standard_normal((len(noisy), *mixed.shape[1:]), np.float32)
    mixed[noisy] += noise * rng.uniform(1, MAX_NOISE, (len(noisy), 1, 1)).astype(np.float32)
    return mixed.clip(0, 255).astype(np.uint8).reshape(moved.shape)


def _draw_color_mixes(n: int, rng: np.random.Generator) -> F32:
    """Matrices (n, 3, 3) from a crop's RGB to another.

    Each new channel is a mixture of the old ones, mostly of one: from yellow come red, orange, blue and grey.
    """
    mixes = np.tile(np.eye(3), (n, 1, 1))
    recolored, tinted = rng.random((2, n)) < ((RECOLORED,), (TINTED,))
    mixes[recolored] = rng.dirichlet(MIXTURE, (recolored.sum(), 3)).transpose(0, 2, 1)
    mixes[tinted] *= rng.uniform(*TINT, (tinted.sum(), 1, 3))
    return mixes.astype(np.float32)


def _move(crop: U8, rng: np.random.Generator) -> U8:
    """A window of about the crop's size at about its place; what lies outside repeats the crop's edge."""
    (top, bottom), (left, right) = (_draw_window(side, rng) for side in crop.shape[:2])
    height, width = crop.shape[:2]
    outside = max(-top, 0), max(bottom - height, 0), max(-left, 0), max(right - width, 0)
    padded = cv2.copyMakeBorder(crop, *outside, cv2.BORDER_REPLICATE) if any(outside) else crop
    return np.asarray(padded[max(top, 0) :, max(left, 0) :][: bottom - top, : right - left], np.uint8)


def _draw_window(side: int, rng: np.random.Generator) -> tuple[int, int]:
    """Begin and end of a window on a side of a crop, in pixels; they may lie outside it."""
    length = max(round(side * rng.uniform(1 - SCALE, 1 + SCALE)), 1)
    start = round((side - length) / 2 + side * rng.uniform(-SHIFT, SHIFT))
    return start, start + length
