"""The command: thresholds from validation frames, figures on test frames, and the cascade on footage."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from textgen.common.atomic import OTHER_OUT
from textgen.common.errors import UserError
from textgen.footage.frames import FrameReader, open_frames
from textgen.frames.label_table import about_path, read_about
from textgen.frames.settings import FrameTask
from train.cascade.footage import FootageSettings, fit_batches, measure_footage, measure_reference
from train.cascade.networks import CascadeNetwork, FittedNetwork, fit_network, measure_latencies
from train.cascade.plots import Line
from train.cascade.reference import Reference, load_delay, load_detector_reference, parse_delay
from train.cascade.report import compare_folding
from train.cascade.settings import Settings
from train.cascade.thresholds import Promise
from train.common.lines import find_format
from train.config.tasks import parse_task
from train.data.tasks import TaskData
from train.detectors.load import CONFIDENCE
from train.detectors.options import DetectorOptions
from train.inference.network import load
from train.runs.finished_runs import load_config, load_result, load_run_data

FRAME_RATE = 30.0  # frames a second of a video that does not declare it


@dataclass(frozen=True)
class Report:
    """`values` are plain. `lines` and `general`, T_g, are for the plot; without T_g there is none."""

    values: dict[str, Any]
    lines: tuple[Line, ...]
    general: float | None


def run_cascade(s: Settings) -> Report:
    """Fit and measure the cascade of the settings, which have a run, and use it on footage if there is a source.

    Raises `UserError`.
    """
    assert s.run is not None
    if s.out is not None:
        find_format(s.out)
        if os.path.lexists(s.out) and not s.overwrite:
            raise UserError(f"out={s.out} exists: choose {OTHER_OUT}, or replace it with overwrite=true")
    task = read_task(s.run)
    reference, counts_from = _load_reference(s, task)
    networks = [
        CascadeNetwork(run, engine=s.engine, device=s.device, threads=s.threads, batch=s.batch)
        for run in (s.run, s.original)
        if run is not None
    ]
    data = load_run_data(s.run, load(s.run), data_dir=s.data_dir, path=s.path)
    _check_original(networks, data)
    with ExitStack() as stack:
        reader = None
        if s.source is not None:
            source = os.path.expanduser(s.source)
            reader = stack.enter_context(open_frames(source, start=s.start, end=s.end, every=s.every, rate=s.rate))
            if reference is not None and reference.needs_pixels:
                s = _limit_batches(networks, s, reader)
        promise = Promise(s.fn, s.fp, s.confidence)
        rate = data.manifest["video"].get("rate") or FRAME_RATE
        thin = s.thin or max(round(rate / task.step), 1)
        fitted = [fit_network(network, data, promise, thin) for network in networks]
        report = _measure(s, fitted, data, promise, thin, reference, reader)
    report.values["reference"] = reference and {"name": reference.name, **counts_from}
    return report


def read_task(run: Path) -> FrameTask:
    """The task of a run. Raises `UserError` for one that is not on video."""
    task = parse_task(load_config(run))
    if not isinstance(task, FrameTask):
        raise UserError(
            f"run={run} is of no task on video: train one with python -m train task=coral source=… labels=…"
        )
    return task


def _load_reference(s: Settings, task: FrameTask) -> tuple[Reference | None, dict[str, Any]]:
    """The reference, and from which confidence its objects count and why, for the report."""
    if s.reference is None:
        return None, {}
    wanted = replace(task, object=s.object or task.object)
    given = s.reference_confidence
    if (delay := parse_delay(s.reference)) is not None:
        threshold, why = (task.threshold, "task.threshold") if given is None else (given, "reference_confidence")
        reference: Reference = load_delay(delay, s.labels, replace(wanted, threshold=threshold))
        return reference, {"confidence": threshold, "confidence_of": why}
    labels, about = _about_labels(s)
    confidence, why = _find_confidence(labels, about, task) if given is None else (given, "reference_confidence")
    options = s.reference_options or DetectorOptions()
    if options.region is None:
        options = replace(options, region=about.get("region") or task.region)
    reference = load_detector_reference(s.reference, wanted.object, confidence, threads=s.threads, options=options)
    region = None if options.region is None else list(options.region)
    return reference, {"confidence": confidence, "confidence_of": why, "region": region}


def _about_labels(s: Settings) -> tuple[Path | None, dict[str, Any]]:
    """The label table of the run, and what the file beside it says of how a detector made it; empty without one."""
    assert s.run is not None
    given = load_config(s.run).get("labels")
    labels = Path(given).expanduser() if isinstance(given, str) else None
    return labels, (read_about(labels) if labels else None) or {}


def _find_confidence(labels: Path | None, about: dict[str, Any], task: FrameTask) -> tuple[float, str]:
    """From which confidence a detector's objects count, as those of the run's labels did, and what says so."""
    found = about.get("confidence")
    if labels and isinstance(found, int | float) and 0 <= found <= 1:
        confidence, why = float(found), f"{about_path(labels).name}"
    else:
        confidence, why = CONFIDENCE, "label_video's default"
    return (task.threshold, "task.threshold") if task.threshold > confidence else (confidence, why)


def _check_original(networks: list[CascadeNetwork], data: TaskData) -> None:
    """Raise `UserError` for a network that is not the original of the other, of the same frames."""
    if len(networks) == 1:
        return
    run, original = networks
    if original.fold != 1 or run.fold == 1:
        raise UserError(
            f"original={original.run} has fold={original.fold}, run={run.run} fold={run.fold}: give a run with fold=1"
            " as original=, and a FoldedCNN as run="
        )
    if load_result(original.run).get("dataset_hash") != data.hash:
        raise UserError(
            f"original={original.run} was trained on other frames than run={run.run}: train both on the same"
        )


def _limit_batches(networks: list[CascadeNetwork], s: Settings, reader: FrameReader) -> Settings:
    """Frames that the reference may need are kept until it has answered: as many as memory allows.

    The settings with smaller batches, if need be.
    """
    stack = max(network.fold for network in networks)
    batch, reference_batch = fit_batches(s.batch, s.reference_batch, reader.size, stack)
    for network in networks:
        network.set_batch(batch)
    height, width = reader.size
    for name, wanted, fits, where in (
        ("batch", s.batch, networks[0].batch if batch < s.batch else s.batch, "network"),
        ("reference_batch", s.reference_batch, reference_batch, "reference"),
    ):
        if fits < wanted:
            print(
                f"{name}={wanted} frames of {width}×{height} do not fit in memory: {fits} go through the {where} at"
                " once",
                file=sys.stderr,
            )
    return replace(s, batch=batch, reference_batch=reference_batch)


def _measure(
    s: Settings,
    fitted: list[FittedNetwork],
    data: TaskData,
    promise: Promise,
    thin: int,
    reference: Reference | None,
    reader: FrameReader | None,
) -> Report:
    """All figures. Latencies are measured before the footage is read."""
    seconds = measure_latencies([each.network for each in fitted], data.val.images[: s.batch].numpy())
    footage: dict[str, Any] | None = None
    general: float | None
    if reader is not None and reference is not None:
        is_whole = s.start is None and s.end is None
        count = -(-reader.frames // s.every) if reader.frames and is_whole else None
        how = FootageSettings(str(s.source), s.out, s.reference_batch, s.compare, count)
        network, thresholds = fitted[0].network, fitted[0].thresholds
        footage, general = measure_footage(reader, how, network, thresholds, reference, seconds[0])
    elif reference is not None:
        general = measure_reference(reference, [], s.reference_batch)
    else:
        general = s.ratio * seconds[-1] if s.ratio else None
    own = fitted[0]
    ratio = general / seconds[-1] if general else None
    has_original = len(fitted) > 1
    values = {
        "promise": {**asdict(promise), "thin": thin},
        "network": own.describe(promise, thin),
        "original": fitted[1].describe(promise, thin) if has_original else None,
        "latency": {
            "T_s": seconds[0],
            "original_T_s": seconds[1] if has_original else None,
            "T_g": general,
            "ratio": ratio,
            "expected": seconds[0] + own.test.forwarded(own.thresholds) * general if general else None,
        },
        "folding": compare_folding(own, fitted[1], seconds[1] / seconds[0], ratio) if has_original else None,
        "footage": footage,
    }
    names = [f"fold={own.network.fold}" if own.network.fold > 1 else "original", "original"]
    lines = tuple(
        Line(name, each.test, each.thresholds, spent) for name, each, spent in zip(names, fitted, seconds, strict=False)
    )
    return Report(values, lines, general)
