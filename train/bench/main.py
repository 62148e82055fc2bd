"""`python -m train.bench game=… fold=[2,4]`: crops a second in several engines; see docs/reference/bench.md."""

from __future__ import annotations

import json

import hydra
from omegaconf import DictConfig

from textgen.common import cli, hydra_app
from textgen.common.errors import UserError
from textgen.common.validation import validate
from textgen.schema.game import Game
from train.bench import plots, table
from train.bench.report import build_report
from train.bench.settings import Settings
from train.common.figures import OTHER_PLACE
from train.config.networks import permit_network, take_network


@hydra.main(version_base="1.3", config_path=hydra_app.CONFIG_PATH, config_name="bench")
@hydra_app.command
def _main(config: DictConfig) -> None:
    c = hydra_app.to_plain(config)
    for group in ("game", "network"):
        hydra_app.check_choice(group, c)
    if c["runs"]:
        take_network(c, hydra_app.given_settings())
    s = validate(Settings, {key: value for key, value in c.items() if key != "game"})
    permit_network(c, hydra_app.given_settings())
    given = dict(setting.split("=", 1) for setting in hydra_app.given_settings() if setting.startswith("model"))
    if s.runs and {*given.values()} - {"null"}:
        raise UserError("runs=… determine the networks: leave out model=…, model.arch=… and model.pool=…")
    game = validate(Game, c["game"], "game") if "game" in c else None
    with cli.open_report(s.out, s.plots, OTHER_PLACE, overwrite=s.overwrite) as write:
        report = build_report(s, game)
        formats = {
            "json": lambda: json.dumps(report, indent=1),
            "csv": lambda: table.format_csv(report),
            "text": lambda: table.format_text(report),
        }
        write(formats[s.format](), lambda folder: plots.write_plots(report, folder))


def main() -> None:
    """The console script."""
    hydra_app.run(_main, "bench")
