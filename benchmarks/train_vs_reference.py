"""Images a second of training: foldtext's loop beside a plain one over the same crops as PNG files.

    python benchmarks/train_vs_reference.py [--game sot_time] [--images 6000] [--rounds 3] [--device cpu]

The plain loop is written as the paper's published code trains: an ImageFolder of PNG files, decoded by Pillow and made
a tensor one by one, a DataLoader with a worker a core but one and shuffling, stacks by `view`, `zero_grad`, `.item()`
of the loss in every step. Both train the same network (`recipe=paper`: batch 32, Adam 1e-4) from the same crops, each
in a process of its own, foldtext's set up as a run is. They take turns, and the ratio is that of the medians.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from textgen.dataset import store
from textgen.dataset.build import ensure_dataset
from textgen.export.formats import export
from textgen.schema.definition import parse_definition
from train.common.environment import set_openmp_waiting
from train.common.machine import device_name, keep_freed_memory
from train.config.compose import compose
from train.config.recipe import fit_recipe
from train.data.sources import to_device
from train.models.notation import Layer, build, initialise, parse
from train.trainer.loop import train
from train.trainer.state import Output, TrainingSetup

BATCH = 32


class Folder(Dataset[tuple[Tensor, int]]):
    """The PNG files below `root`, a folder a class; each becomes a float tensor (3, H, W) in 0…1 on demand."""

    def __init__(self, root: Path):
        classes = sorted(path.name for path in root.iterdir() if path.is_dir())
        self._files = [
            (path, number) for number, name in enumerate(classes) for path in sorted((root / name).iterdir())
        ]

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path, label = self._files[index]
        with Image.open(path) as image:
            pixels = np.array(image.convert("RGB"))
        return torch.from_numpy(pixels).permute(2, 0, 1).contiguous().float().div(255), label


@dataclass(frozen=True)
class Task:
    """What both train: the network of `game`, from the data set in `root` and its crops as PNG files."""

    root: Path
    config: dict[str, Any]
    device: str

    @property
    def dataset(self) -> store.Dataset:
        return ensure_dataset(parse_definition(self.config, 0), self.root / "data", quiet=True)

    @property
    def layers(self) -> tuple[Layer, ...]:
        return parse(parse_definition(self.config, 0).game.arch, self.config["model"]["pool"])


def plain_rate(task: Task, f: int, seed: int) -> float:
    """Images a second of one epoch, step by step as in the published code."""
    torch.manual_seed(seed)
    game, device = parse_definition(task.config, 0).game, torch.device(task.device)
    net = build(task.layers, size=game.size, classes=len(game.classes), fold=f).to(device)
    initialise(net, "reference")
    workers = max((os.cpu_count() or 2) - 1, 1)
    loader = DataLoader(
        Folder(task.root / "png/train"),
        batch_size=BATCH,
        shuffle=True,
        num_workers=workers,
        multiprocessing_context="fork",  # as in a program of its own: this process, being spawned, would spawn them
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4, weight_decay=1e-5)
    loss_of = nn.CrossEntropyLoss()
    begun = time.perf_counter()
    total, seen = 0.0, 0
    for images, labels in loader:
        n = len(images) // f * f
        x, y = images[:n].to(device), labels[:n].to(device)
        x = x.view(-1, 3 * f, *x.shape[2:])
        optimizer.zero_grad()
        logits = net(x).view(n, -1)
        loss = loss_of(logits, y)
        total += loss.item()
        loss.backward()
        optimizer.step()
        seen += n
    return seen / (time.perf_counter() - begun)


def foldtext_rate(task: Task, f: int, seed: int) -> float:
    """Images a second of one epoch of `train.trainer.loop.train`."""
    keep_freed_memory()
    dataset, game = task.dataset, parse_definition(task.config, 0).game
    source, val = (to_device(dataset.splits[name], torch.device(task.device)) for name in ("train", "val"))
    recipe = fit_recipe(
        task.config["recipe"] | {"curriculum": None},
        game=game.name,
        fold=f,
        train_images=len(source.labels),
        epochs=1,
    )
    with tempfile.TemporaryDirectory() as folder:
        setup = TrainingSetup(
            source, val, network=task.layers, fields=game.label_fields, fold=f, recipe=recipe, seed=seed
        )
        return train(setup, Output(Path(folder), "", lambda net: None, quiet=True)).images_per_second


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--game", default="sot_time")
    parser.add_argument("--images", type=int, default=6000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    config = compose(f"game={given.game}", "recipe=paper", "epochs=1")
    each = max(given.images // len(parse_definition(config, 0).game.classes), 1)
    config["game"]["images"] = {"train": each, "val": 1, "test": 1}
    with tempfile.TemporaryDirectory() as root, _process(own=False) as plain_loop, _process(own=True) as foldtext:
        task = Task(Path(root), config, given.device)
        export(task.dataset, "imagefolder", task.root / "png", quiet=True)
        crops, device = len(task.dataset.splits["train"].labels), device_name(torch.device(given.device))
        print(f"{given.game}, {crops} crops, batch {BATCH}, {device}, medians of {given.rounds} rounds")
        for f in (1, 4):
            slow, fast = [], []
            for seed in range(given.rounds):
                slow.append(plain_loop.submit(plain_rate, task, f, seed).result())
                fast.append(foldtext.submit(foldtext_rate, task, f, seed).result())
            ratio = statistics.median(fast) / statistics.median(slow)
            print(
                f"f={f}: plain {statistics.median(slow):.0f} images/s, "
                f"foldtext {statistics.median(fast):.0f} images/s, {ratio:.2f}×",
                flush=True,
            )


def _process(*, own: bool) -> ProcessPoolExecutor:
    """A process that keeps what it has imported and compiled, and sleeps while the other works.

    `own`: with the OpenMP settings of the commands of `train`; otherwise with OpenMP's defaults.
    """
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    before = {name: os.environ.pop(name) for name in names if name in os.environ}
    if own:
        set_openmp_waiting()
    process = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    process.submit(os.getpid).result()  # the process starts now, with these settings
    for name in names:
        os.environ.pop(name, None)
    os.environ.update(before)
    return process


if __name__ == "__main__":
    main()
