"""`detector=model.onnx`: a detector in an ONNX file, run by ONNX Runtime on the CPU."""

from __future__ import annotations

import ast
import hashlib
import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textgen.common.array_types import U8
from textgen.common.errors import UserError
from train.detectors.candidates import Candidates, as_detections, suppress
from train.detectors.detection import Channels, Detection, Pixels
from train.detectors.layouts import Layout, find_layout
from train.detectors.letterbox import Letterbox, open_size
from train.inference.onnx_file import require

MAX_FILE = 1 << 30  # bytes; the largest usual detectors have a third of that
MAX_NAMES = 1 << 20  # characters of the list of names in a file
MAX_SIDE = 8192  # pixels of an input
TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}
ORIGINAL_SIZE = "orig_target_sizes"  # RT-DETR's second input: the width and height in which boxes are given


@dataclass(frozen=True)
class OnnxOptions:
    """What a file does not tell; None stands for what it tells, or for the usual.

    `names` are those of the classes, `size` (H, W) is the input's, `pixels` its largest value (1), `channels` their
    order (rgb).
    """

    names: tuple[str, ...] | None = None
    size: tuple[int, int] | None = None
    pixels: Pixels | None = None
    channels: Channels | None = None


class OnnxDetector:
    """The detector in the file `path`, on `threads` threads.

    Boxes with less than `confidence` are left out, and those that share more than `overlap` with a more likely one.
    Raises `UserError` for a file that is no detector.
    """

    def __init__(self, path: Path, options: OnnxOptions, *, confidence: float, overlap: float, threads: int):
        self._path, self._options = path, options
        self._confidence, self._overlap = confidence, overlap
        model = _read_model(path)
        self.name = f"{path.name} {hashlib.sha256(model).hexdigest()[:16]}"
        self._session = _open_session(model, path, threads)
        metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        own = _read_names(metadata.get("names", ""))
        self.names = options.names or own
        self.objects: tuple[str, ...] | None = tuple(dict.fromkeys(self.names)) or None
        self._longest = _read_longest(metadata.get("imgsz", ""))
        self._find_input()
        probe = self._fixed or options.size or open_size((64, 64), self._longest)
        outputs = self._run(np.zeros((*probe, 3), np.uint8))
        try:
            self.layout: Layout = find_layout(outputs, probe, len(own) or None)
        except UserError as error:
            raise UserError(f"detector={path}: {error}") from None
        if options.names and self.layout.classes not in (None, len(options.names)):
            raise UserError(f"names has {len(options.names)} names, {path} knows {self.layout.classes} classes")

    def __call__(self, frames: Sequence[U8]) -> list[list[Detection]]:
        """The objects in each frame, RGB uint8 (H, W, 3). Frames are computed one by one: memory stays small."""
        return [self._detect(frame) for frame in frames]

    def _detect(self, frame: U8) -> list[Detection]:
        height, width = frame.shape[:2]
        size = self._fixed or self._options.size or open_size((height, width), self._longest)
        letterbox = Letterbox((height, width), size)
        outputs = self._run(letterbox.apply(frame))
        try:
            found = self.layout.decode(outputs, size, self._confidence)
        except (UserError, IndexError, ValueError) as error:
            raise UserError(f"detector={self._path}: its outputs changed their shapes: {error}") from None
        if self.layout.overlapping:
            found = suppress(found, self._overlap)
        boxes = letterbox.restore(found.boxes)
        within = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        return as_detections(Candidates(boxes, found.scores, found.classes).take(within), self.names)

    def _find_input(self) -> None:
        """Which input takes pixels, in which order, type and size."""
        inputs = self._session.get_inputs()
        images = [each for each in inputs if each.type in TYPES and len(each.shape) in (3, 4)]
        others = [each for each in inputs if each not in images]
        shown = ", ".join(f"{each.name[:40]!r} {each.type} {each.shape}" for each in inputs[:8])
        wanted = "one input of pixels is needed, (1, 3, H, W) or (1, H, W, 3)"
        if len(images) != 1 or any(each.name != ORIGINAL_SIZE for each in others):
            raise UserError(f"detector={self._path}: its inputs are {shown}; {wanted}")
        image = images[0]
        *batch, first, second, third = image.shape
        if first != 3 and third != 3:
            raise UserError(f"detector={self._path}: its input is {shown}; {wanted}")
        if batch and isinstance(batch[0], int) and batch[0] != 1:
            raise UserError(
                f"detector={self._path} takes {batch[0]} frames at once: export it for 1, or for any number"
            )
        self._image, self._has_batch, self._channels_last = image, bool(batch), first != 3
        self._has_original_size = bool(others)
        height, width = (first, second) if self._channels_last else (second, third)
        self._fixed: tuple[int, int] | None = None
        if isinstance(height, int) and isinstance(width, int):
            self._fixed = (height, width)
        size = self._options.size
        if size and self._fixed and size != self._fixed:
            raise UserError(f"size=[{size[0]},{size[1]}]: {self._path} takes [{height},{width}] only: leave size out")
        if max(self._fixed or size or (1,)) > MAX_SIDE:
            raise UserError(f"detector={self._path}: sides of an input are at most {MAX_SIDE} pixels")
        if image.type == "tensor(uint8)" and self._options.pixels == 1:
            raise UserError(f"pixels=1: {self._path} takes bytes: leave pixels out")

    def _run(self, image: U8) -> dict[str, NDArray[Any]]:
        """The outputs for an input uint8 (H, W, 3), RGB."""
        if self._options.channels == "bgr":
            image = image[:, :, ::-1]
        kind = TYPES[self._image.type]
        values: NDArray[Any] = image if kind is np.uint8 else image.astype(np.float32)
        if kind is not np.uint8 and self._options.pixels != 255:
            values = values / np.float32(255)
        if not self._channels_last:
            values = values.transpose(2, 0, 1)
        given = {self._image.name: np.ascontiguousarray(values[None] if self._has_batch else values, kind)}
        if self._has_original_size:
            given[ORIGINAL_SIZE] = np.array([[image.shape[1], image.shape[0]]], np.int64)
        names = [each.name for each in self._session.get_outputs()]
        try:
            results = self._session.run(names, given)
        except Exception as error:  # ONNX Runtime's own exceptions have no common class
            raise UserError(
                f"detector={self._path} cannot be run on {image.shape[1]}×{image.shape[0]} pixels: {_first_line(error)}"
            ) from None
        if not all(isinstance(each, np.ndarray) for each in results):
            raise UserError(f"detector={self._path}: an output is no array; export a model that gives arrays")
        return dict(zip(names, results, strict=True))


def _read_model(path: Path) -> bytes:
    """The bytes of an ONNX file that is complete in itself."""
    require("onnx", "onnxruntime")
    if not path.is_file():
        raise UserError(f"detector={path} is no file: give an ONNX file, people or my.module:function")
    if path.stat().st_size > MAX_FILE:
        raise UserError(f"detector={path} is larger than {MAX_FILE >> 30} GB: export a smaller detector")
    content = path.read_bytes()
    onnx, message = importlib.import_module("onnx"), importlib.import_module("google.protobuf.message")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except message.DecodeError:
        model.Clear()
    if not model.graph.node:
        raise UserError(f"detector={path} is no ONNX model: export the detector again")
    if _has_external_data(model, onnx.TensorProto, message.Message):
        raise UserError(f"detector={path} keeps its weights in another file: export it as one file")
    return content


def _has_external_data(model: Any, tensor: Any, single: Any) -> bool:
    """Whether any tensor in the model, however deep, names another file. `single` is the class of all messages."""
    open_messages = [model]
    while open_messages:
        message = open_messages.pop()
        if isinstance(message, tensor):
            if message.data_location == tensor.EXTERNAL or message.external_data:
                return True
            continue
        for field, value in message.ListFields():
            if field.message_type is not None:
                open_messages += [value] if isinstance(value, single) else value
    return False


def _open_session(model: bytes, path: Path, threads: int) -> Any:
    runtime = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4  # what is wrong is raised
    try:
        return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own exceptions have no common class
        raise UserError(f"detector={path} cannot be loaded: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    text = (str(error).splitlines() or [type(error).__name__])[0]
    return "".join(char if char.isprintable() else " " for char in text)[:200]


def _read_names(text: str) -> tuple[str, ...]:
    """The names of the classes in a file's metadata, a dict or list of Python as text; () if there are none."""
    try:
        found = ast.literal_eval(text) if 0 < len(text) <= MAX_NAMES else []
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return ()
    if isinstance(found, dict):
        if not all(isinstance(key, int) and 0 <= key < len(found) for key in found):
            return ()
        found = [found[key] for key in sorted(found)]
    if not isinstance(found, list | tuple) or not all(isinstance(name, str) for name in found):
        return ()
    return tuple(clean_name(name) for name in found)


def clean_name(name: str) -> str:
    """A name in one line, without characters that a terminal would obey."""
    return "".join(char if char.isprintable() else " " for char in name).strip()[:100]


def _read_longest(text: str) -> int | None:
    """The longest side of the images that the model was trained on, by its metadata; None if they do not tell."""
    try:
        sides = ast.literal_eval(text) if 0 < len(text) < 100 else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    sides = [sides] if isinstance(sides, int) else sides
    if not isinstance(sides, list | tuple) or not sides or not all(isinstance(side, int) for side in sides):
        return None
    longest = max(sides)
    return longest if 32 <= longest <= MAX_SIDE else None
