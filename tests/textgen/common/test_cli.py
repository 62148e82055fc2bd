"""The programs as a user meets them: a mistake gives exit code 2, one line on stderr, and nothing half-written.

Most run `main` in this process, since starting an interpreter takes seconds; a few start the real programs.
"""

import importlib
import os
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import GAMES, ROOT, Config, Ended, Run, changed, flat_game
from hydra.core.global_hydra import GlobalHydra

import textgen.main
import train.main
from textgen.common import cli
from textgen.common.errors import UserError
from textgen.dataset.store import open_dataset

SMALL = "game.images={train:1,val:1,test:1}"
SCRIPTS: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
PROGRAMS: dict[str, Callable[[], None]] = {"textgen": textgen.main.main, "train": train.main.main}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def run(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a program's `main` in this process, in an empty working folder."""
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")  # which main sets: restored when the test ends

    def call(program: str, *arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", [f"foldtext-{program}", *arguments])
        GlobalHydra.instance().clear()
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            PROGRAMS[program]()
        code = caught.value.code
        assert isinstance(code, int)
        return Ended(code, *capsys.readouterr())

    return call


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["fold", "4"], "'fold' is no setting: write key=value, such as game=sot_time"),
        (["--fold", "4"], "there is no option --fold: settings have no dashes, such as fold=4; --help lists them"),
        (["--config-dir"], "--config-dir takes a value: --config-dir=…"),
        (["fold=1,4"], "fold=1,4: a list takes brackets and quotes, 'fold=[1,4]', and several runs take -m"),
        (["augment=off,light"], "error: augment=off,light: augment takes one name; several runs take -m\n"),
        (
            ["data_dir=a,b"],
            """data_dir=a,b: a text with commas takes quotes within quotes: 'data_dir="a,b"'\n""",
        ),
        (["-m", "network=my.nets:Net,coral"], "network=my.nets:Net,coral: a sweep is over modules, or over files"),
        (["start=runs/…"], "cannot read 'start=runs/…': … stands for a name of your own"),
        (["recipe.imgaes=3000"], "no setting 'recipe.imgaes' here: did you mean recipe.images?"),
        (["game=ammo", "--config-dir", "mine", "fold=9"], "fold: Input should be less than or equal to 6"),
    ],
)
def test_flags_may_stand_anywhere_and_what_hydra_cannot_read_is_told_in_our_words(
    run: Run, here: Path, arguments: list[str], told: str
) -> None:
    (here / "mine/game").mkdir(parents=True)
    (here / "mine/game/ammo.yaml").write_text((ROOT / "conf/game/sot_time.yaml").read_text())
    ended = run("train", *([] if "game=ammo" in arguments else ["game=sot_time"]), *arguments)
    assert ended.code == 2
    assert told in ended.err
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_program_tells_its_options(
    script: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    GlobalHydra.instance().clear()
    module, _, main = SCRIPTS[script].partition(":")
    with pytest.raises(SystemExit) as caught:
        getattr(importlib.import_module(module), main)()
    assert not caught.value.code
    assert len(capsys.readouterr().out.splitlines()) > 5


def start(folder: Path, program: str, *arguments: str) -> Ended:
    """Run the real program in `folder`."""
    command = [sys.executable, "-m", program, *arguments]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False)
    return Ended(ended.returncode, ended.stdout, ended.stderr)


def message(ended: Ended) -> str:
    """The one line of a user's mistake."""
    assert ended.code == 2, ended.err
    assert "Traceback" not in ended.err
    assert ended.err.startswith("error: "), ended.err
    assert ended.err.endswith("\n")
    assert ended.err.count("\n") == 1, ended.err
    assert ended.out == ""
    return ended.err


def results(folder: Path) -> list[str]:
    """What a run or a build leaves in `folder`, but for Hydra's own notes of a run that was refused."""
    files = [p for p in folder.rglob("*") if p.is_file() and ".hydra" not in p.parts and p.suffix != ".log"]
    temporary = set(folder.rglob("*.tmp"))
    return sorted(str(p.relative_to(folder)) for p in {*files, *temporary})


def own_game(folder: Path, game: Config) -> str:
    """Write a game into a folder of the user's own; the argument that makes it known."""
    (folder / "game").mkdir(parents=True)
    (folder / "game" / f"{game['name']}.yaml").write_text(yaml.safe_dump(game), encoding="utf-8")
    return f"--config-dir={folder}"


@pytest.fixture
def own(tmp_path: Path) -> Config:
    return flat_game(tmp_path / "pictures")


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_misspelt_game_is_answered_with_the_right_one(run: Run, here: Path, program: str) -> None:
    for name in GAMES:
        error = message(run(program, f"game={name[1]}{name[0]}{name[2:]}"))
        assert f"did you mean {name}?" in error
    assert results(here) == []


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_misspelt_setting_of_a_sweep_is_one_line(run: Run, program: str) -> None:
    ended = message(run(program, "-m", "game=sot_time,lol_time", "wrkers=2"))
    assert "no setting 'wrkers' here" in ended


@pytest.mark.parametrize("name", ["jürgen", "it's", "a,b[c]", "with space"])
def test_a_misspelt_setting_beside_a_folder_of_any_name_is_one_line(run: Run, here: Path, name: str) -> None:
    (here / name / "game").mkdir(parents=True)
    ended = message(run("textgen", f"--config-dir={here / name}", "game=sot_time", "wrkers=2"))
    assert "no setting 'wrkers' here: did you mean workers?" in ended


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_misspelt_game_is_named_before_its_keys(run: Run, here: Path, tmp_path: Path, program: str) -> None:
    (tmp_path / "mine/game").mkdir(parents=True)
    (tmp_path / "mine/game/ammo.yaml").write_text("name: ammo")
    arguments = ("game.images.train=3", "--config-dir", str(tmp_path / "mine"))
    assert "did you mean sot_time?" in message(run(program, "game=sot_tmie", *arguments))
    assert "did you mean ammo?" in message(run(program, "game=amo", *arguments))


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_misspelt_key_in_the_place_of_game_is_named(run: Run, here: Path, program: str) -> None:
    assert "no setting 'gmae' here: did you mean game?" in message(run(program, "gmae=sot_time"))
    assert results(here) == []


@pytest.mark.parametrize("program", PROGRAMS)
def test_no_game_is_answered_with_all_of_them(run: Run, here: Path, program: str) -> None:
    error = message(run(program))
    assert all(name in error for name in ("game=", *GAMES))
    assert results(here) == []


@pytest.mark.parametrize(
    ("argument", "word"),
    [
        ("sed=3", "did you mean seed?"),
        ("augmnt=off", "did you mean augment?"),
        ("game.text.heigth=[8,9]", "did you mean game.text.height? (a key that a file leaves out takes a +"),
        ("game.fields={M: 0..9, X: 0..9}", "takes a +: +game.fields={M: 0..9, X: 0..9})"),
        ("gmae.name=mine", "did you mean game?"),
        ("+game.text.heigth=[8,9]", "did you mean height?"),
        ("+game.imags.train=3", "did you mean images?"),
        ("augment=lihgt", "did you mean light?"),
        ("game.images={train", "{train"),
    ],
)
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_misspelt_override_is_named(run: Run, here: Path, program: str, argument: str, word: str) -> None:
    assert word in message(run(program, "game=sot_time", argument))
    assert results(here) == []


@pytest.mark.parametrize(
    ("argument", "key"),
    [
        ("seed=-1", "seed"),
        ("seed=abc", "seed"),
        ("seed=0.5", "seed"),
        ("workers=0", "workers"),
        ("workers=abc", "workers"),
        ("rebuild=maybe", "rebuild"),
        ("out=null", "out"),
        ("+sed=3", "sed"),
        ("augment.transforms=3", "augment"),
        ("augment.transforms=[3]", "augment"),
        ("augment.transforms=[{name:Rotate}]", "Rotate"),
        ("game.size=[22]", "game.size"),
        ("game.images.train=many", "game.images.train"),
        ("game.text.spacing=[nan,1]", "game.text.spacing"),
        ("game.text.fonts=[oswlad]", "oswald"),
    ],
)
def test_a_wrong_setting_of_textgen_is_named(run: Run, here: Path, argument: str, key: str) -> None:
    assert key in message(run("textgen", "game=sot_time", SMALL, argument))
    assert results(here) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fold=0"], ["fold", "1"]),
        (["fold=two"], ["fold"]),
        (["fold=4", "batch=3"], ["batch=3", "fold=4"]),
        (["batch=0"], ["batch"]),
        (["epochs=0"], ["epochs"]),
        (["seed=-1"], ["seed"]),
        (["device=tpu9"], ["device=tpu9"]),
        (["recipe=defualt"], ["did you mean default?"]),
        (["recipe.lr=-1"], ["recipe.lr"]),
        (["+recipe.learning_rate=1"], ["recipe.learning_rate"]),
        (["model.arch=C32 Q"], ["Q"]),
        (["data_dir=null"], ["data_dir"]),
        (["workers=0"], ["workers"]),
        (["augment.transforms=3"], ["augment"]),
    ],
)
def test_a_wrong_setting_of_train_is_named(run: Run, here: Path, arguments: list[str], words: list[str]) -> None:
    error = message(run("train", "game=sot_time", SMALL, *arguments))
    assert all(word in error for word in words), error
    assert results(here) == []


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("text.heigth", [8, 9], ["game.text.heigth", "did you mean height?"]),
        ("backgrounds.0.sorce", "noise", ["game.backgrounds.0.sorce", "did you mean source?"]),
        ("text.colors", ["red"], ["game.text.colors.0", "#rrggbb"]),
        ("spec", "X[", ["spec", "column 2"]),
        ("fields", {"X": ["1", "1..3"]}, ["fields.X", "twice"]),
    ],
)
def test_a_wrong_field_of_a_users_own_game_is_named(
    run: Run, here: Path, own: Config, tmp_path: Path, program: str, path: str, value: object, words: list[str]
) -> None:
    error = message(run(program, own_game(tmp_path / "own", changed(own, path, value)), "game=flat"))
    assert all(word in error for word in words), error
    assert results(here) == []


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_ambiguous_spec_is_shown_with_its_two_readings(
    run: Run, here: Path, own: Config, tmp_path: Path, program: str
) -> None:
    ambiguous = {**own, "spec": "[1]N", "label": "N", "fields": {"N": ["1", "11"]}}
    error = message(run(program, own_game(tmp_path / "own", ambiguous), "game=flat"))
    assert all(word in error for word in ("ambiguous", "N = '1'", "N = '11'"))
    assert results(here) == []


def test_yaml_that_cannot_be_parsed_is_named(run: Run, here: Path, own: Config, tmp_path: Path) -> None:
    folder = own_game(tmp_path / "own", own)
    (tmp_path / "own" / "game" / "flat.yaml").write_text("name: [flat\nspec: 'X'\n")
    assert "flat.yaml" in message(run("textgen", folder, "game=flat"))
    assert results(here) == []


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_background_that_is_no_picture_is_named(run: Run, here: Path, tmp_path: Path, program: str) -> None:
    (tmp_path / "holiday.png").write_text("no picture")
    error = message(run(program, "game=sot_time", SMALL, f"game.backgrounds=[{{source: {tmp_path}/holiday.png}}]"))
    assert "holiday.png" in error
    assert results(here) == []


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("place", ["below-a-file", "proc"])
def test_a_folder_that_cannot_be_written_to_is_named(
    run: Run, here: Path, tmp_path: Path, program: str, place: str
) -> None:
    (tmp_path / "file").write_text("a file")
    folder = {"below-a-file": tmp_path / "file" / "data", "proc": Path("/proc/foldtext")}[place]
    key = {"textgen": "out", "train": "data_dir"}[program]
    assert str(folder) in message(run(program, "game=sot_time", SMALL, "workers=1", f"{key}={folder}"))
    assert results(here) == []
    assert (tmp_path / "file").read_text() == "a file"


def test_a_truncated_data_set_is_named_by_both_programs(run: Run, here: Path) -> None:
    built = run("textgen", "game=sot_time", SMALL, "workers=1")
    assert built.code == 0, built.err
    path = here / built.out.strip()
    os.truncate(path / "val.images.npy", 500)
    before = results(here)
    for program, files in zip(PROGRAMS, ((), ("data=files",)), strict=True):
        error = message(run(program, "game=sot_time", SMALL, "workers=1", *files))
        assert "val.images.npy" in error
        assert "rebuild=true" in error
    assert results(here) == before
    assert run("textgen", "game=sot_time", SMALL, "workers=1", "rebuild=true").code == 0
    assert len(open_dataset(path).splits["val"].images) == 27


def test_a_build_prints_the_folder_and_leaves_nothing_else(run: Run, here: Path) -> None:
    built = run("textgen", "game=apex_count", SMALL, "out=sets", "workers=1")
    assert built.code == 0, built.err
    (line,) = built.out.splitlines()
    dataset = open_dataset(line)
    assert dataset.manifest["game"]["name"] == "apex_count"
    assert all(name.startswith("sets/apex_count/") for name in results(here))
    assert len([name for name in results(here) if not name.endswith(".lock")]) == 10


def test_a_report_goes_where_nothing_stands(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "mine").write_text("mine")
    for out, plots, told in (
        ("mine", None, "out=mine exists: choose another, or replace it with overwrite=true"),
        (".", None, "out=. exists"),
        ("none/a", None, "cannot write .*none/a: No such file or directory"),
        (None, "mine", "plots=mine is no folder: choose another"),
        (None, "mine/p", "cannot write mine/p: Not a directory"),
    ):
        with (
            pytest.raises(UserError, match=told),
            cli.open_report(out and Path(out), plots and Path(plots), "another"),
        ):
            pytest.fail("what cannot be written is told before any work")
    assert results(here) == ["mine"]
    assert capsys.readouterr() == ("", "")
    for out, plots in ((None, None), (Path("a"), Path("p/q"))):
        with cli.open_report(out, plots, "another") as tell:
            tell("1,2\n3,4\n", lambda folder: (folder / "b").write_text("b"))
    assert capsys.readouterr() == ("1,2\n3,4\n", "the report is in a\nthe pictures are in p/q\n")
    assert results(here) == ["a", "mine", "p/q/b"]
    assert (here / "a").read_text() == "1,2\n3,4\n"


def test_a_report_that_fails_leaves_no_file(here: Path) -> None:
    with pytest.raises(KeyError), cli.open_report(Path("a"), None, "another"):
        raise KeyError
    assert results(here) == []


@pytest.mark.parametrize("name", ["bench", "cost"])
def test_a_page_has_every_option_of_its_command(name: str) -> None:
    page = (ROOT / "docs" / "reference" / f"{name}.md").read_text(encoding="utf-8")
    told = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", page, re.MULTILINE)))
    config = yaml.safe_load((ROOT / "conf" / f"{name}.yaml").read_text(encoding="utf-8"))
    options = {*config, "game", "network", "model"} - {"defaults", "hydra"}
    assert options <= set(told)


# ---- Real processes.


def test_process_a_users_own_game_is_built(here: Path, own: Config, tmp_path: Path) -> None:
    ended = start(here, "textgen", own_game(tmp_path / "own", own), "game=flat", "augment=off", "workers=1", "seed=5")
    assert ended.code == 0, ended.err
    dataset = open_dataset(here / ended.out.strip())
    assert dataset.path.parent == here / "data" / "flat"
    assert dataset.classes == (*"0123456789", "other")
    assert np.bincount(dataset.splits["train"].labels).tolist() == [2] * 11
    assert dataset.manifest["seed"] == 5


def test_process_a_misspelt_game(here: Path) -> None:
    error = message(start(here, "textgen", "game=sot_tmie"))
    assert "sot_tmie" in error
    assert "did you mean sot_time?" in error
    assert list(here.iterdir()) == []


def test_process_a_font_that_is_no_font(here: Path, tmp_path: Path) -> None:
    (tmp_path / "letter.ttf").write_text("Dear Sir or Madam")
    error = message(start(here, "textgen", "game=sot_time", SMALL, f"game.text.fonts=[{tmp_path}/letter.ttf]"))
    assert "letter.ttf" in error
    assert list(here.iterdir()) == []


def test_process_a_batch_smaller_than_fold(here: Path) -> None:
    error = message(start(here, "train", "game=sot_time", SMALL, "fold=4", "batch=3"))
    assert "batch=3 is smaller than fold=4" in error
    assert results(here) == []


@pytest.mark.slow
def test_process_a_failed_job_of_a_sweep_is_named_and_the_others_stand(here: Path) -> None:
    few = ("game=apex_count", "game.images={train:6,val:1,test:1}", "epochs=1", "augment=off", "threads=1")
    ended = start(here, "train", "-m", *few, "fold=9,2,8")
    assert ended.code == 2, ended.err
    failed = [line for line in ended.err.splitlines() if line.startswith("failed: ")]
    assert ["fold=9: fold: Input" in failed[0], "fold=8: fold: Input" in failed[1], len(failed)] == [True, True, 2]
    assert "fold: Input should be less than or equal to 6" in ended.err.splitlines()[-1]
    assert [path.parent.name.split("_s0_")[0] for path in here.glob("runs/*/result.json")] == ["apex_count_f2_default"]


def test_process_a_sweep_into_one_folder_is_refused_before_any_job(here: Path) -> None:
    ended = start(here, "train", "-m", "game=apex_count", "fold=1,2", "out=one")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "out=one is one folder, and the runs of a sweep need one each: give runs=" in ended.err
    assert not (here / "one").exists()


@pytest.mark.slow
def test_process_a_setting_of_games_in_a_sweep_is_told_how_to_write_it(here: Path) -> None:
    sweep = ("train", "-m", "game=sot_time,sot_coyn", "epochs=1")
    assert "takes ++: ++game.images.train=5" in start(here, *sweep, "game.images.train=5").err
    misspelt = ("train", "-m", "game=sot_time", "epochs=1,2", "game.images.trein=5")
    assert "did you mean game.images.train?" in start(here, *misspelt).err
    ended = start(here, "train", "game=sot_coyn", "++game.images.train=5")
    assert (ended.code, "did you mean sot_coin?" in ended.err) == (2, True)


def test_process_ctrl_c_while_libraries_are_loaded_is_no_traceback(here: Path) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "train", "game=apex_count"]
    process = subprocess.Popen(command, cwd=here, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    while "numpy" not in process.stderr.readline():  # PyTorch imports it early
        pass
    process.send_signal(signal.SIGINT)
    rest = process.stderr.read()
    assert process.wait() in (-signal.SIGINT, 130)
    assert "Traceback" not in rest


def test_the_sweeps_of_the_paper_s_table_hold_every_game_and_fold(here: Path) -> None:
    for name, key, values in (("table4", "fold", "1,2,3,4"), ("controls", "width", "0.5,0.577,0.707")):
        sweep = yaml.safe_load((ROOT / f"conf/experiment/{name}.yaml").read_text())["hydra"]["sweeper"]["params"]
        assert sweep[key] == values
        assert sorted(sweep["game"].split(",")) == GAMES
