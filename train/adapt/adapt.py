"""From footage to a run: cut the region, label its crops, train on them, evaluate."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from textgen.common.errors import UserError
from textgen.common.hydra_app import compose_config
from textgen.common.progress import progress_bar
from textgen.dataset.labels_file import read_labels
from textgen.label.corrections import read_corrections
from textgen.label.labelling import Labelling, label_crops, write_labelling
from textgen.label.readers import Reader, ReaderSettings, make_reader
from textgen.schema.game import Game
from textgen.spec.parser import Spec
from textgen.spec.values import OTHER
from train.adapt.footage import cut_counter
from train.adapt.settings import Settings
from train.config.settings import Settings as TrainSettings
from train.inference.network import load
from train.runs.finished_runs import load_config, load_result
from train.runs.run import run_validated

SINGLE_IMAGES, STACK_IMAGES, FURTHER_IMAGES = 150_000, 400_000, 60_000  # of a new network, and of that of a run
READER_IMAGES = 100_000  # of the network that labels where there is no OCR engine
OWN = ("seed", "runs", "out", "fresh", "data_dir", "device", "threads", "real_share", "real_test")  # also train's


def adapt(settings: Settings, groups: Mapping[str, Any]) -> dict[str, Any]:
    """Train a network that reads the counter in the footage, and return its result.json.

    `groups` are the composed groups game, augment and model. Crops and labels stay in a folder, so that a stopped
    command goes on, and labels can be corrected. Raises `UserError`.
    """
    config = _continue_run(settings, settings.run) if settings.run else _new_run(settings, groups)
    spec = Game.from_config(config["game"]).parse_spec()
    crops = cut_counter(settings, str(config["game"]["name"]))
    labelling = _label(settings, config, crops, spec)
    if not labelling.labels:
        raise UserError(
            f"none of the crops in {crops} could be labelled: look at labels.html there, whether the region is right"
        )
    config = {**config, "real": str(crops)}
    return run_validated(config, TrainSettings.from_config(config))[1]


def _new_run(settings: Settings, groups: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a run that trains a new network for a game."""
    if "game" not in groups:
        raise UserError("which game? give game=…, or run=…, a trained run to begin with")
    config = compose_config("train", "recipe=default")
    config |= {**groups, "looks": settings.looks, "fold": settings.fold, **_own(settings)}
    config["recipe"]["images"] = settings.images or (SINGLE_IMAGES if settings.fold == 1 else STACK_IMAGES)
    return config


def _continue_run(settings: Settings, start: Path) -> dict[str, Any]:
    """The configuration of a run that trains the network of another one further: its game, looks and network."""
    result, network = load_result(start), load(start)
    given = load_config(start)
    if settings.fold not in (1, network.fold):
        raise UserError(f"fold={settings.fold}: run={start} has fold={network.fold}; leave fold out")
    if "game" not in given:
        raise UserError(f"run={start} was trained on a folder without a game: give one of a game")
    config = compose_config("train", "recipe=finetune")
    kept = ("game", "augment", "model", "looks", "split", "fold", "width", "scaling", "align", "align_to", "data_seed")
    config |= {key: given[key] for key in kept if key in given} | _own(settings) | {"start": str(start)}
    config["recipe"] |= {"images": settings.images or FURTHER_IMAGES, "slots": bool(result.get("slots"))}
    return config


def _own(settings: Settings) -> dict[str, Any]:
    values = {key: getattr(settings, key) for key in OWN}
    return {key: str(value) if isinstance(value, Path) else value for key, value in values.items()}


def _label(settings: Settings, config: Mapping[str, Any], crops: Path, spec: Spec) -> Labelling:
    """Label the crops, write labels.csv, and print how many there are."""
    reader: Reader | dict[str, str]
    if settings.file:
        name = "file"
        lines = read_labels(settings.file)
        reader = {line.name: "" if line.text in (None, OTHER) else str(line.text) for line in lines}
    else:
        name, run_folder = _choose_reader(settings, config)
        reader = make_reader(name, ReaderSettings(spec, settings.threads or 1, run_folder))
    corrections = read_corrections(settings.corrections) if settings.corrections else {}
    with progress_bar(None, f"labels by {name}") as bar:
        labelling = label_crops(
            crops,
            spec,
            reader,
            region=settings.region,
            kind=settings.kind,
            corrections=corrections,
            progress=bar.update,
        )
    write_labelling(labelling)
    count, all_crops = len(labelling.labels), len(labelling.labels) + len(labelling.doubtful)
    found = len(labelling.count_classes())
    print(
        f"{count} of {all_crops} crops labelled by {name}: {found} of {len(spec.classes)} classes; see {crops}",
        file=sys.stderr,
    )
    return labelling


def _choose_reader(settings: Settings, config: Mapping[str, Any]) -> tuple[str, Path | None]:
    """The name of the reader, and the run of a network that reads, which is trained first if need be."""
    name = settings.reader
    if name == "auto":
        name = "rapidocr" if importlib.util.find_spec("rapidocr_onnxruntime") else "network"
    if name != "network":
        return name, None
    if settings.run:
        return name, settings.run
    print("no run is given to label with: a network for single crops is trained first", file=sys.stderr)
    alone = {**config, "fold": 1, "real_test": None, "out": None}
    alone["recipe"] = {**config["recipe"], "images": READER_IMAGES}
    return name, run_validated(alone, TrainSettings.from_config(alone))[0]
