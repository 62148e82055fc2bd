"""The settings of conf/label_video.yaml."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, StrictBool, StrictInt
from pydantic import dataclasses as checked

from textgen.common.validation import Positive, UserPath
from train.detectors.detection import Channels, Pixels

Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0)]
Name = Annotated[str, Field(min_length=1)]
Side = Annotated[StrictInt, Field(ge=32, le=8192)]


@checked.dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Settings:
    """All settings of the command."""

    source: Name
    detector: Name
    out: UserPath
    overwrite: StrictBool
    objects: Annotated[tuple[Name, ...], Field(min_length=1)] | None
    confidence: Share
    overlap: Share | None
    region: Annotated[tuple[StrictInt | float, ...], Field(min_length=4, max_length=4)] | None
    every: Positive
    start: Seconds | None
    end: Seconds | None
    batch: Annotated[StrictInt, Field(ge=1, le=1024)]
    names: tuple[Name, ...] | UserPath | None
    size: Annotated[tuple[Side, ...], Field(min_length=2, max_length=2)] | None
    pixels: Pixels | None
    channels: Channels | None
    threads: Positive
