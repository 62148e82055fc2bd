"""A finished run: its result, and the data that it was trained and tested with."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from pydantic import ConfigDict
from pydantic import dataclasses as checked

from textgen.common.bounded_text import load_json
from textgen.common.digests import check_digest
from textgen.common.errors import UserError
from textgen.common.validation import PathOrUrl, Seed, UserPath, validate
from textgen.common.yaml_files import load_yaml
from textgen.dataset.store import Dataset, open_dataset
from textgen.schema.definition import DatasetDefinition, parse_definition
from train.config.advice import TRAIN_AGAIN
from train.config.settings import DataKind
from train.config.tasks import Task, parse_task
from train.data.tasks import Files, TaskData, define_task, open_data, task_of_dataset
from train.inference.network import Network

SHOWN = 6  # runs that a message names


@checked.dataclass(frozen=True, config=ConfigDict(extra="ignore"))
class _DataSettings:
    """The settings of a run's data in its config.yaml. Other settings are not needed; older runs have fewer."""

    data: DataKind | None
    path: PathOrUrl | None
    data_dir: UserPath
    data_seed: Seed
    source: UserPath | None = None
    labels: UserPath | None = None


def load_result(run: Path) -> dict[str, Any]:
    """The result.json of a run. Raises `UserError` if there is none, or a damaged one."""
    if not run.is_dir():
        raise UserError(f"{run} is no folder: give that of a run, as python -m train names it at its end")
    check_digest(run / "result.json", TRAIN_AGAIN)
    try:
        found = load_json(run / "result.json")
    except FileNotFoundError:
        raise UserError(f"{run} holds no result.json: {_advice(run)}") from None
    except ValueError:
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("game"), str):
        raise UserError(f"{run / 'result.json'} is damaged: train again with fresh=true")
    return found


def _advice(folder: Path) -> str:
    """Advice for a folder that holds no result."""
    found = sorted(path.parent.name for path in folder.glob("*/result.json"))
    if not found:
        return "it is no run, or an unfinished one, which the same command finishes"
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return f"it is a folder of runs, give one of them: {', '.join(found[:SHOWN])}{more}"


def load_run_definition(run: Path) -> DatasetDefinition | None:
    """The definition of a run's crops; None if it was trained on a folder without a game. Raises `UserError`."""
    config = load_config(run)
    if "game" not in config:
        return None
    return parse_definition(config, validate(_DataSettings, config).data_seed)


def load_run_data(
    run: Path, network: Network, *, data_dir: Path | None = None, path: Path | str | None = None
) -> TaskData:
    """The data of a run with `network`, on the CPU, opened as the run did; built again where it is not there.

    `data_dir` and `path` (of a folder of crops, or of shards, also a URL) are today's places of the data; None: the
    run's. Reports on stderr if the data have changed since. Raises `UserError`.
    """
    config = load_config(run)
    settings, from_files = validate(_DataSettings, config), parse_task(config)
    recipes_data = config["recipe"].get("data", "files")  # "files": the default of older versions
    kind = settings.data or validate(DataKind, recipes_data, "recipe.data")  # type: ignore[arg-type]
    assert kind is not None
    if path and kind not in ("folder", "shards") and from_files is None:
        raise UserError(f"path={path} is for runs with data=folder or shards, this one has data={kind}: leave it out")
    definition = load_run_definition(run)
    folder = data_dir or settings.data_dir
    if from_files and not path and (own := _own_dataset(run, from_files, folder)):
        task = task_of_dataset(from_files, own)  # without reading a video again
    else:
        files = Files(path) if path else Files(settings.path, settings.source, settings.labels)
        task = define_task(kind, definition, files, folder, task=from_files, seed=settings.data_seed)
    task = replace(task, augment=None)
    if (task.size, task.classes) != (network.size, network.classes):
        raise UserError(
            f"the crops of {task.name} are {task.size[0]}×{task.size[1]} of {len(task.classes)} classes, those of {run}"
            f" has {network.size[0]}×{network.size[1]} and {len(network.classes)}: give path=…, its crops"
        )
    data = open_data(task, torch.device("cpu"), data_dir=folder, workers=None, rebuild=False, real=None)
    if data.hash != (then := load_result(run).get("dataset_hash")):
        why = "crops that came or went, a folder of another name or other versions of libraries may be why"
        print(
            f"{run} was tested on data set {str(then)[:8]}, and this is {data.hash[:8]}: {why}, and some crops may be"
            " those that it was trained on",
            file=sys.stderr,
        )
    return data


def _own_dataset(run: Path, task: Task, data_dir: Path) -> Dataset | None:
    """The data set that a run of a task was trained on, if it is still there."""
    path = data_dir / task.name / str(load_result(run).get("dataset_hash"))[:16]
    return open_dataset(path) if path.is_dir() else None


def load_config(run: Path) -> dict[str, Any]:
    """The config.yaml of a run: its composed configuration. Raises `UserError`."""
    file = run / "config.yaml"
    check_digest(file, TRAIN_AGAIN)
    try:
        config = load_yaml(file)
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}; it says which crops the run was about") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is damaged: {' '.join(str(error).split())}") from None
    if not isinstance(config, dict) or not isinstance(config.get("recipe"), dict) or "split" not in config:
        raise UserError(f"{file} is not the configuration of a run: train again with fresh=true")
    return config


def calibration_crops(data: TaskData, count: int, seed: int) -> NDArray[np.uint8]:
    """`count` random training crops, uint8 (n, H, W, 3), for quantisation; the same ones for the same seed."""
    window = data.train.windows(0)[0]
    order = torch.randperm(len(window), generator=torch.Generator().manual_seed(seed))
    crops: NDArray[np.uint8] = next(iter(data.train.batches(0, [window[order[:count]]]))).numpy()
    return crops


def find_result(folder: Path) -> dict[str, Any] | None:
    """The result of a finished run."""
    with suppress(FileNotFoundError, ValueError):
        found = load_json(folder / "result.json")
        return found if isinstance(found, dict) else None
    return None


def kept_val_accuracy(folder: Path, found: dict[str, Any]) -> float | None:
    """From metrics.jsonl, for an older run whose result.json lacks it; None where that has no line of the epoch."""
    with suppress(FileNotFoundError, ValueError):
        for line in map(json.loads, (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()):
            if line["epoch"] == found["epochs_to_best"]:
                return float(line["val_accuracy"])
    return None
