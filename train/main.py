"""`python -m train game=… fold=…`: data set, training, evaluation. The Hydra shell; all work is done below it."""

from __future__ import annotations

from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from textgen import cli
from textgen.main import definition_of, plain
from train.run import Settings, run


@hydra.main(version_base="1.3", config_path="pkg://conf", config_name="train")
@cli.task
def _main(config: DictConfig) -> None:
    c = plain(config)
    run(Settings.of(c), definition_of(c, c["data_seed"]), c["recipe"], Path(HydraConfig.get().runtime.output_dir))


def main() -> None:
    """The console script."""
    cli.run(_main)
