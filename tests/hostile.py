"""What the tests of hostile files share: `hostile_child.py` writes and reads all of a program's in one process."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SECONDS, MEGABYTES = 2, 500  # of the processor, and above what the process has after its imports
Results = dict[str, dict[str, Any]]


def read_hostile_files(program: str, folder: Path) -> Results:
    """What became of each kind of file that `program` reads."""
    command = [sys.executable, ROOT / "tests/hostile_child.py", program, folder]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert ended.returncode == 0, ended.stderr
    return {found["kind"]: found for found in map(json.loads, ended.stdout.splitlines())}


def check_refused(found: dict[str, Any], message: str) -> None:
    """One line that holds `message`, within the bounds of time and memory, and no code that ran."""
    assert found["outcome"].startswith("refused: ")
    assert message in found["outcome"]
    assert "\n" not in found["outcome"]
    assert found["seconds"] < SECONDS
    assert found["mb"] < MEGABYTES
    assert not found["called"], "code of the file ran"
