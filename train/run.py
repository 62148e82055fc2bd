"""One run from a definition to a `result.json`: data set, training, evaluation, pictures."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import ConfigDict, Field, StrictBool, StrictInt
from pydantic.dataclasses import dataclass

from textgen.atomic import write_whole
from textgen.build import Definition
from textgen.errors import UserError
from textgen.game import UserPath, validated
from textgen.main import DEFINITION
from train import plots
from train.curriculum import classes_in, order_of
from train.evaluate import Evaluation, evaluate
from train.loop import Trained, train
from train.models.notation import build, parse
from train.network import Network
from train.recipe import Recipe, recipe_of
from train.task import Kind, open_data, task_of

ELSEWHERE = "another folder with hydra.run.dir=…"
MAX_FOLD = 6  # the evaluator goes through all f! orders
LIBRARIES = ("foldtext", "torch", "numpy", "pillow", "albumentations")


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Model:
    """The group `model`: see `train.models.notation`."""

    arch: str | None  # None: the game's
    pool: str


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Settings:
    """The settings of conf/train.yaml outside `DEFINITION` and the group `recipe`."""

    model: Model
    data: Kind
    path: UserPath | None
    real: UserPath | None
    fold: Annotated[StrictInt, Field(ge=1, le=MAX_FOLD)]
    seed: Annotated[StrictInt, Field(ge=0, lt=2**63)]
    data_seed: Annotated[StrictInt, Field(ge=0, lt=2**63)]
    device: str
    data_dir: UserPath
    epochs: Annotated[StrictInt, Field(ge=1)] | None
    batch: Annotated[StrictInt, Field(ge=1)] | None
    threads: Annotated[StrictInt, Field(ge=1)] | None
    groupings: Annotated[StrictInt, Field(ge=1, le=100)]
    workers: Annotated[StrictInt, Field(ge=1)] | None
    rebuild: StrictBool

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Settings:
        """Validate a composed config. Raises `UserError`."""
        return validated(cls, {k: v for k, v in config.items() if k not in (*DEFINITION, "recipe")})


def run(
    settings: Settings, definition: Definition | None, recipe_config: Mapping[str, Any], out: Path, *, config: str = ""
) -> dict[str, Any]:
    """Train and evaluate, and leave in the folder `out` metrics.jsonl, model.safetensors, result.json and pictures.

    `config`, the whole composed configuration as YAML, is kept beside them as config.yaml. Returns what result.json
    holds. Whatever is wrong with the settings is raised as `UserError` before the data set is built.
    """
    f, device = settings.fold, _device(settings.device)
    task = task_of(settings.data, definition, settings.path, settings.data_dir, settings.rebuild)
    classes, arch = task.classes, settings.model.arch or task.arch
    layers = parse(arch, settings.model.pool)
    recipe = recipe_of(
        recipe_config,
        game=task.name,
        fold=f,
        train_images=task.train_images,
        epochs=settings.epochs,
        batch=settings.batch,
    )
    _check_curriculum(recipe, classes, task.per_class, f, settings.seed)
    build(layers, size=task.size, classes=len(classes), fold=f)  # an arch that does not fit is refused now
    if settings.threads:
        torch.set_num_threads(settings.threads)

    data = open_data(
        task,
        device,
        data_dir=settings.data_dir,
        workers=settings.workers,
        rebuild=settings.rebuild,
        real=settings.real,
    )
    (out / "result.json").unlink(missing_ok=True)  # of an earlier run in the same folder
    write_whole(out / "config.yaml", config.encode(), ELSEWHERE)
    trained = train(
        data.train,
        data.val,
        layers=layers,
        classes=classes,
        f=f,
        recipe=recipe,
        seed=settings.seed,
        metrics=out / "metrics.jsonl",
        keep=lambda net: write_whole(
            out / "model.safetensors",
            Network(net, arch, settings.model.pool, task.size, classes, f).to_bytes(),
            ELSEWHERE,
        ),
    )
    evaluations = {
        name: evaluate(
            trained.net,
            f,
            split,
            classes=len(classes),
            groupings=settings.groupings,
            seed=settings.seed,
            orders=name == "test",
        )
        for name, split in data.tests.items()
    }
    evaluation, test = evaluations.pop("test"), data.pictures
    plots.curves(trained.history, trained.best_epoch, out / "curves.png")
    plots.confusion(evaluation, classes, out / "confusion.png")
    plots.mistakes(evaluation, np.asarray(test.images), np.asarray(test.labels), classes, out / "mistakes.png")
    if f > 1:
        plots.orders(evaluation, out / "orders.png")
    result = _result(settings, recipe, trained, evaluation, classes, device)
    further = {name: _further(other) for name, other in evaluations.items()}
    result = {"game": task.name, "data": task.kind, **result, "tests": further, "dataset_hash": data.hash}
    write_whole(out / "result.json", json.dumps(result, indent=1).encode(), ELSEWHERE)
    print(_summary(result, out))
    return result


def _result(
    settings: Settings,
    recipe: Recipe,
    trained: Trained,
    evaluation: Evaluation,
    classes: tuple[str, ...],
    device: torch.device,
) -> dict[str, Any]:
    orders = {
        "order_agreement": evaluation.order_agreement,
        "order_all_agree": evaluation.order_all_agree,
        "orders": evaluation.orders,
    }
    return {
        "fold": settings.fold,
        "classes": len(classes),
        "recipe": recipe.name,
        "slots": recipe.slots and settings.fold > 1,
        "seed": settings.seed,
        "batch": recipe.batch,
        "epochs": recipe.epochs,
        "epochs_to_best": trained.best_epoch,
        "every_class_in": trained.history[-1]["classes"] == len(classes),
        "train_seconds": round(trained.seconds, 1),
        "train_images_per_second": round(trained.images_per_second),
        "test_images": len(evaluation.predictions),
        "accuracy": evaluation.accuracy,
        "accuracy_ci95": list(evaluation.accuracy_ci95),
        "accuracy_groupings": evaluation.accuracy_groupings,
        "per_class_accuracy": dict(zip(classes, evaluation.per_class_accuracy, strict=True)),
        **(orders if settings.fold > 1 else {}),
        "parameters": sum(p.numel() for p in trained.net.parameters()),
        "versions": {"python": platform.python_version()} | {n: importlib.metadata.version(n) for n in LIBRARIES},
        "commit": _commit(),
        "device": _device_name(device),
    }


def _further(evaluation: Evaluation) -> dict[str, Any]:
    """What result.json says of a further test set."""
    return {
        "images": len(evaluation.predictions),
        "accuracy": evaluation.accuracy,
        "accuracy_ci95": list(evaluation.accuracy_ci95),
    }


def _measured(about: Mapping[str, Any], images: int) -> str:
    low, high = about["accuracy_ci95"]
    return f"{about['accuracy']:.2%} (95 % interval {low:.2%} to {high:.2%}, {images} images)"


def _summary(result: Mapping[str, Any], out: Path) -> str:
    measured = _measured(result, result["test_images"])
    lines = [f"{result['game']} fold={result['fold']}: test accuracy {measured}"]
    if result["fold"] > 1:
        lines.append(
            f"order agreement {result['order_agreement']:.2%} over {result['orders']} orders;"
            f" all agree on {result['order_all_agree']:.2%} of the images"
            + (" (by construction: slots)" if result["slots"] else "")
        )
    lines += [f"on {name}: {_measured(other, other['images'])}" for name, other in result["tests"].items()]
    if not result["every_class_in"]:
        lines.append("the run ended before its curriculum had every class in: its last epoch is kept; give more epochs")
    lines.append(f"trained {result['epochs']} epochs in {result['train_seconds']:.0f} s; see {out}")
    return "\n".join(lines)


def _check_curriculum(recipe: Recipe, classes: tuple[str, ...], per_class: list[int], f: int, seed: int) -> None:
    images = sum(per_class)
    if recipe.curriculum:
        order = order_of(recipe.curriculum, classes, seed)
        first = classes_in(recipe.curriculum, epoch=0, epochs=recipe.epochs or 1, classes=len(classes), fold=f)
        images = sum(per_class[label] for label in order[:first])
    if images < f:
        raise UserError(f"{images} training images do not fill one stack of fold={f}: give more of each class")


def _device(name: str) -> torch.device:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:[0-9]+)?", name):
        raise UserError(f"device={name} is none: give auto, cpu, cuda, cuda:1 or mps")
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device={name} cannot be used: {str(error).splitlines()[0]}; try device=cpu") from None


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads, {platform.machine()}"


def _commit() -> str | None:
    """The commit of a checkout that this code lies in, with a + where it has changes; None elsewhere."""
    folder = Path(__file__).resolve().parent
    git = ["git", "-C", os.fspath(folder)]
    try:
        subprocess.run([*git, "ls-files", "--error-unmatch", __file__], capture_output=True, check=True, timeout=10)
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True)
        dirty = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return commit.stdout.strip() + ("+" if dirty.stdout.strip() else "")
