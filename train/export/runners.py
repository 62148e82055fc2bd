"""Run exported files and PyTorch on crops: predictions, their comparison, and speed."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from textgen.common.errors import UserError
from train.common.answers import same
from train.data.sources import as_tensor
from train.inference.classifier import build_classifier
from train.inference.network import CropArray, Network
from train.inference.onnx_file import Session, silence_exporters

ROUNDS = 7  # of timing; the fastest counts
Runner = Callable[[CropArray], tuple[NDArray[np.int64], NDArray[np.float32]]]  # labels and probabilities


@dataclass(frozen=True)
class Predictions:
    """Labels (n,), or (n, m) of m fields, and probabilities (n, classes)."""

    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32]

    def compare(self, reference: Predictions, truth: NDArray[np.int64]) -> dict[str, Any]:
        """Accuracy for the labels `truth`, and the differences from `reference`."""
        return {
            "accuracy": float(same(self.labels, truth).mean()),
            "labels_differ": int((~same(self.labels, reference.labels)).sum()),
            "largest_difference": float(np.abs(self.probabilities - reference.probabilities).max(initial=0)),
        }


def load_runner(content: bytes, file_format: Literal["onnx", "torch"], threads: int | None) -> Runner:
    """A function that runs an exported file, on the CPU."""
    if file_format == "torch":
        with silence_exporters():
            return _module_runner(torch.export.load(io.BytesIO(content)).module())
    session = Session(content, threads)

    def run(crops: CropArray) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        labels, probabilities = session(crops)
        return labels, probabilities

    return run


def _module_runner(module: Callable[..., Any]) -> Runner:
    def run(crops: CropArray) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        with torch.inference_mode():
            labels, probabilities = module(as_tensor(crops))
        return labels.numpy(), probabilities.numpy()

    return run


def predict(run: Runner, crops: CropArray, batch: int) -> Predictions:
    """Predictions for all crops, `batch` at a time."""
    outputs = [run(crops[at : at + batch]) for at in range(0, max(len(crops), 1), batch)]
    labels, probabilities = zip(*outputs, strict=True)
    return Predictions(np.concatenate(labels), np.concatenate(probabilities))


def predict_with_pytorch(network: Network, crops: CropArray, batch: int) -> Predictions:
    """The labels of `Network.classify`, and the probabilities of the dense network."""
    labels = network.find_labels(crops)
    dense = predict(_module_runner(build_classifier(network, "dense")), crops, batch)
    return Predictions(labels, dense.probabilities)


def check_same_labels(exported: Predictions, pytorch: Predictions) -> None:
    """Raise `UserError` unless an exported file predicts the labels of PyTorch."""
    if different := np.flatnonzero(~same(exported.labels, pytorch.labels)).tolist():
        largest = np.abs(exported.probabilities - pytorch.probabilities).max()
        raise UserError(
            f"{len(different)} of {len(pytorch.labels)} test crops, the first is number {different[0]}, have another"
            f" label than with PyTorch, probabilities differ by up to {largest:.1e}: nothing is written; try another"
            " form=…"
        )


def measure_rates(runners: Mapping[str, Runner], crops: CropArray) -> dict[str, int]:
    """Crops a second of each runner, in turns, so that other load on the machine affects all of them alike."""
    fastest = dict.fromkeys(runners, float("inf"))
    for number in range(ROUNDS + 1):
        for name, run in runners.items():
            started = time.perf_counter()
            run(crops)
            if number:  # the first round warms up memory and caches
                fastest[name] = min(fastest[name], time.perf_counter() - started)
    return {name: round(len(crops) / seconds) for name, seconds in fastest.items()}
