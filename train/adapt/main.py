"""`python -m train.adapt source=… regions=…`: cut crops, label them, train with them; see docs/reference/adapt.md."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from textgen.common import hydra_app
from textgen.common.validation import validate
from train.adapt.adapt import adapt
from train.adapt.settings import GROUPS, Settings


@hydra.main(version_base="1.3", config_path=hydra_app.CONFIG_PATH, config_name="adapt")
@hydra_app.command
def _main(config: DictConfig) -> None:
    c = hydra_app.to_plain(config)
    hydra_app.check_choice("game", c)
    groups = {key: c[key] for key in GROUPS if key in c}
    adapt(validate(Settings, {key: value for key, value in c.items() if key not in GROUPS}), groups)


def main() -> None:
    """The console script."""
    hydra_app.run(_main, "adapt")
