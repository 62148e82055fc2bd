"""Every effect on a flat background, against the coverage of the same text without it.

Styles have a random stream of their own, so an effect does not change the position of the text.
"""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import Config, flat_game
from font_builder import built
from PIL import Image

from textgen.assets.icons import KINDS, load_icons
from textgen.common.errors import UserError
from textgen.render.renderer import MAX_ATTEMPTS, RenderedCrops, Renderer
from textgen.schema.game import Game

COUNT = 22
GREY = 0x80
EFFECTS: dict[str, Config] = {
    "outline": {"width": [1, 1], "colors": ["#0000ff"]},
    "shadow": {"offset": [2, 2], "blur": [0, 0], "opacity": [1, 1]},
    "glow": {"blur": [1, 1]},
    "gradient": {"colors": ["#ff0000"]},
    "panel": {"colors": ["#00ff00"]},
    "icon": {},
    "neighbour": {"texts": "XX"},
}


def crops_of(
    folder: Path, color: str = "#808080", count: int = COUNT, size: tuple[int, int] = (30, 40), **text: Any
) -> RenderedCrops:
    game = {**flat_game(folder, color, **{"contrast": 0, "least": 0, **text}), "size": size}
    return Renderer(Game.from_config(game)).render("train", range(count))


def coverage(folder: Path, **text: Any) -> np.ndarray:
    """How much the fill covers of each pixel (n, H, W), 0…1."""
    return crops_of(folder, "#000000", **text, colors=["#ffffff"]).images[..., 0] / 255


def over(canvas: np.ndarray, cover: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    """A colour blended over canvases (n, H, W, 3) with opacity (n, H, W)."""
    return canvas + cover[..., None] * (np.array(color) - canvas)


def grey(cover: np.ndarray) -> np.ndarray:
    return np.full((*cover.shape, 3), float(GREY))


def boxes(crops: RenderedCrops) -> list[tuple[int, int, int, int]]:
    return [tuple(sample[["top", "left", "bottom", "right"]].item()) for sample in crops.samples]


def changes(one: RenderedCrops, two: RenderedCrops) -> np.ndarray:
    """Where two renderings differ (n, H, W)."""
    return (one.images != two.images).any(3)


def shown(crops: RenderedCrops) -> np.ndarray:
    return np.flatnonzero(crops.samples["length"])


@pytest.mark.parametrize("effect", EFFECTS)
def test_a_chance_of_zero_changes_nothing_and_one_does(tmp_path: Path, effect: str) -> None:
    place: Config = {"x": [0.5, 0.5], "y": [0.5, 0.5]}  # room on each side
    without = crops_of(tmp_path, **place)
    never, always, half = (
        crops_of(tmp_path, **place, **{effect: {**EFFECTS[effect], "chance": c}}) for c in (0, 1, 0.5)
    )
    np.testing.assert_array_equal(never.images, without.images)
    changed = changes(always, without).any((1, 2))
    np.testing.assert_array_equal(changed, without.samples["length"] > 0, "texts change, and crops without one do not")
    some = changes(half, without).any((1, 2)).sum()
    assert 3 <= some <= 17, "of 20"


def test_shadow_is_the_text_moved_and_darker_under_it(tmp_path: Path) -> None:
    cover = coverage(tmp_path)
    drawn = crops_of(tmp_path, shadow={"offset": [3, 3], "blur": [0, 0], "opacity": [0.5, 0.5], "colors": ["#000040"]})
    moved = np.zeros_like(cover)
    moved[:, 3:, 3:] = cover[:, :-3, :-3]  # down and to the right; what leaves the crop is cut off
    expected = over(over(grey(cover), 0.5 * moved, (0, 0, 0x40)), cover, (255, 255, 255))
    np.testing.assert_allclose(drawn.images, expected, atol=1.5)


def test_a_shadow_between_pixels_is_shared_by_them(tmp_path: Path) -> None:
    cover = coverage(tmp_path)
    drawn = crops_of(tmp_path, shadow={"offset": [1.5, 1.5], "blur": [0, 0], "opacity": [1, 1]})
    moved = np.zeros_like(cover)
    for y in (1, 2):
        for x in (1, 2):
            moved[:, y:, x:] += cover[:, :-y, :-x] / 4
    expected = over(over(grey(cover), moved, (0, 0, 0)), cover, (255, 255, 255))
    np.testing.assert_allclose(drawn.images, expected, atol=2)


@pytest.mark.parametrize("sigma", [0.5, 1, 2.5])
def test_glow_is_the_text_blurred_under_it(tmp_path: Path, sigma: float) -> None:
    cover = coverage(tmp_path)
    drawn = crops_of(tmp_path, glow={"blur": [sigma, sigma], "opacity": [0.8, 0.8], "colors": ["#ff8000"]})
    border = {"borderType": cv2.BORDER_CONSTANT}
    blurred = np.array([cv2.GaussianBlur(np.pad(one, 12), (0, 0), sigma, **border)[12:-12, 12:-12] for one in cover])
    expected = over(over(grey(cover), 0.8 * blurred, (0xFF, 0x80, 0)), cover, (255, 255, 255))
    np.testing.assert_allclose(drawn.images, expected, atol=2.5)


def test_an_outline_lies_around_the_fill_and_below_it(tmp_path: Path) -> None:
    style: Config = {"outline": {"width": [1, 1], "colors": ["#000000"]}, "height": [14, 14]}
    black = crops_of(tmp_path, "#000000", **style).images[..., 0] / 255  # the outline does not show on its own colour
    drawn = crops_of(tmp_path, **style)
    without_outline = grey(black) * (1 - black[..., None]) + 255 * black[..., None]
    around = without_outline - drawn.images
    outer = around[..., 0] / (GREY * np.maximum(1 - black, 0.02))
    for fill, ring, box in zip(black, outer, boxes(drawn), strict=True):
        inside = np.pad(fill, 3)[:, :, None] > 0.98
        near = cv2.dilate(inside.astype(np.uint8), np.ones((3, 3), np.uint8))[3:-3, 3:-3] > 0
        far = cv2.dilate((fill > 0.02).astype(np.uint8), np.ones((5, 5), np.uint8)) == 0
        edge = near & (fill < 0.5)
        if fill.any():
            assert ring[edge].mean() > 0.85, "a pixel next to the fill is all outline"
            assert np.abs(ring[far]).max() < 0.03, "and two pixels away is none"
            rows, columns = np.flatnonzero((ring > 0.03).any(1)), np.flatnonzero((ring > 0.03).any(0))
            assert (rows[0], columns[0], rows[-1] + 1, columns[-1] + 1) == pytest.approx(box, abs=1)


def test_a_gradient_runs_from_the_colour_at_the_top_to_that_at_the_bottom(tmp_path: Path) -> None:
    cover = coverage(tmp_path)
    drawn = crops_of(tmp_path, colors=["#ffff00"], gradient={"colors": ["#00ffff"]})
    expected = grey(cover)
    for canvas, fill, (top, _, bottom, _) in zip(expected, cover, boxes(drawn), strict=True):
        for y in range(top, bottom):
            share = (y + 0.5 - top) / (bottom - top)
            tone = (1 - share) * np.array([255, 255, 0]) + share * np.array([0, 255, 255])
            canvas[y] += fill[y, :, None] * (tone - canvas[y])
    np.testing.assert_allclose(drawn.images, expected, atol=1.5)


@pytest.mark.parametrize("border", [(), ("#ff0000",)])
@pytest.mark.parametrize("padding", [0, 2, 12])
def test_a_panel_lies_behind_the_text_padded_and_bordered(
    tmp_path: Path, padding: int, border: tuple[str, ...]
) -> None:
    cover = coverage(tmp_path)
    panel = {"padding": [padding, padding], "opacity": [0.5, 0.5], "colors": ["#00ff00"], "border": border}
    drawn = crops_of(tmp_path, panel=panel)
    canvas = grey(cover)
    size = canvas.shape[1:3]
    for one, (top, left, bottom, right) in zip(canvas, boxes(drawn), strict=True):
        if bottom > top:
            wide = np.zeros((size[0] + 60, size[1] + 60, 3))  # 30 pixels more at each side: a border can lie outside
            wide[30:-30, 30:-30] = one
            area = np.s_[top - padding + 30 : bottom + padding + 30, left - padding + 30 : right + padding + 30]
            target = np.broadcast_to(np.array([255.0, 0, 0] if border else [0, 255.0, 0]), wide[area].shape).copy()
            target[1:-1, 1:-1] = (0, 255, 0)
            wide[area] += 0.5 * (target - wide[area])
            one[:] = wide[30:-30, 30:-30]
    np.testing.assert_allclose(drawn.images, over(canvas, cover, (255, 255, 255)), atol=1.5)


@pytest.mark.parametrize("outlined", [False, True])
def test_layers_lie_in_their_order(tmp_path: Path, outlined: bool) -> None:
    """Panel, shadow, glow, outline, fill: of a box of 7 by 5 in the middle, which shows what is below it."""
    rim = 1 if outlined else 0
    style: Config = {
        "fonts": [str(built(tmp_path / "boxes.ttf", "0123456789"))],
        "height": [7, 7],
        "x": [0.5, 0.5],
        "y": [0.5, 0.5],
        "size": (31, 41),
        "opacity": [0.5, 0.5],
        "panel": {"padding": [4, 4], "opacity": [1, 1], "colors": ["#0000ff"], "border": ["#ffff00"]},
        "shadow": {"offset": [3, 3], "blur": [0, 0], "opacity": [1, 1], "colors": ["#00ff00"]},
        "glow": {"blur": [0, 0], "opacity": [1, 1], "colors": ["#ff00ff"]},
        **({"outline": {"width": [1, 1], "colors": ["#ff0000"]}} if outlined else {}),
    }
    drawn = crops_of(tmp_path / "ground", **style).images[0].astype(int)
    canvas = np.full((31, 41, 3), GREY)

    def rectangle(grown: int, moved: int, color: tuple[int, int, int]) -> None:
        canvas[12 - grown + moved : 19 + grown + moved, 18 - grown + moved : 23 + grown + moved] = color

    rectangle(4 + rim, 0, (255, 255, 0))
    rectangle(3 + rim, 0, (0, 0, 255))
    rectangle(rim, 3, (0, 255, 0))
    rectangle(rim, 0, (255, 0, 0) if outlined else (255, 0, 255))
    rectangle(0, 0, (255, 128, 128) if outlined else (255, 128, 255))
    wrong = np.argwhere(np.abs(drawn - canvas).max(2) > 1).tolist()
    corners = [[y + moved, x + moved] for y in (11, 19) for x in (17, 23) for moved in (0, 3)] if outlined else []
    assert all(place in corners for place in wrong), "but for the outline's corners, which are round"


# Icon and neighbour, beside the text.

BESIDE: dict[str, Config] = {"icon": {"source": ["coin"]}, "neighbour": {"texts": "XX"}}


@pytest.mark.parametrize("side", ["left", "right", "above", "below"])
@pytest.mark.parametrize("effect", BESIDE)
@pytest.mark.parametrize("gap", [0, 2])
def test_an_icon_or_neighbour_does_not_change_the_text_or_its_position(
    tmp_path: Path, effect: str, side: str, gap: int
) -> None:
    """If there is no space, it is cut off at the edge of the crop, and the text keeps its position."""
    without = crops_of(tmp_path)
    drawn = crops_of(tmp_path, **{effect: {**BESIDE[effect], "sides": [side], "gap": [gap, gap]}})
    assert boxes(drawn) == boxes(without)
    changed = changes(drawn, without)
    cut = 0
    for k in shown(drawn):
        top, left, bottom, right = boxes(drawn)[k]
        rim = 1 if gap == 0 and effect == "neighbour" else 0  # without a gap both may share the pixels at the edge
        assert not changed[k, top + rim : bottom - rim, left + rim : right - rim].any()
        rows, columns = np.argwhere(changed[k]).T
        if not len(rows):
            cut += 1  # outside of the crop
        elif side == "left":
            assert columns.max() < left + rim - gap + 1
        elif side == "right":
            assert columns.min() >= right - rim + gap - 1
        elif side == "above":
            assert rows.max() < top + rim - gap + 1
        else:
            assert rows.min() >= bottom - rim + gap - 1
    assert cut < len(shown(drawn)) / 2


@pytest.mark.parametrize("side", ["left", "right", "above", "below"])
def test_an_icon_has_its_gap_colours_and_alpha(tmp_path: Path, side: str) -> None:
    folder = tmp_path / "icons"
    folder.mkdir()
    Image.new("RGBA", (40, 40), (255, 0, 64, 128)).save(folder / "square.png")
    place: Config = {"x": [0.5, 0.5], "y": [0.5, 0.5], "height": [6, 6], "size": (48, 48)}
    icon = {"source": [f"{folder}/"], "sides": [side], "gap": [3, 3], "height": [1.5, 1.5]}
    without, drawn = crops_of(tmp_path / "flat", **place), crops_of(tmp_path / "flat", **place, icon=icon)
    changed = changes(drawn, without)
    for k in shown(drawn):
        top, left, bottom, right = boxes(drawn)[k]
        rows, columns = np.argwhere(changed[k]).T
        mixed = GREY + 128 / 255 * (np.array([255, 0, 64]) - GREY)
        np.testing.assert_allclose(drawn.images[k][changed[k]], np.broadcast_to(mixed, (len(rows), 3)), atol=1)
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert len(rows) == height * width, "a square"
        assert height == width
        assert height == pytest.approx(1.5 * (bottom - top), abs=1.5)
        gaps = {
            "left": left - columns.max() - 1,
            "right": columns.min() - right,
            "above": top - rows.max() - 1,
            "below": rows.min() - bottom,
        }
        assert gaps[side] == pytest.approx(3, abs=1), "3 pixels from the ink, and in whole pixels"
        if side in ("left", "right"):
            assert (rows.min() + rows.max()) / 2 == pytest.approx((top + bottom - 1) / 2, abs=1)
        else:
            assert (columns.min() + columns.max()) / 2 == pytest.approx((left + right - 1) / 2, abs=1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_painted_icon_is_that_of_its_table(tmp_path: Path, kind: str) -> None:
    place: Config = {"x": [0.5, 0.5], "y": [0.5, 0.5], "height": [8, 8], "size": (48, 60)}
    icon = {"source": [kind], "sides": ["right"], "gap": [2, 2], "height": [1, 1.5]}
    without, drawn = crops_of(tmp_path, **place), crops_of(tmp_path, **place, icon=icon)
    text = Game.from_config(flat_game(tmp_path, height=[8, 8], icon=icon)).text
    table, planes, _, _ = load_icons(text, 48)
    for k in shown(drawn)[:8]:
        rows, columns = np.argwhere(changes(drawn, without)[k]).T
        image = drawn.images[k][rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        errors = []
        for offset, h, w in table[0].tolist():
            *color, alpha = planes[offset : offset + 4 * h * w].reshape(4, h, w).astype(float)
            painted = np.stack(color, 2) + (1 - alpha[..., None] / 255) * GREY
            inked = np.argwhere((painted.round() != GREY).any(2))
            painted = painted[inked[:, 0].min() : inked[:, 0].max() + 1, inked[:, 1].min() : inked[:, 1].max() + 1]
            errors.append(np.abs(painted - image).max() if painted.shape == image.shape else 255)
        assert min(errors) <= 1


def test_icons_have_the_given_heights_and_kinds(tmp_path: Path) -> None:
    place: Config = {"x": [0.5, 0.5], "y": [0.5, 0.5], "height": [8, 8], "size": (60, 80), "count": 110}
    icon = {"source": ["coin", "heart"], "sides": ["left", "right"], "gap": [1, 6], "height": [1, 2]}
    without, drawn = crops_of(tmp_path, **place), crops_of(tmp_path, **place, icon=icon)
    heights, sides, gaps, red = [], [], [], []
    for k in shown(drawn):
        top, left, bottom, right = boxes(drawn)[k]
        rows, columns = np.argwhere(changes(drawn, without)[k]).T
        heights.append((np.ptp(rows) + 1) / (bottom - top))
        sides.append(bool(columns.min() > right - 1))
        gaps.append(columns.min() - right if sides[-1] else left - columns.max() - 1)
        red.append(bool((drawn.images[k] == (0xD0, 0x28, 0x38)).all(2).any()))
    assert 0.85 <= min(heights) <= 1.1
    assert 1.8 <= max(heights) <= 2.15
    assert min(gaps) <= 3
    assert 5 <= max(gaps) <= 8
    for draw in (sides, red):
        assert 30 <= sum(draw) <= 70, "of 100"


@pytest.mark.parametrize("side", ["left", "right", "above", "below"])
def test_a_neighbour_is_a_text_in_the_same_style_at_its_gap(tmp_path: Path, side: str) -> None:
    place: Config = {"x": [0.5, 0.5], "y": [0.5, 0.5], "height": [8, 8], "size": (60, 80), "fonts": ["bebas-neue"]}
    neighbour = {"texts": ["1"], "sides": [side], "gap": [4, 4]}
    without = coverage(tmp_path, **place)
    alone, drawn = crops_of(tmp_path, **place), crops_of(tmp_path, **place, neighbour=neighbour)
    other = coverage(tmp_path, **place, neighbour=neighbour) - without
    assert alone.texts[1] == "1"
    for k in shown(drawn):
        top, left, bottom, right = boxes(drawn)[k]
        rows, columns = np.argwhere(other[k] > 0.01).T
        gaps = {
            "left": left - columns.max() - 1,
            "right": columns.min() - right,
            "above": top - rows.max() - 1,
            "below": rows.min() - bottom,
        }
        assert 3 <= gaps[side] <= 4, "parts of a pixel belong to the boxes"
        expected = over(over(grey(without[k]), without[k], (255,) * 3), other[k], (255,) * 3)
        np.testing.assert_allclose(drawn.images[k], expected, atol=1.5)
        assert other[k].sum() == pytest.approx(without[1].sum(), rel=0.03)
        if side in ("left", "right") and alone.texts[k] in "147":
            assert rows.max() + 1 == bottom, "both are on one baseline"


def test_neighbours_are_drawn_from_their_texts_sides_and_gaps(tmp_path: Path) -> None:
    texts = {"": 1, "X": 1, "1XX": 2}
    crops = crops_of(tmp_path, count=440, neighbour={"texts": texts, "gap": [1, 3], "chance": 0.75})
    samples = crops.samples[shown(crops)]
    assert (samples["side"] >= 0).mean() == pytest.approx(0.75, abs=0.1)
    with_one = samples[samples["side"] >= 0]
    lengths = np.bincount(with_one["neighbour_length"], minlength=4) / len(with_one)
    np.testing.assert_allclose(lengths, [0.25, 0.25, 0, 0.5], atol=0.1)
    np.testing.assert_allclose(np.bincount(with_one["side"]) / len(with_one), 0.25, atol=0.1)
    assert 1 <= with_one["gap"].min() <= 1.1
    assert 2.9 <= with_one["gap"].max() <= 3


def test_a_neighbour_has_outline_shadow_and_gradient_of_its_text(tmp_path: Path) -> None:
    """Boxes 5 pixels wide, outlined by one and 5 pixels apart: the neighbour is a copy, 12 pixels to the right."""
    style: Config = {
        "fonts": [str(built(tmp_path / "boxes.ttf", "0123456789"))],
        "height": [7, 7],
        "x": [0, 0],
        "size": (30, 60),
        "outline": {"width": [1, 1], "colors": ["#ff0000"]},
        "shadow": {"offset": [0.5, 1.5], "blur": [0.5, 0.5], "colors": ["#0000ff"]},
        "gradient": {"colors": ["#ffff00"]},
        "panel": {"padding": [20, 20], "opacity": [1, 1], "colors": ["#000000"]},
    }
    beside = {"texts": ["X"], "sides": ["right"], "gap": [5, 5]}
    drawn = crops_of(tmp_path / "ground", **style, neighbour=beside)
    for k in shown(drawn):
        left = boxes(drawn)[k][1]
        image = drawn.images[k].astype(int)
        np.testing.assert_allclose(image[:, left : left + 8], image[:, left + 12 : left + 20], atol=1)
        assert {(255, 0, 0)} < {tuple(pixel) for pixel in image[:, left + 12 : left + 20].reshape(-1, 3).tolist()}


# Shapes and positions of letters.


def widths(crops: RenderedCrops) -> np.ndarray:
    return np.array([right - left for _, left, _, right in boxes(crops)])


def test_a_slant_leans_the_text_to_the_right(tmp_path: Path) -> None:
    style: Config = {"fonts": ["rajdhani"], "height": [16, 16], "size": (30, 60)}
    upright, slanted = (coverage(tmp_path, **style, slant=[angle, angle])[1] for angle in (0, 20))  # a 1

    def lean(cover: np.ndarray) -> float:
        """Columns per row by which the centre of the stem moves."""
        rows = np.flatnonzero(cover.sum(1) > 1)[3:-3]
        centers = [(cover[y] * np.arange(cover.shape[1])).sum() / cover[y].sum() for y in rows]
        return float(-np.polyfit(rows, centers, 1)[0])

    assert lean(slanted) - lean(upright) == pytest.approx(np.tan(np.radians(20)), abs=0.05)


def test_kerning_draws_a_known_pair_together(tmp_path: Path) -> None:
    def width(kerning: bool) -> float:
        game = flat_game(tmp_path, fonts=["cinzel"], height=[20, 20], kerning=kerning, contrast=0, x=[0.5, 0.5])
        crops = Renderer(Game.from_config({**game, "spec": r"\A\VX", "size": (40, 120)})).render("train", range(10))
        return float(np.mean(widths(crops)))

    ems_per_height = 1.40056  # of a digit
    assert width(False) - width(True) == pytest.approx(0.109 * 20 * ems_per_height, abs=0.6)


def test_spacing_is_added_between_letters(tmp_path: Path) -> None:
    def mean_width(spacing: float) -> float:
        game = flat_game(tmp_path, height=[8, 8], spacing=[spacing, spacing], contrast=0)
        crops = Renderer(Game.from_config({**game, "spec": "XYYY", "size": (20, 60)})).render("train", range(20))
        return float(widths(crops)[shown(crops)].mean())

    narrow, plain, wide = (mean_width(spacing) for spacing in (-0.5, 0, 2))
    assert plain - narrow == pytest.approx(1.5, abs=0.4)
    assert wide - plain == pytest.approx(6, abs=0.4)


def test_instances_of_a_variable_font_differ_in_weight(tmp_path: Path) -> None:
    style: Config = {"fonts": ["oswald-variable"], "axes": {"wght": [200, 700]}, "height": [12, 12], "count": 220}
    drawn, cover = crops_of(tmp_path, **style), coverage(tmp_path, **style)
    faces = drawn.samples["face"]
    assert set(faces[shown(drawn)].tolist()) == set(range(6))
    ink = [cover[(faces == face) & (drawn.labels == 1)].sum((1, 2)).mean() for face in (0, 5)]
    assert ink[1] > 1.5 * ink[0]


def test_small_letters_are_refused_and_counted(tmp_path: Path) -> None:
    crops = crops_of(tmp_path, height=[5, 12], least=8, contrast=0)
    heights = [bottom - top for top, _, bottom, _ in boxes(crops) if bottom]
    assert min(heights) >= 8
    assert crops.rejects["too small"] == crops.samples["attempt"].sum() > 5
    everything = crops_of(tmp_path, height=[5, 12], least=3)
    assert not everything.rejects
    assert min(bottom - top for top, _, bottom, _ in boxes(everything) if bottom) < 8


def test_least_applies_to_letters_and_digits_alone(tmp_path: Path) -> None:
    """A comma is always small; an x is smaller than the digits."""
    game = flat_game(tmp_path, height=[8, 9], least=7, contrast=0, fonts=["spectral"])
    renderer = Renderer(Game.from_config({**game, "spec": "X,"}))
    assert not renderer.render("train", range(10)).rejects
    with pytest.raises(UserError, match=rf"'\dx' could not .* \({MAX_ATTEMPTS} times too small\): .*text\.least"):
        Renderer(Game.from_config({**game, "spec": "Xx"})).render("train", range(10))


def extent(cover: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first and last column with ink of each crop (n,)."""
    columns = cover.max(1) > 0.05
    return columns.argmax(1), columns.shape[1] - columns[:, ::-1].argmax(1)


def test_gaps_part_a_mark_from_the_digits_beside_it(tmp_path: Path) -> None:
    text = {"height": [12, 12], "contrast": 0, "least": 0, "colors": ["#ffffff"]}
    game = flat_game(tmp_path, "#000000", **text) | {"size": (30, 90), "spec": "X:Y"}
    wide = {**game, "text": {**game["text"], "gaps": {"width": [0.5, 0.5]}}}
    covers = [
        Renderer(Game.from_config(settings)).render("train", range(10)).images[..., 0] / 255
        for settings in (game, wide)
    ]
    first, last = extent(covers[0])
    wide_first, wide_last = extent(covers[1])
    np.testing.assert_allclose((wide_last - wide_first) - (last - first), 2 * 0.5 * 12, atol=1.5)


def test_a_text_may_be_cut_at_the_edge_by_a_share_of_its_height(tmp_path: Path) -> None:
    text = {"x": [1, 1], "y": [0, 0], "height": [12, 12]}
    whole = coverage(tmp_path, **text, margin=0)
    cut = coverage(tmp_path, **text, clip=0.25)
    for cover, clipped in zip(whole, cut, strict=True):
        moved = np.zeros_like(cover)
        moved[:-3, 3:] = cover[3:, :-3]
        np.testing.assert_allclose(clipped, moved, atol=0.02)
    assert cut.sum() < 0.95 * whole.sum()


def test_colours_with_weights_are_drawn_as_often_as_these_say(tmp_path: Path) -> None:
    crops = crops_of(tmp_path, "#000000", 660, colors={"#ff0000": 3, "#00ff00": 1}, color_jitter=0)
    red = (crops.samples["red"] == 255)[crops.samples["right"] > 0]
    assert 0.68 < red.mean() < 0.82


def test_variants_are_the_most_combinations_of_height_and_outline(tmp_path: Path) -> None:
    text = {"height": [6, 14], "outline": {"width": [0.5, 2]}, "slant": [-4, 4]}
    settings = flat_game(tmp_path, "#000000", **text)
    many = Renderer(Game.from_config(settings)).levels
    few = Renderer(Game.from_config({**settings, "text": {**settings["text"], "variants": 24}})).levels
    counts = [len(level.heights) * len(level.strokes) * len(level.slants) for level in (many, few)]
    assert counts[0] > 200
    assert counts[1] <= 24
    assert (few.heights[0], few.heights[-1]) == (6, 14)
