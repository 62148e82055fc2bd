"""The command `python -m textgen.label crops=… game=…`: label the crops of a region.

docs/reference/label.md explains how.
"""

from __future__ import annotations

import shlex
import sys
import time
from typing import Annotated

import hydra
from omegaconf import DictConfig
from pydantic import ConfigDict, Field, StrictBool, StrictInt, StrictStr
from pydantic.dataclasses import dataclass

from textgen.common import hydra_app
from textgen.common.atomic import write_atomic
from textgen.common.errors import UserError
from textgen.common.progress import progress_bar
from textgen.common.validation import UserPath, validate
from textgen.dataset.labels_file import read_labels
from textgen.footage.smoothing import Kind
from textgen.label.corrections import read_corrections
from textgen.label.labelling import ADVICE, Labelling, label_crops, write_labelling
from textgen.label.page import render_page
from textgen.label.readers import Reader, ReaderSettings, make_reader
from textgen.label.sequence import open_sequence
from textgen.schema.game import Game
from textgen.spec.values import OTHER

FROM_FILE = "file"
PAGE = "labels.html"
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
    spec = game.parse_spec()
    count = len(open_sequence(settings.crops, settings.region).rows)
    corrections = read_corrections(settings.corrections) if settings.corrections else {}
    reader: Reader | dict[str, str]
    if settings.file is not None:
        if settings.run is not None:
            raise UserError(f"run={settings.run}: reader=file takes no run; leave it out")
        reader = {line.name: "" if line.text in (None, OTHER) else line.text for line in read_labels(settings.file)}
    else:
        reader = make_reader(settings.reader, ReaderSettings(spec, settings.threads, settings.run))
    begin = time.perf_counter()
    with progress_bar(count, "read") as bar:
        labelling = label_crops(
            settings.crops,
            spec,
            reader,
            region=settings.region,
            kind=settings.kind,
            corrections=corrections,
            progress=bar.update,
        )
    paths = [*write_labelling(labelling)]
    if settings.page:
        title = f"{game.title or game.name}{f', {settings.region}' if settings.region else ''}"
        command = shlex.join(["python", "-m", "textgen.label", *sys.argv[1:]])
        page = render_page(labelling, spec.classes, corrections, title, command)
        paths.append(labelling.folder / PAGE)
        write_atomic(paths[-1], page.encode("utf-8", "xmlcharrefreplace"), ADVICE)
    print(describe(labelling, len(spec.classes), time.perf_counter() - begin))
    print(*(f"{path} is written" for path in paths), sep="\n")


def describe(labelling: Labelling, classes: int, seconds: float) -> str:
    """One line about a labelling of a game with so many classes."""
    labels, doubtful = len(labelling.labels), len(labelling.doubtful)
    corrected = sum(label.corrected for label in labelling.labels)
    parts = [f"{labels:,} of {labels + doubtful + len(labelling.left_out):,} crops have a label"]
    if corrected:
        parts.append(f"{corrected:,} of them another one than was read")
    parts.append(f"{doubtful:,} are doubtful")
    if labelling.left_out:
        parts.append(f"{len(labelling.left_out):,} are left out")
    found = len(labelling.count_classes())
    parts.append(
        f"{found} of {classes} classes, taken for a {labelling.kind}"
        if labelling.kind != "none"
        else f"{found} of {classes} classes"
    )
    return f"{', '.join(parts)}; {labelling.distinct:,} different crops, {seconds:.1f} s"


def main() -> None:
    """The console script."""
    hydra_app.run(_main, "label")
