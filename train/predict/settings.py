"""The settings of conf/predict.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, StrictBool
from pydantic import dataclasses as checked

from textgen.common.validation import Positive, UserPath
from train.predict.predictor import Engine

Smoothing = Literal["auto", "clock", "counter", "none"]
Seconds = Annotated[float, Field(ge=0)]


def _as_text(value: Any) -> Any:
    """The number of a camera is a text."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


@checked.dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class RaySettings:
    """How many sources are read on Ray: `workers` processes of `cpus` cores, on the cluster at `address`."""

    address: str | None
    workers: Positive | None
    cpus: Positive


@checked.dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Settings:
    """All settings of the command."""

    run: UserPath | Mapping[str, UserPath | Mapping[str, UserPath]]
    source: Annotated[str, BeforeValidator(_as_text)]
    regions: UserPath | Mapping[str, Any]
    out: UserPath
    overwrite: StrictBool
    smoothing: Smoothing | Mapping[str, Smoothing]
    threshold: Annotated[float, Field(ge=0, le=1)] | Literal["auto"]
    changes: StrictBool
    join: str | Mapping[str, str] | None
    every: Positive
    start: Seconds | None
    end: Seconds | None
    rate: Annotated[float, Field(gt=0, le=1000)] | None
    annotate: UserPath | None
    engine: Engine
    device: str
    threads: Positive
    ray: RaySettings = RaySettings(address=None, workers=None, cpus=1)
