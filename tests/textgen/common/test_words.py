"""Words of the shell, of YAML and of Hydra's grammar: each is read as the user means it, or gives one line."""

import shlex
from pathlib import Path

import pytest
import yaml
from conftest import Config, changed, load
from hypothesis import given, settings
from hypothesis import strategies as st

import textgen.cut.main
import textgen.export.main
import textgen.frames.main
import textgen.label.main
import textgen.main
import textgen.preview.main
import textgen.regions.main
import textgen.stream.main
import train.adapt.settings
import train.cascade.settings
import train.cost.settings
import train.evaluate.settings
import train.export.settings
import train.label_video.settings
import train.predict.settings
from textgen.common.errors import UserError
from textgen.common.hydra_app import compose_config
from textgen.common.hydra_arguments import GROUPS, PATHS, find_config_folders, prepare, quote
from textgen.schema.definition import parse_definition
from textgen.schema.game import Game
from textgen.spec.parser import Spec
from train.bench.settings import Settings as BenchSettings
from train.config.settings import Settings as TrainSettings


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_game(name: str, game: Config | bytes) -> str:
    """Write mine/game/<name>.yaml; the setting that makes it known."""
    file = Path("mine/game") / f"{name}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(game if isinstance(game, bytes) else yaml.safe_dump(game, allow_unicode=True).encode())
    return "hydra.searchpath=[file://mine]"


def refusal(*overrides: str, config: str = "train") -> str:
    with pytest.raises(UserError) as caught:
        compose_config(config, *overrides)
    return caught.value.summary


# ---- Groups: their values are names.


@pytest.mark.parametrize(
    "name", ["2048", "1e3", "1942", "1_000", "007", "-5", "1.50", "true", "No", "nan", "日本", "été"]
)
def test_a_game_s_file_may_have_any_name(name: str) -> None:
    search = write_game(name, {**load("game", "sot_time"), "title": "mine"})
    assert compose_config("textgen", search, f"game={name}")["game"]["title"] == "mine"
    assert compose_config("textgen", search, f"game='{name}'")["game"]["title"] == "mine"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("augment=false", "there is no augment 'false'; known are albumentations, .*; give off for none"),
        ("augment=None", "there is no augment 'None'.*; give off for none"),
        ("model=null", "there is no model 'null'; known are game, padded, stride1; give one of these names"),
        ("recipe=1e3", "there is no recipe '1e3'; known are default"),
        ("+augment=7", "there is no augment '7'"),
        ("augment=", "which augment[?] give augment=…, one of albumentations"),
        ("augment=[1]", "augment=.1.: a list of files has names, in quotes"),
        ("augment={a:1}", "augment has no such keys"),
        ("~augment", "augment cannot be left out; give augment=…"),
        ("hydra/launcher=null", "a group takes the name of one of its files"),
    ],
)
def test_a_group_that_is_given_no_name_is_told_in_a_line(given: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        compose_config("train", "game=sot_time", given)


def test_a_game_that_is_not_there_is_told_with_those_that_are() -> None:
    assert refusal("game=2048", config="textgen").startswith("there is no game '2048'; known are apex_count")


def test_a_group_without_a_file_by_default_takes_null() -> None:
    assert "game" not in compose_config("train", "game=null", "experiment=null")
    assert "network" not in compose_config("cost", "network=null")


def test_the_games_of_a_sweep_are_names() -> None:
    assert prepare(["-m", "game=2048,sot_time,true"], "train", {}) == ["-m", 'game="2048",sot_time,"true"']


# ---- Paths, and Hydra's grammar.


def test_every_path_of_every_command_is_known() -> None:
    settings = (textgen.main.Settings, textgen.export.main.Settings, textgen.preview.main.Settings, TrainSettings)
    more = (
        train.cost.settings.Settings,
        train.evaluate.settings.Settings,
        train.export.settings.Settings,
        BenchSettings,
    )
    footage = (
        textgen.cut.main.Settings,
        textgen.label.main.Settings,
        textgen.regions.main.Settings,
        textgen.stream.main.Settings,
        train.adapt.settings.Settings,
        train.predict.settings.Settings,
        textgen.frames.main.Settings,
        train.label_video.settings.Settings,
        train.cascade.settings.Settings,
    )
    all_settings = (*settings, *more, *footage)
    names = {f.name for cls in all_settings for f in cls.__dataclass_fields__.values() if "Path" in str(f.type)}
    or_something_else = {"source", "regions", "run", "detector", "reference"}
    assert names | or_something_else == {*PATHS}


def test_what_has_the_name_of_a_path_elsewhere_is_a_number() -> None:
    assert compose_config("evaluate", "run=runs/a", "crops=100")["crops"] == 100
    for command, needed in {"adapt": [], "cut": ["out=a"], "predict": ["run=a"], "regions": []}.items():
        more = ["source=a.mp4", *([] if command == "regions" else ["regions=b.yaml"]), *needed]
        assert compose_config(command, *more, "start=20")["start"] == 20
    for command, more in {"label_video": ["source=a.mp4", "detector=people"], "cascade": []}.items():
        assert compose_config(command, *more, "start=20")["start"] == 20
    assert {"game", "augment", "recipe", "model", "network", "task", "experiment"} == {*GROUPS}


@pytest.mark.parametrize(
    "path",
    ["2024", "2024_01", "1e3", "2024.10", "a=b", "my run (1)", "x (1)", "{x}", "日本/é", "~/runs", "a;b", "f(x)", "#1"],
)
def test_a_path_is_taken_as_it_is(path: str) -> None:
    assert compose_config("textgen", "game=sot_time", f"out={path}")["out"] == path


@pytest.mark.parametrize("path", ["", "true", "[a]"])
def test_what_is_no_path_is_refused(path: str) -> None:
    config = compose_config("textgen", "game=sot_time", f"out={path}")
    with pytest.raises(UserError, match="out: it is "):
        textgen.main.Settings.from_config(config)


@pytest.mark.parametrize(
    ("given", "right"),
    [
        (["game.title=a=b"], 'game.title="a=b"'),
        (["game.title=Cup (2)"], 'game.title="Cup (2)"'),
        (["game.title={x}"], 'game.title="{x}"'),
        (["game.title=it's"], 'game.title="it\'s"'),
        (['game.title="x'], 'game.title="\\"x"'),
        (["game.title=100 % é"], 'game.title="100 % é"'),
        (["game.title=N ${"], 'game.title="N \\${"'),
        (["out=[x"], 'out="[x"'),
        (["game.text.fonts=[./Oswald[wght].ttf]"], 'game.text.fonts=["./Oswald[wght].ttf"]'),
        (["game.text.fonts=[a/A[wdth,wght].ttf,teko]"], 'game.text.fonts=["a/A[wdth,wght].ttf",teko]'),
        (["game.text.fonts=[~/x.ttf]"], 'game.text.fonts=["~/x.ttf"]'),
        (["game.text.height=[8,", "9]"], "game.text.height=[8, 9]"),
    ],
)
def test_what_hydra_cannot_read_is_told_with_the_right_form(given: list[str], right: str) -> None:
    """A shell reads the end of the line as one setting, which is read."""
    told = refusal("game=sot_time", *given)
    assert "hydra.cc" not in told
    (word,) = shlex.split(told.rpartition(": " if "${" not in right else "write ")[2])
    assert word == right
    compose_config("textgen", "game=sot_time", word)


@pytest.mark.parametrize("given", ["fold", "=x", "a b=c", "+", "++", "~", "~=x", "+=1", "2024", ""])
def test_what_has_no_key_is_no_setting(given: str) -> None:
    assert refusal("game=sot_time", given).startswith(f"{given!r} is no setting: write key=value")


def test_a_function_of_a_sweep_is_told_why_it_is_wrong() -> None:
    assert refusal("game=sot_time", "seed=range(a)").startswith("cannot read 'seed=range(a)': mismatch type")
    assert "Unknown function 'rnage'" in refusal("game=sot_time", "seed=rnage(1,3)")


@settings(max_examples=20, deadline=None)
@given(st.text("aN1 =,:;[]{}()'\"\\$#~%@é日", max_size=12))
def test_a_quoted_text_is_read_as_it_is(text: str) -> None:
    (prepared,) = prepare([f"out={quote(text)}"], "textgen", {})
    if "${" not in text:
        assert compose_config("textgen", "game=sot_time", prepared)["out"] == text


# ---- Texts that OmegaConf takes for references or for settings left open.


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("other", "???"),
        ("other", ["???", "x"]),
        ("other", {"???": 1}),
        ("other", r"\${gold}"),
        ("fields", {"N": ["???", "1"]}),
        ("title", "???"),
        ("text.neighbour", {"texts": ["???"]}),
    ],
)
def test_a_game_holds_what_yaml_says(path: str, value: object) -> None:
    game = changed(load("game", "sot_time"), path, value)
    composed = compose_config("textgen", write_game("mine", game), "game=mine")["game"]
    assert composed == (changed(game, path, "${gold}") if value == r"\${gold}" else game)
    Game.from_config(composed)


def test_a_command_s_setting_may_hold_question_marks() -> None:
    game = compose_config("textgen", "game=sot_time", "+game.other=???")["game"]
    assert Spec.parse(game["spec"], label="N", fields=game["fields"], other=game["other"]).label_of("???") == "other"
    assert refusal("game=sot_time", "to=parquet", config="export") == "out has no value: give it as out=…"


@pytest.mark.parametrize(
    "text", ["N ${gold}", "${", "${}", "${a b}", "N ${nope:1}", "${oc.env:NOT_SET}", "${.x}", "$${x}"]
)
@pytest.mark.parametrize("key", ["spec", "other", "title"])
def test_a_reference_that_leads_nowhere_is_told_how_to_write_it_as_text(text: str, key: str) -> None:
    search = write_game("mine", {**load("game", "sot_time"), key: [text] if key == "other" else text})
    told = refusal(search, "game=mine")
    assert told.partition(":")[0].removeprefix("game.") in (key, f"{key}[0]")
    assert told.endswith("for the text itself write \\${…}, in YAML within single quotes")


def test_references_keep_working(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TITLE", "mine")
    game = {**load("game", "sot_time"), "title": "${oc.env:TITLE}, ${.name}"}
    assert compose_config("textgen", write_game("mine", game), "game=mine")["game"]["title"] == "mine, sot_time"


# ---- Encodings of YAML files.

CAFE = {**load("game", "sot_time"), "title": "Café €"}
ENCODINGS = [
    "cp1252",
    "cp1251",
    "cp437",
    "mac_roman",
    "iso8859_15",
    "utf-16",
    "utf-16-le",
    "utf-32",
    "utf-32-be",
    "gbk",
]


@pytest.mark.parametrize("encoding", [*ENCODINGS, "shift_jis", "koi8-r"])
@pytest.mark.parametrize("ahead", [0, 9000])
def test_a_file_in_another_encoding_is_named(encoding: str, ahead: int) -> None:
    text = f"#{'x' * ahead}\n{yaml.safe_dump(CAFE, allow_unicode=True)}"
    letter = next(letter for letter in "éЖ" if letter.encode(encoding, "ignore"))
    search = write_game("cafe", text.replace("é", letter).encode(encoding, "replace"))
    write_game("another", text.encode("cp1252"))
    told = refusal(search, "game=cafe", config="textgen")
    assert "mine/game/cafe.yaml" in told
    assert told.endswith("save it as UTF-8")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_utf_8_of_every_kind_is_read(encoding: str, newline: str) -> None:
    text = yaml.safe_dump(CAFE, allow_unicode=True).replace("\n", newline)
    assert compose_config("textgen", write_game("cafe", text.encode(encoding)), "game=cafe")["game"] == CAFE


def test_a_control_character_in_a_file_is_named() -> None:
    search = write_game("cafe", yaml.safe_dump(CAFE, allow_unicode=True).replace("é", "\0").encode())
    assert "mine/game/cafe.yaml holds U+0000" in refusal(search, "game=cafe")


@pytest.mark.parametrize(("content", "kind"), [(b"5\n", "int"), (b"1.5\n", "float"), (b"true\n", "bool")])
def test_a_file_that_is_a_single_value_is_told(content: bytes, kind: str) -> None:
    told = refusal(write_game("single", content), "game=single", config="textgen")
    assert f"a file of game=single holds a single {kind}" in told


@pytest.mark.parametrize("value", ["x", "5", "true"])
def test_split_is_a_mapping(value: str) -> None:
    config = compose_config("textgen", "game=sot_time", f"split={value}")
    with pytest.raises(UserError, match="split: it is a mapping"):
        parse_definition(config, 0)


@pytest.mark.parametrize("flag", ["--cfg=nope", "-c=nope", "--info=nope", "-i=5"])
def test_a_flag_with_an_unknown_word_is_told_in_one_line(flag: str) -> None:
    name = flag.partition("=")[0]
    assert f"{flag}: {name} takes one of" in refusal(flag, "game=sot_time")


def test_a_recipe_in_another_encoding_is_named(here: Path) -> None:
    (here / "mine/recipe").mkdir(parents=True)
    (here / "mine/recipe/été.yaml").write_bytes("# été\ndefaults: [default, _self_]\n".encode("latin-1"))
    told = refusal("hydra.searchpath=[file://mine]", "game=sot_time", "recipe=été")
    assert told == "mine/recipe/été.yaml is no text in UTF-8: save it as UTF-8"


def test_the_folders_of_a_user_s_files_are_found_however_they_are_given() -> None:
    given = ["--config-dir", "a", "-cd", "b", "--config-dir=c", "game=x", "hydra.searchpath=[file:///d,pkg://e]"]
    assert find_config_folders(given) == ["a", "b", "c", "/d"]
