"""The report of `train.cost`, the dict of `train.cost.report.Report.to_dict`, as text and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from train.common.text_table import format_columns
from train.cost.devices import DEVICES, Device

Data = Mapping[str, Any]  # of the report, or of a network or a layer in it


def format_csv(report: Data) -> str:
    """One row for each layer, and one for each network as a whole."""
    rows: list[dict[str, Any]] = []
    for network in report["networks"]:
        total = {key: value for key, value in network.items() if key not in ("layers", "batches")}
        rows += [{"network": network["network"], **_flatten_layer(layer)} for layer in network["layers"]]
        rows.append({"layer": "all", **total})
    names = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def format_text(report: Data, device: Device) -> str:
    """A table for each network, one of all networks, and the devices."""
    precision, tile, ratio = report["precision"], report["device"]["tile"], report["device"]["ratio"]
    needs = f"needs {ratio:.0f} operations a byte" if ratio else f"has no rate for {precision}, give precision="
    rates = "" if ratio else " or ".join(device.peak)
    lines = [f"{report['task']}, batch of {report['batch']} images, {precision}; {device.name} {needs}{rates}"]
    for network in report["networks"]:
        lines += ["", network["network"], *_layer_table(network, tile, ratio is not None)]
    lines += ["", *_network_table(report["networks"], tile, ratio is not None)]
    if tile > 1:
        lines.append(
            f"* channels are no multiple of {tile}; filled up: channels padded to multiples of it, as on the device"
        )
    lines += [
        "",
        f"{'device':20}operations a byte that it needs (Eq. 1), and the multiple of channels that it computes",
    ]
    for known in [*DEVICES.values(), *([device] if device not in DEVICES.values() else [])]:
        ratios = ", ".join(
            f"{kind} {known.ratio(kind):.0f}" + f" by {known.tile(kind)}" * (known.tile(kind) > 1)
            for kind in known.peak
        )
        lines.append(f"{known.name:20}{ratios} ({known.source})")
    return "\n".join(lines)


def _layer_table(network: Data, tile: int, rated: bool) -> list[str]:
    """One line for each layer; `rated` says whether the device has a rate for the precision."""
    folded = network["layers"][0]["eq5_least_images"] is not None
    head = ["layer", "channels", "size", "operations", *["filled up"] * (tile > 1)]
    head += ["activations", "weights", "intensity", "limit"]
    head += ["bound by"] * rated + ["Eq. 5: above"] * folded
    rows = []
    for layer in network["layers"]:
        channels = "→".join(map(str, layer["channels"])) + (" " if layer["whole_tiles"] else "*") * (tile > 1)
        row = [layer["layer"], channels, "×".join(map(str, layer["size"]))]
        counts = ["operations", *["padded_operations"] * (tile > 1), "activation_bytes", "weight_bytes"]
        row += [_format_number(layer[key]) for key in counts]
        row += [f"{layer[key]:.1f}" for key in ("intensity", "intensity_limit")]
        row += [layer["bound_by"]] * rated
        if folded:
            holds = "holds" if layer["eq5_holds"] else "does not"
            row.append(f"{layer['eq5_least_images']:.1f} images: {holds}")
        rows.append(row)
    return format_columns(head, rows)


def _network_table(networks: Sequence[Data], tile: int, rated: bool) -> list[str]:
    head = ["an image", "operations", *["filled up"] * (tile > 1), "Winograd", "activations", "weights"]
    head += ["intensity", "×original", "limit", "×original", *["images/s at most", "×original"] * rated]
    head += ["filled up", "×original"] * (rated and tile > 1)
    head += ["layers bound by memory"] * rated
    rows = []
    for network in networks:
        counts = ["operations", *["padded_operations"] * (tile > 1), "winograd_operations"]
        row = [network["network"]]
        row += [_format_number(network[key]) for key in (*counts, "activation_bytes", "weight_bytes")]
        for key in ("intensity", "intensity_limit"):
            row += [f"{network[key]:.1f}", f"{network[f'{key}_ratio']:.2f}"]
        for key in ["images_per_second_bound", *["images_per_second_padded"] * (tile > 1)] if rated else []:
            row += [_format_number(network[key]), f"{network[key] / networks[0][key]:.2f}"]
        if rated:
            share, count = network["memory_bound_share"], len(network["layers"])
            row.append(f"{share * count:.0f} of {count}, {share:.0%}")
        rows.append(row)
    return format_columns(head, rows)


def _flatten_layer(layer: Data) -> dict[str, Any]:
    (c_in, c_out), (h, w) = layer["channels"], layer["size"]
    rest = {key: value for key, value in layer.items() if key not in ("channels", "size")}
    return {"layer": rest.pop("layer"), "c_in": c_in, "c_out": c_out, "height": h, "width": w, **rest}


def _format_number(number: float) -> str:
    """12345678 -> 12.3 M."""
    for unit, power in (("G", 9), ("M", 6), ("k", 3)):
        if number >= 10**power:
            return f"{number / 10**power:.3g} {unit}"
    return f"{number:.3g}"
