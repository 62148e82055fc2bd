"""`python -m train.export run=…`: a trained network as one file from crops to labels; docs/export.md explains it."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import hydra
import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig
from pydantic import ConfigDict, StrictBool
from pydantic import dataclasses as checked

from textgen.common import hydra_app
from textgen.common.atomic import OTHER_OUT, atomic_file, write_atomic
from textgen.common.errors import UserError
from textgen.common.validation import Positive, Seed, UserPath, validate
from train.common import machine
from train.folding.arithmetic import Form
from train.inference.network import Network, load
from train.inference.onnx_file import OPSET, Session, require, silence_exporters, with_metadata
from train.inference.quantize import Calibration, mean_divergence, quantize_onnx, whole_batches
from train.inference.reader import available_forms, build_classifier, example_crops, export_onnx, export_program
from train.runs.finished import calibration_crops, load_result, load_run_data

ROUNDS = 7  # of timing; the fastest counts
ABOUT = "foldtext.json"  # within a .pt2
CALIBRATIONS: tuple[Calibration, ...] = ("minmax", "percentile")

Crops = NDArray[np.uint8]
Runner = Callable[[Crops], tuple[NDArray[np.int64], NDArray[np.float32]]]


@checked.dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Settings:
    """The settings of conf/deploy.yaml."""

    run: UserPath
    out: UserPath | None
    overwrite: StrictBool
    format: Literal["onnx", "torch"]
    form: Literal["auto", "dense", "grouped", "narrow"]
    batch: Positive
    threads: Positive | None
    int8: StrictBool
    calibration: Literal["auto", "minmax", "percentile"]
    calibration_crops: Positive
    seed: Seed
    data_dir: UserPath | None
    path: UserPath | None

    @property
    def file(self) -> Path:
        """What is written."""
        name = {"onnx": "model_int8.onnx" if self.int8 else "model.onnx", "torch": "model.pt2"}[self.format]
        return self.out or self.run / name


@dataclass(frozen=True)
class Measured:
    """What a file gave on crops: labels (n,), probabilities (n, classes)."""

    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32]

    def beside(self, other: Measured, truth: NDArray[np.int64]) -> dict[str, Any]:
        """Accuracy, and what is other than in `other`."""
        return {
            "accuracy": float((self.labels == truth).mean()),
            "labels_differ": int((self.labels != other.labels).sum()),
            "largest_difference": float(np.abs(self.probabilities - other.probabilities).max(initial=0)),
        }


def export(s: Settings) -> dict[str, Any]:
    """Write the file, and what was measured beside it as .json, and return that. Raises `UserError`.

    Before it is in place the file is run on all test crops, and on the first 0, 1, 2 … of them: other labels than those
    of `Network.classify` are an error. With `int8` that is asked of the file before it is quantised.
    """
    file = s.file
    _check(s, file)
    network = load(s.run)
    with machine.torch_threads(s.threads), atomic_file(file, OTHER_OUT) as write:
        data = load_run_data(s.run, network, data_dir=s.data_dir, path=s.path)
        test, truth = data.tests["test"].images.numpy(), data.tests["test"].labels.numpy()
        crops = whole_batches(calibration_crops(data, s.calibration_crops, s.seed)) if s.int8 else None
        form, content, rates = _form(s, network, test, crops)
        per = max(s.batch // network.fold, 1) * network.fold
        of_torch = _of_torch(network, test, per)
        run = _runner(s, content)
        of_file = _measured(run, test, per)
        _check_equal(of_file, of_torch)
        for n in range(2 * network.fold + 2):
            few = test[:n]
            _check_equal(_measured(run, few, per), _of_torch(network, few, per))
        about: dict[str, Any] = {
            **_facts(s, network, form),
            "dataset_hash": data.hash,
            "test_images": len(truth),
            **of_file.beside(of_torch, truth),
            "images_per_second": rates,
        }
        if crops is not None:
            integers, calibration, lost = _int8(s, content, crops, data.val.images.numpy(), per)
            run_integers = _runner(s, integers)
            about["int8"] = {
                "calibration": calibration,
                "calibration_crops": len(crops),
                "divergence": lost,
                **_measured(run_integers, test, per).beside(of_file, truth),
                "images_per_second": _rates({"floats": run, "int8": run_integers}, test[: s.batch]),
            }
            content = integers
        write(with_metadata(content, _texts(about)) if s.format == "onnx" else content)
    write_atomic(file.with_name(f"{file.name}.json"), f"{json.dumps(about, indent=1)}\n".encode(), OTHER_OUT)
    return about


def _facts(s: Settings, network: Network, form: Form) -> dict[str, Any]:
    """What a reader of the file needs to know."""
    return {
        "game": load_result(s.run)["game"],
        "classes": network.classes,
        "size": network.size,
        "fold": network.fold,
        "form": form,
        "format": s.format,
        "run": s.run.resolve().name,
        **({"opset": OPSET} if s.format == "onnx" else {}),
    }


def _texts(about: Mapping[str, Any]) -> dict[str, str]:
    """Texts as they are, all else as JSON."""
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in about.items()}


def text(about: Mapping[str, Any], file: Path) -> str:
    """The lines at the end."""
    lines = []
    if rates := about["images_per_second"]:
        told = ", ".join(f"{form} {rate:.0f}" for form, rate in rates.items())
        lines.append(f"crops a second here: {told}; {about['form']} is taken")
    lines.append(
        f"{about['game']} fold={about['fold']}, {about['form']}: test accuracy {about['accuracy']:.2%}, all"
        f" {about['test_images']} labels as PyTorch's, probabilities within {about['largest_difference']:.1e}"
    )
    if int8 := about.get("int8"):
        told = ", ".join(f"{name} {value:.5f}" for name, value in int8["divergence"].items())
        lines.append(f"divergence on validation crops: {told}; {int8['calibration']} is taken")
        rates = int8["images_per_second"]
        lines.append(
            f"int8: test accuracy {int8['accuracy']:.2%}, {int8['labels_differ']} of {about['test_images']} labels"
            f" other than before, probabilities within {int8['largest_difference']:.1e};"
            f" {rates['int8']} crops a second here, floats {rates['floats']}"
        )
    return "\n".join([*lines, f"see {file}"])


def _check(s: Settings, file: Path) -> None:
    """Whatever can be known before the data set is built."""
    if s.int8 and s.format == "torch":
        raise UserError("int8=true is for format=onnx alone: give that, or int8=false")
    if s.calibration != "auto" and not s.int8:
        raise UserError(f"calibration={s.calibration} is for int8=true: give that too, or leave calibration out")
    if s.format == "onnx":
        require("onnx", "onnxscript", "onnxruntime")
    load_result(s.run)
    if file.suffix != (ending := {"onnx": ".onnx", "torch": ".pt2"}[s.format]):
        raise UserError(f"out={file}: with format={s.format} it ends in {ending}")
    if file.exists() and not s.overwrite:
        raise UserError(f"{file} exists: choose {OTHER_OUT}, or replace it with overwrite=true")


def _form(
    s: Settings, network: Network, test: Crops, calibration: Crops | None
) -> tuple[Form, bytes, dict[str, int] | None]:
    """The form that is taken, its file, and the crops a second of each that came into question (None: only one).

    With crops for `calibration` the quantised files are timed, and the one that is given is in floats all the same.
    """
    possible = available_forms(network)
    if s.form != "auto" and s.form not in possible:
        raise UserError(f"form={s.form}: run={s.run} is fold=1, or no slots, which alone have it: give form=dense")
    wanted: tuple[Form, ...] = possible if s.form == "auto" else (s.form,)
    files = {form: _file(s, network, form) for form in wanted}
    if len(wanted) == 1:
        return wanted[0], files[wanted[0]], None
    timed = files if calibration is None else {f: quantize_onnx(c, calibration, "minmax") for f, c in files.items()}
    rates = _rates({str(form): _runner(s, content) for form, content in timed.items()}, test[: s.batch])
    form = max(wanted, key=rates.__getitem__)
    return form, files[form], rates


def _rates(runners: Mapping[str, Runner], crops: Crops) -> dict[str, int]:
    """Crops a second of each, turn by turn, so that what else the machine does meets all alike."""
    best = dict.fromkeys(runners, float("inf"))
    for number in range(ROUNDS + 1):
        for name, run in runners.items():
            begun = time.perf_counter()
            run(crops)
            if number:  # the first round is for memory and caches
                best[name] = min(best[name], time.perf_counter() - begun)
    return {name: round(len(crops) / seconds) for name, seconds in best.items()}


def _file(s: Settings, network: Network, form: Form) -> bytes:
    """The network in a form and the format of `s`."""
    if s.format == "onnx":
        return export_onnx(network, form)
    about = {ABOUT: json.dumps(_facts(s, network, form), indent=1)}
    return export_program(build_classifier(network, form), example_crops(network), about)


def _runner(s: Settings, content: bytes) -> Runner:
    if s.format == "torch":
        with silence_exporters():
            return _as_runner(torch.export.load(io.BytesIO(content)).module())
    session = Session(content, s.threads)

    def run(crops: Crops) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        labels, probabilities = session(crops)
        return labels, probabilities

    return run


def _as_runner(module: Callable[..., Any]) -> Runner:
    def run(crops: Crops) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        with torch.inference_mode():
            labels, probabilities = module(torch.from_numpy(crops))
        return labels.numpy(), probabilities.numpy()

    return run


def _measured(run: Runner, crops: Crops, per: int) -> Measured:
    """All crops, `per` at a time, whole stacks but the last."""
    outputs = [run(crops[at : at + per]) for at in range(0, max(len(crops), 1), per)]
    return Measured(np.concatenate([each for each, _ in outputs]), np.concatenate([each for _, each in outputs]))


def _of_torch(network: Network, crops: Crops, per: int) -> Measured:
    """What `Network.classify` says, and the probabilities of the dense network."""
    number = {name: label for label, name in enumerate(network.classes)}
    labels = np.array([number[name] for name in network.classify(crops)], np.int64)
    return Measured(labels, _measured(_as_runner(build_classifier(network, "dense")), crops, per).probabilities)


def _check_equal(of_file: Measured, of_torch: Measured) -> None:
    if differ := np.flatnonzero(of_file.labels != of_torch.labels).tolist():
        largest = np.abs(of_file.probabilities - of_torch.probabilities).max()
        raise UserError(
            f"{len(differ)} of {len(of_torch.labels)} test crops, the first is number {differ[0]}, have another label"
            f" than with PyTorch, probabilities differ by up to {largest:.1e}: nothing is written; try another form=…"
        )


def _int8(
    s: Settings, content: bytes, crops: Crops, validation: Crops, per: int
) -> tuple[bytes, Calibration, dict[str, float]]:
    """The quantised file, how its ranges were found, and what each way to find them loses on the validation crops."""
    before = _measured(_runner(s, content), validation, per).probabilities
    wanted = CALIBRATIONS if s.calibration == "auto" else (s.calibration,)
    files = {calibration: quantize_onnx(content, crops, calibration) for calibration in wanted}
    lost: dict[str, float] = {
        calibration: mean_divergence(before, _measured(_runner(s, file), validation, per).probabilities)
        for calibration, file in files.items()
    }
    taken = min(wanted, key=lost.__getitem__)
    return files[taken], taken, lost


@hydra.main(version_base="1.3", config_path="pkg://conf", config_name="deploy")
@hydra_app.command
def _main(config: DictConfig) -> None:
    s = validate(Settings, hydra_app.to_plain(config))
    print(text(export(s), s.file), flush=True)


def main() -> None:
    """The console script."""
    hydra_app.run(_main, "deploy")
