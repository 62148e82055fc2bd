"""Fuzzing: bytes that are changed again and again, guided by the code that they reach (Atheris, libFuzzer).

    python tests/fuzz/fuzz.py [TARGET …] [--seconds 60] [--jobs 1] [--keep] [--write]

Each target of targets.py runs in a process of its own. A finding is an exception other than `UserError`, a crash, 10
seconds for one input or 2 GB of memory: it is written to tests/fuzz/findings/, and the command ends with 1. With --keep
small inputs that reached new code go to tests/fuzz/corpus/, from which later runs begin, and which `make test` reads.
Prints a Markdown table of the totals; --write puts it into docs/explanation/reliability.md.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from targets import ROOT, TARGETS, seeds

HERE = Path(__file__).parent
CORPUS, FINDINGS = HERE / "corpus", HERE / "findings"
MEMORY_MB, SECONDS_PER_INPUT = 2000, 10
MOST_KEPT, LARGEST_KEPT = 40, 4096  # inputs of a target in the corpus, and their bytes
LONGEST_INPUT = 20_000  # bytes
INSTRUMENTED = ["textgen.spec", "textgen.dataset", "textgen.assets", "textgen.footage", "textgen.frames"]
INSTRUMENTED += ["textgen.common", "train.inference.network_file", "train.trainer.checkpoint"]


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        _fuzz(sys.argv[2], Path(sys.argv[3]), sys.argv[4:])
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; default: all")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--jobs", type=int, default=1, help="targets at once")
    parser.add_argument("--keep", action="store_true", help="add inputs that reached new code to the corpus")
    parser.add_argument("--write", action="store_true", help="put the totals into the docs")
    given = parser.parse_args()
    if unknown := {*given.targets} - {*TARGETS}:
        parser.error(f"there is no target {', '.join(unknown)}: known are {', '.join(TARGETS)}")
    with ThreadPoolExecutor(given.jobs) as pool:
        totals = list(pool.map(lambda name: _run(name, given.seconds, given.keep), given.targets or [*TARGETS]))
    lines = ["| target | inputs | inputs/s | seconds | inputs that reach new code | findings |"]
    lines.append("|---|---:|---:|---:|---:|---|")
    for name, inputs, seconds, reached, finding in totals:
        rate = f"{inputs / max(seconds, 1):.0f}"
        lines.append(f"| {name} | {inputs:,} | {rate} | {seconds:.0f} | {reached} | {finding or 'none'} |")
    print("\n".join(lines))
    if given.write:
        _write(lines, given.seconds, given.jobs)
    sys.exit(any(finding for *_, finding in totals))


def _write(lines: list[str], seconds: int, jobs: int) -> None:
    """Replace the table between the comments <!-- fuzz --> of the page."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from results import machine, write  # noqa: PLC0415

    command = f"python tests/fuzz/fuzz.py --seconds {seconds} --jobs {jobs} --keep --write"
    text = "\n".join([*lines, "", f"`--seconds {seconds} --jobs {jobs}`, {machine()}"])
    write("fuzz", "Fuzzing", command, text, ROOT / "docs/explanation/reliability.md")


def _run(name: str, seconds: int, keep: bool) -> tuple[str, int, float, int, str]:
    """Fuzz a target in a child; its name, inputs, seconds, inputs that reached new code, and the finding."""
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=memory, prefix="fuzz-") as temporary:
        work, corpus = Path(temporary) / "work", Path(temporary) / "corpus"
        work.mkdir()
        corpus.mkdir()
        known = {path.read_bytes() for path in (CORPUS / name).glob("*")}
        (work / "seeds").mkdir()
        for data in {*known, *seeds(name, work / "seeds")}:
            (corpus / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
        begun = len(list(corpus.iterdir()))
        command = [sys.executable, __file__, "--child", name, str(work), str(corpus), f"-max_total_time={seconds}"]
        command += [f"-rss_limit_mb={MEMORY_MB}", f"-timeout={SECONDS_PER_INPUT}", f"-max_len={LONGEST_INPUT}"]
        command += [f"-artifact_prefix={work}/finding-", "-print_final_stats=1", "-verbosity=1"]
        started = time.monotonic()
        ended = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, cwd=work)
        took = time.monotonic() - started
        inputs = max(
            map(int, re.findall(r"(?:number_of_executed_units: |^#)(\d+)", ended.stderr, re.MULTILINE)), default=0
        )
        finding = _save_finding(name, work, ended) if ended.returncode else ""
        if keep:
            _keep(name, corpus)
        return name, inputs, took, len(list(corpus.iterdir())) - begun, finding


def _save_finding(name: str, work: Path, ended: subprocess.CompletedProcess[str]) -> str:
    """Keep the input that failed, and what was said; return what failed in a few words."""
    FINDINGS.mkdir(exist_ok=True)
    where = "?"
    for path in work.glob("finding-*"):
        where = f"{name}-{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"
        (FINDINGS / where).write_bytes(path.read_bytes())
        (FINDINGS / f"{where}.txt").write_text((ended.stderr + ended.stdout)[-20_000:], encoding="utf-8")
    pattern = r"^(?:[\w.]+(?:Error|Exception|Interrupt)\b.*|.*ERROR: libFuzzer: .*)$"
    said = re.findall(pattern, ended.stdout, re.MULTILINE) or re.findall(pattern, ended.stderr, re.MULTILINE)
    return f"{(said or ended.stderr.strip().splitlines() or ['?'])[0][:120]} ({where})"


def _keep(name: str, corpus: Path) -> None:
    """Add the smallest new inputs to the corpus of the repository."""
    folder = CORPUS / name
    folder.mkdir(parents=True, exist_ok=True)
    have = {path.name for path in folder.iterdir()}
    for path in sorted(corpus.iterdir(), key=lambda path: path.stat().st_size):
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()[:16]
        if len(have) < MOST_KEPT and 0 < len(data) <= LARGEST_KEPT and digest not in have:
            (folder / digest).write_bytes(data)
            have.add(digest)


def _fuzz(name: str, work: Path, options: list[str]) -> None:
    """The child: the target's code is instrumented as it is imported."""
    import atheris  # noqa: PLC0415

    with atheris.instrument_imports(include=INSTRUMENTED):
        target = TARGETS[name](work)
    from textgen.common.errors import UserError  # noqa: PLC0415

    def one(data: bytes) -> None:
        try:
            target(data)
        except UserError:
            return

    sys.stderr.flush()
    atheris.Setup([sys.argv[0], *options], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
