"""What a run is: a hash of all that decides its result, and the settings by which runs are compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
import xxhash

from textgen.assets.catalogue import sha256
from train.config.recipe import Recipe, compared_recipe, describe_curriculum
from train.config.settings import Settings
from train.data.real import RealData
from train.data.tasks import TaskData, TrainingTask
from train.inference.network import weights_path
from train.models.architecture import resolve_architecture

TRAINER = 6  # raise it when the same settings train another network, so that no older run passes for the new one


def run_identity(settings: Settings, recipe: Recipe, task: TrainingTask, data: TaskData, teacher: str | None) -> str:
    """The SHA-256 of all that decides a run's result; `teacher` is its identity or the digest of its file."""
    decides = {
        "trainer": TRAINER,
        "data": [task.kind, data.hash, task.train_images, *task.classes],
        "tests": {
            name: digest_tensors(split.images, *[split.labels] * (name == "real"))  # a data set's hash has its labels
            for name, split in data.tests.items()
        },
        **({"real": digest_real(data.real, settings.real_share)} if data.real else {}),
        "network": [*resolve_architecture(settings, task.arch, task.size), settings.fold, *_describe_module(settings)],
        "recipe": _describe_recipe(asdict(recipe)),
        **({"augment": [task.augment.flip, task.augment.shift]} if task.augment else {}),
        "teacher": teacher,
        "start": settings.start and sha256(weights_path(settings.start)),
        "autocast": settings.autocast,
        "seed": settings.seed,
        "groupings": settings.groupings,
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def _describe_recipe(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a recipe that decide a result, without those that were added later, where they are not used."""
    later = ("step_decay", "field_weights")
    described = {
        key: value for key, value in recipe.items() if key != "needs_start" and not (key in later and value is None)
    }
    return {**described, "curriculum": describe_curriculum(recipe.get("curriculum"))}


def _describe_module(settings: Settings) -> list[Any]:
    """The module that a network is, if the notation cannot express it, with the digest of its code."""
    own = settings.network.own if settings.network else None
    return [own.name, dict(own.arguments), own.digest()] if own else []


def compared_settings(config: Mapping[str, Any], settings: Settings, task: TrainingTask) -> dict[str, Any]:
    """The settings in which all runs of one table agree, by the names that a user gives them.

    The recipe stands as it was before it was fitted to a game and a fold; networks by a part of their SHA-256.
    """
    files = {"teacher": settings.teacher, "start": settings.start}
    return {
        "trainer": TRAINER,
        **{f"recipe.{key}": value for key, value in compared_recipe(config["recipe"]).items()},
        **{f"model.{key}": value for key, value in config["model"].items()},
        **{key: config[key] for key in ("epochs", "batch", "autocast", "groupings", "scaling", "align")},
        "align_to": settings.align and settings.align_to,
        **({"network": _describe_module(settings)} if _describe_module(settings) else {}),
        **({"real_share": settings.real_share} if settings.real and settings.real_share else {}),
        **{key: path and sha256(weights_path(path))[:8] for key, path in files.items()},
        "data": task.kind,
    }


def digest_real(real: RealData, share: float) -> list[str | float]:
    """Of the real crops that a run is trained on and validated with."""
    images, labels = real.recombined
    arrays = (real.train.images, real.train.labels, images, labels)
    return [share, digest_tensors(*map(torch.from_numpy, arrays), real.val.images, real.val.labels)]


def digest_tensors(*tensors: torch.Tensor) -> str:
    """The xxh3 of the tensors' bytes, which tells one set of crops from another."""
    digest = xxhash.xxh3_64()
    for tensor in tensors:
        digest.update(np.ascontiguousarray(tensor.cpu().numpy()).data)
    return digest.hexdigest()
