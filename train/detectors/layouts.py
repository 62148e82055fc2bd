"""What the outputs of a detector's ONNX file mean, recognised by their shapes and names.

| outputs | written by | boxes |
|---|---|---|
| (1, 4 + classes, n) | YOLOv8 and later | centre and size; overlapping ones are to be removed |
| (1, 4 + classes + 32, n) with masks (1, 32, …) | the same for segmentation | the same; masks are not used |
| (1, n, 5 + classes) | YOLOv5, YOLOX | the same; the fifth number, a factor of all scores |
| (1, n, 6) | YOLOv10 and others without suppression | corners, score, class |
| boxes, scores, labels by name | torchvision, SSD, RT-DETR, TensorFlow | corners |
| dets (1, n, 5), labels by name | MMDeploy | corners and score |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textgen.common.array_types import F32
from textgen.common.errors import UserError
from train.detectors.candidates import Candidates

Outputs = Mapping[str, NDArray[Any]]
STRIDES = (8, 16, 32)  # of the grids of anchors
TENSORFLOW = ("detection_boxes", "detection_scores", "detection_classes")  # beside which there are others
MASKS = 32  # coefficients of a mask
FRACTIONS = 1.5  # boxes whose numbers are all below are fractions of the input
FITS = (
    "(1, 4 + classes, n), (1, n, 5 + classes), (1, n, 6) with corners, score and class, or outputs called boxes, scores"
    " and labels"
)


class Kind(Enum):
    """How boxes and scores are laid out."""

    CLASSES_FIRST = "(1, 4 + classes, n)"
    OBJECTNESS = "(1, n, 5 + classes)"
    FINAL = "(1, n, 6)"
    NAMED = "boxes, scores and labels"


@dataclass(frozen=True)
class Layout:
    """A layout of the outputs of one model. `classes` is their number, None if the file does not tell."""

    kind: Kind
    names: tuple[str, ...]  # of the outputs that are read: the only one, or boxes, scores and labels
    classes: int | None = None

    @property
    def overlapping(self) -> bool:
        """Whether one object has many boxes."""
        return self.kind in (Kind.CLASSES_FIRST, Kind.OBJECTNESS)

    def decode(self, outputs: Outputs, size: tuple[int, int], confidence: float) -> Candidates:
        """The boxes with a score of at least `confidence`, in pixels of an input of `size` (H, W)."""
        if self.kind is Kind.NAMED:
            found = self._decode_named(outputs).at_least(confidence)
            boxes = found.boxes
            if len(boxes) and abs(boxes).max() < FRACTIONS:
                boxes = boxes * np.array([size[1], size[0]] * 2, np.float32)
            return Candidates(boxes, found.scores, found.classes)
        values = np.asarray(outputs[self.names[0]], np.float32)[0]
        if self.kind is Kind.FINAL:
            return Candidates(values[:, :4], values[:, 4], _whole(values[:, 5])).at_least(confidence)
        if self.kind is Kind.CLASSES_FIRST:
            scores = values[4 : 4 + (self.classes or 0)].T
            values = values.T
        else:
            scores = values[:, 5:] * values[:, 4:5]
        best = scores.argmax(1)
        found = Candidates(values[:, :4], scores[np.arange(len(best)), best], best).at_least(confidence)
        return Candidates(_corners(found.boxes), found.scores, found.classes)

    def _decode_named(self, outputs: Outputs) -> Candidates:
        boxes = np.asarray(outputs[self.names[0]], np.float32)
        boxes = boxes.reshape(-1, boxes.shape[-1])
        scores = boxes[:, 4] if len(self.names) == 2 else np.asarray(outputs[self.names[1]], np.float32).reshape(-1)
        labels = _whole(np.asarray(outputs[self.names[-1]]).reshape(-1))
        if not len(boxes) == len(scores) == len(labels):
            raise UserError(f"its outputs have {len(boxes)} boxes, {len(scores)} scores and {len(labels)} labels")
        boxes = boxes[:, :4]
        if self.names[0].startswith(TENSORFLOW[0]):  # top, left, bottom, right
            boxes = boxes[:, [1, 0, 3, 2]]
        return Candidates(boxes, scores, labels)


def find_layout(outputs: Outputs, size: tuple[int, int], classes: int | None) -> Layout:
    """The layout of `outputs`, which a model gave for an input of `size` (H, W).

    `classes` is the number of classes by the file's list of names, None if it has none. Raises `UserError`.
    """
    named = _find_named(outputs)
    if named is not None:
        return Layout(Kind.NAMED, named)
    masks = [name for name, each in outputs.items() if each.ndim == 4 and each.shape[1] == MASKS]
    rest = [name for name in outputs if name not in masks]
    floats = [name for name in rest if outputs[name].ndim == 3 and outputs[name].dtype.kind == "f"]
    if len(rest) != 1 or len(floats) != 1 or outputs[floats[0]].shape[0] != 1 or len(masks) > 1:
        raise UserError(f"its outputs fit no detector: {_describe(outputs)}; these fit: {FITS}")
    name = floats[0]
    _, first, last = outputs[name].shape
    anchors = sum((size[0] // stride) * (size[1] // stride) for stride in STRIDES)
    extra = MASKS if masks else 0
    if last == 6 and first not in (anchors, 3 * anchors) and not masks:
        return Layout(Kind.FINAL, (name,))
    is_first = first - 4 - extra == classes or (classes is None and first < last)
    is_last = last - 5 == classes or (classes is None and last <= first)
    if is_first and first - 4 - extra >= 1:
        return Layout(Kind.CLASSES_FIRST, (name,), first - 4 - extra)
    if is_last and last - 5 >= 1 and not masks:
        return Layout(Kind.OBJECTNESS, (name,), last - 5)
    known = "" if classes is None else f" of {classes} classes, as its list of names has"
    raise UserError(f"its outputs fit no detector{known}: {_describe(outputs)}; these fit: {FITS}")


def _find_named(outputs: Outputs) -> tuple[str, ...] | None:
    """The outputs called boxes, scores and labels, or similarly; None if there are none."""

    def called(*parts: str) -> list[str]:
        return [name for name in outputs if any(part in name.lower() for part in parts)]

    fixed = [[name for name in outputs if name.startswith(known)][:1] for known in TENSORFLOW]
    boxes, scores, labels = fixed if all(fixed) else (called("box", "dets"), called("score"), called("label", "class"))
    labels = [name for name in labels if name not in scores + boxes]
    if len(boxes) != 1 or len(labels) != 1 or len(scores) > 1:
        return None
    wide = outputs[boxes[0]].shape[-1:]
    one_each = outputs[labels[0]].ndim <= 2
    if not scores:
        return (boxes[0], labels[0]) if wide == (5,) and one_each else None
    return (boxes[0], scores[0], labels[0]) if wide == (4,) and one_each and outputs[scores[0]].ndim <= 2 else None


def _describe(outputs: Outputs) -> str:
    return ", ".join(f"{name[:40]!r} {each.dtype} {tuple(each.shape)}" for name, each in list(outputs.items())[:8])


def _corners(boxes: F32) -> F32:
    """Centres and sizes as corners."""
    half = boxes[:, 2:] / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], 1)


def _whole(values: NDArray[Any]) -> NDArray[np.int64]:
    """Numbers of classes, which some models give as floats; what is none becomes -1."""
    if values.dtype.kind != "f":
        return values.astype(np.int64)
    valid = np.isfinite(values) & (abs(values) < 2**31)
    return np.where(valid, values, -1).astype(np.int64)
