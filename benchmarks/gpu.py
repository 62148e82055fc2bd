"""Everything that is to be measured on an NVIDIA GPU, the most wanted first: `make gpu`, or

    python benchmarks/gpu.py [--minutes 8] [--folder FOLDER] [--commit HASH]

Each part runs in a process of its own, with a time limit. What it gives is written at once to gpu.json beside this file
and as tables to RESULTS.md; runs and logs are in runs/gpu. With --folder all of it goes there instead. A further start
does what is missing, and begins anew if the code or the machine is another. --commit names the commit of a copy without
git. `--device cpu --tiny` does the same with tiny networks on a CPU, to test this script.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from pathlib import Path
from typing import Any

import torch
from gpu_parts import ROOT, last_line
from gpu_tables import format_tables
from results import machine, write

from textgen.common.atomic import write_atomic
from textgen.common.errors import UserError
from train.common.machine import processor

CODE = ("train", "textgen", "conf", "fonts", "backgrounds", "benchmarks/gpu.py", "benchmarks/gpu_parts.py")
COMMAND = "make gpu"
LEAST = 10.0  # seconds
GRACE = 5.0  # seconds between the interrupt and the kill of a part that has reached its limit
GAMES = ("lol_gold1", "sot_time", "apex_count", "sot_coin")  # V1, V4, V2, V3
NETWORKS = ("coral", "roundabout", "taipei", "night")  # N1, N3, N4, N2


@dataclass(frozen=True)
class Part:
    """What one process measures: the function `kind` of gpu_parts, `given` its argument, within `limit` seconds."""

    name: str
    kind: str
    given: dict[str, Any]
    limit: float
    least: float = LEAST  # it is not begun with less time


@dataclass
class Store:
    """The results so far, in memory, in gpu.json, and as tables."""

    folder: Path | None  # None: benchmarks
    head: dict[str, Any]  # commit, machine, and of its host processor and day
    names: Sequence[str]  # of all parts
    parts: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return (self.folder or ROOT / "benchmarks") / "gpu.json"

    @property
    def runs(self) -> Path:
        return (self.folder or ROOT / "runs/gpu") / str(self.head["commit"])[:12]

    @property
    def data(self) -> Path:
        return (self.folder or ROOT) / "data"

    def load(self) -> None:
        """Take over what was measured before with the same code on the same machine."""
        with suppress(FileNotFoundError):
            before = json.loads(self.path.read_text(encoding="utf-8"))
            if all(before[key] == self.head[key] for key in ("commit", "machine")):
                self.parts = before["parts"]
            else:
                print(f"{self.path} is of another commit or machine: everything is measured again", file=sys.stderr)

    def is_open(self, name: str) -> bool:
        return self.parts.get(name, {}).get("status") != "done"

    def put(self, part: Part, **entry: Any) -> None:
        """Keep the result of a part, in the file and in the tables, each written completely or not at all."""
        given = {key: value for key, value in part.given.items() if key not in ("folder", "data")}
        self.parts[part.name] = {"kind": part.kind, "given": given, **entry}
        report = json.dumps({**self.head, "parts": self.parts}, indent=1).replace(f"{ROOT}/", "") + "\n"
        write_atomic(self.path, report.encode(), "another folder with --folder")
        self.write_tables()

    def write_tables(self) -> str:
        still_open = [name for name in self.names if self.is_open(name)]
        text = format_tables({**self.head, "parts": self.parts}, still_open).replace(f"{ROOT}/", "")
        path = {} if self.folder is None else {"path": self.folder / "RESULTS.md"}
        write("gpu", "GPU", COMMAND, text, **path)
        return text


class Process:
    """A process that has imported gpu_parts, or is about to, and waits for its part."""

    def __init__(self, folder: Path, log: Path):
        self.log, self.answer = log, folder / f"{log.stem}.json"
        with log.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, Path(__file__).with_name("gpu_parts.py")],
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that it can be ended with all processes that it starts
                env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
            )

    def run(self, part: Part, limit: float) -> dict[str, Any]:
        """Its answer, {"result": …} or {"error": …}, and "late" where it was ended at the limit."""
        job = {"kind": part.kind, "given": part.given, "seconds": limit, "result": str(self.answer)}
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(job).encode() + b"\n")
            self.process.stdin.close()
        try:
            self.process.wait(limit)
        except subprocess.TimeoutExpired:
            line = last_line(self.log)
            self.end()
            return {"error": f"stopped after {limit:.0f} s; its last line: {line}", "late": True}
        self.end()  # also what it may have left running
        try:
            answer: dict[str, Any] = json.loads(self.answer.read_text(encoding="utf-8"))
        except FileNotFoundError:
            code = self.process.returncode
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            return {"error": f"ended by {how}; its last line: {last_line(self.log)}"}
        return answer

    def end(self) -> None:
        """End it and all that it has started, gently at first: a training then writes its checkpoint."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(GRACE)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def process_in_reserve(logs: Path) -> Iterator[Any]:
    """Gives a function that returns a fresh `Process`: while one works, the next one imports what it will need."""
    logs.mkdir(parents=True, exist_ok=True)
    started: list[Process] = []
    with tempfile.TemporaryDirectory() as folder:

        def start() -> None:
            started.append(Process(Path(folder), logs / f"process_{len(started) + 1:02}.log"))

        def take() -> Process:
            start()
            return started[-2]

        start()
        try:
            yield take
        finally:
            for process in started[-2:]:
                process.end()


def run_parts(parts: Sequence[Part], store: Store, *, end: float, compiling: Mapping[str, Any] | None = None) -> None:
    """Run the open parts in their order, those that failed before last, until `end` of `time.monotonic`.

    A part that is cut off by `end`, not by its own limit, stays open. With `compiling`, what the parts need is compiled
    before, for games and networks each.
    """
    wanted = sorted((part for part in parts if store.is_open(part.name)), key=lambda part: part.name in store.parts)
    if not wanted:
        return
    with process_in_reserve(store.runs / "logs") as take:
        for at, part in enumerate(wanted):
            if compiling and part.kind in ("kernel", "speed") and _group(part) not in map(_group, wanted[:at]):
                alike = [vars(other) for other in wanted if _group(other) == _group(part)]
                jobs = [job for job in alike if job["given"].get("engine") != "eager"]
                jobs.sort(key=lambda job: job["given"].get("engine") != "compile")  # the longest first
                given = {**compiling, "parts": jobs}
                limit = min(200.0, end - time.monotonic() - LEAST)
                if jobs and limit > LEAST:
                    print(f"compiling for {len(jobs)} parts", file=sys.stderr)
                    take().run(Part("compiling", "compiling", given, limit), limit)
            left = end - time.monotonic()
            if left < part.least:
                break
            limit, begun = min(part.limit, left), time.monotonic()
            process = take()
            answer = process.run(part, limit)
            seconds = round(time.monotonic() - begun, 1)
            process.log.replace(store.runs / "logs" / f"{part.name}.log")
            if "result" in answer:
                finished = part.kind != "paper" or answer["result"]["finished"]
                store.put(part, status="done" if finished else "unfinished", seconds=seconds, result=answer["result"])
                print(f"{part.name}: {'done' if finished else 'not finished'}, {seconds} s", file=sys.stderr)
            elif "late" in answer and limit < part.limit:
                print(f"{part.name}: cut off by the end of the time", file=sys.stderr)
            else:
                store.put(part, status="failed", seconds=seconds, error=answer["error"])
                print(f"{part.name}: failed: {answer['error']}", file=sys.stderr)


def _group(part: Part) -> str | None:
    """The parts that are compiled together."""
    if part.kind == "kernel":
        return "game"
    return str(part.given["network"]).partition("=")[0] if part.kind == "speed" else None


def list_parts(device: str, tiny: bool, runs: Path, data: Path) -> list[Part]:
    """All that is wanted, the most wanted first; `runs` and `data` are the folders of `recipe=paper`."""
    common: dict[str, Any] = {"device": device, "overrides": ["model.arch=C8 M F"] if tiny else []}
    sizes = ["batch=[8,16]", "trials=1"] if tiny else ["batch=[1024,2048]", "trials=5"]
    sizes += ["seconds=0.001" if tiny else "seconds=0.05", f"precisions={'fp32' if tiny else 'fp16'}"]
    folds = [4] if tiny else [2, 3, 4]
    games, networks = (GAMES[:1], NETWORKS[:1]) if tiny else (GAMES, NETWORKS)
    parts = []
    for game in games[:2]:
        for precision in ("fp32", "fp16"):
            given = {**common, "game": game, "precision": precision, "images": 2 if tiny else 4099}
            parts.append(Part(f"kernel {game} {precision}", "kernel", given, 90))

    def speeds(network: str) -> Iterator[Part]:
        for engine in ("eager", "fused", "compile"):
            listed = ",".join(map(str, folds))
            overrides = [*common["overrides"], *sizes, f"fold=[{listed}]"]
            given = {**common, "network": network, "engine": engine, "folds": folds, "overrides": overrides}
            name = network.partition("=")[2]
            yield Part(f"speed {name} {engine}", "speed", given, 180 if engine == "compile" else 90)

    def trainings(recipe: str) -> Iterator[Part]:
        for fold, compiled in product((1, 4), (False, True)):
            given = {**common, "recipe": recipe, "fold": fold, "compile": compiled, "epochs": 4}
            given["images"] = 256 if tiny else 10_240
            yield Part(f"training {recipe} f={fold}{' compiled' * compiled}", "training", given, 90)

    for game in games:
        parts += speeds(f"game={game}")
    parts += trainings("default")
    for network in networks:
        parts += speeds(f"network={network}")
    parts += trainings("paper")
    given = {"folder": str(runs), **paper_runs(device, tiny, data)}
    return [*parts, Part("paper sot_coin", "paper", given, limit=3600, least=60)]


def paper_runs(device: str, tiny: bool, data: Path) -> dict[str, Any]:
    """The networks that are trained at once, and the folder of their crops."""
    settings = ["game=sot_coin", "recipe=paper", f"device={device}", "threads=1", "save_every=10"]
    settings += ["game.images.train=4", "game.images.val=2", "game.images.test=2"] if tiny else ["compile=true"]
    runs = [
        {"name": f"sot_coin_f{fold}", "settings": [*settings, f"fold={fold}", *(["epochs=3"] if tiny else [])]}
        for fold in (1, 4)
    ]
    return {"runs": runs, "data": str(data)}


def describe_machine(device: str) -> dict[str, str]:
    """What a result depends on besides the code."""
    driver = "none"
    if device != "cpu":
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        with suppress(OSError, subprocess.SubprocessError):
            found = subprocess.run(query, capture_output=True, text=True, check=True, timeout=20).stdout.split()
            driver = found[0] if found else driver
    try:
        triton = version("triton")
    except PackageNotFoundError:
        triton = "not installed"
    return {
        "device": processor() if device == "cpu" else torch.cuda.get_device_name(device),
        "driver": driver,
        "cuda": str(torch.version.cuda),
        "torch": torch.__version__,
        "triton": triton,
    }


def code_commit() -> str:
    """The last commit that changed the code that is measured, with a + if there are changes since."""
    git = ["git", "-C", str(ROOT)]
    try:
        last, changed = (
            subprocess.run([*git, *command, "--", *CODE], capture_output=True, check=True, text=True).stdout.strip()
            for command in (["log", "-1", "--format=%H"], ["status", "--porcelain", "-uno"])
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return last + "+" * bool(changed)


def main(arguments: Sequence[str] | None = None) -> int:
    begun = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--commit")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true")
    args = parser.parse_args(arguments)
    try:
        _check(args)
        if args.folder:
            args.folder.mkdir(parents=True, exist_ok=True)
        commit = args.commit or code_commit()
        head = {"commit": commit, "machine": describe_machine(args.device), "host": machine()}
        store = Store(args.folder, head, [])
        parts = list_parts(args.device, args.tiny, store.runs, store.data)
        store.names = [part.name for part in parts]
        store.load()
        compiling = paper_runs(args.device, args.tiny, store.data)
        try:
            run_parts(parts, store, end=begun + 60 * args.minutes - 2 * GRACE, compiling=compiling)
        finally:
            print(store.write_tables())
    except UserError as error:
        print(f"error: {error.summary}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from there", file=sys.stderr)
        return 130
    return 0


def _check(args: argparse.Namespace) -> None:
    if not args.minutes > 0:
        raise UserError(f"--minutes={args.minutes:g}: give more than 0")
    if args.device != "cpu" and not (torch.cuda.is_available() and args.device.startswith("cuda")):
        raise UserError(
            f"--device={args.device}: this needs an NVIDIA GPU that PyTorch finds; "
            "--device cpu --tiny tests the script without one"
        )
    if args.tiny and args.folder is None:
        raise UserError("--tiny is a test of this script, whose figures mean nothing: give --folder too")
    if args.device == "cpu" and not args.tiny:
        raise UserError("--device=cpu is for tests of this script: give --tiny too, or leave it out")


if __name__ == "__main__":
    sys.exit(main())
