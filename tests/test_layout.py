"""The layout of the code: folders and modules stay small, and imports run one way."""

import ast
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from conftest import ROOT

PROGRAMS = ("foldtext", "textgen", "train")
MODULES = sorted(path for program in PROGRAMS for path in (ROOT / program).rglob("*.py"))
LARGE = {"textgen/common", "textgen/kernels"}  # what everything uses, and all that numba compiles


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache"]
    env = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for program in PROGRAMS:
        shutil.copytree(ROOT / program, tmp_path / program, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("textgen/spec/items.py", "from textgen.dataset.store import open_dataset", "textgen: imports run one way"),
        ("train/folding/slots.py", "from train.inference.network import load", "train: imports run one way"),
        ("textgen/render/renderer.py", "import torch", "textgen knows neither torch nor train"),
        ("train/runs/run.py", "from hydra import compose", "only the commands know Hydra"),
    ],
)
def test_an_import_against_a_contract_is_found(copy: Path, module: str, line: str, contract: str) -> None:
    path = copy / module
    before, future, after = path.read_text(encoding="utf-8").partition("from __future__ import annotations\n")
    path.write_text(f"{before}{future}{line}\n{after}" if future else f"{before}\n{line}\n", encoding="utf-8")
    ended = lint_imports(copy)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert f"{contract} BROKEN" in ended.stdout


def test_a_folder_has_at_most_twelve_modules() -> None:
    folders = Counter(path.relative_to(ROOT).parent.as_posix() for path in MODULES if path.name != "__init__.py")
    assert {folder: count for folder, count in folders.items() if count > 12 and folder not in LARGE} == {}


def test_a_module_has_at_most_400_lines_and_a_function_80() -> None:
    long = []
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        if text.count("\n") > 400:
            long.append(f"{path.relative_to(ROOT)}: {text.count(chr(10))} lines")
        if path.parent.name == "kernels":  # compiled functions may be longer
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno - node.lineno >= 80:
                long.append(f"{path.relative_to(ROOT)}: {node.name}")
    assert long == []


def test_every_folder_says_what_it_holds() -> None:
    packages = [path for path in MODULES if path.name == "__init__.py"]
    silent = [str(path.relative_to(ROOT)) for path in packages if not ast.get_docstring(ast.parse(path.read_text()))]
    assert silent == []
