"""The plots of `train.bench`: crops a second by batch size, and accuracy.

All take the report of `train.bench.report.build_report`, or the same as `json.load` reads it from `format=json`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, NullLocator, PercentFormatter

from textgen.common.atomic import write_atomic
from train.common.figures import OTHER_PLACE, choose_color, render_png
from train.inference.engines import Engine

Report = Mapping[str, Any]
Row = Mapping[str, Any]
MARKERS: dict[Engine, str] = {"eager": "o", "compile": "s", "winograd": "P", "onnxruntime": "^", "openvino": "v"}
MARKERS |= {"tensorrt": "X", "fused": "D"}


def write_plots(report: Report, folder: Path) -> None:
    """Write batches.png into `folder`, and for trained networks accuracy.png. Raises `UserError`."""
    write_atomic(folder / "batches.png", draw_batches(report), OTHER_PLACE)
    if report["runs"]:
        write_atomic(folder / "accuracy.png", draw_accuracy(report), OTHER_PLACE)


def draw_batches(report: Report) -> bytes:
    """Images a second by batch size (Fig. 17), as PNG: median and quartiles of the fastest engine at each batch size.

    Each fold and precision has a panel; networks that are not folded appear in all of them.
    """
    rows = report["rows"]
    precisions = list(dict.fromkeys(row["precision"] for row in rows))
    folds = list(dict.fromkeys(row["fold"] for row in rows if row["fold"] > 1)) or [1]
    figure, axes = plt.subplots(
        len(folds),
        len(precisions),
        sharex=True,
        sharey=True,
        squeeze=False,
        figsize=(1 + 3 * len(precisions), 1.2 + 2.8 * len(folds)),
        layout="constrained",
    )
    sizes = sorted({row["batch"] for row in rows})
    shown = []
    for axis, (fold, precision) in zip(axes.flat, product(folds, precisions), strict=True):
        in_panel = [row for row in rows if row["fold"] in (1, fold) and row["precision"] == precision]
        for network in dict.fromkeys(row["network"] for row in in_panel):
            by_speed = sorted(
                (row for row in in_panel if row["network"] == network), key=lambda row: row["images_per_second"]
            )
            points = sorted({row["batch"]: row for row in by_speed}.values(), key=lambda row: row["batch"])
            at, speeds = ([row[key] for row in points] for key in ("images", "images_per_second"))
            own = choose_color(points[0])
            axis.errorbar(at, speeds, _quartiles(points), color=own, linewidth=1.2, elinewidth=0.8)
            for row, *point in zip(points, at, speeds, strict=True):
                axis.plot(*point, color=own, marker=MARKERS[row["engine"]], markersize=5)
            shown += points
        axis.set(xscale="log", yscale="log", title=precision if len(folds) == 1 else f"fold={fold}, {precision}")
        axis.title.set_fontsize(9)
        every = -(-len(sizes) // 7)  # at most seven ticks, or they overlap
        axis.set_xticks(sizes[::every], [str(size) for size in sizes[::every]], fontsize=8)
        axis.tick_params(axis="y", labelsize=8)
        axis.xaxis.set_minor_locator(NullLocator())
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter(EngFormatter(sep=" "))
        axis.yaxis.set_minor_formatter(NullFormatter())
        axis.grid(alpha=0.2)
    for axis in axes[-1]:
        axis.set_xlabel("images a batch", fontsize=9)
    figure.supylabel("images a second, fastest engine", fontsize=9)
    _finish(figure, report, shown)
    return render_png(figure)


def draw_accuracy(report: Report) -> bytes:
    """Images a second, median and quartiles at the best batch size, and accuracy, as PNG.

    Each engine and precision has a line, and each network a lane in it.
    """
    measured = [row for row in report["rows"] if row["accuracy"] is not None]
    by_speed = sorted(measured, key=lambda row: row["images_per_second"])
    best = {(row["network"], row["engine"], row["precision"]): row for row in by_speed}
    lines = list(dict.fromkeys((row["engine"], row["precision"]) for row in measured))
    networks = list(dict.fromkeys(row["network"] for row in measured))
    height = 1.5 + len(lines) * (0.12 + 0.11 * len(networks))
    figure, (left, right) = plt.subplots(
        1, 2, sharey=True, figsize=(9, height), width_ratios=(3, 2), layout="constrained"
    )
    folds = {row["fold"] for row in best.values()} - {1}
    for (network, engine, precision), row in best.items():
        lane = (networks.index(network) + 0.5) / len(networks) - 0.5
        at = lines.index((engine, precision)) + 0.8 * lane
        style: dict[str, Any] = {"color": choose_color(row), "marker": MARKERS[row["engine"]], "markersize": 4.5}
        left.hlines(at, 0, row["images_per_second"], color=choose_color(row), linewidth=0.6, alpha=0.5)
        left.errorbar(row["images_per_second"], at, xerr=_quartiles([row]), **style, elinewidth=1.2)
        right.plot(row["accuracy"], at, **style, clip_on=False)
        if len(folds) > 1 and row["fold"] > 1:
            spot = max(row["quartile_high"], row["images_per_second"]), at
            left.annotate(str(row["fold"]), spot, (5, 0), textcoords="offset points", fontsize=6, va="center")
    for axis in (left, right):
        axis.set(ylim=(len(lines) - 0.5, -0.5))
        axis.tick_params(axis="y", length=0)
        axis.grid(axis="x", alpha=0.2)
        for border in range(1, len(lines)):
            axis.axhline(border - 0.5, color="lightgray", linewidth=0.6)
    left.set_yticks(range(len(lines)), [f"{engine} {precision}" for engine, precision in lines], fontsize=8)
    left.set(xlim=(0, None), xlabel="images a second, at the best batch")
    left.xaxis.set_major_formatter(EngFormatter(sep=" "))
    found = [row["accuracy"] for row in best.values()]
    # Half a percentage point on both sides at least, so that random differences do not look large.
    right.set(xlim=(min(found) - 0.005, min(max(found) + 0.005, 1)), xlabel="test accuracy")
    right.xaxis.set_major_formatter(PercentFormatter(1, decimals=1))
    _finish(figure, report, measured)
    return render_png(figure)


def _quartiles(rows: Sequence[Row]) -> list[list[float]]:
    """The distances of the quartiles below and above the medians."""
    return [
        [row["images_per_second"] - row["quartile_low"] for row in rows],
        [row["quartile_high"] - row["images_per_second"] for row in rows],
    ]


def _finish(figure: Figure, report: Report, shown: Sequence[Row]) -> None:
    """Add the title, and a legend of networks (colours) and engines (markers)."""
    figure.suptitle(f"{report['task']}, {report['device']}", fontsize=10)
    entries = {}
    for row in shown:
        several = len({other["fold"] for other in report["rows"]} - {1}) > 1
        name = row["network"].replace(f"fold={row['fold']}", "folded") if several else row["network"]
        entries[name] = Line2D([], [], color=choose_color(row), linewidth=3)
    for engine in MARKERS:
        if any(row["engine"] == engine for row in shown):
            entries[engine] = Line2D([], [], color="dimgray", marker=MARKERS[engine], linestyle="", markersize=5)
    figure.legend(entries.values(), entries.keys(), fontsize=8, ncols=5, loc="outside lower center")
