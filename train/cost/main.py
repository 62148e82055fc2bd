"""`python -m train.cost game=… fold=[1,4]`: what folding saves, by arithmetic alone; docs/cost.md explains it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from math import inf
from pathlib import Path
from typing import Annotated, Any, Literal

import hydra
import torch
from omegaconf import DictConfig
from pydantic import ConfigDict, Field, StrictBool, StrictInt
from pydantic import dataclasses as checked

from textgen.common import cli, hydra_app
from textgen.common.atomic import OTHER_OUT, write_atomic
from textgen.common.errors import UserError
from textgen.common.validation import Positive, UserPath, validate
from textgen.schema.game import Game
from train.config.fields import MAX_COMPUTED_FOLD, OneOrMore, Rounding, Scaling
from train.config.networks import Model, NetworkSettings
from train.cost import plots, table
from train.cost.devices import DEVICES, ELEMENT, Device, measure_this_machine
from train.cost.intensity import LayerCost, NetworkCost, network_cost
from train.cost.modules import module_costs
from train.cost.tiles import padded_operations, whole_tiles
from train.folding.arithmetic import Form
from train.folding.fold_model import fold_model
from train.models.notation import align_widths, parse
from train.models.resnet import resnet18
from train.models.scaling import prepend_resize, scale_network

BATCHES = tuple(2**n for n in range(13))  # images, of Figure 3: 1 to 4096
SCALINGS: dict[Scaling, str] = {"efficientnet": "EfficientNet", "reference": "EfficientNet, reference"}


@checked.dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Settings:
    """The settings of conf/cost.yaml outside `game`."""

    model: Model
    fold: OneOrMore[Annotated[StrictInt, Field(ge=1, le=MAX_COMPUTED_FOLD)]]
    forms: Annotated[OneOrMore[Form], Field(min_length=1)]
    scaling: OneOrMore[Scaling]
    align: Annotated[StrictInt, Field(ge=2, le=256)] | None
    align_to: Rounding
    batch: Positive
    precision: Literal["fp32", "fp16", "bf16", "int8"] | None  # None: fp16 where the device has a rate for it
    device: Literal["v100", "t4", "a100", "h100", "tpu_v1", "here"]
    tile: Positive | None  # None: the device's
    format: Literal["text", "csv", "json"]
    out: UserPath | None
    overwrite: StrictBool
    plots: UserPath | None
    network: NetworkSettings | None = None


@dataclass(frozen=True)
class Row:
    """A network of the report. `kind` is its form, or "scaled" with EfficientNet's scaling; `align` what its widths are
    multiples of."""

    name: str
    kind: Form | Literal["scaled"]
    cost: NetworkCost
    align: int | None = None

    @property
    def groups(self) -> int:
        """Of every layer."""
        return self.cost.fold if self.kind == "grouped" else 1

    def padded(self, tile: int) -> NetworkCost:
        """With the operations of a device that fills up channels to multiples of `tile`."""
        layers = self.cost.layers
        padded = [replace(layer, operations=padded_operations(layer, tile, self.groups)) for layer in layers]
        return replace(self.cost, layers=tuple(padded))


@dataclass(frozen=True)
class Report:
    """Networks for one task beside each other; the first is the original. `tile` counts channels (§H)."""

    task: str
    networks: tuple[Row, ...]
    batch: int
    precision: str
    device: Device
    tile: int

    @property
    def element(self) -> int:
        return ELEMENT[self.precision]

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers; operations and bytes are those of one image of the batch,
        but for the weights of a layer, which are read once for all."""
        needed = self.device.ratio(self.precision)
        return {
            "task": self.task,
            "batch": self.batch,
            "precision": self.precision,
            "device": {"name": self.device.name, "ratio": needed, "source": self.device.source, "tile": self.tile},
            "networks": [self._network(row) for row in self.networks],
        }

    def _network(self, row: Row) -> dict[str, Any]:
        network, original, element, images = row.cost, self.networks[0].cost, self.element, self.batch
        activations, weights = network.traffic(images, element)
        intensity = network.intensity(images, element)
        limit = network.intensity(inf, element)
        padded = row.padded(self.tile)
        return {
            "network": row.name,
            "fold": network.fold,
            "form": row.kind,
            "align": row.align,
            "images": network.stacks(images) * network.stack,
            "operations": network.operations(images),
            "padded_operations": padded.operations(images),
            "winograd_operations": network.operations(images, winograd=True),
            "activation_bytes": activations / images,
            "weight_bytes": weights / images,
            "intensity": intensity,
            "intensity_ratio": intensity / original.intensity(images, element),
            "intensity_limit": limit,
            "intensity_limit_ratio": limit / original.intensity(inf, element),
            "images_per_second_bound": self._bound(network, images),
            "images_per_second_padded": self._bound(padded, images),
            "batches": [self._of_batch(network, count) for count in BATCHES],
            "layers": [self._layer(row, layer, at) for at, layer in enumerate(network.layers)],
        }

    def _bound(self, network: NetworkCost, images: int) -> float | None:
        if self.precision not in self.device.peak:
            return None
        peak, bandwidth = self.device.peak[self.precision], self.device.bandwidth
        return images / network.seconds(images, self.element, peak, bandwidth)

    def _of_batch(self, network: NetworkCost, images: int) -> dict[str, Any]:
        """A point of Figure 3: the share of the device's peak that the roofline leaves, for a batch of `images`."""
        bound = self._bound(network, images)
        used = None if bound is None else bound * network.operations(images) / self.device.peak[self.precision]
        return {"images": images, "intensity": network.intensity(images, self.element), "utilization": used}

    def _layer(self, row: Row, layer: LayerCost, at: int) -> dict[str, Any]:
        network, original = row.cost, self.networks[0].cost
        stacks, share, needed = network.stacks(self.batch), network.share(self.batch), self.device.ratio(self.precision)
        intensity = layer.intensity(stacks, self.element)
        folded = network.fold > 1 and row.kind == "dense"
        least = original.layers[at].least_images(network.fold) if folded else None
        return {
            "layer": layer.name,
            "channels": list(layer.channels),
            "size": list(layer.size),
            "operations": layer.operations * share,
            "padded_operations": padded_operations(layer, self.tile, row.groups) * share,
            "whole_tiles": whole_tiles(layer, self.tile, row.groups),
            "activation_bytes": self.element * layer.activations * share,
            "weight_bytes": self.element * layer.weights,
            "intensity": intensity,
            "intensity_limit": layer.intensity(inf, self.element),
            "bound_by": None if needed is None else "arithmetic" if intensity > needed else "memory",
            "eq5_least_images": least,
            "eq5_holds": None if least is None else self.batch > least,
        }


def build_report(s: Settings, game: Game | None) -> Report:
    """The networks that `s` asks for, for `game` or for the network of `s`. Raises `UserError`."""
    if game is not None and s.network is None:
        name = game.name
        rows = _of_notation(s, s.model.arch or game.arch, game.size, len(game.classes))
    elif game is None and s.network is not None and s.network.module is not None:
        name = s.network.name
        rows = _of_module(s, s.network)
    elif game is None and s.network is not None and s.model.arch is not None:
        name = s.network.name
        rows = _of_notation(s, s.model.arch, s.network.size, s.network.classes)
    elif game is not None:
        raise UserError("of which network? give game=… or network=…, not both")
    elif s.network is not None:
        raise UserError(f"network {s.network.name} names no network: give model.arch=…")
    else:
        raise UserError("of which network? give game=… or network=…")
    device = measure_this_machine() if s.device == "here" else DEVICES[s.device]
    precision = s.precision or ("fp16" if "fp16" in device.peak else min(device.peak))
    return Report(name, tuple(rows), s.batch, precision, device, s.tile or device.tile(precision))


def _of_notation(s: Settings, arch: str, size: tuple[int, int], classes: int) -> Iterator[Row]:
    """With `align` also what it makes another."""
    pool, layers = s.model.pool, parse(arch, s.model.pool)
    rounded = parse(align_widths(arch, s.align, s.align_to), pool) if s.align else layers
    wanted: list[tuple[int, Form]] = [(1, "dense"), *product(sorted({*s.fold} - {1}), s.forms)]
    for fold, form in wanted:
        cost, other = (network_cost(of, size=size, classes=classes, fold=fold, form=form) for of in (layers, rounded))
        yield Row(cost.name, form, cost)
        if other != cost:
            yield Row(f"{other.name}, align={s.align}", form, other, s.align)
    for how in s.scaling:
        narrow, pools, smaller = scale_network(how, arch, pool, size)
        small = parse(prepend_resize(narrow, smaller), pools)
        try:
            cost = network_cost(small, size=size, classes=classes, fold=1, form="dense")
        except UserError as error:
            raise UserError(f"scaling={how}: {error}, or scaling=[]") from None
        yield Row(SCALINGS[how], "scaled", cost)


def _of_module(s: Settings, network: NetworkSettings) -> Iterator[Row]:
    """The original and its FoldedCNNs."""
    for name, given in (("align", s.align), ("model.arch", s.model.arch)):
        if given:
            raise UserError(f"{name}={given} is for networks of the notation: leave it out, {network.name} is none")
    size = (3, *network.size)
    with torch.device("meta"):  # sizes alone
        net = resnet18(network.classes)
        yield Row("original", "dense", NetworkCost(1, "dense", module_costs(net, size)))
        for fold in sorted({*s.fold} - {1}):
            layers = module_costs(fold_model(net, fold, size), (3 * fold, *network.size))
            cost = NetworkCost(fold, "dense", layers)
            yield Row(cost.name, "dense", cost)


@hydra.main(version_base="1.3", config_path="pkg://conf", config_name="cost")
@hydra_app.command
def _main(config: DictConfig) -> None:
    c = hydra_app.to_plain(config)
    for group in ("game", "network"):
        hydra_app.check_choice(group, c)
    s = validate(Settings, {key: value for key, value in c.items() if key != "game"})
    game = validate(Game, c["game"], "game") if "game" in c else None
    with cli.open_report(s.out, s.plots, OTHER_OUT, overwrite=s.overwrite) as write:
        report = build_report(s, game)
        about = report.to_dict()
        texts = {
            "json": lambda: json.dumps(about, indent=1),
            "csv": lambda: table.format_csv(about),
            "text": lambda: table.format_text(about, report.device),
        }
        write(texts[s.format](), lambda folder: _draw(about, report.device, folder))


def _draw(about: dict[str, Any], device: Device, folder: Path) -> None:
    pictures = {
        "roofline.png": plots.roofline(about, device),
        "traffic.png": plots.traffic(about),
        "batches.png": plots.batches(about),
    }
    for name, picture in pictures.items():
        write_atomic(folder / name, picture, OTHER_OUT)


def main() -> None:
    """The console script."""
    hydra_app.run(_main, "cost")
