"""The settings of conf/label_video.yaml."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, StrictBool, StrictInt
from pydantic import dataclasses as checked

from textgen.common.validation import Positive, UserPath
from train.detectors.options import DetectorOptions, Name, Seconds, Share


@checked.dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Settings(DetectorOptions):
    """All settings of the command, with those of the detector."""

    source: Name
    detector: Name
    out: UserPath
    overwrite: StrictBool
    objects: Annotated[tuple[Name, ...], Field(min_length=1)] | None
    confidence: Share
    every: Positive
    start: Seconds | None
    end: Seconds | None
    batch: Annotated[StrictInt, Field(ge=1, le=1024)]
    threads: Positive
