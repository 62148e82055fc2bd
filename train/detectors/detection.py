"""What every detector takes and gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

from textgen.common.array_types import U8
from textgen.footage.regions import Region

Channels = Literal["rgb", "bgr"]  # the order that a model takes
Pixels = Literal[1, 255]  # the largest value of a pixel that a model takes


class Detection(NamedTuple):
    """An object in a frame. The box is in pixels of the frame; `confidence` is from 0 to 1."""

    object_name: str
    confidence: float
    xmin: float
    ymin: float
    xmax: float
    ymax: float

    def has_centre_in(self, region: Region) -> bool:
        """Whether the centre of the box is within the `region`."""
        x, y = (self.xmin + self.xmax) / 2 - region.left, (self.ymin + self.ymax) / 2 - region.top
        return 0 <= x < region.width and 0 <= y < region.height


class Detector(Protocol):
    """A detector. `name` says which one, for files and messages; `objects` are those it knows, None if it does not say.

    The same `name` gives the same detections of the same frames, as far as that is known.
    """

    name: str
    objects: tuple[str, ...] | None

    def __call__(self, frames: Sequence[U8]) -> list[list[Detection]]:
        """The objects in each of `frames`, RGB uint8 (H, W, 3), all of one size."""
        ...
