from typing import Any

import numpy as np
import pytest
from conftest import ROOT, Config, load
from hypothesis import given, settings
from hypothesis import strategies as st

from textgen.common.errors import UserError
from textgen.common.validation import validate
from textgen.render.transforms import PixelTransforms
from textgen.schema.augment import Augment

STREAMS = sorted(path.stem for path in (ROOT / "conf" / "augment").glob("*.yaml"))
TRANSFORMS: list[dict[str, Any]] = load("augment", "albumentations")["transforms"]
PIPELINE = PixelTransforms(TRANSFORMS)


def crop(height: int = 22, width: int = 52, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_no_transforms_are_the_identity() -> None:
    nothing = PixelTransforms([])
    assert not nothing
    np.testing.assert_array_equal(nothing(crop(), np.random.default_rng(1)), crop())


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**63), height=st.integers(8, 64), width=st.integers(8, 64))
def test_a_crop_keeps_its_shape_and_type(seed: int, height: int, width: int) -> None:
    image = crop(height, width)
    out = PIPELINE(image, np.random.default_rng(seed))
    assert out.shape == (height, width, 3)
    assert out.dtype == np.uint8
    np.testing.assert_array_equal(image, crop(height, width), "the input was changed in place")


def test_the_generator_alone_decides() -> None:
    seeds = range(40)
    first = [PIPELINE(crop(), np.random.default_rng(seed)).tobytes() for seed in seeds]
    other = PixelTransforms(TRANSFORMS)  # a new pipeline without history
    second = [other(crop(), np.random.default_rng(seed)).tobytes() for seed in reversed(seeds)][::-1]
    assert first == second
    assert len(set(first)) > len(seeds) // 2


def test_transforms_are_drawn_independently_of_each_other() -> None:
    def chosen(index: int) -> list[bool]:
        """For each seed: is the transform at `index` applied when two with even chances follow each other?"""
        invert, solarize = {"name": "InvertImg"}, {"name": "Posterize", "num_bits": 1}
        pipeline = PixelTransforms([{**invert, "p": 0.5}, {**solarize, "p": 0.5}])
        outs = [pipeline(crop(), np.random.default_rng(seed)) for seed in range(200)]
        posterized = [set(np.unique(out)) <= {0, 127, 128, 255} for out in outs]
        inverted = [bool(np.corrcoef(out.ravel(), crop().ravel())[0, 1] < 0) for out in outs]
        return (inverted, posterized)[index]

    inverted, posterized = np.array(chosen(0)), np.array(chosen(1))
    for one in (True, False):
        for two in (True, False):
            assert 25 <= ((inverted == one) & (posterized == two)).sum() <= 75  # 50 expected, sd 6


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
        PixelTransforms([{"name": "GaussianBlur"}, entry])
    assert all(word in caught.value.summary for word in words), caught.value.summary


# The files of conf/augment/.


@pytest.mark.parametrize("name", STREAMS)
def test_every_file_of_the_configuration_is_valid(name: str) -> None:
    stream = validate(Augment, load("augment", name), "augment")
    assert (stream == Augment()) == (name == "off")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"blurr": {}}, ["augment.blurr is no setting", "did you mean blur?"]),
        ({"blur": {"sigmas": [1, 2]}}, ["augment.blur.sigmas", "did you mean sigma?"]),
        ({"blur": {"sigma": [2, 1]}}, ["augment.blur.sigma", "smaller"]),
        ({"blur": {"sigma": [0, 17]}}, ["augment.blur.sigma"]),
        ({"blur": {"chance": 1.5}}, ["augment.blur.chance"]),
        ({"resize": {"scale": [0.05, 0.5]}}, ["augment.resize.scale"]),
        ({"resize": {"scale": [0.5, 1.5]}}, ["augment.resize.scale"]),
        ({"light": {"brightness": -0.1}}, ["augment.light.brightness"]),
        ({"light": {"contrast": 2}}, ["augment.light.contrast"]),
        ({"noise": {"deviation": [0, 256]}}, ["augment.noise.deviation"]),
        ({"noise": {"deviation": float("nan")}}, ["augment.noise.deviation"]),
        ({"jpeg": {"quality": [0, 50]}}, ["augment.jpeg.quality"]),
        ({"jpeg": {"quality": [40.5, 50]}}, ["augment.jpeg.quality"]),
        ({"jpeg": {"quality": [90, 40]}}, ["augment.jpeg.quality", "smaller"]),
        ({"h264": {"crf": [10, 52]}}, ["augment.h264.crf"]),
        ({"h264": {"frames": 0}}, ["augment.h264.frames"]),
        ({"chroma": True}, ["augment.chroma"]),
        ({"transforms": 3}, ["augment.transforms"]),
    ],
)
def test_a_wrong_setting_is_named_by_its_key(config: Config, words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        validate(Augment, config, "augment")
    summary = caught.value.summary
    assert "\n" not in summary
    assert all(word in summary for word in words), summary
