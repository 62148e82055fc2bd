"""Measure the network of a finished run on test crops."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from textgen.assets.catalogue import sha256
from textgen.common.errors import UserError
from textgen.dataset.text_files import to_nfc
from train.common import machine
from train.evaluate.crops import LabelledCrops
from train.inference.network import Network, load, weights_path
from train.metrics.evaluate import Evaluation, evaluate
from train.report.result import evaluation_result, method
from train.runs.finished_runs import load_result
from train.runs.identity import digest_tensors

NEEDED = ("slots", "seed", "accuracy_groupings")  # of result.json


@dataclass(frozen=True)
class Measured:
    """`record` is the content of evaluation.json; `evaluation` is that on the test set "test"."""

    record: dict[str, Any]
    evaluation: Evaluation


def evaluate_run(
    run: Path,
    crops: Mapping[str, LabelledCrops],
    *,
    groupings: int | None = None,
    seed: int | None = None,
    orders: bool = True,
    device: torch.device | None = None,
) -> Measured:
    """Evaluate the network of a finished `run` on `crops` by name: in full on "test", and the accuracy on others.

    `groupings` and their `seed` are the run's unless given, so that the run's own crops give the figures of its
    result.json; `orders` says whether to measure the order agreement of f > 1; `device` is the CPU unless given. Raises
    `UserError` for a folder that holds no finished run, and for crops of other classes or another size.

    For several runs on the same fresh crops, render these once:

        crops = {"test": render_fresh_crops(definition, 33_000, seed=1)}
        right = {run: evaluate_run(run, crops).evaluation.groupings_right for run in runs}
    """
    result, network, device = load_result(run), load(run), device or torch.device("cpu")
    if missing := [key for key in NEEDED if key not in result]:
        raise UserError(f"{run / 'result.json'} is of another version, it lacks {', '.join(missing)}: train again")
    for of in crops.values():
        _check_fits(network, of, run)
    groupings = len(result["accuracy_groupings"]) if groupings is None else groupings
    seed = result["seed"] if seed is None else seed
    net, fields = network.net.to(device), network.fields
    evaluations = {
        name: evaluate(
            net,
            network.fold,
            of.to(device),
            fields=fields,
            groupings=groupings,
            seed=seed,
            orders=orders and name == "test",
        )
        for name, of in crops.items()
    }
    test = evaluations["test"]
    tested = [accuracy for accuracy in test.per_class_accuracy if accuracy is not None]
    record = {
        "run": str(run),
        **{key: result.get(key) for key in ("game", "recipe")},
        "method": method(result),
        "slots": result["slots"],
        "fold": network.fold,
        "width": result.get("width", 1),
        **{key: result.get(key) for key in ("scaling", "align")},
        "arch": network.arch,
        "network_sha256": sha256(weights_path(run)),
        "test": {**crops["test"].about, "xxh3": digest_tensors(crops["test"].images, crops["test"].labels)},
        "seed": seed,
        "groupings": len(test.accuracy_groupings),
        "classes": len(fields.classes),
        "tested_classes": len(tested),
        "balanced_accuracy": statistics.mean(tested),
        **evaluation_result(evaluations, fields),
        "versions": machine.versions(),
        "commit": machine.commit(),
        "device": machine.device_name(device),
    }
    return Measured(record, test)


def _check_fits(network: Network, crops: LabelledCrops, run: Path) -> None:
    """Raise `UserError` for crops of another size or other classes."""
    size = tuple(crops.images.shape[1:3])
    given, needed = [*map(to_nfc, crops.classes)], [*map(to_nfc, network.classes)]
    if (size, given) == (network.size, needed):
        return
    has = f"{size[0]}×{size[1]} pixels and {len(given)} classes"
    needs = f"{network.size[0]}×{network.size[1]} and its {len(needed)} classes"
    if len(given) == len(needed):
        other = next((pair for pair in zip(given, needed, strict=True) if pair[0] != pair[1]), None)
        needs += f" ({other[1]!r} where they have {other[0]!r})" if other else ""
    raise UserError(f"the crops of {crops.about.get('path', crops.about['kind'])} have {has}; {run} needs {needs}")
