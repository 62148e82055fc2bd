"""The page of a run, report.html: its figures and pictures in one file that needs no other."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from textgen.common.atomic import write_atomic
from textgen.common.markup import esc, table
from train.config.paths import OTHER_RUNS_FOLDER
from train.report.result import format_value, summary, title

PICTURES = {
    "curves": "Loss and accuracy by epoch",
    "confusion": "What is taken for what",
    "orders": "Orders of a stack that agree",
    "mistakes": "The surest mistakes",
}
STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;
background:#fff}img{max-width:100%}table{border-collapse:collapse;font-size:14px}td,th{padding:.15rem .8rem;
text-align:left;border-bottom:1px solid #ddd}.number{text-align:right}.wide{overflow-x:auto}pre{white-space:pre-wrap}"""
LEFT_OUT = ("per_class_accuracy", "accuracy_groupings", "tests")


def write(
    result: Mapping[str, Any], history: Sequence[Mapping[str, Any]], pictures: Mapping[str, bytes], folder: Path
) -> None:
    """report.html of `folder`. `pictures` are PNGs, by the names of `PICTURES`."""
    head = esc(title(result))
    parts = [f"<h1>{head}</h1>", f"<pre>{esc(summary(result, folder))}</pre>"]
    for name, caption in PICTURES.items():
        if name in pictures:
            data = base64.b64encode(pictures[name]).decode()
            parts.append(f'<h2>{caption}</h2><img alt="{caption}" src="data:image/png;base64,{data}">')
    missed = [(label, share) for label, share in result["per_class_accuracy"].items() if share not in (None, 1)]
    rows = [[label, f"{share:.1%}"] for label, share in sorted(missed, key=lambda each: each[1])[:20]]
    parts.append("<h2>The hardest classes</h2>")
    parts.append(table(["class", "accuracy"], rows, [1]) if rows else "<p>No test image is mistaken.</p>")
    parts.append("<h2>Epochs</h2>" + table(*_epochs(history, result["epochs_to_best"])))
    settings = [[key, format_value(value)] for key, value in _flat(result) if value not in (None, [])]
    parts.append("<h2>The run</h2>" + table(["", "value"], settings))
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{head}</title><style>{STYLE}</style></head>'
        f"<body>{''.join(parts)}</body></html>"
    )
    write_atomic(folder / "report.html", page.encode(), OTHER_RUNS_FOLDER)


def _flat(result: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What the page does not show elsewhere, a row each; mappings by their keys, and settings as a command has them."""
    for key, value in result.items():
        if isinstance(value, Mapping) and key not in LEFT_OUT:
            inner = ((name if key == "settings" else f"{key}.{name}", of) for name, of in value.items())
            yield from ((name, of) for name, of in inner if name not in result)
        elif key not in LEFT_OUT:
            yield key, value


def _epochs(history: Sequence[Mapping[str, Any]], best: int) -> tuple[list[str], list[list[str]], range]:
    """The best and the last fifty epochs as a table's head, rows and columns of numbers."""
    head = ["epoch", "classes", "train loss", "train accuracy", "val loss", "val accuracy", "images/s", "best"]
    shown = [line for number, line in enumerate(history) if line["best"] or number >= len(history) - 50]
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
    return head, rows, range(7)
