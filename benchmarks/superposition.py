"""Superposition beside stacks, at equal cost: accuracy of small networks that read f images at once.

    python benchmarks/superposition.py DIR [--games sot_time lol_time] [--folds 2 4] [--methods dense keys …]
        [--seeds 0 1] [--images 60000] [--copies 0] [--set recipe.batch=64 …] [--crops 10000]

trains every network that DIR lacks, tests it once on fresh crops, and prints a Markdown table. `dense` is a FoldedCNN,
trained on stacks by the default recipe. The other methods sum the images of a stack, and one network of the original's
layers reads the sum; a linear layer for each slot, and ReLU, separate the features again for one classifier:

- `keys`, as MIMOConv (Menet et al., NeurIPS 2023): behind a first convolution and pool for all, a circular convolution
  along the channels with a learned key of the slot, then the sum; `signs`: the channels times a fixed ±1 instead.
- `flips`, as DataMUX (Murahari et al., NeurIPS 2022): each image behind a fixed orthogonal transform (as it is, turned
  by 180 degrees, mirrored either way), then the sum; `filters`: a first convolution of the slot's own, pool, ReLU, sum.

All are trained in one loop with all that the default recipe has: live crops, Muon and AdamW, one-cycle schedule,
curriculum, batch norms, weights that characters share, auxiliary head. The best of the last ten epochs by validation is
kept. Widths are the largest with at most 1 % more multiply-adds an image than dense stacks. `--copies` is an aid for
all but dense stacks: the share of the run in which a stack has copies of one image, then of two.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from compare_methods import Network
from results import machine
from torch import Tensor, nn
from torch.nn import functional

from textgen.common.atomic import write_atomic
from textgen.common.confidence import wilson_interval
from textgen.render.renderer import Renderer
from textgen.schema.definition import DatasetDefinition, parse_definition
from textgen.spec.label_fields import LabelFields
from train.common.environment import set_openmp_waiting
from train.common.machine import keep_freed_memory
from train.config.compose import compose
from train.config.recipe import Recipe, fit_recipe, live_epoch
from train.cost.modules import module_costs
from train.data.sources import DeviceSplit, LiveSource, to_input
from train.evaluate.crops import render_fresh_crops
from train.folding.arithmetic import fold, unfold
from train.metrics.evaluate import accuracy_and_loss, evaluate
from train.metrics.predict import random_stacks
from train.models.notation import Layer, build, parse, scale_widths
from train.models.training_layers import shared_characters
from train.trainer.network_variants import WIDER, TrainingNetworks
from train.trainer.optimizers import build_optimizers
from train.trainer.schedule import Schedule, learning_rate_factor

SUPERPOSED = ("keys", "signs", "flips", "filters")
EPOCHS, VALIDATED = 40, 10  # of a run; its last ones, of which the best is kept
VALIDATION_CROPS, TEST_SEED = 3000, 20  # the latter is the data seed of the test crops
FLIPS: tuple[list[int], ...] = ([], [-2, -1], [-1], [-2])  # axes that the transform of each slot reverses
CPU = torch.device("cpu")
COLUMNS = "game | fold | method | width | M multiply-adds | images | validation | test | by slot | points below dense"


@dataclass(frozen=True)
class Task:
    """A game for stacks of `f` images, its recipe for a run of about `images` images, and the crops."""

    config: dict[str, Any]
    definition: DatasetDefinition
    f: int
    recipe: Recipe
    epoch_images: int
    crops: int
    classes: tuple[str, ...]

    @classmethod
    def of(cls, game: str, f: int, given: argparse.Namespace) -> Task:
        length = f"recipe.images={given.images}", f"recipe.min_epochs={EPOCHS}"
        config = compose(f"game={game}", f"fold={f}", *length, *given.settings)
        definition = parse_definition(config, 0)
        common: dict[str, Any] = {"game": game, "fold": f, "width": 1.0, "epochs": None}
        epoch = live_epoch(config["recipe"], classes=len(definition.game.classes), most=given.images, **common)
        recipe = fit_recipe(config["recipe"], train_images=epoch, **common)
        return cls(config, definition, f, recipe, epoch, given.crops, definition.game.classes)

    @cached_property
    def source(self) -> LiveSource:
        return LiveSource(Renderer.from_definition(self.definition), self.epoch_images, CPU)

    @cached_property
    def val(self) -> DeviceSplit:
        crops = Renderer.from_definition(self.definition).render("val", np.arange(VALIDATION_CROPS))
        return DeviceSplit(torch.from_numpy(crops.images), torch.arange(VALIDATION_CROPS) % len(self.classes))

    @cached_property
    def test(self) -> DeviceSplit:
        return render_fresh_crops(self.definition, self.crops, TEST_SEED).to(CPU)

    def layers(self, width: float) -> tuple[Layer, ...]:
        """Those of the original network, with `width` times the channels."""
        return parse(scale_widths(self.config["game"]["arch"], width), self.config["model"]["pool"])

    def multiply_adds(self, net: nn.Module) -> float:
        """Of a network for stacks, for one image."""
        return sum(of.operations for of in module_costs(net, (3 * self.f, *self.definition.game.size))) / 2 / self.f

    def dense(self) -> TrainingNetworks:
        """A FoldedCNN and its training-only variants, with new weights."""
        size = self.definition.game.size
        fields = LabelFields.single(self.classes)
        options: dict[str, Any] = {"fields": fields, "f": self.f, "recipe": self.recipe, "device": CPU}
        return TrainingNetworks.build(self.layers(1), size=size, **options)

    def superposed(self, binding: str) -> tuple[Superposed, float]:
        """A superposed network with new weights, as costly as dense stacks, and its factor on the original's widths."""
        most = 1.01 * self.multiply_adds(self.dense().plain)
        for thirty_seconds in range(round(40 * self.f**0.5), 0, -1):  # from a width of 1.25·√f
            net = Superposed(self, binding, thirty_seconds / 32)
            if self.multiply_adds(net) <= most:
                return net.to(memory_format=torch.channels_last), thirty_seconds / 32  # type: ignore[call-overload]
        raise AssertionError("the narrowest network is too costly")


class Keys(nn.Conv2d):
    """Bind by circular convolution, and sum: (b, f·C, H, W) -> (b, C, H, W), a 1×1 convolution of circulant weights."""

    def __init__(self, f: int, channels: int):
        super().__init__(f * channels, channels, 1, bias=False)
        del self.weight
        self.keys = nn.Parameter(torch.randn(f, channels) / (f * channels) ** 0.5)
        self._shift = (torch.arange(channels)[:, None] - torch.arange(channels)) % channels  # (C, C)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.keys[:, self._shift].transpose(0, 1).flatten(1)  # (f, C, C) -> (C, f*C)
        return functional.conv2d(x, weight[:, :, None, None])


class Head(nn.Module):
    """From the features of a sum to the logits of all slots: (b, C, H, W) -> (b, f·k)."""

    def __init__(self, last: nn.Sequential, f: int):
        super().__init__()
        features = last.get_parameter("linear1.weight").shape[1]
        self.f, self.last, self.separate = f, last, nn.Linear(features, f * features)

    def forward(self, x: Tensor) -> Tensor:
        features = functional.relu(self.separate(self.last[:-1](x)))  # (b, d) -> (b, f*d)
        logits: Tensor = self.last[-1](features.view(len(x), self.f, -1))  # (b, f, d) -> (b, f, k)
        return logits.flatten(1)


class Superposed(nn.Module):
    """The layers of the task's network with `width` times the channels, for the sum of a stack's images.

    (b, 3·f, H, W) -> (b, f·k); in training also the logits of an auxiliary head, as that of dense stacks.
    """

    def __init__(self, task: Task, binding: str, width: float):
        super().__init__()
        self.f, self.binding = task.f, binding
        options: dict[str, Any] = {"norm": True, "pool_first": True, "shares": shared_characters(task.classes)}
        options |= {"size": task.definition.game.size, "classes": len(task.classes)}
        network: Callable[..., nn.Sequential] = partial(build, task.layers(width), **options)
        net = network()
        _, second, *_, last = (n for n, layer in enumerate(net) if isinstance(layer, nn.Conv2d))
        self.stems = nn.ModuleList(network()[:second] for _ in range(self.f if binding == "filters" else 1))
        channels = net.get_parameter("conv1.weight").shape[0]
        self.keys = Keys(self.f, channels) if binding == "keys" else None
        self.signs: Tensor
        self.register_buffer("signs", torch.randint(2, (self.f, channels)) * 2.0 - 1)
        self.trunk = net[second:last]
        ends = net[last:], network(widen_last=WIDER)[last:]
        self.main, self.auxiliary = (Head(end, self.f) for end in ends)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        images = x.reshape(len(x), self.f, 3, *x.shape[2:])  # (b, f, 3, H, W)
        if self.binding == "flips":
            flipped = [images[:, slot].flip(axes) for slot, axes in enumerate(FLIPS[: self.f])]
            x = self.stems[0](torch.stack(flipped).sum(0) / self.f**0.5)
        elif self.binding == "filters":
            x = torch.stack([stem(images[:, slot]) for slot, stem in enumerate(self.stems)]).sum(0)
        else:
            channels = self.stems[0](images.flatten(0, 1).contiguous(memory_format=torch.channels_last))
            by_slot = channels.unflatten(0, (-1, self.f))  # (b, f, C, H', W')
            x = self.keys(by_slot.flatten(1, 2)) if self.keys else (by_slot * self.signs[:, :, None, None]).sum(1)
        features = self.trunk(x.contiguous(memory_format=torch.channels_last))
        main: Tensor = self.main(features)
        return (main, self.auxiliary(features)) if self.training else main


def train(
    task: Task, net: nn.Module, plain: nn.Module, fuse: Callable[[], None], seed: int, copies: float
) -> tuple[float, int]:
    """Train `net`; leave the best weights in `plain`, to which `fuse` gives those of `net`: (accuracy, images seen)."""
    recipe, f = task.recipe, task.f
    optimizers = build_optimizers(net, recipe)
    schedule = Schedule.build(
        recipe, labels=task.source.labels_of, fields=LabelFields.single(task.classes), fold=f, stack=f, seed=seed
    )
    epochs, best, weights = recipe.epochs or 1, -1.0, plain.state_dict()
    for epoch in range(epochs):
        net.train()
        batches = schedule.batches(epoch, recipe.batch, f)
        for step, images in enumerate(task.source.batches(epoch, batches)):
            progress = (epoch + step / len(batches)) / epochs
            for group in chain.from_iterable(optimizer.param_groups for optimizer in optimizers.values()):
                group["lr"] = learning_rate_factor(recipe, progress) * group["initial_lr"]
            chosen = _copies(len(images), f, progress / copies if copies else 1.0)
            y = task.source.labels[batches[step]][chosen]
            main, auxiliary = net(fold(to_input(images[chosen]), f))
            loss = functional.cross_entropy(unfold(main, f), y)
            loss = loss + recipe.auxiliary * functional.cross_entropy(unfold(auxiliary, f), y)
            net.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            for optimizer in optimizers.values():
                optimizer.step()
        if epoch >= epochs - VALIDATED:
            fuse()
            accuracy = accuracy_and_loss(plain, f, task.val, seed, LabelFields.single(task.classes))[0]
            if accuracy > best:
                best, weights = accuracy, deepcopy(plain.state_dict())
    plain.load_state_dict(weights)
    return best, schedule.images_before(epochs)


def _copies(n: int, f: int, progress: float) -> Tensor:
    """Indices (n,) of images, stack by stack: `progress` 0…1 of the warm-up decides how many of a stack differ."""
    different = f if progress >= 1 else 1 if progress < 0.5 or f == 2 else 2
    return (torch.arange(n).view(-1, f)[:, torch.arange(f) % different]).flatten()


def measure(folder: Path, task: Task, method: str, seed: int, copies: float) -> None:
    """Train one network, test it, and keep the result in `folder`, unless that has it."""
    name = f"{task.definition.game.name}_f{task.f}_{method}_s{seed}"
    if (folder / f"{name}.json").exists():
        return
    torch.manual_seed(seed)
    if method == "dense":
        networks, width = task.dense(), task.f**0.5
        plain: nn.Module = networks.plain
        accuracy, images = train(task, networks.trained, plain, networks.fuse, seed, copies=0.0)
    else:
        plain, width = task.superposed(method)
        accuracy, images = train(task, plain, plain, lambda: None, seed, copies)
    found = evaluate(
        plain, task.f, task.test, fields=LabelFields.single(task.classes), groupings=1, seed=seed, orders=False
    )
    result = {"width": width, "multiply_adds": task.multiply_adds(plain), "images": images, "accuracy": accuracy}
    stacks = random_stacks(len(task.test.labels), task.f, torch.Generator().manual_seed(seed))  # as in `evaluate`
    result["by_slot"] = found.groupings_right[stacks].float().mean(0).tolist()
    result["right"] = found.groupings_right.tolist()  # 0 or 1 for each crop
    write_atomic(folder / f"{name}.json", json.dumps(result).encode(), "another folder")


def print_rows(given: argparse.Namespace, game: str, f: int) -> None:
    """The rows of the table for one game and fold, of the networks that the folder has."""
    networks: dict[str, Network] = {}
    for method in given.methods:
        files = [given.folder / f"{game}_f{f}_{method}_s{seed}.json" for seed in given.seeds]
        results = [json.loads(file.read_text(encoding="utf-8")) for file in files]
        right = np.array([result["right"] for result in results], dtype=float)
        networks[method] = network = Network(results, right)
        first, dense = results[0], networks.get("dense", network)
        row = [game, str(f), method, f"{first['width']:.2f}", f"{first['multiply_adds'] / 1e6:.2f}"]
        row += [f"{first['images'] / 1000:.0f} k", ", ".join(f"{100 * of['accuracy']:.2f}" for of in results)]
        bounds = [wilson_interval(accuracy, right.shape[1]) for accuracy in right.mean(1)]
        tests = zip(network.accuracies, bounds, strict=True)
        row += [", ".join(f"{test:.2f} ({100 * low:.2f} to {100 * high:.2f})" for test, (low, high) in tests)]
        row += ["; ".join(" ".join(f"{100 * slot:.0f}" for slot in of["by_slot"]) for of in results)]
        print(f"| {' | '.join([*row, network.below(dense) if dense is not network else ''])} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where results are kept")
    parser.add_argument("--games", nargs="+", default=["sot_time", "lol_time"])
    parser.add_argument("--folds", nargs="+", type=int, default=[2, 4], choices=(2, 3, 4))
    parser.add_argument("--methods", nargs="+", default=["dense", *SUPERPOSED], choices=("dense", *SUPERPOSED))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--images", type=int, default=60_000, help="images that a run sees")
    parser.add_argument("--copies", type=float, default=0.0, help="share of the run with copies in a stack, 0 to 1")
    parser.add_argument("--set", nargs="+", default=[], dest="settings", help="settings of python -m train, of all")
    parser.add_argument("--crops", type=int, default=10_000, help="test crops")
    given = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    given.folder.mkdir(parents=True, exist_ok=True)
    print(f"| {COLUMNS} |\n|{'---|' * len(COLUMNS.split('|'))}")
    for game in given.games:
        for f in given.folds:
            task = Task.of(game, f, given)
            for seed in given.seeds:
                for method in given.methods:
                    measure(given.folder, task, method, seed, given.copies)
            print_rows(given, game, f)
    print(f"\n{machine()}")


if __name__ == "__main__":
    set_openmp_waiting()
    main()
