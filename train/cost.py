"""`python -m train.cost game=… fold=[1,4]`: what folding saves, by arithmetic alone; docs/cost.md explains it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Annotated, Any, Literal

import hydra
from omegaconf import DictConfig
from pydantic import ConfigDict, Field, StrictBool, StrictInt
from pydantic import dataclasses as checked

from textgen import cli
from textgen.atomic import write_whole
from textgen.errors import UserError
from textgen.game import Game, UserPath, validated
from textgen.main import plain
from train import cost_plots
from train.curriculum import Positive
from train.devices import DEVICES, ELEMENT, Device, here
from train.intensity import LayerCost, NetworkCost, cost_of
from train.models.notation import parse
from train.settings import Model

ELSEWHERE = "another place with out=… or plots=…"
MAX_FOLD = 64


@checked.dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Network:
    """The group `network`: a network's sizes, where there is no game. `classes` counts them."""

    name: str
    size: tuple[Positive, Positive]
    classes: Positive


@checked.dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Settings:
    """The settings of conf/cost.yaml outside `game`."""

    model: Model
    fold: tuple[Annotated[StrictInt, Field(ge=1, le=MAX_FOLD)], ...]
    slots: StrictBool
    controls: StrictBool
    batch: Positive
    precision: Literal["fp32", "fp16", "bf16", "int8"] | None  # None: fp16 where the device has a rate for it
    device: Literal["v100", "t4", "a100", "h100", "tpu_v1", "here"]
    format: Literal["text", "csv", "json"]
    out: UserPath | None
    plots: UserPath | None
    network: Network | None = None


@dataclass(frozen=True)
class Report:
    """Networks for one task beside each other; the first is the original."""

    task: str
    networks: tuple[NetworkCost, ...]
    batch: int
    precision: str
    device: Device

    @property
    def element(self) -> int:
        return ELEMENT[self.precision]

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers; operations and bytes are those of one image of the batch."""
        needed = self.device.ratio(self.precision)
        return {
            "task": self.task,
            "batch": self.batch,
            "precision": self.precision,
            "device": {"name": self.device.name, "ratio": needed, "source": self.device.source},
            "networks": [self._network(network) for network in self.networks],
        }

    def _network(self, network: NetworkCost) -> dict[str, Any]:
        original, element, images = self.networks[0], self.element, self.batch
        activations, weights = network.traffic(images, element)
        intensity = network.intensity(images, element)
        limit = network.intensity(inf, element)
        return {
            "network": network.name,
            "fold": network.fold,
            "form": network.form,
            "images": network.stacks(images) * network.stack,
            "operations": network.operations(),
            "winograd_operations": network.operations(winograd=True),
            "activation_bytes": activations / images,
            "weight_bytes": weights / images,
            "intensity": intensity,
            "intensity_ratio": intensity / original.intensity(images, element),
            "intensity_limit": limit,
            "intensity_limit_ratio": limit / original.intensity(inf, element),
            "images_per_second_bound": self._bound(network),
            "layers": [
                self._layer(network, layer, before)
                for layer, before in zip(network.layers, original.layers, strict=True)
            ],
        }

    def _bound(self, network: NetworkCost) -> float | None:
        if self.precision not in self.device.peak:
            return None
        peak, bandwidth = self.device.peak[self.precision], self.device.bandwidth
        return self.batch / network.seconds(self.batch, self.element, peak, bandwidth)

    def _layer(self, network: NetworkCost, layer: LayerCost, before: LayerCost) -> dict[str, Any]:
        stacks, needed = network.stacks(self.batch), self.device.ratio(self.precision)
        intensity = layer.intensity(stacks, self.element)
        least = before.least_images(network.fold) if network.fold > 1 and network.form == "dense" else None
        return {
            "layer": layer.name,
            "channels": list(layer.channels),
            "size": list(layer.size),
            "operations": layer.operations / network.stack,
            "activation_bytes": self.element * layer.activations / network.stack,
            "weight_bytes": self.element * layer.weights,
            "intensity": intensity,
            "intensity_limit": layer.intensity(inf, self.element),
            "bound_by": None if needed is None else "arithmetic" if intensity > needed else "memory",
            "eq5_least_images": least,
            "eq5_holds": None if least is None else self.batch > least,
        }

    def csv(self) -> str:
        """A row a layer, and one for the whole of each network."""
        rows: list[dict[str, Any]] = []
        for network in self.to_dict()["networks"]:
            whole = {key: value for key, value in network.items() if key != "layers"}
            rows += [{"network": network["network"], **_flat(layer)} for layer in network["layers"]]
            rows.append({"layer": "all", **whole})
        names = list(dict.fromkeys(key for row in rows for key in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()

    def text(self) -> str:
        """A table a network and one of all."""
        about, needed = self.to_dict(), self.device.ratio(self.precision)
        needs = (
            f"needs {needed:.0f} operations a byte"
            if needed
            else f"has no rate for {self.precision}, give precision={' or '.join(self.device.peak)}"
        )
        lines = [f"{self.task}, batch of {self.batch} images, {self.precision}; {self.device.name} {needs}"]
        for network in about["networks"]:
            folded = network["layers"][0]["eq5_least_images"] is not None
            head = ["layer", "channels", "size", "operations", "activations", "weights", "intensity", "limit"]
            head += ["bound by"] * (needed is not None) + ["Eq. 5: above"] * folded
            rows = []
            for layer in network["layers"]:
                row = [layer["layer"], "→".join(map(str, layer["channels"])), "×".join(map(str, layer["size"]))]
                row += [_short(layer[key]) for key in ("operations", "activation_bytes", "weight_bytes")]
                row += [f"{layer[key]:.1f}" for key in ("intensity", "intensity_limit")]
                row += [layer["bound_by"]] * (needed is not None)
                if folded:
                    holds = "holds" if layer["eq5_holds"] else "does not"
                    row.append(f"{layer['eq5_least_images']:.1f} images: {holds}")
                rows.append(row)
            lines += ["", network["network"], *_columns(head, rows)]
        head = [
            "an image",
            "operations",
            "Winograd",
            "activations",
            "weights",
            "intensity",
            "×original",
            "limit",
            "×original",
        ]
        head += ["images/s at most", "×original"] * (needed is not None)
        rows = []
        for network in about["networks"]:
            row = [network["network"]]
            row += [_short(network[key]) for key in ("operations", "winograd_operations")]
            row += [_short(network[key]) for key in ("activation_bytes", "weight_bytes")]
            for key in ("intensity", "intensity_limit"):
                row += [f"{network[key]:.1f}", f"{network[f'{key}_ratio']:.2f}"]
            if needed is not None:
                bound, first = network["images_per_second_bound"], about["networks"][0]["images_per_second_bound"]
                row += [_short(bound), f"{bound / first:.2f}"]
            rows.append(row)
        lines += ["", *_columns(head, rows), "", f"{'device':20}{'operations a byte that it needs (Eq. 1)'}"]
        for device in [*DEVICES.values(), *([self.device] if self.device not in DEVICES.values() else [])]:
            ratios = ", ".join(f"{precision} {device.ratio(precision):.0f}" for precision in device.peak)
            lines.append(f"{device.name:20}{ratios} ({device.source})")
        return "\n".join(lines)


def report_of(s: Settings, game: Game | None) -> Report:
    """The networks that `s` asks for, for `game` or for the network of `s`. Raises `UserError`."""
    if game is not None and s.network is None:
        name, size, classes, arch = game.name, game.size, len(game.classes), s.model.arch or game.arch
    elif game is None and s.network is not None and s.model.arch is not None:
        name, size, classes, arch = s.network.name, s.network.size, s.network.classes, s.model.arch
    elif game is not None:
        raise UserError("of which network? give game=… or network=…, not both")
    elif s.network is not None:
        raise UserError(f"network {s.network.name} names no network: give model.arch=…")
    else:
        raise UserError("of which network? give game=… or network=…")
    layers = parse(arch, s.model.pool)
    networks = [cost_of(layers, size=size, classes=classes, fold=1, form="dense")]
    for f in sorted(set(s.fold) - {1}):
        networks.append(cost_of(layers, size=size, classes=classes, fold=f, form="dense"))
        if s.slots:
            networks.append(cost_of(layers, size=size, classes=classes, fold=f, form="slots"))
        if s.controls:
            networks.append(cost_of(layers, size=size, classes=classes, fold=f, form="control"))
    device = here() if s.device == "here" else DEVICES[s.device]
    usual = "fp16" if "fp16" in device.peak else min(device.peak)
    return Report(name, tuple(networks), s.batch, s.precision or usual, device)


def _flat(layer: Mapping[str, Any]) -> dict[str, Any]:
    (c_in, c_out), (h, w) = layer["channels"], layer["size"]
    kept = {key: value for key, value in layer.items() if key not in ("channels", "size")}
    return {"layer": kept.pop("layer"), "c_in": c_in, "c_out": c_out, "height": h, "width": w, **kept}


def _short(number: float) -> str:
    """12345678 -> 12.3 M."""
    for unit, power in (("G", 9), ("M", 6), ("k", 3)):
        if number >= 10**power:
            return f"{number / 10**power:.3g} {unit}"
    return f"{number:.3g}"


def _columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Aligned, the first column to the left."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return [
        "  ".join(cell.rjust(n) if at else cell.ljust(n) for at, (cell, n) in enumerate(zip(row, widths, strict=True)))
        for row in (head, *rows)
    ]


@hydra.main(version_base="1.3", config_path="pkg://conf", config_name="cost")
@cli.task
def _main(config: DictConfig) -> None:
    c = plain(config)
    for group in ("game", "network"):
        cli.check_choice(group, c)
    s = validated(Settings, {key: value for key, value in c.items() if key != "game"})
    report = report_of(s, validated(Game, c["game"], "game") if "game" in c else None)
    texts = {"json": lambda: json.dumps(report.to_dict(), indent=1), "csv": report.csv, "text": report.text}
    text = texts[s.format]().rstrip("\n")
    if s.plots is not None:
        s.plots.mkdir(parents=True, exist_ok=True)
        write_whole(s.plots / "roofline.png", cost_plots.roofline(report.to_dict(), report.device), ELSEWHERE)
        write_whole(s.plots / "traffic.png", cost_plots.traffic(report.to_dict()), ELSEWHERE)
    if s.out is None:
        print(text, flush=True)
    else:
        write_whole(s.out, f"{text}\n".encode(), ELSEWHERE)


def main() -> None:
    """The console script."""
    cli.run(_main)


if __name__ == "__main__":
    main()
