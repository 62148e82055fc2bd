"""A detector by the text that the user gives."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from textgen.common.errors import UserError
from train.detectors.detection import Channels, Detector, Pixels
from train.folding.own_module import DOTTED

PEOPLE = "people"
CONFIDENCE, OVERLAP = 0.25, 0.45  # the defaults of commands that run detectors
KNOWN = f"{PEOPLE}, a file .onnx or my.module:function"


def load_detector(
    text: str,
    *,
    threads: int = 1,
    confidence: float = CONFIDENCE,
    overlap: float | None = None,
    size: tuple[int, int] | None = None,
    names: tuple[str, ...] | None = None,
    pixels: Pixels | None = None,
    channels: Channels | None = None,
) -> Detector:
    """The detector "people", one in a file .onnx, or "my.module:name", whose module is imported and so runs.

    Objects below `confidence` are left out, and boxes that share more than `overlap` (0.45) with a more likely one of
    their class. `size` (H, W) is that of the input, `names`, `pixels` and `channels` are those of `OnnxOptions`. None
    leaves a choice to the detector. Raises `UserError`, also for what a detector does not take.
    """
    iou = OVERLAP if overlap is None else overlap
    if text.lower().endswith(".onnx"):
        from train.detectors.onnx_detector import OnnxDetector, OnnxOptions  # noqa: PLC0415 - optional libraries

        options = OnnxOptions(names, size, pixels, channels)
        return OnnxDetector(Path(text).expanduser(), options, confidence=confidence, overlap=iou, threads=threads)
    _refuse(text, {"names": names, "pixels": pixels, "channels": channels}, "a file .onnx takes")
    if text == PEOPLE:
        from train.detectors.people import PeopleDetector  # noqa: PLC0415 - PyTorch

        return PeopleDetector(size, confidence, iou, threads)
    _refuse(text, {"size": size, "overlap": overlap}, f"{PEOPLE} and a file .onnx take")
    if DOTTED.fullmatch(text):
        from train.detectors.user_function import UserDetector  # noqa: PLC0415 - no other detector runs user's code

        return UserDetector(text, confidence)
    raise UserError(f"detector={text}: there is no such detector; give {KNOWN}")


def _refuse(text: str, given: Mapping[str, object], who: str) -> None:
    """Raise `UserError` for a setting that the detector would ignore."""
    for name, value in given.items():
        if value is not None:
            raise UserError(f"{name}={value} is what {who}, not detector={text}: leave {name} out")
