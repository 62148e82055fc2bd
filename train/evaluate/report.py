"""The command: choose the test crops, measure, print the summary, and write a folder of results."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from textgen.common.atomic import OTHER_OUT, atomic_folder
from textgen.common.errors import UserError
from textgen.frames.preparation import MEAN
from train.common import machine
from train.evaluate.crops import (
    LabelledCrops,
    load_dataset_crops,
    load_own_crops,
    load_real_crops,
    render_fresh_crops,
)
from train.evaluate.measure import Measured, evaluate_run
from train.evaluate.settings import Settings
from train.inference.network import load
from train.metrics.evaluate import Evaluation
from train.report import page, plots
from train.report.names import visible_name
from train.report.result import measured_lines, title
from train.runs.finished_runs import load_result, load_run_definition

RECORD, PREDICTIONS, PAGE = "evaluation.json", "predictions.csv", "report.html"
FILES = {RECORD, PREDICTIONS, PAGE, "confusion.png", "mistakes.png", "orders.png"}  # of a folder `out`
MAX_NAMES_SHOWN = 20  # of absent classes


def write_evaluation(s: Settings) -> str:
    """Evaluate as the settings `s` say, write the folder `out` if there is one, and return the summary.

    Raises `UserError` for wrong settings before anything is measured; then nothing is written.
    """
    _check_settings(s)
    device = machine.select_device(s.device)
    with machine.torch_threads(s.threads), _open_folder(s.out) as folder:
        crops = choose_crops(s)
        measured = evaluate_run(s.run, crops, groupings=s.groupings, seed=s.seed, orders=s.orders, device=device)
        lines = summary(measured.record)
        if s.out is None or folder is None:
            return lines
        lines += f"\nsee {s.out / PAGE}, {RECORD} and {PREDICTIONS}"
        _write_folder(measured, crops["test"], lines, folder)
    return lines


def choose_crops(s: Settings) -> dict[str, LabelledCrops]:
    """The test crops that the settings ask for, by name, "test" first. Raises `UserError`."""
    if s.crops is not None:
        if (definition := load_run_definition(s.run)) is None:
            raise UserError(
                f"crops={s.crops}: {s.run} was trained on a folder without a game, of which no crops can be drawn: give"
                " real=… or dataset=…"
            )
        seed = definition.seed + 1 if s.data_seed is None else s.data_seed
        return {"test": render_fresh_crops(definition, s.crops, seed, s.split or "test")}
    if s.dataset is not None:
        return {"test": load_dataset_crops(s.dataset, s.split)}
    network = load(s.run)
    if s.real is not None and (s.run / MEAN).exists():
        raise UserError(f"{s.run} takes frames without their mean: real={s.real} has it; leave real= out")
    if s.real is not None:
        definition = load_run_definition(s.run)
        return {"test": load_real_crops(s.real, network, definition.game.parse_spec() if definition else None)}
    return load_own_crops(s.run, network, split=s.split, data_dir=s.data_dir, path=s.path)


def summary(record: Mapping[str, Any]) -> str:
    """The lines that are printed: the network, its figures, and the crops that it was tested on."""
    lines = measured_lines(record, f"{title(record)}, {record['method']}")
    if absent := [name for name, accuracy in record["per_class_accuracy"].items() if accuracy is None]:
        shown = ", ".join(map(visible_name, absent[:MAX_NAMES_SHOWN])) + ", …" * (len(absent) > MAX_NAMES_SHOWN)
        lines.append(
            f"mean over the {record['tested_classes']} of {record['classes']} classes that have test images:"
            f" {record['balanced_accuracy']:.2%}; without any: {shown}"
        )
    return "\n".join([*lines, f"tested on {_describe(record['test'])}"])


def format_predictions(evaluation: Evaluation, crops: LabelledCrops) -> str:
    """A row for each image, as CSV.

    Its number in the test set, its file if it has one, its true class, the class that is predicted in the first
    grouping and the probability of that, the number of groupings in which the prediction is right, and the number of
    orders that agree with the first, where they were measured.
    """
    columns: dict[str, Sequence[Any]] = {"image": range(len(crops.labels))}
    if crops.files is not None:
        columns["file"] = crops.files
    columns["true"] = [crops.fields.name_of(labels) for labels in crops.labels.tolist()]
    columns["predicted"] = [crops.fields.name_of(labels) for labels in evaluation.predictions.tolist()]
    columns["confidence"] = [f"{confidence:.4f}" for confidence in evaluation.confidence.tolist()]
    for number, name in enumerate(crops.fields.names if evaluation.fields else ()):
        of, classes = evaluation.fields[name], crops.fields.fields[number].classes
        columns[f"true {name}"] = [classes[label] for label in crops.labels[:, number].tolist()]
        columns[f"predicted {name}"] = [classes[label] for label in of.predictions.tolist()]
        columns[f"confidence {name}"] = [f"{confidence:.4f}" for confidence in of.confidence.tolist()]
    columns["groupings_right"] = evaluation.groupings_right.tolist()
    if evaluation.orders:
        columns["orders_agreeing"] = evaluation.orders_agreeing.tolist()
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue()


def _check_settings(s: Settings) -> None:
    """Raise `UserError` for everything that can be known before crops are loaded or drawn."""
    load_result(s.run)
    sources = {key: value for key in ("crops", "real", "dataset") if (value := getattr(s, key)) is not None}
    if len(sources) > 1:
        given = " and ".join(f"{key}={value}" for key, value in sources.items())
        raise UserError(f"{given} are several test sets: give one of them")
    if s.data_seed is not None and s.crops is None:
        raise UserError(f"data_seed={s.data_seed} is for fresh crops: give crops=…, their number, or leave it out")
    if s.split is not None and s.real is not None:
        raise UserError(f"split={s.split}: real={s.real} has no splits: leave split out")
    for key in ("data_dir", "path"):
        if sources and (value := getattr(s, key)) is not None:
            raise UserError(f"{key}={value} is the place of the run's own crops: leave it out, or {', '.join(sources)}")
    if s.out is None:
        if s.overwrite:
            raise UserError("overwrite=true is for out=…, the folder to replace: give that too, or leave overwrite out")
    elif s.out.is_dir() and (found := {entry.name for entry in s.out.iterdir()}):
        if found - FILES:
            raise UserError(f"out={s.out} holds other things than an evaluation: give a new or empty folder")
        if not s.overwrite:
            raise UserError(f"out={s.out} holds an evaluation: choose {OTHER_OUT}, or replace it with overwrite=true")


def _open_folder(out: Path | None) -> Any:
    return nullcontext() if out is None else atomic_folder(out, OTHER_OUT, "replace")


def _write_folder(measured: Measured, crops: LabelledCrops, lines: str, folder: Path) -> None:
    record, evaluation = measured.record, measured.evaluation
    images, labels = crops.images.numpy(), crops.labels.numpy()
    figures = plots.evaluation_figures(evaluation, images, labels, crops.fields)
    for name, picture in figures.items():
        if picture is not None:
            (folder / f"{name}.png").write_bytes(picture)
    page.write_page(
        record,
        f"{title(record)}: evaluation",
        lines,
        figures,
        folder,
        confusions=page.tabulate_confusions(evaluation, images, labels, crops.fields),
        tables=[page.TableSection("The evaluation", page.tabulate_result(record))],
    )
    (folder / PREDICTIONS).write_text(format_predictions(evaluation, crops), encoding="utf-8")
    (folder / RECORD).write_text(f"{json.dumps(record, indent=1)}\n", encoding="utf-8")


def _describe(about: Mapping[str, Any]) -> str:
    """The test set in words."""
    if about["kind"] == "fresh crops":
        return f"fresh crops of {about['game']}, data_seed={about['data_seed']}, split {about['split']}"
    if about["kind"] == "real crops":
        return f"real crops in {about['path']}"
    if about["kind"] == "data set":
        return f"split {about['split']} of data set {about['path']}"
    return f"split {about['split']} of the run's data set {about['dataset_hash'][:8]}"
