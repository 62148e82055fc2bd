"""Labelled crops to evaluate a network on: a run's own test sets, fresh ones, real ones, a data set's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from textgen.common.errors import UserError
from textgen.dataset.import_folder import MAX_TEST_BYTES, list_test_folder, load_test_folder
from textgen.dataset.store import StoredSplit, open_dataset
from textgen.render.renderer import Renderer
from textgen.schema.definition import DatasetDefinition
from textgen.spec.label_fields import LabelFields
from textgen.spec.parser import Spec
from train.data.sources import DeviceSplit, as_tensor
from train.inference.network import Network
from train.runs.finished_runs import load_run_data

MAX_CROPS = 1_000_000
CHUNK = 4096  # crops rendered between two steps of the progress bar


@dataclass(frozen=True)
class LabelledCrops:
    """Images uint8 (n, H, W, 3) and labels int64 (n,), or (n, m), of the classes of `fields`, on the CPU.

    `about` describes them in evaluation.json; `files` are the names of pictures, where there are such.
    """

    images: Tensor
    labels: Tensor
    fields: LabelFields
    about: dict[str, Any]
    files: tuple[str, ...] | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of all classes, see `LabelFields.classes`."""
        return self.fields.classes

    def to(self, device: torch.device) -> DeviceSplit:
        """The crops on a device."""
        return DeviceSplit(self.images.to(device), self.labels.to(device))


def render_fresh_crops(definition: DatasetDefinition, count: int, seed: int, split: str = "test") -> LabelledCrops:
    """Render crops of a split of the `definition` with another data `seed`: `count`, rounded to as many of each class.

    The held-out assets are those of the definition's own seed, so that no test shows what training did not hold out.
    Raises `UserError` for the definition's own seed, whose crops a training or a choice may have used, for a split that
    the definition does not have, and for more than 4 GiB of crops.
    """
    if seed == definition.seed:
        raise UserError(
            f"data_seed={seed} is that of the run's own crops: give another for fresh crops, or leave crops=… out for"
            " the run's own test set"
        )
    game = definition.game
    renderer = Renderer(game, seed, definition.augment, definition.holdout, holdout_seed=definition.seed)
    if split not in renderer.splits:
        raise UserError(f"split={split}: fresh crops of {game.name} are of {', '.join(renderer.splits)}")
    count = max(round(count / renderer.period), 1) * renderer.period
    if count * game.size[0] * game.size[1] * 3 > MAX_TEST_BYTES:
        raise UserError(f"{count} crops of {game.size[0]}×{game.size[1]} pixels take more than 4 GiB: give fewer crops")
    images = np.empty((count, *game.size, 3), np.uint8)
    with tqdm(total=count, desc="fresh crops", unit=" images", leave=False, disable=None) as progress:
        for start in range(0, count, CHUNK):
            indices = range(start, min(start + CHUNK, count))
            images[start : indices.stop] = renderer.render(split, indices).images
            progress.update(len(indices))
    about = {"kind": "fresh crops", "game": game.name, "data_seed": seed, "split": split}
    labels = torch.from_numpy(renderer.draw_labels(split, range(count)))
    return LabelledCrops(torch.from_numpy(images), labels, renderer.fields, about)


def load_own_crops(
    run: Path,
    network: Network,
    *,
    split: str | None = None,
    data_dir: Path | None = None,
    path: Path | str | None = None,
) -> dict[str, LabelledCrops]:
    """The test sets of a run by name, "test" first, as `load_run_data` finds them; with `split` that one as "test".

    Raises `UserError`.
    """
    data = load_run_data(run, network, data_dir=data_dir, path=path)
    splits = {**data.tests, "val": data.val}
    if split is not None and split not in splits:
        raise UserError(f"split={split}: {run} has {', '.join(splits)}")
    chosen = {"test": split} if split else {name: name for name in data.tests}
    return {
        name: LabelledCrops(
            *splits[of], network.fields, {"kind": "the run's own", "dataset_hash": data.hash, "split": of}
        )
        for name, of in chosen.items()
    }


def load_real_crops(folder: Path, network: Network, spec: Spec | None) -> LabelledCrops:
    """Real crops for a network, in class folders or with a labels file; `spec` is that of its game, if it has one.

    Classes may be missing. Raises `UserError`.
    """
    if not folder.is_dir():
        raise UserError(f"real={folder} is no folder: give one of crops, with a folder a class")
    files = tuple(row.name for row in list_test_folder(folder, network.classes, spec))
    stored = load_test_folder(folder, network.classes, network.size, spec)
    return _from_stored(stored, network.fields, {"kind": "real crops", "path": str(folder)}, files)


def load_dataset_crops(folder: Path, split: str | None = None) -> LabelledCrops:
    """A split of a data set that textgen wrote; None: its test split. Raises `UserError`."""
    dataset, split = open_dataset(folder), split or "test"
    if split not in dataset.splits:
        raise UserError(f"split={split}: data set {folder} has {', '.join(dataset.splits)}")
    if not len(dataset.splits[split].labels):
        raise UserError(f"split={split} of data set {folder} has no images: give another")
    about = {"kind": "data set", "path": str(folder), "dataset_hash": dataset.hash, "split": split}
    return _from_stored(dataset.splits[split], dataset.fields, about)


def _from_stored(
    stored: StoredSplit, fields: LabelFields, about: dict[str, Any], files: tuple[str, ...] | None = None
) -> LabelledCrops:
    labels = torch.from_numpy(np.array(stored.labels))
    return LabelledCrops(as_tensor(stored.images), labels, fields, about, files)
