"""The reference of a cascade: what answers the frames that the network is unsure about."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from textgen.common.array_types import U8
from textgen.common.errors import UserError
from textgen.footage.regions import Region
from textgen.frames.label_table import Labelled, LabelTable, read_label_table
from textgen.frames.settings import FrameTask
from train.detectors.detection import Detection, Detector
from train.detectors.options import DetectorOptions

DELAY = "delay:"
MAX_DELAY = 60.0  # seconds a frame
MAX_FRAMES = 1 << 28  # of a label table: 103 days of 30 frames a second, a bit more than 256 MB


class Reference(Protocol):
    """Answers whether the object is in frames.

    `name` stands in reports; `needs_pixels` says whether it looks at frames at all.
    """

    name: str
    needs_pixels: bool

    def check(self, index: int) -> None:
        """Raise `UserError` if it knows nothing about the frame with this `index` in the footage."""

    def answer(self, indices: Sequence[int], frames: Sequence[U8]) -> list[bool]:
        """One answer for each of the frames with these `indices` in the footage; `frames`, RGB uint8 (H, W, 3), are
        empty for a reference that needs none."""


class DelayReference:
    """Waits a fixed time a frame and answers from a label table: a slow network whose speed and answers are known."""

    needs_pixels = False

    def __init__(self, delay: float, table: LabelTable | None, window: int, labels: Path | None):
        """`table` is that of the file `labels`; None: every answer is absent."""
        self.name = f"{DELAY}{delay:g}"
        self._delay, self._labels = delay, labels
        self._labelled = table.labelled if table is not None else Labelled()
        last = int(table.frames[-1]) if table is not None and len(table.frames) else 0
        count = min(last + max(window, table.every if table else 1) + 1, MAX_FRAMES)
        self._present = table.presence(count, window) if table is not None else None

    def check(self, index: int) -> None:
        """Raises `UserError` for a frame that was not labelled: that it has no row does not mean that it is empty."""
        every, first, last = self._labelled.every, self._labelled.first, self._labelled.last
        if index % every:
            raise UserError(
                f"labels={self._labels} has one frame in {every} labelled: give every={every}, or a multiple"
            )
        if index < first or (last is not None and index > last):
            until = "the last" if last is None else f"{last:,}"
            raise UserError(
                f"labels={self._labels} is about frames {first:,} to {until}, and the footage has frame {index:,}: give"
                " start= and end= for a part of it"
            )

    def answer(self, indices: Sequence[int], frames: Sequence[U8]) -> list[bool]:
        until = time.perf_counter() + self._delay * len(indices)
        known = self._present
        answers = [known is not None and index < len(known) and bool(known[index]) for index in indices]
        time.sleep(max(until - time.perf_counter(), 0.0))
        return answers


class DetectorReference:
    """A detector: "present" where it finds an object `wanted` with at least a `confidence`.

    Of `options` the region counts.
    """

    needs_pixels = True

    def __init__(self, detector: Detector, wanted: str, confidence: float, options: DetectorOptions):
        self.name = detector.name
        self._detector, self._wanted, self._confidence, self._options = detector, wanted, confidence, options

    def check(self, index: int) -> None:
        """It looks at every frame."""

    def answer(self, indices: Sequence[int], frames: Sequence[U8]) -> list[bool]:
        """Raises `UserError` for a region that is not within the frames, which are all of one size."""
        height, width = frames[0].shape[:2]
        region = self._options.find_region((height, width))
        try:
            answers = self._detector(frames)
        except UserError as error:
            raise UserError(str(error).replace("detector=", "reference=")) from None
        return [any(self._counts(found, region) for found in of_frame) for of_frame in answers]

    def _counts(self, found: Detection, region: Region | None) -> bool:
        if found.object_name != self._wanted or found.confidence < self._confidence:
            return False
        return region is None or found.has_centre_in(region)


def parse_delay(reference: str) -> float | None:
    """The seconds of "delay:0.005"; None for another reference. Raises `UserError`."""
    if not reference.startswith(DELAY):
        return None
    text = reference.removeprefix(DELAY)
    try:
        delay = float(text)
    except ValueError:
        delay = -1.0
    if not 0 < delay <= MAX_DELAY:
        raise UserError(f"reference={reference}: give seconds a frame, up to {MAX_DELAY:g}, such as delay:0.005")
    return delay


def load_delay(delay: float, labels: Path | None, task: FrameTask) -> DelayReference:
    """A `DelayReference` that answers as the label table `labels` does, read as the `task` reads it.

    Raises `UserError` for a table that cannot be read or lacks the object.
    """
    try:
        table = read_label_table(labels, task) if labels else None
    except UserError as error:
        raise UserError(str(error).replace("task.object=", "object=")) from None
    return DelayReference(delay, table, task.window, labels)


def load_detector_reference(
    text: str, wanted: str, confidence: float, *, threads: int, options: DetectorOptions
) -> DetectorReference:
    """The reference of a detector of `train.detectors`, by its `text`.

    Raises `UserError`, also for an object that the detector does not know.
    """
    try:
        detector = options.load(text, threads=threads, confidence=confidence)
    except UserError as error:
        raise UserError(str(error).replace("detector=", "reference=")) from None
    if detector.objects is not None and wanted not in detector.objects:
        shown = ", ".join(detector.objects[:8])
        raise UserError(f"object={wanted}: reference={text} knows {shown}; give object=…, one of them")
    return DetectorReference(detector, wanted, confidence, options)
