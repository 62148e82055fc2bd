"""A new game file reads back unchanged, can be previewed, and gives crops like those that it was measured from."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from PIL import Image

import textgen.new.main
from textgen.assets.backgrounds import parse_color
from textgen.common.array_types import U8
from textgen.common.errors import UserError
from textgen.common.hydra_app import compose_config
from textgen.new.crop_folder import CropFolder
from textgen.new.main import create
from textgen.new.measure import find_text_lines
from textgen.new.proposal import propose_settings
from textgen.new.template import format_game_file
from textgen.render.renderer import Renderer
from textgen.schema.game import Game

LIGHT = {"blur": {"chance": 0.5, "sigma": [0.3, 0.8]}, "noise": {"chance": 0.5, "deviation": [2.5, 10]}}
CLOCK = {"name": "clock", "spec": "MM:SS", "label": "M", "fields": {"M": "00..59", "S": "00..59"}}
CLOCK |= {"images": {"train": 1, "val": 1, "test": 1}}
TEXT = {"fonts": ["oswald", "rajdhani"], "colors": ["#ffffff"], "height": [8, 9], "x": [0.4, 0.6], "y": [0.4, 0.6]}
DARK = {"source": "scene", "tint": ["#101418"], "tint_opacity": [0.6, 0.8]}
BRIGHT = {"source": "scene", "tint": ["#f0e8e0"], "tint_opacity": [0.7, 0.9]}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(path: Path) -> dict[str, Any]:
    """Read a game file as the commands do: composed by Hydra, with interpolations resolved."""
    game = compose_config("preview", f"hydra.searchpath=[file://{path.parents[1].resolve()}]", f"game={path.stem}")[
        "game"
    ]
    assert isinstance(game, dict)
    return game


def like(size: tuple[int, int], text: dict[str, Any], grounds: list[dict[str, Any]]) -> Callable[[int], list[U8]]:
    """Return a function that draws n crops of a game with known settings."""
    game = Game.from_config({**CLOCK, "size": list(size), "text": {**TEXT, **text}, "backgrounds": grounds})

    def draw(n: int) -> list[U8]:
        # 61 classes: steps of 7 reach all of them, including the blank one
        return list(Renderer(game, 1, LIGHT).render("train", range(0, 7 * n, 7)).images)

    return draw


def save(folder: Path, crops: list[U8], suffix: str = "png") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i, crop in enumerate(crops):
        Image.fromarray(crop).save(folder / f"{i:03}.{suffix}")
    return folder


def distance(one: str, other: str) -> float:
    """Compute the distance of two colours in RGB."""
    return float(np.linalg.norm(np.subtract(parse_color(one), parse_color(other))))


# ---- The file.


def test_a_clock_gets_sixty_minutes_and_seconds_and_a_comment() -> None:
    path, notes = create(["my_game", "MM:SS", "--label", "MM", "--size", "15x35"])
    assert (path, notes) == (Path("games/game/my_game.yaml"), [])
    text = path.read_text()
    assert "# The values of M and S are assumed to be those of a clock" in text
    game = read(path)
    assert game["fields"] == {"M": "00..59", "S": "00..59"}
    assert (game["label"], game["size"], game["title"]) == ("M", [15, 35], "")
    assert list(path.parent.iterdir()) == [path]
    # Every key is in the file.
    assert {f"{key}: " for key in ("other", "images", "arch", "height", "colors", "spacing", "x")} <= {
        line.split(": ")[0].strip() + ": " for line in text.splitlines()
    }
    assert "# shadow:" in text
    assert "# outline:" in text


@pytest.mark.parametrize(
    ("label", "written"), [("MM,S", ["M", "S"]), ("[M, S]", ["M", "S"]), ("all", "all"), ("text", "text")]
)
def test_several_fields_can_be_the_label(label: str, written: object) -> None:
    path, notes = create(["my_game", "MM:SS", "--label", label, "--size", "15x35"])
    game = read(path)
    assert notes == []
    assert game["label"] == written
    assert game["arch"] == "C32 M B M C32 M F"
    assert "the fields to be read, each with classes of its own" in path.read_text()


def test_a_label_that_is_given_twice_is_a_list() -> None:
    path, _ = create(["my_game", "MM:SS", "--label", "M", "--label", "SS", "--size", "15x35"])
    assert read(path)["label"] == ["M", "S"]


def test_given_settings_are_kept_and_others_are_proposed() -> None:
    given = ["n", r"H\H N/MM", "--label", "N", "--field", "N=0..30,99", "--field", "N=GO", "--fonts", "teko,oswald"]
    path, _ = create([*given, "--dir", "mine", "--title", "Ünï"])
    game = read(path)
    assert path == Path("mine/game/n.yaml")
    assert game["fields"] == {"N": ["0..30", "99", "GO"]}  # without a colon MM are no minutes
    assert game["text"]["fonts"] == ["teko", "oswald"]
    assert game["title"] == "Ünï"
    height, width = game["size"]
    assert height < width  # for up to eight characters


def test_capitals_without_given_values_are_reported() -> None:
    _, notes = create(["n", r"\HP N/M", "--label", "N", "--field", "M=0..20"])
    assert notes == [r"P in '\\HP N/M' is a field of digits; for the letter itself write \P"]


def test_the_colon_of_a_probability_makes_no_clock() -> None:
    path, _ = create(["n", "MM[x]:0.5", "--label", "MM"])
    assert read(path)["fields"] == {}


@pytest.mark.parametrize("spec", [r"\H\P NNN", "XXXXXXXX:YYYYYYY:ZZZZZZZZ", "-N€", "×N"])
def test_a_new_game_can_be_drawn(spec: str) -> None:
    label = next(c for c in spec[::-1] if c in "NXZ")
    path, _ = create(["n", "--label", label, "--field", f"{label}={'0' * spec.count(label)}", "--", spec])
    game = Game.from_config(read(path))
    images = Renderer(game).render("train", range(20)).images
    assert images.shape == (20, *game.size, 3)


QUOTABLE = st.text("MS:.,#'\"\\ ${}[]-?&*!|>%@`~=ü€{}0:59nNkx\t", max_size=14) | st.text(max_size=8)


@settings(max_examples=60, deadline=None)
@given(title=QUOTABLE, spec=QUOTABLE, values=st.lists(QUOTABLE, min_size=1, max_size=3), other=QUOTABLE)
def test_yaml_reads_back_unchanged(title: str, spec: str, values: list[str], other: str) -> None:
    game: dict[str, Any] = {
        **CLOCK,
        "title": title,
        "spec": spec,
        "fields": {"N": values, "Y": spec},
        "other": other,
        "arch": "C32 F",
    }
    game |= {"size": [15, 35], "backgrounds": [{"source": title, "tint": ["#000000"], "zoom": [1, 1.5]}]}
    game["text"] = {**TEXT, "spacing": [0, 0.5], "contrast": 18}
    config = OmegaConf.create(format_game_file(game))
    assert OmegaConf.to_container(config, resolve=True) == game


@settings(max_examples=4, deadline=None)
@given(
    title=st.sampled_from(
        ["NO", "01", "12:30", "null", "a: b # c", '"', "'", "\\", "${x}", r"\\${x}", "#fff", "é\n語"]
    ),
    value=st.sampled_from(["NO", "01", "30:54", "null", "~", "#1", "'", '"', "{a}", "1e5", "- x", "é", "${x}"]),
)
def test_hydra_reads_a_written_file_unchanged(title: str, value: str) -> None:
    path, _ = create(["n", "A: #N", "--label", "N", "--field", f"N={value}", "--title", title, "--force"])
    game = read(path)
    assert (game["title"], game["fields"], game["spec"]) == (title, {"N": value}, "A: #N")
    assert Game.from_config(game).classes == (value, "other")


@pytest.mark.parametrize(
    "arguments",
    [
        ["2048", "N", "--label", "N"],
        ["1e5", "N", "--label", "N", "--title", "???"],
        ["true", "MM:SS", "--label", "SS"],
        ["x", "[H:]MM:SS.T", "--label", "SS"],
        ["x", "NNN/MM", "--label", "N", "--field", "NNN=000..099,???"],
        ["x", "N ${gold}", "--label", "N"],
        ["x", r"\$\{N\}\\", "--label", "N", "--field", "N=${a},??,#,0"],
        ["x", "??? N", "--label", "N"],
        ["x", "N", "--label", "N", "--field", "N=~,null,NO,1e3,0x1F,1_000,007"],
    ],
)
def test_what_is_written_is_read_by_the_programs(arguments: list[str]) -> None:
    path, _ = create(arguments)
    game = Game.from_config(read(path))
    assert (game.name, game.spec) == (arguments[0], arguments[1])
    assert game.label in game.spec
    assert Renderer(game).render("train", range(4)).images.shape == (4, *game.size, 3)


def test_a_font_with_a_comma_in_its_name_is_one_font(here: Path) -> None:
    variable = next((ROOT / "fonts").rglob("archivo-variable.ttf"))
    shutil.copy(variable, here / "Archivo[wdth,wght].ttf")
    path, _ = create(["x", "N", "--label", "N", "--fonts", f"{here}/Archivo[wdth,wght].ttf, oswald"])
    assert read(path)["text"]["fonts"] == [f"{here}/Archivo[wdth,wght].ttf", "oswald"]
    assert Game.from_config(read(path))


# ---- Mistakes.


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["x", "X[", "--label", "X"], ["spec", "column 2"]),
        (["x", "MM:SS", "--label", "Q"], ["Q", "choose one of M, S"]),
        (["x", "MM:SS", "--label", "MMM"], ["MMM", "write MM or M"]),
        (["x", "N"], ["--label"]),
        (["x", "N", "--label", "N", "--sise", "3x4"], ["--sise"]),
        (["x", "N", "--label", "N", "--size", "15"], ["--size '15'", "15x35"]),
        (["x", "N", "--label", "N", "--size", "4x35"], ["game.size", "8"]),
        (["x", "N", "--label", "N", "--field", "N"], ["--field 'N'", "M=00..60"]),
        (["x", "N", "--label", "N", "--field", "N=5..1"], ["fields.N", "downwards"]),
        (["x", "N", "--label", "N", "--field", "M=1..5"], ["fields.M", "nowhere"]),
        (["x", "N", "--label", "N", "--fonts", "oswlad"], ["oswlad", "did you mean oswald?"]),
        (["x", "N世", "--label", "N"], ["世", "--fonts"]),
        (["x", "N", "--label", "N", "--title", "\udcff"], ["UTF-8"]),
        (["x y", "N", "--label", "N"], ["game.name", "x y"]),
        (["../x", "N", "--label", "N"], ["game.name", "../x"]),
        (["x.yaml", "N", "--label", "N"], ["write x"]),
        (["sot_time", "N", "--label", "N"], ["sot_time", "another name"]),
        (["null", "N", "--label", "N"], ["game=null stands for no game"]),
        (["x", "N", "--label", "N", "--like", "nowhere"], ["nowhere"]),
        (["x", "N", "--label", "N", "--dir", "/proc/nowhere"], ["/proc/nowhere", "--dir"]),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(here: Path, arguments: list[str], words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        create(arguments)
    assert all(word in caught.value.summary for word in words), caught.value.summary
    assert list(here.rglob("*")) == []


def test_a_file_is_overwritten_only_with_force() -> None:
    arguments = ["x", "N", "--label", "N"]
    path, _ = create(arguments)
    path.write_text("mine")
    with pytest.raises(UserError, match=r"exists.*--force"):
        create(arguments)
    assert path.read_text() == "mine"
    create([*arguments, "--force"])
    assert read(path)["spec"] == "N"


# ---- Crops of the user's own.


@pytest.mark.parametrize(
    ("size", "text", "ground"),
    [
        ((20, 48), {"colors": ["#201810"], "height": [9, 10]}, BRIGHT),
        ((32, 80), {"x": [0, 0.1], "y": [0.9, 1], "height": [15, 18], "colors": ["#60ff60"]}, DARK),
    ],
)
def test_proposals_are_near_the_true_settings(
    size: tuple[int, int], text: dict[str, Any], ground: dict[str, Any]
) -> None:
    truth = {**TEXT, **text}
    folder = save(Path("crops"), like(size, text, [ground])(48))
    path, _ = create(
        ["g", "MM:SS", "--label", "M", "--narrow", "--size", f"{size[0]}x{size[1]}", "--like", str(folder)]
    )
    found = read(path)
    assert tuple(found["size"]) == size
    height = found["text"]["height"]
    np.testing.assert_allclose(height, truth["height"], atol=0.08 * truth["height"][1] + 0.5)
    np.testing.assert_allclose(found["text"]["x"], truth["x"], atol=0.15)
    np.testing.assert_allclose(found["text"]["y"], truth["y"], atol=0.2)
    assert min(distance(color, truth["colors"][0]) for color in found["text"]["colors"]) < 70
    assert "\ntext:  # measured: height, colors, x, y, contrast, and outline or shadow\n" in path.read_text()
    Renderer(Game.from_config(found)).render("train", range(61))


FLAT_LIGHT = {"source": "gradient", "tint": ["#f0f4fa"], "tint_opacity": [0.8, 0.95]}  # as snow
MEDIUM = {"source": "scene", "tint": ["#506080"], "tint_opacity": [0.6, 0.8]}
MIXED = [{"source": "scene"}, FLAT_LIGHT, DARK]
LINE = {"width": [0.8, 1.3]}


@pytest.mark.parametrize(
    ("colors", "edge", "edge_color", "grounds"),
    [
        (["#ffffff"], "outline", "#404040", [FLAT_LIGHT]),  # the fill has the colour of the ground
        (["#101010"], "outline", "#f0f0f0", [DARK]),
        (["#ffffff"], "outline", "#000000", MIXED),
        (["#e08030"], "outline", "#302010", [FLAT_LIGHT]),
        (["#ffe020", "#c0c0c0"], "outline", "#101010", [MEDIUM]),
        (["#ffffff"], "shadow", "#000000", [MEDIUM]),
        (["#ffffff"], None, "", MIXED),
        (["#181010"], None, "", [FLAT_LIGHT]),
    ],
)
def test_the_fill_is_told_from_outline_and_shadow(
    colors: list[str], edge: str | None, edge_color: str, grounds: list[dict[str, Any]]
) -> None:
    settings = {"outline": LINE, "shadow": {"opacity": [0.8, 1], "offset": [1, 1.5], "blur": [0, 0.4]}}
    text = {"colors": colors, "height": [14, 16], "x": [0, 1], "y": [0, 1], "contrast": 0}
    text |= {edge: {**settings[edge], "colors": [edge_color]}} if edge else {}
    size = (26, 64)
    crops = CropFolder(like(size, text, grounds)(40), size, [], [])
    plain = {**CLOCK, "size": list(size), "text": TEXT, "backgrounds": [DARK]}
    proposal = propose_settings(crops, plain)
    for color in colors:
        assert min(distance(color, found) for found in proposal.text["colors"]) < 60, proposal.text
    if edge is None:
        assert len(proposal.text["colors"]) == 1
    assert [kind for kind in ("outline", "shadow") if kind in proposal.text] == ([edge] if edge else [])
    if edge == "outline":
        assert distance(proposal.text[edge]["colors"][0], edge_color) < 80, proposal.text
        low, high = proposal.text[edge]["width"]
        assert 0.2 < low < high < 2.3
    elif edge:  # a shadow is blurred and partly hidden: which side of the ground it is on
        found = np.mean(parse_color(proposal.text[edge]["colors"][0]))
        assert (found > 96) == (edge_color == "#ffffff"), proposal.text
    assert (edge or "background") in proposal.notes[0]


def test_a_measured_outline_is_written_and_can_be_drawn() -> None:
    text = {"colors": ["#ffffff"], "height": [14, 16], "outline": {**LINE, "colors": ["#202020"]}, "contrast": 0}
    save(Path("crops"), like((26, 64), text, [FLAT_LIGHT])(24))
    path, notes = create(["g", "MM:SS", "--label", "M", "--narrow", "--like", "crops"])
    game = read(path)
    assert distance(game["text"]["outline"]["colors"][0], "#202020") < 80
    assert "lighter than its outline" in notes[0]
    assert "# shadow:" in path.read_text()
    assert "# outline:" not in path.read_text()
    Renderer(Game.from_config(game)).render("train", range(61))


def test_a_broad_file_gives_most_weight_to_what_was_measured(here: Path) -> None:
    text = {"fonts": ["dejavu-sans"], "height": [20, 20], "colors": ["#ff3000"], "contrast": 0, "clip": 0.1}
    text |= {"gradient": {"colors": ["#ffc000"]}, "gaps": {"width": [0.3, 0.3]}, "x": [1, 1], "y": [0.5, 0.5]}
    folder = save(Path("crops"), like((36, 100), text, [DARK])(40))
    path, notes = create(["g", "MM:SS", "--label", "M", "--like", str(folder), "--no-system-fonts", "--size", "36x100"])
    game = read(path)
    found = game["text"]
    fonts = found["fonts"]
    assert max(fonts, key=fonts.get) == "dejavu-sans"
    assert len(fonts) > 20
    assert any("dejavu-sans" in note for note in notes)
    low, high = found["height"]
    assert low < 20 < high < 25
    top, bottom = (max(colors, key=colors.get) for colors in (found["colors"], found["gradient"]["colors"]))
    assert distance(top, "#ff3000") < 60 < distance(bottom, "#ff3000")
    assert distance(bottom, "#ffc000") < 60
    assert len(found["colors"]) > 10
    low, high = found["gaps"]["width"]
    assert low <= 0.3 <= high < 0.6
    assert 0.08 < found["clip"] < 0.3
    assert found["x"][1] == 1
    Renderer(Game.from_config(game)).render("train", range(61))
    with Image.open(path.with_name("g_fonts.png")) as picture:
        assert picture.width > 400


def test_own_pictures_become_backgrounds_with_half_of_the_weight(here: Path) -> None:
    save(Path("frames"), [np.full((60, 90, 3), 90, np.uint8)])
    path, _ = create(["g", "N", "--label", "N", "--backgrounds", "frames"])
    *others, own = read(path)["backgrounds"]
    assert own["source"] == "frames/"
    assert own["weight"] == sum(background.get("weight", 1) for background in others)
    Renderer(Game.from_config(read(path))).render("train", range(11))


def test_text_free_crops_and_other_sizes_do_not_disturb() -> None:
    crops = like((18, 44), {}, [DARK])(40)
    blank = Game.from_config({**CLOCK, "size": [18, 44], "text": TEXT, "backgrounds": [DARK]})
    crops += list(Renderer(blank, 3).render("val", range(60, 61 * 20, 61)).images)
    save(Path("crops/seen"), crops)
    save(Path("crops/wide"), [np.zeros((18, 90, 3), np.uint8)] * 2, "jpg")
    save(Path("crops/more"), [np.pad(crops[0], ((0, 1), (0, 2), (0, 0)), "edge")], "jpg")
    save(Path("crops/other"), [np.zeros((20, 44, 3), np.uint8)] * 3)
    path, notes = create(["g", "MM:SS", "--label", "M", "--narrow", "--like", "crops"])
    game = read(path)
    assert game["size"] == [18, 44]
    np.testing.assert_allclose(game["text"]["height"], [8, 9], atol=1)
    np.testing.assert_allclose(game["text"]["x"], [0.4, 0.6], atol=0.1)
    assert {"source": "crops/other/", "weight": 0.25, "zoom": [1, 1]} in game["backgrounds"]
    assert "3 of 63 crops are not 18x44" in notes[0]
    assert "1 were scaled" in notes[0]


def test_three_crops_are_enough() -> None:
    save(Path("crops"), like((18, 44), {}, [DARK])(3))
    path, _ = create(["g", "MM:SS", "--label", "M", "--like", "crops", "--size", "18x44", "--narrow"])
    low, high = read(path)["text"]["height"]
    assert 5 < low <= high < 12


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: folder.mkdir(), ["no picture", ".png"]),
        (lambda folder: save(folder, [np.full((18, 44, 3), 90, np.uint8)] * 3), ["no text"]),
        (lambda folder: save(folder, [np.zeros((600, 800, 3), np.uint8)]), ["600×800", "cut"]),
        (lambda folder: save(folder / "other", [np.zeros((18, 44, 3), np.uint8)]), ["without text"]),
        (lambda folder: (folder.mkdir(), (folder / "a.png").write_text("no picture")), ["a.png"]),
    ],
)
def test_a_folder_without_usable_crops_is_refused(make: Callable[[Path], object], words: list[str]) -> None:
    make(Path("crops"))
    with pytest.raises(UserError) as caught:
        create(["g", "N", "--label", "N", "--like", "crops"])
    assert all(word in caught.value.summary for word in words), caught.value.summary
    assert not Path("games").exists()


def test_a_line_is_found_to_the_pixel() -> None:
    crop = np.full((24, 40, 3), 40, np.uint8)
    for x in range(10, 30, 4):
        crop[8:16, x : x + 2] = (255, 200, 0)
    (line,) = find_text_lines([crop], light=True)
    assert line is not None
    np.testing.assert_allclose([line.top, line.bottom, line.left, line.right], [8, 16, 10, 28], atol=0.5)
    assert line.color.tolist() == [255, 200, 0]
    assert line.ground.tolist() == [40, 40, 40]
    assert find_text_lines([np.zeros((24, 40, 3), np.uint8)], light=True) == [None]


# ---- The command in its own process.


def start(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False)


def test_process_a_game_is_written_and_the_command_that_is_printed_previews_it(here: Path) -> None:
    ended = start(here, "foldtext", "new", "my_game", "MM:SS", "--label", "MM", "--size", "15x35", "--dir", "my games")
    assert ended.returncode == 0, ended.stderr
    first, _, preview, train = ended.stdout.splitlines()
    assert "my games/game/my_game.yaml" in first
    assert preview == "  foldtext preview --config-dir 'my games' game=my_game looks=broad"
    assert train == "  foldtext train --config-dir 'my games' game=my_game looks=broad fold=4"
    shown = start(here, *shlex.split(preview), "each=1", "lint=0")
    assert shown.returncode == 0, shown.stderr
    assert (here / "my_game.png").is_file()


def test_a_mistake_is_exit_code_2(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")  # which main sets: restored when the test ends
    monkeypatch.setattr(sys, "argv", ["new", "my_game", "MM:SS", "--label", "X"])
    with pytest.raises(SystemExit) as caught:
        textgen.new.main.main()
    out, err = capsys.readouterr()
    assert (caught.value.code, out) == (2, "")
    assert err.startswith("error: label 'X'")
    assert err.count("\n") == 1
    assert list(here.iterdir()) == []


def test_help_is_no_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    monkeypatch.setattr(sys, "argv", ["new", "--help"])
    with pytest.raises(SystemExit) as caught:
        textgen.new.main.main()
    assert caught.value.code == 0
    assert "--label" in capsys.readouterr().out


def test_a_crop_in_a_format_that_would_start_a_program_is_refused(tmp_path: Path) -> None:
    """Whatever its suffix: Pillow hands EPS to Ghostscript."""
    (tmp_path / "crops").mkdir()
    for number in range(3):
        (tmp_path / "crops" / f"{number}.png").write_text(
            "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 20\nshowpage\n"
        )
    with pytest.raises(UserError, match=r"0\.png is not a picture in PNG, JPEG, WEBP, BMP"):
        create(["own", "X", "--label=X", f"--like={tmp_path / 'crops'}", f"--dir={tmp_path}"])


def test_crops_with_large_text_are_scaled_down_for_the_network(here: Path) -> None:
    save(Path("crops"), like((48, 120), {"height": [30, 30], "contrast": 60}, [DARK])(12))
    path, notes = create(["g", "MM:SS", "--label", "M", "--narrow", "--like", "crops"])
    height, width = read(path)["size"]
    assert 16 <= height <= 26
    assert abs(width / height - 2.5) < 0.2
    assert f"crops of 48x120 are scaled to {height}x{width}; --size 48x120 keeps them" in notes
    np.testing.assert_allclose(read(path)["text"]["height"], 30 * height / 48, atol=2)
    path, _ = create(["g", "MM:SS", "--label", "M", "--narrow", "--like", "crops", "--size", "48x120", "--force"])
    assert read(path)["size"] == [48, 120]
