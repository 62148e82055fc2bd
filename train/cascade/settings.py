"""The settings of conf/cascade.yaml, and which of them go together."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, StrictBool
from pydantic import dataclasses as checked

from textgen.common.errors import UserError
from textgen.common.validation import Positive, UserPath
from train.cascade.reference import parse_delay
from train.detectors.options import DetectorOptions, Seconds
from train.predict.predictor import Engine

Share = Annotated[float, Field(gt=0, lt=1)]
AboveZero = Annotated[float, Field(gt=0, allow_inf_nan=False)]
FIGURES = ("x", "a", "u")  # which are measured where there is a run
ARITHMETIC = ("x", "a", "u", "ratio", "format", "run")  # all that counts where there is no run
OF_SOURCE = ("labels", "start", "end", "rate", "out")
OF_REFERENCE = ("object", "reference_confidence", "reference_options")


def _as_text(value: Any) -> Any:
    """The number of a camera is a text."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


@checked.dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Settings:
    """All settings of the command."""

    x: AboveZero | None
    a: Annotated[float, Field(ge=-1, le=1)] | None
    u: Annotated[float, Field(ge=0, le=1)] | None
    ratio: AboveZero | None
    run: UserPath | None
    original: UserPath | None
    source: Annotated[str, BeforeValidator(_as_text)] | None
    reference: str | None
    labels: UserPath | None
    object: Annotated[str, Field(min_length=1)] | None
    reference_confidence: Annotated[float, Field(ge=0, le=1)] | None
    reference_options: DetectorOptions | None
    fn: Share
    fp: Share
    confidence: Share
    thin: Positive | None
    batch: Positive
    reference_batch: Positive
    compare: StrictBool
    every: Positive
    start: Seconds | None
    end: Seconds | None
    rate: Annotated[float, Field(gt=0, le=1000)] | None
    out: UserPath | None
    overwrite: StrictBool
    plots: UserPath | None
    format: Literal["text", "json"]
    engine: Engine
    device: str
    threads: Positive
    data_dir: UserPath | None
    path: UserPath | None

    def check(self, named: Collection[str]) -> None:
        """Raise `UserError` for settings that would be ignored, and for those that lack another.

        `named` are the settings that the command gives, whatever their values.
        """
        given = [field.name for field in fields(self) if getattr(self, field.name) not in (None, False)]
        if self.run is None:
            if useless := [name for name in named if name not in ARITHMETIC]:
                raise UserError(f"{useless[0]}=… needs run=…, a trained run of a video task")
            if self.x is None or self.a is None:
                raise UserError(
                    "give run=…, a trained run of a video task, or x=… and a=… for the arithmetic alone: how many times"
                    " as fast the FoldedCNN is, and how much accuracy it loses, such as x=2.5 a=0.0021 ratio=83"
                )
            return
        if useless := [name for name in FIGURES if name in given]:
            raise UserError(f"{useless[0]}=… is measured where run=… is given: leave one of them out")
        self._check_reference(given)
        if self.source is None:
            ignored = [name for name in OF_SOURCE if name in given] + ["every"] * ("every" in named)
            if useless := ignored + ["compare"] * self.compare:
                raise UserError(f"{useless[0]}=… is about footage: give source=… too, or leave it out")
        elif self.reference is None:
            raise UserError("source=… needs reference=…, which answers what the network is unsure about")
        if self.plots and not (self.reference or self.ratio):
            raise UserError("plots=… shows throughput: give reference=…, or ratio=… of its time to the network's")

    def _check_reference(self, given: list[str]) -> None:
        if self.reference is None:
            if useless := [name for name in OF_REFERENCE if name in given]:
                raise UserError(f"{useless[0]}=… is about the reference: give reference=… too, or leave it out")
            return
        if self.ratio is not None:
            raise UserError("ratio=… is measured where reference=… is given: leave one of them out")
        if parse_delay(self.reference) is None:
            if self.source is None:
                raise UserError(f"reference={self.reference} needs frames: give source=…, or ratio=… in its place")
            if self.labels:
                raise UserError("labels=… is for reference=delay:…, which answers from it: leave it out")
            return
        if self.reference_options:
            raise UserError("reference_options=… is for a detector: leave it out")
        if self.source is not None and self.labels is None:
            raise UserError(f"reference={self.reference} answers from a label table: give labels=…")
