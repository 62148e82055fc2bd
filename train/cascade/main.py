"""`python -m train.cascade run=… reference=…`, or the arithmetic alone; see docs/reference/cascade.md."""

from __future__ import annotations

import json
import re
from pathlib import Path

import hydra
from omegaconf import DictConfig

from textgen.common import cli, hydra_app
from textgen.common.validation import validate
from train.cascade.settings import Settings
from train.cascade.tradeoff import Tradeoff
from train.config.networks import take_network


@hydra.main(version_base="1.3", config_path=hydra_app.CONFIG_PATH, config_name="cascade")
@hydra_app.command
def _main(config: DictConfig) -> None:
    c = hydra_app.to_plain(config)
    given = hydra_app.given_settings()
    take_network(c, given)
    s = validate(Settings, c)
    s.check([re.split(r"[.=@]", setting.lstrip("+~"), maxsplit=1)[0] for setting in given])
    if s.run is None:
        assert s.x is not None
        assert s.a is not None
        tradeoff = Tradeoff(s.x, s.a, s.ratio, s.u)
        print(json.dumps(tradeoff.to_dict(), indent=1) if s.format == "json" else tradeoff.to_text(), flush=True)
        return
    # Not needed for the arithmetic, and slow to import.
    from train.cascade.plots import write_plot  # noqa: PLC0415
    from train.cascade.report import format_report  # noqa: PLC0415
    from train.cascade.run import run_cascade  # noqa: PLC0415
    from train.common.figures import OTHER_PLACE  # noqa: PLC0415

    with cli.open_report(None, s.plots, OTHER_PLACE) as write:
        report = run_cascade(s)

        def draw(folder: Path) -> None:
            assert report.general is not None  # as Settings.check sees to
            write_plot(report.lines, report.general, folder)

        write(json.dumps(report.values, indent=1) if s.format == "json" else format_report(report.values), draw)


def main() -> None:
    """The console script."""
    hydra_app.run(_main, "cascade")
