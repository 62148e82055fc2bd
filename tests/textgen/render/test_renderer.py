"""Crops. To print new golden values: PYTHONPATH=tests python tests/textgen/render/test_renderer.py"""

import hashlib
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from conftest import GAMES, Config, flat_game, load
from hypothesis import given, settings
from hypothesis import strategies as st

from textgen.assets import glyph_atlas
from textgen.common.errors import UserError
from textgen.render import renderer as rendering
from textgen.render.renderer import MAX_ATTEMPTS, SPLITS, Renderer
from textgen.schema.game import Game

STREAMS = {
    **{name: load("augment", name) for name in ("off", "light", "strong", "video")},
    "albumentations": {"transforms": load("augment", "albumentations")["transforms"][-2:]},
}
# sha256 of eight crops of every game without augmentation, see `golden`.
GOLDEN = {
    "apex_count": "c133f9f0d34cd2009efe54394e533dc9d536ca0bc05595af5432a60c4541bbce",
    "lol_gold1": "5d5e3dc326f7ae89f91857a519f2d3697702ef46850954a034de51203076f672",
    "lol_gold2": "4c77635f0596b296384272850eaf524aeb26cffa753ee243c000c69eb4f2a439",
    "lol_time": "603e8cd21ce5aa4d8ea72956bbfc4d14c8fc29823d1d298d9c41353f354f39a7",
    "sot_coin": "c0969c47ae4af7715b71f2be92ff52a51586fab55941d3d082f1f49378ad553b",
    "sot_time": "66f82eaa69b9a41331433729b137d959a6e869d14b40787ef89a6f4de372eb28",
}


@cache
def renderer(name: str, seed: int = 0, stream: str = "light") -> Renderer:
    return Renderer(Game.from_config(load("game", name)), seed, STREAMS[stream])


def golden(name: str) -> str:
    """The last four classes, "other" among them, and the first four."""
    drawn = renderer(name, stream="off")
    count = len(drawn.classes)
    crops = drawn.render("train", range(count - 4, count + 4))
    return hashlib.sha256(crops.images.tobytes() + "\n".join(crops.texts).encode()).hexdigest()


def test_crops_are_those_of_the_golden_values(game_name: str) -> None:
    assert GOLDEN.get(game_name) == golden(game_name), "intended? then print new ones, see the docstring"


@settings(max_examples=6, deadline=None)
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
    """The caches of a used renderer change nothing."""
    used = renderer("sot_coin")
    used.render("train", range(30))
    fresh = Renderer(Game.from_config(load("game", "sot_coin")), 0, STREAMS["light"])
    np.testing.assert_array_equal(fresh.render("val", [7, 3]).images, used.render("val", [7, 3]).images)


RICH: Config = {
    "axes": {"wght": [300, 700]},
    "fonts": ["oswald-variable", "spectral"],
    "slant": [-5, 10],
    "spacing": [-0.5, 1],
    "outline": {"chance": 0.5},
    "shadow": {"chance": 0.5},
    "glow": {"chance": 0.5, "colors": ["#303030"]},
    "gradient": {"chance": 0.5, "colors": ["#c0c0c0"]},
    "panel": {"chance": 0.5, "border": ["#404040"]},
    "icon": {"chance": 0.5},
    "neighbour": {"texts": ["N", "k"], "chance": 0.5},
}


def rich(stream: str, train: int = 2) -> Renderer:
    """All effects at once."""
    game = load("game", "sot_time")
    game["text"] = {**game["text"], **RICH, "contrast": 60}  # so that some are rejected
    return Renderer(Game.from_config({**game, "images": {"train": train, "val": 1, "test": 1}}), 3, STREAMS[stream])


@pytest.mark.parametrize("stream", STREAMS)
def test_batches_orders_threads_and_other_splits_change_no_byte(stream: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = rich(stream)
    wanted = drawn.render("val", range(60))
    assert (wanted.samples["attempt"] > 0).any()
    shuffled = np.random.default_rng(0).permutation(60)
    again = rich(stream, train=500)  # the size of train does not affect val
    np.testing.assert_array_equal(again.render("val", shuffled).images, wanted.images[shuffled])
    with ThreadPoolExecutor(4) as pool:
        shared = list(pool.map(lambda i: again.render("val", [i, i + 30]), range(30)))
    for i, two in enumerate(shared):
        np.testing.assert_array_equal(two.images, wanted.images[[i, i + 30]])
        np.testing.assert_array_equal(two.samples, wanted.samples[[i, i + 30]])
        assert two.texts == [wanted.texts[i], wanted.texts[i + 30]]
    monkeypatch.setattr(rendering, "BATCH", 7)
    monkeypatch.setattr(glyph_atlas, "MAX_BYTES", 100_000)  # so that the atlas is emptied now and then
    batches = rich(stream).render("val", range(60))
    np.testing.assert_array_equal(batches.images, wanted.images)
    assert batches.rejects == wanted.rejects


def test_streams_change_pictures_and_neither_texts_nor_colours() -> None:
    crops = {stream: rich(stream).render("train", range(54)) for stream in STREAMS}
    plain = crops["off"]
    change = {}
    for stream, other in crops.items():
        assert other.texts == plain.texts
        first = (other.samples["attempt"] == 0) & (plain.samples["attempt"] == 0)  # later attempts have other styles
        assert first.sum() > 10
        for name in ("face", "height", "x", "y", "top", "left", "red", "canvas"):
            np.testing.assert_array_equal(other.samples[name][first], plain.samples[name][first])
        change[stream] = np.abs(other.images[first].astype(int) - plain.images[first]).mean()
    assert change["off"] == 0 < change["light"] < change["strong"]
    assert change["albumentations"] > 0


def test_texts_can_be_drawn_without_images(game_name: str) -> None:
    drawn = renderer(game_name)
    assert drawn.draw_texts("val", range(40)) == drawn.render("val", range(40)).texts


def test_indices_are_taken_from_any_iterable() -> None:
    drawn = renderer("sot_time")
    wanted = drawn.render("train", [2, 4, 6]).images
    np.testing.assert_array_equal(drawn.render("train", range(2, 8, 2)).images, wanted)
    np.testing.assert_array_equal(drawn.render("train", np.array([2, 4, 6])).images, wanted)
    np.testing.assert_array_equal(drawn.render("train", (i for i in (2, 4, 6))).images, wanted)
    nothing = drawn.render("train", [])
    assert nothing.images.shape == (0, 22, 30, 3)
    assert nothing.texts == []
    with pytest.raises(ValueError, match="numbered from 0, not -2"):
        drawn.render("train", [3, -2])


def test_crops_have_the_size_of_the_game(game_name: str) -> None:
    drawn = renderer(game_name)
    crops = drawn.render("test", range(3))
    assert crops.images.shape == (3, *drawn.game.size, 3)
    assert crops.images.dtype == np.uint8
    assert crops.labels.dtype == np.int64


@settings(max_examples=20, deadline=None)
@given(count=st.integers(0, 60))
def test_every_prefix_is_balanced(count: int) -> None:
    drawn = renderer("sot_coin", stream="off")
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
    drawn = renderer(game_name, stream="off")
    step = len(drawn.classes)
    images = drawn.render("train", range(0, 12 * step, step)).images.astype(float)
    differences = np.abs(images[1:] - images[:-1]).mean((1, 2, 3))
    assert np.median(differences) > 10


def test_ink_stays_within_the_margin(tmp_path: Path) -> None:
    """On a flat colour a ring as wide as the margin shows that colour alone, and the inside does not."""
    for margin in (1, 2, 3):
        game = flat_game(tmp_path, "#204060", colors=["#ffffff"], outline={"width": [0.5, 1]}, margin=margin)
        crops = Renderer(Game.from_config(game)).render("train", range(66))
        color = np.array([0x20, 0x40, 0x60])
        inside = np.zeros(crops.images.shape[1:3], bool)
        inside[margin:-margin, margin:-margin] = True
        np.testing.assert_array_equal(crops.images[:, ~inside], np.broadcast_to(color, (66, (~inside).sum(), 3)))
        blank = (crops.images == color).all((1, 2, 3))
        np.testing.assert_array_equal(blank, crops.labels == 10)


def test_texts_of_every_game_are_complete(game_name: str) -> None:
    """On black, a ring as wide as the margin stays black."""
    game = load("game", game_name)
    text = {**game["text"], "margin": 1, "colors": ["#ffffff"], "contrast": 0}
    text.pop("shadow", None)
    if "outline" in text:
        text["outline"] = {**text["outline"], "colors": ["#ff0000"]}
    black = {"source": "gradient", "tint": ["#000000"], "tint_opacity": [1, 1]}
    crops = Renderer(Game.from_config({**game, "text": text, "backgrounds": [black]})).render("train", range(150))
    assert not crops.images[:, [0, -1]].any()
    assert not crops.images[:, :, [0, -1]].any()
    for image, sample in zip(crops.images, crops.samples, strict=True):
        inked = np.argwhere(image.any(2))
        box = [sample[side] for side in ("top", "left", "bottom", "right")]
        assert (len(inked) > 0) == (sample["length"] > 0)
        if len(inked):  # the thinnest part of an edge can round to nothing
            np.testing.assert_allclose([*inked.min(0), *(inked.max(0) + 1)], box, atol=1)


@pytest.mark.parametrize(("x", "y"), [(0, 0), (1, 1), (0, 1), (1, 0)])
def test_the_position_of_a_text_is_that_of_x_and_y(tmp_path: Path, x: int, y: int) -> None:
    game = flat_game(tmp_path, colors=["#ffffff"], x=[x, x], y=[y, y])
    for image in Renderer(Game.from_config(game)).render("train", range(10)).images:
        rows, columns = np.argwhere(image.max(2) > 0).T
        assert rows.min() == 1 if y == 0 else rows.max() == 20, (rows.min(), rows.max())
        assert columns.min() == 1 if x == 0 else columns.max() == 28, (columns.min(), columns.max())


def test_heights_fill_their_range(tmp_path: Path) -> None:
    game = flat_game(tmp_path, colors=["#ffffff"], height=[8, 14])
    crops = Renderer(Game.from_config(game)).render("train", [i for i in range(600) if i % 11 in (1, 4, 7)])
    heights = [np.argwhere(image.max(2) > 127)[:, 0] for image in crops.images]
    spans = np.array([np.ptp(rows) + 1 for rows in heights])
    assert 7 <= spans.min() <= 9
    assert 13 <= spans.max() <= 15
    assert np.ptp(np.bincount(spans)[9:14]) < 0.5 * len(spans) / 6 + 10


def test_colours_of_the_fill_and_the_outline_are_those_of_the_game(tmp_path: Path) -> None:
    game = flat_game(tmp_path, colors=["#ff0000"], outline={"width": [1, 1], "colors": ["#0000ff"]}, height=[14, 14])
    for image in (
        Renderer(Game.from_config({**game, "text": {**game["text"], "contrast": 0}})).render("train", range(10)).images
    ):
        pixels = {tuple(pixel) for pixel in image.reshape(-1, 3)}
        assert (255, 0, 0) in pixels
        assert any(blue > 200 and red < 20 for red, _, blue in pixels)
        assert all(green == 0 for _, green, _ in pixels)


def test_a_crop_has_the_contrast_that_the_game_demands(game_name: str) -> None:
    drawn = renderer(game_name, stream="strong")
    crops = drawn.render("train", range(4 * len(drawn.classes)))
    shown = crops.samples["contrast"][crops.samples["length"] > 0]
    assert shown.min() >= drawn.game.text.contrast > 0
    assert sum(crops.rejects.values()) == crops.samples["attempt"].sum(), "every further attempt has a reason"
    assert set(crops.rejects) <= {"too large", "too small", "low contrast"}


def test_a_colour_too_near_to_the_background_is_never_shown(tmp_path: Path) -> None:
    game = flat_game(tmp_path, "#808080", colors=["#ffffff", "#909090"])
    crops = Renderer(Game.from_config(game)).render("train", range(55))
    shown = crops.images[crops.labels != 10]
    assert (shown.max((1, 2, 3)) > 0x80 + 60).all()
    assert crops.rejects["low contrast"] == pytest.approx(50, abs=35)  # one in two draws


def refusal(game: Config) -> str:
    with pytest.raises(UserError) as caught:
        Renderer(Game.from_config(game)).render("train", range(11))
    return caught.value.summary


def test_a_text_too_large_for_its_crop_is_reported_with_the_count(tmp_path: Path) -> None:
    summary = refusal(flat_game(tmp_path, height=[30, 40]))
    n = MAX_ATTEMPTS
    assert re.search(rf"game flat: '\d' could not be drawn in {n} tries \({n} times too large\)", summary)
    assert "text.height" in summary


def test_a_text_in_the_colour_of_its_background_is_reported_with_the_count(tmp_path: Path) -> None:
    summary = refusal(flat_game(tmp_path, "#808080", colors=["#808080"]))
    assert f"({MAX_ATTEMPTS} times low contrast)" in summary
    assert "colours" in summary


def test_a_text_too_small_is_reported_with_the_count(tmp_path: Path) -> None:
    summary = refusal(flat_game(tmp_path, height=[5, 6], least=9))
    assert f"({MAX_ATTEMPTS} times too small)" in summary
    assert "text.least" in summary


def test_both_reasons_are_counted_the_more_frequent_first(tmp_path: Path) -> None:
    summary = refusal(flat_game(tmp_path, "#808080", colors=["#808080"], height=[12, 28]))
    counts = [int(count) for count in re.findall(r"(\d+) times (?:too large|low contrast)", summary)]
    assert len(counts) == 2
    assert sum(counts) == MAX_ATTEMPTS
    assert counts == sorted(counts, reverse=True)


def test_other_can_show_a_text_and_is_legible_then(tmp_path: Path) -> None:
    game = flat_game(tmp_path, colors=["#ffffff"])
    drawn = Renderer(Game.from_config({**game, "other": ["go", ""]}))
    crops = drawn.render("train", range(10, 11 * 40, 11))
    assert Counter(crops.texts).keys() == {"go", ""}
    for image, text in zip(crops.images, crops.texts, strict=True):
        assert (image.max() > 128) == bool(text)


def test_every_asset_that_can_show_is_listed(tmp_path: Path) -> None:
    game = flat_game(tmp_path)
    drawn = Renderer(Game.from_config(game))
    assert tmp_path / "flat.png" in drawn.assets
    assert {path.parent.name for path in drawn.assets if path.suffix == ".ttf"} == {"oswald"}
    assert all(path.is_file() for path in drawn.assets)
    assert len(set(drawn.assets)) == len(drawn.assets)


if __name__ == "__main__":
    print("GOLDEN = {")
    for each in GAMES:
        print(f'    "{each}": "{golden(each)}",')
    print("}")
