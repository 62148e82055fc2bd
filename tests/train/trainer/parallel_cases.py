"""Small trainings in double precision, in which rounding does not grow: in this process, or in those of torchrun.

`torchrun --nproc-per-node 2 tests/train/trainer/parallel_cases.py FOLDER CASE…` trains these and writes their
networks.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from conftest import composed
from torch import Tensor, nn

from textgen.spec.label_fields import LabelFields
from train.common import parallel
from train.common.parallel import ALONE, Group
from train.config.recipe import fit_recipe
from train.data.augmented import AugmentedSource
from train.data.sources import DeviceSplit, Source, to_input
from train.folding.own_module import OwnModule, permit
from train.metrics import predict
from train.models.notation import build, parse
from train.trainer import loop
from train.trainer.state import Output, TrainingSetup

CLASSES = tuple(map(str, range(12)))
SIZE = (12, 14)
LAYERS = parse("C8 M C8 M F", "3x3 strides 2,2,2")
OWN = "parallel_cases:OwnNetwork"
CASES: dict[str, tuple[int, int, tuple[str, ...]]] = {  # fold, images a step, settings
    "default": (4, 24, ()),
    "order-consistency-averaged": (3, 20, ("recipe.order_consistency=1", "recipe.ema_decay=0.9")),
    "one-stack-a-step": (4, 4, ("recipe.dropout=0.2",)),  # one process has none
    "one-stack-is-left": (2, 20, ("recipe.auxiliary=0", "recipe.curriculum=null")),  # 82 = 3·20 + 22
    "slots-dropout": (2, 24, ("recipe=slots", "recipe.dropout=0.3")),
    "paper-dropout": (2, 24, ("recipe=paper", "recipe.dropout=0.3", "recipe.label_smoothing=0.1")),
    "distilled": (2, 24, ("recipe=distill",)),
    "own-module": (2, 24, ()),
    "single-images": (1, 24, ()),
}


class OwnNetwork(nn.Module):
    """With PyTorch's own batch norm and two kinds of dropout."""

    def __init__(self, classes: int):
        super().__init__()
        self.conv, self.norm, self.spatial = nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.Dropout2d(0.2)
        self.drop, self.last = nn.Dropout(0.2), nn.Linear(8 * 5 * 6, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.spatial(self.norm(self.conv(x)).relu())
        return self.last(self.drop(torch.flatten(x, 1)))


def train_case(name: str, folder: Path, group: Group = ALONE) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """The trained network's weights, and the epochs' metrics."""
    fold, batch, settings = CASES[name]
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(256, (82, *SIZE, 3), generator=draw, dtype=torch.uint8)
    labels = torch.arange(82) % len(CLASSES)
    recipe = fit_recipe(
        composed("game=sot_time", *settings)["recipe"],
        game="",
        fold=fold,
        train_images=82,
        epochs=3,
        batch=batch,
        module=name == "own-module",
    )
    split, val = DeviceSplit(images, labels), DeviceSplit(images[:11], labels[:11])
    source: Source = AugmentedSource(split, flip=True, shift=1, seed=0) if name == "default" else split
    permit(OWN)
    folder.mkdir()
    with _double_precision():
        torch.manual_seed(5)
        teacher = build(LAYERS, size=SIZE, classes=len(CLASSES)) if recipe.distill else None
        network = OwnModule(OWN) if name == "own-module" else LAYERS
        setup = TrainingSetup(source, val, network, LabelFields.single(CLASSES), fold, recipe, seed=3, teacher=teacher)
        trained = loop.train(setup, Output(folder, name, lambda net: None, quiet=True), group=group)
    return trained.net.state_dict(), trained.history


@contextmanager
def _double_precision() -> Iterator[None]:
    """Images, weights and gradients are float64."""
    torch.set_default_dtype(torch.float64)
    loop.to_input = predict.to_input = lambda images: to_input(images).double()  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)
        loop.to_input = predict.to_input = to_input  # type: ignore[attr-defined]


if __name__ == "__main__":
    joined = parallel.join()
    torch.set_num_threads(1)
    trained = {name: train_case(name, Path(sys.argv[1]) / f"{name}-{joined.rank}", joined) for name in sys.argv[2:]}
    torch.save(trained, Path(sys.argv[1]) / f"{joined.rank}.pt")
    parallel.leave()
