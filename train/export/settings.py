"""The settings of conf/deploy.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StrictBool, StrictInt
from pydantic import dataclasses as checked

from textgen.common.validation import PathOrUrl, Positive, Seed, UserPath
from train.inference.onnx_file import OPSETS


@checked.dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Settings:
    """All settings of the command."""

    run: UserPath
    out: UserPath | None
    overwrite: StrictBool
    format: Literal["onnx", "torch"]
    opset: Annotated[StrictInt, Field(ge=OPSETS[0], le=OPSETS[-1])]
    form: Literal["auto", "dense", "grouped", "narrow"]
    batch: Positive
    threads: Positive | None
    int8: StrictBool
    calibration: Literal["auto", "minmax", "percentile"]
    calibration_crops: Positive
    seed: Seed
    data_dir: UserPath | None
    path: PathOrUrl | None

    @property
    def file(self) -> Path:
        """The path of the exported file."""
        name = {"onnx": "model_int8.onnx" if self.int8 else "model.onnx", "torch": "model.pt2"}[self.format]
        return self.out or self.run / name
