"""Backgrounds that move slowly: a window that pans over a picture, and over another one after some seconds."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from textgen.assets.backgrounds import Source
from textgen.common.array_types import F32, U8

SCENE = 8.0  # seconds of a scene
LARGER = 1.25  # sides of a picture, in frames
MAX_SPEED = 40.0  # pixels a second, of a frame of 720 rows
GRAIN = 4.0  # standard deviation of a fixed noise, which gives enlarged pictures detail


class Scenes:
    """Frames uint8 (H, W, 3), without HUD. They depend on `seed`, and the source and picture of each scene with it."""

    def __init__(self, sources: list[Source], size: tuple[int, int], rate: float, seed: int):
        self._sources, self._size, self._seed = sources, size, seed
        self._frames = max(round(SCENE * rate), 1)  # of a scene
        self._speed = MAX_SPEED * size[0] / 720 / rate  # pixels a frame
        weights = np.array([source.background.weight for source in sources])
        self._bounds = np.cumsum(weights / weights.sum())
        self._scene = lru_cache(maxsize=1)(self._make_scene)

    def frame(self, number: int) -> U8:
        """The background of a frame, a view that must not be written."""
        picture, start, velocity = self._scene(number // self._frames)
        top, left = np.rint(start + velocity * (number % self._frames)).astype(int)
        view: U8 = picture[top : top + self._size[0], left : left + self._size[1]]
        return view

    def _make_scene(self, scene: int) -> tuple[U8, F32, F32]:
        """A picture, the corner of the window in the first frame and its shift a frame, down and right in pixels."""
        rng = np.random.default_rng([self._seed, scene])
        source = self._sources[min(int(np.searchsorted(self._bounds, rng.random())), len(self._sources) - 1)]
        canvas = source.canvases[int(rng.integers(len(source.canvases)))]
        height, width = (int(np.ceil(LARGER * side)) for side in self._size)
        scale = max(height / canvas.shape[0], width / canvas.shape[1])
        large = cv2.resize(canvas, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)[:height, :width]
        grain = rng.normal(0, GRAIN, large.shape[:2]).astype(np.float32)
        picture = np.clip(large + grain[..., None], 0, 255).astype(np.uint8)
        room = np.array(picture.shape[:2]) - self._size
        most = np.minimum(room / self._frames, self._speed)
        velocity = rng.uniform(-most, most)
        span = velocity * (self._frames - 1)
        start = rng.uniform(np.maximum(-span, 0), room - np.maximum(span, 0))
        return picture, start.astype(np.float32), velocity.astype(np.float32)
