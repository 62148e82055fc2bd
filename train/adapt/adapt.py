"""From footage to a run: cut the region, label its crops, train on them, evaluate."""

from __future__ import annotations

import importlib.util
import json
import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from textgen.common.atomic import write_atomic
from textgen.common.errors import UserError
from textgen.common.hydra_app import compose_config
from textgen.label.files import Request, label_folder
from textgen.schema.game import Game
from textgen.spec.parser import Spec
from train.adapt.footage import cut_counter
from train.adapt.settings import Settings
from train.common.machine import select_device
from train.config.advice import OTHER_RUNS_FOLDER
from train.config.settings import Settings as TrainSettings
from train.inference.network import load
from train.predict.reader import check_answers
from train.runs.finished_runs import load_config, load_result
from train.runs.run import run_validated

SINGLE_IMAGES, STACK_IMAGES, FURTHER_IMAGES = 150_000, 400_000, 60_000  # of a new network, and of that of a run
STACK_IMAGES_OF_FIELDS = 800_000  # of several fields; docs/reference/results.md#several-fields compares them
READER_IMAGES = 100_000  # of the network that labels where there is no OCR engine
RECORD = "adapt.json"
OWN = ("seed", "runs", "out", "fresh", "data_dir", "device", "threads", "real_share", "real_test")  # also train's


def adapt(settings: Settings, groups: Mapping[str, Any]) -> dict[str, Any]:
    """Train a network that reads the counter in the footage, and return its result.json.

    `groups` are the composed groups game, augment and model. Crops and labels stay in a folder, so that a stopped
    command goes on, and labels can be corrected. Raises `UserError`.
    """
    begin = time.perf_counter()
    config = _continue_run(settings, settings.run, groups) if settings.run else _new_run(settings, groups)
    train_settings = TrainSettings.from_config(config)
    select_device(train_settings.device)
    if settings.real_test and not settings.real_test.is_dir():
        raise UserError(f"real_test={settings.real_test} is no folder: give one of labelled crops")
    spec = Game.from_config(config["game"]).parse_spec()
    crops = cut_counter(settings, str(config["game"]["name"]))
    cut = time.perf_counter()
    reader, real = _label(settings, config, crops, spec)
    config = {**config, "real": str(real)}
    labelled = time.perf_counter()
    folder, result = run_validated(config, TrainSettings.from_config(config))
    seconds = {"cut": cut - begin, "label": labelled - cut, "train": time.perf_counter() - labelled}
    print(f"read footage with it: {_suggest_prediction(settings, folder)}")
    _write_record(settings, folder, reader, {name: round(value, 1) for name, value in seconds.items()})
    return result


def _suggest_prediction(settings: Settings, folder: Path) -> str:
    """The command that reads the same footage with the run in `folder`."""
    regions = settings.regions
    if isinstance(regions, Mapping):
        places = ", ".join(f"{name}: {list(place)}".replace(" ", "") for name, place in regions.items())
        regions = f"{{{places}}}"
    source, regions = settings.source or "…", regions or "…"
    return shlex.join(["foldtext", "predict", f"run={folder}", f"source={source}", f"regions={regions}"])


def _write_record(settings: Settings, folder: Path, reader: str, seconds: Mapping[str, float]) -> None:
    """Write adapt.json, which says what a run was made from and how long that took, unless it was found finished."""
    file = folder / RECORD
    if file.exists() and not settings.fresh:
        return
    about = {key: getattr(settings, key) for key in ("source", "regions", "start", "end", "every", "crops", "run")}
    record = {**about, "reader": reader, "seconds": seconds}
    write_atomic(file, json.dumps(record, indent=1, default=str).encode(), OTHER_RUNS_FOLDER)


def _new_run(settings: Settings, groups: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a run that trains a new network for a game."""
    if "game" not in groups:
        raise UserError("which game? give game=…, or run=…, a trained run to begin with")
    config = compose_config("train", "recipe=default")
    config |= {**groups, "looks": settings.looks, "fold": settings.fold, **_own(settings)}
    several = not Game.from_config(groups["game"]).label_fields.is_single
    usual = SINGLE_IMAGES if settings.fold == 1 else STACK_IMAGES_OF_FIELDS if several else STACK_IMAGES
    config["recipe"]["images"] = settings.images or usual
    return config


def _continue_run(settings: Settings, start: Path, groups: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a run that trains the network of another one further: its game, looks and network."""
    result, network = load_result(start), load(start)
    given = load_config(start)
    if settings.fold not in (1, network.fold):
        raise UserError(f"fold={settings.fold}: run={start} has fold={network.fold}; leave fold out")
    if "game" not in given:
        raise UserError(f"run={start} was trained on a folder without a game: give one of a game")
    if "game" in groups and Game.from_config(groups["game"]) != Game.from_config(given["game"]):
        raise UserError(
            f"game={groups['game']['name']} is not as that of run={start}, which is used: leave game out, or run, for a"
            " new network"
        )
    config = compose_config("train", "recipe=finetune")
    kept = ("game", "augment", "model", "looks", "split", "fold", "width", "scaling", "align", "align_to", "data_seed")
    config |= {key: given[key] for key in kept if key in given} | _own(settings) | {"start": str(start)}
    config["recipe"] |= {"images": settings.images or FURTHER_IMAGES, "slots": bool(result.get("slots"))}
    return config


def _own(settings: Settings) -> dict[str, Any]:
    values = {key: getattr(settings, key) for key in OWN}
    return {key: str(value) if isinstance(value, Path) else value for key, value in values.items()}


def _label(settings: Settings, config: Mapping[str, Any], crops: Path, spec: Spec) -> tuple[str, Path]:
    """Label the crops, print how many labels there are, and return the reader's name and the folder of labels.csv."""
    name, run_folder = _choose_reader(settings, config, spec)
    request = Request(
        crops=crops,
        region=settings.region,
        reader=name,
        run=run_folder,
        file=settings.file,
        kind=settings.kind,
        corrections=settings.corrections,
        threads=settings.threads or 1,
        page=True,
        title=str(config["game"]["name"]),
        command=shlex.join(["python", "-m", "train.adapt", *sys.argv[1:]]),
    )
    labelled = label_folder(request, spec)
    print(f"{labelled.summary}; see {labelled.files[-1]}", file=sys.stderr)
    if not labelled.labelling.labels:
        raise UserError(
            f"none of the crops in {crops} could be labelled: look at {labelled.files[-1]}, whether the region is right"
        )
    return name, labelled.labelling.folder


def _choose_reader(settings: Settings, config: Mapping[str, Any], spec: Spec) -> tuple[str, Path | None]:
    """The name of the reader, and the run of a network that reads, which is trained first if need be."""
    name = settings.reader
    if name == "auto":
        name = "rapidocr" if importlib.util.find_spec("rapidocr_onnxruntime") else "network"
    if name != "network":
        return name, None
    if settings.run:
        return name, settings.run
    check_answers(spec)  # before a network is trained
    why = "" if settings.reader == "network" else ", since RapidOCR, which would take seconds, is not installed"
    print(
        f"first a network for single crops is trained on {READER_IMAGES:,} synthetic images, to label with{why}",
        file=sys.stderr,
    )
    alone = {**config, "fold": 1, "real_test": None, "out": None}
    alone["recipe"] = {**config["recipe"], "images": READER_IMAGES}
    return name, run_validated(alone, TrainSettings.from_config(alone))[0]
