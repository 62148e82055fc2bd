"""Many sources at once: a Ray Data job that reads each into a Parquet file of its own.

A worker loads the networks once and reads one source after the other, by the same code as the command for one source:
frames are decoded as fast as the networks take them, and none waits in a queue. What a worker that dies was reading
goes on in another, from the state on the disk, so that no row is lost and none is there twice.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import importlib
import io
import json
import logging
import os
import re
import socket
import sys
import time
import traceback
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from textgen.common.atomic import file_lock, os_errors_as_user_errors, write_atomic
from textgen.common.bounded_text import load_json
from textgen.common.errors import UserError
from textgen.common.parquet import import_pyarrow
from textgen.common.progress import progress_bar
from textgen.common.ray_cluster import connect, count_places
from train.common.resume import identify_source, is_resumable
from train.predict.predictor import Predictor
from train.predict.resume import VERSION, digest_run
from train.predict.run import predict
from train.predict.settings import Settings

MAX_LIST_BYTES = 64 << 20  # of a text file of sources
MAX_NAME = 200  # characters of a folder's name
MAX_ATTEMPTS = 3  # workers that may die with one source
OTHER_FOLDER = "another folder with out=…"
ROWS = "values.parquet"
MARK = ".done.json"


@dataclass(frozen=True)
class Part:
    """One source of many: its rows are in `rows`, and `done` says what they are of when they are complete.

    `attempts` counts the workers that began to read it in this command.
    """

    source: str
    folder: Path

    @property
    def rows(self) -> Path:
        return self.folder / ROWS

    @property
    def done(self) -> Path:
        return self.folder / MARK

    @property
    def attempts(self) -> Path:
        return self.folder / ".attempts"


def list_sources(source: object) -> list[str] | None:
    """The sources of a setting that names many: a list, a pattern with *, ? or [, or a text file with one a line.

    None for a single source. Raises `UserError` for many that are none, of which one is there twice, or is live.
    """
    if isinstance(source, list | tuple):
        found = [str(each) for each in source]
    elif isinstance(source, str) and source.lower().endswith(".txt"):
        path = Path(source).expanduser()
        with os_errors_as_user_errors(path, "another file"):
            if path.stat().st_size > MAX_LIST_BYTES:
                raise UserError(f"source={source} has more than {MAX_LIST_BYTES >> 20} MB: divide it")
            lines = path.read_text(encoding="utf-8").splitlines()
        found = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    elif (
        isinstance(source, str) and re.search(r"[*?\[]", source) and is_resumable(source) and not os.path.exists(source)
    ):
        found = sorted(glob.glob(str(Path(source).expanduser()), recursive=True))
    else:
        return None
    if not found:
        raise UserError(f"source={source} names no source: give videos, '[a.mp4,b.mp4]', 'clips/*.mp4' or a list.txt")
    if twice := next((each for each, count in Counter(found).items() if count > 1), None):
        raise UserError(f"source={source} has {twice} twice: leave one out")
    if live := next((each for each in found if not is_resumable(each)), None):
        raise UserError(f"{live} is live, and has no end at which a worker is free: read it by a command of its own")
    return found


def predict_many(settings: Settings, sources: Sequence[str]) -> str:
    """Read all sources on Ray, each to <out>/source=<its name>/values.parquet; return a line about it.

    Sources that an earlier call has read are left as they are, unless `settings.overwrite`. A source that cannot be
    read stops no other one, and has no rows. Raises `UserError` at the end if there was such a source, and before any
    work for settings that many sources cannot have and an `out` with rows of other settings.
    """
    import_pyarrow(f"out={settings.out}: Parquet")
    _check(settings)
    job = _identify_job(settings)
    parts = [Part(source, settings.out / f"source={_folder_name(source)}") for source in sources]
    with os_errors_as_user_errors(settings.out, OTHER_FOLDER):
        settings.out.mkdir(parents=True, exist_ok=True)
        with file_lock(settings.out / ".lock", f"another process reads into {settings.out}"):
            _check_marks(settings.out, {part.folder for part in parts}, job, overwrite=settings.overwrite)
            pending = [part for part in parts if settings.overwrite or not _is_done(part, job)]
            started = time.perf_counter()
            frames, problems = _read_on_ray(settings, pending, job) if pending else (0, [])
    seconds = time.perf_counter() - started
    before = f", {len(parts) - len(pending)} were read before" if len(pending) < len(parts) else ""
    if problems:
        for problem in problems:
            print(problem, file=sys.stderr)
        raise UserError(
            f"{len(problems)} of {len(parts)} sources could not be read, the first: {problems[0]}; the rows of the"
            f" others are in {settings.out}, and the same command tries those again that could not be read"
        )
    rate = f"{frames} frames of {len(pending)} sources in {seconds:.1f} s, {frames / max(seconds, 1e-9):.0f} frames/s"
    return f"{settings.out}: {rate}{before}"


def _check(s: Settings) -> None:
    if s.annotate:
        raise UserError(f"annotate={s.annotate} is for a single source: read that one by itself")
    if s.out.suffix or (s.out.exists() and not s.out.is_dir()):
        raise UserError(f"out={s.out}: many sources need a folder, in which each has its own {ROWS}: give out=values")


def _folder_name(source: str) -> str:
    """The source in a form that is a file name, which Parquet's readers turn back: a%2Fb -> a/b."""
    name = quote(source, safe=" ")
    if len(name) > MAX_NAME:
        name = f"{name[: MAX_NAME - 17]}-{hashlib.sha256(source.encode()).hexdigest()[:16]}"
    return name


def _identify_job(s: Settings) -> str:
    """A digest of all that decides the rows besides the source."""
    regions = s.regions.read_text(encoding="utf-8") if isinstance(s.regions, Path) else dict(s.regions)
    decides = {
        "version": VERSION,
        "run": _digest_runs(s.run),
        "regions": regions,
        **{
            key: repr(getattr(s, key)) for key in ("smoothing", "threshold", "changes", "join", "every", "start", "end")
        },
        **{key: repr(getattr(s, key)) for key in ("rate", "engine")},
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True, default=str).encode()).hexdigest()


def _digest_runs(run: Path | Mapping[str, Any]) -> Any:
    return digest_run(run) if isinstance(run, Path) else {name: _digest_runs(each) for name, each in run.items()}


def _read_mark(path: Path) -> dict[str, Any] | None:
    """What a mark says; None if there is none, or it is damaged."""
    try:
        mark = load_json(path)
    except (OSError, ValueError):
        return None
    return mark if isinstance(mark, dict) else None


def _check_marks(out: Path, given: set[Path], job: str, *, overwrite: bool) -> None:
    """Raise `UserError` if the folder has rows of other settings, which would be one table with those of this job."""
    for path in sorted(out.glob(f"source=*/{MARK}")):
        mark = _read_mark(path)
        if mark and mark.get("job") != job and not (overwrite and path.parent in given):
            raise UserError(
                f"{path.parent} holds rows of other settings: give the settings that it was read with or another out=…;"
                " overwrite=true replaces the rows of the sources that are given"
            )


def _is_done(part: Part, job: str) -> bool:
    """Whether the rows of a source, as it is now, are complete."""
    mark = _read_mark(part.done)
    return mark is not None and part.rows.is_file() and {**mark, **_describe(part, job)} == mark


def _describe(part: Part, job: str) -> dict[str, str]:
    return {"source": identify_source(part.source), "job": job}


def _read_on_ray(s: Settings, parts: Sequence[Part], job: str) -> tuple[int, list[str]]:
    """The number of frames that were read, and a line for each source that could not be."""
    ray = connect(s.ray.address)
    gpus = int(s.device.startswith("cuda"))
    room = count_places(ray, s.ray.cpus, gpus)
    workers = min(s.ray.workers or room, len(parts))
    if workers > room:
        raise UserError(f"ray.workers={workers}: the cluster has room for {room} of {s.ray.cpus} cores: give fewer")
    data = importlib.import_module("ray.data")
    data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    for part in parts:
        part.attempts.unlink(missing_ok=True)
    rows = data.from_items([{"number": number} for number in range(len(parts))], override_num_blocks=len(parts))
    read = rows.map(
        _Worker,
        fn_constructor_args=(s, list(parts), job, os.getcwd(), uuid.uuid4().hex),
        # Only what a worker reads now: a second source in its queue would wait while others are idle.
        compute=data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=1),
        num_cpus=s.ray.cpus,
        num_gpus=gpus,
    )
    frames, problems = 0, []
    try:
        with progress_bar(len(parts), s.out.name, unit=" sources") as progress:
            for row in read.iter_rows():
                frames += row["frames"]
                for note in filter(None, row["notes"].splitlines()):
                    progress.write(f"{row['source']}: {note}", file=sys.stderr)
                if row["problem"]:
                    problems.append(f"{row['source']}: {row['problem']}")
                progress.update(1)
    except ray.exceptions.RayError as error:
        reason = " ".join(str(error).split())[:500]
        raise UserError(f"Ray ended the job ({reason}): the same command goes on") from None
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped; the same command goes on") from None
    return frames, problems


class _Worker:
    """Reads sources, one after the other, with networks that are loaded once; an actor of Ray.

    `command` tells this command from others: a mark with it is of a worker that died before Ray had its result.
    """

    def __init__(self, settings: Settings, parts: Sequence[Part], job: str, folder: str, command: str) -> None:
        self._settings, self._parts, self._job = settings, parts, job
        self._folder, self._command = folder, command
        self._networks: dict[Path, Predictor] = {}

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        part = self._parts[int(row["number"])]
        frames, problem = 0, ""
        with contextlib.redirect_stderr(io.StringIO()) as notes:
            try:
                self._enter_folder()
                frames = self._read(part)
            except UserError as error:
                problem = error.summary
            except Exception as error:  # of a library or a bug: it should not end the reading of other sources
                problem = f"{type(error).__name__}: {error}"
                traceback.print_exc()
            if problem:
                with contextlib.suppress(OSError):  # rows up to a damaged place are no rows of the source
                    part.rows.unlink(missing_ok=True)
        return {"source": part.source, "frames": frames, "problem": problem, "notes": notes.getvalue()}

    def _enter_folder(self) -> None:
        try:
            os.chdir(self._folder)
        except OSError:
            raise UserError(
                f"the node {socket.gethostname()} has no folder {self._folder}: call the command in a folder that all"
                " nodes share"
            ) from None

    def _read(self, part: Part) -> int:
        """The number of frames of a source, whose rows are complete when its mark is there."""
        mark = _read_mark(part.done)
        if mark and mark.get("command") == self._command:
            return int(mark["frames"])
        part.folder.mkdir(parents=True, exist_ok=True)
        part.done.unlink(missing_ok=True)
        self._count_attempt(part)
        before = _describe(part, self._job)
        settings = replace(self._settings, source=part.source, out=part.rows, overwrite=True)
        frames = predict(settings, self._networks, quiet=True).frames
        if _describe(part, self._job) != before:
            raise UserError("the file has changed while it was read: is it complete?")
        mark = {**before, "command": self._command, "name": part.source, "frames": frames}
        write_atomic(part.done, json.dumps(mark, indent=1).encode(), OTHER_FOLDER)
        part.attempts.unlink(missing_ok=True)
        return frames

    def _count_attempt(self, part: Part) -> None:
        """Raise `UserError` for a source with which several workers have died."""
        begun = part.attempts.stat().st_size if part.attempts.exists() else 0
        if begun >= MAX_ATTEMPTS:
            raise UserError(f"{begun} workers have died while they read it: read it by a command of its own")
        write_atomic(part.attempts, b"." * (begun + 1), OTHER_FOLDER)
