from typing import Any

import numpy as np
import pytest
from conftest import load
from hypothesis import given, settings
from hypothesis import strategies as st

from textgen.augment import Augment
from textgen.errors import UserError

TRANSFORMS: dict[str, list[dict[str, Any]]] = {n: load("augment", n)["transforms"] for n in ("off", "light", "strong")}
PIPELINES = {name: Augment(transforms) for name, transforms in TRANSFORMS.items()}


def crop(height: int = 22, width: int = 52, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_off_is_the_identity() -> None:
    np.testing.assert_array_equal(PIPELINES["off"](crop(), np.random.default_rng(1)), crop())


@pytest.mark.parametrize("name", ["light", "strong"])
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**63), height=st.integers(8, 64), width=st.integers(8, 64))
def test_a_crop_keeps_its_shape_and_type(name: str, seed: int, height: int, width: int) -> None:
    image = crop(height, width)
    out = PIPELINES[name](image, np.random.default_rng(seed))
    assert out.shape == (height, width, 3)
    assert out.dtype == np.uint8
    np.testing.assert_array_equal(image, crop(height, width), "the input was changed in place")


@pytest.mark.parametrize("name", ["light", "strong"])
def test_the_generator_alone_decides(name: str) -> None:
    seeds = range(40)
    first = [PIPELINES[name](crop(), np.random.default_rng(seed)).tobytes() for seed in seeds]
    other = Augment(TRANSFORMS[name])  # without the history of the first
    second = [other(crop(), np.random.default_rng(seed)).tobytes() for seed in reversed(seeds)][::-1]
    assert first == second
    assert len(set(first)) > len(seeds) // 2


def test_transforms_are_drawn_independently_of_each_other() -> None:
    def chosen(index: int) -> list[bool]:
        """For each seed: is the transform at `index` applied when two with even chances follow each other?"""
        invert, solarize = {"name": "InvertImg"}, {"name": "Posterize", "num_bits": 1}
        pipeline = Augment([{**invert, "p": 0.5}, {**solarize, "p": 0.5}])
        outs = [pipeline(crop(), np.random.default_rng(seed)) for seed in range(200)]
        posterized = [set(np.unique(out)) <= {0, 127, 128, 255} for out in outs]
        inverted = [bool(np.corrcoef(out.ravel(), crop().ravel())[0, 1] < 0) for out in outs]
        return (inverted, posterized)[index]

    inverted, posterized = np.array(chosen(0)), np.array(chosen(1))
    for one in (True, False):
        for two in (True, False):
            assert 25 <= ((inverted == one) & (posterized == two)).sum() <= 75  # 50 expected, sd 6


def test_strong_changes_crops_more_than_light() -> None:
    def change(name: str) -> float:
        outs = [PIPELINES[name](crop(), np.random.default_rng(seed)).astype(float) for seed in range(60)]
        return float(np.mean([np.abs(out - crop()).mean() for out in outs]))

    assert 0 < change("light") < change("strong")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"name": "GausianBlur"}, ["GausianBlur"]),
        ({"name": "Compose"}, ["Compose"]),
        ({"name": "__name__"}, ["__name__"]),
        ({"name": 3}, ["3"]),
        ({"name": "HorizontalFlip"}, ["HorizontalFlip", "pixel"]),
        ({"name": "Rotate", "p": 1}, ["Rotate", "pixel"]),
        ({"name": "RandomCrop", "height": 4, "width": 4}, ["RandomCrop", "pixel"]),
        ({"name": "GaussNoise", "std_rnage": [0.1, 0.2]}, ["GaussNoise", "std_rnage"]),
        ({"name": "GaussNoise", "std_range": [2, 3]}, ["GaussNoise", "std_range"]),
        ({"name": "GaussianBlur", "p": 2}, ["GaussianBlur", "p"]),
        ({"p": 1}, ["name"]),
        ("GaussianBlur", ["GaussianBlur", "mapping"]),
    ],
)
def test_a_wrong_entry_is_named(entry: Any, words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        Augment([{"name": "GaussianBlur"}, entry])
    assert all(word in caught.value.summary for word in words), caught.value.summary
