"""The report of a cascade, as plain values and as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from train.cascade.networks import FittedNetwork
from train.cascade.tradeoff import Tradeoff
from train.common.text_table import format_columns

MILLISECOND = 1e-3
SPLITS = {"validation": "validation", "test": "test"}


def compare_folding(run: FittedNetwork, original: FittedNetwork, x: float, ratio: float | None) -> dict[str, Any]:
    """Whether folding pays: by the paper's assumption that as many frames are forwarded as the network gets wrong, and
    with the shares that the fitted thresholds forward; both on test frames. `ratio` is T_g / T_s of the original."""
    error = 1 - original.test.accuracy
    u, folded_u = (each.test.forwarded(each.thresholds) for each in (original, run))
    return {
        "by_accuracy": Tradeoff(x, (1 - run.test.accuracy) - error, ratio, error).to_dict(),
        "by_thresholds": Tradeoff(x, folded_u - u, ratio, u).to_dict(),
    }


def format_report(report: Mapping[str, Any]) -> str:
    """The report as text."""
    lines = _format_network(report, report["network"], "network")
    if report["original"]:
        lines += ["", *_format_network(report, report["original"], "original")]
    lines += ["what is forwarded counts as right: the labels stand for the reference's answers"]
    lines += ["", *_format_latency(report)]
    if report["folding"]:
        by_accuracy, by_thresholds = report["folding"]["by_accuracy"], report["folding"]["by_thresholds"]
        lines += [
            "",
            f"folding: x = {by_accuracy['x']:.3f}, as measured here",
            f"  with these thresholds, which forward {by_thresholds['u']:.2%} and"
            f" {by_thresholds['u'] + by_thresholds['a']:.2%}: {by_thresholds['verdict']}",
            f"  by the paper's rule, with the loss of accuracy a = {by_accuracy['a']:+.4f}: {by_accuracy['verdict']}",
        ]
    if report["footage"]:
        lines += ["", *_format_reference(report["reference"]), *_format_footage(report["footage"])]
    return "\n".join(lines)


def _format_network(report: Mapping[str, Any], network: Mapping[str, Any], name: str) -> list[str]:
    low, high = network["thresholds"]["low"], network["thresholds"]["high"]
    promise = report["promise"]
    absent = f"absent if p < {low:.6g}" if low > 0 else "never absent"
    present = "never present" if high is None else f"present if p >= {high:.6g}"
    if high is not None and low < high and f"{low:.6g}" == f"{high:.6g}":
        present = f"present if p > {low:.6g}"  # the next larger number
    head = (
        "",
        "frames",
        "present",
        "forwarded",
        "network right",
        "cascade right",
        "missed",
        "<=",
        "false alarms",
        "<=",
    )
    rows = [
        (
            split,
            f"{found['frames']}",
            *(f"{found[key]:.2%}" for key in ("present", "forwarded", "network_accuracy", "cascade_accuracy")),
            *(cell for key in ("missed", "false_alarms") for cell in _format_rate(found[key])),
        )
        for split, found in ((split, network[split]) for split in SPLITS)
    ]
    thin = f"one frame in {promise['thin']}" if promise["thin"] > 1 else "every frame"
    return [
        f"{name}: {network['run']}, fold={network['fold']}, engine {network['engine']}, batches of {network['batch']}",
        f"p = probability of present; {absent}, {present}, otherwise forwarded",
        f"fitted on {thin}: missed <= {promise['fn']:.2%} and false alarms <= {promise['fp']:.2%}, both at"
        f" {promise['confidence']:.4g} confidence",
        *(f"note: {note}" for note in network["notes"]),
        *format_columns(head, rows),
    ]


def _format_rate(found: Mapping[str, Any]) -> tuple[str, str]:
    rate = "-" if found["rate"] is None else f"{found['rate']:.2%}"
    return f"{found['errors']} of {found['of']}, {rate}", f"{found['bound']:.2%}"


def _format_latency(report: Mapping[str, Any]) -> list[str]:
    latency = report["latency"]
    lines = [f"T_s = {_ms(latency['T_s'])} a frame"]
    if latency["original_T_s"] is not None:
        lines[0] += f", {_ms(latency['original_T_s'])} of the original"
    if latency["T_g"] is None:
        return lines
    than = "T_s" if latency["original_T_s"] is None else "the original's T_s"
    lines[0] += f"; T_g = {_ms(latency['T_g'])}, {latency['ratio']:.4g}x {than}"
    lines.append(
        f"E[T] = T_s + u·T_g = {_ms(latency['expected'])} with the u of the test frames: {1 / latency['expected']:.1f}"
        f" frames/s, {latency['T_g'] / latency['expected']:.2f} times those of the reference alone"
    )
    return lines


def _format_reference(found: Mapping[str, Any]) -> list[str]:
    return [f"{found['name']}: objects count from confidence {found['confidence']:g}, by {found['confidence_of']}"]


def _format_footage(found: Mapping[str, Any]) -> list[str]:
    seconds = found["seconds"]
    spent = ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items())
    lines = [
        f"{found['source']}: {found['frames']} frames, {found['present']:.2%} present, {found['forwarded']:.2%}"
        f" forwarded to {found['reference']}",
        f"E[T]: {_ms(found['predicted'])} predicted with this u, {_ms(found['measured'])} measured"
        f" ({found['measured'] / found['predicted'] - 1:+.1%}): {1 / found['measured']:.1f} frames/s by networks only,"
        f" {found['frames_per_second']:.1f} with everything",
        f"while frames were decoded: T_s = {_ms(found['T_s'])}, T_g = {_ms(found['T_g']) if found['T_g'] else '-'}",
        f"time: {spent}",
    ]
    if compared := found["comparison"]:
        lines.append(
            f"beside the reference on every frame: {compared['agreement']:.3%} of the answers agree,"
            f" {compared['missed']} missed of {compared['reference_present']} present,"
            f" {compared['false_alarms']} false alarms; the reference alone:"
            f" {compared['reference_frames_per_second']:.1f} frames/s, the cascade {compared['speedup']:.2f} times as"
            " many"
        )
    if found["problem"]:
        lines.append(f"note: {found['problem']}")
    if found["out"]:
        lines.append(f"the answers are in {found['out']}")
    return lines


def _ms(seconds: float) -> str:
    return f"{seconds / MILLISECOND:.4g} ms"
