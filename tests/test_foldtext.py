"""The command `foldtext`, and what users' own tools see of the packages."""

import importlib
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from conftest import ROOT

import foldtext
import textgen
import train
from foldtext.__main__ import COMMANDS, main

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

USER = """
from train import compose, fold_model, load, run
from textgen import Renderer, Spec, open_dataset, parse_definition

classes: tuple[str, ...] = Spec.parse("XY.Zk", label="Z").classes
labels: list[str] = load("runs/x").classify(open_dataset("data/x").splits["test"].images)
result: dict[str, object] = run(compose("game=sot_time"))
size: int = fold_model("no module", 4)
"""

WORKERS = """
import joblib
from textgen.schema.compose import compose

if __name__ == "__main__":
    games = joblib.Parallel(n_jobs=2)(joblib.delayed(compose)(f"game={name}") for name in ("sot_time", "lol_time"))
    print(*[game["game"]["name"] for game in games])
"""


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["foldtext", *arguments])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_every_console_script_is_a_subcommand() -> None:
    scripts = {name.removeprefix("foldtext-"): entry for name, entry in PROJECT["scripts"].items() if "-" in name}
    assert scripts == {name: f"{module}:main" for name, (module, _) in COMMANDS.items()}
    assert all(hasattr(importlib.import_module(module), "main") for module, _ in COMMANDS.values())


def test_the_version_is_foldtext_s(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert foldtext.__version__ == PROJECT["version"]
    for arguments in (["--version"], ["train", "--version"], ["new", "--version"]):
        assert call(monkeypatch, *arguments) == 0
        assert capsys.readouterr().out == f"foldtext {PROJECT['version']}\n"


def test_help_lists_the_commands_and_an_unknown_one_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch) == 0
    assert all(f"  {name}" in capsys.readouterr().out for name in list(COMMANDS)[:1])
    assert call(monkeypatch, "tran") == 2
    assert "there is no command 'tran'; did you mean train?" in capsys.readouterr().err


def start(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Start Python in `folder`, where it finds the programs after the folder's own modules."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *command], cwd=folder, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("own", "command"),
    [
        ("textgen.py", ["-m", "train", "game=sot_time"]),
        ("textgen/__init__.py", ["-m", "train.cost", "--help"]),
        ("textgen.py", ["-m", "foldtext", "--version"]),
        ("train/__init__.py", ["-m", "foldtext", "train", "game=sot_time"]),
    ],
)
def test_a_user_s_file_in_the_way_of_a_program_is_named_and_not_run(
    tmp_path: Path, own: str, command: list[str]
) -> None:
    (tmp_path / own).parent.mkdir(exist_ok=True)
    (tmp_path / own).write_text("print('the user')", encoding="utf-8")
    ended = start(tmp_path, *command)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"error: {tmp_path / own} is in the way of foldtext's package ")
    assert ended.stderr.count("\n") == 1


def test_an_import_with_a_user_s_file_in_the_way_names_it(tmp_path: Path) -> None:
    (tmp_path / "textgen.py").write_text("print('the user')", encoding="utf-8")
    ended = start(tmp_path, "-c", "from train import compose")
    assert f"ImportError: {tmp_path}/textgen.py is in the way of" in ended.stderr
    assert ended.stdout == ""


@pytest.mark.slow
def test_a_console_script_and_its_workers_run_beside_files_of_any_name(tmp_path: Path) -> None:
    """Worker processes are started with the working folder first on their path."""
    for name in ("foldtext", "textgen", "train", "conf", "fonts", "backgrounds"):
        (tmp_path / "here" / name).mkdir(parents=True)
        (tmp_path / "here" / name / "__init__.py").write_text("raise SystemExit('the user')", encoding="utf-8")
    script = tmp_path / "bin" / "foldtext"  # as pip installs it
    script.parent.mkdir()
    script.write_text("from foldtext.__main__ import main\nif __name__ == '__main__':\n    main()", encoding="utf-8")
    ended = start(tmp_path / "here", str(script), "cost", "game=sot_time", "--cfg=job")
    assert (ended.returncode, "spec: 'N'" in ended.stdout) == (0, True), ended.stderr
    script.write_text(WORKERS, encoding="utf-8")
    ended = start(tmp_path / "here", str(script))
    assert ended.stdout == "sot_time lol_time\n", ended.stderr


def test_modules_of_the_user_named_as_data_are_not_taken_for_it(tmp_path: Path) -> None:
    for name in ("conf.py", "fonts.py", "backgrounds.py", "train.py", "foldtext.py"):
        (tmp_path / name).write_text("raise SystemExit('the user')", encoding="utf-8")
    ended = start(tmp_path, "-m", "textgen.lint", "game=sot_time", "each=1", "augment=off", "out=report.txt")
    assert ended.returncode in (0, 1), ended.stderr
    assert (tmp_path / "report.txt").is_file()


@pytest.mark.parametrize("package", [textgen, train])
def test_the_exported_names_are_there(package: ModuleType) -> None:
    assert set(package.__all__) == set(package._MODULES) <= set(dir(package))
    for name in package.__all__:
        assert getattr(package, name).__module__ == package._MODULES[name]
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        package.nonsense  # noqa: B018


@pytest.mark.slow
def test_a_user_s_type_checker_accepts_the_packages(tmp_path: Path) -> None:
    (tmp_path / "user.py").write_text(USER, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "user.py"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    errors = [line for line in ended.stdout.splitlines() if line.startswith("user.py")]
    assert len(errors) == 2, ended.stdout  # the last line of the user's alone
    assert all(line.startswith("user.py:8:") for line in errors)
