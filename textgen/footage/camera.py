"""A camera or capture card by its number, with OpenCV, which knows those of all systems."""

from __future__ import annotations

import time
from collections.abc import Iterator

import cv2
import numpy as np

from textgen.common.errors import UserError
from textgen.footage.frames import Footage, Frame
from textgen.footage.pixels import RgbPixels


class CameraFootage(Footage):
    """The frames of a camera as they come; times are those at which they arrive."""

    is_live = True

    def __init__(self, number: int) -> None:
        self.name = f"camera {number}"
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # what it says is in our messages
        self._camera = cv2.VideoCapture(number)
        if not self._camera.isOpened():
            raise UserError(f"camera {number} cannot be opened: give the number of another, 0 for the first, or a file")
        self.frame_rate = self._camera.get(cv2.CAP_PROP_FPS) or None

    def read(self, start: float | None) -> Iterator[Frame]:
        index, began = 0, None
        while True:
            given, picture = self._camera.read()
            if not given:
                self.problem = f"{self.name} gives no more frames after {index}"
                return
            now = time.monotonic()
            began = now if began is None else began
            yield Frame(index, now - began, RgbPixels(np.ascontiguousarray(picture[:, :, ::-1], np.uint8)))
            index += 1

    def close(self) -> None:
        self._camera.release()
