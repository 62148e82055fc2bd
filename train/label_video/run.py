"""The command: read the frames in batches, detect, write rows, and go on where a stopped command was."""

from __future__ import annotations

import re
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from textgen.common.array_types import U8
from textgen.common.atomic import OTHER_OUT, os_errors_as_user_errors
from textgen.common.errors import UserError
from textgen.common.hydra_arguments import quote
from textgen.common.progress import progress_bar
from textgen.footage.frames import FrameReader, open_frames
from textgen.footage.regions import Region
from textgen.frames.label_table import about_path
from train.common.lines import Format, find_format, lines_path
from train.common.resume import (
    SavedState,
    find_state,
    identify_source,
    is_resumable,
    lock_output,
    save_state,
    state_path,
)
from train.detectors.detection import Detection, Detector
from train.label_video.settings import Settings
from train.label_video.table import FORMATS, Counts, TableFile

SAVE_EVERY = 5.0  # seconds between two states on the disk
BATCH_BYTES = 256 << 20  # of frames in memory, which limits a batch of large ones
FORMAT = 1  # of the file beside the table
VERSION = 1  # raised with every change of what the same command writes
SHOWN = 8  # objects that the last lines name


def label_video(settings: Settings) -> str:
    """Label the frames as the settings say; return lines about them. Raises `UserError`.

    The table is complete, or is not there; a stopped command goes on. Memory does not depend on the video's length.
    """
    form = find_format(settings.out, FORMATS)
    if not is_resumable(settings.source):
        raise UserError(f"source={settings.source} is not there again to train with: record it, and give the file")
    s = replace(settings, source=str(Path(settings.source).expanduser()))
    with lock_output(s.out):
        return _label_or_go_on(s, form)


def _label_or_go_on(s: Settings, form: Format) -> str:
    with os_errors_as_user_errors(s.out, OTHER_OUT):
        if s.out.exists() and not s.overwrite:
            raise UserError(f"out={s.out} exists: choose {OTHER_OUT}, or replace it with overwrite=true")
    detector = _load_detector(s)
    with open_frames(s.source, start=s.start, end=s.end) as reader:
        region = s.find_region(reader.size)
        identity = _identify(s, detector, region)
        saved = find_state(s.out, lines_path(s.out, form, hidden=True), identity, overwrite=s.overwrite)
        if saved is None:
            return _label(s, reader, detector, region, identity, None)
    print(f"{s.out} goes on at {saved.time:.2f} s, behind frame {saved.frame}", file=sys.stderr)
    with open_frames(s.source, start=saved.time, end=s.end) as reader:
        return _label(s, reader, detector, region, identity, saved)


def _load_detector(s: Settings) -> Detector:
    detector = s.load(s.detector, threads=s.threads, confidence=s.confidence)
    known = detector.objects
    if known is not None and (unknown := [name for name in s.objects or () if name not in known]):
        raise UserError(
            f"objects=[{unknown[0]}]: detector={s.detector} knows {', '.join(known[:80])}{', …' * (len(known) > 80)}"
        )
    return detector


def _identify(s: Settings, detector: Detector, region: Region | None) -> dict[str, str]:
    """What decides the rows of a command, by setting."""
    settings = ("objects", "confidence", "overlap", "every", "start", "end", "names", "size", "pixels", "channels")
    return {
        "version": str(VERSION),
        "source": identify_source(s.source),
        "detector": detector.name,
        "region": repr(region),
        **{key: repr(getattr(s, key)) for key in (*settings, "batch")},
    }


class _Labelling:
    """A table that is being written: what it holds, how far it is, and what the same command needs to go on there."""

    def __init__(self, s: Settings, identity: dict[str, str], saved: SavedState | None) -> None:
        self._s, self._identity = s, identity
        self.counts, self.decoded = Counts(), 0
        if saved is None:
            state_path(s.out).unlink(missing_ok=True)  # of rows that are gone
            if not s.out.exists():  # a table that is to be replaced keeps the file that says which frames it is about
                about_path(s.out).unlink(missing_ok=True)
        else:
            try:
                self.counts = Counts.from_json(saved.arrays["counts"].tobytes())
            except (ValueError, KeyError, TypeError, AttributeError):
                raise UserError(f"{state_path(s.out)} is damaged: begin again with overwrite=true") from None
        self._table = TableFile(s.out, find_format(s.out, FORMATS), saved.offset if saved else None)
        self._state, self._saved = saved, time.perf_counter()

    def add(self, batch: Sequence[_Shown], found: Sequence[Sequence[Detection]]) -> None:
        """Write the rows of a batch; now and then, save the state."""
        offset = self._table.append([(frame.index, rows) for frame, rows in zip(batch, found, strict=True)])
        for frame, rows in zip(batch, found, strict=True):
            self.counts.add(frame.index, rows)
        arrays = {"counts": np.frombuffer(self.counts.to_json(), np.uint8)}
        self._state = SavedState(offset, self._table.digest, batch[-1].index, batch[-1].time, arrays)
        if time.perf_counter() - self._saved > SAVE_EVERY:
            self.save()

    def save(self) -> None:
        """Save the state after the last whole batch, if there is one."""
        if self._state is not None:
            self._table.sync()
            save_state(self._s.out, self._identity, self._state)
        self._saved = time.perf_counter()

    def close(self) -> None:
        """Close the table; nothing is left of one that cannot go on."""
        self._table.close()
        if not state_path(self._s.out).exists():
            self._table.path.unlink(missing_ok=True)

    def finish(self, about: dict[str, Any]) -> None:
        """Put the table and the file beside it in their places."""
        self._table.finish(about)
        state_path(self._s.out).unlink(missing_ok=True)


@dataclass(frozen=True)
class _Shown:
    """A frame that is labelled."""

    index: int
    time: float
    pixels: U8


def _label(
    s: Settings,
    frames: FrameReader,
    detector: Detector,
    region: Region | None,
    identity: dict[str, str],
    saved: SavedState | None,
) -> str:
    """Label the frames behind those of `saved`; write the table."""
    labelling = _Labelling(s, identity, saved)
    before, started = labelling.counts.frames, time.perf_counter()
    total = -(-frames.frames // s.every) if frames.frames and s.start is None and s.end is None else None
    try:
        with progress_bar(total, s.out.name, done=before, unit=" frames") as bar:
            for batch in _batches(s, frames, labelling, saved.frame if saved else -1):
                found = detector([frame.pixels for frame in batch])
                labelling.add(batch, [[each for each in rows if _is_wanted(each, s, region)] for rows in found])
                bar.update(len(batch))
    except KeyboardInterrupt:
        labelling.save()
        again = "goes on" if state_path(s.out).exists() else "begins again"
        raise KeyboardInterrupt(f"stopped; the same command {again}") from None
    except UserError:
        raise
    except Exception:  # of the user's detector
        labelling.save()
        raise
    else:
        if not labelling.counts.frames:
            raise UserError(f"no frame of {s.source} is chosen: change start={s.start}, end={s.end} or every={s.every}")
        labelling.finish(_about(s, frames, labelling, detector, region))
    finally:
        labelling.close()
    if frames.problem:
        print(f"note: {frames.problem}; the frames up to there are in {s.out}", file=sys.stderr)
    return _summary(s, labelling.counts, labelling.counts.frames - before, time.perf_counter() - started)


def _batches(s: Settings, frames: FrameReader, labelling: _Labelling, behind: int) -> Iterator[list[_Shown]]:
    """The chosen frames behind the frame `behind`, in batches that begin at the same frames whenever it stopped."""
    height, width = frames.size
    count = max(min(s.batch, BATCH_BYTES // (height * width * 3)), 1)
    batch: list[_Shown] = []
    for frame in frames:
        labelling.decoded = frame.index + 1
        if frame.index > behind and frame.index % s.every == 0:
            batch.append(_Shown(frame.index, frame.time, frame.rgb()))
        del frame
        if len(batch) == count:
            yield batch
            batch = []
    if batch:
        yield batch


def _is_wanted(found: Detection, s: Settings, region: Region | None) -> bool:
    if s.objects is not None and found.object_name not in s.objects:
        return False
    return region is None or found.has_centre_in(region)


def _about(
    s: Settings, frames: FrameReader, labelling: _Labelling, detector: Detector, region: Region | None
) -> dict[str, Any]:
    """What the file beside the table says."""
    counts, (height, width) = labelling.counts, frames.size
    return {
        "format": FORMAT,
        "source": Path(s.source).name,
        "size": [height, width],
        "declared": frames.frames,
        "decoded": labelling.decoded if s.end is None else None,
        "problem": frames.problem,
        "every": s.every,
        "labelled": counts.frames,
        "first": counts.first,
        "last": counts.last,
        "detector": detector.name,
        "objects": s.objects,
        "confidence": s.confidence,
        "region": None if region is None else [region.left, region.top, region.width, region.height],
        "rows": dict(counts.rows.most_common()),
        "frames_with": dict(counts.frames_with.most_common()),
    }


def _summary(s: Settings, counts: Counts, new: int, seconds: float) -> str:
    """The last lines: what is in the table, and the command that trains with it."""
    lines = [f"{s.out}: {counts.frames:,} frames labelled; {new:,} in {seconds:.1f} s, {new / seconds:.1f} frames/s"]
    names = counts.frames_with.most_common()
    for name, count in names[:SHOWN]:
        lines.append(f"{name}: {counts.rows[name]:,} in {count:,} frames, {count / counts.frames:.1%}")
    if len(names) > SHOWN:
        lines.append(f"and {len(names) - SHOWN} other objects, see {about_path(s.out)}")
    if not names:
        return "\n".join([*lines, "no object was found: try a lower confidence, or another detector"])
    given = " ".join(shlex.quote(setting) for setting in _next_settings(s, counts, names[0][0]))
    return "\n".join([*lines, f"next: python -m train task=video {given}"])


def _next_settings(s: Settings, counts: Counts, name: str) -> list[str]:
    """What the table means to training: only labelled frames have a label."""
    quoted = name if re.fullmatch(r"[A-Za-z]\w*", name) else quote(name)
    given = [f"task.object={quoted}", f"source={s.source}", f"labels={s.out}"]
    if s.region is not None:
        given.append(f"task.region=[{','.join(map(str, s.region))}]")
    if s.every > 1:
        given.append(f"task.step={s.every}")
    if (s.start is not None or s.end is not None) and counts.first is not None and counts.last is not None:
        given.append(f"task.range=[{counts.first},{counts.last + 1}]")
    return given
