"""`python -m train game=… fold=…`: data set, training, evaluation. The Hydra shell; all work is done below it."""

from __future__ import annotations

import re
import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from textgen.common import cli
from textgen.common.errors import UserError
from textgen.main import plain
from train.config.settings import Settings
from train.runs.run import run


@hydra.main(version_base="1.3", config_path="pkg://conf", config_name="train")
@cli.task
def _main(config: DictConfig) -> None:
    c = _given_stays(plain(config), HydraConfig.get().overrides.task)
    _check_game(c)
    settings = Settings.of(c)
    results = [
        run({**c, "seed": settings.seed + number, "rebuild": settings.rebuild and number == 0})
        for number in range(settings.seeds)
    ]
    if len(results) > 1:
        accuracies = [result["accuracy"] for result in results]
        spread = f"{statistics.mean(accuracies):.2%} ± {statistics.stdev(accuracies):.2%}"
        print(f"{len(results)} seeds: test accuracy {spread} (mean and standard deviation)")


def _given_stays(config: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """`config` without those settings of `recipe.special` that the command gives, as recipe.batch=64: they stand."""
    special = config["recipe"].get("special")
    given = [override.lstrip("+~").partition("=")[0].split(".") for override in overrides]
    keys = [key[1:] for key in given if key[0] == "recipe" and key[1:]]
    if not isinstance(special, list) or ["special"] in keys:
        return config
    special = [
        {**entry, "set": _without(entry["set"], keys)} if isinstance(entry.get("set"), Mapping) else entry
        for entry in special
    ]
    return {**config, "recipe": {**config["recipe"], "special": special}}


def _without(settings: Mapping[str, Any], keys: Sequence[Sequence[str]]) -> dict[str, Any]:
    """`settings` without what the paths `keys` lead to, and without mappings that are empty then."""
    left = {}
    for name, value in settings.items():
        inner = [key[1:] for key in keys if key[0] == name]
        if [] in inner:
            continue
        if inner and isinstance(value, Mapping):
            value = _without(value, inner)  # noqa: PLW2901
            if not value:
                continue
        left[name] = value
    return left


def _check_game(config: Mapping[str, Any]) -> None:
    """A game may be left out for a folder of crops alone."""
    cli.check_choice("game", config)
    if "game" not in config and config["data"] != "folder":
        known = ", ".join(cli.options_of("game"))
        raise UserError(f"which game? give game=… ({known}), or data=folder path=… for crops of your own")


def main() -> None:
    """The console script."""
    cli.run(_checked, "train")


def _checked() -> None:
    """`_main`, but for a sweep of which all jobs would write to one folder, which the second one would find out."""
    alone = next((given for given in sys.argv[1:] if re.fullmatch(r"out=[^,$({*]+", given)), None)
    if alone and cli.sweeps():
        raise UserError(f"{alone} is one folder, and the runs of a sweep need one each: give runs=…")
    _main()
