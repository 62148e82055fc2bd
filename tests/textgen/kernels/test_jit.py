import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from textgen.kernels import jit, philox

CODE = """
import numpy as np
from textgen.kernels import philox
state = np.zeros(philox.STATE, np.uint64)
philox.start(state, 1, 2, 3)
print(philox.word(state))
"""


def drawn(package: Path, **environment: str) -> str:
    """The random number that a copy of the package prints in a process of its own."""
    there = {key: value for key, value in os.environ.items() if key not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
    run = subprocess.run(
        [sys.executable, "-c", CODE],
        env={**there, **environment},
        cwd=package,
        check=False,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.fixture
def package(tmp_path: Path) -> Path:
    shutil.copytree(jit.FOLDER.parent, tmp_path / "textgen", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_changed_code_is_compiled_again_although_the_calling_file_is_unchanged(package: Path) -> None:
    first = drawn(package)
    cached = [path.name for path in (package / "textgen" / "kernels" / "__pycache__").glob("foldtext-numba-*")]
    assert drawn(package) == first
    source = package / "textgen" / "kernels" / "philox.py"
    source.write_text(source.read_text().replace("0xD2511F53", "0xD2511F55"))
    assert drawn(package) != first
    (now,) = (path.name for path in (package / "textgen" / "kernels" / "__pycache__").glob("foldtext-numba-*"))
    assert [now] != cached


def test_the_cache_is_in_the_given_folder_or_the_users_or_nowhere(package: Path) -> None:
    first = drawn(package, NUMBA_CACHE_DIR=str(package / "given"))
    assert any((package / "given").rglob("*.nbc"))
    shutil.rmtree(package / "textgen" / "kernels" / "__pycache__", ignore_errors=True)
    (package / "textgen" / "kernels" / "__pycache__").write_text("no folder")  # like a folder without write permission
    assert drawn(package, XDG_CACHE_HOME=str(package / "home")) == first
    assert any((package / "home" / "foldtext").rglob("*.nbc"))
    assert drawn(package, XDG_CACHE_HOME=str(package / "textgen" / "kernels" / "philox.py")) == first


def test_a_function_is_cached_once_it_has_been_compiled() -> None:
    @jit.compiled
    def never_called(x: int) -> int:
        return x

    philox.word(np.full(philox.STATE, 4, np.uint64))
    assert jit.is_cached(philox.word)
    assert not jit.is_cached(never_called)
