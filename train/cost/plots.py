"""The pictures of `train.cost`: networks under a device's roofline, what they read and write, and batches (Fig. 3).

All take the report of `train.cost.Report.to_dict`, and give PNGs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from train.common.figures import SKY, YELLOW, color, png
from train.cost.devices import Device

GRAY = "dimgray"  # of what is no network


def roofline(report: Mapping[str, Any], device: Device) -> bytes:
    """Above, what the device allows a network, layer after layer (Eq. 1), at the network's intensity: below the roof,
    where some layers are bound by memory. Under it a line a network with every layer at its own intensity."""
    networks = report["networks"]
    rows = 0.24 * len(networks) + 0.3  # inches
    figure, (above, below) = plt.subplots(
        2, 1, sharex=True, figsize=(8, 3.6 + rows), height_ratios=(3, rows), layout="constrained"
    )
    # Without a rate for the precision there is no flat roof, and the slope says what memory allows.
    peak, needed = device.peak.get(report["precision"], float("inf")), device.ratio(report["precision"])
    intensities = [layer["intensity"] for network in networks for layer in network["layers"]]
    ridge = [needed] if needed else []
    low = min([*(x / 1.5 for x in intensities), *(x / 3 for x in ridge)])
    high = max([*(x * 1.5 for x in intensities), *(x * 3 for x in ridge)])
    corners = [low, *ridge, high]
    above.plot(corners, [min(peak, x * device.bandwidth) for x in corners], color=GRAY, linewidth=1)
    for number, network in enumerate(networks):
        bound = network["images_per_second_bound"]
        allowed = network["intensity"] * device.bandwidth if bound is None else bound * network["operations"]
        _mark(above, network, allowed)
        shares = dict.fromkeys((layer["intensity"] for layer in network["layers"]), 0.0)  # of the operations there
        for layer in network["layers"]:
            shares[layer["intensity"]] += layer["operations"] / network["operations"]
        areas = [4 + 120 * share for share in shares.values()]
        below.scatter(list(shares), [number] * len(shares), areas, color=color(network), alpha=0.5, linewidth=0)
        below.scatter(network["intensity"], number, 140, color=color(network), marker="|", linewidth=2)
    if needed:
        for axis in (above, below):
            axis.axvline(needed, color=GRAY, linestyle=(0, (6, 4)), linewidth=1, zorder=0)
        about = {"xycoords": above.get_xaxis_transform(), "textcoords": "offset points", "fontsize": 8, "color": GRAY}
        above.annotate("memory-bound", (needed, 0.03), (-6, 0), ha="right", **about)
        above.annotate("arithmetic-bound", (needed, 0.03), (6, 0), **about)
    above.set(xscale="log", yscale="log", ylabel="operations a second, at most")
    above.set_title(f"{report['task']}, batch {report['batch']}, {report['precision']}, {device.name}", fontsize=10)
    below.set_yticks(range(len(networks)), [network["network"] for network in networks], fontsize=8)
    below.set(ylim=(len(networks) - 0.4, -0.6), xlim=(low, high), xlabel="arithmetic intensity, operations a byte")
    for label, network in zip(below.get_yticklabels(), networks, strict=True):
        label.set_color(color(network))
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
    return png(figure)


def batches(report: Mapping[str, Any]) -> bytes:
    """As the paper's Figure 3: arithmetic intensity by images a batch, with what the device needs as a line, and the
    share of its peak that the roofline leaves (Eq. 1), where it has a rate for the precision."""
    needed = report["device"]["ratio"]
    figure, axes = plt.subplots(1, 2 if needed else 1, figsize=(11 if needed else 7, 4.8), layout="constrained")
    panels = dict(zip(("intensity", "utilization"), axes if needed else [axes], strict=False))
    images = [point["images"] for point in report["networks"][0]["batches"]]
    handles: list[Any] = []
    for number, network in enumerate(report["networks"]):
        # Slots lie on the control, which is a wider line beneath them.
        line: dict[str, Any] = {"color": color(network), "linestyle": "--" if network["align"] else "-"}
        line |= {"linewidth": 3, "alpha": 0.5, "zorder": 1.9} if network["form"] == "narrow" else {"linewidth": 1.2}
        digit: dict[str, Any] = {
            "color": color(network),
            "marker": f"${network['fold']}$",
            "markersize": 6,
            "zorder": 3,
        }
        digit |= {"path_effects": [withStroke(linewidth=2.5, foreground="white")]}
        handles.append((Line2D([], [], **line), *[Line2D([], [], **digit)] * (network["fold"] > 1)))
        at = len(images) - 1 - number % 5  # neighbours bear their folds at several batches, not over each other
        for key, axis in panels.items():
            values = [point[key] for point in network["batches"]]
            axis.plot(images, values, **line)
            if network["fold"] > 1:
                axis.plot(images[at], values[at], **digit)
    names = [network["network"] for network in report["networks"]]
    if needed:
        need = panels["intensity"].axhline(needed, color=GRAY, linestyle=(0, (6, 4)), linewidth=1)
        handles.append((need,))
        names.append(f"{report['device']['name']} needs {needed:.0f}")
    for axis in panels.values():
        axis.set(xlabel="images a batch")
        axis.set_xscale("log", base=2)
        axis.set_xticks(images[::2], [str(count) for count in images[::2]])
        axis.grid(alpha=0.2)
    highest = max(point["intensity"] for network in report["networks"] for point in network["batches"])
    # What a device needs is shown where it leaves room for the networks; the legend has it anyway.
    top = 1.05 * max(highest, needed if needed and needed < 1.5 * highest else 0)
    panels["intensity"].set(ylabel="arithmetic intensity, operations a byte", ylim=(0, top))
    if needed:
        panels["utilization"].set(ylabel="share of peak operations a second, at most", ylim=(0, 1.05))
    figure.legend(handles, names, loc="outside right center", fontsize=8)
    figure.suptitle(f"{report['task']}, {report['precision']}, {report['device']['name']}", fontsize=10)
    return png(figure)


def traffic(report: Mapping[str, Any]) -> bytes:
    """Bytes of activations and of weights that a network reads and writes for an image of the batch."""
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
    return png(figure)


def _mark(axis: Axes, network: Mapping[str, Any], at: float) -> None:
    """A network at its intensity: a disc with its fold, or a diamond of aligned widths. The control is a ring, beneath
    slots, which lie where it does."""
    ring, align, own = network["form"] == "narrow", network["align"], color(network)
    style: dict[str, Any] = {"facecolor": "none" if ring else own, "edgecolor": own if ring else "white"}
    style |= {"s": (60 if ring else 35) if align else (180 if ring else 120), "marker": "D" if align else "o"}
    order = 2.0 if align else 2.2 if ring else 2.4 if network["fold"] == 1 else 2.6  # no fold is covered
    axis.scatter(network["intensity"], at, linewidth=1.5 if ring else 0.8, zorder=order, **style)
    if network["fold"] > 1 and not align:
        text: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 7, "fontweight": "bold", "zorder": order}
        axis.text(network["intensity"], at, str(network["fold"]), color=own if ring else "white", **text)
