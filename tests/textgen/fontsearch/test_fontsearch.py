"""The font of rendered crops is found among all others, and their letters are cut out one by one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import flat_game

from textgen.assets.catalogue import load_catalogue
from textgen.common.array_types import U8
from textgen.fontsearch.candidates import MAX_SYSTEM_FONTS, find_candidates, find_system_fonts
from textgen.fontsearch.letters import Line, Look, find_lines, measure_fill
from textgen.fontsearch.picture import draw_comparison
from textgen.fontsearch.search import find_shapes, name_letters, search_fonts
from textgen.render.renderer import RenderedCrops, Renderer
from textgen.schema.game import Game

DIGITS = frozenset("0123456789")
SIZE = (36, 80)


def color(text: str) -> np.ndarray:
    return np.array([int(text[k : k + 2], 16) for k in (1, 3, 5)], np.float32)


def crops_of(folder: Path, font: str, ground: str = "#204060", **text: Any) -> RenderedCrops:
    style = {"fonts": [font], "height": [18, 18], "contrast": 0, "spacing": [1, 1], **text}
    game = flat_game(folder, ground, **style) | {"spec": "XYZ", "size": SIZE}
    light = {"blur": {"chance": 1, "sigma": [0.5, 0.6]}, "noise": {"chance": 1, "deviation": [2, 4]}}
    return Renderer(Game.from_config(game), augment=light).render("train", range(22))


def lines_of(crops: U8, look: Look) -> list[Line]:
    return find_lines([measure_fill(crop, look, (0, 0, *SIZE)) for crop in crops])


def find(crops: RenderedCrops, look: Look, texts: dict[int, str] | None = None) -> list[str]:
    lines = lines_of(crops.images, look)
    matches = search_fonts(find_shapes(lines, texts), find_candidates(system=False), DIGITS, 18)
    return [match.candidate.item for match in matches]


@pytest.mark.parametrize("font", ["rajdhani", "nunito", "crimson-pro", "pixelify-sans", "teko"])
def test_the_font_of_crops_is_found_among_the_catalogue(tmp_path: Path, font: str) -> None:
    crops = crops_of(tmp_path, font)
    look = Look(color("#ffffff"), color("#204060"))
    assert find(crops, look)[0].removesuffix("-variable") == font
    assert find(crops, look, dict(enumerate(crops.texts)))[0].removesuffix("-variable") == font


def test_white_letters_on_snow_are_told_from_their_ground_by_the_outline(tmp_path: Path) -> None:
    outline = {"width": [1, 1], "colors": ["#303030"]}
    crops = crops_of(tmp_path, "dejavu-sans", "#f4f6fa", outline=outline)
    look = Look(color("#ffffff"), color("#f4f6fa"), color("#303030"))
    lines = lines_of(crops.images, look)
    assert [len(line.tall) for line in lines] == [3] * 20
    assert find(crops, look)[0] == "dejavu-sans"


def test_letters_have_the_places_and_names_of_those_that_were_drawn(tmp_path: Path) -> None:
    crops = crops_of(tmp_path, "arimo", gradient={"colors": ["#ffc000"]}, colors=["#ff3000"], color_jitter=0)
    look = Look(color("#ff7000"), color("#204060"))  # the middle of the gradient
    lines = lines_of(crops.images, look)
    assert len(lines) == 20
    match = search_fonts(find_shapes(lines), find_candidates(["arimo"], system=False), DIGITS, 18)[0]
    for line in lines:
        sample = crops.samples[line.crop]
        assert "".join(name_letters(line.tall, match.face, "0123456789", 18)) == crops.texts[line.crop]
        ends = line.tall[0].left, line.tall[-1].right, line.tall[0].top, line.tall[0].bottom
        np.testing.assert_allclose(ends, [sample[key] for key in ("left", "right", "top", "bottom")], atol=1.6)


def test_a_letter_that_the_edge_cuts_is_marked(tmp_path: Path) -> None:
    crops = crops_of(tmp_path, "arimo", x=[1, 1], y=[0.5, 0.5], clip=0.2)
    lines = lines_of(crops.images, Look(color("#ffffff"), color("#204060")))
    assert np.mean([line.letters[-1].cut for line in lines]) > 0.9
    assert not any(line.letters[0].cut for line in lines)


def test_candidates_are_given_fonts_then_the_catalogue_and_no_file_twice(tmp_path: Path) -> None:
    path = load_catalogue("fonts")["oswald"].paths[0]
    own = tmp_path / "mine.ttf"
    own.write_bytes(path.read_bytes())
    found = find_candidates([str(own), "oswald"], system=False)
    assert [candidate.item for candidate in found[:2]] == [str(own), "oswald"]
    assert len({candidate.path for candidate in found}) == len(found)
    assert {candidate.item for candidate in found} == {*load_catalogue("fonts"), str(own)}
    assert len(find_system_fonts()) <= MAX_SYSTEM_FONTS


def test_a_font_that_cannot_be_read_is_left_out_of_the_search(tmp_path: Path) -> None:
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    crops = crops_of(tmp_path, "arimo")
    lines = lines_of(crops.images, Look(color("#ffffff"), color("#204060")))
    candidates = find_candidates([str(tmp_path / "broken.ttf"), "arimo"], system=False)[:3]
    matches = search_fonts(find_shapes(lines), candidates, DIGITS, 18)
    assert {match.candidate.item for match in matches} == {"arimo"}
    picture = draw_comparison(list(crops.images), list(crops.images), find_shapes(lines), matches, 18)
    assert picture.shape[1] > 2 * SIZE[1]
    assert picture.std() > 10


def test_crops_without_letters_have_no_lines() -> None:
    assert find_lines([np.zeros(SIZE, np.float32)]) == []
