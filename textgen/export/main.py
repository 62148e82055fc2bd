"""`python -m textgen.export game=… to=… out=…`: write a data set as ImageFolder, Parquet or WebDataset.

docs/how-to/formats.md describes the formats.
"""

from __future__ import annotations

from typing import Literal

import hydra
from omegaconf import DictConfig
from pydantic import ConfigDict, StrictBool
from pydantic.dataclasses import dataclass

from textgen.common import hydra_app
from textgen.common.validation import Positive, Seed, UserPath, validate
from textgen.dataset.build import ensure_dataset
from textgen.export.formats import check_target, export
from textgen.schema.definition import command_settings, parse_definition


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Settings:
    """The settings of conf/export.yaml that are not part of the data-set definition."""

    to: Literal["imagefolder", "parquet", "webdataset"]
    out: UserPath
    overwrite: StrictBool
    data: UserPath
    seed: Seed
    workers: Positive | None
    rebuild: StrictBool


@hydra.main(version_base="1.3", config_path=hydra_app.CONFIG_PATH, config_name="export")
@hydra_app.command
def _main(config: DictConfig) -> None:
    c = hydra_app.to_plain(config)
    s = validate(Settings, command_settings(c))
    check_target(s.to, s.out, s.overwrite)
    dataset = ensure_dataset(parse_definition(c, s.seed), s.data, workers=s.workers, rebuild=s.rebuild)
    export(dataset, s.to, s.out, overwrite=s.overwrite)
    print(s.out)


def main() -> None:
    """The console script."""
    hydra_app.run(_main, "export")
