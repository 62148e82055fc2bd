"""What `train.bench` measures: the networks of runs on their test set, or random networks on random crops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from textgen.common.errors import UserError
from textgen.schema.game import Game
from train.bench.settings import Settings
from train.cost.intensity import NetworkCost, network_cost
from train.cost.modules import module_costs
from train.data.tasks import TaskData
from train.folding.arithmetic import Form, network_name
from train.folding.own_module import OwnModule
from train.folding.slots import assemble_slots
from train.inference.classifier import available_forms
from train.inference.network import CropArray, Network, load
from train.models.notation import build, parse
from train.models.scaling import prepend_resize, scale_network
from train.runs.finished_runs import calibration_crops, load_result, load_run_data

MAX_COMPARED = 1024  # random crops whose labels are compared
DEFAULT_FOLDS = (2, 3, 4)


@dataclass(frozen=True)
class Subject:
    """A network in one form; `cost` counts its operations. The accuracy of one that is not `trained` means nothing."""

    name: str
    network: Network
    form: Form
    cost: NetworkCost
    trained: bool


@dataclass(frozen=True)
class BenchmarkTask:
    """Networks to measure, and crops uint8 (n, H, W, 3) for timing and calibration.

    `labels`, of runs, are those of the test set, with which `crops` begin.
    """

    name: str
    subjects: tuple[Subject, ...]
    crops: CropArray
    calibration: CropArray
    labels: NDArray[np.int64] | None

    @property
    def compared(self) -> CropArray:
        """The crops whose labels are compared: the test set, or some of the random crops."""
        return self.crops[:MAX_COMPARED] if self.labels is None else self.crops[: len(self.labels)]


class _Source(NamedTuple):
    """Networks by fold, their crops, and notes on what is left out."""

    name: str
    networks: dict[int, Network]
    trained: set[int]  # folds
    crops: CropArray
    calibration: CropArray
    labels: NDArray[np.int64] | None
    notes: list[str]


def build_task(s: Settings, game: Game | None) -> tuple[BenchmarkTask, list[str]]:
    """The task of the settings `s`, and notes on what is left out. Raises `UserError`."""
    source = _load_trained(s, game) if s.runs else _build_random(s, game)
    original, notes = source.networks[1], [*source.notes]
    subjects = [Subject("original", original, "dense", _compute_cost(original, "dense"), 1 in source.trained)]
    for f, network in sorted(source.networks.items()):
        if f == 1:
            continue
        possible = available_forms(network)
        if not set(possible) & set(s.forms):
            notes.append(f"fold={f}: its weights are no slots, and its only form is {', '.join(possible)}")
        for form in possible:
            if form in s.forms:
                cost = _compute_cost(network, form)
                subjects.append(Subject(network_name(f, form), network, form, cost, f in source.trained))
    if s.scaled:
        subjects.append(_scale_original(original, s.seed, source.name))
    crops, longest = source.crops, max(*s.batch, *source.networks)
    if len(crops) < longest:
        crops = np.concatenate([crops] * -(-longest // len(crops)))
    return BenchmarkTask(source.name, tuple(subjects), crops, source.calibration, source.labels), notes


def _load_trained(s: Settings, game: Game | None) -> _Source:
    """The networks of `runs`, with random weights for fold=1 if no run has it."""
    if game is not None or s.network is not None or s.model.arch is not None or s.fold is not None:
        raise UserError("runs=… determine the networks: leave out game=…, network=…, model=… and fold=…")
    name, networks, data = _load_runs(s)
    trained, notes = set(networks), []
    if 1 not in networks:  # its speed, the baseline, does not depend on its weights
        folded = next(iter(networks.values()))
        kind = folded.own or folded.arch
        networks[1] = _random_network(kind, folded.pool, folded.size, len(folded.classes), 1, s.seed)
        notes.append("the original has random weights, as runs=… hold none with fold=1")
    test = next(iter(data.tests.values()))
    calibration = calibration_crops(data, s.calibration_crops, s.seed)
    return _Source(name, networks, trained, test.images.numpy(), calibration, test.labels.numpy(), notes)


def _load_runs(s: Settings) -> tuple[str, dict[int, Network], TaskData]:
    """The game of the runs, their networks by fold, and their data. Raises `UserError` for runs that do not compare."""
    results = {run: load_result(run) for run in s.runs}
    for key, kind in (("game", "games"), ("dataset_hash", "data sets")):
        if len({result.get(key) for result in results.values()}) > 1:
            listed = ", ".join(f"{run.name} of {result.get(key)}" for run, result in results.items())
            raise UserError(f"runs=… are of several {kind}: {listed}; give runs of one")
    networks: dict[int, Network] = {}
    for run, result in results.items():
        network = load(run)
        if result.get("width", 1) != 1 or result.get("scaling") or result.get("align"):
            raise UserError(f"{run.name} has width, scaling or align: give runs of the game's own network")
        if network.fold in networks:
            raise UserError(f"two of runs=… have fold={network.fold}, the second is {run.name}: give one of them")
        networks[network.fold] = network
    if len({(network.arch, network.pool, str(network.own), network.classes) for network in networks.values()}) > 1:
        raise UserError("runs=… have networks of several archs: give runs of one")
    (run, result), network = next(iter(results.items())), next(iter(networks.values()))
    return result["game"], networks, load_run_data(run, network, data_dir=s.data_dir, path=s.path)


def _build_random(s: Settings, game: Game | None) -> _Source:
    """Networks with random weights, and random crops."""
    for option, value in (("data_dir", s.data_dir), ("path", s.path)):
        if value is not None:
            raise UserError(f"{option}={value} is the place of the crops of runs=…: give runs=… too, or leave it out")
    name, size, classes, arch = _network_sizes(s, game)
    folds = (1, *(DEFAULT_FOLDS if s.fold is None else s.fold))
    networks = {f: _random_network(arch, s.model.pool, size, classes, f, s.seed, slots=s.slots) for f in folds}
    crops = np.random.default_rng(s.seed).integers(0, 256, (max(*s.batch, s.calibration_crops), *size, 3), np.uint8)
    return _Source(name, networks, set(), crops, crops[: s.calibration_crops], None, [])


def _network_sizes(s: Settings, game: Game | None) -> tuple[str, tuple[int, int], int, str | OwnModule]:
    """Name, size of the images, number of classes and arch, or module, of the network to measure."""
    if game is not None and s.network is None:
        return game.name, game.size, len(game.classes), s.model.arch or game.arch
    if game is None and s.network is not None:
        if s.network.module is None and s.model.arch is None:
            raise UserError(f"network={s.network.name} has no architecture: give model.arch=…")
        if s.network.module is not None and s.model.arch is not None:
            raise UserError(f"network={s.network.name} has its own architecture: leave out model.arch={s.model.arch}")
        kind = s.network.own or s.model.arch
        assert kind is not None
        return s.network.own_name, *s.network.sizes(), kind
    raise UserError("of which network? give runs=…, game=… or network=…, one of them")


def _random_network(
    kind: str | OwnModule, pool: str, size: tuple[int, int], classes: int, f: int, seed: int, *, slots: bool = True
) -> Network:
    """A network with random weights, of slots or free; `kind` is its arch, or a module, which is folded, free."""
    torch.manual_seed(seed)
    own, arch = (kind, "") if isinstance(kind, OwnModule) else (None, kind)
    if own:
        net: torch.nn.Module = own.build(size=size, classes=classes, fold=f)
    else:
        net = build(parse(arch, pool), size=size, classes=classes, fold=f)
        if f > 1 and slots:
            assemble_slots(build(parse(arch, pool), size=size, classes=classes, slot_of=f), net, f)
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Network(net.requires_grad_(False).eval(), arch, pool, size, tuple(map(str, range(classes))), f, own)


def _scale_original(original: Network, seed: int, task: str) -> Subject:
    """EfficientNet's compound scaling of the original, with random weights."""
    if not original.arch:
        raise UserError(f"scaled=true is for networks of the notation: leave it out for {task}")
    arch, pool, size = scale_network("efficientnet", original.arch, original.pool, original.size)
    scaled = _random_network(prepend_resize(arch, size), pool, original.size, len(original.classes), 1, seed)
    return Subject("EfficientNet", scaled, "dense", _compute_cost(scaled, "dense"), False)


def _compute_cost(network: Network, form: Form) -> NetworkCost:
    if not network.arch:
        return NetworkCost(network.fold, form, module_costs(network.net, (3 * network.fold, *network.size)))
    return network_cost(network.layers, size=network.size, classes=len(network.classes), fold=network.fold, form=form)
