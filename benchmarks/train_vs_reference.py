"""Images a second of training: foldtext's loop beside a plain one over the same crops as PNG files.

    python benchmarks/train_vs_reference.py [--game sot_time] [--images 6000] [--rounds 3] [--device cpu]

The plain loop is written as the paper's published code trains: an ImageFolder of PNG files, decoded by Pillow and made
a tensor one by one, a DataLoader with a worker a core but one and shuffling, stacks by `view`, `zero_grad`, `.item()`
of the loss in every step. Both train the same network (`recipe=paper`: batch 32, Adam 1e-4) from the same crops; the
two take turns, and the ratio is that of the medians.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from hydra import compose, initialize_config_module
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from textgen.build import ensure
from textgen.export import export
from textgen.main import definition_of, plain
from train.data import to_device
from train.loop import train
from train.machine import name_of
from train.models.notation import build, initialise, parse
from train.recipe import recipe_of

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


def plain_epoch(net: nn.Module, loader: DataLoader[tuple[Tensor, int]], f: int, device: torch.device) -> float:
    """Seconds of one epoch, step by step as in the published code."""
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4, weight_decay=1e-5)
    loss_of = nn.CrossEntropyLoss()
    begun = time.perf_counter()
    total = 0.0
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
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--game", default="sot_time")
    parser.add_argument("--images", type=int, default=6000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    device = torch.device(given.device)
    with initialize_config_module("conf", version_base="1.3"):
        config = plain(compose("train", [f"game={given.game}", "recipe=paper", "epochs=1"]))
    game = definition_of(config, 0).game
    each = max(given.images // len(game.classes), 1)
    config["game"]["images"] = {"train": each, "val": 1, "test": 1}
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        dataset = ensure(definition_of(config, 0), root / "data", quiet=True)
        export(dataset, "imagefolder", root / "png", quiet=True)
        source, val = (to_device(dataset.splits[name], device) for name in ("train", "val"))
        layers, n = parse(game.arch, config["model"]["pool"]), len(source.labels)
        print(f"{given.game}, {n} crops, batch {BATCH}, {name_of(device)}, medians of {given.rounds} rounds")
        for f in (1, 4):
            recipe = recipe_of(
                config["recipe"] | {"curriculum": None}, game=game.name, fold=f, train_images=n, epochs=1
            )
            rates: dict[str, list[float]] = {"plain": [], "foldtext": []}
            for round_ in range(given.rounds):
                net = build(layers, size=game.size, classes=len(game.classes), fold=f)
                initialise(net, "reference")
                workers = max((os.cpu_count() or 2) - 1, 1)
                loader = DataLoader(Folder(root / "png/train"), batch_size=BATCH, shuffle=True, num_workers=workers)
                rates["plain"].append(n / plain_epoch(net.to(device), loader, f, device))
                folder = root / f"run{f}{round_}"
                folder.mkdir()
                trained = train(
                    source,
                    val,
                    layers=layers,
                    classes=game.classes,
                    f=f,
                    recipe=recipe,
                    seed=round_,
                    folder=folder,
                    identity="",
                    keep=lambda net: None,
                    quiet=True,
                )
                rates["foldtext"].append(trained.images_per_second)
            slow, fast = (statistics.median(rates[name]) for name in ("plain", "foldtext"))
            print(f"f={f}: plain {slow:.0f} images/s, foldtext {fast:.0f} images/s, {fast / slow:.2f}×", flush=True)


if __name__ == "__main__":
    main()
