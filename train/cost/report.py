"""The report of `train.cost`: networks for one task, what they compute, and what they read and write."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from math import inf
from typing import Any, Literal

import torch

from textgen.common.errors import UserError
from textgen.schema.game import Game
from train.config.fields import Scaling
from train.config.networks import NetworkSettings
from train.cost.devices import DEVICES, ELEMENT, Device, measure_this_machine
from train.cost.intensity import LayerCost, NetworkCost, network_cost
from train.cost.modules import module_costs
from train.cost.settings import Settings
from train.cost.tiles import padded_operations, whole_tiles
from train.folding.arithmetic import Form
from train.models.notation import align_widths, parse
from train.models.scaling import prepend_resize, scale_network

BATCHES = tuple(2**n for n in range(13))  # images, of Figure 3: 1 to 4096
SCALINGS: dict[Scaling, str] = {"efficientnet": "EfficientNet", "reference": "EfficientNet, reference"}


@dataclass(frozen=True)
class Row:
    """A network of the report. `kind` is its form, or "scaled" for EfficientNet's scaling; its widths are multiples of
    `align`."""

    name: str
    kind: Form | Literal["scaled"]
    cost: NetworkCost
    align: int | None = None

    @property
    def groups(self) -> int:
        """Groups of every layer."""
        return self.cost.fold if self.kind == "grouped" else 1

    def padded(self, tile: int) -> NetworkCost:
        """The cost on a device that pads channels to multiples of `tile`."""
        layers = self.cost.layers
        padded = [replace(layer, operations=padded_operations(layer, tile, self.groups)) for layer in layers]
        return replace(self.cost, layers=tuple(padded))


@dataclass(frozen=True)
class Report:
    """Networks for one task; the first is the original. `tile` is in channels (§H)."""

    task: str
    networks: tuple[Row, ...]
    batch: int
    precision: str
    device: Device
    tile: int

    @property
    def element(self) -> int:
        """Bytes of a number."""
        return ELEMENT[self.precision]

    def to_dict(self) -> dict[str, Any]:
        """The report as plain dicts, lists, strings and numbers.

        Operations and bytes are for one image of the batch; only a layer's `weight_bytes` are for the whole batch.
        """
        ratio = self.device.ratio(self.precision)
        return {
            "task": self.task,
            "batch": self.batch,
            "precision": self.precision,
            "device": {"name": self.device.name, "ratio": ratio, "source": self.device.source, "tile": self.tile},
            "networks": [self._describe_network(row) for row in self.networks],
        }

    def _describe_network(self, row: Row) -> dict[str, Any]:
        network, original, element, images = row.cost, self.networks[0].cost, self.element, self.batch
        activations, weights = network.traffic(images, element)
        intensity = network.intensity(images, element)
        limit = network.intensity(inf, element)
        padded = row.padded(self.tile)
        layers = [self._describe_layer(row, layer, at) for at, layer in enumerate(network.layers)]
        below = [layer["bound_by"] == "memory" for layer in layers]
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
            "images_per_second_bound": self._images_per_second(network, images),
            "images_per_second_padded": self._images_per_second(padded, images),
            "memory_bound_share": None if self.device.ratio(self.precision) is None else sum(below) / len(layers),
            "batches": [self._describe_batch(network, count) for count in BATCHES],
            "layers": layers,
        }

    def _images_per_second(self, network: NetworkCost, images: int) -> float | None:
        """The upper bound by the roofline; None if the device has no rate for the precision."""
        if self.precision not in self.device.peak:
            return None
        peak, bandwidth = self.device.peak[self.precision], self.device.bandwidth
        return images / network.seconds(images, self.element, peak, bandwidth)

    def _describe_batch(self, network: NetworkCost, images: int) -> dict[str, Any]:
        """A point of Figure 3: intensity, and the share of the device's peak rate that the roofline allows."""
        bound = self._images_per_second(network, images)
        utilization = None if bound is None else bound * network.operations(images) / self.device.peak[self.precision]
        return {"images": images, "intensity": network.intensity(images, self.element), "utilization": utilization}

    def _describe_layer(self, row: Row, layer: LayerCost, at: int) -> dict[str, Any]:
        network, original = row.cost, self.networks[0].cost
        stacks, share, ratio = network.stacks(self.batch), network.share(self.batch), self.device.ratio(self.precision)
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
            "bound_by": None if ratio is None else "arithmetic" if intensity > ratio else "memory",
            "eq5_least_images": least,
            "eq5_holds": None if least is None else self.batch > least,
        }


def build_report(s: Settings, game: Game | None) -> Report:
    """The networks of the settings `s`, for `game` or for the network of `s`. Raises `UserError`."""
    if game is not None and s.network is None:
        name = game.name
        rows = _notation_rows(s, s.model.arch or game.arch, game.size, len(game.classes))
    elif game is None and s.network is not None and s.network.module is not None:
        name = s.network.own_name
        rows = _module_rows(s, s.network)
    elif game is None and s.network is not None and s.model.arch is not None:
        name = s.network.name
        rows = _notation_rows(s, s.model.arch, *s.network.sizes())
    elif game is not None:
        raise UserError("of which network? give game=… or network=…, not both")
    elif s.network is not None:
        raise UserError(f"network={s.network.name} has no architecture: give model.arch=…")
    else:
        raise UserError("of which network? give game=… or network=…")
    device = measure_this_machine() if s.device == "here" else DEVICES[s.device]
    precision = s.precision or ("fp16" if "fp16" in device.peak else min(device.peak))
    return Report(name, tuple(rows), s.batch, precision, device, s.tile or device.tile(precision))


def _notation_rows(s: Settings, arch: str, size: tuple[int, int], classes: int) -> Iterator[Row]:
    """Networks in the notation; with `align` also the aligned ones, where their widths are others."""
    pool, layers = s.model.pool, parse(arch, s.model.pool)
    aligned = parse(align_widths(arch, s.align, s.align_to), pool) if s.align else layers
    networks: list[tuple[int, Form]] = [(1, "dense"), *product(sorted({*s.fold} - {1}), s.forms)]
    for fold, form in networks:
        cost, aligned_cost = (
            network_cost(each, size=size, classes=classes, fold=fold, form=form) for each in (layers, aligned)
        )
        yield Row(cost.name, form, cost)
        if aligned_cost != cost:
            yield Row(f"{aligned_cost.name}, align={s.align}", form, aligned_cost, s.align)
    for scaling in s.scaling:
        scaled_arch, scaled_pool, scaled_size = scale_network(scaling, arch, pool, size)
        scaled = parse(prepend_resize(scaled_arch, scaled_size), scaled_pool)
        try:
            cost = network_cost(scaled, size=size, classes=classes, fold=1, form="dense")
        except UserError as error:
            raise UserError(f"scaling={scaling}: {error}, or scaling=[]") from None
        yield Row(SCALINGS[scaling], "scaled", cost)


def _module_rows(s: Settings, network: NetworkSettings) -> Iterator[Row]:
    """A network that the notation cannot express, and its FoldedCNNs."""
    for name, value in (("align", s.align), ("model.arch", s.model.arch)):
        if value:
            raise UserError(f"{name}={value} is for networks of the notation: leave it out for {network.name}")
    size, classes = network.sizes()
    own = network.own
    assert own is not None
    with torch.device("meta"):  # shapes only
        for fold in sorted({*s.fold, 1}):
            net = own.build(size=size, classes=classes, fold=fold)
            cost = NetworkCost(fold, "dense", module_costs(net, (3 * fold, *size)))
            yield Row(cost.name, "dense", cost)
