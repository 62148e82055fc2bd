"""Crops and contrast of the compiled code, against plain NumPy, sample by sample."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import Config, flat_game
from font_builder import built

from textgen.kernels.contrast import measure_contrast
from textgen.kernels.glyphs import SCALE
from textgen.render.renderer import RenderedCrops, Renderer
from textgen.schema.game import Game

GROUND, WHITE = np.array([0x20, 0x40, 0x60]), np.array([255, 255, 255])
STYLED = {
    "spacing": [-0.5, 1.5],
    "slant": [-8, 14],
    "outline": {"chance": 0.6, "width": [0.5, 1], "colors": ["#101000"]},
    "contrast": 0,
}


def drawn(game: Config, count: int) -> tuple[Renderer, RenderedCrops]:
    renderer = Renderer(Game.from_config(game))
    return renderer, renderer.render("train", range(count))


def averaged(mask: np.ndarray, top: int, left: int, size: tuple[int, int]) -> np.ndarray:
    """`mask` on a canvas four times as large as the crop, its corner at (top, left), averaged down to 0…1."""
    canvas = np.zeros((size[0] * SCALE, size[1] * SCALE))
    canvas[top : top + mask.shape[0], left : left + mask.shape[1]] = mask / 255
    return canvas.reshape(size[0], SCALE, size[1], SCALE).mean((1, 3))


def expected(renderer: Renderer, text: str, sample: Any) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
    """Coverage (H, W) of the fill and of fill with outline, and the box of the ink in whole pixels."""
    size, face, levels = renderer.game.size, renderer.faces[sample["face"]], renderer.levels
    em = face.pixels_per_em(float(levels.heights[sample["height"]]))
    outline, slant = float(levels.strokes[sample["stroke"]]), float(levels.slants[sample["slant"]])
    order = sorted(set(renderer.alphabet) - {"\0"})
    pen, placed = 0.0, []
    for before, character in zip(" " + text, text, strict=False):
        glyph = face.draw_glyph(character, em, outline, slant)
        if placed:
            pen += float(face.kerning[order.index(before), order.index(character)]) * round(em * SCALE)
        placed.append((glyph, glyph.top, int(np.floor(pen + 0.5)) + glyph.left))
        pen += float(face.advances[order.index(character)]) * round(em * SCALE) + float(sample["spacing"]) * SCALE
    placed = [each for each in placed if each[0].outer.size]
    corners = [(y, x, y + glyph.outer.shape[0], x + glyph.outer.shape[1]) for glyph, y, x in placed]
    top, left = (min(corner[i] for corner in corners) for i in (0, 1))
    bottom, right = (max(corner[i] for corner in corners) for i in (2, 3))
    margin = round(renderer.game.text.margin * SCALE)
    dy = margin + int(np.floor(sample["y"] * (size[0] * SCALE - 2 * margin - (bottom - top)) + 0.5)) - top
    dx = margin + int(np.floor(sample["x"] * (size[1] * SCALE - 2 * margin - (right - left)) + 0.5)) - left
    uncovered = np.ones((2, *size))
    for glyph, y, x in placed:
        for kind, mask in enumerate((glyph.fill, glyph.outer)):
            uncovered[kind] *= 1 - averaged(mask, y + dy, x + dx, size)
    box = ((top + dy) // SCALE, (left + dx) // SCALE, -(-(bottom + dy) // SCALE), -(-(right + dx) // SCALE))
    return 1 - uncovered[0], 1 - uncovered[1], box


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"spec": "X", "label": "X"}, {**STYLED, "fonts": ["oswald", "merienda"]}),
        ({"spec": "XY.Zk", "label": "Z", "size": [22, 52]}, {**STYLED, "fonts": ["spectral"], "height": [6.5, 8]}),
        ({"spec": r"\A\V X7.", "label": "X", "size": [20, 60]}, {"fonts": ["cinzel", "philosopher"], "height": [6, 9]}),
        (
            {"spec": r"\A\V X7.", "label": "X", "size": [20, 60]},
            {"fonts": ["cinzel"], "height": [6, 9], "kerning": False},
        ),
        ({"spec": "X", "label": "X"}, {"fonts": ["oswald-variable"], "axes": {"wght": [200, 700]}, "margin": 2.25}),
    ],
    ids=["one digit", "gold", "kerned", "not kerned", "variable"],
)
def test_a_crop_is_the_text_laid_over_its_background(tmp_path: Path, spec: Config, text: Config) -> None:
    base = flat_game(tmp_path, "#204060", **text)
    renderer, crops = drawn({**base, **spec}, 44)
    for image, words, sample in zip(crops.images, crops.texts, crops.samples, strict=True):
        if not words:
            np.testing.assert_array_equal(image, np.broadcast_to(GROUND, image.shape))
            continue
        if not renderer.game.text.kerning:
            for face in renderer.faces:
                face.kerning[:] = 0
        fill, outer, box = expected(renderer, words, sample)
        canvas = np.broadcast_to(GROUND.astype(float), image.shape)
        if sample["stroke"]:
            canvas = canvas + outer[..., None] * (np.array([0x10, 0x10, 0]) - canvas)
        canvas = canvas + fill[..., None] * (WHITE - canvas)
        np.testing.assert_allclose(image, canvas, atol=2.5, err_msg=words)
        assert tuple(sample[["top", "left", "bottom", "right"]].item()) == box
        assert sample["length"] == len(words)


def test_a_text_of_boxes_covers_as_much_as_its_boxes(tmp_path: Path) -> None:
    """Two boxes of 5 by 7 pixels, two pixels apart, at any quarter-pixel position."""
    path = built(tmp_path / "boxes.ttf", "0123456789")
    game = flat_game(tmp_path / "ground", fonts=[str(path)], height=[7, 7], spacing=[1, 1], colors=["#ffffff"])
    _, crops = drawn({**game, "spec": "XY", "label": "X", "size": [16, 24]}, 40)
    shown = crops.images[crops.labels != 10, ..., 0] / 255
    np.testing.assert_allclose(shown.sum((1, 2)), 2 * 5 * 7, rtol=0.01)
    np.testing.assert_allclose(shown.sum(1).max(1), 7, atol=0.05)
    np.testing.assert_allclose(shown.sum(2).max(1), 10, atol=0.05)
    for image, sample in zip(shown, crops.samples[crops.labels != 10], strict=True):
        rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
        box = (rows[0], columns[0], rows[-1] + 1, columns[-1] + 1)
        assert tuple(sample[["top", "left", "bottom", "right"]].item()) == box, "the box is that of the ink"
    assert len({image.tobytes() for image in shown}) > 20


def test_places_are_drawn_evenly_from_their_ranges(tmp_path: Path) -> None:
    game = flat_game(tmp_path, x=[0.25, 0.5], y=[0, 1], spacing=[-0.5, 1], height=[8, 12], contrast=0)
    samples = drawn(game, 440)[1].samples
    for name, low, high in (("x", 0.25, 0.5), ("y", 0, 1), ("spacing", -0.5, 1)):
        assert low <= samples[name].min() <= low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) <= samples[name].max() <= high
        assert samples[name].mean() == pytest.approx((low + high) / 2, abs=0.07 * (high - low))
    np.testing.assert_array_equal(samples["spacing"] % 0.25, 0)
    assert set(samples["height"].tolist()) == set(range(9))


def test_the_spread_of_colours_is_the_jitter(tmp_path: Path) -> None:
    game = flat_game(tmp_path, colors=["#6482a0"], color_jitter=10, contrast=0)
    _, crops = drawn(game, 660)
    colors = np.array(
        [[sample["red"], sample["green"], sample["blue"]] for sample in crops.samples if sample["length"]]
    )
    np.testing.assert_allclose(colors.mean(0), [0x64, 0x82, 0xA0], atol=2)
    np.testing.assert_allclose(colors.std(0), 10, rtol=0.15)
    assert np.abs(np.corrcoef(colors.T) - np.eye(3)).max() < 0.2, "each channel by itself"
    saturated = drawn({**game, "text": {**game["text"], "colors": ["#ff00ff"], "color_jitter": 40}}, 66)[1]
    shown = np.array([[sample["red"], sample["green"]] for sample in saturated.samples])
    assert shown.min() == 0
    assert shown.max() == 255


def test_opacity_applies_to_the_fill(tmp_path: Path) -> None:
    path = built(tmp_path / "boxes.ttf", "0123456789")
    game = flat_game(tmp_path / "ground", "#204060", fonts=[str(path)], height=[8, 8], opacity=[0.25, 0.25], contrast=0)
    _, crops = drawn({**game, "text": {**game["text"], "x": [0.5, 0.5], "y": [0.5, 0.5]}}, 10)
    within = crops.images[:, 11, 15]
    np.testing.assert_allclose(within, np.broadcast_to(GROUND + 0.25 * (WHITE - GROUND), within.shape), atol=1)


# Contrast.


def contrast(image: np.ndarray, fill: np.ndarray) -> float:
    """The contrast by the compiled code, for coverage 0…255; the box is that of the ink."""
    rows, columns = np.flatnonzero(fill.any(1)), np.flatnonzero(fill.any(0))
    box = (rows[0], columns[0], rows[-1] + 1, columns[-1] + 1) if len(rows) else (0, 0, 0, 0)
    masks = np.empty((3, fill.shape[0] + 2, fill.shape[1] + 2), np.uint8)
    lines = np.empty((3, fill.shape[1] + 2), np.int32)
    return float(measure_contrast(image, fill, fill, False, box, masks, lines))


def plain_contrast(image: np.ndarray, fill: np.ndarray) -> float:
    """The difference in luma between strokes and their surroundings, minus the standard deviation of the latter."""
    luma = image @ np.array([77, 150, 29]) / 256
    cover = fill.astype(int)
    near = cv2.dilate(fill, np.ones((3, 3), np.uint8)) > 25  # a tenth of a pixel
    stroke, ground = cover**2 // 256, near * ((255 - cover) ** 2 // 256)  # so that faint edges count for little
    mean = (ground * luma).sum() / ground.sum()
    clutter = np.sqrt((ground * (luma - mean) ** 2).sum() / ground.sum())
    return float(abs((stroke * luma).sum() / stroke.sum() - mean) - clutter)


def stripes(strength: float) -> tuple[np.ndarray, np.ndarray]:
    """Strokes of `strength` levels above a ground of 50, and their coverage."""
    fill = np.zeros((20, 30), np.uint8)
    fill[5:15, 6:24:4] = fill[5:15, 7:24:4] = 255
    image = np.repeat((50 + strength * (fill / 255))[..., None], 3, 2)
    return image.round().astype(np.uint8), fill


@pytest.mark.parametrize("seed", range(12))
def test_contrast_is_that_of_its_formula(seed: int) -> None:
    rng = np.random.default_rng(seed)
    fill = np.zeros((22, 40), np.uint8)
    y, x = rng.integers(0, 12, 2)
    part = cv2.GaussianBlur((rng.random((10, 24)) < 0.3).astype(np.float32) * 255, (0, 0), float(rng.uniform(0.3, 0.8)))
    fill[y : y + 10, x : x + 24] = part.round()
    image = rng.integers(0, 256, (22, 40, 3)) * 0.3 + fill[..., None] * rng.uniform(0.2, 0.7)
    image = np.clip(image, 0, 255).astype(np.uint8)
    assert contrast(image, fill) == pytest.approx(plain_contrast(image, fill), abs=0.1)


def test_contrast_of_a_crop_is_that_of_its_formula(tmp_path: Path) -> None:
    game = flat_game(tmp_path, "#404040", colors=["#ffffff", "#a0a0a0"], contrast=0)
    renderer = Renderer(Game.from_config(game), 0, {"noise": {"deviation": [5, 20]}, "blur": {"sigma": [0.3, 0.9]}})
    crops = renderer.render("train", range(44))
    for image, words, sample in zip(crops.images, crops.texts, crops.samples, strict=True):
        fill = expected(renderer, words, sample)[0] if words else None
        shown = plain_contrast(image, (fill * 255).round().astype(np.uint8)) if fill is not None else 0
        assert sample["contrast"] == pytest.approx(shown, abs=0.5)


def test_contrast_is_the_step_in_luma_of_clean_text_and_zero_without_text() -> None:
    for strength in (0, 10, 60, 200):
        assert contrast(*stripes(strength)) == pytest.approx(strength, abs=0.5)
    image, fill = stripes(100)
    assert contrast(255 - image, fill) == pytest.approx(100, abs=0.5)
    assert contrast(image, np.zeros_like(fill)) == 0
    assert contrast(image, np.full_like(fill, 255)) == 0, "without surroundings there is no difference"


def test_clutter_and_blur_reduce_contrast(rng: Any) -> None:
    image, fill = stripes(100)
    cluttered = [np.clip(image + rng.normal(0, sd, image.shape), 0, 255).astype(np.uint8) for sd in (0, 20, 60)]
    blurred = [cv2.GaussianBlur(image, (0, 0), sd) for sd in (0.4, 0.8, 1.6)]
    for series in (cluttered, blurred):
        values = [contrast(one, fill) for one in series]
        assert values == sorted(values, reverse=True)
        assert values[-1] < 0.6 * values[0]
