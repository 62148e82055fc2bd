"""The pictures of `train.cost`: networks under a device's roofline, and what they read and write."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import matplotlib

matplotlib.use("agg")

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from train.devices import Device


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
        color, marker = f"C{network['fold'] - 1}", "o" if network["form"] == "dense" else "s"
        for at, size in [*((layer["intensity"], 18) for layer in network["layers"]), (network["intensity"], 90)]:
            label = network["network"] if size > 18 else None
            allowed = min(peak, at * device.bandwidth) / 1e12
            axis.scatter(at, allowed, size, color=color, marker=marker, alpha=0.7, label=label, zorder=2 + number)
    axis.set(xscale="log", yscale="log", xlabel="operations a byte", ylabel="10¹² operations a second, at most")
    axis.set_title(f"{report['task']}, batch {report['batch']}, {report['precision']}, {device.name}", fontsize=10)
    axis.grid(which="both", alpha=0.2)
    axis.legend(fontsize=8)
    return _png(figure)


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
    return _png(figure)


def _png(figure: Figure) -> bytes:
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=90)
    plt.close(figure)
    return data.getvalue()
