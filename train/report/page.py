"""report.html of a run: its results, figures and settings in one self-contained file."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from textgen.common.atomic import write_atomic
from textgen.common.html_templates import Table, load_template
from train.config.advice import OTHER_RUNS_FOLDER
from train.report.result import format_value, summary, title

PICTURES = {
    "curves": "Loss and accuracy by epoch",
    "confusion": "Confusion matrix",
    "orders": "Order agreement",
    "mistakes": "Mistakes with the highest confidence",
}
SHOWN_ELSEWHERE = ("per_class_accuracy", "accuracy_groupings", "tests")
HARDEST, LAST_EPOCHS = 20, 50  # rows of the tables of classes and of epochs


def write_report(
    result: Mapping[str, Any], history: Sequence[Mapping[str, Any]], pictures: Mapping[str, bytes], folder: Path
) -> None:
    """Write report.html to `folder`. `pictures` are PNG files by the names of `PICTURES`."""
    figures = [
        (caption, base64.b64encode(pictures[name]).decode()) for name, caption in PICTURES.items() if name in pictures
    ]
    page = load_template("train.report", "page.html").render(
        title=title(result),
        summary=summary(result, folder),
        figures=figures,
        hardest_classes=_tabulate_hardest_classes(result["per_class_accuracy"]),
        epochs=_tabulate_epochs(history, result["epochs_to_best"]),
        settings=_tabulate_settings(result),
    )
    write_atomic(folder / "report.html", page.encode(), OTHER_RUNS_FOLDER)


def _tabulate_hardest_classes(accuracies: Mapping[str, float | None]) -> Table:
    """The classes with the lowest test accuracy, without those at 100 % and those without test images."""
    missed = [(label, accuracy) for label, accuracy in accuracies.items() if accuracy is not None and accuracy != 1]
    missed.sort(key=lambda pair: pair[1])
    return Table(["class", "accuracy"], [[label, f"{accuracy:.1%}"] for label, accuracy in missed[:HARDEST]], [1])


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


def _tabulate_settings(result: Mapping[str, Any]) -> Table:
    """Every other value of result.json."""
    rows = [[key, format_value(value)] for key, value in _flatten(result) if value not in (None, [])]
    return Table(["", "value"], rows)


def _flatten(result: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Pairs of key and value; keys in mappings as `outer.inner`, but settings by their names on the command line."""
    for key, value in result.items():
        if key in SHOWN_ELSEWHERE:
            continue
        if isinstance(value, Mapping):
            inner = ((name if key == "settings" else f"{key}.{name}", item) for name, item in value.items())
            yield from ((name, item) for name, item in inner if name not in result)
        else:
            yield key, value
