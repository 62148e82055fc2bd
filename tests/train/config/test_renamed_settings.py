"""Old names of settings: accepted in commands, in `train.compose` and in recipe files, each with one line."""

import subprocess
import sys
from typing import Any

import pytest
from conftest import ROOT, composed

from textgen.common.cli import print_renamed
from textgen.common.errors import UserError
from train import compose
from train.config.recipe import Recipe, fit_recipe, without_overridden
from train.config.renamed_settings import RENAMED

VALUES = {"recipe.ema_decay": 0.9, "recipe.order_consistency": 1.0}


@pytest.fixture(autouse=True)
def nothing_printed_yet() -> None:
    print_renamed.cache_clear()


def fitted(config: dict[str, Any]) -> Recipe:
    return fit_recipe(config, game="sot_time", fold=2, train_images=100)


def test_an_old_name_on_the_command_line_is_accepted_and_the_new_one_printed() -> None:
    command = [sys.executable, "-m", "train", "game=sot_time", "recipe.average=0.25", "--cfg", "job"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "  ema_decay: 0.25\n" in ended.stdout
    assert "  average:" not in ended.stdout
    assert ended.stderr == "recipe.average is called recipe.ema_decay now; the old name will be removed\n"


def test_compose_accepts_an_old_name_and_refuses_an_unknown_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert compose("game=sot_time", "recipe.average=0.25")["recipe"]["ema_decay"] == 0.25
    assert "recipe.average is called recipe.ema_decay now" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"no setting 'recipe.imgaes' here: did you mean recipe.images?"):
        compose("game=sot_time", "recipe.imgaes=3")
    with pytest.raises(UserError, match=r"no setting 'recipe.avrage' here: did you mean recipe.ema_decay?"):
        compose("game=sot_time", "recipe.avrage=0.25")
    with pytest.raises(UserError, match=r"there is no game 'sot_tmie'|did you mean sot_time"):
        compose("game=sot_tmie", "game.images.train=3")


@pytest.mark.parametrize("old", RENAMED)
def test_a_file_with_an_old_name_is_read(old: str, capsys: pytest.CaptureFixture[str]) -> None:
    new = RENAMED[old]
    value = VALUES.get(new, [{"set": {"lr": 0.5}}])
    recipe = composed("game=sot_time", "recipe.slots=false")["recipe"]
    mine = fitted({**recipe, old.removeprefix("recipe."): value})  # builds on a file that has the new name
    if new == "recipe.overrides":
        assert mine.lr == 0.5
    else:
        assert getattr(mine, new.removeprefix("recipe.")) == value
    assert f"{old} is called {new} now" in capsys.readouterr().err


def test_the_command_has_priority_over_an_old_name_in_a_file_and_in_its_overrides() -> None:
    recipe = composed("game=sot_time", "recipe.ema_decay=0.5")["recipe"]
    assert fitted({**recipe, "average": 0.9}).ema_decay == 0.9
    assert fitted(without_overridden({**recipe, "average": 0.9}, ["ema_decay"])).ema_decay == 0.5
    override = {"overrides": [{"set": {"average": 0.9}}]}
    assert fitted({**recipe, **override}).ema_decay == 0.9
    assert fitted(without_overridden({**recipe, **override}, ["ema_decay"])).ema_decay == 0.5


def test_a_recipe_that_lacks_a_setting_is_refused_with_a_way_out() -> None:
    recipe = composed("game=sot_time")["recipe"]
    lacking = {key: value for key, value in recipe.items() if key != "optimizer"}
    with pytest.raises(UserError, match=r"recipe.optimizer is missing: .*defaults: \[default, _self_\]"):
        fitted(lacking)
    with pytest.raises(UserError, match=r"recipe.optimiser is no setting; did you mean optimizer?"):
        fitted({**lacking, "optimiser": "adam"})


def test_an_override_of_null_stays_where_the_command_sets_a_part() -> None:
    recipe = composed("game=sot_time", "recipe=paper", "recipe.curriculum.every=30")["recipe"]
    kept = without_overridden(recipe, ["curriculum.every"])
    assert fit_recipe(kept, game="coral", kind="video", fold=2, train_images=100).curriculum is None
