"""Crops. After a change that is meant to change them, print new golden values: python tests/test_render.py"""

import hashlib
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import GAMES, Config, flat_game, load
from hypothesis import given, settings
from hypothesis import strategies as st

from textgen import render
from textgen.errors import UserError
from textgen.game import Game
from textgen.render import SPLITS, TRIES, Renderer, contrast

LIGHT = load("augment", "light")["transforms"]
# sha256 of eight crops of every game without augmentation, see `golden`.
GOLDEN = {
    "apex_count": "41d3060b99739f2e43b468615990bcd12e6ece0a9720f1b93430fd039e8d4714",
    "lol_gold1": "a0d4a4be30860514ec063230e6006c443e170a25262b9d8c8b5add3bc9918aa3",
    "lol_gold2": "1ad54d2246b64c722da7cb0fa6c1c966894dec1e032b41cf5e8fe319c17faafc",
    "lol_time": "d97ca30349c4ac0166aaa8390f77f2a372c35160114f839f720d25bbc3b849e9",
    "sot_coin": "3a961ba5e1dc89e7d17255fabb35b2909385a1ff62e3ff741e1cf7c3f33f12f4",
    "sot_time": "4db76bb547db5d55456c06ca9c42377a480670793cd3fb7c84af8fcaf0449f9d",
}


@cache
def renderer(name: str, seed: int = 0, augmented: bool = True) -> Renderer:
    return Renderer(Game.of(load("game", name)), seed, LIGHT if augmented else ())


def golden(name: str) -> str:
    """The last four classes, "other" among them, and the first four."""
    drawn = renderer(name, augmented=False)
    count = len(drawn.classes)
    crops = drawn.render("train", range(count - 4, count + 4))
    return hashlib.sha256(crops.images.tobytes() + "\n".join(crops.texts).encode()).hexdigest()


def test_crops_are_those_of_the_golden_values(game_name: str) -> None:
    assert GOLDEN.get(game_name) == golden(game_name), "meant? then paste what `python tests/test_render.py` prints"


@settings(max_examples=8, deadline=None)
@given(indices=st.lists(st.integers(0, 2**40), min_size=1, max_size=6), split=st.sampled_from(SPLITS))
def test_a_sample_is_the_same_in_every_batch_and_order(game_name: str, indices: list[int], split: str) -> None:
    drawn = renderer(game_name)
    batch, turned = drawn.render(split, indices), drawn.render(split, indices[::-1])
    np.testing.assert_array_equal(batch.images, turned.images[::-1])
    np.testing.assert_array_equal(batch.labels, turned.labels[::-1])
    assert batch.texts == turned.texts[::-1]
    for image, label, text, i in zip(batch.images, batch.labels, batch.texts, indices, strict=True):
        alone = drawn.render(split, [i])
        np.testing.assert_array_equal(alone.images[0], image)
        assert (alone.labels[0], alone.texts) == (label, [text])


def test_a_sample_is_the_same_from_every_renderer() -> None:
    """A renderer has caches; one that has drawn nothing yet gives the same."""
    used = renderer("sot_coin")
    used.render("train", range(30))
    fresh = Renderer(Game.of(load("game", "sot_coin")), 0, LIGHT)
    np.testing.assert_array_equal(fresh.render("val", [7, 3]).images, used.render("val", [7, 3]).images)


def test_indices_are_taken_from_any_iterable() -> None:
    drawn = renderer("sot_time")
    wanted = drawn.render("train", [2, 4, 6]).images
    np.testing.assert_array_equal(drawn.render("train", range(2, 8, 2)).images, wanted)
    np.testing.assert_array_equal(drawn.render("train", np.array([2, 4, 6])).images, wanted)
    np.testing.assert_array_equal(drawn.render("train", (i for i in (2, 4, 6))).images, wanted)
    assert drawn.render("train", []).images.shape == (0, 22, 30, 3)


def test_crops_have_the_size_of_the_game(game_name: str) -> None:
    drawn = renderer(game_name)
    crops = drawn.render("test", range(3))
    assert crops.images.shape == (3, *drawn.game.size, 3)
    assert crops.images.dtype == np.uint8
    assert crops.labels.dtype == np.int64


@settings(max_examples=20, deadline=None)
@given(count=st.integers(0, 60))
def test_every_prefix_is_balanced(count: int) -> None:
    drawn = renderer("sot_coin", augmented=False)
    per_class = np.bincount(drawn.render("val", range(count)).labels, minlength=len(drawn.classes))
    assert per_class.sum() == count
    assert np.ptp(per_class) <= 1


def test_a_text_is_read_as_the_class_of_its_label(game_name: str) -> None:
    drawn = renderer(game_name)
    crops = drawn.render("train", range(2 * len(drawn.classes)))
    assert [drawn.spec.label_of(text) for text in crops.texts] == [drawn.classes[label] for label in crops.labels]


def test_splits_share_no_crop(game_name: str) -> None:
    drawn = renderer(game_name)
    images = [image.tobytes() for split in SPLITS for image in drawn.render(split, range(8)).images]
    assert len(set(images)) == len(images)


def test_seeds_share_no_crop() -> None:
    streams = [renderer("sot_time", seed).render(split, range(30)).images for seed in (0, 1) for split in SPLITS]
    images = [image.tobytes() for stream in streams for image in stream]
    assert len(set(images)) == len(images)


def test_neighbours_of_a_class_differ_in_more_than_noise(game_name: str) -> None:
    drawn = renderer(game_name, augmented=False)
    step = len(drawn.classes)
    images = drawn.render("train", range(0, 12 * step, step)).images.astype(float)
    differences = np.abs(images[1:] - images[:-1]).mean((1, 2, 3))
    assert np.median(differences) > 10


def test_ink_stays_within_the_margin(tmp_path: Path) -> None:
    """On a flat colour a ring as wide as the margin shows that colour alone, and the inside does not."""
    for margin in (1, 2, 3):
        game = flat_game(tmp_path, "#204060", colors=["#ffffff"], outline={"width": [0.5, 1]}, margin=margin)
        crops = Renderer(Game.of(game)).render("train", range(66))
        color = np.array([0x20, 0x40, 0x60])
        inside = np.zeros(crops.images.shape[1:3], bool)
        inside[margin:-margin, margin:-margin] = True
        np.testing.assert_array_equal(crops.images[:, ~inside], np.broadcast_to(color, (66, (~inside).sum(), 3)))
        blank = (crops.images == color).all((1, 2, 3))
        np.testing.assert_array_equal(blank, crops.labels == 10)


@pytest.mark.parametrize(("x", "y"), [(0, 0), (1, 1), (0, 1), (1, 0)])
def test_a_text_goes_where_x_and_y_say(tmp_path: Path, x: int, y: int) -> None:
    game = flat_game(tmp_path, colors=["#ffffff"], x=[x, x], y=[y, y])
    for image in Renderer(Game.of(game)).render("train", range(10)).images:
        rows, columns = np.argwhere(image.max(2) > 0).T
        assert rows.min() == 1 if y == 0 else rows.max() == 20, (rows.min(), rows.max())
        assert columns.min() == 1 if x == 0 else columns.max() == 28, (columns.min(), columns.max())


def test_heights_fill_the_range_that_was_asked_for(tmp_path: Path) -> None:
    game = flat_game(tmp_path, colors=["#ffffff"], height=[8, 14])
    crops = Renderer(Game.of(game)).render("train", [i for i in range(600) if i % 11 in (1, 4, 7)])
    heights = [np.argwhere(image.max(2) > 127)[:, 0] for image in crops.images]
    spans = np.array([np.ptp(rows) + 1 for rows in heights])
    assert 7 <= spans.min() <= 9
    assert 13 <= spans.max() <= 15
    assert np.ptp(np.bincount(spans)[9:14]) < 0.5 * len(spans) / 6 + 10


def test_colours_of_the_fill_and_the_outline_are_those_of_the_game(tmp_path: Path) -> None:
    game = flat_game(tmp_path, colors=["#ff0000"], outline={"width": [1, 1], "colors": ["#0000ff"]}, height=[14, 14])
    for image in Renderer(Game.of({**game, "text": {**game["text"], "contrast": 0}})).render("train", range(10)).images:
        pixels = {tuple(pixel) for pixel in image.reshape(-1, 3)}
        assert (255, 0, 0) in pixels
        assert any(blue > 200 and red < 20 for red, _, blue in pixels)
        assert all(green == 0 for _, green, _ in pixels)


def test_a_crop_has_the_contrast_that_the_game_asks_for(game_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = renderer(game_name)
    measured: dict[bytes, float] = {}

    def spy(image: np.ndarray, fill: np.ndarray) -> float:
        measured[image.tobytes()] = contrast(image, fill)
        return measured[image.tobytes()]

    monkeypatch.setattr(render, "contrast", spy)
    crops = drawn.render("train", range(2 * len(drawn.classes)))
    shown = [measured[im.tobytes()] for im, text in zip(crops.images, crops.texts, strict=True) if text]
    assert min(shown) >= drawn.game.text.contrast > 0
    refused = [value for value in measured.values() if value < drawn.game.text.contrast]
    assert len(refused) <= crops.rejects["low contrast"] <= len(refused) + 1  # two may be the same image


def test_a_colour_too_near_to_the_background_is_never_shown(tmp_path: Path) -> None:
    game = flat_game(tmp_path, "#808080", colors=["#ffffff", "#909090"])
    crops = Renderer(Game.of(game)).render("train", range(55))
    shown = crops.images[crops.labels != 10]
    assert (shown.max((1, 2, 3)) > 0x80 + 60).all()
    assert crops.rejects["low contrast"] == pytest.approx(50, abs=35)  # one in two draws


def stripes(strength: float) -> tuple[np.ndarray, np.ndarray]:
    """Strokes of `strength` levels above a ground of 50, and their coverage."""
    fill = np.zeros((20, 30), np.float32)
    fill[5:15, 6:24:4] = fill[5:15, 7:24:4] = 1
    image = np.repeat((50 + strength * fill)[..., None], 3, 2)
    return image.round().astype(np.uint8), fill


def test_contrast_is_the_step_of_clean_text_and_zero_without_one() -> None:
    for strength in (0, 10, 60, 200):
        assert contrast(*stripes(strength)) == pytest.approx(strength, abs=0.5)
    image, fill = stripes(100)
    assert contrast(255 - image, fill) == pytest.approx(100, abs=0.5)


def test_clutter_and_blur_take_contrast_away(rng: Any) -> None:
    image, fill = stripes(100)
    cluttered = [np.clip(image + rng.normal(0, sd, image.shape), 0, 255).astype(np.uint8) for sd in (0, 20, 60)]
    blurred = [cv2.GaussianBlur(image, (0, 0), sd) for sd in (0.4, 0.8, 1.6)]
    for series in (cluttered, blurred):
        values = [contrast(one, fill) for one in series]
        assert values == sorted(values, reverse=True)
        assert values[-1] < 0.6 * values[0]


def refusal(game: Config) -> str:
    with pytest.raises(UserError) as caught:
        Renderer(Game.of(game)).render("train", range(11))
    return caught.value.summary


def test_a_text_too_large_for_its_crop_is_told_with_the_count(tmp_path: Path) -> None:
    summary = refusal(flat_game(tmp_path, height=[30, 40]))
    assert re.search(rf"game flat: '\d' could not be drawn in {TRIES} tries \({TRIES} times too large\)", summary)
    assert "text.height" in summary


def test_a_text_in_the_colour_of_its_background_is_told_with_the_count(tmp_path: Path) -> None:
    summary = refusal(flat_game(tmp_path, "#808080", colors=["#808080"]))
    assert f"({TRIES} times low contrast)" in summary
    assert "colours" in summary


def test_both_reasons_are_counted_the_more_frequent_first(tmp_path: Path) -> None:
    summary = refusal(flat_game(tmp_path, "#808080", colors=["#808080"], height=[12, 28]))
    counts = [int(count) for count in re.findall(r"(\d+) times (?:too large|low contrast)", summary)]
    assert len(counts) == 2
    assert sum(counts) == TRIES
    assert counts == sorted(counts, reverse=True)


def test_other_can_show_a_text_and_is_legible_then(tmp_path: Path) -> None:
    game = flat_game(tmp_path, colors=["#ffffff"])
    drawn = Renderer(Game.of({**game, "other": ["go", ""]}))
    crops = drawn.render("train", range(10, 11 * 40, 11))
    assert Counter(crops.texts).keys() == {"go", ""}
    for image, text in zip(crops.images, crops.texts, strict=True):
        assert (image.max() > 128) == bool(text)


def test_every_asset_that_can_show_is_listed(tmp_path: Path) -> None:
    game = flat_game(tmp_path)
    drawn = Renderer(Game.of(game))
    assert tmp_path / "flat.png" in drawn.assets
    assert {path.parent.name for path in drawn.assets if path.suffix == ".ttf"} == {"oswald"}
    assert all(path.is_file() for path in drawn.assets)
    assert len(set(drawn.assets)) == len(drawn.assets)


if __name__ == "__main__":
    print("GOLDEN = {")
    for each in GAMES:
        print(f'    "{each}": "{golden(each)}",')
    print("}")
