"""Training tasks and their data: crops of a game, a folder of the user's own crops, frames of a video, CIFAR."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from textgen.common.errors import UserError
from textgen.dataset.build import dataset_hash, ensure_dataset
from textgen.dataset.cifar import import_cifar
from textgen.dataset.import_folder import import_folder, load_test_folder
from textgen.dataset.store import Dataset, StoredSplit
from textgen.frames.build import ensure_frames, open_frames_dataset
from textgen.frames.settings import FrameTask
from textgen.render.renderer import Renderer
from textgen.schema.definition import DatasetDefinition
from textgen.schema.game import Game
from textgen.spec.label_fields import LabelFields
from textgen.spec.parser import Spec
from train.config.recipe import Kind, kind_of
from train.config.settings import DataKind, RealSettings
from train.config.tasks import CifarTask, Task
from train.data.augmented import AugmentedSource
from train.data.real import MixedSource, RealData, load_real_data
from train.data.shard_source import ShardSource
from train.data.sharded import ShardedDataset, open_shards
from train.data.sources import DeviceSplit, LiveSource, Source, to_device
from train.data.storage import open_storage

CIFAR_TRAINING_IMAGES = 50_000  # of CIFAR-10 and of CIFAR-100


@dataclass(frozen=True)
class TrainingTask:
    """A classification task for crops of `size` (H, W), with `train_images` training images per epoch.

    `fields` are those of the label, with their classes.

    `arch` is the network's in the paper's notation, "" where the task does not name it. `definition` is None without a
    game; `imported`, the data set of what is no game, is None for a game. `augment` moves and mirrors training images.
    `shards` is a game's data set with data=shards, else None.
    """

    kind: DataKind
    name: str
    fields: LabelFields
    size: tuple[int, int]
    arch: str
    train_images: int
    definition: DatasetDefinition | None
    imported: Dataset | None
    augment: CifarTask | None = None
    shards: ShardedDataset | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of all classes, see `LabelFields.classes`."""
        return self.fields.classes

    @property
    def recipe_kind(self) -> Kind:
        """What the overrides of a recipe call this task."""
        return kind_of(self.kind)

    def per_class(self, column: int = 0) -> list[int]:
        """Training images of each class of the field in a `column`; of several fields of a game, about so many."""
        classes = self.fields.sizes[column]
        if self.imported is None:
            return [self.train_images // classes] * classes
        labels = self.imported.splits["train"].labels
        counts: list[int] = np.bincount(labels if labels.ndim == 1 else labels[:, column], minlength=classes).tolist()
        return counts

    @property
    def spec(self) -> Spec | None:
        """The spec of the game; None for a folder without a game."""
        return self.definition.game.parse_spec() if self.definition else None

    @property
    def absent_classes(self) -> dict[str, list[str]]:
        """The classes without images in "val" and "test", for those splits of a folder that lack some."""
        if self.imported is None:
            return {}
        absent = {}
        for split in ("val", "test"):
            columns = self.imported.splits[split].labels.reshape(-1, len(self.fields.fields)).T
            present = {
                of.start + label
                for of, column in zip(self.fields.slices, columns, strict=True)
                for label in np.unique(column).tolist()
            }
            if names := [name for number, name in enumerate(self.classes) if number not in present]:
                absent[split] = names
        return absent


@dataclass(frozen=True)
class TaskData:
    """The training images, the validation images and the test sets by name, "test" first, on the device.

    `stored_test` is the test set "test" as it is stored; `manifest` is that of the data set for validation and tests,
    and `hash` its hash. With `real` crops, parts of `train` are made of them, `val` holds them alone, and "real" is
    among the tests.
    """

    train: Source
    val: DeviceSplit
    tests: Mapping[str, DeviceSplit]
    stored_test: StoredSplit
    manifest: Mapping[str, Any]
    real: RealData | None = None

    @property
    def hash(self) -> str:
        return str(self.manifest["hash"])


@dataclass(frozen=True)
class Files:
    """The user's files: `path` of a folder of crops, of CIFAR, of shards (also a URL), or of the data set of a video
    that was built before; the `source` and `labels` of a video."""

    path: Path | str | None = None
    source: Path | None = None
    labels: Path | None = None

    @property
    def folder(self) -> Path | None:
        """`path`. Raises `UserError` for a URL, which only shards may have."""
        if isinstance(self.path, str):
            raise UserError(f"path={self.path}: a URL is for data=shards: give data=shards too, or a folder")
        return self.path


def define_task(
    kind: DataKind,
    definition: DatasetDefinition | None,
    files: Files,
    data_dir: Path,
    *,
    task: Task | None = None,
    seed: int = 0,
    rebuild: bool = False,
) -> TrainingTask:
    """Define the task of a run: import a folder of crops or the images of a `task`, whose validation images `seed`
    chooses; render nothing yet.

    Raises `UserError` for settings that are missing or do not fit the `kind`.
    """
    if task is not None:
        return _define_from_files(task, files, data_dir, seed, rebuild)
    for option, value in (("source", files.source), ("labels", files.labels)):
        if value is not None:
            raise UserError(f"{option}={value} is for a task on video: give task=video too, or leave it out")
    if kind == "shards":
        return _define_from_shards(definition, files.path, data_dir, rebuild)
    path = files.folder
    if kind == "folder":
        if path is None:
            raise UserError("data=folder needs path=…, a folder with one folder of crops for each class")
        game = definition.game if definition else None
        imported = import_folder(
            path,
            data_dir,
            size=game.size if game else None,
            spec=game.parse_spec() if game else None,
            rebuild=rebuild,
        )
        size = imported.splits["train"].images.shape[1:3]
        count = len(imported.splits["train"].labels)
        name = game.name if game else str(imported.manifest["name"])
        arch = game.arch if game else str(Game.__dataclass_fields__["arch"].default)
        return TrainingTask(kind, name, imported.fields, (size[0], size[1]), arch, count, definition, imported)
    if path is not None:
        raise UserError(f"path={path} is for data=folder, data=shards and CIFAR: give data=… too, or leave path out")
    if definition is None:
        raise UserError("no game is given: give game=…, task=…, or data=folder path=… for crops of your own")
    game = definition.game
    if game.images.train == 0:
        raise UserError("game.images.train is 0: give the training images of each class; with data=live, per epoch")
    fields = game.label_fields
    return TrainingTask(
        kind, game.name, fields, game.size, game.arch, game.images.train * fields.period, definition, None
    )


def task_of_dataset(task: Task, imported: Dataset) -> TrainingTask:
    """A `task` whose data set is open."""
    train = imported.splits["train"]
    size = train.images.shape[1], train.images.shape[2]
    augment = task if isinstance(task, CifarTask) and (task.flip or task.shift) else None
    return TrainingTask(task.kind, task.name, imported.fields, size, "", len(train.labels), None, imported, augment)


def _define_from_shards(
    definition: DatasetDefinition | None, path: Path | str | None, data_dir: Path, rebuild: bool
) -> TrainingTask:
    """A game whose data set is in shards at `path`, or below `data_dir`. They say how many images there are."""
    if definition is None:
        raise UserError("data=shards needs game=…, the game that the shards are of")
    if rebuild:
        raise UserError("rebuild=true renders, and data=shards reads what is there: make shards with python -m textgen")
    game, digest = definition.game, dataset_hash(definition)
    advice = f"make them with python -m textgen -m game={game.name} … shard.count=64 'shard.index=range(0,64)'"
    storage = open_storage(data_dir if path is None else path)
    shards = open_shards(storage, game.name, digest, advice, exact=path is None)
    if (shards.fields.classes, shards.size) != (game.label_fields.classes, game.size):
        raise UserError(
            f"the shards at {storage.name} are of {len(shards.classes)} classes and"
            f" {shards.size[0]}×{shards.size[1]} pixels, game={game.name} of {len(game.classes)} and"
            f" {game.size[0]}×{game.size[1]}: give their game"
        )
    if shards.fields.pattern != game.label_fields.pattern:
        raise UserError(f"the shards at {storage.name} have the fields of game={game.name} in another text: {advice}")
    if shards.hash != digest:
        print(
            f"note: the shards at {storage.name} are of data set {shards.hash[:8]}, and this command's is"
            f" {digest[:8]}: of other settings, or made by other versions of libraries",
            file=sys.stderr,
        )
    count = shards.counts["train"]
    return TrainingTask("shards", game.name, shards.fields, game.size, game.arch, count, definition, None, None, shards)


def _define_from_files(task: Task, files: Files, data_dir: Path, seed: int, rebuild: bool) -> TrainingTask:
    if isinstance(task, FrameTask):
        imported = _open_frames(task, files, data_dir, rebuild)
    else:
        if files.folder is None or files.source or files.labels:
            raise UserError(f"task={task.name} needs path=… alone, your copy of it, such as cifar-10-batches-py")
        imported = import_cifar(
            files.folder, data_dir, kind=task.name, validation=task.validation, seed=seed, rebuild=rebuild
        )
        if (given := imported.manifest["given"]["train"]) != CIFAR_TRAINING_IMAGES:
            whole = f"{CIFAR_TRAINING_IMAGES:,}"
            print(f"note: path={files.path} holds {given:,} of the {whole} training images", file=sys.stderr)
    return task_of_dataset(task, imported)


def _open_frames(task: FrameTask, files: Files, data_dir: Path, rebuild: bool) -> Dataset:
    given = [name for name, value in (("source", files.source), ("labels", files.labels)) if value]
    if files.folder and not given and not rebuild:
        return open_frames_dataset(files.folder, task)
    if files.folder or len(given) < 2:
        raise UserError(
            f"task={task.name} needs source=… and labels=…, a video and its label table, or path=… alone, the data set"
            " that python -m textgen.frames has made of them"
        )
    assert files.source is not None
    assert files.labels is not None
    return ensure_frames(task, files.source, files.labels, data_dir, rebuild=rebuild)


def open_data(
    task: TrainingTask,
    device: torch.device,
    *,
    data_dir: Path,
    workers: int | None,
    rebuild: bool,
    real: RealSettings | None,
    seed: int = 0,
) -> TaskData:
    """Load the images of `task`, and build the data set where it is missing. `seed` moves and mirrors images.

    Raises `UserError` for real crops that do not fit the task.
    """
    if task.shards is not None:
        data = _open_shards(task.shards, device, real, task, seed)
        return _with_real_crops(data, task, real, device) if real is not None and real.share else data
    dataset, renderer = task.imported, None
    if dataset is None:
        assert task.definition is not None
        definition = task.definition
        if task.kind == "live":  # training images are not stored; validation and test images are those of data=files
            renderer = Renderer.from_definition(definition)
            game = definition.game
            definition = replace(definition, game=replace(game, images=replace(game.images, train=0)))
        dataset = ensure_dataset(definition, data_dir, workers=workers, rebuild=rebuild)
    tests = {name: split for name, split in dataset.splits.items() if name.startswith("test")}
    if real is not None and not real.share:
        tests["real"] = load_test_folder(real.folder, task.classes, task.size, task.spec)
    splits = dataset.splits
    train: Source = LiveSource(renderer, task.train_images, device) if renderer else to_device(splits["train"], device)
    if isinstance(train, DeviceSplit) and task.augment:
        train = AugmentedSource(train, flip=task.augment.flip, shift=task.augment.shift, seed=seed)
    data = TaskData(
        train=train,
        val=to_device(splits["val"], device),
        tests={name: to_device(split, device) for name, split in tests.items()},
        stored_test=splits["test"],
        manifest=dataset.manifest,
    )
    return _with_real_crops(data, task, real, device) if real is not None and real.share else data


def _open_shards(
    shards: ShardedDataset, device: torch.device, real: RealSettings | None, task: TrainingTask, seed: int
) -> TaskData:
    """Training images are read when they are used, validation and test images at once."""
    splits = {name: shards.load(name) for name in shards.counts if name != "train"}
    tests = {name: split for name, split in splits.items() if name.startswith("test")}
    if real is not None and not real.share:
        tests["real"] = load_test_folder(real.folder, task.classes, task.size, task.spec)
    return TaskData(
        train=ShardSource(shards, device, seed),
        val=to_device(splits["val"], device),
        tests={name: to_device(split, device) for name, split in tests.items()},
        stored_test=splits["test"],
        manifest=shards.manifest,
    )


def _with_real_crops(data: TaskData, task: TrainingTask, real: RealSettings, device: torch.device) -> TaskData:
    crops = load_real_data(real.folder, real.test, task.fields, task.size, task.spec, real.seed, device)
    source = MixedSource(data.train, crops, real.share, real.seed)
    return replace(data, train=source, val=crops.val, tests={**data.tests, "real": crops.test}, real=crops)
