"""The settings of conf/cost.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StrictBool, StrictInt
from pydantic import dataclasses as checked

from textgen.common.validation import Positive, UserPath
from train.config.fields import MAX_COMPUTED_FOLD, OneOrMore, Rounding, Scaling
from train.config.networks import Model, NetworkSettings
from train.folding.arithmetic import Form


@checked.dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Settings:
    """All settings except `game`."""

    model: Model
    fold: OneOrMore[Annotated[StrictInt, Field(ge=1, le=MAX_COMPUTED_FOLD)]]
    forms: Annotated[OneOrMore[Form], Field(min_length=1)]
    scaling: OneOrMore[Scaling]
    align: Annotated[StrictInt, Field(ge=2, le=256)] | None
    align_to: Rounding
    batch: Positive
    precision: Literal["fp32", "fp16", "bf16", "int8"] | None  # None: fp16 where the device has a rate for it
    device: Literal["v100", "t4", "a100", "h100", "tpu_v1", "here"]
    tile: Positive | None  # None: the device's
    format: Literal["text", "csv", "json"]
    out: UserPath | None
    overwrite: StrictBool
    plots: UserPath | None
    network: NetworkSettings | None = None
