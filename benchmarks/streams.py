"""Twenty simulated streams read by a Ray Data job on two workers, one of which is killed: the rows of one process.

    python benchmarks/streams.py [--streams 20] [--seconds 60] [--out FOLDER] [--write]

Draws the streams (textgen.stream), trains a network for their counter, reads them one after the other in one process,
then on Ray with two workers, and on Ray again with a worker killed by SIGKILL in the middle. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml
from results import machine, write

from train.predict.rows import Row, read_rows
from train.predict.run import predict
from train.predict.settings import RaySettings, Settings

GAME = "sot_time"
WORKERS = 2
REGION = {"minutes": [40, 20, 30, 22]}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--streams", type=int, default=20)
    parser.add_argument("--seconds", type=int, default=60, help="length of each stream, of 30 frames a second")
    parser.add_argument(
        "--out", type=Path, help="a folder, where streams and network are kept; default: a temporary one"
    )
    parser.add_argument("--write", action="store_true", help="put the table into RESULTS.md")
    given = parser.parse_args()
    out = given.out or Path(tempfile.mkdtemp(prefix="streams-"))
    out.mkdir(parents=True, exist_ok=True)
    os.chdir(out)
    streams = [_draw(number, given.seconds) for number in range(given.streams)]
    _train()
    rows, measured = {}, []
    rows["one process, one after another"], figures = _read_alone(streams)
    measured.append(("one process, one after another", 0, *figures))
    for name, kill in ((f"Ray Data, {WORKERS} workers", False), (f"Ray Data, {WORKERS} workers, one killed", True)):
        rows[name], seconds, killed = _read_on_ray(streams, kill)
        measured.append((name, killed, figures[0], seconds))
    first, *others = rows.values()
    lines = ["| reader | workers killed | frames | wall time, s | frames/s | rows |", "|---|---:|---:|---:|---:|---|"]
    for (name, killed, frames, seconds), found in zip(measured, rows.values(), strict=True):
        same = "equal" if found == first else "DIFFERENT"
        rate = frames / seconds
        lines.append(f"| {name} | {killed} | {frames:,} | {seconds:.1f} | {rate:.0f} | {len(found):,}, {same} |")
    text = "\n".join([*lines, "", machine()])
    print(text)
    if given.write:
        write("streams", "Many sources on Ray", "python benchmarks/streams.py --write", text)
    if any(found != first for found in others):
        sys.exit("the rows differ")


def _run(*arguments: str) -> None:
    with Path("log.txt").open("ab") as log:
        subprocess.run([sys.executable, "-m", *arguments], check=True, stdout=log, stderr=log)


def _draw(number: int, seconds: int) -> Path:
    path = Path(f"stream_{number:02}_{seconds}s.mp4")
    if not path.exists():
        size = ["size=[320,180]", "place=[40,20]", f"seconds={seconds}", f"seed={number}"]
        _run("textgen.stream", f"game={GAME}", *size, f"out={path}", f"labels={path.with_suffix('.csv')}")
    return path


def _train() -> None:
    few = ["game.images.train=200", "game.images.val=20", "game.images.test=20", "recipe.images=100000"]
    _run("train", f"game={GAME}", "fold=4", *few, "out=run")


def _settings(source: Path | str, out: Path) -> Settings:
    given: dict[str, Any] = yaml.safe_load((Path(__file__).parents[1] / "conf/predict.yaml").read_text("utf-8"))
    given = {key: value for key, value in given.items() if key not in ("defaults", "hydra")}
    given |= {"run": Path("run"), "source": str(source), "regions": REGION, "out": out, "overwrite": True}
    return Settings(**{**given, "ray": RaySettings(**given["ray"])})


def _read_alone(streams: list[Path]) -> tuple[list[tuple[str, Row]], tuple[int, float]]:
    started, networks, frames, rows = time.perf_counter(), {}, 0, []
    for stream in streams:
        out = Path("alone") / f"{stream.stem}.parquet"
        out.parent.mkdir(exist_ok=True)
        frames += predict(_settings(stream, out), networks).frames
        rows += [(str(stream), row) for row in read_rows(out)]
    return rows, (frames, time.perf_counter() - started)


def _read_on_ray(streams: list[Path], kill: bool) -> tuple[list[tuple[str, Row]], float, int]:
    out = Path("ray_killed" if kill else "ray_whole")
    region = "regions={minutes: [40,20,30,22]}"
    command = [sys.executable, "-m", "train.predict", "run=run", f"source=stream_*_{_length(streams)}.mp4", region]
    command += [f"out={out}", "overwrite=true", f"ray.workers={WORKERS}"]
    started, killed = time.perf_counter(), []
    with Path("log.txt").open("ab") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        if kill:
            threading.Thread(target=_kill_a_worker, args=(out, len(streams), killed), daemon=True).start()
    if process.returncode:
        sys.exit(f"the command ended with {process.returncode}: see log.txt")
    seconds = time.perf_counter() - started
    rows = [
        (str(stream), row)
        for stream in streams
        for row in read_rows(out / f"source={quote(str(stream), safe=' ')}" / "values.parquet")
    ]
    return rows, seconds, len(killed)


def _length(streams: list[Path]) -> str:
    return streams[0].stem.rpartition("_")[2]


def _kill_a_worker(out: Path, count: int, killed: list[int]) -> None:
    """When a third of the streams is read, kill a process that reads one."""
    while len(list(out.glob("*/.done.json"))) < count // 3:
        time.sleep(0.05)
    killed.append(kill_reader(Path.cwd()))


def kill_reader(folder: Path) -> int:
    """Kill the first other process that has a video below `folder` open, by SIGKILL; return its number."""
    while True:
        for process in Path("/proc").glob("[0-9]*"):
            try:
                opened = [Path(os.readlink(link)) for link in (process / "fd").iterdir()]
            except OSError:
                continue
            reads = any(path.suffix == ".mp4" and folder in path.parents for path in opened)
            if reads and int(process.name) != os.getpid():
                os.kill(int(process.name), signal.SIGKILL)
                return int(process.name)
        time.sleep(0.005)


if __name__ == "__main__":
    main()
