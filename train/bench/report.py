"""The report of `train.bench`: a row for each network, engine, precision and batch size."""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from textgen.common.errors import UserError
from textgen.schema.game import Game
from train.bench.measure import (
    DEFAULT_PRECISIONS,
    Prepared,
    measure_labels,
    measure_seconds,
    pin_process,
    prepare,
    reference_labels,
)
from train.bench.settings import Settings
from train.bench.task import BenchmarkTask, build_task
from train.common import machine
from train.inference.cpu.peak import has_matrix_units, measure_peaks


def build_report(s: Settings, game: Game | None) -> dict[str, Any]:
    """Measure the networks of the settings `s`, as plain dicts, lists, strings and numbers. Raises `UserError`."""
    os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")  # fp32 means float32 in all of NVIDIA's libraries
    device = machine.select_device(s.device)
    if device.type not in DEFAULT_PRECISIONS:
        raise UserError(f"device={s.device}: engines run on cpu and cuda")
    with machine.torch_threads(s.threads), pin_process(s.threads if s.pin else None):
        name = machine.device_name(device)
        task, notes = build_task(s, game)
        prepared, unavailable = prepare(
            task,
            device,
            engines=s.engines,
            precisions=s.precisions,
            threads=s.threads,
            narrow="narrow" in s.forms,
        )
        notes += unavailable
        if not prepared:
            raise UserError(f"nothing is left to measure: {'; '.join(notes)}")
        before = measure_peaks(s.threads) if device.type == "cpu" else {}
        rows = _measure_rows(s, task, prepared)
        after = measure_peaks(s.threads) if before else {}
    peaks: dict[str, float] = {precision: max(rate, after[precision]) for precision, rate in before.items()}
    _add_ratios(rows, peaks)
    return {
        "task": task.name,
        "runs": [run.name for run in s.runs],
        "device": name,
        "threads": s.threads,
        "trials": s.trials,
        "peaks": peaks,
        "versions": machine.versions(),
        "commit": machine.commit(),
        "notes": notes,
        "rows": rows,
    }


def _measure_rows(s: Settings, task: BenchmarkTask, prepared: Sequence[Prepared]) -> list[dict[str, Any]]:
    """Labels and speeds of every network, engine and precision, by batch size."""
    references = {network: reference_labels(network, task) for network in {each.subject.network for each in prepared}}
    accuracies = [measure_labels(each, task, references[each.subject.network], s.batch[0]) for each in prepared]
    rows: list[dict[str, Any]] = []
    for batch in s.batch:
        times = measure_seconds(prepared, task.crops, batch, trials=s.trials, seconds=s.seconds, seed=s.seed)
        for each, seconds, accuracy in zip(prepared, times, accuracies, strict=True):
            subject, images = each.subject, each.images(batch)
            rows.append(
                {
                    "network": subject.name,
                    "fold": subject.network.fold,
                    "form": subject.form,
                    "engine": each.engine,
                    "precision": each.precision,
                    "batch": batch,
                    "images": images,
                    **_summarize_rates([images / second for second in seconds]),
                    "operations": subject.cost.operations(),
                    **accuracy,
                }
            )
    return rows


def _summarize_rates(rates: Sequence[float]) -> dict[str, float]:
    """Crops a second: the median of the trials, and the quartiles."""
    low, median, high = statistics.quantiles(rates, n=4, method="inclusive") if len(rates) > 1 else [*rates] * 3
    return {"images_per_second": median, "quartile_low": low, "quartile_high": high}


def _add_ratios(rows: Sequence[dict[str, Any]], peaks: Mapping[str, float]) -> None:
    """Add to each row its speed relative to the original network, and its share of its precision's peak rate.

    There is no share without a peak, and none of libraries that may use matrix units for int8, whose peak is another.
    """
    matrix_units = has_matrix_units()
    fastest = {batch: _fastest_original(rows, batch) for batch in {row["batch"] for row in rows}}
    originals = {_engine_key(row): row["images_per_second"] for row in rows if row["network"] == "original"}
    for row in rows:
        original, same_engine = fastest[row["batch"]], originals.get(_engine_key(row))
        row["times_original"] = row["images_per_second"] / original if original else None
        row["times_same_engine"] = row["images_per_second"] / same_engine if same_engine else None
        other_units = matrix_units and row["precision"] == "int8" and row["engine"] != "fused"
        peak = None if other_units else peaks.get(row["precision"])
        row["utilization"] = row["images_per_second"] * row["operations"] / peak if peak else None


def _fastest_original(rows: Sequence[Mapping[str, Any]], batch: int) -> float | None:
    """Crops a second of the original network in its fastest engine and floating-point precision."""
    rates = [
        row["images_per_second"]
        for row in rows
        if row["batch"] == batch and row["network"] == "original" and not row["precision"].startswith("int")
    ]
    return max(rates, default=None)


def _engine_key(row: Mapping[str, Any]) -> tuple[str, str, int]:
    """Engine, precision and batch, which the two networks of a speedup share in the paper (Tables 3 and 4)."""
    return row["engine"], row["precision"], row["batch"]
