"""Kill jobs at random moments, start them again, and compare what they give with jobs that nobody disturbed.

    python benchmarks/reliability.py [--kills 200] [--seed 0] [--jobs 2] [--only training,sweep] [--write]

Every kind of work of `reliability_kinds.KINDS` runs undisturbed first, twice: both have to give the same. Then it is
started, its process group is killed with SIGKILL at a random moment, and so on until it ends by itself; then anew in
another folder, until the kind has had its share of the kills. After every kill each file that looks finished is
compared with the reference, and the finished parts (blocks, checkpoints, readings, runs) have to be there still.

This process imports everything once and forks the jobs, so that kills hit the work and not imports. It needs Linux.
`--write` puts the table into docs/explanation/reliability.md.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import results
from reliability_kinds import KINDS, ROOT, Kind

MOST_STARTS = 40  # of one job
LATEST = 600.0  # seconds after which a job that should end by itself counts as hanging
PAGE = ROOT / "docs" / "explanation" / "reliability.md"


@dataclass
class Tally:
    """What happened to the jobs of one kind."""

    kind: Kind
    seconds: float = 0.0  # of the reference
    kills: int = 0
    restarts: int = 0
    jobs: int = 0
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def run_child(kind: Kind, folder: Path) -> NoReturn:
    """Become the job: a process group of its own in `folder`, its output in log.txt beside it."""
    code = 1
    try:
        os.setsid()
        log = os.open(folder.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for number in (1, 2):
            os.dup2(log, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(folder)
        sys.argv = [kind.module, *kind.arguments]
        kind.before()
        importlib.import_module(kind.module).main()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def start(kind: Kind, folder: Path) -> int:
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        run_child(kind, folder)
    return pid


def wait(pid: int, seconds: float) -> int | None:
    """The exit code of the job; None if it still runs after so many seconds."""
    end = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= end:
            return None
        time.sleep(0.002)


def kill(pid: int) -> None:
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def last_lines(folder: Path) -> str:
    log = folder.with_suffix(".log")
    return "\n".join(log.read_text(errors="replace").splitlines()[-8:]) if log.exists() else ""


def new_folder(kind: Kind, inputs: Path, folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.with_suffix(".log").unlink(missing_ok=True)
    shutil.copytree(inputs, folder)  # with the times of files, which predictions are known by
    return folder


def run_reference(kind: Kind, inputs: Path, folder: Path) -> tuple[dict[str, str], float, float]:
    """What the job gives undisturbed, the seconds until it has written its first file, and those it takes."""
    new_folder(kind, inputs, folder)
    before = set(folder.rglob("*"))
    begun, first = time.monotonic(), None
    pid = start(kind, folder)
    while (code := wait(pid, 0.005)) is None:
        if first is None and set(folder.rglob("*")) - before:
            first = time.monotonic() - begun
        if time.monotonic() - begun > LATEST:
            kill(pid)
            raise SystemExit(f"{kind.name}: the reference hangs\n{last_lines(folder)}")
    if code:
        raise SystemExit(f"{kind.name}: the reference ended with {code}\n{last_lines(folder)}")
    return kind.finished(folder), first or 0.0, time.monotonic() - begun


def hidden(folder: Path) -> set[str]:
    """The paths of hidden files and folders, and of what is in them."""
    found = (path.relative_to(folder) for path in folder.rglob("*"))
    return {str(path) for path in found if any(part.startswith(".") for part in path.parts)}


def compare(expected: dict[str, str], found: dict[str, str], *, whole: bool) -> list[str]:
    """What differs from the reference; `whole`: and what is missing."""
    wrong = [f"{name} differs" for name, digest in found.items() if expected.get(name) != digest]
    return wrong + [f"{name} is missing" for name in expected if whole and name not in found]


def disturb(tally: Tally, kills: int, inputs: Path, folder: Path, chance: random.Random) -> None:
    """Kill jobs until the kind has had its share, and let the last one end."""
    kind = tally.kind
    work = folder / "work"  # always the same path: a page of labels holds it
    expected, *_ = run_reference(kind, inputs, work)
    kept = hidden(work)  # such as locks
    again, first, tally.seconds = run_reference(kind, inputs, work)
    kept |= hidden(work)
    if again != expected or not expected:
        raise SystemExit(f"{kind.name}: two references differ: {compare(expected, again, whole=True)}")
    while tally.kills < kills:
        tally.jobs += 1
        job = new_folder(kind, inputs, work)
        starts, code = 0, None
        while code is None:
            before = kind.parts(job)
            pid, starts = start(kind, job), starts + 1
            tally.restarts += starts > 1
            more = tally.kills < kills and starts < MOST_STARTS
            begun = time.monotonic()
            code = wait(pid, chance.uniform(first * 0.8, tally.seconds) if more else LATEST)
            if code == 0 and starts == 1 and (took := time.monotonic() - begun) < tally.seconds:
                first, tally.seconds = first * took / tally.seconds, took  # the machine has become faster
            if code is None:
                kill(pid)
                if not more:
                    tally.wrong.append(f"{kind.name}, job {tally.jobs}, start {starts}: it hangs")
                    break
                tally.kills += 1
            where = f"{kind.name}, job {tally.jobs}, start {starts}"
            tally.lost += [f"{where}: {each}" for each in kind.lost(before, kind.parts(job))]
            problems = compare(expected, kind.finished(job), whole=code == 0)
            if code:
                problems.append(f"it ended with {code}: {last_lines(job)}")
            if code == 0:
                problems += [f"{name} is left" for name in sorted(hidden(job) - kept)]
            tally.wrong += [f"{where}: {each}" for each in problems]
        print(f"{kind.name}: {tally.kills} of {kills} kills, {tally.jobs} jobs", file=sys.stderr)
        if any(f"job {tally.jobs}," in each for each in tally.lost + tally.wrong):
            shutil.copytree(job, folder / f"job{tally.jobs}", dirs_exist_ok=True)  # to look at


def warm_up() -> None:
    """Load compiled code here, once: a few crops are drawn, without threads, which a forked job would lack."""
    importlib.import_module("cv2").setNumThreads(0)
    compose = importlib.import_module("textgen.common.hydra_app").compose_config
    parse = importlib.import_module("textgen.schema.definition").parse_definition
    config = compose("train", "game=sot_time")
    renderer = importlib.import_module("textgen.render.renderer").Renderer.from_definition(parse(config, 0))
    renderer.render("train", range(20))


def run_side_by_side(work: Sequence[tuple[Kind, int, Path, random.Random]], jobs: int) -> list[Tally]:
    """`disturb` for each kind, so many at once, each in a process of its own."""
    waiting, running, tallies = list(enumerate(work)), dict[int, int](), dict[int, Tally]()
    while waiting or running:
        while waiting and len(running) < jobs:
            number, (kind, kills, folder, chance) = waiting.pop(0)
            shutil.rmtree(folder, ignore_errors=True)
            (folder / "inputs").mkdir(parents=True)
            sys.stdout.flush()
            pid = os.fork()
            if pid:
                running[pid] = number
                continue
            code, tally = 1, Tally(kind)
            try:
                kind.prepare(folder / "inputs")
                disturb(tally, kills, folder / "inputs", folder, chance)
                figures = {name: value for name, value in vars(tally).items() if name != "kind"}
                (folder / "tally.json").write_text(json.dumps(figures))
                code = 0
            except SystemExit as ended:
                print(ended, file=sys.stderr)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        pid, status = os.wait()
        number = running.pop(pid)
        kind, _, folder, _ = work[number]
        if status:
            raise SystemExit(f"{kind.name}: stopped")
        tallies[number] = Tally(kind, **json.loads((folder / "tally.json").read_text()))
    return [tallies[number] for number in sorted(tallies)]


def table(tallies: Sequence[Tally]) -> str:
    """The Markdown table."""
    lines = [
        "| work | kills | restarts | lost | wrong | seconds undisturbed | the command |",
        "|---|---|---|---|---|---|---|",
    ]
    for t in tallies:
        figures = (t.kind.name, t.kills, t.restarts, len(t.lost), len(t.wrong), f"{t.seconds:.1f}")
        lines.append(f"| {' | '.join(map(str, figures))} | `{t.kind.command}` |")
    total = Counter[str]()
    for t in tallies:
        total.update(kills=t.kills, restarts=t.restarts, lost=len(t.lost), wrong=len(t.wrong))
    lines.append(f"| all | {total['kills']} | {total['restarts']} | {total['lost']} | {total['wrong']} | | |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="of all kinds together")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    parser.add_argument("--out", type=Path, default=Path("/tmp/reliability"), help="folder for the jobs and the table")
    parser.add_argument("--jobs", type=int, default=1, help="kinds at once")
    parser.add_argument("--only", default="", help="kinds, separated by commas")
    parser.add_argument("--write", action="store_true", help="put the table into docs/explanation/reliability.md")
    given = parser.parse_args()
    if os.environ.get("OMP_NUM_THREADS") != "1":  # threads of libraries would not be there in forked jobs
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **threads, "PYTHONPATH": paths})
    kinds = [kind for kind in KINDS if not given.only or kind.name in given.only.split(",")]
    if not kinds:
        parser.error(f"--only: known are {', '.join(kind.name for kind in KINDS)}")
    for kind in kinds:
        importlib.import_module(kind.module)
    out, begun = given.out.resolve(), time.monotonic()
    shares = sum(kind.share for kind in kinds)
    left, work = given.kills, []
    for number, kind in enumerate(kinds):
        kills = left if number == len(kinds) - 1 else min(round(given.kills * kind.share / shares), left)
        left -= kills
        if kills:
            work.append((kind, kills, out / kind.name.replace(" ", "-"), random.Random(f"{given.seed} {kind.name}")))
    warm_up()
    tallies = run_side_by_side(work, given.jobs)
    from train.common.machine import commit  # noqa: PLC0415, brings torch

    spent = time.monotonic() - begun
    only = f" --only '{given.only}'" if given.only else ""
    how = f"--kills {given.kills} --seed {given.seed} --jobs {given.jobs}{only}{' --write' if given.write else ''}"
    command = f"python benchmarks/reliability.py {how}"
    text = f"{table(tallies)}\n\n`{command}`: {spent / 60:.0f} minutes, commit {commit()}, {results.machine()}"
    problems = [each for t in tallies for each in (*t.lost, *t.wrong)]
    print("\n".join([text, *problems]))
    (out / "reliability.md").write_text(text + "\n", encoding="utf-8")
    if given.write:
        results.write("kills", "Killed at random moments", command, text, PAGE)
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
