"""`python -m textgen game=…`: build a data set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import hydra
from omegaconf import DictConfig
from pydantic import ConfigDict, Field, StrictBool, StrictInt
from pydantic.dataclasses import dataclass

from textgen.common import hydra_app
from textgen.common.validation import Positive, Seed, UserPath, validate
from textgen.dataset.blocks import Shard
from textgen.dataset.build import ensure_dataset
from textgen.schema.definition import command_settings, parse_definition


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class ShardConfig:
    """The part of the data set to build: shard `index` (from 0) of `count`, or all of it if `index` is null."""

    index: Annotated[StrictInt, Field(ge=0)] | None
    count: Annotated[StrictInt, Field(ge=1, le=100_000)]

    def __post_init__(self) -> None:
        if self.index is None and self.count > 1:
            raise ValueError(
                "shard.count needs shard.index; without both, the whole data set is built, with the shards that exist"
            )
        if self.index is not None and self.index >= self.count:
            raise ValueError(f"shard.index counts from 0: give 0 to {self.count - 1}, or a larger shard.count")

    def shard(self) -> Shard:
        return Shard(self.index or 0, self.count)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Settings:
    """The settings of conf/textgen.yaml that are not part of the data-set definition."""

    out: UserPath
    seed: Seed
    workers: Positive | None
    rebuild: StrictBool
    shard: ShardConfig

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Settings:
        return validate(cls, command_settings(config))


@hydra.main(version_base="1.3", config_path=hydra_app.CONFIG_PATH, config_name="textgen")
@hydra_app.command
def _main(config: DictConfig) -> None:
    c = hydra_app.to_plain(config)
    s = Settings.from_config(c)
    dataset = ensure_dataset(
        parse_definition(c, s.seed), s.out, shard=s.shard.shard(), workers=s.workers, rebuild=s.rebuild
    )
    print(dataset.path)


def main() -> None:
    """The console script."""
    hydra_app.run(_main, "textgen")
