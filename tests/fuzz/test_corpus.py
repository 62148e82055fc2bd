"""The inputs that fuzzing has kept, and some minutes of fuzzing: nothing but `UserError` is raised."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from targets import ROOT, TARGETS, seeds

from textgen.common.errors import UserError


@pytest.mark.parametrize("name", TARGETS)
def test_inputs_that_were_kept(name: str, tmp_path: Path) -> None:
    (tmp_path / "seeds").mkdir()
    (tmp_path / "work").mkdir()
    kept = [path.read_bytes() for path in sorted((Path(__file__).parent / "corpus" / name).iterdir())]
    whole = list(seeds(name, tmp_path / "seeds"))
    assert kept
    target = TARGETS[name](tmp_path / "work")
    refused = 0
    for data in (*whole, *kept):
        try:
            target(data)
        except UserError:
            refused += 1
    assert refused, "no input is wrong"
    target(whole[0])  # is right


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_a_minute_of_new_inputs(name: str) -> None:
    pytest.importorskip("atheris", reason="Atheris is for Linux on x86-64")
    command = [sys.executable, "tests/fuzz/fuzz.py", name, "--seconds", "60"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    inputs = re.search(rf"\| {name} \| ([\d,]+) \|", ended.stdout)
    assert inputs
    assert int(inputs[1].replace(",", "")) > 100


def test_the_lock_has_the_versions_of_the_constraints() -> None:
    def versions(name: str) -> dict[str, str]:
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        pairs = (line.split()[0].split("==") for line in lines if "==" in line and not line.startswith("#"))
        return {re.sub(r"[-_.]+", "-", package).lower(): version for package, version in pairs}

    locked, constrained = versions("requirements.lock"), versions("constraints.txt")
    separate = {"torch", "rapidocr-onnxruntime"}  # installed by commands of their own
    assert locked == {name: version for name, version in constrained.items() if name not in separate}
