"""The command `python -m textgen.label crops=… game=…`: label the crops of a region.

docs/reference/label.md explains how.
"""

from __future__ import annotations

import shlex
import sys
from typing import Annotated

import hydra
from omegaconf import DictConfig
from pydantic import ConfigDict, Field, StrictBool, StrictInt, StrictStr
from pydantic.dataclasses import dataclass

from textgen.common import hydra_app
from textgen.common.validation import UserPath, validate
from textgen.footage.smoothing import Kind
from textgen.label.files import FROM_FILE, Request, label_folder
from textgen.schema.game import Game

Threads = Annotated[StrictInt, Field(ge=1, le=256)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Settings:
    """The settings of conf/label.yaml without the game."""

    crops: UserPath
    region: StrictStr | None
    reader: StrictStr
    run: UserPath | None
    file: UserPath | None
    kind: Kind | None
    corrections: UserPath | None
    threads: Threads
    page: StrictBool

    def __post_init__(self) -> None:
        if (self.reader == FROM_FILE) != (self.file is not None):
            raise ValueError("reader=file takes a table as file=…, and other readers take none")
        if self.reader == "network" and self.run is None:
            raise ValueError("reader=network takes the network's run as run=…")


@hydra.main(version_base="1.3", config_path=hydra_app.CONFIG_PATH, config_name="label")
@hydra_app.command
def _main(config: DictConfig) -> None:
    values = hydra_app.to_plain(config)
    settings = validate(Settings, {key: value for key, value in values.items() if key != "game"})
    game = Game.from_config(values["game"])
    request = Request(
        **vars(settings),
        title=f"{game.title or game.name}{f', {settings.region}' if settings.region else ''}",
        command=shlex.join(["python", "-m", "textgen.label", *sys.argv[1:]]),
    )
    labelled = label_folder(request, game.parse_spec())
    print(labelled.summary, *(f"{path} is written" for path in labelled.files), sep="\n")


def main() -> None:
    """The console script."""
    hydra_app.run(_main, "label")
