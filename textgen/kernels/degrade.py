"""What a stream does to a crop, in compiled code: scaled down and up again, blurred, other light, noise, less colour.

Scaling and blur are linear and act on rows and columns alike, so each is a banded matrix per axis. H.264 before
and JPEG after are other people's codecs, see `textgen.render.codec`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from textgen.common.arrays import F32
from textgen.kernels import philox
from textgen.kernels.jit import compiled
from textgen.kernels.tables import OK, STREAM, STREAMS, normal_numbers
from textgen.schema.augment import Augment

BLURS = 16  # levels of blur
NORMALS = 1 << 18  # places at which a crop's noise can begin


class Bands(NamedTuple):
    """Matrices (levels, n, n) of one axis as bands: row i is weights[level, i, :] from column firsts[level, i] on."""

    weights: F32
    firsts: NDArray[np.int32]


class DegradationTable(NamedTuple):
    """`textgen.schema.augment.Augment` as numbers, without its codecs."""

    resize_chance: float
    down_y: Bands
    down_x: Bands
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


def build_degradation_table(stream: Augment, size: tuple[int, int]) -> DegradationTable:
    """Tables for crops of `size` (H, W)."""
    resize, blur = stream.resize, stream.blur
    scales = _between(resize.scale) if resize else [1.0]
    sigmas = _between(blur.sigma) if blur else [0.0]
    return DegradationTable(
        resize_chance=resize.chance if resize else 0.0,
        down_y=_bands([_down_and_up(size[0], scale) for scale in scales]),
        down_x=_bands([_down_and_up(size[1], scale) for scale in scales]),
        blur_chance=blur.chance if blur else 0.0,
        blur_y=_bands([_gaussian(size[0], sigma) for sigma in sigmas]),
        blur_x=_bands([_gaussian(size[1], sigma) for sigma in sigmas]),
        light_chance=stream.light.chance if stream.light else 0.0,
        brightness=stream.light.brightness * 255 if stream.light else 0.0,
        contrast=stream.light.contrast if stream.light else 0.0,
        noise_chance=stream.noise.chance if stream.noise else 0.0,
        noise=np.array(stream.noise.deviation if stream.noise else (0, 0), float),
        chroma_chance=stream.chroma.chance if stream.chroma else 0.0,
        jpeg_chance=stream.jpeg.chance if stream.jpeg else 0.0,
        jpeg_quality=np.array(stream.jpeg.quality if stream.jpeg else (100, 100), np.int64),
        normals=np.resize(normal_numbers(NORMALS), NORMALS + 3 * size[0] * size[1]),
    )


def _between(bounds: tuple[float, float]) -> list[float]:
    return [float(value) for value in np.linspace(*bounds, 1 if bounds[0] == bounds[1] else BLURS)]


def _down_and_up(n: int, scale: float) -> NDArray[np.float64]:
    """Averaged down to round(n·scale) pixels, and interpolated linearly back to n."""
    m = max(round(n * scale), 1)
    edges = np.arange(m + 1) * n / m
    pixels = np.arange(n)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    down = np.clip(overlap, 0, None)
    centers = np.clip((pixels + 0.5) * m / n - 0.5, 0, m - 1)
    up = np.clip(1 - np.abs(centers[:, None] - np.arange(m)), 0, None)
    return np.asarray((up / up.sum(1, keepdims=True)) @ (down / down.sum(1, keepdims=True)))


def _gaussian(n: int, sigma: float) -> NDArray[np.float64]:
    """A Gaussian blur; at an edge the pixels beyond it are its own repeated."""
    reach = int(np.ceil(3 * sigma))
    offsets = np.arange(-reach, reach + 1)
    kernel = np.exp(-0.5 * (offsets / max(sigma, 1e-6)) ** 2)
    matrix = np.zeros((n, n))
    for offset, weight in zip(offsets, kernel / kernel.sum(), strict=True):
        np.add.at(matrix, (np.arange(n), np.clip(np.arange(n) + offset, 0, n - 1)), weight)
    return matrix


def _bands(matrices: list[NDArray[np.float64]]) -> Bands:
    rounded = [np.rint(matrix * 4096) / 4096 for matrix in matrices]  # the same on every machine
    n = len(rounded[0])
    used = [np.flatnonzero(row) for matrix in rounded for row in matrix]
    width = max(int(row.max() - row.min()) + 1 for row in used)
    firsts = np.array([min(int(row.min()), n - width) for row in used], np.int32).reshape(len(matrices), n)
    weights = np.zeros((len(matrices), n, width), np.float32)
    for level, matrix in enumerate(rounded):
        for i, row in enumerate(matrix):
            band = row[firsts[level, i] : firsts[level, i] + width]
            weights[level, i] = band / band.sum()
    return Bands(weights, firsts)


@compiled
def degrade(samples, images, key, w, qualities):
    """Degrade `images` uint8 (n, H, W, 3) in place; `qualities` (n,) are those of the JPEGs to come, 0 for none."""
    _, height, width, _ = images.shape
    state = np.empty(philox.STATE, np.uint64)
    first = np.empty((height, width, 3), np.float32)
    second = np.empty((height, width, 3), np.float32)
    low, high, half = np.float32(0), np.float32(255), np.float32(0.5)
    for k in range(len(samples)):
        s, image = samples[k], images[k]
        qualities[k] = 0
        if s.status != OK:
            continue
        philox.start(state, key, s.index, STREAM + STREAMS * s.attempt)
        resized, blurred = philox.uniform(state) < w.resize_chance, philox.uniform(state) < w.blur_chance
        if resized or blurred:
            first[:] = image
            if resized:
                level = philox.below(state, len(w.down_y.weights))
                _filter(first, second, w.down_y, w.down_x, level)
            if blurred:
                level = philox.below(state, len(w.blur_y.weights))
                _filter(first, second, w.blur_y, w.blur_x, level)
            for y in range(height):
                for x in range(width):
                    for c in range(3):
                        image[y, x, c] = np.uint8(np.int32(min(max(first[y, x, c], low), high) + half))
        lit, noisy = philox.uniform(state) < w.light_chance, philox.uniform(state) < w.noise_chance
        if lit or noisy:
            scale, shift, deviation = np.float32(1), half, low
            if lit:
                scale = np.float32(philox.between(state, 1 - w.contrast, 1 + w.contrast))
                shift += np.float32(philox.between(state, -w.brightness, w.brightness))
            if noisy:
                deviation = np.float32(philox.between(state, w.noise[0], w.noise[1]))
            # Noise from a random place of the table: to draw all of it anew takes several times as long.
            at = philox.below(state, NORMALS)
            pixels, noise = image.reshape(3 * height * width), w.normals[at : at + 3 * height * width]
            for x in range(len(pixels)):
                value = np.float32(pixels[x]) * scale + shift + noise[x] * deviation
                pixels[x] = np.uint8(np.int32(min(max(value, low), high)))
        if philox.uniform(state) < w.chroma_chance:
            _halve_chroma(image)
        if philox.uniform(state) < w.jpeg_chance:
            qualities[k] = w.jpeg_quality[0] + philox.below(state, w.jpeg_quality[1] - w.jpeg_quality[0] + 1)


@compiled
def _filter(pixels, scratch, down, across, level):
    """Multiply float32 `pixels` (H, W, 3) by a matrix per axis."""
    height, width, _ = pixels.shape
    scratch[:] = 0
    for y in range(height):
        for tap in range(down.weights.shape[2]):
            weight, source = down.weights[level, y, tap], down.firsts[level, y] + tap
            if weight != 0:
                for x in range(width):
                    for c in range(3):
                        scratch[y, x, c] += weight * pixels[source, x, c]
    for y in range(height):
        for x in range(width):
            red = green = blue = np.float32(0)
            for tap in range(across.weights.shape[2]):
                weight, source = across.weights[level, x, tap], across.firsts[level, x] + tap
                red += weight * scratch[y, source, 0]
                green += weight * scratch[y, source, 1]
                blue += weight * scratch[y, source, 2]
            pixels[y, x, 0], pixels[y, x, 1], pixels[y, x, 2] = red, green, blue


@compiled
def _halve_chroma(image):
    """Colour at half the resolution, as 4:2:0 video has it: each pixel keeps its luma (ITU-R BT.601) and takes the mean
    colour of its block of 2×2."""
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
