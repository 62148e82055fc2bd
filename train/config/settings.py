"""The settings of conf/train.yaml, validated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, ConfigDict, Field, StrictBool, StrictInt
from pydantic.dataclasses import dataclass

from textgen.main import DEFINITION
from textgen.schema.game import UserPath, validated
from train.config.curriculum import Positive
from train.data.tasks import Kind
from train.models.notation import Rounding, aligned, narrowed, parse
from train.models.scaling import Scaling, resized, scaled

MAX_FOLD = 6  # the evaluator goes through all f! orders
Seed = Annotated[StrictInt, Field(ge=0, lt=2**63)]
Logger = Literal["tensorboard", "mlflow"]
T = TypeVar("T")


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str | int | float) else value


Listed = Annotated[tuple[T, ...], BeforeValidator(_listed)]  # fold=4 is fold=[4]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Model:
    """The group `model`: see `train.models.notation`."""

    arch: str | None  # None: the game's
    pool: str


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Settings:
    """The settings of conf/train.yaml outside `DEFINITION` and the group `recipe`."""

    model: Model
    data: Kind | None  # None: the recipe's
    path: UserPath | None
    real: UserPath | None
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
    log: Listed[Logger]
    device: str
    threads: Positive | None
    save_every: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    compile: StrictBool
    autocast: StrictBool
    data_dir: UserPath
    workers: Positive | None
    rebuild: StrictBool

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Settings:
        """Validate a composed config. Raises `UserError`."""
        return validated(cls, {k: v for k, v in config.items() if k not in (*DEFINITION, "recipe")})

    def notation(self, of_game: str, size: tuple[int, int]) -> tuple[str, str]:
        """`arch` and `pool` of the network in the paper's notation, for crops of `size` (H, W): `width`, `scaling` and
        `align` applied. Raises `UserError`."""
        arch, pool = self.model.arch or of_game, self.model.pool
        parse(arch, pool)
        if self.width < 1:
            arch = narrowed(arch, self.width)
        if self.scaling:
            arch, pool, smaller = scaled(self.scaling, arch, pool, size)
            arch = resized(arch, smaller)
        return (aligned(arch, self.align, self.align_to) if self.align else arch), pool

    @property
    def variant(self) -> str:
        """What makes the network another than that of the game and the fold, for a name: _w0.5, _efficientnet, _a8."""
        width = f"_w{self.width:g}" if self.width < 1 else ""
        scaling = f"_{self.scaling}" if self.scaling else ""
        return width + scaling + (f"_a{self.align}{self.align_to.replace('nearest', '')}" if self.align else "")
