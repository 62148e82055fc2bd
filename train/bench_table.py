"""What `train.bench` measured, as text, CSV and pictures. All take the report of `train.bench.bench`."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib

matplotlib.use("agg")

from matplotlib import pyplot as plt
from matplotlib.ticker import PercentFormatter

from train.cost_plots import png
from train.cost_table import columns

Report = Mapping[str, Any]
Row = Mapping[str, Any]
COLORS = {
    "eager": "tab:gray",
    "compile": "tab:olive",
    "winograd": "tab:brown",
    "onnxruntime": "tab:blue",
    "openvino": "tab:purple",
}
COLORS |= {"tensorrt": "tab:green", "fused": "tab:red"}
MARKERS = {"fp32": "o", "fp16": "s", "bf16": "D", "int8": "v", "int16": "^"}


def csv_of(report: Report) -> str:
    """A row a network, engine, precision and batch."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(report["rows"][0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(report["rows"])
    return text.getvalue()


def text_of(report: Report) -> str:
    """A table of every batch, the fastest first, and what could not be measured."""
    about = f"{report['task']} on {report['device']}, {report['trials']} trials"
    if report["peak_fp32"]:
        about += f"; {report['peak_fp32'] / 1e9:.0f} · 10⁹ operations a second in float32 at most, measured"
    lines = [about if report["runs"] else f"{about}; weights and crops are random"]
    for batch in dict.fromkeys(row["batch"] for row in report["rows"]):
        rows = [row for row in report["rows"] if row["batch"] == batch]
        lines += ["", f"batch of {batch}", *_table(sorted(rows, key=lambda row: -row["images_per_second"]))]
    lines += ["", *(f"note: {note}" for note in report["notes"])] if report["notes"] else []
    return "\n".join(lines)


def _table(rows: Sequence[Row]) -> list[str]:
    head = ["network", "engine", "", "images", "images/s", "quartiles", "×original"]
    tested = any(row["accuracy"] is not None for row in rows)
    utilized = any(row["utilization"] is not None for row in rows)
    head += ["of fp32 peak"] * utilized + ["labels as PyTorch"] + ["accuracy"] * tested
    table = []
    for row in rows:
        times = row["times_original"]
        cells = [row["network"], row["engine"], row["precision"], str(row["images"]), f"{row['images_per_second']:.0f}"]
        cells.append(f"{row['quartile_low']:.0f}…{row['quartile_high']:.0f}")
        cells.append("" if times is None else f"{times:.2f}")
        cells += [f"{row['utilization']:.0%}"] * utilized
        cells.append(f"{row['labels_as_pytorch']:.2%}")
        cells += ["" if row["accuracy"] is None else f"{row['accuracy']:.2%}"] * tested
        table.append(cells)
    return columns(head, table, left=3)


def batches(report: Report) -> bytes:
    """A PNG: images a second by images a batch (Fig. 17), the fastest engine of every network and precision."""
    figure, axis = plt.subplots(figsize=(7.5, 4.8), layout="constrained")
    kinds = dict.fromkeys((row["network"], row["precision"]) for row in report["rows"])
    networks = list(dict.fromkeys(network for network, _ in kinds))
    for network, precision in kinds:
        rows = [row for row in report["rows"] if (row["network"], row["precision"]) == (network, precision)]
        engine = max(rows, key=lambda row: row["images_per_second"])["engine"]
        points = sorted((row["images"], row["images_per_second"]) for row in rows if row["engine"] == engine)
        color = f"C{networks.index(network) % 10}"
        axis.plot(
            *zip(*points, strict=True), color=color, marker=MARKERS[precision], label=f"{network}, {engine} {precision}"
        )
    axis.set(xscale="log", xlabel="images a batch", ylabel="images a second", ylim=(0, None))
    _titled(axis, report)
    figure.legend(fontsize=7, ncols=3, loc="outside lower center")
    return png(figure)


def accuracy(report: Report) -> bytes:
    """A PNG: accuracy against images a second, each network, engine and precision at its best batch."""
    figure, axis = plt.subplots(figsize=(7.5, 4.8), layout="constrained")
    best: dict[tuple[str, str, str], Row] = {}
    for row in report["rows"]:
        key = row["network"], row["engine"], row["precision"]
        if (
            row["accuracy"] is not None
            and row["images_per_second"] > best.get(key, {"images_per_second": 0})["images_per_second"]
        ):
            best[key] = row
    for row in best.values():
        axis.scatter(
            row["images_per_second"], row["accuracy"], color=COLORS[row["engine"]], marker=MARKERS[row["precision"]]
        )
    for network in dict.fromkeys(row["network"] for row in best.values()):
        fastest = max(
            (row for row in best.values() if row["network"] == network), key=lambda row: row["images_per_second"]
        )
        at = fastest["images_per_second"], fastest["accuracy"]
        axis.annotate(network, at, fontsize=7, xytext=(4, 4), textcoords="offset points")
    for engine in dict.fromkeys(row["engine"] for row in best.values()):
        axis.scatter([], [], color=COLORS[engine], label=engine)
    for precision in dict.fromkeys(row["precision"] for row in best.values()):
        axis.scatter([], [], color="black", marker=MARKERS[precision], label=precision)
    speeds, found = [row["images_per_second"] for row in best.values()], [row["accuracy"] for row in best.values()]
    axis.set(xlabel="images a second, at the best batch", ylabel="test accuracy")
    # Room for names on the right, and half a point at least, so that what is chance does not look large.
    axis.set(xlim=(0, 1.3 * max(speeds)), ylim=(min(found) - 0.005, min(max(found) + 0.005, 1)))
    axis.yaxis.set_major_formatter(PercentFormatter(1))
    _titled(axis, report)
    figure.legend(fontsize=7, ncols=5, loc="outside lower center")
    return png(figure)


def _titled(axis: Any, report: Report) -> None:
    axis.set_title(f"{report['task']}, {report['device']}", fontsize=10)
    axis.grid(alpha=0.2)
