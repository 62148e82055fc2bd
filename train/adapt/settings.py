"""The settings of conf/adapt.yaml, validated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import ConfigDict, Field, StrictBool, StrictInt, StrictStr
from pydantic.dataclasses import dataclass

from textgen.common.validation import Positive, Seed, UserPath
from textgen.footage.smoothing import Kind
from train.config.fields import MAX_FOLD

GROUPS = ("game", "augment", "model")
READERS = "rapidocr, tesseract, network, file or auto"
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Settings:
    """The settings of conf/adapt.yaml outside its groups `GROUPS`."""

    source: StrictStr | StrictInt | None
    regions: Mapping[str, Any] | StrictStr | None
    region: StrictStr | None
    start: Seconds | None
    end: Seconds | None
    every: Positive
    crops: UserPath | None
    reader: StrictStr
    file: UserPath | None
    corrections: UserPath | None
    kind: Kind | None
    run: UserPath | None
    looks: StrictStr
    fold: Annotated[StrictInt, Field(ge=1, le=MAX_FOLD)]
    images: Positive | None
    real_share: Annotated[float, Field(gt=0, le=1)]
    real_test: UserPath | None
    seed: Seed
    runs: UserPath
    out: UserPath | None
    fresh: StrictBool
    data_dir: UserPath
    device: StrictStr
    threads: Positive | None

    def __post_init__(self) -> None:
        if (self.reader == "file") != (self.file is not None):
            raise ValueError("reader=file takes a table as file=…, and other readers take none")
        if (self.source is None or self.regions is None) and self.crops is None:
            raise ValueError("give source=… and regions=…, or crops=…, a folder that textgen.cut has written")
