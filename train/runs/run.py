"""One run from a composed configuration to a `result.json`: data set, teacher, training, evaluation, pictures.

A run's folder is named by what the run is. The same configuration finds it again: done, and its result is told again;
half done, and it goes on.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xxhash
import yaml
from torch import nn

from textgen.assets.catalogue import sha256
from textgen.common.atomic import only_one, write_whole
from textgen.common.errors import UserError
from textgen.dataset.imagefolder import classes_of
from textgen.main import definition_of
from train.common import machine
from train.config.curriculum import classes_in, order_of
from train.config.recipe import Recipe, data_of, recipe_of
from train.config.settings import Settings
from train.data.tasks import Data, Task, open_data, task_of
from train.inference.network import Network, load, model_of
from train.metrics.evaluate import evaluate
from train.models.notation import build, parse
from train.report import page, plots
from train.report.result import result_of, summary
from train.runs.pretrained import check_start, check_teacher
from train.trainer import checkpoint, loggers
from train.trainer.loop import Speed, Trained, train

TRAINER = 5  # raise it when the same settings train another network, so that no older run passes for the new one
ELSEWHERE = checkpoint.ELSEWHERE


def run(config: Mapping[str, Any]) -> dict[str, Any]:
    """Train and evaluate one seed of `config`, the whole composed configuration of conf/train.yaml, as plain values.

    Returns what `result.json` holds. Whatever is wrong with the settings is raised as `UserError` before anything is
    rendered; a folder of crops is imported before it, as its classes and sizes are part of what is checked.
    """
    settings, recipes_data = Settings.of(config), data_of(config["recipe"])
    device = machine.device_of(settings.device)
    definition = definition_of(config, settings.data_seed) if "game" in config else None
    task = task_of(settings.data or recipes_data, definition, settings.path, settings.data_dir, settings.rebuild)
    _check(settings, _recipe(config, settings, task), task)
    machine.keep_memory()
    with machine.threads(settings.threads):
        data = open_data(
            task,
            device,
            data_dir=settings.data_dir,
            workers=settings.workers,
            rebuild=settings.rebuild,
            real=settings.real,
        )
        try:
            return _Run.of(config, task, data, device).result()
        except KeyboardInterrupt as stopped:
            again = "the same command, without fresh=true," if settings.fresh else "the same command"
            raise KeyboardInterrupt(f"{str(stopped) or 'stopped'}; {again} goes on from there") from None


@dataclass(frozen=True)
class _Run:
    """One network to train; `identity` is a hash of all that decides it."""

    config: Mapping[str, Any]
    settings: Settings
    recipe: Recipe
    task: Task
    data: Data
    device: torch.device
    teacher: _Run | Path | None
    identity: str

    @classmethod
    def of(cls, config: Mapping[str, Any], task: Task, data: Data, device: torch.device) -> _Run:
        settings = Settings.of(config)
        recipe = _recipe(config, settings, task)
        teacher: _Run | Path | None = model_of(settings.teacher) if settings.teacher else None
        if recipe.distill and not teacher:
            original = {"fold": 1, "width": 1.0, "scaling": None, "align": None}
            alone = {**original, "start": None, "out": None, "fresh": False}
            teacher = cls.of({**config, **alone}, task, data, device)
        decides = {
            "trainer": TRAINER,
            "data": [task.kind, data.hash, task.train_images, *task.classes],
            "tests": {
                name: _digest(split.images, *[split.labels] * (name == "real"))  # those of a data set are in its hash
                for name, split in data.tests.items()
            },
            "network": [*settings.notation(task.arch, task.size), settings.fold],
            "recipe": {key: value for key, value in asdict(recipe).items() if key != "needs_start"},
            "teacher": teacher.identity if isinstance(teacher, _Run) else teacher and sha256(teacher),
            "start": settings.start and sha256(model_of(settings.start)),
            "autocast": settings.autocast,
            "seed": settings.seed,
            "groupings": settings.groupings,
        }
        identity = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
        return cls(config, settings, recipe, task, data, device, teacher, identity)

    @property
    def folder(self) -> Path:
        s = self.settings
        name = f"{self.task.name}_f{s.fold}{s.variant}_{self.recipe.name}_s{s.seed}_{self.identity[:8]}"
        return s.out or s.runs / name

    def result(self) -> dict[str, Any]:
        """That of the run, done now or before."""
        folder = self.folder
        with only_one(folder / ".lock", f"another process trains in {folder}"):
            found, elsewhere = _found(folder), "choose another out=…, or fresh=true"
            if self.settings.fresh:
                checkpoint.remove(folder)
                loggers.forget(folder)
                (folder / "result.json").unlink(missing_ok=True)
            elif found:
                if found.get("identity") != self.identity:
                    raise UserError(f"{folder} holds a run of other settings: {elsewhere}")
                checkpoint.remove(folder)
                print(f"{summary(found, folder)} (done before; fresh=true does it again)")
                return found
            elif checkpoint.of_another(folder, self.identity):
                raise UserError(f"{folder} holds a half-done run of other settings: {elsewhere}")
            teacher, about = self._taught()
            result = self._done(folder, teacher, about)
            checkpoint.remove(folder)
        print(summary(result, folder))
        return result

    def _taught(self) -> tuple[nn.Module | None, dict[str, Any] | None]:
        """The teacher, trained where it is not there yet, and what result.json says of it."""
        if isinstance(self.teacher, _Run):
            print(f"its teacher: {self.task.name} fold=1", file=sys.stderr)
            accuracy = self.teacher.result()["accuracy"]
            path, about = self.teacher.folder / "model.safetensors", {"accuracy": accuracy}
        elif self.teacher:
            path, about = self.teacher, {}
        else:
            return None, None
        return load(path).net.to(self.device), {"path": str(path), **about}

    def _done(self, folder: Path, teacher: nn.Module | None, about_teacher: dict[str, Any] | None) -> dict[str, Any]:
        s, task, f = self.settings, self.task, self.settings.fold
        (arch, pool), classes = s.notation(task.arch, task.size), task.classes
        write_whole(folder / "config.yaml", yaml.safe_dump(_plain(self.config), sort_keys=False).encode(), ELSEWHERE)

        def keep(net: nn.Module) -> None:
            network = Network(net, arch, pool, task.size, classes, f)
            write_whole(folder / "model.safetensors", network.to_bytes(), ELSEWHERE)

        with loggers.opened(s.log, folder, s.runs, self.config) as told:
            with machine.threads(s.threads, rendering=task.kind == "live"):
                device = machine.name_of(self.device)
                trained = train(
                    self.data.train,
                    self.data.val,
                    layers=parse(arch, pool),
                    classes=classes,
                    f=f,
                    recipe=self.recipe,
                    seed=s.seed,
                    folder=folder,
                    identity=self.identity,
                    keep=keep,
                    teacher=teacher,
                    start=load(s.start).net if s.start else None,
                    speed=Speed(s.compile, s.autocast),
                    log=told,
                    commit=machine.commit(),
                    save_every=s.save_every,
                )
            result = self._evaluated(folder, trained, about_teacher, device)
            told({"epoch": trained.history[-1]["epoch"], "test_accuracy": result["accuracy"]})
        write_whole(folder / "result.json", json.dumps(result, indent=1).encode(), ELSEWHERE)
        return result

    def _evaluated(
        self, folder: Path, trained: Trained, about_teacher: dict[str, Any] | None, device: str
    ) -> dict[str, Any]:
        s, task, f = self.settings, self.task, self.settings.fold
        measure = partial(evaluate, f=f, classes=len(task.classes), groupings=s.groupings, seed=s.seed)
        tests = self.data.tests
        evaluations = {name: measure(trained.net, split=of, orders=name == "test") for name, of in tests.items()}
        began = measure(load(s.start).net.to(self.device), split=tests["test"], orders=False) if s.start else None
        evaluation, test = evaluations["test"], self.data.pictures
        images, labels = np.asarray(test.images), np.asarray(test.labels)
        pictures = {
            "curves": plots.curves(trained.history, trained.best_epoch),
            "confusion": plots.confusion(evaluation, task.classes),
            "mistakes": plots.mistakes(evaluation, images, labels, task.classes),
            **({"orders": plots.orders(evaluation)} if f > 1 else {}),
        }
        for name in page.PICTURES:
            if name in pictures:
                write_whole(folder / f"{name}.png", pictures[name], ELSEWHERE)
            else:
                (folder / f"{name}.png").unlink(missing_ok=True)  # of another run in this folder
        settings = _plain(_same_in_a_table(self.config, s, task))
        result = {
            "game": task.name,
            "fold": f,
            "width": s.width,
            "scaling": s.scaling,
            "align": s.align,
            "arch": s.notation(task.arch, task.size)[0],
            "original_arch": s.model.arch or task.arch,
            "model.arch": s.model.arch,
            "train_images": task.train_images,
            **result_of(self.recipe, trained, evaluations, task.classes),
            "distill": self.recipe.distill and asdict(self.recipe.distill),
            "teacher": about_teacher,
            "start": s.start and str(s.start),
            "start_accuracy": began and began.accuracy,
            "seed": s.seed,
            "recipe_hash": hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8],
            "settings": settings,
            "data": task.kind,
            "dataset_hash": self.data.hash,
            "versions": machine.versions(),
            "commit": ", ".join(trained.commits) or None,
            "device": device,
            "identity": self.identity,
        }
        page.write(result, trained.history, pictures, folder)
        return result


def _recipe(config: Mapping[str, Any], settings: Settings, task: Task) -> Recipe:
    return recipe_of(
        config["recipe"],
        game=task.name,
        fold=settings.fold,
        width=settings.width,
        teacher=settings.teacher is not None,
        train_images=task.train_images,
        epochs=settings.epochs,
        batch=settings.batch,
    )


def _digest(*tensors: torch.Tensor) -> str:
    digest = xxhash.xxh3_64()
    for tensor in tensors:
        digest.update(np.ascontiguousarray(tensor.cpu().numpy()).data)
    return digest.hexdigest()


def _same_in_a_table(config: Mapping[str, Any], settings: Settings, task: Task) -> dict[str, Any]:
    """What all runs of a table have in common, by the names that a user gives it: the recipe before it is fitted to a
    game and a fold, and networks by a part of their SHA-256."""
    files = {"teacher": settings.teacher, "start": settings.start}
    return {
        "trainer": TRAINER,
        **{f"recipe.{key}": value for key, value in config["recipe"].items() if key != "data"},
        **{f"model.{key}": value for key, value in config["model"].items()},
        **{key: config[key] for key in ("epochs", "batch", "autocast", "groupings", "scaling", "align")},
        "align_to": settings.align and settings.align_to,
        **{key: path and sha256(model_of(path))[:8] for key, path in files.items()},
        "data": task.kind,
    }


def _check(settings: Settings, recipe: Recipe, task: Task) -> None:
    """Whatever can be known before the data set is built."""
    f, classes = settings.fold, task.classes
    arch, pool = settings.notation(task.arch, task.size)
    build(parse(arch, pool), size=task.size, classes=len(classes), fold=f)  # an arch that does not fit is refused now
    images = sum(task.per_class)
    if recipe.curriculum:
        order = order_of(recipe.curriculum, classes, settings.seed)
        first = classes_in(recipe.curriculum, epoch=0, epochs=recipe.epochs or 1, classes=len(classes), fold=f)
        images = sum(task.per_class[label] for label in order[:first])
    if images < f:
        raise UserError(f"{images} training images do not fill one stack of fold={f}: give more of each class")
    if recipe.distill and f > 1 and not recipe.slots:
        raise UserError(
            "recipe: distill and teacher are for single images, slots or fold=1:"
            " set recipe.slots=true, or leave teacher out and recipe.distill=null"
        )
    loggers.check(settings.log)
    if settings.real and not settings.real.is_dir():
        raise UserError(f"real={settings.real} is no folder: give one of crops, with a folder a class")
    if settings.real:
        classes_of(settings.real, [settings.real], classes)  # a folder that is none of them is refused now
    if settings.teacher:
        check_teacher(settings.teacher, task)
    if recipe.needs_start and not settings.start:
        raise UserError(
            f"recipe={recipe.name} goes on from a trained network: give start=…, a run's folder or a model.safetensors"
        )
    if settings.start:
        check_start(settings.start, task, arch=arch, pool=pool, fold=f, recipe=recipe)
        if recipe.distill and not settings.teacher:
            raise UserError(f"start={settings.start}: who is to teach? give teacher=…, or recipe.distill=null")
    for option, given in (("teacher", settings.teacher), ("start", settings.start)):
        if settings.out and given and model_of(given).resolve().parent == settings.out.resolve():
            raise UserError(f"out={settings.out} holds {option}=…, which would be overwritten: give another folder")
    if settings.out and not _may_hold_a_run(settings.out):
        raise UserError(
            f"out={settings.out} holds other things than a run: give a new or empty folder, or one of a run"
        )
    if settings.out and settings.seeds > 1:
        raise UserError(f"out={settings.out} is one folder, and seeds={settings.seeds} runs need one each: give runs=…")


def _may_hold_a_run(folder: Path) -> bool:
    """Whether it holds one already, done or not, or nothing; hidden files are the lock and what a kill may leave."""
    if not folder.is_dir():
        return not folder.exists()
    if all(path.name.startswith(".") for path in folder.iterdir()):
        return True
    with suppress(OSError, UnicodeDecodeError, yaml.YAMLError):
        config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        return isinstance(config, dict) and "recipe" in config
    return False


def _found(folder: Path) -> dict[str, Any] | None:
    """The result of a run that is done."""
    with suppress(FileNotFoundError, ValueError):
        found = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else None
    return None


def _plain(value: Any) -> Any:
    """With text for paths, as YAML has it."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value
