"""`python -m train.bench game=… fold=[2,4]`: crops a second of a network's forms, in engines beside each other.

docs/bench.md explains it; `train.bench.measure` does the measuring.
"""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import hydra
import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig
from pydantic import ConfigDict, Field, StrictBool, StrictInt
from pydantic import dataclasses as checked

from textgen.common import cli, hydra_app
from textgen.common.atomic import OTHER_OUT
from textgen.common.errors import UserError
from textgen.common.validation import Positive, Seed, UserPath, validate
from textgen.schema.game import Game
from train.bench import plots, table
from train.bench.measure import (
    USUAL,
    BenchmarkTask,
    Subject,
    label_accuracy,
    labels_of_pytorch,
    measure_seconds,
    pinned,
    prepare,
)
from train.common import machine
from train.config.fields import MAX_COMPUTED_FOLD, OneOrMore
from train.config.networks import Model, NetworkSettings
from train.cost.devices import measure_this_machine
from train.cost.intensity import NetworkCost, network_cost
from train.cost.modules import module_costs
from train.data.tasks import TaskData
from train.folding.arithmetic import Form, network_name
from train.folding.fold_model import fold_model
from train.folding.slots import assemble_slots
from train.inference.engines import Engine, Precision
from train.inference.network import Network, load
from train.inference.reader import available_forms
from train.models.notation import build, parse
from train.models.resnet import resnet18
from train.models.scaling import prepend_resize, scale_network
from train.runs.finished import calibration_crops, load_result, load_run_data

LARGEST = 2**20  # images of a batch, or to calibrate with


@checked.dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Settings:
    """The settings of conf/bench.yaml outside `game`."""

    model: Model
    runs: OneOrMore[UserPath]
    fold: (
        OneOrMore[Annotated[StrictInt, Field(ge=1, le=MAX_COMPUTED_FOLD)]] | None
    )  # None: 2, 3 and 4, or those of the runs
    scaled: StrictBool
    forms: OneOrMore[Form]
    engines: Annotated[OneOrMore[Engine], Field(min_length=1)]
    precisions: Annotated[OneOrMore[Precision], Field(min_length=1)] | None
    batch: Annotated[OneOrMore[Annotated[StrictInt, Field(ge=1, le=LARGEST)]], Field(min_length=1)]
    trials: Positive
    seconds: Annotated[float, Field(gt=0, le=60)]
    calibration_crops: Annotated[StrictInt, Field(ge=MAX_COMPUTED_FOLD, le=LARGEST)]
    device: str
    threads: Positive
    pin: StrictBool
    seed: Seed
    data_dir: UserPath | None
    path: UserPath | None
    format: Literal["text", "csv", "json"]
    out: UserPath | None
    overwrite: StrictBool
    plots: UserPath | None
    network: NetworkSettings | None = None


def bench(s: Settings, game: Game | None) -> dict[str, Any]:
    """Everything that `s` asks for, measured: plain dicts, lists, strings and numbers. Raises `UserError`."""
    os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")  # fp32 means float32 in all of NVIDIA's libraries
    device = machine.select_device(s.device)
    if device.type not in USUAL:
        raise UserError(f"device={s.device}: engines run on cpu and cuda")
    with machine.torch_threads(s.threads), pinned(s.threads if s.pin else None):
        name = machine.device_name(device)
        task, left_out = _task(s, game)
        prepared, notes = prepare(
            task,
            device,
            engines=s.engines,
            precisions=s.precisions,
            threads=s.threads,
            narrow="narrow" in s.forms,
        )
        notes = left_out + notes
        if not prepared:
            raise UserError(f"nothing is left to measure: {'; '.join(notes)}")
        peaks = [measure_this_machine()] if device.type == "cpu" else []
        networks = {each.subject.network for each in prepared}
        usual = {network: labels_of_pytorch(network, task) for network in networks}
        accuracies = [label_accuracy(each, task, usual[each.subject.network], s.batch[0]) for each in prepared]
        rows: list[dict[str, Any]] = []
        for batch in s.batch:
            taken = measure_seconds(prepared, task.crops, batch, trials=s.trials, seconds=s.seconds, seed=s.seed)
            for each, seconds, accurate in zip(prepared, taken, accuracies, strict=True):
                subject, images = each.subject, each.images(batch)
                rows.append(
                    {
                        "network": subject.name,
                        "fold": subject.network.fold,
                        "form": subject.form,
                        "engine": each.engine,
                        "precision": each.precision,
                        "batch": batch,
                        "images": images,
                        **_rates([images / second for second in seconds]),
                        "operations": subject.cost.operations(),
                        **accurate,
                    }
                )
        best = {batch: _best_original(rows, batch) for batch in s.batch}
        likes = {_like(row): row["images_per_second"] for row in rows if row["network"] == "original"}
        peaks += [measure_this_machine()] if peaks else []
        peak = max((device.peak["fp32"] for device in peaks), default=None)
        for row in rows:
            original = best[row["batch"]]
            row["times_original"] = row["images_per_second"] / original if original else None
            like = likes.get(_like(row))
            row["times_same_engine"] = row["images_per_second"] / like if like else None
            row["utilization"] = row["images_per_second"] * row["operations"] / peak if peak else None
    return {
        "task": task.name,
        "runs": [run.name for run in s.runs],
        "device": name,
        "threads": s.threads,
        "trials": s.trials,
        "peak_fp32": peak,
        "versions": machine.versions(),
        "commit": machine.commit(),
        "notes": notes,
        "rows": rows,
    }


def _task(s: Settings, game: Game | None) -> tuple[BenchmarkTask, list[str]]:
    """What is measured, and notes of what is not."""
    left_out = []
    if s.runs:
        if game is not None or s.network is not None or s.model.arch is not None or s.fold is not None:
            raise UserError("runs=… say what their networks are: leave out game=…, network=…, model=… and fold=…")
        name, networks, data = _of_runs(s)
        test = next(iter(data.tests.values()))
        crops = test.images.numpy()
        calibration = calibration_crops(data, s.calibration_crops, s.seed)
        labels: NDArray[np.int64] | None = test.labels.numpy()
        trained = set(networks)
        if 1 not in networks:  # the others stand beside it, and its speed does not ask for its weights
            known = next(iter(networks.values()))
            networks[1] = _random(known.arch, known.pool, known.size, len(known.classes), 1, s.seed)
            left_out.append("the original has random weights, as runs=… hold none with fold=1")
    else:
        for option, value in (("data_dir", s.data_dir), ("path", s.path)):
            if value is not None:
                raise UserError(f"{option}={value} is where the crops of runs=… are: give those too, or leave it out")
        name, size, classes, arch = _sizes(s, game)
        folds = (2, 3, 4) if s.fold is None else s.fold
        networks = {f: _random(arch, s.model.pool, size, classes, f, s.seed) for f in (1, *folds)}
        crops = np.random.default_rng(s.seed).integers(0, 256, (max(*s.batch, s.calibration_crops), *size, 3), np.uint8)
        calibration, labels, trained = crops[: s.calibration_crops], None, set()
    original = networks[1]
    subjects = [Subject("original", original, "dense", _cost(original, "dense"), 1 in trained)]
    for f in sorted(set(networks) - {1}):
        possible = available_forms(networks[f])
        if not set(possible) & set(s.forms):
            left_out.append(f"fold={f} is no network of slots, and has no form but {', '.join(possible)}")
        for form in possible:
            if form in s.forms:
                cost = _cost(networks[f], form)
                subjects.append(Subject(network_name(f, form), networks[f], form, cost, f in trained))
    if s.scaled and not original.arch:
        raise UserError(f"scaled=true is for networks of the notation: leave it out, {name} is none")
    if s.scaled:
        arch, pool, size = scale_network("efficientnet", original.arch, original.pool, original.size)
        small = _random(prepend_resize(arch, size), pool, original.size, len(original.classes), 1, s.seed)
        subjects.append(Subject("EfficientNet", small, "dense", _cost(small, "dense"), False))
    longest = max(*s.batch, *networks)
    if len(crops) < longest:
        crops = np.concatenate([crops] * -(-longest // len(crops)))
    return BenchmarkTask(name, tuple(subjects), crops, calibration, labels), left_out


def _of_runs(s: Settings) -> tuple[str, dict[int, Network], TaskData]:
    """The game of the runs, their networks by fold, and their data. Raises `UserError` for what cannot be compared."""
    results = {run: load_result(run) for run in s.runs}
    for key, what in (("game", "games"), ("dataset_hash", "data sets")):
        if len({result.get(key) for result in results.values()}) > 1:
            told = ", ".join(f"{run.name} of {result.get(key)}" for run, result in results.items())
            raise UserError(f"runs=… are of several {what}: {told}; give those of one")
    networks: dict[int, Network] = {}
    for run, result in results.items():
        network = load(run)
        if result.get("width", 1) != 1 or result.get("scaling") or result.get("align"):
            raise UserError(f"{run.name} has width, scaling or align: give runs of the game's own network")
        if network.fold in networks:
            raise UserError(f"runs=… hold two with fold={network.fold}, the second is {run.name}: give one")
        networks[network.fold] = network
    if len({(network.arch, network.pool, network.classes) for network in networks.values()}) > 1:
        raise UserError("runs=… have networks of several archs: give those of one")
    (run, result), network = next(iter(results.items())), next(iter(networks.values()))
    return result["game"], networks, load_run_data(run, network, data_dir=s.data_dir, path=s.path)


def _random(arch: str | None, pool: str, size: tuple[int, int], classes: int, f: int, seed: int) -> Network:
    """A network of slots with random weights, whose labels all forms and engines should agree on; without an `arch`
    ResNet-18, folded densely by `fold_model`."""
    torch.manual_seed(seed)
    if arch is None:
        net: torch.nn.Module = fold_model(resnet18(classes), f, (3, *size))
    else:
        net = build(parse(arch, pool), size=size, classes=classes, fold=f)
        if f > 1:
            assemble_slots(build(parse(arch, pool), size=size, classes=classes, slot_of=f), net, f)
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Network(net.requires_grad_(False).eval(), arch or "", pool, size, tuple(map(str, range(classes))), f)


def _cost(network: Network, form: Form) -> NetworkCost:
    if not network.arch:
        return NetworkCost(network.fold, form, module_costs(network.net, (3 * network.fold, *network.size)))
    return network_cost(network.layers, size=network.size, classes=len(network.classes), fold=network.fold, form=form)


def _like(row: Mapping[str, Any]) -> tuple[str, str, int]:
    """What a row has in common with that of the original which the paper's speedups (Tables 3 and 4) compare with."""
    return row["engine"], row["precision"], row["batch"]


def _rates(rates: Sequence[float]) -> dict[str, float]:
    """Crops a second: the median of the trials, and the quartiles."""
    low, median, high = statistics.quantiles(rates, n=4, method="inclusive") if len(rates) > 1 else [*rates] * 3
    return {"images_per_second": median, "quartile_low": low, "quartile_high": high}


def _best_original(rows: Sequence[Mapping[str, Any]], batch: int) -> float | None:
    """Crops a second of the original network in the engine that is fastest with floats, of whatever precision."""
    rates = [
        row["images_per_second"]
        for row in rows
        if row["batch"] == batch and row["network"] == "original" and not row["precision"].startswith("int")
    ]
    return max(rates, default=None)


def _sizes(s: Settings, game: Game | None) -> tuple[str, tuple[int, int], int, str | None]:
    """Name, size, number of classes and arch of the network; ResNet-18 has none."""
    if game is not None and s.network is None:
        return game.name, game.size, len(game.classes), s.model.arch or game.arch
    if game is None and s.network is not None:
        if s.network.module is None and s.model.arch is None:
            raise UserError(f"network {s.network.name} names no network: give model.arch=…")
        if s.network.module is not None and s.model.arch is not None:
            raise UserError(f"network {s.network.name} is one already: leave out model.arch={s.model.arch}")
        return s.network.name, s.network.size, s.network.classes, s.model.arch
    raise UserError("of which network? give runs=…, game=… or network=…, one of them")


@hydra.main(version_base="1.3", config_path="pkg://conf", config_name="bench")
@hydra_app.command
def _main(config: DictConfig) -> None:
    c = hydra_app.to_plain(config)
    for group in ("game", "network"):
        hydra_app.check_choice(group, c)
    s = validate(Settings, {key: value for key, value in c.items() if key != "game"})
    given = dict(setting.split("=", 1) for setting in hydra_app.given_settings() if setting.startswith("model"))
    if s.runs and {*given.values()} - {"null"}:
        raise UserError("runs=… say what their networks are: leave out model=…, model.arch=… and model.pool=…")
    game = validate(Game, c["game"], "game") if "game" in c else None
    with cli.open_report(s.out, s.plots, OTHER_OUT, overwrite=s.overwrite) as write:
        report = bench(s, game)
        texts = {
            "json": lambda: json.dumps(report, indent=1),
            "csv": lambda: table.format_csv(report),
            "text": lambda: table.format_text(report),
        }
        write(texts[s.format](), lambda folder: plots.draw(report, folder))


def main() -> None:
    """The console script."""
    hydra_app.run(_main, "bench")
