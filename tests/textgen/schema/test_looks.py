"""Broad looks: another data set of the same texts, for every command that draws crops."""

from dataclasses import asdict

import pytest

from textgen.common.errors import UserError
from textgen.render.renderer import Renderer
from textgen.schema.compose import compose
from textgen.schema.definition import DatasetDefinition, describe_game, parse_definition
from textgen.schema.game import Game
from textgen.schema.looks import BACKGROUNDS, FAMILIES, broaden
from train.config.compose import compose as compose_train


def definition(*overrides: str) -> DatasetDefinition:
    return parse_definition(compose("game=sot_time", *overrides), 0)


def test_broad_looks_keep_the_texts_and_change_the_data_set() -> None:
    game, broad = definition().game, definition("looks=broad").game
    assert broad != game
    kept = ("name", "spec", "label", "fields", "other", "size", "images", "arch")
    assert {key: getattr(broad, key) for key in kept} == {key: getattr(game, key) for key in kept}
    assert definition("looks=game").game == game
    assert describe_game(broad) != describe_game(game)
    assert broad.text.height[0] < game.text.height[0] <= game.text.height[1] < broad.text.height[1]
    assert set(FAMILIES) <= set(broad.text.fonts)
    assert "sot" in broad.text.fonts
    crops = Renderer(broad).render("train", range(54))
    assert len({sample["face"] for sample in crops.samples}) > 25
    assert crops.texts[:3] == ["0", "1", "2"]


def test_looks_are_part_of_what_a_run_stores_and_older_runs_have_none() -> None:
    config = compose_train("game=sot_time", "looks=broad")
    assert parse_definition(config, 0) == definition("looks=broad")
    del config["looks"]
    assert parse_definition(config, 0) == definition()


def test_other_looks_are_refused() -> None:
    with pytest.raises(UserError, match="looks=wide: give one of game, broad"):
        definition("looks=wide")


def test_files_of_the_user_keep_half_of_the_weight() -> None:
    settings = compose("game=sot_time")["game"]
    settings["text"]["fonts"] = {"./my.ttf": 3, "oswald": 1}
    settings["backgrounds"] = [{"source": "./frames/", "zoom": [1, 1]}, {"source": "panel"}]
    broad = broaden(Game.from_config(settings))
    assert isinstance(broad.text.fonts, dict)
    assert broad.text.fonts["./my.ttf"] == sum(broad.text.fonts.values()) / 2
    weights = {background.source: background.weight for background in broad.backgrounds}
    assert weights["./frames/"] == sum(background.weight for background in BACKGROUNDS)
    assert asdict(broad.backgrounds[-1]) | {"weight": 1} == asdict(Game.from_config(settings).backgrounds[0])


def test_a_font_without_the_characters_of_the_spec_is_left_out() -> None:
    settings = compose("game=sot_time")["game"] | {"spec": "N ŁĐ"}
    renderer = Renderer(broaden(Game.from_config(settings)))
    assert {face.path.parent.name for face in renderer.faces} == {"dejavu-sans"}
