"""`python -m train.evaluate run=…`: evaluate a trained network without training; see docs/how-to/train.md."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from textgen.common import hydra_app
from textgen.common.validation import validate
from train.config.networks import take_network
from train.evaluate.report import write_evaluation
from train.evaluate.settings import Settings


@hydra.main(version_base="1.3", config_path=hydra_app.CONFIG_PATH, config_name="evaluate")
@hydra_app.command
def _main(config: DictConfig) -> None:
    c = hydra_app.to_plain(config)
    take_network(c, hydra_app.given_settings())
    print(write_evaluation(validate(Settings, c)), flush=True)


def main() -> None:
    """The console script."""
    hydra_app.run(_main, "evaluate")
