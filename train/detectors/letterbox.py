"""Frames scaled into a model's input without changing their proportions, and boxes scaled back."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from textgen.common.array_types import F32, U8
from textgen.common.pictures import resize

GRAY = 114  # around a frame, as detectors of the YOLO family are trained
MULTIPLE = 32  # of which sides of an input are that a model leaves open


@dataclass(frozen=True)
class Letterbox:
    """How a frame of the size `frame` lies in an input of the size `size`, both (height, width)."""

    frame: tuple[int, int]
    size: tuple[int, int]

    @property
    def scaled(self) -> tuple[int, int]:
        """Height and width of the frame in the input."""
        scale = min(self.size[0] / self.frame[0], self.size[1] / self.frame[1])
        height, width = (max(round(side * scale), 1) for side in self.frame)
        return min(height, self.size[0]), min(width, self.size[1])

    @property
    def corner(self) -> tuple[int, int]:
        """Pixels above and left of the frame in the input."""
        height, width = self.scaled
        return (self.size[0] - height) // 2, (self.size[1] - width) // 2

    def apply(self, frame: U8) -> U8:
        """The input uint8 (H, W, 3) of a frame uint8 (h, w, 3)."""
        height, width = self.scaled
        top, left = self.corner
        result = np.full((*self.size, 3), GRAY, np.uint8)
        inside = frame if (height, width) == frame.shape[:2] else resize(frame, (height, width))
        result[top : top + height, left : left + width] = inside
        return result

    def restore(self, boxes: F32) -> F32:
        """Boxes (n, 4) in pixels of the input as boxes in pixels of the frame, cut off at its edges."""
        (height, width), (top, left) = self.scaled, self.corner
        across, down = self.frame[1] / width, self.frame[0] / height
        moved = (boxes - np.array([left, top, left, top])) * np.array([across, down, across, down])
        limits = np.array([self.frame[1], self.frame[0]] * 2)
        return np.asarray(moved.clip(0, limits), np.float32)


def open_size(frame: tuple[int, int], longest: int | None) -> tuple[int, int]:
    """The input's size (H, W) for a model that takes any: multiples of 32, at least the frame's size.

    With `longest`, the longest side of the images that the model was trained on, the frame is scaled to that first.

    >>> open_size((576, 768), None), open_size((1080, 1920), 640)
    ((576, 768), (384, 640))
    """
    scale = 1.0 if longest is None else longest / max(frame)
    height, width = (max(math.ceil(round(side * scale, 6) / MULTIPLE), 1) * MULTIPLE for side in frame)
    return height, width
