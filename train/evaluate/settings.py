"""The settings of conf/evaluate.yaml."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, StrictBool, StrictInt
from pydantic import dataclasses as checked

from textgen.common.validation import PathOrUrl, Positive, Seed, UserPath
from train.evaluate.crops import MAX_CROPS


@checked.dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Settings:
    """All settings of the command."""

    run: UserPath
    crops: Annotated[StrictInt, Field(ge=1, le=MAX_CROPS)] | None
    data_seed: Seed | None
    real: UserPath | None
    dataset: UserPath | None
    split: str | None
    groupings: Annotated[StrictInt, Field(ge=1, le=100)] | None
    seed: Seed | None
    orders: StrictBool
    device: str
    threads: Positive | None
    data_dir: UserPath | None
    path: PathOrUrl | None
    out: UserPath | None
    overwrite: StrictBool
