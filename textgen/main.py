"""`python -m textgen game=…`: build a data set."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

import hydra
from omegaconf import DictConfig
from pydantic import ConfigDict, Field, StrictBool, StrictInt
from pydantic.dataclasses import dataclass

from textgen.common import hydra_app, hydra_sweep
from textgen.common.errors import UserError
from textgen.common.validation import Positive, Seed, UserPath, validate
from textgen.dataset.blocks import Shard
from textgen.dataset.build import ensure_dataset, merge_shards
from textgen.dataset.shards import ShardsError
from textgen.dataset.store import Dataset
from textgen.schema.definition import DatasetDefinition, command_settings, parse_definition


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class ShardConfig:
    """The part of the data set to build: shard `index` (from 0) of `count`, or all of it if `index` is null.

    With `merge` nothing is rendered: the whole is merged from all `count` shards.
    """

    index: Annotated[StrictInt, Field(ge=0)] | None
    count: Annotated[StrictInt, Field(ge=1, le=100_000)]
    merge: StrictBool

    def __post_init__(self) -> None:
        if self.merge and (self.index is not None or self.count == 1):
            raise ValueError("shard.merge=true takes shard.count, above 1, and no shard.index: it merges all shards")
        if self.index is None and self.count > 1 and not self.merge:
            raise ValueError(
                "shard.count needs shard.index, or shard.merge=true to merge the shards; without them, the whole data"
                " set is built, with the shards that exist"
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

    def __post_init__(self) -> None:
        if self.shard.merge and self.rebuild:
            raise ValueError("rebuild=true renders anew, and shard.merge=true merges what is there: give one of them")

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Settings:
        return validate(cls, command_settings(config))


@hydra.main(version_base="1.3", config_path=hydra_app.CONFIG_PATH, config_name="textgen")
@hydra_app.command
def _main(config: DictConfig) -> None:
    c = hydra_app.to_plain(config)
    s = Settings.from_config(c)
    if s.workers is None:
        s = replace(s, workers=hydra_sweep.threads_of_job())
    definition = parse_definition(c, s.seed)
    if s.shard.merge:
        dataset = _merge(definition, s)
    else:
        dataset = ensure_dataset(definition, s.out, shard=s.shard.shard(), workers=s.workers, rebuild=s.rebuild)
    print(dataset.path)


def _merge(definition: DatasetDefinition, s: Settings) -> Dataset:
    """Merge the shards; the error for shards that cannot be merged has the command that makes them."""
    try:
        return merge_shards(definition, s.out, s.shard.count, workers=s.workers)
    except ShardsError as error:
        first, last = error.indices[0], error.indices[-1]
        run = last - first + 1 == len(error.indices) > 2
        sweep = f"range({first},{last + 1})" if run else ",".join(map(str, error.indices))
        given = [setting for setting in hydra_app.given_settings() if not setting.startswith("shard.merge=")]
        command = " ".join(["python -m textgen -m", *map(shlex.quote, given), shlex.quote(f"shard.index={sweep}")])
        raise UserError(f"{error}; nothing is merged. Make them with: {command}") from None


def main() -> None:
    """The console script."""
    hydra_app.run(_main, "textgen")
