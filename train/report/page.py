"""report.html of a run: its results, figures and settings in one self-contained file."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from textgen.common.atomic import write_atomic
from textgen.common.html_templates import Table, load_template
from textgen.spec.label_fields import LabelFields
from train.config.advice import OTHER_RUNS_FOLDER
from train.config.recipe import Recipe
from train.metrics.evaluate import Evaluation
from train.report.confusions import frequent_confusions
from train.report.names import visible_name
from train.report.result import format_value, summary, title

PICTURES = {
    "real_mistakes": "Mistakes on real crops with the highest confidence",
    "curves": "Loss and accuracy by epoch",
    "confusion": "Confusion matrix",
    "orders": "Order agreement",
    "mistakes": "Mistakes with the highest confidence",
}
SHOWN_ELSEWHERE = ("per_class_accuracy", "accuracy_groupings", "tests", "slots", "batch", "epochs", "distill")
HARDEST, LAST_EPOCHS = 20, 50  # rows of the tables of classes and of epochs
CONFUSIONS, CROPS = 20, 5  # rows of the table of confusions, and crops in a row
CROP_WIDTH = 280  # pixels on the screen, of a crop in that table at most


class ConfusionRow(NamedTuple):
    """A row of the table of confusions; `crops` are PNG files in base64, to be shown `crop_width` pixels wide."""

    true: str
    predicted: str
    share: str
    crops: list[str]
    crop_width: int


class TableSection(NamedTuple):
    """A heading, and below it a note, if there is one, and a table; `style` is a class of the page's style sheet."""

    caption: str
    table: Table
    style: str = "values"
    note: str = ""


class Section(NamedTuple):
    """A heading, and below it a picture, a PNG file in base64, or a sentence that says why there is none."""

    caption: str
    picture: str | None
    instead: str


def write_report(
    result: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    pictures: Mapping[str, bytes | None],
    folder: Path,
    *,
    recipe: Recipe,
    confusions: Sequence[ConfusionRow] = (),
) -> None:
    """Write report.html of a run to `folder`.

    `pictures` are PNG files by the names of `PICTURES`, None where there is nothing to see. `recipe` is as fitted to
    the run, `result["settings"]` has it as it was given.
    """
    fitted = "A recipe is fitted to game and fold: this run used the values of the second column."
    tables = [
        TableSection("Epochs", _tabulate_epochs(history, result["epochs_to_best"]), "epochs"),
        TableSection("The run", tabulate_result(result)),
        TableSection("The recipe", _tabulate_recipe(recipe, result["settings"]), note=fitted),
    ]
    write_page(result, title(result), summary(result, folder), pictures, folder, confusions=confusions, tables=tables)


def write_page(
    result: Mapping[str, Any],
    heading: str,
    lines: str,
    pictures: Mapping[str, bytes | None],
    folder: Path,
    *,
    confusions: Sequence[ConfusionRow],
    tables: Sequence[TableSection],
) -> None:
    """Write report.html to `folder`: the heading, the printed lines, figures, confusions, hardest classes, `tables`.

    `result` has the keys of `train.report.result.evaluation_result`, and `fold` and `slots`.
    """
    page = load_template("train.report", "page.html").render(
        title=heading,
        summary=lines,
        sections=list(_sections(result, pictures)),
        confusions=confusions,
        groupings=len(result["accuracy_groupings"]),
        hardest_classes=_tabulate_hardest_classes(result["per_class_accuracy"]),
        tables=tables,
    )
    write_atomic(folder / "report.html", page.encode("utf-8", "xmlcharrefreplace"), OTHER_RUNS_FOLDER)


def tabulate_confusions(
    evaluation: Evaluation, images: np.ndarray, labels: np.ndarray, fields: LabelFields
) -> list[ConfusionRow]:
    """The most frequent confusions with crops, for test images uint8 (n, H, W, 3) and their labels (n,), or (n, m)."""
    return [
        ConfusionRow(
            visible_name(fields.classes[found.true]),
            visible_name(fields.classes[found.predicted]),
            f"{found.share:.1%}",
            [_encode_crop(images[n]) for n in found.crops],
            min(3 * images.shape[2], CROP_WIDTH),
        )
        for found in frequent_confusions(evaluation, labels, fields, CONFUSIONS, CROPS)
    ]


def _encode_crop(image: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def _sections(result: Mapping[str, Any], pictures: Mapping[str, bytes | None]) -> Iterator[Section]:
    none = "None: all test images are classified correctly."
    instead = {"real_mistakes": "None: all real crops are classified correctly."} if "real" in result["tests"] else {}
    instead |= {"confusion": none, "mistakes": none if result["accuracy"] == 1 else "None in the first grouping."}
    if result.get("orders"):
        why = ", by construction: each slot is a network of its own" if result["slots"] else ""
        instead["orders"] = f"All {result['orders']} orders of every stack give the same predictions{why}."
    for name, caption in PICTURES.items():
        if picture := pictures.get(name):
            yield Section(caption, base64.b64encode(picture).decode(), "")
        elif name in instead:
            yield Section(caption, None, instead[name])


def _tabulate_hardest_classes(accuracies: Mapping[str, float | None]) -> Table:
    """The classes with the lowest test accuracy, without those at 100 % and those without test images."""
    missed = [(label, accuracy) for label, accuracy in accuracies.items() if accuracy is not None and accuracy != 1]
    missed.sort(key=lambda pair: pair[1])
    rows = [[visible_name(label), f"{accuracy:.1%}"] for label, accuracy in missed[:HARDEST]]
    return Table(["class", "accuracy"], rows, [1])


def _tabulate_epochs(history: Sequence[Mapping[str, Any]], best: int) -> Table:
    """The last epochs, and every epoch that was the best so far."""
    head = ["epoch", "classes", "train loss", "train accuracy", "val loss", "val accuracy", "images/s", "best"]
    shown = [line for number, line in enumerate(history) if line["best"] or number >= len(history) - LAST_EPOCHS]
    rows = [
        [
            str(line["epoch"]),
            str(line["classes"]),
            f"{line['train_loss']:.4f}",
            f"{line['train_accuracy']:.2%}",
            f"{line['val_loss']:.4f}",
            f"{line['val_accuracy']:.2%}",
            f"{line['images_per_second']:.0f}",
            "kept" if line["epoch"] == best else "best so far" if line["best"] else "",
        ]
        for line in shown
    ]
    return Table(head, rows, range(7))


def tabulate_result(result: Mapping[str, Any]) -> Table:
    """Every other value of result.json but the recipe's settings, which have a table of their own."""
    rows = [[key, format_value(value)] for key, value in _flatten(result) if value not in (None, [])]
    return Table(["", "value"], rows)


def _flatten(result: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Pairs of key and value; keys in mappings as `outer.inner`, but settings by their names on the command line."""
    for key, value in result.items():
        if key in SHOWN_ELSEWHERE:
            continue
        if isinstance(value, Mapping):
            inner = ((name if key == "settings" else f"{key}.{name}", item) for name, item in value.items())
            yield from ((name, item) for name, item in inner if name not in result and not name.startswith("recipe."))
        else:
            yield key, value


def _tabulate_recipe(recipe: Recipe, given: Mapping[str, Any]) -> Table:
    """The settings of the recipe as the run used them, and as they were given where that is something else."""
    rows = []
    for key, used in asdict(recipe).items():
        was = given.get(f"recipe.{key}")
        if key in ("name", "data", "needs_start", "overrides") or (used is None and was is None):
            continue
        unused = "not used" if used is None else format_value(used)
        rows.append([f"recipe.{key}", unused, "" if was == used else format_value(was)])
    return Table(["setting", "used", "given, if other"], rows)
