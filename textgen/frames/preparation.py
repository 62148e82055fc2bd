"""Frames of a video as the network of a video task sees them: scaled, and less the mean frame if the task asks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from textgen.common.array_types import U8
from textgen.common.errors import UserError

MEAN = "mean.png"  # in a data set's folder, and in a run's
MIDDLE = 128  # what is added after the mean is subtracted


@dataclass(frozen=True, eq=False)
class Preparation:
    """Frames (h, w, 3) of any size to `size` (H, W); `mean`, uint8 (H, W, 3), is subtracted, and 128 added.

    Scaling averages over the area of a pixel, as NoScope's resizing of large frames to 50×50 must.
    """

    size: tuple[int, int]
    mean: U8 | None = None

    @classmethod
    def of_run(cls, folder: Path, size: tuple[int, int]) -> Preparation:
        """With the mean frame that lies in the folder of a run or of a data set, if one does. Raises `UserError`."""
        path = folder / MEAN
        if not path.exists():
            return cls(size)
        try:
            with Image.open(path, formats=["PNG"]) as image:
                if image.mode != "RGB" or (image.height, image.width) != size:
                    raise UserError(
                        f"{path} is {image.mode} of {image.height}×{image.width} pixels, the network takes RGB of"
                        f" {size[0]}×{size[1]}: it is of another run"
                    )
                return cls(size, np.array(image))
        except (OSError, SyntaxError, ValueError) as error:
            raise UserError(f"{path} is damaged ({error}): train again with fresh=true") from None

    def __call__(self, frame: U8) -> U8:
        """RGB uint8 (h, w, 3) -> uint8 (H, W, 3)."""
        return self.subtract_mean(self.scale(frame))

    def scale(self, frame: U8) -> U8:
        """Only scaled."""
        height, width = self.size
        if frame.shape[:2] == self.size:
            return frame
        smaller = frame.shape[0] >= height and frame.shape[1] >= width
        scaled = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
        return np.asarray(scaled, np.uint8)

    def subtract_mean(self, frames: U8) -> U8:
        """Scaled frames (H, W, 3) or (n, H, W, 3) without the mean; the same ones, if there is none."""
        if self.mean is None:
            return frames
        difference = frames.astype(np.int16)
        difference += MIDDLE - self.mean.astype(np.int16)
        return difference.clip(0, 255).astype(np.uint8)
