"""Labelled crops of footage: reading, division in time, variation."""

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from counters import count_down, draw, record, write_crops

from textgen.common.errors import UserError
from textgen.real.crops import GAP_SECONDS, RealCrops, load_real_crops, split_in_time
from textgen.real.variation import vary
from textgen.spec.parser import Spec

CLOCK = Spec.parse("M:SS", label="S", fields={"M": "0..9", "S": "00..59"})
SIZE = (20, 42)


def test_crops_are_read_in_the_order_of_time_with_their_texts(tmp_path: Path) -> None:
    texts, times = count_down(59, 4)
    images = record(texts)
    unlabelled = ["" if at == 5 else "other" if at == 7 else text for at, text in enumerate(texts)]
    crops = load_real_crops(write_crops(tmp_path / "crops", images, unlabelled, times), CLOCK.classes, SIZE, CLOCK)
    kept = [at for at in range(len(texts)) if at != 5]
    assert crops.times is not None
    assert crops.times.tolist() == pytest.approx(times[kept].tolist())
    assert [CLOCK.classes[label] for label in crops.labels] == ["other" if at == 7 else texts[at][2:] for at in kept]
    assert (crops.images == images[kept]).all()
    assert crops.scale(SIZE).shape == (len(kept), *SIZE, 3)


def test_large_crops_are_reduced_and_folders_of_classes_have_no_times(tmp_path: Path) -> None:
    texts, times = count_down(59, 3)
    folder = write_crops(tmp_path / "crops", record(texts), texts, times)
    small = load_real_crops(folder, CLOCK.classes, (8, 16), CLOCK)
    assert small.images.shape[1:] == (24, 48, 3)
    for name in ("00", "07"):
        (tmp_path / "classes" / name).mkdir(parents=True)
        (folder / "timer/0000000.png").rename(tmp_path / "classes" / name / "1.png") if name == "00" else (
            folder / "timer/0000001.png"
        ).rename(tmp_path / "classes" / name / "2.png")
    of_classes = load_real_crops(tmp_path / "classes", CLOCK.classes, SIZE, None)
    assert of_classes.times is None
    assert sorted(of_classes.labels.tolist()) == [CLOCK.classes.index("00"), CLOCK.classes.index("07")]


def test_class_folders_are_in_the_order_of_their_files_so_that_each_use_has_all_classes(tmp_path: Path) -> None:
    for at in range(60):
        folder = tmp_path / f"{at // 2 % 3:02d}"  # frames 0, 1, 6, 7, … are of the class 00
        folder.mkdir(exist_ok=True)
        cv2.imwrite(str(folder / f"{at}.png"), draw("0:00", at)[..., ::-1])
    crops = load_real_crops(tmp_path, CLOCK.classes, SIZE, None)
    assert crops.images[:, 0, 0, 0].tolist() == list(range(60))
    assert all(set(part.labels.tolist()) == {0, 1, 2} for part in split_in_time(crops, ("train", "val")).values())


def test_crops_without_a_counter_have_no_text(tmp_path: Path) -> None:
    spec = Spec.parse("MM:SS", label="S", fields={"M": "00..59", "S": "00..59"})  # as long as "other"
    texts = ["00:59"] * 9 + ["other"] * 9 + ["00:58"] * 9
    folder = write_crops(tmp_path / "crops", record(["00:59"] * 27), texts, np.arange(27) / 10)
    crops = load_real_crops(folder, spec.classes, SIZE, spec)
    assert set(crops.texts) == {"00:59", "", "00:58"}
    assert [spec.classes[label] for label in crops.labels[9:18]] == ["other"] * 9


def test_a_folder_without_labelled_crops_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"real=.*nowhere is no folder"):
        load_real_crops(tmp_path / "nowhere", CLOCK.classes, SIZE, CLOCK)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"real_test=.*empty holds no labelled crops"):
        load_real_crops(tmp_path / "empty", CLOCK.classes, SIZE, CLOCK, "real_test")


@pytest.mark.parametrize("seconds", [8, 20, 55, 300])
@pytest.mark.parametrize("uses", [("train", "val", "test"), ("train", "val")])
def test_uses_have_blocks_of_time_without_common_neighbours(seconds: int, uses: tuple[str, ...]) -> None:
    times = np.arange(0, seconds, 0.1)
    crops = RealCrops(np.zeros((len(times), 2, 2, 3), np.uint8), np.arange(len(times)), ("",) * len(times), times)
    parts = split_in_time(crops, uses)
    assert list(parts) == list(uses)
    owner = {int(at): use for use, part in parts.items() for at in part.labels}
    assert sum(map(len, parts.values())) == len(owner) > 0.85 * len(times)
    kept = sorted(owner)
    for before, after in pairwise(kept):
        if owner[before] != owner[after]:
            assert times[after] - times[before] >= GAP_SECONDS - 1e-6
    expected = 0.8 if len(uses) == 3 else 8 / 9
    assert len(parts["train"]) / len(owner) == pytest.approx(expected, abs=0.06)


def test_variations_keep_the_picture_and_change_place_and_color() -> None:
    crops = list(record(["0:59", "0:07"] * 40))
    varied = vary(crops, SIZE, np.random.default_rng(0))
    assert varied.shape == (80, *SIZE, 3)
    assert varied.dtype == np.uint8
    assert (varied == vary(crops, SIZE, np.random.default_rng(0))).all()
    shown = varied.astype(float).mean(3)  # the text is light in each: columns of text differ from the edges
    assert np.median(shown[:, 5:15, 5:38].max((1, 2)) - shown[:, :, 0].mean(1)) > 60
    assert np.std([one.mean() for one in varied]) > 8
    colored = np.abs(varied.astype(float).mean((1, 2)) - varied.astype(float).mean((1, 2, 3))[:, None]).max(1)
    assert (colored > 15).any()


def test_crops_that_are_missing_for_a_while_do_not_empty_a_use() -> None:
    times = np.concatenate([np.arange(0, 12, 0.05), [19.9]])  # no labels from 12 s on, where validation would begin
    crops = RealCrops(np.zeros((len(times), 2, 2, 3), np.uint8), np.arange(len(times)), ("",) * len(times), times)
    parts = split_in_time(crops)
    assert all(len(part) > 10 for part in parts.values())
    assert parts["train"].times is not None
    assert parts["val"].times is not None
    assert parts["val"].times.min() - parts["train"].times.max() >= GAP_SECONDS - 1e-6
