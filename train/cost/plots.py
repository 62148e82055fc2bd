"""The plots of `train.cost`: roofline, memory traffic, and intensity by batch size (Fig. 3), as PNGs.

All take the report as `train.cost.report.Report.to_dict` returns it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from textgen.common.atomic import write_atomic
from train.common.figures import OTHER_PLACE, SKY, YELLOW, choose_color, render_png
from train.cost.devices import Device

GRAY = "dimgray"  # of everything but networks


def write_plots(report: Mapping[str, Any], device: Device, folder: Path) -> None:
    """Write roofline.png, traffic.png and batches.png into `folder`. Raises `UserError`."""
    pictures = {
        "roofline.png": draw_roofline(report, device),
        "traffic.png": draw_traffic(report),
        "batches.png": draw_batches(report),
    }
    for name, picture in pictures.items():
        write_atomic(folder / name, picture, OTHER_PLACE)


def draw_roofline(report: Mapping[str, Any], device: Device) -> bytes:
    """Above, the roofline of the device, and for each network the rate that it allows layer by layer (Eq. 1). A network
    lies below the roofline where some of its layers are memory-bound. Below, the intensities of each network's layers.
    """
    networks = report["networks"]
    rows = 0.24 * len(networks) + 0.3  # inches
    figure, (above, below) = plt.subplots(
        2, 1, sharex=True, figsize=(8, 3.6 + rows), height_ratios=(3, rows), layout="constrained"
    )
    # Without a rate for the precision only the slope, the limit by memory, is known.
    peak, ratio = device.peak.get(report["precision"], float("inf")), device.ratio(report["precision"])
    intensities = [layer["intensity"] for network in networks for layer in network["layers"]]
    ridge = [ratio] if ratio else []
    low = min([*(x / 1.5 for x in intensities), *(x / 3 for x in ridge)])
    high = max([*(x * 1.5 for x in intensities), *(x * 3 for x in ridge)])
    corners = [low, *ridge, high]
    above.plot(corners, [min(peak, x * device.bandwidth) for x in corners], color=GRAY, linewidth=1)
    for number, network in enumerate(networks):
        bound = network["images_per_second_bound"]
        allowed = network["intensity"] * device.bandwidth if bound is None else bound * network["operations"]
        _draw_network(above, network, allowed)
        shares = dict.fromkeys((layer["intensity"] for layer in network["layers"]), 0.0)  # of operations
        for layer in network["layers"]:
            shares[layer["intensity"]] += layer["operations"] / network["operations"]
        areas = [4 + 120 * share for share in shares.values()]
        below.scatter(list(shares), [number] * len(shares), areas, color=choose_color(network), alpha=0.5, linewidth=0)
        below.scatter(network["intensity"], number, 140, color=choose_color(network), marker="|", linewidth=2)
    if ratio:
        for axis in (above, below):
            axis.axvline(ratio, color=GRAY, linestyle=(0, (6, 4)), linewidth=1, zorder=0)
        about = {"xycoords": above.get_xaxis_transform(), "textcoords": "offset points", "fontsize": 8, "color": GRAY}
        above.annotate("memory-bound", (ratio, 0.03), (-6, 0), ha="right", **about)
        above.annotate("arithmetic-bound", (ratio, 0.03), (6, 0), **about)
    above.set(xscale="log", yscale="log", ylabel="operations a second, at most")
    above.set_title(f"{report['task']}, batch {report['batch']}, {report['precision']}, {device.name}", fontsize=10)
    below.set_yticks(range(len(networks)), [network["network"] for network in networks], fontsize=8)
    below.set(ylim=(len(networks) - 0.4, -0.6), xlim=(low, high), xlabel="arithmetic intensity, operations a byte")
    for label, network in zip(below.get_yticklabels(), networks, strict=True):
        label.set_color(choose_color(network))
    for scale in (above.xaxis, above.yaxis):  # 10, 20, 50, 100
        scale.set_major_locator(LogLocator(subs=(1, 2, 5)))
        scale.set_major_formatter(EngFormatter(sep=" "))
        scale.set_minor_formatter(NullFormatter())
    above.grid(alpha=0.2)
    below.grid(axis="x", alpha=0.2)
    below.scatter([], [], 60, color=GRAY, alpha=0.5, linewidth=0, label="layers; the area is their share of operations")
    below.scatter([], [], 100, color=GRAY, marker="|", linewidth=2, label="network, above with its fold")
    for align in {network["align"]: 0 for network in networks if network["align"]}:
        above.scatter([], [], 40, color=GRAY, marker="D", label=f"align={align}")
    figure.legend(fontsize=8, ncols=3, loc="outside lower center")
    return render_png(figure)


def draw_batches(report: Mapping[str, Any]) -> bytes:
    """Figure 3 of the paper: arithmetic intensity by batch size, with the device's ratio as a line, and the share of
    its peak rate that the roofline allows (Eq. 1), if it has a rate for the precision."""
    ratio = report["device"]["ratio"]
    figure, axes = plt.subplots(1, 2 if ratio else 1, figsize=(11 if ratio else 7, 4.8), layout="constrained")
    panels = dict(zip(("intensity", "utilization"), axes if ratio else [axes], strict=False))
    images = [point["images"] for point in report["networks"][0]["batches"]]
    handles: list[Any] = []
    for number, network in enumerate(report["networks"]):
        # The curve of the control covers that of slots: it is drawn wider, beneath them.
        line: dict[str, Any] = {"color": choose_color(network), "linestyle": "--" if network["align"] else "-"}
        line |= {"linewidth": 3, "alpha": 0.5, "zorder": 1.9} if network["form"] == "narrow" else {"linewidth": 1.2}
        digit: dict[str, Any] = {
            "color": choose_color(network),
            "marker": f"${network['fold']}$",
            "markersize": 6,
            "zorder": 3,
        }
        digit |= {"path_effects": [withStroke(linewidth=2.5, foreground="white")]}
        handles.append((Line2D([], [], **line), *[Line2D([], [], **digit)] * (network["fold"] > 1)))
        at = len(images) - 1 - number % 5  # digits of neighbouring curves must not overlap
        for key, axis in panels.items():
            values = [point[key] for point in network["batches"]]
            axis.plot(images, values, **line)
            if network["fold"] > 1:
                axis.plot(images[at], values[at], **digit)
    names = [network["network"] for network in report["networks"]]
    if ratio:
        need = panels["intensity"].axhline(ratio, color=GRAY, linestyle=(0, (6, 4)), linewidth=1)
        handles.append((need,))
        names.append(f"{report['device']['name']} needs {ratio:.0f}")
    for axis in panels.values():
        axis.set(xlabel="images a batch")
        axis.set_xscale("log", base=2)
        axis.set_xticks(images[::2], [str(count) for count in images[::2]])
        axis.grid(alpha=0.2)
    highest = max(point["intensity"] for network in report["networks"] for point in network["batches"])
    # The device's ratio is left out where it would flatten the curves; the legend states it anyway.
    top = 1.05 * max(highest, ratio if ratio and ratio < 1.5 * highest else 0)
    panels["intensity"].set(ylabel="arithmetic intensity, operations a byte", ylim=(0, top))
    if ratio:
        panels["utilization"].set(ylabel="share of peak operations a second, at most", ylim=(0, 1.05))
    figure.legend(handles, names, loc="outside right center", fontsize=8)
    figure.suptitle(f"{report['task']}, {report['precision']}, {report['device']['name']}", fontsize=10)
    return render_png(figure)


def draw_traffic(report: Mapping[str, Any]) -> bytes:
    """Bytes of activations and weights that each network reads and writes for one image of the batch."""
    networks = report["networks"]
    figure, axis = plt.subplots(figsize=(8, 1.2 + 0.27 * len(networks)), layout="constrained")
    rows = range(len(networks))
    activations = [network["activation_bytes"] for network in networks]
    weights = [network["weight_bytes"] for network in networks]
    edge: dict[str, Any] = {"edgecolor": "black", "linewidth": 0.5}
    axis.barh(rows, activations, color=SKY, label="activations", **edge)
    axis.barh(rows, weights, left=activations, color=YELLOW, label="weights", **edge)
    axis.set_yticks(rows, [network["network"] for network in networks], fontsize=8)
    axis.set(xlabel="bytes an image, read and written", ylim=(len(networks) - 0.4, -0.6))
    axis.xaxis.set_major_formatter(EngFormatter("B"))
    axis.grid(axis="x", alpha=0.2)
    axis.set_axisbelow(True)
    axis.set_title(f"{report['task']}, batch {report['batch']}, {report['precision']}", fontsize=10)
    figure.legend(fontsize=8, ncols=2, loc="outside lower center")
    return render_png(figure)


def _draw_network(axis: Axes, network: Mapping[str, Any], at: float) -> None:
    """A network at its intensity: a disc with its fold, or a diamond for aligned widths. The control is a ring, as
    slots lie at the same point."""
    ring, align, own = network["form"] == "narrow", network["align"], choose_color(network)
    style: dict[str, Any] = {"facecolor": "none" if ring else own, "edgecolor": own if ring else "white"}
    style |= {"s": (60 if ring else 35) if align else (180 if ring else 120), "marker": "D" if align else "o"}
    order = 2.0 if align else 2.2 if ring else 2.4 if network["fold"] == 1 else 2.6  # no number is covered
    axis.scatter(network["intensity"], at, linewidth=1.5 if ring else 0.8, zorder=order, **style)
    if network["fold"] > 1 and not align:
        text: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 7, "fontweight": "bold", "zorder": order}
        axis.text(network["intensity"], at, str(network["fold"]), color=own if ring else "white", **text)
