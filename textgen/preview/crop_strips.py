"""The crops of a page as PNG strips, which its CSS embeds as data URLs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from textgen.common.array_types import U8
from textgen.preview.samples import PageData, SplitCrops

MAX_CROP_PIXELS = 15_000  # larger crops are scaled down
PER_STRIP = 24  # crops


class Crop(NamedTuple):
    """A crop of the page: its strip, its place in the strip, and a description for its tooltip."""

    strip: int
    place: int
    description: str


class Strip(NamedTuple):
    """A strip: its number of crops, and the base64 of its PNG file."""

    crops: int
    data: str


class CropStrips:
    """Collects the crops of a page. A crop that several sections show is stored once."""

    def __init__(self, data: PageData):
        height, width = data.definition.game.size
        self.shrink = int(np.ceil((height * width / MAX_CROP_PIXELS) ** 0.5))
        self.height, self.width = height // self.shrink, width // self.shrink
        self._data = data
        self._positions: dict[tuple[str, int, int], int] = {}
        self._images: list[U8] = []

    def add(self, shown: SplitCrops, row: int) -> Crop:
        """Add a crop, unless the strips have it, and return its place."""
        sample = shown.crops.samples[row]
        key = shown.split, int(sample["index"]), int(sample["attempt"])
        position = self._positions.setdefault(key, len(self._images))
        if position == len(self._images):
            image = shown.crops.images[row]
            if self.shrink > 1:
                image = cv2.resize(image, (self.width, self.height), interpolation=cv2.INTER_AREA).astype(np.uint8)
            self._images.append(image)
        return Crop(*divmod(position, PER_STRIP), describe_crop(self._data, shown, row))

    def encode(self) -> list[Strip]:
        """All strips, in the order of `Crop.strip`."""
        strips = []
        for start in range(0, len(self._images), PER_STRIP):
            images = self._images[start : start + PER_STRIP]
            strips.append(Strip(len(images), base64.b64encode(encode_strip(images)).decode()))
        return strips


def encode_strip(crops: Sequence[U8]) -> bytes:
    """Crops uint8 (H, W, 3) of one size side by side as a PNG file, uint8 (H, n·(W + 2), 3).

    The outermost columns of every crop are repeated: a browser that scales the strip then blends no neighbour in.
    """
    line = np.concatenate([np.pad(crop, ((0, 0), (1, 1), (0, 0)), "edge") for crop in crops], 1)
    buffer = io.BytesIO()
    Image.fromarray(line).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def describe_crop(data: PageData, shown: SplitCrops, row: int) -> str:
    """Text, font, height, background, contrast, split and index of a crop, in one line."""
    sample, renderer = shown.crops.samples[row], data.renderer
    parts = [shown.crops.texts[row] or "no text"]
    if sample["length"]:
        height = renderer.levels.heights[int(sample["height"])]
        parts.append(f"{renderer.faces[int(sample['face'])].name}, {height:g} pixels")
    parts.append(data.canvases[int(sample["source"])][int(sample["canvas"])])
    if sample["right"] > sample["left"]:
        parts.append(f"contrast {format_contrast(sample['contrast'])}")
    attempt = f", try {int(sample['attempt']) + 1}" if sample["attempt"] else ""
    parts.append(f"{shown.split} {int(sample['index'])}{attempt}")
    return " · ".join(parts)


def format_contrast(contrast: float) -> str:
    """A contrast with one decimal, rounded down: 17.97 must not look like a passed threshold of 18.

    >>> format_contrast(17.97), format_contrast(-0.25)
    ('17.9', '−0.3')
    """
    return f"{np.floor(contrast * 10) / 10:.1f}".replace("-", "−")
