"""`python -m train game=… fold=…`: data set, training, evaluation. The Hydra command; `train.runs` does the work."""

from __future__ import annotations

import re
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import hydra
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from textgen.common import hydra_app, hydra_sweep
from textgen.common.errors import UserError
from train.config.compose import with_network
from train.config.networks import permit_network
from train.config.recipe import LAYERS, without_overridden
from train.config.renamed_settings import RENAMED
from train.config.settings import Settings
from train.runs.run import run_validated


@hydra.main(version_base="1.3", config_path=hydra_app.CONFIG_PATH, config_name="train")
@hydra_app.command
def _main(config: DictConfig) -> float | None:
    """The validation accuracy, mean of the seeds, for sweepers that optimise; None for an older run that lacks it."""
    _check_direction()
    c = hydra_app.to_plain(config)
    _check_data(c)
    _limit_threads(c)
    permit_network(c, hydra_app.given_settings())
    c = with_network(c, hydra_app.given_settings())
    given = [setting.lstrip("+~").partition("=")[0] for setting in hydra_app.given_settings()]
    recipe = [name.removeprefix("recipe.") for name in given if name.startswith("recipe.")]
    _check_layers(c, recipe)
    c["recipe"] = without_overridden(c["recipe"], recipe)  # a setting of the command has priority over overrides
    settings = Settings.from_config(c)
    results = []
    begun = partial(hydra_sweep.note_run, runs=settings.seeds)
    for number in range(settings.seeds):
        once: dict[str, Any] = {"seed": settings.seed + number, "rebuild": settings.rebuild and number == 0}
        results.append(run_validated({**c, **once}, replace(settings, **once), begun)[1])
    accuracies = [result["accuracy"] for result in results]
    if len(accuracies) > 1:
        spread = f"{statistics.mean(accuracies):.2%} ± {statistics.stdev(accuracies):.2%}"
        print(f"{len(accuracies)} seeds: test accuracy {spread} (mean and standard deviation)")
    validation = [result["val_accuracy"] for result in results]
    return None if None in validation else statistics.mean(validation)


def _check_direction() -> None:
    """Before the first job of an Optuna sweep, say if it would look for the lowest accuracy, which is its default."""
    hydra_config = HydraConfig.get()
    direction = getattr(hydra_config.sweeper, "direction", None)
    lowest = getattr(direction, "name", direction) == "minimize"
    if lowest and hydra_config.mode == RunMode.MULTIRUN and hydra_config.job.num == 0:
        print("this sweep minimises validation accuracy: give hydra.sweeper.direction=maximize", file=sys.stderr)


def _limit_threads(config: dict[str, Any]) -> None:
    """A job of a multirun has its share of the cores, unless the command says how many threads it takes."""
    if share := hydra_sweep.threads_of_job():
        torch.set_num_threads(share)  # what threads=null stands for, less one that renders
        if config["workers"] is None:
            config["workers"] = share


def _check_data(config: Mapping[str, Any]) -> None:
    """A game may be left out for a task, or for a folder of crops."""
    for group in ("game", "task", "network"):
        hydra_app.check_choice(group, config)
    if "game" not in config and "task" not in config and config["data"] != "folder":
        games, tasks = (", ".join(hydra_app.group_options(group)) for group in ("game", "task"))
        raise UserError(
            f"which game? give game=… ({games}), task=… ({tasks}), or data=folder path=… for crops of your own"
        )


def _check_layers(config: Mapping[str, Any], given: Sequence[str]) -> None:
    """A module is trained as it is: refuse what the command sets of layers, or of weights, that it cannot be given."""
    network = config.get("network") or {}
    wrong = [name for name in given if name in LAYERS and config["recipe"].get(name) not in (False, 0, "torch")]
    if wrong and network.get("module"):
        raise UserError(f"recipe.{wrong[0]} is for networks of the notation, not for {network['module']}: leave it out")


def main() -> None:
    """The command."""
    hydra_app.run(_checked, "train", RENAMED)


def _checked() -> None:
    """`_main`, except for a sweep whose jobs would all write to one folder: the second one would find that out."""
    out = next((given for given in sys.argv[1:] if re.fullmatch(r"out=[^,$({*]+", given)), None)
    if out and hydra_app.is_multirun():
        raise UserError(f"{out} is one folder, and the runs of a sweep need one each: give runs=…")
    _main()
