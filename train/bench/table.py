"""The report of `train.bench`, the dict of `train.bench.report.build_report`, as text and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from train.common.text_table import format_columns

Report = Mapping[str, Any]
Row = Mapping[str, Any]


def format_csv(report: Report) -> str:
    """One row for each network, engine, precision and batch size."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(report["rows"][0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(report["rows"])
    return text.getvalue()


def format_text(report: Report) -> str:
    """A table for each batch size, the fastest first, and the notes on what could not be measured."""
    title = f"{report['task']} on {report['device']}, {report['trials']} trial{'s' * (report['trials'] > 1)}"
    if report["peaks"]:
        peaks = ", ".join(f"{precision} {rate / 1e9:.0f}" for precision, rate in report["peaks"].items())
        title += f"; 10⁹ operations a second at most, measured: {peaks}"
    lines = [title if report["runs"] else f"{title}; weights and crops are random"]
    for batch in dict.fromkeys(row["batch"] for row in report["rows"]):
        rows = [row for row in report["rows"] if row["batch"] == batch]
        lines += ["", f"batch of {batch}", *_format_table(sorted(rows, key=lambda row: -row["images_per_second"]))]
    lines += ["", *(f"note: {note}" for note in report["notes"])] if report["notes"] else []
    return "\n".join(lines)


def _format_table(rows: Sequence[Row]) -> list[str]:
    head = ["network", "engine", "", "images", "images/s", "quartiles", "×fastest f=1", "×same engine"]
    tested = any(row["accuracy"] is not None for row in rows)
    utilized = any(row["utilization"] is not None for row in rows)
    head += ["of peak"] * utilized + ["labels as PyTorch"] + ["accuracy"] * tested
    table = []
    for row in rows:
        cells = [row["network"], row["engine"], row["precision"], str(row["images"]), f"{row['images_per_second']:.0f}"]
        cells.append(f"{row['quartile_low']:.0f}…{row['quartile_high']:.0f}")
        ratios = (row["times_original"], row["times_same_engine"])
        cells += ["" if times is None else f"{times:.2f}" for times in ratios]
        cells += ["" if row["utilization"] is None else f"{row['utilization']:.0%}"] * utilized
        cells.append(f"{row['labels_as_pytorch']:.2%}")
        cells += ["" if row["accuracy"] is None else f"{row['accuracy']:.2%}"] * tested
        table.append(cells)
    return format_columns(head, table, left=3)
