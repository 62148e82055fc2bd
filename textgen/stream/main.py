"""`python -m textgen.stream game=…`: a simulated stream with its true values; see docs/reference/stream.md."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from textgen.common import hydra_app
from textgen.common.validation import validate
from textgen.schema.game import Game
from textgen.stream.stream import Settings, write_stream


@hydra.main(version_base="1.3", config_path=hydra_app.CONFIG_PATH, config_name="stream")
@hydra_app.command
def _main(config: DictConfig) -> None:
    c = hydra_app.to_plain(config)
    s = validate(Settings, {key: value for key, value in c.items() if key != "game"})
    print(write_stream(Game.from_config(c["game"]), s), flush=True)


def main() -> None:
    """The console script."""
    hydra_app.run(_main, "stream")
