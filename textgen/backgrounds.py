"""Backgrounds: procedural canvases and real pictures, and random patches of both."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from textgen.arrays import F32, U8, Rng
from textgen.catalogue import resolve
from textgen.errors import UserError
from textgen.game import Background

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP")  # whatever the suffix says; of the others, EPS would start Ghostscript
MAX_PICTURES = 5000  # of one source, all of which are held in memory
CANVASES = 48  # of each procedural source
CANVAS = (128, 192)  # height, width
MAX_SIDE = 512  # larger pictures are scaled down once, when read
MAX_PIXELS = 50_000_000  # more is refused unread: a small file can unpack to gigabytes


class Source:
    """A `Background` of the game with its canvases, each uint8 (h, w, 3) and at least as large as a crop."""

    def __init__(self, background: Background, size: tuple[int, int], seed: int):
        self.background = background
        self.paths: list[Path] = []
        if background.source in KINDS:
            paint = KINDS[background.source]
            kind = sorted(KINDS).index(background.source)
            canvas = (max(CANVAS[0], size[0]), max(CANVAS[1], size[1]))
            self.canvases = [paint(np.random.default_rng([seed, kind, i]), *canvas) for i in range(CANVASES)]
        else:
            self.paths = resolve("backgrounds", background.source, SUFFIXES, KINDS)
            if len(self.paths) > MAX_PICTURES:
                count = f"{len(self.paths)} pictures, more than {MAX_PICTURES}"
                raise UserError(f"background {background.source} holds {count}: give fewer")
            self.canvases = [read_image(path, size) for path in self.paths]
        self._tints = np.array([rgb(color) for color in background.tint], np.float32)

    def patch(self, rng: Rng, size: tuple[int, int]) -> F32:
        """A random piece: float32 (H, W, 3) in 0…255."""
        height, width = size
        canvas = self.canvases[rng.integers(len(self.canvases))]
        zoom = min(rng.uniform(*self.background.zoom), canvas.shape[0] / height, canvas.shape[1] / width)
        h, w = max(round(height * zoom), 1), max(round(width * zoom), 1)
        y, x = rng.integers(canvas.shape[0] - h + 1), rng.integers(canvas.shape[1] - w + 1)
        piece = canvas[y : y + h, x : x + w]
        if rng.random() < 0.5:
            piece = piece[:, ::-1]
        out = cv2.resize(np.ascontiguousarray(piece), (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
        out *= rng.uniform(*self.background.light)
        if len(self._tints):
            opacity = np.float32(rng.uniform(*self.background.tint_opacity))
            out += opacity * (self._tints[rng.integers(len(self._tints))] - out)
        return np.clip(out, 0, 255, out=out)


class Backgrounds:
    """All sources of a game. Procedural canvases come from `seed` alone."""

    def __init__(self, backgrounds: tuple[Background, ...], size: tuple[int, int], seed: int):
        self._size = size
        self.sources = [Source(background, size, seed) for background in backgrounds]
        weights = np.array([background.weight for background in backgrounds])
        self._cumulative = np.cumsum(weights / weights.sum())

    def patch(self, rng: Rng) -> F32:
        """A random patch of a random source: float32 (H, W, 3) in 0…255."""
        index = int(np.searchsorted(self._cumulative, rng.random(), side="right"))
        return self.sources[min(index, len(self.sources) - 1)].patch(rng, self._size)


def read_image(path: Path, size: tuple[int, int] = (1, 1)) -> U8:
    """A picture file as uint8 (h, w, 3), at most MAX_SIDE on its longer side and no smaller than `size`.

    Raises `UserError` for a file that is no picture, a damaged one, one too small, or one of too many pixels.
    """
    try:
        # Reading the header alone: a picture that unpacks to gigabytes is refused before it does.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is lower
            image = Image.open(path, formats=FORMATS)
        with image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise UserError(
                    f"background {path} has {width}×{height} pixels, more than {MAX_PIXELS:,}: scale it down"
                )
            pixels = image.convert("RGB")
    except Image.DecompressionBombError:
        raise UserError(f"background {path} has more than {MAX_PIXELS:,} pixels: scale it down") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"background {path} cannot be read as a picture: {error}") from None
    scale = max(min(MAX_SIDE / max(width, height), 1.0), size[0] / height, size[1] / width)
    if scale > 1:
        raise UserError(f"background {path} is {height}×{width}, smaller than the crop's {size[0]}×{size[1]}")
    if scale < 1:
        pixels = pixels.resize((round(width * scale), round(height * scale)), Image.Resampling.LANCZOS)
    return np.asarray(pixels)


def rgb(color: str) -> tuple[int, int, int]:
    """Channels of a colour.

    >>> rgb("#ff8000")
    (255, 128, 0)
    """
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


# The procedural kinds. Each paints a canvas uint8 (h, w, 3) from a generator.


def _noise(rng: Rng, h: int, w: int) -> U8:
    """Colour noise at several scales, as rough ground or water."""
    octaves = np.zeros((h, w, 3), np.float32)
    for step in (4, 8, 16, 32, 64):
        coarse = rng.standard_normal((h // step + 2, w // step + 2, 3)).astype(np.float32)
        grey = coarse.mean(2, keepdims=True) * 1.7
        octaves += cv2.resize(0.3 * coarse + 0.7 * grey, (w, h), interpolation=cv2.INTER_CUBIC) * step**0.5
    octaves *= rng.uniform(10, 40) / octaves.std()
    return _u8(octaves + rng.uniform(30, 200, 3))


def _gradient(rng: Rng, h: int, w: int) -> U8:
    """One colour into another, in a random direction."""
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    t = np.cos(angle) * x / w + np.sin(angle) * y / h
    t = (t - t.min()) / np.ptp(t)
    first, second = rng.uniform(10, 230, (2, 3))
    return _u8(first + (second - first) * t[..., None])


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
    return _u8(out + rng.normal(0, 2, out.shape))


def _scene(rng: Rng, h: int, w: int) -> U8:
    """Blurred shapes and lights before a ground and a sky, as a game scene out of focus."""
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
    return _u8(cv2.GaussianBlur(out, (0, 0), float(rng.uniform(0.4, 1.5))))


def _u8(pixels: NDArray[Any]) -> U8:
    out: U8 = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    return out


KINDS: dict[str, Callable[[Rng, int, int], U8]] = {
    "gradient": _gradient,
    "noise": _noise,
    "panel": _panel,
    "scene": _scene,
}
