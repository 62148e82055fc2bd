"""Degradation of crops in compiled code: resizing, blur, brightness and contrast, noise, and halved chroma.

Resizing and blur are linear and separable, so each is one banded matrix per axis. H.264, which comes before, and JPEG,
which comes after, are in `textgen.render.image_codecs`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from textgen.common.array_types import F32
from textgen.kernels import philox
from textgen.kernels.jit import compiled
from textgen.kernels.tables import DEGRADATION_STREAM, OK, STREAMS_PER_ATTEMPT, build_normal_table
from textgen.schema.augment import Augment

LEVELS = 16  # of resizing and of blur
NOISE_OFFSETS = 1 << 18  # positions in the table of normal numbers at which a crop's noise can start


class Bands(NamedTuple):
    """Banded matrices (levels, n, n) for one axis: row i is weights[level, i], from column starts[level, i] on."""

    weights: F32
    starts: NDArray[np.int32]


class DegradationTable(NamedTuple):
    """`textgen.schema.augment.Augment` as numbers, without its codecs."""

    resize_chance: float
    resize_y: Bands
    resize_x: Bands
    blur_chance: float
    blur_y: Bands
    blur_x: Bands
    light_chance: float
    brightness: float  # levels of 255
    contrast: float
    noise_chance: float
    noise: NDArray[np.float64]  # range of the standard deviation, levels of 255
    chroma_chance: float
    jpeg_chance: float
    jpeg_quality: NDArray[np.int64]
    normals: F32


def build_degradation_table(augment: Augment, size: tuple[int, int]) -> DegradationTable:
    """The table for crops of `size` (H, W)."""
    resize, blur = augment.resize, augment.blur
    scales = _spread_levels(resize.scale) if resize else [1.0]
    sigmas = _spread_levels(blur.sigma) if blur else [0.0]
    return DegradationTable(
        resize_chance=resize.chance if resize else 0.0,
        resize_y=_to_bands([_build_resize_matrix(size[0], scale) for scale in scales]),
        resize_x=_to_bands([_build_resize_matrix(size[1], scale) for scale in scales]),
        blur_chance=blur.chance if blur else 0.0,
        blur_y=_to_bands([_build_blur_matrix(size[0], sigma) for sigma in sigmas]),
        blur_x=_to_bands([_build_blur_matrix(size[1], sigma) for sigma in sigmas]),
        light_chance=augment.light.chance if augment.light else 0.0,
        brightness=augment.light.brightness * 255 if augment.light else 0.0,
        contrast=augment.light.contrast if augment.light else 0.0,
        noise_chance=augment.noise.chance if augment.noise else 0.0,
        noise=np.array(augment.noise.deviation if augment.noise else (0, 0), float),
        chroma_chance=augment.chroma.chance if augment.chroma else 0.0,
        jpeg_chance=augment.jpeg.chance if augment.jpeg else 0.0,
        jpeg_quality=np.array(augment.jpeg.quality if augment.jpeg else (100, 100), np.int64),
        normals=np.resize(build_normal_table(NOISE_OFFSETS), NOISE_OFFSETS + 3 * size[0] * size[1]),
    )


def _spread_levels(bounds: tuple[float, float]) -> list[float]:
    return [float(value) for value in np.linspace(*bounds, 1 if bounds[0] == bounds[1] else LEVELS)]


def _build_resize_matrix(n: int, scale: float) -> NDArray[np.float64]:
    """A matrix (n, n) that averages down to round(n·scale) pixels and interpolates linearly back to n."""
    m = max(round(n * scale), 1)
    edges = np.arange(m + 1) * n / m
    pixels = np.arange(n)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    down = np.clip(overlap, 0, None)
    centers = np.clip((pixels + 0.5) * m / n - 0.5, 0, m - 1)
    up = np.clip(1 - np.abs(centers[:, None] - np.arange(m)), 0, None)
    return np.asarray((up / up.sum(1, keepdims=True)) @ (down / down.sum(1, keepdims=True)))


def _build_blur_matrix(n: int, sigma: float) -> NDArray[np.float64]:
    """A matrix (n, n) of a Gaussian blur that repeats the pixels at the edges."""
    reach = int(np.ceil(3 * sigma))
    offsets = np.arange(-reach, reach + 1)
    kernel = np.exp(-0.5 * (offsets / max(sigma, 1e-6)) ** 2)
    matrix = np.zeros((n, n))
    for offset, weight in zip(offsets, kernel / kernel.sum(), strict=True):
        np.add.at(matrix, (np.arange(n), np.clip(np.arange(n) + offset, 0, n - 1)), weight)
    return matrix


def _to_bands(matrices: list[NDArray[np.float64]]) -> Bands:
    rounded = [np.rint(matrix * 4096) / 4096 for matrix in matrices]  # so that they are equal on every machine
    n = len(rounded[0])
    used = [np.flatnonzero(row) for matrix in rounded for row in matrix]
    width = max(int(row.max() - row.min()) + 1 for row in used)
    starts = np.array([min(int(row.min()), n - width) for row in used], np.int32).reshape(len(matrices), n)
    weights = np.zeros((len(matrices), n, width), np.float32)
    for level, matrix in enumerate(rounded):
        for i, row in enumerate(matrix):
            band = row[starts[level, i] : starts[level, i] + width]
            weights[level, i] = band / band.sum()
    return Bands(weights, starts)


@compiled
def degrade(samples, images, key, table, qualities):
    """Degrade `images` uint8 (n, H, W, 3) in place; set `qualities` (n,) for the JPEG step, 0 for none."""
    _, height, width, _ = images.shape
    state = np.empty(philox.STATE, np.uint64)
    first = np.empty((height, width, 3), np.float32)
    second = np.empty((height, width, 3), np.float32)
    low, high, half = np.float32(0), np.float32(255), np.float32(0.5)
    for k in range(len(samples)):
        sample, image = samples[k], images[k]
        qualities[k] = 0
        if sample.status != OK:
            continue
        philox.start(state, key, sample.index, DEGRADATION_STREAM + STREAMS_PER_ATTEMPT * sample.attempt)
        resized, blurred = philox.uniform(state) < table.resize_chance, philox.uniform(state) < table.blur_chance
        if resized or blurred:
            first[:] = image
            if resized:
                level = philox.below(state, len(table.resize_y.weights))
                _filter(first, second, table.resize_y, table.resize_x, level)
            if blurred:
                level = philox.below(state, len(table.blur_y.weights))
                _filter(first, second, table.blur_y, table.blur_x, level)
            for y in range(height):
                for x in range(width):
                    for c in range(3):
                        image[y, x, c] = np.uint8(np.int32(min(max(first[y, x, c], low), high) + half))
        lit, noisy = philox.uniform(state) < table.light_chance, philox.uniform(state) < table.noise_chance
        if lit or noisy:
            scale, shift, deviation = np.float32(1), half, low
            if lit:
                scale = np.float32(philox.between(state, 1 - table.contrast, 1 + table.contrast))
                shift += np.float32(philox.between(state, -table.brightness, table.brightness))
            if noisy:
                deviation = np.float32(philox.between(state, table.noise[0], table.noise[1]))
            # Noise starts at a random position in a table: drawing new normal numbers takes several times as long.
            at = philox.below(state, NOISE_OFFSETS)
            pixels, noise = image.reshape(3 * height * width), table.normals[at : at + 3 * height * width]
            for x in range(len(pixels)):
                value = np.float32(pixels[x]) * scale + shift + noise[x] * deviation
                pixels[x] = np.uint8(np.int32(min(max(value, low), high)))
        if philox.uniform(state) < table.chroma_chance:
            _halve_chroma(image)
        if philox.uniform(state) < table.jpeg_chance:
            lowest, highest = table.jpeg_quality
            qualities[k] = lowest + philox.below(state, highest - lowest + 1)


@compiled
def _filter(pixels, scratch, down, across, level):
    """Multiply float32 `pixels` (H, W, 3) by the matrices of `level`, one per axis, in place."""
    height, width, _ = pixels.shape
    scratch[:] = 0
    for y in range(height):
        for tap in range(down.weights.shape[2]):
            weight, source = down.weights[level, y, tap], down.starts[level, y] + tap
            if weight != 0:
                for x in range(width):
                    for c in range(3):
                        scratch[y, x, c] += weight * pixels[source, x, c]
    for y in range(height):
        for x in range(width):
            red = green = blue = np.float32(0)
            for tap in range(across.weights.shape[2]):
                weight, source = across.weights[level, x, tap], across.starts[level, x] + tap
                red += weight * scratch[y, source, 0]
                green += weight * scratch[y, source, 1]
                blue += weight * scratch[y, source, 2]
            pixels[y, x, 0], pixels[y, x, 1], pixels[y, x, 2] = red, green, blue


@compiled
def _halve_chroma(image):
    """Halve the resolution of colour, as in 4:2:0 video.

    Each pixel keeps its luma (ITU-R BT.601) and takes the mean colour of its block of 2×2.
    """
    height, width, _ = image.shape
    for y in range(0, height, 2):
        for x in range(0, width, 2):
            y1, x1 = min(y + 2, height), min(x + 2, width)
            n = (y1 - y) * (x1 - x)
            red = green = blue = 0
            for v in range(y, y1):
                for u in range(x, x1):
                    red += image[v, u, 0]
                    green += image[v, u, 1]
                    blue += image[v, u, 2]
            mean = 77 * red + 150 * green + 29 * blue  # 256·n times the block's luma
            for v in range(y, y1):
                for u in range(x, x1):
                    luma = (
                        77 * np.int64(image[v, u, 0]) + 150 * np.int64(image[v, u, 1]) + 29 * np.int64(image[v, u, 2])
                    )
                    image[v, u, 0] = min(max((256 * red - mean + n * luma + 128 * n) // (256 * n), 0), 255)
                    image[v, u, 1] = min(max((256 * green - mean + n * luma + 128 * n) // (256 * n), 0), 255)
                    image[v, u, 2] = min(max((256 * blue - mean + n * luma + 128 * n) // (256 * n), 0), 255)
