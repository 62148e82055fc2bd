"""What is trained on and tested with: a game's data set, fresh crops of it, or a folder of the user's own crops."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from textgen.common.errors import UserError
from textgen.dataset.build import ensure_dataset
from textgen.dataset.import_folder import import_folder, load_test_folder
from textgen.dataset.store import Dataset, StoredSplit
from textgen.render.renderer import Renderer
from textgen.schema.definition import DatasetDefinition
from textgen.schema.game import Game
from train.config.settings import DataKind
from train.data.sources import DeviceSplit, LiveSource, Source, to_device


@dataclass(frozen=True)
class TrainingTask:
    """A classification task. `train_images` counts an epoch; `definition` is None for a folder without a game."""

    kind: DataKind
    name: str
    classes: tuple[str, ...]
    size: tuple[int, int]
    arch: str
    train_images: int
    definition: DatasetDefinition | None
    imported: Dataset | None

    @property
    def per_class(self) -> list[int]:
        """Training images of each class."""
        if self.imported is None:
            return [self.train_images // len(self.classes)] * len(self.classes)
        counts: list[int] = np.bincount(self.imported.splits["train"].labels, minlength=len(self.classes)).tolist()
        return counts


@dataclass(frozen=True)
class TaskData:
    """Images for training, for choosing the best epoch, and test sets by name, "test" the first, on the device.

    `pictures` are the test images as they are stored, `hash` names what was validated and tested with.
    """

    train: Source
    val: DeviceSplit
    tests: Mapping[str, DeviceSplit]
    pictures: StoredSplit
    hash: str


def define_task(
    kind: DataKind, definition: DatasetDefinition | None, path: Path | None, data_dir: Path, rebuild: bool = False
) -> TrainingTask:
    """What a run is about. A folder of crops is imported now; nothing is rendered yet. Raises `UserError`."""
    if kind == "folder":
        if path is None:
            raise UserError("data=folder needs path=…, a folder of crops with one folder a class")
        game = definition.game if definition else None
        imported = import_folder(
            path,
            data_dir,
            size=game.size if game else None,
            classes=game.classes if game else None,
            rebuild=rebuild,
        )
        size = imported.splits["train"].images.shape[1:3]
        count = len(imported.splits["train"].labels)
        name = game.name if game else str(imported.manifest["name"])
        arch = game.arch if game else str(Game.__dataclass_fields__["arch"].default)
        return TrainingTask(kind, name, imported.classes, (size[0], size[1]), arch, count, definition, imported)
    if path is not None:
        raise UserError(f"path={path} is for data=folder alone: give that too, or leave path out")
    if definition is None:
        raise UserError("which game? give one, or data=folder path=… for crops of your own")
    game = definition.game
    if game.images.train == 0:
        raise UserError("game.images.train is 0: there is nothing to train on; for data=live it is the images an epoch")
    classes = game.classes
    return TrainingTask(
        kind, game.name, classes, game.size, game.arch, game.images.train * len(classes), definition, None
    )


def open_data(
    task: TrainingTask, device: torch.device, *, data_dir: Path, workers: int | None, rebuild: bool, real: Path | None
) -> TaskData:
    """The images of `task`, built where they are not there. `real` is a folder of crops for one more test set."""
    dataset, live = task.imported, None
    if dataset is None:
        assert task.definition is not None
        definition = task.definition
        if task.kind == "live":  # training images go to no file; validation and test are those of data=files
            live = Renderer.from_definition(definition)
            game = definition.game
            definition = replace(definition, game=replace(game, images=replace(game.images, train=0)))
        dataset = ensure_dataset(definition, data_dir, workers=workers, rebuild=rebuild)
    tests = {name: split for name, split in dataset.splits.items() if name.startswith("test")}
    if real is not None:
        tests["real"] = load_test_folder(real, task.classes, task.size)
    return TaskData(
        train=LiveSource(live, task.train_images, device) if live else to_device(dataset.splits["train"], device),
        val=to_device(dataset.splits["val"], device),
        tests={name: to_device(split, device) for name, split in tests.items()},
        pictures=dataset.splits["test"],
        hash=dataset.hash,
    )
