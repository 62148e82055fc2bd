"""Parts of a text with a style of their own: size, place, colours, icons."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import flat_game
from font_builder import built

from textgen.assets.icons import KINDS
from textgen.common.errors import UserError
from textgen.render.renderer import RenderedCrops, Renderer
from textgen.schema.definition import describe_game
from textgen.schema.game import Game

GREY = 140


def game_of(
    folder: Path, spec: str = "NT", size: tuple[int, int] = (32, 80), fields: Any = None, other: str = "", **text: Any
) -> Game:
    """White text of boxes (500 × 700 units, 10 pixels high) on plain grey, in the middle of a crop."""
    folder.mkdir(exist_ok=True)
    font = built(folder / "boxes.ttf", "0123456789HR.", blank=" ")
    place: dict[str, Any] = {"height": [10, 10], "x": [0.5, 0.5], "y": [0.5, 0.5], "contrast": 10, "spacing": [3, 3]}
    game = flat_game(folder / "flat", f"#{GREY:02x}{GREY:02x}{GREY:02x}", fonts=[str(font)], **{**place, **text})
    return Game.from_config({**game, "spec": spec, "label": "N", "size": size, "fields": fields, "other": other})


def crops_of(game: Game, count: int = 11) -> RenderedCrops:
    return Renderer(game).render("train", range(count))


def boxes_of(image: np.ndarray) -> list[tuple[int, int, int, int]]:
    """Top, left, bottom and right of every run of columns that differ from the ground."""
    ink = (np.abs(image.astype(int) - GREY) > 40).any(2)
    columns = np.flatnonzero(np.diff(np.concatenate([[0], ink.any(0), [0]])))
    boxes = []
    for left, right in zip(columns[::2], columns[1::2], strict=True):
        rows = np.flatnonzero(ink[:, left:right].any(1))
        boxes.append((int(rows[0]), int(left), int(rows[-1]) + 1, int(right)))
    return boxes


@pytest.mark.parametrize(("align", "share"), [("bottom", 0.0), ("middle", 0.5), ("top", 1.0)])
@pytest.mark.parametrize("size", [0.5, 1.5])
def test_a_part_has_its_size_and_stands_where_align_says(tmp_path: Path, align: str, share: float, size: float) -> None:
    game = game_of(tmp_path, spec="NT", parts={"T": {"size": size, "align": align}}, size=(40, 60))
    for image, text in zip(crops_of(game).images, crops_of(game).texts, strict=True):
        if not text:
            continue
        (top, _, bottom, _), (part_top, _, part_bottom, _) = boxes_of(image)
        assert bottom - top == pytest.approx(10, abs=1)
        assert part_bottom - part_top == pytest.approx(10 * size, abs=1)
        assert bottom - part_bottom == pytest.approx(share * (10 - 10 * size), abs=1)


def test_letters_of_a_smaller_part_advance_less(tmp_path: Path) -> None:
    def left_edges(**parts: Any) -> list[float]:
        image = crops_of(game_of(tmp_path, spec="TTN", **parts)).images[0]
        return np.diff([box[1] for box in boxes_of(image)]).tolist()

    advance = 10 * 600 / 700
    assert left_edges() == pytest.approx([advance + 3] * 2, abs=1)
    assert left_edges(parts={"T": {"size": 0.5}}) == pytest.approx([advance / 2 + 3] * 2, abs=1)


def test_parts_have_colours_of_their_own(tmp_path: Path) -> None:
    parts = {"N": {"colors": ["#ff2020", "#20ff20"]}, ".": {"colors": ["#2020ff"]}}
    crops = crops_of(game_of(tmp_path, spec="N.\\R", color_jitter=0, parts=parts), 33)
    seen = set()
    for image, text in zip(crops.images, crops.texts, strict=True):
        if text:
            colors = [image[(t + b) // 2, (le + r) // 2] for t, le, b, r in boxes_of(image)]
            np.testing.assert_allclose(colors[1], [0x20, 0x20, 0xFF], atol=3)
            np.testing.assert_allclose(colors[2], [255, 255, 255], atol=3)
            seen.add(tuple((colors[0] > 128).tolist()))
    assert seen == {(True, False, False), (False, True, False)}


def test_a_part_without_any_difference_changes_no_byte(tmp_path: Path) -> None:
    parts = {"N": {}, ".": {"align": "top"}}
    with_parts, without = (crops_of(game_of(tmp_path, spec="N.\\R", **more)) for more in ({"parts": parts}, {}))
    np.testing.assert_array_equal(with_parts.images, without.images)


def test_a_part_can_be_the_literal_letter_of_a_fields_name(tmp_path: Path) -> None:
    parts = {"\\H": {"colors": ["#ff2020"]}, "H": {"colors": ["#20ff20"]}}
    image = crops_of(game_of(tmp_path, spec="\\HHN", color_jitter=0, parts=parts)).images[0]
    literal, field, label = (image[(t + b) // 2, (le + r) // 2] > 128 for t, le, b, r in boxes_of(image))
    assert (literal.tolist(), field.tolist(), label.all()) == ([True, False, False], [False, True, False], True)


@pytest.mark.parametrize("kind", KINDS)
def test_an_icon_stands_among_the_letters_and_needs_no_glyph(tmp_path: Path, kind: str) -> None:
    game = game_of(tmp_path, spec="N*\\R", parts={"*": {"icon": [kind], "size": 1.5, "align": "middle"}})
    crops = crops_of(game)
    for image, text, sample in zip(crops.images, crops.texts, crops.samples, strict=True):
        if not text:
            continue
        assert text[1] == "*"
        (top, left, bottom, right), *icon, (_, _, _, end) = boxes_of(image)
        icon_top, icon_bottom = min(box[0] for box in icon), max(box[2] for box in icon)
        assert icon_bottom - icon_top == pytest.approx(15, abs=4)  # some have clear margins
        assert (icon_top + icon_bottom) / 2 == pytest.approx((top + bottom) / 2, abs=1.5)
        assert sample["left"] <= left < right <= icon[0][1]
        assert sample["right"] >= end
        assert sample["top"] <= icon_top < icon_bottom <= sample["bottom"]


def test_icons_of_a_part_are_drawn_in_turn_and_beside_those_of_the_text(tmp_path: Path) -> None:
    more: dict[str, Any] = {"icon": {"source": ["heart"], "sides": ["left"]}, "size": (32, 96)}
    game = game_of(tmp_path, spec="N*\\R", parts={"*": {"icon": ["coin", "clock"]}}, **more)
    inner = set()
    crops = crops_of(game, 33)
    for image, text in zip(crops.images, crops.texts, strict=True):
        if text:
            boxes = boxes_of(image)
            heart, icon = boxes[0], boxes[2]
            pixels = image[heart[0] : heart[2], heart[1] : heart[3]].astype(int)
            assert (pixels[..., 0] - pixels[..., 2]).max() > 100
            inner.add(bool(image[icon[0] : icon[2], icon[1] : icon[3], 2].max() > 200))  # the clock has white
    assert inner == {True, False}


def test_a_part_that_nobody_could_read_is_refused(tmp_path: Path) -> None:
    hidden = f"#{GREY:02x}{GREY:02x}{GREY:02x}"
    game = game_of(tmp_path, spec="N.\\R", color_jitter=0, parts={"N": {"colors": [hidden]}})
    with pytest.raises(UserError, match="low contrast"):
        crops_of(game)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"Q": {}}, "'Q' stands nowhere in the spec or in other; there are ., N, \\R"),
        ({"\\N": {}}, "'\\\\N' stands nowhere"),
        ({"NN": {}}, "one literal character"),
        ({"N": {"size": 0.1}}, "greater than or equal to 0.25"),
        ({"N": {"align": "centre"}}, "align"),
        ({"N": {"icon": ["coin"], "colors": ["#ffffff"]}}, "remove icon or colors"),
        ({".": {"icon": ["coin", "star"]}, "\\R": {"icon": ["coin"]}}, ". and \\R both show coin: use one character"),
        ({"N": {"icon": ["coin"]}}, "N is a field: put a character of its own"),
        ({"N": {"colour": ["#ffffff"]}}, "did you mean colors?"),
    ],
)
def test_a_wrong_part_is_refused_in_one_line(tmp_path: Path, parts: Any, words: str) -> None:
    with pytest.raises(UserError) as caught:
        game_of(tmp_path, spec="N.\\R", parts=parts)
    assert words in caught.value.summary
    assert "\n" not in caught.value.summary


def test_a_wrong_icon_of_a_part_names_its_setting(tmp_path: Path) -> None:
    game = game_of(tmp_path, spec="N*\\R", parts={"*": {"icon": ["cion"]}})
    with pytest.raises(UserError, match=r"game\.text\.parts\.\*\.icon: 'cion' is none of coin"):
        Renderer(game)


def test_settings_that_a_game_does_not_use_are_no_part_of_what_it_is(tmp_path: Path) -> None:
    described = describe_game(game_of(tmp_path, spec="N.\\R"))
    assert not {"parts", "features"} & described["text"].keys()
    used = describe_game(game_of(tmp_path, spec="N.\\R", parts={".": {"size": 0.5}}))
    assert used["text"]["parts"]["."]["size"] == 0.5


def test_a_character_of_a_value_is_drawn_by_the_font_although_the_literal_is_an_icon(tmp_path: Path) -> None:
    parts = {"7": {"icon": ["coin"]}}
    crops = crops_of(game_of(tmp_path, spec="7 N", parts=parts), 10)
    plain = crops_of(game_of(tmp_path, spec="R N", fields={"R": ["7"]}), 10)
    assert [text[-1] for text in crops.texts] == [text[-1] for text in plain.texts]
    for image, other in zip(crops.images, plain.images, strict=True):
        (top, left, bottom, right), (_, other_left, _, other_right) = boxes_of(image)[-1], boxes_of(other)[-1]
        assert (right - left, bottom - top) == pytest.approx((other_right - other_left, 10), abs=1)
    with pytest.raises(UserError, match="has no glyph for X"):
        crops_of(game_of(tmp_path, spec="XN", fields={"X": ["X"], "N": ["1", "2"]}, parts={}))


def test_a_text_of_nothing_but_icons_is_legible(tmp_path: Path) -> None:
    crops = crops_of(game_of(tmp_path, spec="N", other="*", parts={"*": {"icon": ["star"]}}), 11)
    assert crops.texts[-1] == "*"
    assert boxes_of(crops.images[-1])
