"""The command `python -m textgen.lint game=…`: check a game before a network is trained on it.

docs/reference/lint.md explains the checks.
"""

from __future__ import annotations

import json
import sys
from typing import Annotated, Literal

import hydra
from omegaconf import DictConfig
from pydantic import ConfigDict, Field, StrictBool
from pydantic import dataclasses as checked

from textgen.common import cli, hydra_app
from textgen.common.atomic import OTHER_OUT
from textgen.common.validation import Seed, UserPath, validate
from textgen.lint.report import lint
from textgen.render.renderer import Renderer
from textgen.schema.definition import command_settings, parse_definition


@checked.dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Settings:
    """The settings of conf/lint.yaml that are not part of the data-set definition."""

    each: Annotated[int, Field(ge=1, le=100_000)]
    format: Literal["text", "json"]
    out: UserPath | None
    overwrite: StrictBool
    seed: Seed


@hydra.main(version_base="1.3", config_path=hydra_app.CONFIG_PATH, config_name="lint")
@hydra_app.command
def _main(config: DictConfig) -> None:
    values = hydra_app.to_plain(config)
    settings = validate(Settings, command_settings(values))
    with cli.open_report(settings.out, None, OTHER_OUT, overwrite=settings.overwrite) as write:
        report = lint(Renderer.from_definition(parse_definition(values, settings.seed)), settings.each)
        text = json.dumps(report.to_dict(), indent=1) if settings.format == "json" else report.text()
        write(text, lambda folder: None)  # there are no plots
    if report.failed:
        sys.exit(1)


def main() -> None:
    """Run the console script."""
    hydra_app.run(_main, "lint")
