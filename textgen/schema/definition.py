"""A data set's definition: all that decides its bytes, from a composed configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from textgen.common.validation import validate
from textgen.schema.augment import Augment
from textgen.schema.game import Game
from textgen.schema.split import Holdout

KEYS = ("game", "augment", "split")  # of a composed configuration, beside the seed


@dataclass(frozen=True)
class DatasetDefinition:
    """All that decides the bytes of a data set, except the contents of its fonts and pictures."""

    game: Game
    augment: Augment = field(default_factory=Augment)
    seed: int = 0
    holdout: Holdout = field(default_factory=Holdout)


def parse_definition(config: Mapping[str, Any], seed: int) -> DatasetDefinition:
    """The data set that a composed configuration defines. Raises `UserError`."""
    holdout = {key.removeprefix("holdout_"): value for key, value in config["split"].items()}
    return DatasetDefinition(
        Game.from_config(config["game"]),
        validate(Augment, config["augment"], "augment"),
        seed,
        validate(Holdout, holdout, "split"),
    )


def command_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a composed configuration that belong to the command, not to the definition."""
    return {key: value for key, value in config.items() if key not in KEYS}
