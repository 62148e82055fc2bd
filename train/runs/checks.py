"""Checks of a run's settings, before its data set is built: contradictions, and networks that do not fit."""

from __future__ import annotations

import sys
import traceback
from contextlib import suppress
from pathlib import Path

import torch
import yaml

from textgen.common.errors import UserError
from textgen.common.yaml_files import load_yaml
from textgen.dataset.import_folder import list_test_folder
from textgen.dataset.text_files import to_nfc
from textgen.schema.definition import DatasetDefinition
from train.config.recipe import Recipe
from train.config.settings import Settings
from train.config.tasks import Task
from train.data.tasks import TrainingTask
from train.folding.own_module import OwnModule
from train.folding.slots import extract_slot
from train.inference.network import Network, load, weights_path
from train.models.architecture import resolve_architecture, resolve_network
from train.models.notation import Conv, Layer, Linear, build, size_layers
from train.trainer import loggers
from train.trainer.curriculum import class_count, class_order, curriculum_column

MAX_NAMES_SHOWN = 10  # classes in a message


def check_run(settings: Settings, recipe: Recipe, task: TrainingTask) -> None:
    """Raise `UserError` for whatever can be known to be wrong before the data set is built.

    Prints the classes that the validation or test images of a folder lack.
    """
    arch, pool = resolve_architecture(settings, task.arch, task.size)
    network = check_network(settings, task.arch, task.size, len(task.classes))
    if (recipe.slots or recipe.shared_block) and not isinstance(network, OwnModule):
        check_slots(network, task.size, len(task.classes), settings.fold)
    _check_images(settings, recipe, task)
    _check_field_weights(recipe, task)
    loggers.check(settings.log)
    _check_real_crops(settings, task)
    if settings.teacher:
        check_teacher(settings.teacher, task)
    if recipe.needs_start and not settings.start:
        raise UserError(_needs_start(recipe))
    if settings.start:
        check_start(settings.start, task, network, arch=arch, pool=pool, fold=settings.fold, recipe=recipe)
        if recipe.distill and not settings.teacher:
            raise UserError(f"start={settings.start}: who is to teach? give teacher=…, or recipe.distill=null")
    _check_out(settings)
    for split, names in task.absent_classes.items():
        shown = ", ".join(map(repr, names[:MAX_NAMES_SHOWN])) + (", …" if len(names) > MAX_NAMES_SHOWN else "")
        print(
            f"{split} of {settings.path} has no images of {len(names)} of the {len(task.classes)} classes: {shown}",
            file=sys.stderr,
        )


def check_task(settings: Settings, recipe: Recipe, definition: DatasetDefinition | None, task: Task | None) -> None:
    """Raise `UserError` for whatever can be known to be wrong before the files of a task are read, which takes long."""
    if task is None:
        return
    given = {
        "game=": definition,
        "data=": settings.data,
        "real=": settings.real,
        "real_test=": settings.real_test,
    }
    if wrong := next((option for option, value in given.items() if value is not None), None):
        raise UserError(f"{wrong}… and task={task.name} are two kinds of images: give one of them")
    check_network(settings, "", (task.size[0], task.size[1]), len(task.classes))
    loggers.check(settings.log)
    if recipe.needs_start and not settings.start:
        raise UserError(_needs_start(recipe))


def check_network(settings: Settings, arch: str, size: tuple[int, int], classes: int) -> tuple[Layer, ...] | OwnModule:
    """The network of a run, which is known before any image is. Raises `UserError` for one that cannot be built."""
    network = resolve_network(settings, arch, size)
    if isinstance(network, OwnModule):
        _check_module(network, settings.fold, size, classes)
    else:
        build(network, fold=settings.fold, size=size, classes=classes)
    return network


def _needs_start(recipe: Recipe) -> str:
    return f"recipe={recipe.name} goes on from a trained network: give start=…, a run's folder or a model.safetensors"


def _check_module(network: OwnModule, fold: int, size: tuple[int, int], classes: int) -> None:
    """Raise `UserError` for a module that cannot be built or folded, or does not give logits for all classes."""
    net = network.build(size=size, classes=classes, fold=fold).eval()
    with torch.no_grad():
        try:
            shape = tuple(net(torch.zeros(2, 3 * fold, *size)).shape)
        except (RuntimeError, TypeError, ValueError, AttributeError) as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            raise UserError(
                f"network={network.name} does not take images (b, 3, {size[0]}, {size[1]}):"
                f" {' '.join(str(error).split())} ({place.filename}, line {place.lineno})"
            ) from None
    if shape != (2, fold * classes):
        raise UserError(
            f"network={network.name} gives {shape[1:]} for a stack of {fold}: it has to give {fold * classes} logits,"
            f" {classes} classes for each image, as Net(classes={classes})"
        )


def _check_real_crops(settings: Settings, task: TrainingTask) -> None:
    if settings.real_test and not (settings.real and settings.real_share):
        given = "real_share above 0" if settings.real else "real=… too"
        raise UserError(f"real_test={settings.real_test} is for a run that trains on real crops: give {given}")
    if settings.real and settings.real_test and settings.real.resolve() == settings.real_test.resolve():
        raise UserError(
            f"real_test={settings.real_test} is the folder that is trained on: give other footage, or leave it out"
            " for a part of real="
        )
    for option, folder in (("real", settings.real), ("real_test", settings.real_test)):
        if folder and not folder.is_dir():
            raise UserError(
                f"{option}={folder} is no folder: give one of crops, with a labels file or a folder a class"
            )
        if folder:
            list_test_folder(folder, task.classes, task.spec)  # refuses a folder or text that is none of them


def check_slots(layers: tuple[Layer, ...], size: tuple[int, int], classes: int, f: int) -> None:
    """Raise `UserError` if a layer of the FoldedCNN is too narrow to have channels for each of f slots."""
    folded, narrow = (size_layers(layers, size=size, classes=classes, **{key: f}) for key in ("fold", "slot_of"))
    for layer, of_slot in zip(folded, narrow, strict=True):
        if isinstance(layer.layer, Conv | Linear) and f * of_slot.output[0] > layer.output[0]:
            raise UserError(
                f"fold={f}: {layer.name} has {layer.output[0]} channels, too few for {f} slots: give it more in"
                " model.arch, or set recipe.slots=false recipe.shared_block=false"
            )


def check_teacher(path: Path, task: TrainingTask) -> None:
    """Raise `UserError` unless `path` holds a network for single images of the task."""
    _check_fits(f"teacher={path}", load(path), task, fold=1)


def check_start(
    path: Path,
    task: TrainingTask,
    needed: tuple[Layer, ...] | OwnModule,
    *,
    arch: str,
    pool: str,
    fold: int,
    recipe: Recipe,
) -> None:
    """Raise `UserError` unless training `needed`, the network of `arch` and `pool`, can begin from that at `path`."""
    network = load(path)
    _check_fits(f"start={path}", network, task, fold)
    if isinstance(needed, OwnModule):
        if network.own != needed:
            has = network.own.describe() if network.own else network.arch
            raise UserError(f"start={path} is {has}; this run is {needed.describe()}")
        return
    if network.layers != needed:
        raise UserError(f"start={path} is {network.arch}, pools {network.pool}; this run is {arch}, pools {pool}")
    if layers := [key for key in ("norm", "characters", "auxiliary") if getattr(recipe, key)]:
        raise UserError(
            f"start={path}: a trained network has nothing for recipe.{', recipe.'.join(layers)}: give recipe=finetune,"
            " or set them to false and 0"
        )
    if fold == 1:
        return
    narrow = build(needed, size=task.size, classes=len(task.classes), slot_of=fold)
    try:
        extract_slot(network.net, narrow, fold)
    except ValueError as error:
        if recipe.slots:
            raise UserError(f"start={path}: {error}, as slots need it: give recipe.slots=false") from None
        return
    if not recipe.slots:
        advice = "recipe.slots=true keeps them equal"
        print(f"start={path} consists of {fold} copies of a narrow network: {advice}", file=sys.stderr)


def _check_field_weights(recipe: Recipe, task: TrainingTask) -> None:
    if recipe.field_weights and task.fields.is_single:
        raise UserError(
            "recipe.field_weights weights the fields of a label, and this one has a single field: leave it out, or give"
            " the game several, such as game.label=text"
        )
    if unknown := [name for name in recipe.field_weights or () if name not in task.fields.names]:
        raise UserError(
            f"recipe.field_weights names {unknown[0]!r}: the fields of the label are {', '.join(task.fields.names)}"
        )


def _check_images(settings: Settings, recipe: Recipe, task: TrainingTask) -> None:
    """The classes that training begins with have to fill one stack."""
    column = curriculum_column(recipe.curriculum, task.fields)
    per_class, field = task.per_class(column), task.fields.fields[column]
    images = sum(per_class)
    if recipe.curriculum:
        order = class_order(recipe.curriculum, field.classes, settings.seed)
        classes, epochs = len(field.classes), recipe.epochs or 1
        first = class_count(recipe.curriculum, epoch=0, epochs=epochs, classes=classes, fold=settings.fold)
        images = sum(per_class[label] for label in order[:first])
    if images < settings.fold:
        raise UserError(
            f"{images} training images do not fill one stack of fold={settings.fold}: give more of each class"
        )


def _check_fits(option: str, network: Network, task: TrainingTask, fold: int) -> None:
    given = (network.fold, network.size, *map(to_nfc, network.classes))
    if given != (fold, task.size, *map(to_nfc, task.classes)):
        has = f"fold={network.fold}, {network.size[0]}×{network.size[1]} pixels and {len(network.classes)} classes"
        needed = f"fold={fold}, {task.size[0]}×{task.size[1]} and the {len(task.classes)} classes of {task.name}"
        if len(network.classes) == len(task.classes):
            pairs = zip(network.classes, task.classes, strict=True)
            other = next((pair for pair in pairs if to_nfc(pair[0]) != to_nfc(pair[1])), None)
            needed += f" ({other[1]!r} where it has {other[0]!r})" if other else ""
        raise UserError(f"{option} has {has}; it needs {needed}")


def _check_out(settings: Settings) -> None:
    """`out` is one run's folder, and holds neither other files nor a network that the run is given."""
    out = settings.out
    if out is None:
        return
    for option, given in (("teacher", settings.teacher), ("start", settings.start)):
        if given and weights_path(given).resolve().parent == out.resolve():
            raise UserError(f"out={out} holds {option}=…, which would be overwritten: give another folder")
    if not may_hold_a_run(out):
        raise UserError(f"out={out} holds other things than a run: give a new or empty folder, or one of a run")
    if settings.seeds > 1:
        raise UserError(f"out={out} is one folder, and seeds={settings.seeds} runs need one each: give runs=…")


def may_hold_a_run(folder: Path) -> bool:
    """Whether a folder holds a run, finished or not, or only hidden files: the lock, and what a kill may leave."""
    if not folder.is_dir():
        return not folder.exists()
    if all(path.name.startswith(".") for path in folder.iterdir()):
        return True
    with suppress(OSError, UserError, UnicodeDecodeError, yaml.YAMLError):
        config = load_yaml(folder / "config.yaml")
        return isinstance(config, dict) and "recipe" in config
    return False
