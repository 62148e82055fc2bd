"""A trained run that reads crops: values with their probabilities, in the fastest engine that is here.

from train import Predictor

predictor = Predictor.load("runs/sot_time_f4_default_s0_7c28cdbe")
readings = predictor(crops)  # uint8 (n, h, w, 3) in RGB, of any size: [Prediction("16", 0.998), …]
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np
import yaml

from textgen.common.array_types import F32, U8
from textgen.common.bounded_text import load_json
from textgen.common.digests import check_digest
from textgen.common.errors import UserError
from textgen.common.pictures import resize
from textgen.common.yaml_files import load_yaml
from textgen.frames.preparation import MEAN
from textgen.spec.parser import Spec
from train.common.answers import LEAST, answer_scores, log_probabilities
from train.config.advice import TRAIN_AGAIN
from train.inference.cpu.compiled import CompiledNetwork
from train.inference.network_file import NetworkFile, read_network_file, slot_parameters, weights_path
from train.models.notation import Conv

Engine = Literal["auto", "fused", "onnxruntime", "eager"]
UNSURE = "unsure"  # in place of a value whose probability is below the threshold
BATCH = 1024  # crops in one call of the engine, at most


class _Read(NamedTuple):
    value: str
    probability: float


class Prediction(_Read):
    """What a network reads in a crop: the name of a class, or "unsure", and the probability of the best class.

    Of several fields it is the text that they make up, with the probability that all are right, and `fields` has the
    class of each field with its own. It is unpacked as the pair (value, probability).
    """

    fields: Mapping[str, tuple[str, float]] = MappingProxyType({})

    def __new__(
        cls, value: str, probability: float, fields: Mapping[str, tuple[str, float]] = MappingProxyType({})
    ) -> Prediction:
        prediction = super().__new__(cls, value, probability)
        prediction.fields = dict(fields)
        return prediction

    def __reduce__(self) -> tuple[Any, ...]:
        return Prediction, (self.value, self.probability, self.fields)

    def __repr__(self) -> str:
        fields = f", fields={dict(self.fields)!r}" if self.fields else ""
        return f"Prediction(value={self.value!r}, probability={self.probability!r}{fields})"


class Predictor:
    """Reads crops with one network; threads may share it.

    `size` (H, W) and `classes` are the network's, `fold` is the number of crops in a stack. `engine` names what runs
    it, and `threshold` is the probability below which a value is "unsure". `spec` is the game's, None if the run's
    folder does not tell it, and `name` is the game's.
    """

    def __init__(
        self, file: NetworkFile, run: Path, engine: Engine, device: str, threads: int, threshold: float | None
    ):
        self.size, self.classes, self.fold, self.run = file.size, file.classes, file.fold, run
        self.fields = file.fields
        about = _read_result(run)
        fitted = about.get("unsure_below")
        self.has_fitted_threshold = isinstance(fitted, float)
        self.threshold = threshold if threshold is not None else fitted if isinstance(fitted, float) else 0.0
        self.name, self.spec = str(about.get("game", run.name)), _read_spec(run)
        self.engine, self._logits = _prepare(file, run, engine, device, threads)

    @classmethod
    def load(
        cls,
        run: str | Path,
        *,
        engine: Engine = "auto",
        device: str = "cpu",
        threads: int = 1,
        threshold: float | None = None,
        prepared: bool = False,
    ) -> Predictor:
        """Load a run's folder, or a `model.safetensors`.

        `engine` is "fused" (machine code for this processor, or one kernel on a GPU), "onnxruntime", "eager" (PyTorch)
        or "auto": the fused code, where it can run the network. `device` is "cpu", "cuda" or "cuda:1". `threshold` None
        is that of the run's validation crops (`unsure_below` in its result.json), 0 if it has none. Raises `UserError`
        for what is no run, and for an engine that is not installed or cannot run the network; and for a network of a
        task on video that takes frames without their mean, unless crops come `prepared`
        (`textgen.frames.preparation.Preparation`).
        """
        path = Path(run).expanduser()
        if not prepared and (mean := weights_path(path).parent / MEAN).exists():
            raise UserError(f"{run} takes frames without their mean, {mean}: give such a run to foldtext cascade")
        return cls(read_network_file(path), path, engine, device, threads, threshold)

    def __call__(self, crops: U8 | Iterable[U8]) -> list[Prediction]:
        """Read crops: uint8 (n, h, w, 3) in RGB, or n of (h, w, 3), which may differ in size.

        Consecutive crops share a stack. Raises `ValueError` for another type or shape.
        """
        if isinstance(crops, np.ndarray) and crops.ndim == 3:
            raise ValueError("crops are uint8 (n, h, w, 3); for one crop give crop[None]")
        scaled = [self.scale(np.asarray(crop)) for crop in crops]
        if not scaled:
            return []
        found = answer_scores(self.log_probabilities(np.stack(scaled)), self.fields)
        read = []
        columns = found.labels.tolist(), found.probability.tolist(), found.each.tolist()
        for labels, probability, each in zip(*columns, strict=True):
            name = self.name_of(labels, probability)
            if self.fields.is_single:
                read.append(Prediction(name, probability))
            else:
                pairs = zip(self.fields.values(labels), each, strict=True)
                read.append(Prediction(name, probability, dict(zip(self.fields.names, pairs, strict=True))))
        return read

    def scale(self, crop: U8) -> U8:
        """A crop, RGB uint8 (h, w, 3), in the network's size. Raises `ValueError` for another type or shape."""
        if crop.dtype != np.uint8 or crop.ndim != 3 or crop.shape[2] != 3 or not crop.size:
            raise ValueError(f"a crop is uint8 (h, w, 3), not {crop.dtype} {crop.shape}")
        return crop if crop.shape[:2] == self.size else resize(crop, self.size)

    def log_probabilities(self, crops: U8) -> F32:
        """The logarithm of every class's probability, float32 (n, classes), of crops uint8 (n, H, W, 3) of `size`.

        Those of each field's classes add up to 1.
        """
        step = max(BATCH // self.fold, 1) * self.fold  # whole stacks
        parts = [self._logits(crops[at : at + step]) for at in range(0, len(crops), step)]
        logits = np.concatenate(parts) if parts else np.empty((0, len(self.classes)), np.float32)
        return log_probabilities(logits, self.fields) if len(logits) else logits

    def name_of(self, labels: int | Sequence[int], probability: float) -> str:
        """The value of a class's number, or of those of all fields: its name, or "unsure" below the threshold."""
        return self.fields.name_of(labels) if probability >= self.threshold else UNSURE


def _prepare(
    file: NetworkFile, run: Path, engine: Engine, device: str, threads: int
) -> tuple[str, Callable[[U8], F32]]:
    """The name of the engine, and a function from crops to logits, or to logarithms of probabilities."""
    if device == "cpu" and engine in ("auto", "fused"):
        if engine == "fused" or (file.own is None and isinstance(file.layers[0], Conv)):
            slot = slot_parameters(file)
            network = CompiledNetwork(
                file.layers,
                file.weights if slot is None else slot,
                size=file.size,
                classes=len(file.classes),
                fold=file.fold if slot is None else 1,
                slot_of=1 if slot is None else file.fold,
                threads=threads,
            )
            return "fused", network
        engine = "onnxruntime" if importlib.util.find_spec("onnxruntime") else "eager"
    return _prepare_with_torch(file, run, engine, device, threads)


def _prepare_with_torch(
    file: NetworkFile, run: Path, engine: Engine, device: str, threads: int
) -> tuple[str, Callable[[U8], F32]]:
    """The engines of `train.inference.engines`, which need PyTorch, at least to write the ONNX file."""
    import torch  # noqa: PLC0415, a slow import that the fused code does without

    from train.common.machine import select_device  # noqa: PLC0415
    from train.inference import engines, network  # noqa: PLC0415

    chosen = select_device(device)
    candidates: tuple[Literal["fused", "onnxruntime", "eager"], ...] = ("fused", "eager")
    if engine != "auto":
        candidates = (engine,)
    elif file.own:  # which the kernel cannot run
        candidates = ("eager",)
    name = next((each for each in candidates if engines.reason_missing(each, chosen) is None), candidates[-1])
    if reason := engines.reason_missing(name, chosen):
        raise UserError(f"engine={name} is not available: {reason}; or give engine=auto")
    if chosen.type == "cpu":
        torch.set_num_threads(threads)
    runner = engines.Engines(chosen, threads=threads).prepare(name, "fp32", network.load(run), "dense")

    def logits(crops: U8) -> F32:
        probabilities = runner.probabilities(runner.run(runner.place(np.ascontiguousarray(crops))))
        return np.log(np.maximum(probabilities, LEAST))

    return f"{name}{f' on {chosen}' if chosen.type != 'cpu' else ''}", logits


def _folder(run: Path) -> Path:
    return weights_path(run).parent


def _read_result(run: Path) -> dict[str, Any]:
    """The run's result.json; empty where there is none, as for a single `model.safetensors`."""
    check_digest(_folder(run) / "result.json", TRAIN_AGAIN)
    with suppress(OSError, ValueError):
        found = load_json(_folder(run) / "result.json")
        return found if isinstance(found, dict) else {}
    return {}


def _read_spec(run: Path) -> Spec | None:
    """The spec of the run's game, from its config.yaml."""
    check_digest(_folder(run) / "config.yaml", TRAIN_AGAIN)
    with suppress(OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError):
        game = load_yaml(_folder(run) / "config.yaml")["game"]
        given = {key: game[key] for key in ("label", "fields", "other", "groups") if key in game}
        return Spec.parse(game["spec"], **given)
    return None
