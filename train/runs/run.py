"""One run, from a composed configuration to a `result.json`: data set, teacher, training, evaluation, figures.

A run's folder is named by what the run is. The same configuration finds it again: if the run is finished, its result is
returned; if not, it is resumed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import nn

from textgen.assets.catalogue import sha256
from textgen.common.atomic import file_lock, write_atomic
from textgen.common.digests import check_digests, remove_digests, write_digests
from textgen.common.errors import UserError
from textgen.frames.preparation import MEAN
from textgen.spec.label_fields import LabelFields
from train.common import machine, parallel
from train.common.parallel import Group
from train.config.advice import OTHER_RUNS_FOLDER, TRAIN_AGAIN
from train.config.compose import with_network
from train.config.recipe import Recipe
from train.config.settings import Settings
from train.data.real import RealData, describe_real
from train.data.tasks import TaskData, TrainingTask
from train.folding.own_module import OwnModule, permitted
from train.inference.grouped import slot_network
from train.inference.network import Network, load, weights_path
from train.metrics.confidence import unsure_below
from train.metrics.evaluate import Evaluation, evaluate
from train.models.architecture import resolve_architecture, resolve_network
from train.report import page, plots
from train.report.result import hash_settings, measured_result, name_method, summary
from train.runs.finished_runs import find_result, kept_val_accuracy
from train.runs.identity import compared_settings, digest_tensors, run_identity
from train.runs.prepare import Prepared, fit, prepared
from train.trainer import checkpoint, loggers
from train.trainer.loop import Trained, train
from train.trainer.state import Computation, Output, TrainingSetup

WEIGHTS = "model.safetensors"


def run(config: Mapping[str, Any]) -> dict[str, Any]:
    """Train and evaluate one seed of `config`, the whole composed configuration of conf/train.yaml, as plain values.

    Returns what `result.json` holds. Raises `UserError` for wrong settings before anything is rendered; a folder of
    crops is imported before some of the checks, because these need its classes and sizes.
    """
    config = with_network(config, ())
    return run_validated(config, Settings.from_config(config))[1]


def run_validated(
    config: Mapping[str, Any], settings: Settings, begun: Callable[[Path, int | None], object] = lambda *_: None
) -> tuple[Path, dict[str, Any]]:
    """`run`, where `settings` are those of `config`, validated already; also returns the run's folder.

    `begun` is called with that folder and the number of epochs before anything is trained.
    """
    with prepared(config, settings, parallel.current()) as ready:
        try:
            training = _Run.of(ready)
            begun(training.folder, ready.recipe.epochs)
            return training.folder, training.result()
        except KeyboardInterrupt as stopped:
            again = "the same command, without fresh=true," if settings.fresh else "the same command"
            raise KeyboardInterrupt(f"{str(stopped) or 'stopped'}; {again} goes on from there") from None


def train_share(config: Mapping[str, Any], identity: str, teacher: str | None, train_images: int, group: Group) -> None:
    """Train a network as another process of `group` does, which has checked the settings and built the data.

    No file of the run is written. `identity` is that of the run, `teacher` the file of its teacher, `train_images` the
    images of an epoch.
    """
    with prepared(config, replace(Settings.from_config(config), rebuild=False), group, train_images) as ready:
        _Run(ready, Path(teacher) if teacher else None, identity).train_share()


@dataclass(frozen=True)
class _Run:
    """One network to train. `teacher` is a run of its own, or a file."""

    ready: Prepared
    teacher: _Run | Path | None
    identity: str

    @property
    def config(self) -> Mapping[str, Any]:
        return self.ready.config

    @property
    def settings(self) -> Settings:
        return self.ready.settings

    @property
    def recipe(self) -> Recipe:
        return self.ready.recipe

    @property
    def task(self) -> TrainingTask:
        return self.ready.task

    @property
    def data(self) -> TaskData:
        return self.ready.data

    @property
    def device(self) -> torch.device:
        return self.ready.device

    @classmethod
    def of(cls, ready: Prepared) -> _Run:
        config, settings, recipe, task = ready.config, ready.settings, ready.recipe, ready.task
        teacher: _Run | Path | None = weights_path(settings.teacher) if settings.teacher else None
        if recipe.distill and not teacher:
            original: dict[str, Any] = {"fold": 1, "width": 1.0, "scaling": None, "align": None}
            alone = {**original, "start": None, "out": None, "fresh": False}
            config_1, settings_1 = {**config, **alone}, replace(settings, **alone)
            of_teacher = fit(config_1, settings_1, task)
            teacher = cls.of(replace(ready, config=config_1, settings=settings_1, recipe=of_teacher))
        known_by = teacher.identity if isinstance(teacher, _Run) else sha256(teacher) if teacher else None
        return cls(ready, teacher, run_identity(settings, recipe, task, ready.data, known_by))

    @property
    def folder(self) -> Path:
        s = self.settings
        name = f"{self.task.name}_f{s.fold}{s.variant}_{self.recipe.name}_s{s.seed}_{self.identity[:8]}"
        return s.out or s.runs / name

    def result(self) -> dict[str, Any]:
        """The result of the run, from its folder if it is finished."""
        folder = self.folder
        with file_lock(folder / ".lock", f"another process trains in {folder}"):
            advice = "choose another out=…, or fresh=true"
            if not self.settings.fresh and (folder / "result.json").exists():
                check_digests(folder, TRAIN_AGAIN)
            found = find_result(folder)
            if self.settings.fresh:
                checkpoint.remove(folder)
                loggers.remove_logs(folder)
                (folder / "result.json").unlink(missing_ok=True)
            elif found:
                if found.get("identity") != self.identity:
                    raise UserError(f"{folder} holds a run of other settings: {advice}")
                checkpoint.remove(folder)
                found.setdefault("val_accuracy", kept_val_accuracy(folder, found))
                print(f"{summary(found, folder)}\ndone before; fresh=true does it again")
                return found
            elif checkpoint.belongs_to_another_run(folder, self.identity):
                raise UserError(f"{folder} holds a half-done run of other settings: {advice}")
            teacher, about_teacher = self._load_teacher()
            result = self._train_and_evaluate(folder, teacher, about_teacher)
            checkpoint.remove(folder)
        print(summary(result, folder))
        return result

    def _load_teacher(self) -> tuple[nn.Module | None, dict[str, Any] | None]:
        """The teacher, trained first if need be, and its entry in result.json."""
        if isinstance(self.teacher, _Run):
            print(f"its teacher: {self.task.name} fold=1", file=sys.stderr)
            accuracy = self.teacher.result()["accuracy"]
            path, about = self.teacher.folder / WEIGHTS, {"accuracy": accuracy}
        elif self.teacher:
            path, about = self.teacher, {}
        else:
            return None, None
        return load(path).net.to(self.device), {"path": str(path), **about}

    def _train_and_evaluate(
        self, folder: Path, teacher: nn.Module | None, about_teacher: dict[str, Any] | None
    ) -> dict[str, Any]:
        s = self.settings
        remove_digests(folder)  # of another run in this folder
        config = yaml.safe_dump(_plain(self.config), sort_keys=False).encode()
        write_atomic(folder / "config.yaml", config, OTHER_RUNS_FOLDER)
        self._keep_mean(folder)
        with loggers.open_loggers(s.log, folder, s.runs, self.config) as log:
            with machine.torch_threads(s.threads, rendering=self.task.kind == "live"):
                device = machine.device_name(self.device)
                trained = self._train(folder, teacher, log)
            evaluations = self._evaluate(trained)
            _report_constant(evaluations["test"], self.task.fields)
            result = self._describe(trained, evaluations, about_teacher, device)
            self._report(result, trained, evaluations, folder)
            log({"epoch": trained.history[-1]["epoch"], "test_accuracy": result["accuracy"]})
        written = json.dumps(result, indent=1).encode()
        files = ["config.yaml", "metrics.jsonl", "model.safetensors", *[MEAN] * (folder / MEAN).exists()]
        write_digests(folder, files, {"result.json": written}, OTHER_RUNS_FOLDER)
        write_atomic(folder / "result.json", written, OTHER_RUNS_FOLDER)
        return result

    def _keep_mean(self, folder: Path) -> None:
        """A network of a video task that is given frames without their mean needs that mean wherever it runs."""
        mean = self.task.imported.path / MEAN if self.task.imported else None
        if mean and mean.exists():
            write_atomic(folder / MEAN, mean.read_bytes(), OTHER_RUNS_FOLDER)
        else:
            (folder / MEAN).unlink(missing_ok=True)  # of another run in this folder

    def _train(self, folder: Path, teacher: nn.Module | None, log: loggers.Log) -> Trained:
        s, task, group = self.settings, self.task, self.ready.group
        arch, pool = resolve_architecture(s, task.arch, task.size)
        setup = self._setup(teacher)
        own = setup.network if isinstance(setup.network, OwnModule) else None

        def keep(net: nn.Module) -> None:
            network = Network(net, arch, pool, task.size, task.classes, s.fold, own, task.fields)
            write_atomic(folder / WEIGHTS, network.to_bytes(), OTHER_RUNS_FOLDER)

        output = Output(folder, self.identity, keep, log, commit=machine.commit(), save_every=s.save_every)
        path = self.teacher.folder / WEIGHTS if isinstance(self.teacher, _Run) else self.teacher
        job = {
            "config": _plain(self.config),
            "identity": self.identity,
            "teacher": path and str(path.resolve()),
            "train_images": self.task.train_images,
            "modules": permitted(),
        }
        with parallel.announced(group, yaml.safe_dump(job)):
            return train(setup, output, Computation(s.compile, s.autocast), group)

    def train_share(self) -> None:
        """Train with the other processes, and write nothing."""
        teacher, _ = self._load_teacher()
        output = Output(self.folder, self.identity, lambda net: None, quiet=True)
        with machine.torch_threads(self.settings.threads, rendering=self.task.kind == "live"):
            train(self._setup(teacher), output, Computation(False, self.settings.autocast), self.ready.group)

    def _setup(self, teacher: nn.Module | None) -> TrainingSetup:
        s, task = self.settings, self.task
        return TrainingSetup(
            self.data.train,
            self.data.val,
            network=resolve_network(s, task.arch, task.size),
            fields=task.fields,
            fold=s.fold,
            recipe=self.recipe,
            seed=s.seed,
            teacher=teacher,
            start=load(s.start).net if s.start else None,
            later_if_equal=self.data.real is not None,
        )

    def _evaluate(self, trained: Trained) -> dict[str, Evaluation]:
        """On every test set, and under "start" the network that training began with, if there is one."""
        s = self.settings
        measure = partial(evaluate, f=s.fold, fields=self.task.fields, groupings=s.groupings, seed=s.seed)
        tests = self.data.tests
        evaluations = {name: measure(trained.net, split=of, orders=name == "test") for name, of in tests.items()}
        if s.start:
            start = load(s.start).net.to(self.device)
            evaluations["start"] = measure(start, split=tests["test"], orders=False)
        return evaluations

    def _report(
        self, result: dict[str, Any], trained: Trained, evaluations: dict[str, Evaluation], folder: Path
    ) -> None:
        """Write the figures of the run as PNG files, and report.html."""
        test, fields = self.data.stored_test, self.task.fields
        images, labels, evaluation = np.asarray(test.images), np.asarray(test.labels), evaluations["test"]
        confusions = page.tabulate_confusions(evaluation, images, labels, fields)
        drawn = {  # by the names of `page.PICTURES`
            "real_mistakes": None,
            "curves": plots.curves(trained.history, trained.best_epoch),
            **plots.evaluation_figures(evaluation, images, labels, fields),
        }
        if real := evaluations.get("real"):
            images, labels = (of.cpu().numpy() for of in self.data.tests["real"])
            drawn["real_mistakes"] = plots.mistakes(real, images, labels, fields)
        for name, picture in drawn.items():
            if picture is None:
                (folder / f"{name}.png").unlink(missing_ok=True)  # of another run in this folder
            else:
                write_atomic(folder / f"{name}.png", picture, OTHER_RUNS_FOLDER)
        page.write_report(result, trained.history, drawn, folder, recipe=self.recipe, confusions=confusions)

    def _describe(
        self,
        trained: Trained,
        evaluations: dict[str, Evaluation],
        about_teacher: dict[str, Any] | None,
        device: str,
    ) -> dict[str, Any]:
        """The contents of result.json."""
        s, task = self.settings, self.task
        settings = _plain(compared_settings(self.config, s, task))
        module = s.network.module if s.network else None
        start = evaluations.get("start")
        tests = {name: of for name, of in evaluations.items() if name != "start"}
        return {
            "game": task.name,
            "label": _name_label(self.config),
            "fold": s.fold,
            "width": s.width,
            "scaling": s.scaling,
            "align": s.align,
            "arch": resolve_architecture(s, task.arch, task.size)[0] or module,
            "original_arch": s.model.arch or task.arch or module,
            "model.arch": s.model.arch,
            "train_images": task.train_images,
            "val_accuracy": trained.val_accuracy,
            "unsure_below": unsure_below(trained.net, self.data.val, s.fold, s.seed, task.fields),
            "method": name_method(s.fold, self.recipe.slots or self._keeps_copies(trained)),
            **measured_result(self.recipe, trained, tests, task.fields),
            "distill": self.recipe.distill and asdict(self.recipe.distill),
            "teacher": about_teacher,
            "start": s.start and str(s.start),
            "start_accuracy": start and start.accuracy,
            "seed": s.seed,
            "recipe_hash": hash_settings(settings),
            "settings": settings,
            "data": task.kind,
            "real": self.data.real and self._describe_real(self.data.real),
            "dataset_hash": self.data.hash,
            "versions": machine.versions(),
            "commit": ", ".join(trained.commits) or None,
            "device": device,
            "processes": trained.processes,
            "identity": self.identity,
        }

    def _keeps_copies(self, trained: Trained) -> bool:
        """Whether no epoch was better than a start that consists of copies of a narrow network."""
        start = self.settings.start
        return start is not None and not trained.best_epoch and slot_network(load(start)) is not None

    def _describe_real(self, real: RealData) -> dict[str, Any]:
        crops = digest_tensors(torch.from_numpy(real.train.images), torch.from_numpy(real.train.labels))
        return {**describe_real(real, self.settings.real_share, self.task.fields), "crops": crops}


def _report_constant(test: Evaluation, fields: LabelFields) -> None:
    """Say it if a network gives all test images the same class, which an accuracy does not show."""
    answers = np.unique(test.predictions, axis=0)
    if len(answers) == 1 and len(fields.classes) > 1:
        print(
            f"note: all test images get the class {fields.name_of(answers[0].tolist())!r}: the network has learned"
            " nothing. Give more epochs, another recipe, or lower recipe.lr and recipe.muon_lr",
            file=sys.stderr,
        )


def _name_label(config: Mapping[str, Any]) -> str | None:
    """The label of a game as its file has it, a list with commas; None for a task without a game."""
    label = (config.get("game") or {}).get("label")
    return label if label is None or isinstance(label, str) else ",".join(label)


def _plain(value: Any) -> Any:
    """With lists for tuples, as YAML has them."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value
