"""The settings of conf/bench.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StrictBool, StrictInt
from pydantic import dataclasses as checked

from textgen.common.validation import PathOrUrl, Positive, Seed, UserPath
from train.config.fields import MAX_COMPUTED_FOLD, OneOrMore
from train.config.networks import Model, NetworkSettings
from train.folding.arithmetic import Form
from train.inference.engines import Engine, Precision

LARGEST = 2**20  # images of a batch, or of calibration


@checked.dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Settings:
    """All settings except `game`."""

    model: Model
    runs: OneOrMore[UserPath]
    fold: (
        OneOrMore[Annotated[StrictInt, Field(ge=1, le=MAX_COMPUTED_FOLD)]] | None
    )  # None: 2, 3 and 4, or those of the runs
    slots: StrictBool
    scaled: StrictBool
    forms: OneOrMore[Form]
    engines: Annotated[OneOrMore[Engine], Field(min_length=1)]
    precisions: Annotated[OneOrMore[Precision], Field(min_length=1)] | None
    batch: Annotated[OneOrMore[Annotated[StrictInt, Field(ge=1, le=LARGEST)]], Field(min_length=1)]
    trials: Positive
    seconds: Annotated[float, Field(gt=0, le=60)]
    calibration_crops: Annotated[StrictInt, Field(ge=MAX_COMPUTED_FOLD, le=LARGEST)]
    device: str
    threads: Positive
    pin: StrictBool
    seed: Seed
    data_dir: UserPath | None
    path: PathOrUrl | None
    format: Literal["text", "csv", "json"]
    out: UserPath | None
    overwrite: StrictBool
    plots: UserPath | None
    network: NetworkSettings | None = None
