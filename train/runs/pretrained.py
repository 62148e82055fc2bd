"""Networks that a run is given by the user: a teacher, or one to begin from."""

from __future__ import annotations

from pathlib import Path

from textgen.common.errors import UserError
from train.config.recipe import Recipe
from train.data.tasks import Task
from train.folding.arithmetic import extract_slot
from train.inference.network import Network, load
from train.models.notation import build, parse


def check_teacher(path: Path, task: Task) -> None:
    """Raise `UserError` unless `path` holds a network for single images of the task."""
    _fits(f"teacher={path}", load(path), task, fold=1)


def check_start(path: Path, task: Task, *, arch: str, pool: str, fold: int, recipe: Recipe) -> None:
    """Raise `UserError` unless a training with these settings can begin from the network at `path`."""
    network = load(path)
    _fits(f"start={path}", network, task, fold)
    if network.layers != parse(arch, pool):
        raise UserError(f"start={path} is {network.arch}, pools {network.pool}; this run is {arch}, pools {pool}")
    if aids := [key for key in ("norm", "characters", "auxiliary") if getattr(recipe, key)]:
        raise UserError(
            f"start={path}: a trained network has nothing for recipe.{', recipe.'.join(aids)}: give recipe=finetune,"
            " or set them to false and 0"
        )
    if recipe.slots:
        narrow = build(parse(arch, pool), size=task.size, classes=len(task.classes), slot_of=fold)
        try:
            extract_slot(network.net, narrow, fold)
        except ValueError as error:
            raise UserError(f"start={path}: {error}, as slots need it: give recipe.slots=false") from None


def _fits(option: str, network: Network, task: Task, fold: int) -> None:
    given = (network.fold, network.size, network.classes)
    if given != (fold, task.size, task.classes):
        has = f"fold={network.fold}, {network.size[0]}×{network.size[1]} pixels and {len(network.classes)} classes"
        needed = f"fold={fold}, {task.size[0]}×{task.size[1]} and the {len(task.classes)} classes of {task.name}"
        if len(network.classes) == len(task.classes):
            pairs = zip(network.classes, task.classes, strict=True)
            other = next((pair for pair in pairs if pair[0] != pair[1]), None)
            needed += f" ({other[1]!r} where it has {other[0]!r})" if other else ""
        raise UserError(f"{option} has {has}; it needs {needed}")
