"""`python -m train game=… fold=…`: data set, training, evaluation. The Hydra shell; all work is done below it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

import hydra
from omegaconf import DictConfig

from textgen import cli
from textgen.errors import UserError
from textgen.main import plain
from train.run import run
from train.settings import Settings


@hydra.main(version_base="1.3", config_path="pkg://conf", config_name="train")
@cli.task
def _main(config: DictConfig) -> None:
    c = plain(config)
    _check_game(c)
    settings = Settings.of(c)
    results = [run({**c, "seed": settings.seed + number}) for number in range(settings.seeds)]
    if len(results) > 1:
        accuracies = [result["accuracy"] for result in results]
        spread = f"{statistics.mean(accuracies):.2%} ± {statistics.stdev(accuracies):.2%}"
        print(f"{len(results)} seeds: test accuracy {spread} (mean and standard deviation)")


def _check_game(config: Mapping[str, Any]) -> None:
    """A game may be left out for a folder of crops alone."""
    cli.check_choice("game", config)
    if "game" not in config and config["data"] != "folder":
        known = ", ".join(cli.options_of("game"))
        raise UserError(f"which game? give game=… ({known}), or data=folder path=… for crops of your own")


def main() -> None:
    """The console script."""
    cli.run(_main, "train")
