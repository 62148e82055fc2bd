"""`python -m train game=… fold=…`: data set, training, evaluation. The Hydra shell; all work is done below it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from textgen import cli
from textgen.errors import UserError
from textgen.main import definition_of, plain
from train.run import Settings, run


@hydra.main(version_base="1.3", config_path="pkg://conf", config_name="train")
@cli.task
def _main(config: DictConfig) -> None:
    c = plain(config)
    out = Path(HydraConfig.get().runtime.output_dir)
    try:
        settings = Settings.of(c)
        run(
            settings,
            definition_of(c, settings.data_seed),
            c["recipe"],
            out,
            config=OmegaConf.to_yaml(config, resolve=True),
        )
    except UserError:
        with suppress(OSError):  # unless there is something in it
            out.rmdir()
        raise


def main() -> None:
    """The console script."""
    cli.run(_main)
