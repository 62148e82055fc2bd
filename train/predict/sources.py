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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from textgen.common.atomic import file_lock, os_errors_as_user_errors, write_atomic
from textgen.common.errors import UserError
from textgen.common.parquet import import_pyarrow
from textgen.common.progress import progress_bar
from textgen.common.ray_cluster import connect
from train.common.resume import identify_source, is_resumable
from train.predict.predictor import Predictor
from train.predict.resume import VERSION, digest_run
from train.predict.run import predict
from train.predict.settings import Settings

MAX_LIST_BYTES = 64 << 20  # of a text file of sources
MAX_NAME = 200  # characters of a folder's name
OTHER_FOLDER = "another folder with out=…"
ROWS = "values.parquet"


@dataclass(frozen=True)
class Part:
    """One source of many: its rows are in `rows`, and `done` says what they are of when they are complete."""

    source: str
    folder: Path

    @property
    def rows(self) -> Path:
        return self.folder / ROWS

    @property
    def done(self) -> Path:
        return self.folder / ".done.json"


def list_sources(source: object) -> list[str] | None:
    """The sources of a setting that names many: a list, a pattern with *, or a text file with one a line.

    None for a single source. Raises `UserError` for many that are none, or of which one is there twice.
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
        isinstance(source, str) and re.search(r"[*\[]", source) and is_resumable(source) and not os.path.exists(source)
    ):
        found = sorted(glob.glob(str(Path(source).expanduser()), recursive=True))
    else:
        return None
    if not found:
        raise UserError(f"source={source} names no source: give videos, '[a.mp4,b.mp4]', 'clips/*.mp4' or a list.txt")
    if twice := next((each for each in found if found.count(each) > 1), None):
        raise UserError(f"source={source} has {twice} twice: leave one out")
    return found


def predict_many(settings: Settings, sources: Sequence[str]) -> str:
    """Read all sources on Ray, each to <out>/source=<its name>/values.parquet; return a line about it.

    Sources that an earlier call has read are left as they are. A source that cannot be read stops no other one. Raises
    `UserError` at the end if there was such a source, and before any work for settings that many sources cannot have.
    """
    import_pyarrow(f"out={settings.out}: Parquet")
    job = _identify_job(settings)
    parts = [Part(source, settings.out / f"source={_folder_name(source)}") for source in sources]
    _check(settings)
    with os_errors_as_user_errors(settings.out, OTHER_FOLDER):
        settings.out.mkdir(parents=True, exist_ok=True)
        with file_lock(settings.out / ".lock", f"another process reads into {settings.out}"):
            pending = [part for part in parts if not _is_done(part, job, overwrite=settings.overwrite)]
            started = time.perf_counter()
            frames, problems = _read_on_ray(settings, pending, job) if pending else (0, [])
    seconds = time.perf_counter() - started
    before = f", {len(parts) - len(pending)} were read before" if len(pending) < len(parts) else ""
    rate = (
        f"{frames} frames of {len(pending) - len(problems)} sources in {seconds:.1f} s, {frames / seconds:.0f} frames/s"
    )
    if problems:
        for problem in problems:
            print(problem, file=sys.stderr)
        raise UserError(
            f"{len(problems)} of {len(parts)} sources could not be read, the first: {problems[0]}; the rows of the"
            f" others are in {settings.out}, and the same command tries those again that could not be read"
        )
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


def _is_done(part: Part, job: str, *, overwrite: bool) -> bool:
    """Whether the rows of a source are complete. Raises `UserError` for rows of another job, unless `overwrite`."""
    try:
        done = json.loads(part.done.read_text(encoding="utf-8"))
        other = next((key for key, value in _describe(part, job).items() if done.get(key) != value), None)
    except FileNotFoundError:
        return False
    except (ValueError, AttributeError):
        other = "record"
    if other is None and part.rows.is_file():
        return True
    if other is not None and not overwrite:
        raise UserError(
            f"{part.folder} holds rows of another {other}: give the settings it was read with, another out=…, or"
            " overwrite=true"
        )
    part.done.unlink()
    return False


def _describe(part: Part, job: str) -> dict[str, str]:
    return {"source": identify_source(part.source), "job": job}


def _read_on_ray(s: Settings, parts: Sequence[Part], job: str) -> tuple[int, list[str]]:
    """The number of frames that were read, and a line for each source that could not be."""
    ray = connect(s.ray.address)
    cores = int(ray.cluster_resources().get("CPU", 1))
    workers = min(s.ray.workers or max(cores // s.ray.cpus, 1), len(parts))
    if workers * s.ray.cpus > cores:
        raise UserError(
            f"ray.workers={workers} of ray.cpus={s.ray.cpus} need more than the cluster's {cores} cores: give fewer"
        )
    live = sum(not is_resumable(part.source) for part in parts)
    if live > workers:
        raise UserError(f"{live} live streams need a worker each, and there are {workers}: give ray.workers={live}")
    data = importlib.import_module("ray.data")
    data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    rows = data.from_items([{"number": number} for number in range(len(parts))], override_num_blocks=len(parts))
    read = rows.map(
        _Worker,
        fn_constructor_args=(s, list(parts), job, os.getcwd()),
        concurrency=workers,
        num_cpus=s.ray.cpus,
        num_gpus=1 if s.device.startswith("cuda") else 0,
    )
    frames, problems = 0, []
    with progress_bar(len(parts), s.out.name, unit=" sources") as progress:
        for row in read.iter_rows():
            frames += row["frames"]
            for note in filter(None, row["notes"].splitlines()):
                progress.write(f"{row['source']}: {note}", file=sys.stderr)
            if row["problem"]:
                problems.append(f"{row['source']}: {row['problem']}")
            progress.update(1)
    return frames, problems


class _Worker:
    """Reads sources, one after the other, with networks that are loaded once; an actor of Ray."""

    def __init__(self, settings: Settings, parts: Sequence[Part], job: str, folder: str) -> None:
        try:
            os.chdir(folder)
        except OSError:
            raise UserError(
                f"the node {socket.gethostname()} has no folder {folder}: call the command in a folder that all share"
            ) from None
        self._settings, self._parts, self._job = settings, parts, job
        self._networks: dict[Path, Predictor] = {}

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        part = self._parts[int(row["number"])]
        result = {"source": part.source, "frames": 0, "problem": ""}
        with contextlib.redirect_stderr(io.StringIO()) as notes:
            try:
                part.folder.mkdir(parents=True, exist_ok=True)
                # Complete rows without a record are of a worker that died between both: they are read again.
                settings = replace(self._settings, source=part.source, out=part.rows, overwrite=True)
                result["frames"] = predict(settings, self._networks, quiet=True).frames
                record = {**_describe(part, self._job), "name": part.source, "frames": result["frames"]}
                write_atomic(part.done, json.dumps(record, indent=1).encode(), OTHER_FOLDER)
            except UserError as error:
                result["problem"] = error.summary
        return {**result, "notes": notes.getvalue()}
