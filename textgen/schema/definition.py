"""The data-set definition: all settings that decide the bytes of a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from textgen.common.errors import UserError
from textgen.common.validation import validate
from textgen.schema.augment import Augment
from textgen.schema.game import Game
from textgen.schema.looks import with_looks
from textgen.schema.split import Holdout
from textgen.spec.labels import ALL, TEXT

KEYS = ("game", "augment", "split", "looks")  # the keys of a configuration that belong to the definition, besides seed


@dataclass(frozen=True)
class DatasetDefinition:
    """The settings that decide the bytes of a data set; the contents of its assets decide them too."""

    game: Game
    augment: Augment = field(default_factory=Augment)
    seed: int = 0
    holdout: Holdout = field(default_factory=Holdout)


def parse_definition(config: Mapping[str, Any], seed: int) -> DatasetDefinition:
    """Parse the data-set definition in a composed configuration. Raises `UserError`.

    Runs that are older than the setting `looks` have none.
    """
    if not isinstance(config["split"], Mapping):
        raise UserError(f"split: it is a mapping: write split.holdout_fonts=… (given: {config['split']!r})")
    holdout = {key.removeprefix("holdout_"): value for key, value in config["split"].items()}
    return DatasetDefinition(
        with_looks(Game.from_config(config["game"]), config.get("looks", "game")),
        validate(Augment, config["augment"], "augment"),
        seed,
        validate(Holdout, holdout, "split"),
    )


def describe_game(game: Game) -> dict[str, Any]:
    """The settings of a game that decide pixels, as plain values.

    Settings that were added to the format are left out at their defaults, so that older games keep their hashes.
    """
    settings = {key: value for key, value in asdict(game).items() if key not in ("arch", "title")}
    defaults: dict[str, Any] = {
        "features": (),
        "parts": {},
        "gaps": None,
        "clip": 0.0,
        "variants": None,
        "incomplete_fonts": "refuse",
    }
    added = {key: settings["text"].pop(key) for key in defaults}
    settings["text"] |= {key: value for key, value in added.items() if value != defaults[key]}
    settings["label"] = _describe_label(settings["label"])
    if settings["groups"] is None:
        del settings["groups"]
    return settings


def _describe_label(label: str | Sequence[str]) -> str | list[str]:
    """A label with its fields by their letters: SS is S."""
    if isinstance(label, str):
        return label if label in (ALL, TEXT) else label[0]
    return [each[0] for each in label]


def command_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of a composed configuration that belong to the command, not to the definition."""
    return {key: value for key, value in config.items() if key not in KEYS}
