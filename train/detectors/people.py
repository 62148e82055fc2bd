"""`detector=people`: people who stand or walk, by histograms of oriented gradients (Dalal and Triggs, CVPR 2005).

The coefficients in people.npy are those of OpenCV (`HOGDescriptor.getDefaultPeopleDetector`), under the licence in
people.LICENSE. The descriptor is OpenCV's as well. It is computed here because OpenCV 5 has no HOG in its main modules.
People are found who stand upright and are at least 96 pixels tall in the frame as it is scaled.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.nn import functional

from textgen.common.array_types import F32, U8
from train.common.machine import torch_threads
from train.detectors.candidates import Candidates, as_detections, suppress
from train.detectors.detection import Detection

COEFFICIENTS = Path(__file__).with_name("people.npy")
WINDOW = (128, 64)  # height and width in pixels, of which the person takes 96 by 32
STRIDE = BLOCK_STEP = 8  # pixels from window to window, and from block to block
BLOCK, CELL, BINS = 16, 8, 9  # pixels of a block and of a cell; directions of gradients
MARGIN = 16  # pixels around the frame, repeated: people at its edge
PERSON = (16 / 128, 16 / 64)  # the margins of a window above and below, left and right of the person
STEP = 1.1  # from one scale of the frame to the next
CLIP, EPSILON = 0.2, 0.1  # of the normalisation of a block
ROOTS = np.sqrt(np.arange(256, dtype=np.float32))
OBJECT = "person"


class PeopleDetector:
    """The detector on `threads` threads. Frames are scaled to fit within `size` (H, W); None: they are as they are.

    The confidence is 1 / (1 + exp(-m)), with the margin m of the support vector machine: it is no probability.
    """

    objects: tuple[str, ...] | None = (OBJECT,)

    def __init__(self, size: tuple[int, int] | None, confidence: float, overlap: float, threads: int):
        self._size, self._confidence, self._overlap, self._threads = size, confidence, overlap, threads
        coefficients = np.load(COEFFICIENTS, allow_pickle=False)
        self._bias = float(coefficients[-1])
        across, down = (WINDOW[1] - BLOCK) // BLOCK_STEP + 1, (WINDOW[0] - BLOCK) // BLOCK_STEP + 1
        blocks = coefficients[:-1].reshape(across, down, 4 * BINS)
        self._window = torch.from_numpy(np.ascontiguousarray(blocks.transpose(2, 1, 0))[None])
        self._cells = torch.from_numpy(_cell_weights())
        self.name = "people"

    def __call__(self, frames: Sequence[U8]) -> list[list[Detection]]:
        """The people in each frame, RGB uint8 (H, W, 3)."""
        with torch_threads(self._threads), torch.inference_mode():
            return [self._detect(frame) for frame in frames]

    def _detect(self, frame: U8) -> list[Detection]:
        height, width = frame.shape[:2]
        scale = 1.0 if self._size is None else min(self._size[0] / height, self._size[1] / width)
        if scale != 1:
            frame = _resize(frame, (round(height * scale), round(width * scale)))
        boxes, scores = [np.empty((0, 4), np.float32)], [np.empty(0, np.float32)]
        for level, smaller in _pyramid(frame):
            margins = self.margins(smaller)
            found = 1 / (1 + np.exp(-margins.astype(np.float64)))
            rows, columns = np.nonzero(found >= self._confidence)
            corners = np.stack([columns, rows], 1) * STRIDE - MARGIN
            inner = np.array(PERSON[::-1]) * WINDOW[::-1]
            box = np.concatenate([corners + inner, corners + np.array(WINDOW[::-1]) - inner], 1) * level / scale
            boxes.append(box.astype(np.float32))
            scores.append(found[rows, columns].astype(np.float32))
        joined = np.concatenate(boxes)
        joined[:, ::2], joined[:, 1::2] = joined[:, ::2].clip(0, width), joined[:, 1::2].clip(0, height)
        every = Candidates(joined, np.concatenate(scores), np.zeros(len(joined), np.int64))
        return as_detections(suppress(every, self._overlap), self.objects or ())

    def margins(self, frame: U8) -> F32:
        """The margin of each window, every 8 pixels, of a frame with 16 pixels around it, float32 (rows, columns)."""
        blocks = self.blocks(_with_border(frame, MARGIN))
        scores: F32 = (functional.conv2d(blocks[None], self._window)[0, 0] + self._bias).numpy()
        return scores

    def blocks(self, frame: U8) -> torch.Tensor:
        """The normalised histograms of all blocks of a frame, float32 (36, rows, columns).

        Each block has four cells, the upper left, lower left, upper right and lower right one, of nine directions.
        """
        votes = torch.from_numpy(_votes(frame))
        sums = functional.conv2d(votes[:, None], self._cells, stride=BLOCK_STEP)  # (bins, cells, rows, columns)
        blocks = sums.transpose(0, 1).reshape(4 * BINS, *sums.shape[2:])
        blocks = blocks / (blocks.square().sum(0).sqrt() + EPSILON * 4 * BINS)
        blocks = blocks.clamp(max=CLIP)
        return blocks / (blocks.square().sum(0).sqrt() + 1e-3)


def _pyramid(frame: U8) -> Iterator[tuple[float, U8]]:
    """The frame at smaller and smaller sizes, each with its factor to the frame's own, until no window fits."""
    height, width = frame.shape[:2]
    for number in range(64):
        factor = STEP**number
        size = round(height / factor), round(width / factor)
        if size[0] + 2 * MARGIN < WINDOW[0] or size[1] + 2 * MARGIN < WINDOW[1]:
            return
        yield factor, frame if size == (height, width) else _resize(frame, size)


def _resize(frame: U8, size: tuple[int, int]) -> U8:
    return np.asarray(cv2.resize(frame, size[::-1], interpolation=cv2.INTER_LINEAR), np.uint8)


def _with_border(frame: U8, width: int) -> U8:
    return np.asarray(cv2.copyMakeBorder(frame, width, width, width, width, cv2.BORDER_REFLECT_101), np.uint8)


def _votes(frame: U8) -> F32:
    """The gradient of each pixel, divided over the two nearest of nine directions, float32 (9, H, W).

    Of the three channels the one with the largest gradient counts, after a square root (gamma correction).
    """
    root = np.asarray(cv2.LUT(_with_border(frame, 1), ROOTS))
    across, down = root[1:-1, 2:] - root[1:-1, :-2], root[2:, 1:-1] - root[:-2, 1:-1]
    dx, dy = across[..., 0], down[..., 0]
    squares = across * across + down * down
    largest = squares[..., 0]
    for channel in (1, 2):
        is_larger = squares[..., channel] > largest
        dx, dy = (np.where(is_larger, each[..., channel], so_far) for each, so_far in ((across, dx), (down, dy)))
        largest = np.where(is_larger, squares[..., channel], largest)
    length, angle = (np.asarray(each, np.float32) for each in cv2.cartToPolar(dx, dy))
    place = angle * np.float32(BINS / math.pi) + np.float32(BINS - 0.5)  # a direction's middle is a whole number
    lower = place.astype(np.int32)
    upper = length * (place - lower)
    lower %= BINS
    votes = np.zeros((BINS, *length.shape), np.float32)
    pixels = np.arange(length.size, dtype=np.int32).reshape(length.shape)
    flat = votes.reshape(-1)
    flat[lower * length.size + pixels] = length - upper
    flat[np.where(lower == BINS - 1, 0, lower + 1) * length.size + pixels] = upper
    return votes


def _cell_weights() -> F32:
    """How much each pixel of a block counts in each of its four cells, float32 (4, 1, 16, 16)."""
    at = np.arange(BLOCK, dtype=np.float32)
    sigma = BLOCK / 4
    gauss = np.exp(-((at - BLOCK / 2) ** 2) / (2 * sigma * sigma))
    cell = (at + 0.5) / CELL - 0.5  # 0 in the middle of the first cell, 1 in that of the second
    shares = np.stack([np.clip(1 - abs(cell - number), 0, 1) * gauss for number in range(2)])
    return np.stack([np.outer(shares[y], shares[x]) for x in range(2) for y in range(2)])[:, None].astype(np.float32)
