"""`textgen.label reader=network run=…`: a trained network as one of the readers that label crops."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from textgen.common.array_types import U8
from textgen.common.errors import UserError
from textgen.label.readers import Reader, ReaderSettings, Reading
from textgen.spec.parser import Spec
from train.inference.network_file import weights_path
from train.predict.predictor import Predictor


def make_reader(settings: ReaderSettings) -> Reader:
    """Return the reader. Raises `UserError` without a run, and for a network of other classes than the game's."""
    if settings.run is None:
        raise UserError("reader=network needs a network: give run=…, the folder of a trained run")
    predictor = Predictor.load(settings.run, threads=settings.threads, threshold=0)
    if predictor.classes != settings.spec.classes:
        other = next((name for name in predictor.classes if name not in settings.spec.classes), None)
        has = f"{len(predictor.classes)} classes" + (f", such as {other!r}" if other else "")
        raise UserError(
            f"run={settings.run} reads {predictor.name}, with {has}; the game to label has"
            f" {len(settings.spec.classes)}: give a run of this game"
        )
    check_answers(settings.spec)
    return NetworkReader(predictor)


def check_answers(spec: Spec) -> None:
    """Raise `UserError` if the answers of a network for `spec` are neither classes of one field nor texts."""
    if spec.is_joint and spec.fields.pattern is None:
        raise UserError(
            f"a network for {', '.join(spec.fields.names)} cannot label: they do not decide the text of {spec.text!r};"
            " give reader=rapidocr, or the game label: text"
        )


class NetworkReader:
    """Reads classes, not texts; consecutive crops share a stack."""

    def __init__(self, predictor: Predictor):
        self._predictor = predictor
        digest = hashlib.sha256(weights_path(predictor.run).read_bytes()).hexdigest()
        self.name = f"network {digest[:16]}"

    def read(self, crops: Sequence[U8]) -> list[Reading]:
        """Read crops, RGB uint8 (h, w, 3) of any size."""
        return [Reading(None, read.probability, read.value) for read in self._predictor(crops)]
