"""Export a trained network as one file from crops to labels, check it against PyTorch, and measure it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textgen.common.atomic import OTHER_OUT, atomic_file, write_atomic
from textgen.common.errors import UserError
from textgen.frames.preparation import MEAN
from train.common import machine
from train.export.runners import (
    Runner,
    check_same_labels,
    load_runner,
    measure_rates,
    predict,
    predict_with_pytorch,
)
from train.export.settings import Settings
from train.folding.arithmetic import Form
from train.inference.classifier import available_forms, build_classifier, example_crops, export_onnx, export_program
from train.inference.network import CropArray, Network, load, weights_path
from train.inference.onnx_file import OPSET, require, with_metadata, with_opset
from train.inference.quantize import Calibration, mean_divergence, quantize_onnx, whole_batches
from train.runs.finished_runs import calibration_crops, load_result, load_run_data

METADATA_FILE = "foldtext.json"  # within a .pt2
CALIBRATIONS: tuple[Calibration, ...] = ("minmax", "percentile")


@dataclass(frozen=True)
class _Choice:
    """The form to export, its file in floats, and the crops a second of every form (None: there is only one).

    `floats_form` is the fastest form in floats, and `floats` its file.
    """

    form: Form
    content: bytes
    rates: dict[str, int] | None
    floats_form: Form
    floats: bytes


def export(s: Settings) -> dict[str, Any]:
    """Write the file and, as .json beside it, the measurements; return these. Raises `UserError`.

    Before the file is written, it runs on all test crops and on the first 0, 1, 2 … of them: labels that differ from
    those of `Network.classify` are an error. With `int8` this holds for the file before it is quantised.
    """
    file = s.file
    _check_settings(s)
    network = load(s.run)
    if (mean := weights_path(s.run).parent / MEAN).exists():
        print(f"note: this network takes frames without their mean, {mean}: subtract it and add 128", file=sys.stderr)
    with machine.torch_threads(s.threads), atomic_file(file, OTHER_OUT) as write:
        data = load_run_data(s.run, network, data_dir=s.data_dir, path=s.path)
        test, truth = data.tests["test"].images.numpy(), data.tests["test"].labels.numpy()
        calibration = whole_batches(calibration_crops(data, s.calibration_crops, s.seed)) if s.int8 else None
        choice = _choose_form(s, network, test, calibration)
        content = choice.content
        batch = max(s.batch // network.fold, 1) * network.fold
        pytorch = predict_with_pytorch(network, test, batch)
        run = _load_runner(s, content)
        exported = predict(run, test, batch)
        check_same_labels(exported, pytorch)
        for n in range(2 * network.fold + 2):
            check_same_labels(predict(run, test[:n], batch), predict_with_pytorch(network, test[:n], batch))
        report: dict[str, Any] = {
            **_describe(s, network, choice.form),
            "dataset_hash": data.hash,
            "test_images": len(truth),
            **exported.compare(pytorch, truth),
            "images_per_second": choice.rates,
        }
        if calibration is not None:
            quantized, method, divergences = _quantize(s, content, calibration, data.val.images.numpy(), batch)
            run_int8 = _load_runner(s, quantized)
            timed = {"floats": _load_runner(s, choice.floats), "int8": run_int8}
            report["int8"] = {
                "calibration": method,
                "calibration_crops": len(calibration),
                "divergence": divergences,
                **predict(run_int8, test, batch).compare(exported, truth),
                "floats_form": choice.floats_form,
                "images_per_second": measure_rates(timed, test[: s.batch]),
            }
            content = quantized
        if s.format == "onnx":
            metadata = _format_metadata(report)
            content, floats = with_metadata(content, metadata), with_metadata(choice.floats, metadata)
            report["bytes"] = {"floats": len(floats), "int8": len(content)} if s.int8 else {"floats": len(content)}
        write(content)
    write_atomic(file.with_name(f"{file.name}.json"), f"{json.dumps(report, indent=1)}\n".encode(), OTHER_OUT)
    return report


def _check_settings(s: Settings) -> None:
    """Raise `UserError` for everything that can be known before the data set is loaded or built."""
    if s.opset != OPSET and s.format == "torch":
        raise UserError(f"opset={s.opset} is for format=onnx: give that, or leave opset out")
    if s.int8 and s.format == "torch":
        raise UserError("int8=true is only for format=onnx: give that, or int8=false")
    if s.calibration != "auto" and not s.int8:
        raise UserError(f"calibration={s.calibration} is for int8=true: give that too, or leave calibration out")
    if s.format == "onnx":
        require("onnx", "onnxscript", "onnxruntime")
    load_result(s.run)
    if s.file.suffix != (suffix := {"onnx": ".onnx", "torch": ".pt2"}[s.format]):
        raise UserError(f"out={s.file}: with format={s.format} its name ends in {suffix}")
    if s.file.exists() and not s.overwrite:
        raise UserError(f"{s.file} exists: choose {OTHER_OUT}, or replace it with overwrite=true")


def _choose_form(s: Settings, network: Network, test: CropArray, calibration: CropArray | None) -> _Choice:
    """Time the possible forms. With `calibration` crops the quantised files decide, beside all forms in floats."""
    possible = available_forms(network)
    if s.form != "auto" and s.form not in possible:
        raise UserError(f"form={s.form} needs slots and fold=2 or more, and run={s.run} has not: give form=dense")
    forms: tuple[Form, ...] = possible if s.form == "auto" else (s.form,)
    files = {form: _export_form(s, network, form) for form in (forms if calibration is None else possible)}
    timed: dict[str, bytes] = {str(form): file for form, file in files.items()}
    if calibration is not None:
        timed |= {f"{form} int8": quantize_onnx(files[form], calibration, "minmax") for form in forms}
    if len(timed) == 1:
        return _Choice(forms[0], files[forms[0]], None, forms[0], files[forms[0]])
    rates = measure_rates({name: _load_runner(s, file) for name, file in timed.items()}, test[: s.batch])
    fastest = max(forms, key=lambda form: rates[form if calibration is None else f"{form} int8"])
    floats = max(files, key=rates.__getitem__)
    return _Choice(fastest, files[fastest], rates, floats, files[floats])


def _export_form(s: Settings, network: Network, form: Form) -> bytes:
    if s.format == "onnx":
        return with_opset(export_onnx(network, form), s.opset)
    files = {METADATA_FILE: json.dumps(_describe(s, network, form), indent=1)}
    return export_program(build_classifier(network, form), example_crops(network), files)


def _load_runner(s: Settings, content: bytes) -> Runner:
    return load_runner(content, s.format, s.threads)


def _quantize(
    s: Settings, content: bytes, calibration: CropArray, validation: CropArray, batch: int
) -> tuple[bytes, Calibration, dict[str, float]]:
    """The quantised file, its calibration method, and the mean divergence on the validation crops of each method."""
    reference = predict(_load_runner(s, content), validation, batch).probabilities
    methods = CALIBRATIONS if s.calibration == "auto" else (s.calibration,)
    files = {method: quantize_onnx(content, calibration, method) for method in methods}
    divergences: dict[str, float] = {
        method: mean_divergence(reference, predict(_load_runner(s, file), validation, batch).probabilities)
        for method, file in files.items()
    }
    best = min(methods, key=divergences.__getitem__)
    return files[best], best, divergences


def _describe(s: Settings, network: Network, form: Form) -> dict[str, Any]:
    """What a program that reads the file needs to know."""
    return {
        "game": load_result(s.run)["game"],
        "classes": network.classes,
        **({} if network.fields.is_plain else {"label": network.fields.describe()}),
        "size": network.size,
        "fold": network.fold,
        "form": form,
        "format": s.format,
        "run": s.run.resolve().name,
        **({"opset": s.opset} if s.format == "onnx" else {}),
    }


def _format_metadata(report: Mapping[str, Any]) -> dict[str, str]:
    """Texts as they are, everything else as JSON."""
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in report.items()}


def format_summary(report: Mapping[str, Any], file: Path) -> str:
    """The lines that the command prints at its end."""
    lines = []
    if rates := report["images_per_second"]:
        listed = ", ".join(f"{form} {rate:.0f}" for form, rate in rates.items())
        lines.append(f"crops a second here: {listed}; {report['form']} is taken")
    lines.append(
        f"{report['game']} fold={report['fold']}, {report['form']}: test accuracy {report['accuracy']:.2%}, all"
        f" {report['test_images']} labels as PyTorch's, probabilities within {report['largest_difference']:.1e}"
    )
    if int8 := report.get("int8"):
        listed = ", ".join(f"{name} {value:.5f}" for name, value in int8["divergence"].items())
        lines.append(f"divergence on validation crops: {listed}; {int8['calibration']} is taken")
        lines.append(
            f"int8: test accuracy {int8['accuracy']:.2%}, {int8['labels_differ']} of {report['test_images']} labels"
            f" other than before, probabilities within {int8['largest_difference']:.1e}"
        )
        rates, size = int8["images_per_second"], report["bytes"]
        lines.append(
            f"int8, {report['form']}: {size['int8']} bytes, {rates['int8']} crops a second here; floats in their"
            f" fastest form, {int8['floats_form']}: {size['floats']} bytes, {rates['floats']} crops a second"
        )
    return "\n".join([*lines, f"see {file}"])
