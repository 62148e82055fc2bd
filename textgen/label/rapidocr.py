"""`reader=rapidocr`: the text recogniser of PP-OCRv4, whose model is in the package rapidocr-onnxruntime.

Only the model is used, with ONNX Runtime. The package itself needs opencv-python, which replaces files of
opencv-python-headless and needs libraries of a screen, so that it is installed without its dependencies and is never
imported. What surrounds the model is as in the package, with three differences:

- Crops are not padded to 320 pixels, which takes a third of the time and reads the same.
- The confidence is that of the least certain character, not the mean.
- A crop shows nothing where no character of the game is likely anywhere: on bare backgrounds the model is unsure, and
  often finds a character of another script. With a counter the largest probability of all characters of the game
  together was 1.00 in all crops of five counters, on backgrounds 0.02 in the median and below 0.43 in nine of ten.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from math import ceil
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from textgen.common.array_types import F32, U8
from textgen.common.errors import UserError
from textgen.label.matching import CONFUSED
from textgen.label.readers import Reader, ReaderSettings, Reading, refuse_run

PACKAGE, VERSION = "rapidocr-onnxruntime", "1.4.4"
INSTALL = f"pip install onnxruntime && pip install --no-deps --ignore-requires-python {PACKAGE}=={VERSION}"
MODEL = "models/ch_PP-OCRv4_rec_infer.onnx"
HEIGHT = 48  # pixels, of the model's input
NARROWEST, WIDEST = 48, 3200  # pixels, of the same
BATCH = 8
PRESENT = 0.5  # the probability of any character of the game, below which an unsure text is none
SURE = 0.8  # a text of other characters that is read as sure is one


def make_reader(settings: ReaderSettings) -> Reader:
    """Return the reader. Raises `UserError` with the commands that install what is missing."""
    refuse_run("rapidocr", settings)
    return RapidOcr(_find_model(), settings.spec.characters, settings.threads)


class RapidOcr:
    """The recogniser in the file `model`, for texts of `characters`, on `threads` threads."""

    def __init__(self, model: Path, characters: Collection[str], threads: int = 1) -> None:
        import onnxruntime  # noqa: PLC0415 - an optional package

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3  # warnings about the model's graph are nothing to the user
        self._session: Any = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        known = self._session.get_modelmeta().custom_metadata_map["character"].splitlines()
        self._characters = ["", *known, " "]  # the first is CTC's blank
        wanted = {*characters, *CONFUSED} - {" "}
        self._wanted = np.array([at for at, char in enumerate(self._characters) if char in wanted], np.int64)
        self.name = f"rapidocr {VERSION} {''.join(sorted(characters))}"

    def read(self, crops: Sequence[U8]) -> list[Reading]:
        """Read crops, RGB uint8 (h, w, 3); an empty crop has an empty text."""
        inputs = [_prepare(crop) for crop in crops]
        readings: list[Reading | None] = [None] * len(crops)
        order = sorted(range(len(crops)), key=lambda n: inputs[n].shape[2])
        first = 0
        while first < len(order):  # batches of one width: the model reads padding as well
            width = inputs[order[first]].shape[2]
            batch = [n for n in order[first : first + BATCH] if inputs[n].shape[2] == width]
            (scores,) = self._session.run(
                None, {self._session.get_inputs()[0].name: np.stack([inputs[n] for n in batch])}
            )
            for n, probabilities in zip(batch, scores, strict=True):
                readings[n] = self._decode(probabilities)
            first += len(batch)
        return [reading for reading in readings if reading is not None]

    def _decode(self, probabilities: F32) -> Reading:
        """The most likely character at each place (CTC): repetitions are one, and blanks are left out."""
        best, chances = probabilities.argmax(1), probabilities.max(1)
        kept = (best != 0) & np.concatenate([[True], best[1:] != best[:-1]])
        text = "".join(self._characters[at] for at in best[kept]).strip()
        confidence = float(chances[kept].min()) if text else 0.0
        present = float(probabilities[:, self._wanted].sum(1).max())
        if not text or (present < PRESENT and confidence < SURE):
            return Reading("", 1 - present)
        return Reading(text, confidence)


def _prepare(crop: U8) -> F32:
    """The model's input, float32 (3, 48, width) from -1 to 1, in the order B, G, R."""
    height, width = crop.shape[:2]
    across = min(max(ceil(HEIGHT * width / height), 1), WIDEST)
    scaled = cv2.resize(crop, (across, HEIGHT), interpolation=cv2.INTER_LINEAR)[:, :, ::-1]
    values = np.zeros((3, HEIGHT, max(across, NARROWEST)), np.float32)
    values[:, :, :across] = scaled.transpose(2, 0, 1).astype(np.float32) / 127.5 - 1
    return values


def _find_model() -> Path:
    if find_spec("onnxruntime") is None:
        raise UserError(f"reader=rapidocr needs ONNX Runtime, which is not installed: {INSTALL}")
    try:
        found = version(PACKAGE)
    except PackageNotFoundError:
        raise UserError(f"reader=rapidocr needs {PACKAGE} {VERSION}, which is not installed: {INSTALL}") from None
    spec = find_spec(PACKAGE.replace("-", "_"))
    places = (spec.submodule_search_locations if spec else None) or []
    model = next((Path(place) / MODEL for place in places if (Path(place) / MODEL).is_file()), None)
    if found != VERSION or model is None:
        raise UserError(f"reader=rapidocr needs {PACKAGE} {VERSION} with its models, {found} is installed: {INSTALL}")
    return model
