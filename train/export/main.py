"""`python -m train.export run=…`: a trained network as one file from crops to labels; see docs/how-to/export.md."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from textgen.common import hydra_app
from textgen.common.validation import validate
from train.config.networks import take_network
from train.export.deploy import export, format_summary
from train.export.settings import Settings


@hydra.main(version_base="1.3", config_path=hydra_app.CONFIG_PATH, config_name="deploy")
@hydra_app.command
def _main(config: DictConfig) -> None:
    c = hydra_app.to_plain(config)
    take_network(c, hydra_app.given_settings())
    s = validate(Settings, c)
    print(format_summary(export(s), s.file), flush=True)


def main() -> None:
    """The console script."""
    hydra_app.run(_main, "deploy")
