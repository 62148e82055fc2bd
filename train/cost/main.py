"""`python -m train.cost game=… fold=[1,4]`: the computed cost of FoldedCNNs; see docs/reference/cost.md."""

from __future__ import annotations

import json

import hydra
from omegaconf import DictConfig

from textgen.common import cli, hydra_app
from textgen.common.validation import validate
from textgen.schema.game import Game
from train.common.figures import OTHER_PLACE
from train.config.networks import permit_network
from train.cost import plots, table
from train.cost.report import build_report
from train.cost.settings import Settings


@hydra.main(version_base="1.3", config_path=hydra_app.CONFIG_PATH, config_name="cost")
@hydra_app.command
def _main(config: DictConfig) -> None:
    c = hydra_app.to_plain(config)
    for group in ("game", "network"):
        hydra_app.check_choice(group, c)
    s = validate(Settings, {key: value for key, value in c.items() if key != "game"})
    permit_network(c, hydra_app.given_settings())
    game = validate(Game, c["game"], "game") if "game" in c else None
    with cli.open_report(s.out, s.plots, OTHER_PLACE, overwrite=s.overwrite) as write:
        report = build_report(s, game)
        data = report.to_dict()
        formats = {
            "json": lambda: json.dumps(data, indent=1),
            "csv": lambda: table.format_csv(data),
            "text": lambda: table.format_text(data, report.device),
        }
        write(formats[s.format](), lambda folder: plots.write_plots(data, report.device, folder))


def main() -> None:
    """The console script."""
    hydra_app.run(_main, "cost")
