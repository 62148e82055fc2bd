"""The command `foldtext`, and what users' own tools see of the packages."""

import importlib
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
