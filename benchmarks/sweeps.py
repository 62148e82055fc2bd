"""A sweep of 12 short trainings by every launcher: equal results, jobs a second, overhead a job, a node killed.

    python benchmarks/sweeps.py [--out FOLDER] [--write]

Compared with Hydra's basic launcher, which runs the jobs one after another: joblib, submitit's local executor, and Ray
on a cluster of two nodes on this machine, undisturbed and with one node killed (SIGKILL to all its processes) after
three jobs. Prints a Markdown table. The weights of every run have to be equal, bit for bit, to those of the basic
launcher.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from results import machine, write

JOBS = ["experiment=null", "fold=1,2,4", "game=lol_gold1,apex_count,sot_coin,sot_time"]
SHORT = [
    "++game.images.train=40",
    "++game.images.val=10",
    "++game.images.test=10",
    "recipe=paper",
    "epochs=3",
    "groupings=1",
]
ONE_CORE = ["threads=1", "workers=1"]
PARALLEL = 2
JOB_COUNT = 12
KILL_AFTER = 3  # finished jobs
START_SECONDS = 90.0
RAY = Path(sys.executable).with_name("ray")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, help="an empty folder for the runs; default: a temporary one")
    parser.add_argument("--write", action="store_true", help="put the table into RESULTS.md")
    given = parser.parse_args()
    out = given.out or Path(tempfile.mkdtemp(prefix="sweeps-"))
    out.mkdir(parents=True, exist_ok=True)
    _sweep(out, "warm", ["hydra/launcher=basic"], jobs=["fold=1", JOBS[2]])  # data sets and compiled code
    rows = {"one after another (basic)": _sweep(out, "basic", ["hydra/launcher=basic"])}
    rows["joblib, 2 at once"] = _sweep(out, "joblib", ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={PARALLEL}"])
    rows["submitit, local, all at once"] = _sweep(
        out, "submitit", ["hydra/launcher=submitit_local", "hydra.launcher.cpus_per_task=1"]
    )
    with Cluster() as cluster:
        ray = ["hydra/launcher=ray", f"hydra.launcher.address={cluster.address}"]
        rows["Ray, two nodes of a core"] = _sweep(out, "ray", ray)
        rows["Ray, one of two nodes killed"] = _sweep(out, "ray_killed", ray, after=cluster.kill_second_node)
    reference = rows["one after another (basic)"]
    lines = ["| launcher | jobs | wall time, s | jobs/s | work, s | overhead a job, s | lost | results |"]
    lines.append("|---|---:|---:|---:|---:|---:|---:|---|")
    for name, row in rows.items():
        at_once = {"one": 1, "sub": JOB_COUNT}.get(name[:3], PARALLEL)
        overhead = (row.wall - row.work / at_once) / JOB_COUNT
        equal = "equal" if row.digests == reference.digests else "DIFFERENT"
        lines.append(
            f"| {name} | {len(row.digests)} | {row.wall:.1f} | {len(row.digests) / row.wall:.2f} | {row.work:.1f} |"
            f" {overhead:.2f} | {JOB_COUNT - len(row.digests)} | {equal} |"
        )
    text = "\n".join([*lines, "", machine()])
    print(text)
    if given.write:
        write("sweeps", "A sweep by every launcher", "python benchmarks/sweeps.py --write", text)
    if any(row.digests != reference.digests for row in rows.values()):
        sys.exit("the results differ")


class Sweep:
    """What a sweep gave: wall time and the jobs' own time in seconds, and the digest of each run's weights."""

    def __init__(self, wall: float, runs: Path):
        self.wall = wall
        records = [json.loads(path.read_text()) for path in runs.glob(".jobs/*.json")]
        self.work = sum(record["ended"] - record["started"] for record in records)
        self.digests = {
            path.parent.name: hashlib.sha256(path.with_name("model.safetensors").read_bytes()).hexdigest()
            for path in runs.glob("*/result.json")
        }


def _sweep(
    out: Path, name: str, launcher: list[str], after: Callable[[], object] | None = None, jobs: list[str] = JOBS
) -> Sweep:
    runs = out / name
    command = [sys.executable, "-m", "train", "-m", *jobs, *SHORT, *ONE_CORE, *launcher]
    command += [f"runs={runs}", f"data_dir={out / 'data'}"]
    started = time.perf_counter()
    with (out / f"{name}.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        if after is not None:
            threading.Thread(target=_call_after, args=(runs, after), daemon=True).start()
    if process.returncode:
        sys.exit(f"{name} ended with {process.returncode}: see {out / name}.log")
    return Sweep(time.perf_counter() - started, runs)


def _call_after(runs: Path, action: Callable[[], object]) -> None:
    while len(list(runs.glob("*/result.json"))) < KILL_AFTER:
        time.sleep(0.1)
    action()


class Cluster:
    """A Ray cluster of two nodes with one core each, on this machine. Its token is in this process's environment."""

    def __enter__(self) -> Cluster:
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"127.0.0.1:{port}"
        self._folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # short: Ray's sockets lie in it
        self._nodes = [
            self._start("--head", f"--port={port}", f"--temp-dir={self._folder}", "--include-dashboard=false")
        ]
        self._nodes.append(self._start(f"--address={self.address}"))
        return self

    def _start(self, *options: str) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token"}
        command = [str(RAY), "start", "--block", "--num-cpus=1", "--object-store-memory=100000000", *options]
        node = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        )
        lines: list[bytes] = []
        assert node.stdout
        threading.Thread(target=lines.extend, args=(node.stdout,), daemon=True).start()
        until = time.monotonic() + START_SECONDS
        while not any(b"Ray runtime started" in line for line in lines):
            if node.poll() is not None or time.monotonic() > until:
                _kill_tree(node.pid)
                raise RuntimeError(f"{' '.join(command)} did not start:\n{b''.join(lines).decode()}")
            time.sleep(0.1)
        return node

    def kill_second_node(self) -> None:
        """SIGKILL to all processes of the node, at once."""
        _kill_tree(self._nodes[1].pid)

    def __exit__(self, *_: object) -> None:
        for node in reversed(self._nodes):
            _kill_tree(node.pid)
            node.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def _kill_tree(root: int) -> None:
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            match = re.match(r"(\d+) \(.*\) \S (\d+)", stat.read_text(), re.DOTALL)
        except OSError:
            continue
        if match:
            parents[int(match[1])] = int(match[2])
    doomed = {root}
    while more := {pid for pid, parent in parents.items() if parent in doomed} - doomed:
        doomed |= more
    for pid in doomed:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


if __name__ == "__main__":
    main()
