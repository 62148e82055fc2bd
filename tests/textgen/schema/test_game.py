from collections.abc import Callable
from typing import Any

import pytest
from conftest import Config, changed

from textgen.common.errors import UserError
from textgen.render.renderer import Renderer
from textgen.schema.game import Game

DIGITS = tuple("0123456789")
# The paper's tasks, see docs/reference/games.md: size (H, W), images a class in train, val and test, labels in order.
TASKS: dict[str, tuple[tuple[int, int], tuple[int, int, int], tuple[str, ...]]] = {
    "lol_gold1": ((22, 52), (10000, 100, 100), DIGITS),
    "apex_count": ((19, 25), (1000, 100, 100), tuple(str(n) for n in range(21))),
    "sot_coin": ((17, 40), (800, 200, 200), tuple(str(n) for n in range(1, 15))),
    "sot_time": ((22, 30), (2000, 100, 100), tuple(str(n) for n in range(26))),
    "lol_gold2": ((22, 52), (1000, 100, 100), DIGITS + tuple(f"{n:02}" for n in range(100))),
    "lol_time": ((15, 35), (1000, 100, 100), tuple(f"{n:02}" for n in range(61))),
}
COUNTS = {"lol_gold1": 11, "apex_count": 22, "sot_coin": 15, "sot_time": 27, "lol_gold2": 111, "lol_time": 62}
ARCHS = dict.fromkeys(TASKS, "C32 M B M C8 M F") | {"sot_time": "C32 M B M B M C8 M F"}


def refusal(config: object) -> str:
    with pytest.raises(UserError) as caught:
        Game.from_config(config)
    summary = caught.value.summary
    assert "\n" not in summary
    return summary


def test_every_task_of_the_paper_has_a_game(games: list[str]) -> None:
    assert set(TASKS) <= set(games)


def test_every_game_file_is_valid_and_named_as_its_file(game_name: str, config: Callable[[str], Config]) -> None:
    assert Game.from_config(config(game_name)).name == game_name


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_that_of_the_paper(name: str, config: Callable[[str], Config]) -> None:
    size, images, labels = TASKS[name]
    game = Game.from_config(config(name))
    assert game.size == size
    assert (game.images.train, game.images.val, game.images.test) == images
    assert game.classes == (*labels, "other")
    assert len(game.classes) == COUNTS[name]
    assert game.arch == ARCHS[name]


@pytest.mark.parametrize("name", TASKS)
def test_class_other_of_a_task_is_blank(name: str, config: Callable[[str], Config], rng: Any) -> None:
    assert Game.from_config(config(name)).parse_spec().sample("other", rng) == ""


@pytest.mark.parametrize(
    ("path", "right"),
    [
        ("sizes", "size"),
        ("lable", "label"),
        ("text.heigth", "height"),
        ("text.outline.widht", "width"),
        ("text.shadow.opcity", "opacity"),
        ("backgrounds.0.sorce", "source"),
        ("backgrounds.1.tint_opacty", "tint_opacity"),
        ("images.trian", "train"),
        ("text.slent", "slant"),
        ("text.lest", "least"),
        ("text.kernign", "kerning"),
        ("text.glow.blurr", "blur"),
        ("text.gradient.colours", "colors"),
        ("text.panel.boarder", "border"),
        ("text.icon.sorce", "source"),
        ("text.icon.side", "sides"),
        ("text.neighbour.text", "texts"),
        ("text.neighbor", "neighbour"),
    ],
)
def test_a_misspelt_key_is_named_with_the_right_one(small_game: Config, path: str, right: str) -> None:
    summary = refusal(changed(small_game, path, 1))
    assert f"game.{path} " in summary
    assert summary.endswith(f"did you mean {right}?")


def test_a_key_like_no_other_is_answered_with_all_that_there_are(small_game: Config) -> None:
    summary = refusal(changed(small_game, "images.qqq", 1))
    assert "game.images.qqq" in summary
    assert all(name in summary for name in ("train", "val", "test"))


@pytest.mark.parametrize(
    "path",
    [
        "name",
        "spec",
        "label",
        "size",
        "images",
        "text",
        "backgrounds",
        "text.fonts",
        "text.height",
        "backgrounds.0.source",
        "images.val",
    ],
)
def test_a_missing_key_is_named(small_game: Config, path: str) -> None:
    *steps, last = path.split(".")
    inner: Any = small_game
    for step in steps:
        inner = inner[int(step) if step.isdigit() else step]
    del inner[last]
    assert f"game.{path} is missing" in refusal(small_game)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("name", 3),
        ("spec", 3),
        ("size", "big"),
        ("size", [22, 30, 3]),
        ("size.0", 22.5),
        ("size.1", 7),
        ("size.1", 513),
        ("images.train", "many"),
        ("images.train", -1),
        ("images.val", 0),
        ("images.val", 2.5),
        ("images.test", 10_000_000),
        ("text", 3),
        ("text.height", 8),
        ("text.contrast", "low"),
        ("text.contrast", -1),
        ("text.margin", -1),
        ("text.outline", True),
        ("text.outline.chance", 1.5),
        ("text.shadow.opacity", [0.5, 2]),
        ("text.fonts.0", 1),
        ("backgrounds", []),
        ("backgrounds", "sot"),
        ("backgrounds.0", 3),
        ("backgrounds.0.weight", 0),
        ("backgrounds.0.weight", float("inf")),
        ("backgrounds.0.zoom", [0, 1]),
        ("text.least", -1),
        ("text.least", "small"),
        ("text.kerning", 1),
        ("text.slant", [-46, 0]),
        ("text.slant", 10),
        ("text.spacing", [-5, 0]),
        ("text.axes", 3),
        ("text.axes", {"wght": 400}),
        ("text.axes", {"wght": ["thin", "bold"]}),
        ("text.axes", {"weight": [1, 2]}),
        ("text.gradient", {"colors": []}),
        ("text.gradient", {"chance": -1}),
        ("text.glow", {"blur": [0, 17]}),
        ("text.glow", {"opacity": [0, 2]}),
        ("text.panel", {"padding": [-1, 2]}),
        ("text.panel", {"border": "red"}),
        ("text.icon", {"source": "coin"}),
        ("text.icon", {"source": []}),
        ("text.icon", {"sides": []}),
        ("text.icon", {"sides": ["top"]}),
        ("text.icon", {"height": [0, 1]}),
        ("text.icon", {"height": [1, 9]}),
        ("text.icon", {"gap": [0, 300]}),
        ("text.neighbour", {}),
        ("text.neighbour", "12"),
        ("text.neighbour", {"texts": "1", "sides": ["beside"]}),
        ("text.neighbour", {"texts": "1", "sides": "left"}),
        ("text.neighbour", {"texts": "1", "chance": 2}),
    ],
)
def test_a_value_of_the_wrong_kind_is_named_by_its_key(small_game: Config, path: str, value: object) -> None:
    assert refusal(changed(small_game, path, value)).startswith(f"game.{path}")


@pytest.mark.parametrize("path", ["text.spacing", "backgrounds.0.light", "backgrounds.0.zoom", "text.outline.width"])
@pytest.mark.parametrize("pair", [[float("nan"), 1], [1, float("nan")], [1, float("inf")]])
def test_a_range_of_no_number_is_refused(small_game: Config, path: str, pair: list[float]) -> None:
    assert refusal(changed(small_game, path, pair)).startswith(f"game.{path}")


def test_a_wrong_side_is_answered_with_those_that_there_are(small_game: Config) -> None:
    for key, more in (("icon", {}), ("neighbour", {"texts": "1"})):
        summary = refusal(changed(small_game, f"text.{key}", {**more, "sides": ["top"]}))
        assert summary.startswith(f"game.text.{key}.sides.0: ")
        assert all(f"'{side}'" in summary for side in ("left", "right", "above", "below", "top"))


def test_a_neighbour_without_texts_is_told_so(small_game: Config) -> None:
    assert "game.text.neighbour.texts is missing" in refusal(changed(small_game, "text.neighbour", {"chance": 0.5}))


@pytest.mark.parametrize(
    ("texts", "word"),
    [("a[", "never closed"), ([], "empty"), (["a", "a"], "twice"), (5, "in quotes"), ({"a": 0}, "weight")],
)
def test_wrong_texts_of_a_neighbour_are_told_by_name(small_game: Config, texts: object, word: str) -> None:
    with pytest.raises(UserError, match=word) as caught:
        Renderer(Game.from_config(changed(small_game, "text.neighbour", {"texts": texts})))
    assert "text.neighbour.texts" in caught.value.summary
    assert "\n" not in caught.value.summary


def test_light_is_no_negative_number(small_game: Config) -> None:
    assert refusal(changed(small_game, "backgrounds.0.light", [-2, -1])).startswith("game.backgrounds.0.light")


@pytest.mark.parametrize("weight", [0, -1, "much"])
def test_a_wrong_weight_of_a_font_is_told_as_such(small_game: Config, weight: object) -> None:
    summary = refusal(changed(small_game, "text.fonts", {"oswald": weight}))
    assert summary.startswith("game.text.fonts")
    assert "oswald" in summary, "the font of the wrong weight is not named"


@pytest.mark.parametrize(
    "path",
    [
        "text.height",
        "text.spacing",
        "text.opacity",
        "text.x",
        "text.y",
        "text.outline.width",
        "text.shadow.offset",
        "text.shadow.opacity",
        "text.shadow.blur",
        "text.glow.opacity",
        "text.slant",
        "text.axes.wght",
        "text.panel.padding",
        "text.icon.gap",
        "text.icon.height",
        "backgrounds.0.zoom",
        "backgrounds.0.light",
        "backgrounds.2.tint_opacity",
    ],
)
def test_a_reversed_range_is_told_from_a_right_one(small_game: Config, path: str) -> None:
    low, high = (8, 9) if path == "text.height" else (0.25, 0.5)
    Game.from_config(changed(small_game, path, [low, high]))
    summary = refusal(changed(small_game, path, [high, low]))
    assert summary.startswith(f"game.{path}: ")
    assert "smaller" in summary


@pytest.mark.parametrize("color", ["red", "#fff", "#12345g", "#ffffff00", "ffffff", "#ffffff\n", "", " #ffffff"])
@pytest.mark.parametrize(
    "path",
    [
        "text.colors.0",
        "text.outline.colors",
        "backgrounds.0.tint",
        "text.glow.colors",
        "text.gradient.colors",
        "text.panel.colors",
        "text.panel.border",
    ],
)
def test_a_colour_is_six_hexadecimal_digits(small_game: Config, path: str, color: str) -> None:
    value = color if path.endswith("0") else [color]
    summary = refusal(changed(small_game, path, value))
    assert f"game.{path}" in summary
    assert '"#rrggbb"' in summary


def test_a_colour_that_yaml_read_as_a_number_is_refused(small_game: Config) -> None:
    assert refusal(changed(small_game, "text.colors.0", 0xFFFFFF)).startswith("game.text.colors.0")


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "a b", "a\n", "x" * 65, "~"])
def test_a_name_is_fit_for_a_folder(small_game: Config, name: str) -> None:
    assert refusal({**small_game, "name": name}).startswith("game.name: ")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"spec": "N["}, ["spec", "column 2"]),
        ({"label": "Q"}, ["label", "Q", "choose one of N"]),
        ({"fields": {"N": "20..0"}}, ["fields.N", "0..20"]),
        ({"fields": {"N": [0, 1]}}, ["fields.N", "in quotes"]),
        ({"fields": {"M": "0..5"}}, ["fields.M"]),
        ({"fields": {5: "0..5"}}, ["fields"]),
        ({"fields": 3}, ["fields"]),
        ({"other": 5}, ["other", "in quotes"]),
        ({"other": "7"}, ["other", "'7'"]),
        ({"spec": "[1]N", "fields": {"N": ["1", "11"]}}, ["ambiguous", "'11'"]),
    ],
)
def test_a_wrong_spec_of_a_game_is_an_error_of_the_user(small_game: Config, changes: Config, words: list[str]) -> None:
    summary = refusal({**small_game, **changes})
    assert all(word in summary for word in words), summary


@pytest.mark.parametrize("config", [None, 3, "x", [], {}, {1: 2}])
def test_what_is_no_mapping_is_no_game(config: object) -> None:
    assert refusal(config).startswith("game")


def test_validation_changes_no_config(small_game: Config) -> None:
    before = repr(small_game)
    Game.from_config(small_game)
    assert repr(small_game) == before
