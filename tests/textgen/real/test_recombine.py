"""Crops of texts that were never recorded, beside the same texts drawn directly."""

import numpy as np
import pytest
from counters import CELL, LEFT, count_down, draw, record

from textgen.real.characters import Place, find_characters
from textgen.real.crops import RealCrops
from textgen.real.recombine import Recombiner
from textgen.spec.parser import Spec

CLOCK = Spec.parse("M:SS", label="S", fields={"M": "0..9", "S": "00..59"})


def crops_of(texts: list[str], times: np.ndarray, spec: Spec = CLOCK, seed: int = 0) -> RealCrops:
    labels = np.array([spec.classes.index(spec.label_of(text)) for text in texts])
    return RealCrops(record(texts, seed), labels, tuple(texts), times)


def test_each_changing_character_is_found_where_it_was_drawn() -> None:
    texts, times = count_down(59, 25)
    found = find_characters(record(texts), texts, times)
    assert set(found) == {Place(4, 2), Place(4, 3)}  # minutes and colon never change
    for place, columns in found.items():
        left = LEFT + place.position * CELL
        assert left - 3 <= columns.left < columns.right <= left + CELL + 3
        assert columns.right - columns.left >= CELL * 0.6


def test_unknown_texts_and_gaps_in_time_are_no_changes() -> None:
    texts, times = count_down(59, 12)
    blank = ["" if at % 3 else text for at, text in enumerate(texts)]
    crops = record(texts)
    assert find_characters(crops, blank, times) == {}  # no two known neighbours
    far = np.arange(len(texts)) * 60.0
    assert find_characters(crops, texts, far) == {}
    assert find_characters(crops, texts, None) == find_characters(crops, texts, times)


def test_a_recombined_crop_is_the_drawn_one() -> None:
    texts, times = count_down(59, 25)  # 59 to 35: no 0 to 2 in the tens
    crops = crops_of(texts, times)
    crops = RealCrops(np.stack([draw(text, 60) for text in texts]), crops.labels, crops.texts, times)
    recombiner = Recombiner(crops, CLOCK)
    for text in ("0:07", "0:10", "0:26", "0:33"):
        made = recombiner.make(0, text, np.random.default_rng(0))
        assert made is not None
        assert np.abs(made.astype(int) - draw(text, 60)).max() <= 2, text


def test_on_a_changing_background_it_differs_from_the_drawn_one_by_the_background_alone() -> None:
    texts, times = count_down(59, 25)
    crops = crops_of(texts, times)
    recombiner = Recombiner(crops, CLOCK)
    made = recombiner.make(30, "0:12", np.random.default_rng(0))
    level = int(crops.images[30][0, 0, 0])
    assert made is not None
    assert np.abs(made.astype(int) - draw("0:12", level)).mean() < 8  # another digit differs by 20


def test_all_classes_whose_characters_are_there_are_made() -> None:
    texts, times = count_down(59, 20)
    images, labels = Recombiner(crops_of(texts, times), CLOCK).make_pool(CLOCK.classes, 3, np.random.default_rng(1))
    names = [CLOCK.classes[label] for label in labels]
    assert sorted(set(names)) == [f"{second:02d}" for second in range(60)]
    assert len(images) == len(labels) == 180
    assert images.shape[1:] == draw("0:00", 0).shape
    again, _ = Recombiner(crops_of(texts, times), CLOCK).make_pool(CLOCK.classes, 3, np.random.default_rng(1))
    assert (again == images).all()


def test_classes_with_characters_that_were_never_seen_are_left_out() -> None:
    texts, times = count_down(35, 5)  # 35 to 30
    recombiner = Recombiner(crops_of(texts, times), CLOCK)
    _, labels = recombiner.make_pool(CLOCK.classes, 2, np.random.default_rng(0))
    assert {CLOCK.classes[label] for label in labels} == {f"3{digit}" for digit in range(6)}
    assert recombiner.characters == set("012345")


def test_texts_of_several_lengths_share_their_characters() -> None:
    spec = Spec.parse("N", label="N", fields={"N": "0..99"})
    values = [8, 9, 8, 10, 11, 21, 12, 21, 32, 13, 14, 15, 16]
    texts = [str(value) for value in values for _ in range(3)]
    images = np.stack([np.pad(draw(text, 60), ((0, 0), (0, CELL * (2 - len(text))), (0, 0)), "edge") for text in texts])
    crops = RealCrops(images, np.zeros(len(texts), np.int64), tuple(texts), np.arange(len(texts)) / 10)
    recombiner = Recombiner(crops, spec)
    made = recombiner.make(texts.index("10"), "86", np.random.default_rng(0))
    assert made is not None
    assert np.abs(made.astype(int) - draw("86", 60)).mean() < 2


def test_values_of_a_rare_length_are_made_from_crops_of_that_length() -> None:
    spec = Spec.parse("N", label="N", fields={"N": "0..39"})
    texts = [str(value) for value in [8, 9, 8, *[*range(10, 40)] * 3] for _ in range(3)]  # 9 of 279 have one digit
    images = np.stack([np.pad(draw(text, 60), ((0, 0), (0, CELL * (2 - len(text))), (0, 0)), "edge") for text in texts])
    crops = RealCrops(images, np.zeros(len(texts), np.int64), tuple(texts), np.arange(len(texts)) / 10)
    _, labels = Recombiner(crops, spec).make_pool(spec.classes, 3, np.random.default_rng(0))
    assert np.bincount(labels, minlength=40)[:40].tolist() == [3] * 40


@pytest.mark.parametrize("texts", [["0:59"] * 30, ["", ""], ["other"]])
def test_footage_without_changes_gives_no_crops(texts: list[str]) -> None:
    images = np.stack([draw(text or "0:00", 60) for text in texts])
    crops = RealCrops(images, np.zeros(len(texts), np.int64), tuple(texts), None)
    images, labels = Recombiner(crops, CLOCK).make_pool(CLOCK.classes, 4, np.random.default_rng(0))
    assert len(images) == len(labels) == 0
