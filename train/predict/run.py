"""The command: open the footage, read it, write rows, and go on where a stopped command was."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from textgen.common.atomic import OTHER_OUT, os_errors_as_user_errors
from textgen.common.errors import UserError
from textgen.common.progress import progress_bar
from textgen.footage.frames import Frame, FrameReader, open_frames
from textgen.footage.regions import load_regions
from textgen.frames.settings import CLASSES
from train.common.lines import find_format, lines_path
from train.common.resume import SavedState, find_state, is_resumable, lock_output, save_state, state_path
from train.predict.annotate import annotate, check_annotate
from train.predict.predictor import UNSURE, Predictor
from train.predict.reading import Clock, FootageReader
from train.predict.readouts import Joined, Readout, load_readouts, parse_join
from train.predict.resume import identify
from train.predict.rows import Row, RowFile
from train.predict.settings import Settings

SAVE_EVERY = 5.0  # seconds between two states on the disk
DOUBTFUL = 0.5  # the share of values "other" or "unsure" from which a region is reported


@dataclass(frozen=True)
class Summary:
    """What a finished command has read: the file `out`, how many frames in how many seconds, and a line about it."""

    out: Path
    frames: int
    seconds: float
    text: str

    def __str__(self) -> str:
        return self.text


def predict(settings: Settings, loaded: dict[Path, Predictor] | None = None, *, quiet: bool = False) -> Summary:
    """Read the footage as the settings say. `loaded` holds networks that are in memory already, and is added to.
    `quiet` shows no progress.

    The rows of a file are in a hidden file beside `out` until all are there; those of a stream or camera are in `out`
    as soon as they are known. Raises `UserError`. What goes wrong with the footage after its first frame is raised when
    the rows of the frames before are written.
    """
    s = replace(
        settings, source=str(Path(settings.source).expanduser()) if is_resumable(settings.source) else settings.source
    )
    form = find_format(s.out)
    check_annotate(s)
    with lock_output(s.out):
        return _predict(s, lines_path(s.out, form, hidden=is_resumable(s.source)), loaded, quiet)


def _predict(s: Settings, lines: Path, loaded: dict[Path, Predictor] | None, quiet: bool) -> Summary:
    """`predict`, while no other process writes `out`; `lines` is the file that rows are appended to."""
    with os_errors_as_user_errors(s.out, OTHER_OUT):
        if not s.overwrite and s.out.exists():
            raise UserError(f"out={s.out} exists: choose {OTHER_OUT}, or replace it with overwrite=true")
    with open_frames(s.source, start=s.start, end=s.end, every=s.every, rate=s.rate) as reader:
        regions = load_regions(s.regions, reader.size)
        readouts = load_readouts(s, regions, loaded)
        joined = parse_join(s.join, readouts)
        identity = identify(s, readouts, joined)
        saved = find_state(s.out, lines, identity, overwrite=s.overwrite) if is_resumable(s.source) else None
        if saved is None:
            summary = _read_all(s, reader, readouts, joined, identity, None, quiet)
    if saved is not None:
        print(f"{s.out} goes on at {saved.time:.2f} s, behind frame {saved.frame}", file=sys.stderr)
        with open_frames(s.source, start=saved.time, end=s.end, every=s.every, rate=s.rate) as reader:
            summary = _read_all(s, reader, readouts, joined, identity, saved, quiet)
    if s.annotate:
        annotate(s, readouts, joined)
        summary = replace(summary, text=f"{summary.text}\n{s.annotate}: the footage with boxes and values")
    return summary


def _read_all(
    s: Settings,
    frames: FrameReader,
    readouts: Sequence[Readout],
    joined: Sequence[Joined],
    identity: dict[str, str],
    saved: SavedState | None,
    quiet: bool,
) -> Summary:
    """Read the frames, behind those of `saved`; write all rows."""
    clock, started = Clock(), time.perf_counter()
    reader = FootageReader(readouts, joined, changes=s.changes, live=frames.is_live, clock=clock)
    if saved is None:
        state_path(s.out).unlink(missing_ok=True)  # of rows that are gone
    else:
        try:
            reader.restore(saved.arrays)
        except (KeyError, ValueError):
            raise UserError(f"{state_path(s.out)} is damaged: begin again with overwrite=true") from None
    smoothed = any(readout.kinds for readout in readouts)
    form = find_format(s.out)
    rows = RowFile(
        *(s.out, form), smoothed=smoothed, offset=saved.offset if saved else None, hidden=is_resumable(s.source)
    )
    count, problems = 0, list[UserError]()
    last_saved = time.perf_counter()
    total = frames.frames // s.every if frames.frames and s.start is None and s.end is None else None
    behind = saved.frame if saved else -1
    try:
        with progress_bar(total, s.out.name, unit=" frames", quiet=quiet) as progress:
            for at, seconds, found in _rows_of_frames(clock.wait("decoding", frames), reader, behind, problems):
                count += 1
                with clock.measure("writing"):
                    if found:
                        rows.append(found)
                        del found
                    if reader.is_between_groups:
                        progress.update(reader.group)
                        if time.perf_counter() - last_saved > SAVE_EVERY and is_resumable(s.source):
                            state = SavedState(rows.sync(), rows.digest, at, seconds, reader.save())
                            save_state(s.out, identity, state)
                            last_saved = time.perf_counter()
            progress.update(count % reader.group)
    except KeyboardInterrupt:
        if is_resumable(s.source):
            rows.close()
            again = "the same command goes on" if state_path(s.out).exists() else "the same command begins again"
            raise KeyboardInterrupt(f"stopped; {again}") from None
    rows.append(reader.finish())
    rows.finish()
    state_path(s.out).unlink(missing_ok=True)
    if problems:
        raise UserError(f"{problems[0].summary}; the rows of {count} frames before are in {s.out}")
    if frames.problem:
        print(f"note: {frames.problem}; the rows up to there are in {s.out}", file=sys.stderr)
    _report_doubts(reader, readouts)
    return _summary(s.out, count, time.perf_counter() - started, clock, readouts)


def _rows_of_frames(
    frames: Iterable[Frame], reader: FootageReader, behind: int, problems: list[UserError]
) -> Iterator[tuple[int, float, list[Row]]]:
    """Index and time of each frame behind the frame `behind`, with the rows that are known then.

    Ends where the footage cannot be read; `problems` is given the error. Those of writing rows are the caller's.
    """
    try:
        for frame in frames:
            at, seconds = frame.index, frame.time
            found = reader.add(frame) if at > behind else None
            del frame
            if found is not None:
                yield at, seconds, found
    except UserError as error:
        problems.append(error)


def _report_doubts(reader: FootageReader, readouts: Sequence[Readout]) -> None:
    """Print a warning for regions that mostly show no value: a wrong region, or a network for another game.

    A network of a task on video may well be unsure about most frames: it is told what answers these.
    """
    for readout in readouts:
        name, counts = readout.name, reader.counts
        unsure, other, sure = (counts[name, value] for value in (UNSURE, "other", ""))
        total = max(unsure + other + sure, 1)
        if (unsure + other) / total <= DOUBTFUL:
            continue
        if readout.predictor.classes == CLASSES:
            print(
                f"note: {name} is unsure in {unsure / total:.0%} of the frames: foldtext cascade asks a slower network"
                " about such frames",
                file=sys.stderr,
            )
        else:
            print(
                f"warning: {name} shows no counter in {other / total:.0%} of the frames and is unsure in"
                f" {unsure / total:.0%}: are the region, and the run for {readout.predictor.name}, the right ones?"
                f" Answers below the probability {readout.predictor.threshold:.4g} are unsure, see threshold=",
                file=sys.stderr,
            )


def _summary(out: Path, count: int, seconds: float, clock: Clock, readouts: Sequence[Readout]) -> Summary:
    engines = ", ".join(dict.fromkeys(readout.predictor.engine for readout in readouts))
    shares: dict[str, Any] = {name: f"{spent / seconds:.0%}" for name, spent in clock.seconds.items()}
    spent = ", ".join(f"{name} {share}" for name, share in shares.items())
    rate = f"{count} frames in {seconds:.1f} s, {count / seconds:.0f} frames/s"
    return Summary(out, count, seconds, f"{out}: {rate} ({spent}; engine {engines})")
