"""What files of the user's may hold: settings and planned sweeps, and no code. The rest belongs to the command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from textgen.common.config_files import check_content
from textgen.common.errors import UserError
from textgen.common.hydra_app import compose_config

ROOT = Path(__file__).parents[3]


def write(folder: Path, group: str, text: str) -> None:
    file = folder / group / "mine.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode())


def refusal(folder: Path, group: str, text: str) -> str:
    """Of a game or an experiment with this text."""
    write(folder, group, text)
    with pytest.raises(UserError) as caught:
        compose_config("train", f"hydra.searchpath=[file://{folder}]", *chosen(group))
    return caught.value.summary


def chosen(group: str) -> list[str]:
    return ["game=mine"] if group == "game" else ["game=sot_time", f"{group}=mine"]


def check(content: object, group: tuple[str, ...] = ("experiment",), package: str | None = "_global_") -> None:
    check_content(Path("mine.yaml"), group, package, content)


@pytest.mark.parametrize(
    "header",
    [
        "# @package _global_",
        "# @package game\n# @package _global_",  # Hydra takes the last one
        "# @package game\r# @package _global_",
        "# @package game\u2028# @package _global_",
        "# @package recipe",
        "# @package hydra",
        "\r\n" * 250 + "# @package _global_",  # within 512 characters, as \n
    ],
)
def test_a_game_cannot_set_other_settings_by_its_package(tmp_path: Path, header: str) -> None:
    assert "has the package" in refusal(tmp_path, "game", f"{header}\nfold: 4\n")


def test_a_header_that_hydra_cannot_read_is_told(tmp_path: Path) -> None:
    assert "Too many components" in refusal(tmp_path, "game", "# @package a b\nfold: 4\n")


@pytest.mark.parametrize("package", ["hydra", "_global_.hydra.launcher", "[hydra]"])
def test_no_package_is_hydras(package: str) -> None:
    with pytest.raises(UserError, match="has the package"):
        check({}, package=package)


@pytest.mark.parametrize(
    ("group", "package"), [(("experiment",), "_global_"), (("game",), "game"), (("game",), None), ((), None)]
)
def test_packages_that_may_be(group: tuple[str, ...], package: str | None) -> None:
    check({"fold": 4}, group, package)


@pytest.mark.parametrize("group", [("hydra", "launcher"), ("hydra", "sweeper"), ("hydra", "callbacks")])
def test_hydras_groups_are_foldtexts_own(group: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match="belongs to the command line"):
        check({"n_jobs": 2}, group, None)


@pytest.mark.parametrize(
    "settings",
    [
        {"launcher": {"setup": ["touch a"]}},
        {"launcher": {"n_jobs": 2}},
        {"job_logging": {"handlers": {"a": {"()": "os.mkdir"}}}},
        {"callbacks": {}},
        {"searchpath": ["file:///tmp"]},
        {"run": {"dir": "/"}},
        {"mode": "${oc.env:HOME}"},
        "${fold}",
        None,
        {"sweeper": "${fold}"},
        {"sweeper": {"params": "${fold}"}},
        {"sweeper": {"params": {"fold": "${oc.env:HOME}"}}},
        {"sweeper": {"params": {"hydra.launcher.setup": "['touch a']"}}},
        {"sweeper": {"params": {"+hydra.job_logging.handlers.a": "{(): os.mkdir}"}}},
        {"sweeper": {"params": {"hydra/launcher": "slurm"}}},
        {"sweeper": {"params": {"fold=1 hydra.mode": "RUN"}}},
        {"sweeper": {"params": {"game@hydra.job_logging": "mine"}}},
        {"sweeper": {"params": {"network.module": "mine:Net"}}},
        {"sweeper": {"params": {"network": "own"}}},
        {"sweeper": {"params": {"network": "mine"}}},
        {"sweeper": {"params": {"detector": "mine:find"}}},
        {"sweeper": {"custom_search_space": "mine.space"}},
        {"sweeper": {"storage": "redis://host"}},
        {"sweeper": {"sampler": {"_target_": 1}}},
        {"sweeper": {"sampler": {"_args_": [1]}}},
        {"sweeper": {"search_space": {"hydra.mode": {"type": "int"}}}},
        {"sweeper": {"direction": "${oc.env:HOME}"}},
    ],
)
def test_what_only_the_command_line_may_set_of_hydra(settings: object) -> None:
    with pytest.raises(UserError):
        check({"hydra": settings})


@pytest.mark.parametrize(
    "settings",
    [
        {"mode": "MULTIRUN"},
        {"sweeper": {"params": {"fold": "1,2", "+game.size": "[20,40]", "network": "coral,night", "seed": 3}}},
        {"sweeper": {"n_trials": 20, "n_jobs": 1, "direction": "maximize", "sampler": {"seed": 1, "gamma": None}}},
        {"sweeper": {"direction": ["maximize", "minimize"], "study_name": "my study"}},
        {"sweeper": None},
    ],
)
def test_what_a_file_may_set_of_hydra(settings: object) -> None:
    check({"hydra": settings})


def test_a_setting_whose_name_begins_with_hydra_and_a_dot_is_refused() -> None:
    with pytest.raises(UserError, match=r"hydra\.launcher"):
        check({"hydra.launcher": {}})


@pytest.mark.parametrize(
    "entry",
    [
        {"override /hydra/launcher": "slurm"},
        {"override\t/hydra/launcher": "slurm"},
        {"override hydra/job_logging": "none"},
        {"/hydra/callbacks@game": "mine"},
        {"/game@hydra.launcher": "mine"},
        {"/game@_global_": "mine"},
        {"/game": "../hydra/launcher/mine"},
        {"override /hydra/sweeper": "${fold}"},
        {"override /hydra/sweeper": "../launcher/slurm"},
        {"/hydra/sweeper@hydra.launcher": "basic"},
        "/hydra/launcher/slurm",
        "../hydra/launcher/slurm",
        "${fold}",
    ],
)
def test_defaults_that_change_how_hydra_works(entry: object) -> None:
    with pytest.raises(UserError, match="its defaults hold"):
        check({"defaults": [entry]})


@pytest.mark.parametrize("entry", ["/top", "/experiment/mine", {"/experiment": "mine"}, {"override /recipe": "own"}])
def test_defaults_of_a_game_set_no_other_settings(entry: object) -> None:
    check({"defaults": [entry]})
    with pytest.raises(UserError, match="its defaults hold"):
        check({"defaults": [entry]}, ("game",), None)


@pytest.mark.parametrize(
    "entry",
    [
        {"override /hydra/sweeper": "optuna"},
        {"override /hydra/sweeper/sampler": "tpe"},
        {"optional override /recipe": "own"},
        {"/augment": "${augment}"},
        "sot_time",
        "_self_",
    ],
)
def test_defaults_that_may_be(entry: object) -> None:
    check({"defaults": [entry]})


@pytest.mark.parametrize(
    "text",
    [
        "a: {_target_: os.mkdir}",
        '"_target_": os.mkdir',
        "a: &a _target_\nb: {*a : os.mkdir}",
        "a: {<<: {_target_: os.mkdir}}",
        "a: [{b: [{'_target_': os.mkdir}]}]",
    ],
)
def test_keys_that_name_code_are_refused(tmp_path: Path, text: str) -> None:
    assert "names code" in refusal(tmp_path, "game", text)


def test_texts_that_look_like_code_are_texts(tmp_path: Path) -> None:
    text = "fonts: [fonts/_target_.ttf]\nmy_target_hp: 1\nlabel: ()\nnote: '${.label}'\n'()': 1\n_args_: 2\n"
    write(tmp_path, "game", text)
    game = compose_config("train", f"hydra.searchpath=[file://{tmp_path}]", "game=mine")["game"]
    assert game == {
        **{"fonts": ["fonts/_target_.ttf"], "my_target_hp": 1, "label": "()", "note": "()"},
        **{"()": 1, "_args_": 2},
    }


def test_a_file_is_of_the_group_where_it_was_chosen_and_not_where_a_link_leads(tmp_path: Path) -> None:
    write(tmp_path, "experiment", "# @package _global_\nfold: 4\n")
    (tmp_path / "game").mkdir()
    os.symlink("../experiment/mine.yaml", tmp_path / "game/mine.yaml")
    with pytest.raises(UserError, match="has the package _global_"):
        compose_config("train", f"hydra.searchpath=[file://{tmp_path}]", "game=mine")


def test_a_sweep_of_a_file_works_and_its_launcher_is_refused(tmp_path: Path) -> None:
    plan = (
        "# @package _global_\ndefaults: [{override /hydra/sweeper: optuna}, {override /hydra/sweeper/sampler: tpe}]\n"
    )
    write(tmp_path, "experiment", f"{plan}fold: 2\nhydra: {{mode: MULTIRUN, sweeper: {{n_trials: 3}}}}")
    found = compose_config("train", f"hydra.searchpath=[file://{tmp_path}]", "game=sot_time", "experiment=mine")
    assert found["fold"] == 2
    attack = "defaults: [{override /hydra/launcher: slurm}]\nhydra: {mode: MULTIRUN, launcher: {setup: [touch called]}}"
    write(tmp_path, "experiment", f"# @package _global_\n{attack}")
    command = [sys.executable, "-m", "train", "--config-dir", str(tmp_path), "game=sot_time", "experiment=mine"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: ")
    assert ended.stderr.count("\n") == 1
    assert "belongs to the command line" in ended.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["experiment"]


HOST = """
import fractions, json, os, sys
import hydra, hydra.utils
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from omegaconf.base import Container

methods = dict(vars(Container))
import textgen, train
game = textgen.compose("game=sot_time")["game"]["spec"]
refused = 0
try:
    textgen.compose("game=sot_tmie")
except textgen.UserError:
    refused = 1
same = dict(vars(Container)) == methods
many = OmegaConf.create({"a": 1, "b": ["${a}"] * 3000})
total = sum(OmegaConf.to_container(many, resolve=True)["b"])
with hydra.initialize_config_dir(sys.argv[1], version_base="1.3"):
    made = hydra.utils.instantiate(hydra.compose("host").number)
again = textgen.compose("game=sot_time")["game"]["spec"]
print(json.dumps([game, refused, same, total, str(made), again]))
"""


def test_a_program_that_imports_foldtext_uses_hydra_as_before(tmp_path: Path) -> None:
    text = "# @package _global_\nnumber: {_target_: fractions.Fraction, numerator: 1, denominator: 3}\n"
    (tmp_path / "host.yaml").write_text(text)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", HOST, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == ["N", 1, True, 3000, "1/3", "N"]
