"""A cascade on footage: answers to a file, and what was measured on the way."""

from __future__ import annotations

import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from textgen.common.atomic import OTHER_OUT, atomic_path
from textgen.common.errors import UserError
from textgen.common.progress import progress_bar
from textgen.footage.frames import Frame, FrameReader
from train.cascade.networks import CascadeNetwork
from train.cascade.reference import Reference
from train.cascade.running import COMPARISON, NETWORK, PREPARING, REFERENCE, Answer, Cascade, Counts
from train.cascade.thresholds import Thresholds
from train.common.lines import LineFile, find_format, lines_path
from train.predict.reading import Clock

MAX_KEPT = 1 << 30  # bytes of frames that wait for their answers
TRIALS = 3  # calls of the reference before the first answer, of which the median counts
DECODING = "decoding"
WRITTEN = 1024  # answers written at once
TYPES = {"frame": "int64", "time": "double", "answer": "string", "probability": "double", "decided_by": "string"}


def fit_batches(batch: int, reference_batch: int, size: tuple[int, int], stack: int) -> tuple[int, int]:
    """The largest batches up to `batch` and `reference_batch` whose frames of `size` (H, W) fit in memory together.

    A `batch` is at least a `stack`, a reference batch at least a frame, however large they are; where both are too
    large, each has half of the memory. Frames are kept as they are decoded, in at most three bytes a pixel.
    """
    fits = MAX_KEPT // (3 * size[0] * size[1])
    for_reference = min(reference_batch, max(fits - max(batch, stack), min(fits // 2, fits - stack), 1))
    return max(min(batch, fits - for_reference), stack), for_reference


def measure_reference(reference: Reference, frames: Sequence[Frame], batch: int) -> float:
    """T_g: seconds a frame of the reference, called with up to `batch` of some `frames`."""
    chosen = [*frames[:batch]]
    indices = [frame.index for frame in chosen] or [0] * batch
    pixels = [frame.rgb() for frame in chosen] if reference.needs_pixels else []
    found = []
    for _ in range(TRIALS):
        started = time.perf_counter()
        reference.answer(indices, pixels)
        found.append((time.perf_counter() - started) / len(indices))
    return statistics.median(found)


@dataclass(frozen=True)
class FootageSettings:
    """How footage is gone through; `out` is the file of answers, if there is to be one, and `frames` how many frames
    are chosen, if that is known."""

    source: str
    out: Path | None
    reference_batch: int
    compare: bool
    frames: int | None = None


def measure_footage(
    reader: FrameReader,
    s: FootageSettings,
    network: CascadeNetwork,
    thresholds: Thresholds,
    reference: Reference,
    specialised: float,
) -> tuple[dict[str, Any], float]:
    """Run the cascade on the frames of `reader`; return what was measured, and T_g, the reference's seconds a frame.

    `specialised` is T_s. T_g is measured on the first frames, before they are answered, so that the formula is a
    prediction. An interrupt ends a stream or a camera, of which the answers up to there are kept; of other footage it
    leaves no file.
    """
    clock = Clock()
    frames = clock.wait(DECODING, reader)
    first = list(islice(frames, min(s.reference_batch, network.batch))) if reference.needs_pixels else []
    general = measure_reference(reference, first, s.reference_batch)
    cascade = Cascade(network, thresholds, reference, reference_batch=s.reference_batch, compare=s.compare, clock=clock)
    started = time.perf_counter()
    before = clock.seconds[DECODING]  # of the frames that are there already
    with (
        nullcontext(None) if s.out is None else open_answers(s.out) as write,
        progress_bar(s.frames, "frames", unit=" frames") as progress,
        _interruptible(_chain(first, frames), reader.is_live) as until_stopped,
    ):
        answers = cascade.run(until_stopped)
        while rows := [*islice(answers, WRITTEN)]:
            progress.update(len(rows))
            if write:
                write(rows)
        if not cascade.counts.frames:
            raise UserError(f"{s.source} was stopped before its first frame was answered: let it run for longer")
    elapsed = time.perf_counter() - started + before
    found = _describe(s, reader, reference, cascade.counts, clock, elapsed, specialised, general)
    return found, general


def _describe(
    s: FootageSettings,
    reader: FrameReader,
    reference: Reference,
    counts: Counts,
    clock: Clock,
    elapsed: float,
    specialised: float,
    general: float,
) -> dict[str, Any]:
    n, seconds = counts.frames, clock.seconds
    u = counts.forwarded / n
    measured = (seconds[NETWORK] + seconds[REFERENCE]) / n
    return {
        "source": s.source,
        "out": str(s.out) if s.out else None,
        "reference": reference.name,
        "frames": n,
        "present": counts.present / n,
        "forwarded": u,
        "seconds": {
            **{name: seconds[name] for name in (DECODING, PREPARING, NETWORK, REFERENCE)},
            **({COMPARISON: seconds[COMPARISON]} if s.compare else {}),
            "all": elapsed,
        },
        "T_s": seconds[NETWORK] / n,
        "T_g": seconds[REFERENCE] / counts.forwarded if counts.forwarded else None,
        "predicted": specialised + u * general,
        "measured": measured,
        "frames_per_second": n / (elapsed - seconds[COMPARISON]),
        "comparison": _compare(counts, clock, measured) if s.compare else None,
        "problem": reader.problem,
    }


def _compare(counts: Counts, clock: Clock, measured: float) -> dict[str, Any]:
    """The cascade beside the reference on every frame. What was forwarded has the reference's answer."""
    alone = (clock.seconds[REFERENCE] + clock.seconds[COMPARISON]) / counts.frames
    return {
        **{key: value for key, value in asdict(counts).items() if key in ("missed", "false_alarms")},
        "reference_present": counts.reference_present,
        "agreement": 1 - (counts.missed + counts.false_alarms) / counts.frames,
        "reference_frames_per_second": 1 / alone,
        "speedup": alone / measured,
    }


def _chain(first: list[Frame], rest: Iterator[Frame]) -> Iterator[Frame]:
    """The `first` frames, which are given up one by one, and the `rest`."""
    first.reverse()
    while first:
        yield first.pop()
    yield from rest


class _Interrupt:
    """Ctrl-C as the end of a stream or camera: the first one is raised only while a frame is waited for, so that the
    frames before are answered."""

    def __init__(self) -> None:
        self.waiting = self.asked = False

    def __call__(self, *_: object) -> None:
        if self.waiting or self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def end(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """The frames up to the interrupt."""
        while not self.asked:
            self.waiting = True
            try:
                frame = next(frames, None)
            except KeyboardInterrupt:
                break
            finally:
                self.waiting = False
            if frame is None:
                return
            yield frame
            del frame
        print("stopped; the frames up to here are answered", file=sys.stderr)


@contextmanager
def _interruptible(frames: Iterator[Frame], is_live: bool) -> Iterator[Iterator[Frame]]:
    """Yield the frames; if they are live, an interrupt ends them."""
    if not is_live:
        yield frames
        return
    interrupt = _Interrupt()
    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield interrupt.end(frames)
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def open_answers(out: Path) -> Iterator[Callable[[Sequence[Answer]], object]]:
    """Yield a function that writes answers; `out` is replaced when the block succeeds, and as it was when it fails.

    The suffix gives the format. Raises `UserError` for another suffix, and for a place that cannot be written.
    """
    form = find_format(out)
    as_json = form == "jsonl"
    with atomic_path(out, OTHER_OUT) as temporary:
        lines = LineFile(temporary, form, b"" if as_json else f"{','.join(Answer._fields)}\n".encode(), offset=None)
        format_row = _format_json if as_json else _format_csv
        try:
            yield lambda answers: lines.write("".join(map(format_row, answers)).encode())
            lines.finish(TYPES)
        finally:
            lines.close()
            if form == "parquet":
                lines_path(temporary, form).unlink(missing_ok=True)


def _format_csv(row: Answer) -> str:
    return f"{row.frame},{row.time:.6f},{row.answer},{row.probability:.6f},{row.decided_by}\n"


def _format_json(row: Answer) -> str:
    return (
        f'{{"frame": {row.frame}, "time": {row.time:.6f}, "answer": "{row.answer}", '
        f'"probability": {row.probability:.6f}, "decided_by": "{row.decided_by}"}}\n'
    )
