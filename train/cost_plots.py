"""The pictures of `train.cost`: networks under a device's roofline, what they read and write, and batches (Fig. 3)."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import matplotlib

matplotlib.use("agg")

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from train.devices import Device

MARKERS = {"dense": "o", "slots": "s", "control": "v", "scaled": "^"}
DASHES = {"dense": "-", "slots": ":", "control": "--", "scaled": "-."}


def roofline(report: Mapping[str, Any], device: Device) -> bytes:
    """A PNG: every layer as a dot and every network as a large one, at its intensity and what the device allows there
    (Eq. 1). The report is that of `train.cost.Report.to_dict`."""
    figure, axis = plt.subplots(figsize=(7.5, 4.5), layout="constrained")
    # Without a rate for the precision there is no flat roof, and the slope says what memory allows.
    peak = device.peak.get(report["precision"], float("inf"))
    shown = [network for network in report["networks"] if network["form"] != "control"]
    intensities = [layer["intensity"] for network in shown for layer in network["layers"]]
    low, high = min(intensities) / 1.5, 1.5 * max(*intensities, peak / device.bandwidth if peak < float("inf") else 0)
    ridge = min(peak / device.bandwidth, high)
    roof = [min(peak, x * device.bandwidth) / 1e12 for x in (low, ridge, high)]
    axis.plot([low, ridge, high], roof, color="black", linewidth=1)
    for number, network in enumerate(shown):
        color, marker = _color(network, number), "D" if network["align"] else MARKERS[network["form"]]
        for at, size in [*((layer["intensity"], 18) for layer in network["layers"]), (network["intensity"], 90)]:
            label = network["network"] if size > 18 else None
            allowed = min(peak, at * device.bandwidth) / 1e12
            axis.scatter(at, allowed, size, color=color, marker=marker, alpha=0.7, label=label, zorder=2 + number)
    axis.set(xscale="log", yscale="log", xlabel="operations a byte", ylabel="10¹² operations a second, at most")
    axis.set_title(f"{report['task']}, batch {report['batch']}, {report['precision']}, {device.name}", fontsize=10)
    axis.grid(which="both", alpha=0.2)
    axis.legend(fontsize=8)
    return png(figure)


def batches(report: Mapping[str, Any]) -> bytes:
    """A PNG as the paper's Figure 3: arithmetic intensity by images a batch, with what the device needs as a line, and
    the share of its peak that the roofline leaves (Eq. 1), where it has a rate for the precision."""
    needed = report["device"]["ratio"]
    figure, axes = plt.subplots(1, 2 if needed else 1, figsize=(10.5 if needed else 6, 4.5), layout="constrained")
    panels = dict(zip(("intensity", "utilization"), axes if needed else [axes], strict=False))
    images = [point["images"] for point in report["networks"][0]["batches"]]
    for number, network in enumerate(report["networks"]):
        for key, axis in panels.items():
            values = [point[key] for point in network["batches"]]
            style = {
                "color": _color(network, number),
                "linestyle": DASHES[network["form"]],
                "label": network["network"],
            }
            axis.plot(images, values, marker="D" if network["align"] else "", markersize=3, **style)
    for axis in panels.values():
        axis.set(xlabel="images a batch", ylim=(0, None))
        axis.set_xscale("log", base=2)
        axis.set_xticks(images[::2], [str(count) for count in images[::2]])
        axis.grid(alpha=0.2)
    panels["intensity"].set(ylabel="operations a byte")
    if needed:
        label = f"{report['device']['name']} needs {needed:.0f}"
        panels["intensity"].axhline(needed, color="black", linestyle=(0, (6, 4)), linewidth=1, label=label)
        panels["utilization"].set(ylabel="share of peak operations a second, at most", ylim=(0, 1))
    handles, labels = panels["intensity"].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=8)
    figure.suptitle(f"{report['task']}, {report['precision']}, {report['device']['name']}", fontsize=10)
    return png(figure)


def traffic(report: Mapping[str, Any]) -> bytes:
    """A PNG: bytes of activations and of weights that a network reads and writes for an image of the batch."""
    networks = report["networks"]
    figure, axis = plt.subplots(figsize=(7.5, 0.6 + 0.35 * len(networks)), layout="constrained")
    names = [network["network"] for network in networks]
    activations = [network["activation_bytes"] for network in networks]
    weights = [network["weight_bytes"] for network in networks]
    axis.barh(names, activations, color="tab:blue", label="activations")
    axis.barh(names, weights, left=activations, color="tab:orange", label="weights")
    axis.invert_yaxis()
    axis.set(xlabel=f"bytes an image, {report['task']}, batch {report['batch']}, {report['precision']}")
    axis.legend(fontsize=8)
    return png(figure)


def _color(network: Mapping[str, Any], number: int) -> str:
    """One for a fold, and for a scaled network one of its own, from its number in the report."""
    return f"C{7 + number % 3}" if network["form"] == "scaled" else f"C{(network['fold'] - 1) % 7}"


def png(figure: Figure) -> bytes:
    """The figure as a file, and closed."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=90)
    plt.close(figure)
    return data.getvalue()
