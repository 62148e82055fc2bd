"""Backgrounds: procedural canvases and real pictures, stored at every zoom, for compiled code to take patches from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import xxhash
from numpy.typing import NDArray
from PIL import Image

from textgen.assets.catalogue import resolve_asset
from textgen.common.array_types import U8, Rng
from textgen.common.errors import UserError
from textgen.common.pictures import SUFFIXES, open_picture
from textgen.kernels.tables import BackgroundTable
from textgen.schema.game import Background

MAX_PICTURES = 5000  # of one source
MAX_CANVASES = 48  # of each procedural source
CANVAS_SIZE = (128, 192)  # height, width
MAX_SIDE = 512  # larger pictures are scaled down when read
MAX_BYTES = 128 << 20  # of all canvases at all zooms
MAX_ZOOMS = 8


@dataclass(frozen=True)
class Source:
    """A `Background` of the game with its canvases, uint8 (h, w, 3), none smaller than a crop."""

    background: Background
    canvases: list[U8]
    paths: list[Path]  # picture files, in the order of the canvases; empty for a procedural kind


class Backgrounds:
    """All sources of a game, and their canvases at every zoom. Procedural canvases depend on `seed` alone."""

    def __init__(self, backgrounds: tuple[Background, ...], size: tuple[int, int], seed: int):
        paths = [[] if b.source in KINDS else _find_pictures(b) for b in backgrounds]
        # Canvases are kept in memory at every zoom: if there are many pictures, all are scaled down further.
        zooms = max(sum(zoom**-2 for zoom in _spread_zooms(background)) for background in backgrounds)
        side = min(MAX_SIDE, int((MAX_BYTES / (3 * zooms * max(sum(map(len, paths)), 1))) ** 0.5))
        share = MAX_BYTES // len(backgrounds)
        self.sources = [
            Source(b, [read_image(path, size, side) for path in own] if own else _generate(b, size, seed, share), own)
            for b, own in zip(backgrounds, paths, strict=True)
        ]
        views: list[tuple[U8, tuple[int, int]]] = []
        rows: list[tuple[int, ...]] = []
        tints: list[tuple[int, ...]] = []
        for source in self.sources:
            levels = _spread_zooms(source.background)
            rows.append((len(views), len(source.canvases), len(levels), len(tints), len(source.background.tint)))
            views += [(canvas, _find_view_size(canvas, zoom, size)) for zoom in levels for canvas in source.canvases]
            tints += [parse_color(color) for color in source.background.tint]
        ends = np.cumsum([3 * h * w for _, (h, w) in views])
        self._pixels = np.empty(ends[-1], np.uint8)
        for end, (canvas, (h, w)) in zip(ends, views, strict=True):
            self._pixels[end - 3 * h * w : end] = _resize(canvas, (h, w)).ravel()
        self._views = np.array(
            [(end - 3 * h * w, h, w) for end, (_, (h, w)) in zip(ends, views, strict=True)], np.int64
        )
        self._sources = np.array(rows, np.int64)
        self._tints = np.array(tints or [(0, 0, 0)], np.float32)

    @property
    def digest(self) -> str:
        """A digest of all pixels, as the libraries of this machine generate and scale them."""
        return xxhash.xxh3_128_hexdigest(self._pixels.data)

    def canvas_names(self) -> list[list[str]]:
        """By source and canvas: the file name of a picture, or the procedural kind and a number."""
        return [
            [path.name for path in source.paths]
            or [f"{source.background.source} {number}" for number in range(len(source.canvases))]
            for source in self.sources
        ]

    def build_table(self, held_out: Sequence[frozenset[int]], held_out_only: bool = False) -> BackgroundTable:
        """The background table of a split: all canvases except those `held_out` of each source, or only those."""
        sources, weights, starts, canvases = [], [], [0], []
        for number, (source, held) in enumerate(zip(self.sources, held_out, strict=True)):
            usable = [i for i in range(len(source.canvases)) if (i in held) == held_out_only]
            if usable:
                sources.append(number)
                weights.append(source.background.weight)
                canvases += usable
                starts.append(len(canvases))
        backgrounds = [source.background for source in self.sources]
        return BackgroundTable(
            pixels=self._pixels,
            views=self._views,
            sources=self._sources,
            light=np.array([background.light for background in backgrounds], np.float64),
            tint_opacity=np.array([background.tint_opacity for background in backgrounds], np.float64),
            tints=self._tints,
            source_bounds=np.cumsum(np.array(weights) / np.sum(weights)),
            usable_sources=np.array(sources, np.int32),
            canvas_starts=np.array(starts, np.int32),
            usable_canvases=np.array(canvases, np.int32),
        )


def table_of_canvas(canvas: U8) -> BackgroundTable:
    """The background table of a single canvas, uint8 (H, W, 3), of the size of a crop; it may be drawn mirrored."""
    height, width, _ = canvas.shape
    return BackgroundTable(
        pixels=np.ascontiguousarray(canvas).reshape(-1),
        views=np.array([(0, height, width)], np.int64),
        sources=np.array([(0, 1, 1, 0, 0)], np.int64),
        light=np.ones((1, 2)),
        tint_opacity=np.zeros((1, 2)),
        tints=np.zeros((1, 3), np.float32),
        source_bounds=np.ones(1),
        usable_sources=np.zeros(1, np.int32),
        canvas_starts=np.array([0, 1], np.int32),
        usable_canvases=np.zeros(1, np.int32),
    )


def _spread_zooms(background: Background) -> list[float]:
    """Source pixels per crop pixel, in a geometric series with steps of at most 1.25 unless it would be too long."""
    low, high = background.zoom
    count = 1 if low == high else min(2 + int(np.log(high / low) / np.log(1.25)), MAX_ZOOMS)
    return [float(zoom) for zoom in np.geomspace(low, high, count)]


def _find_view_size(canvas: U8, zoom: float, size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of a canvas scaled down by `zoom`, but no smaller than `size`."""
    zoom = min(zoom, canvas.shape[0] / size[0], canvas.shape[1] / size[1])
    return max(round(canvas.shape[0] / zoom), size[0]), max(round(canvas.shape[1] / zoom), size[1])


def _resize(canvas: U8, size: tuple[int, int]) -> U8:
    if size == canvas.shape[:2]:
        return canvas
    method = cv2.INTER_AREA if size[0] < canvas.shape[0] or size[1] < canvas.shape[1] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(canvas, size[::-1], interpolation=method), np.uint8)


def _find_pictures(background: Background) -> list[Path]:
    paths = resolve_asset("backgrounds", background.source, SUFFIXES, KINDS)
    if len(paths) > MAX_PICTURES:
        count = f"{len(paths)} pictures, more than {MAX_PICTURES}"
        raise UserError(f"background {background.source} holds {count}: give fewer")
    return paths


def _generate(background: Background, size: tuple[int, int], seed: int, share: int) -> list[U8]:
    """The canvases of a procedural kind, as many as fit in `share` bytes at all zooms."""
    canvas = (max(CANVAS_SIZE[0], size[0]), max(CANVAS_SIZE[1], size[1]))
    bytes_each = 3 * canvas[0] * canvas[1] * sum(zoom**-2 for zoom in _spread_zooms(background))
    number = min(MAX_CANVASES, max(int(share / bytes_each), 2))
    return list(_generate_canvases(background.source, number, canvas, seed))


@lru_cache(maxsize=4)  # some 4 MB each; shared by the games of a sweep
def _generate_canvases(kind: str, number: int, size: tuple[int, int], seed: int) -> tuple[U8, ...]:
    generate, stream = KINDS[kind], sorted(KINDS).index(kind)
    return tuple(generate(np.random.default_rng([seed, stream, i]), *size) for i in range(number))


def read_image(path: Path, size: tuple[int, int] = (1, 1), side: int = MAX_SIDE) -> U8:
    """A picture file as uint8 (h, w, 3), at most `side` on its longer side but no smaller than `size`.

    Raises `UserError` for a file that is no picture, damaged, too small, or has too many pixels.
    """
    with open_picture(path, f"background {path}") as picture:
        height, width = picture.size
        scale = max(min(side / max(width, height), 1.0), size[0] / height, size[1] / width)
        if scale > 1:
            raise UserError(f"background {path} is {height}×{width}, smaller than the crop's {size[0]}×{size[1]}")
        pixels = picture.decode_rgb()
    if scale == 1:
        return pixels
    scaled = round(width * scale), round(height * scale)
    return np.asarray(Image.fromarray(pixels).resize(scaled, Image.Resampling.LANCZOS))


def parse_color(color: str) -> tuple[int, int, int]:
    """Red, green and blue of a colour.

    >>> parse_color("#ff8000")
    (255, 128, 0)
    """
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


# The procedural kinds: each generates a canvas uint8 (h, w, 3) from a random generator.


def _noise(rng: Rng, h: int, w: int) -> U8:
    """Colour noise at several scales, like rough ground or water."""
    octaves = np.zeros((h, w, 3), np.float32)
    for step in (4, 8, 16, 32, 64):
        coarse = rng.standard_normal((h // step + 2, w // step + 2, 3)).astype(np.float32)
        grey = coarse.mean(2, keepdims=True) * 1.7
        octaves += cv2.resize(0.3 * coarse + 0.7 * grey, (w, h), interpolation=cv2.INTER_CUBIC) * step**0.5
    octaves *= rng.uniform(10, 40) / octaves.std()
    return _to_u8(octaves + rng.uniform(30, 200, 3))


def _gradient(rng: Rng, h: int, w: int) -> U8:
    """A gradient between two colours in a random direction."""
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    t = np.cos(angle) * x / w + np.sin(angle) * y / h
    t = (t - t.min()) / np.ptp(t)
    first, second = rng.uniform(10, 230, (2, 3))
    return _to_u8(first + (second - first) * t[..., None])


def _panel(rng: Rng, h: int, w: int) -> U8:
    """A dark HUD panel: rows with thin bright rules and bevelled boxes."""
    base = rng.uniform(10, 60) * rng.uniform(0.6, 1.4, 3)
    out = np.empty((h, w, 3), np.float32)
    out[:] = base
    out *= np.linspace(rng.uniform(0.7, 1), rng.uniform(1, 1.5), h, dtype=np.float32)[:, None, None]
    for _ in range(rng.integers(6, 16)):
        y, x = int(rng.integers(h)), int(rng.integers(w))
        box_h, box_w = int(rng.integers(6, 50)), int(rng.integers(10, 90))
        corner = (min(x + box_w, w - 1), min(y + box_h, h - 1))
        if rng.random() < 0.5:
            cv2.rectangle(out, (x, y), corner, tuple(base * rng.uniform(0.4, 1.8)), -1)
        cv2.rectangle(out, (x, y), corner, tuple(base * rng.uniform(1.2, 3.0) + 10), 1)
    return _to_u8(out + rng.normal(0, 2, out.shape))


def _scene(rng: Rng, h: int, w: int) -> U8:
    """Blurred shapes and lights in front of ground and sky, like a game scene out of focus."""
    horizon = rng.uniform(0.2, 0.8)
    sky, ground = rng.uniform(20, 220, (2, 3))
    t = (1 / (1 + np.exp((horizon - np.linspace(0, 1, h)) * 30)))[:, None, None]
    out = np.repeat(sky * (1 - t) + ground * t, w, 1).astype(np.float32)
    for _ in range(rng.integers(15, 45)):
        center = (int(rng.integers(w)), int(rng.integers(h)))
        axes = (int(rng.integers(2, 40)), int(rng.integers(2, 24)))
        color = tuple(rng.uniform(0, 255) * rng.uniform(0.5, 1, 3))
        cv2.ellipse(out, center, axes, float(rng.uniform(0, 180)), 0, 360, color, -1)
        if rng.random() < 0.3:
            out = cv2.GaussianBlur(out, (0, 0), float(rng.uniform(0.5, 3))).astype(np.float32)
    return _to_u8(cv2.GaussianBlur(out, (0, 0), float(rng.uniform(0.4, 1.5))))


def _to_u8(pixels: NDArray[Any]) -> U8:
    out: U8 = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    return out


KINDS: dict[str, Callable[[Rng, int, int], U8]] = {
    "gradient": _gradient,
    "noise": _noise,
    "panel": _panel,
    "scene": _scene,
}
