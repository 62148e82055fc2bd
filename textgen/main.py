"""`python -m textgen game=…`: build a data set. The Hydra shell; all work is done below it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf

from textgen import cli
from textgen.build import Definition, ensure
from textgen.errors import UserError
from textgen.game import Game


def definition_of(config: dict[str, Any], seed: int) -> Definition:
    """The data set that the groups `game` and `augment` of a composed config define."""
    return Definition(Game.of(config["game"]), tuple(config["augment"]["transforms"]), seed)


def plain(config: DictConfig) -> dict[str, Any]:
    """A composed config as plain dicts and lists, interpolations resolved. Raises `UserError` for a value left open."""
    if missing := OmegaConf.missing_keys(config):
        raise UserError(f"{', '.join(sorted(missing))} has no value: give it as {sorted(missing)[0]}=…")
    container = OmegaConf.to_container(config, resolve=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


@hydra.main(version_base="1.3", config_path="pkg://conf", config_name="textgen")
def _main(config: DictConfig) -> None:
    c = plain(config)
    dataset = ensure(definition_of(c, c["seed"]), Path(c["out"]), workers=c["workers"], rebuild=c["rebuild"])
    print(dataset.path)


def main() -> None:
    """The console script."""
    cli.run(_main)
