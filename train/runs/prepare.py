"""What a run needs before it trains: its recipe, its task and data, its device. The same in all its processes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch

from textgen.common.errors import UserError
from textgen.schema.definition import parse_definition
from train.common import machine
from train.common.parallel import Group
from train.config.recipe import Recipe, fit_recipe, live_epoch, parse_recipe
from train.config.settings import Settings
from train.config.tasks import parse_task
from train.data.tasks import Files, TaskData, TrainingTask, define_task, open_data
from train.runs.checks import check_run, check_task
from train.trainer.curriculum import curriculum_column


@dataclass(frozen=True)
class Prepared:
    """The settings of a run, checked, and what they stand for."""

    config: Mapping[str, Any]
    settings: Settings
    recipe: Recipe
    task: TrainingTask
    data: TaskData
    device: torch.device
    group: Group


@contextmanager
def prepared(
    config: Mapping[str, Any], settings: Settings, group: Group, train_images: int | None = None
) -> Iterator[Prepared]:
    """Check the settings, build or open the data, and use the threads of the settings within the context.

    Raises `UserError` for wrong settings before anything is rendered; a folder of crops is imported before some of the
    checks, because these need its classes and sizes.
    """
    parsed = parse_recipe(config["recipe"])  # validates the recipe before anything is imported
    from_files = parse_task(config)
    kind = settings.data or parsed.data
    device = machine.select_device(settings.device, group)
    if settings.compile and not group.alone:
        raise UserError(f"compile=true is for one process, and these are {group.size}: leave it out, or torchrun")
    definition = parse_definition(config, settings.data_seed) if "game" in config else None
    check_task(settings, parsed, definition, from_files)
    task = define_task(
        kind,
        definition,
        Files(settings.path, settings.source, settings.labels),
        settings.data_dir,
        task=from_files,
        seed=settings.data_seed,
        rebuild=settings.rebuild,
    )
    if task.kind == "live":
        # A teacher that is trained first has its student's epochs: other processes are told how long they are.
        task = replace(task, train_images=train_images) if train_images else _with_live_epoch(config, settings, task)
    curriculum_column(parsed.curriculum, task.fields)  # at fold=1, too, where the run has none
    recipe = fit(config, settings, task)
    check_run(settings, recipe, task)
    machine.keep_freed_memory()
    with machine.torch_threads(settings.threads):
        data = open_data(
            task,
            device,
            data_dir=settings.data_dir,
            workers=settings.workers,
            rebuild=settings.rebuild,
            real=settings.real_settings,
            seed=settings.seed,
        )
        yield Prepared(config, settings, recipe, task, data, device, group)


def _with_live_epoch(config: Mapping[str, Any], settings: Settings, task: TrainingTask) -> TrainingTask:
    images = live_epoch(
        config["recipe"],
        game=task.name,
        fold=settings.fold,
        width=settings.width,
        classes=task.fields.period,
        most=task.train_images,
        epochs=settings.epochs,
    )
    return replace(task, train_images=images)


def fit(config: Mapping[str, Any], settings: Settings, task: TrainingTask) -> Recipe:
    """The recipe of a run of `task`. Raises `UserError`."""
    return fit_recipe(
        config["recipe"],
        game=task.name,
        fold=settings.fold,
        kind=task.recipe_kind,
        width=settings.width,
        module=settings.network is not None and settings.network.module is not None,
        teacher=settings.teacher is not None,
        train_images=task.train_images,
        epochs=settings.epochs,
        batch=settings.batch,
    )
