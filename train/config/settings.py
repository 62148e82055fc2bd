"""The settings of conf/train.yaml, validated."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StrictBool, StrictInt
from pydantic.dataclasses import dataclass

from textgen.common.validation import PathOrUrl, Positive, Seed, UserPath, validate
from textgen.schema.definition import command_settings
from train.config.fields import MAX_FOLD, OneOrMore, Rounding, Scaling
from train.config.networks import Model, NetworkSettings

DataKind = Literal["files", "live", "shards", "folder", "video", "cifar"]
Logger = Literal["tensorboard", "mlflow"]


@dataclass(frozen=True)
class RealSettings:
    """A `folder` of labelled real crops, their `share` of the training images, and a folder for the `test` alone.

    `seed` decides which variations of the crops are shown. With share 0 all crops of `folder` are the test set.
    """

    folder: Path
    share: float = 0.0
    test: Path | None = None
    seed: int = 0


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Settings:
    """The settings of conf/train.yaml outside the data set's definition and the groups `recipe` and `task`."""

    model: Model
    data: Literal["files", "live", "shards", "folder"] | None  # None: the task's, or the recipe's
    path: PathOrUrl | None
    source: UserPath | None
    labels: UserPath | None
    real: UserPath | None
    real_share: Annotated[float, Field(ge=0, le=1)]
    real_test: UserPath | None
    fold: Annotated[StrictInt, Field(ge=1, le=MAX_FOLD)]
    width: Annotated[float, Field(gt=0, le=1)]
    scaling: Scaling | None
    align: Annotated[StrictInt, Field(ge=2, le=256)] | None
    align_to: Rounding
    teacher: UserPath | None
    start: UserPath | None
    seed: Seed
    seeds: Annotated[StrictInt, Field(ge=1, le=1000)]
    data_seed: Seed
    epochs: Positive | None
    batch: Positive | None
    groupings: Annotated[StrictInt, Field(ge=1, le=100)]
    runs: UserPath
    out: UserPath | None
    fresh: StrictBool
    log: OneOrMore[Logger]
    device: str
    threads: Positive | None
    save_every: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    compile: StrictBool
    autocast: StrictBool
    data_dir: UserPath
    workers: Positive | None
    rebuild: StrictBool
    network: NetworkSettings | None = None

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Settings:
        """Validate a composed config. Raises `UserError`."""
        own = command_settings(config).items()
        return validate(cls, {key: value for key, value in own if key not in ("recipe", "task")})

    @property
    def real_settings(self) -> RealSettings | None:
        """How real crops are used; None without any."""
        return RealSettings(self.real, self.real_share, self.real_test, self.seed) if self.real else None

    @property
    def variant(self) -> str:
        """What makes the network another than that of the game and the fold, for a name: _w0.5, _efficientnet, _a8."""
        width = f"_w{self.width:g}" if self.width < 1 else ""
        scaling = f"_{self.scaling}" if self.scaling else ""
        return width + scaling + (f"_a{self.align}{self.align_to.replace('nearest', '')}" if self.align else "")
