"""Frames of a video as the network of a video task sees them: scaled, and less the mean frame if the task asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from textgen.common.array_types import U8
from textgen.common.digests import check_digest
from textgen.common.errors import UserError
from textgen.common.pictures import resize
from textgen.footage.frames import Frame
from textgen.footage.regions import parse_regions

MEAN = "mean.png"  # in a data set's folder, and in a run's
MIDDLE = 128  # what is added after the mean is subtracted


@dataclass(frozen=True, eq=False)
class Preparation:
    """Frames of any size to `size` (H, W): the `region` is cut out, [left, top, width, height] in pixels or fractions
    of the frame (None: all of it), and scaled; `mean`, uint8 (H, W, 3), is subtracted, and 128 added.

    Scaling averages over the area of a pixel, as large frames that become 50×50 need it.
    """

    size: tuple[int, int]
    mean: U8 | None = None
    region: Sequence[float] | None = None

    @classmethod
    def of_run(cls, folder: Path, size: tuple[int, int], region: Sequence[float] | None = None) -> Preparation:
        """With the mean frame that lies in the folder of a run or of a data set, if one does. Raises `UserError`."""
        path = folder / MEAN
        if not path.exists():
            return cls(size, None, region)
        check_digest(path, "train again with fresh=true")
        try:
            with Image.open(path, formats=["PNG"]) as image:
                if image.mode != "RGB" or (image.height, image.width) != size:
                    raise UserError(
                        f"{path} is {image.mode} of {image.height}×{image.width} pixels, the network takes RGB of"
                        f" {size[0]}×{size[1]}: it is of another run"
                    )
                return cls(size, np.array(image), region)
        except (OSError, SyntaxError, ValueError) as error:
            raise UserError(f"{path} is damaged ({error}): train again with fresh=true") from None

    def __call__(self, frame: Frame) -> U8:
        """A frame -> RGB uint8 (H, W, 3). Raises `UserError` for a region that is not within the frame."""
        return self.subtract_mean(self.scale(frame))

    def scale(self, frame: Frame) -> U8:
        """The region, scaled, with its mean."""
        region = parse_regions({"task": self.region}, frame.size)[0] if self.region else None
        pixels = frame.crop(region) if region else frame.rgb()
        return pixels if pixels.shape[:2] == self.size else resize(pixels, self.size)

    def subtract_mean(self, frames: U8) -> U8:
        """Scaled frames (H, W, 3) or (n, H, W, 3) without the mean; the same ones, if there is none."""
        if self.mean is None:
            return frames
        difference = frames.astype(np.int16)
        difference += MIDDLE - self.mean.astype(np.int16)
        return difference.clip(0, 255).astype(np.uint8)
