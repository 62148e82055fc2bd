"""`python -m textgen game=…`: build a data set. The Hydra shell; all work is done below it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import hydra
from omegaconf import DictConfig, OmegaConf
from pydantic import ConfigDict, Field, StrictBool, StrictInt
from pydantic.dataclasses import dataclass

from textgen.assets.holdout import Holdout
from textgen.common import cli
from textgen.common.errors import UserError
from textgen.dataset.blocks import Shard
from textgen.dataset.build import Definition, ensure
from textgen.schema.augment import Stream
from textgen.schema.game import Game, UserPath, validated


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class ShardConfig:
    """Which part of the data set to build: `index` (from 0) of `count`, or all of it."""

    index: Annotated[StrictInt, Field(ge=0)] | None
    count: Annotated[StrictInt, Field(ge=1, le=100_000)]

    def __post_init__(self) -> None:
        if self.index is None and self.count > 1:
            raise ValueError(
                "shard.count needs shard.index; the whole is built without both, from the shards there are"
            )
        if self.index is not None and self.index >= self.count:
            raise ValueError(f"shard.index counts from 0: give 0 to {self.count - 1}, or a larger shard.count")

    def shard(self) -> Shard:
        return Shard(self.index or 0, self.count)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Settings:
    """The settings of conf/textgen.yaml outside `DEFINITION`."""

    out: UserPath
    seed: Annotated[StrictInt, Field(ge=0, lt=2**63)]
    workers: Annotated[StrictInt, Field(ge=1)] | None
    rebuild: StrictBool
    shard: ShardConfig

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Settings:
        return validated(cls, {k: v for k, v in config.items() if k not in DEFINITION})


DEFINITION = ("game", "augment", "split")  # of a composed config: what defines a data set, with a seed


def definition_of(config: Mapping[str, Any], seed: int) -> Definition:
    """The data set that a composed config defines."""
    held = {key.removeprefix("holdout_"): value for key, value in config["split"].items()}
    return Definition(
        Game.of(config["game"]),
        validated(Stream, config["augment"], "augment"),
        seed,
        validated(Holdout, held, "split"),
    )


def plain(config: DictConfig) -> dict[str, Any]:
    """A composed config as plain dicts and lists, interpolations resolved. Raises `UserError` for a value left open."""
    if missing := OmegaConf.missing_keys(config):
        raise UserError(f"{', '.join(sorted(missing))} has no value: give it as {sorted(missing)[0]}=…")
    container = OmegaConf.to_container(config, resolve=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


@hydra.main(version_base="1.3", config_path="pkg://conf", config_name="textgen")
@cli.task
def _main(config: DictConfig) -> None:
    c = plain(config)
    s = Settings.of(c)
    dataset = ensure(definition_of(c, s.seed), s.out, shard=s.shard.shard(), workers=s.workers, rebuild=s.rebuild)
    print(dataset.path)


def main() -> None:
    """The console script."""
    cli.run(_main, "textgen")
