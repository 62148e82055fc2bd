"""`python -m textgen game=…`: build a data set. The Hydra shell; all work is done below it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import hydra
from omegaconf import DictConfig, OmegaConf
from pydantic import ConfigDict, Field, StrictBool, StrictInt
from pydantic.dataclasses import dataclass

from textgen import cli
from textgen.build import Definition, ensure
from textgen.errors import UserError
from textgen.game import Game, validated


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class AugmentConfig:
    """The group `augment`; its entries are checked by `textgen.augment`."""

    transforms: tuple[Any, ...]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Settings:
    """The settings of conf/textgen.yaml outside the groups `game` and `augment`."""

    out: Path
    seed: Annotated[StrictInt, Field(ge=0, lt=2**63)]
    workers: Annotated[StrictInt, Field(ge=1)] | None
    rebuild: StrictBool

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Settings:
        return validated(cls, {k: v for k, v in config.items() if k not in ("game", "augment")})


def definition_of(config: dict[str, Any], seed: int) -> Definition:
    """The data set that the groups `game` and `augment` of a composed config define."""
    return Definition(Game.of(config["game"]), validated(AugmentConfig, config["augment"], "augment").transforms, seed)


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
    dataset = ensure(definition_of(c, s.seed), s.out, workers=s.workers, rebuild=s.rebuild)
    print(dataset.path)


def main() -> None:
    """The console script."""
    cli.run(_main)
