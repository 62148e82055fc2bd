"""Options of detectors, as label_video and cascade take them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import train.cascade.settings
import train.label_video.settings
from textgen.common.errors import UserError
from textgen.common.hydra_app import compose_config
from textgen.common.validation import validate
from textgen.footage.regions import Region
from train.detectors.detection import Detection
from train.detectors.options import DetectorOptions


def of_label_video(given: str) -> DetectorOptions:
    config = compose_config("label_video", "source=a.mp4", "detector=people", given)
    return validate(train.label_video.settings.Settings, config)


def of_cascade(given: str) -> DetectorOptions:
    key, _, value = given.partition("=")
    options = validate(
        train.cascade.settings.Settings, compose_config("cascade", f"reference_options={{{key}: {value}}}")
    ).reference_options
    assert options is not None
    return options


@pytest.mark.parametrize("read", [of_label_video, of_cascade])
@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("overlap=0", 0),
        ("overlap=1", 1),
        ("names=[person,2 cars]", ("person", "2 cars")),
        ("names=coco.txt", Path("coco.txt")),
        ("size=[64,96]", (64, 96)),
        ("pixels=255", 255),
        ("region=[0,0.5,1,0.5]", (0, 0.5, 1, 0.5)),
    ],
)
def test_both_commands_take_the_same(read: Callable[[str], DetectorOptions], given: str, wanted: Any) -> None:
    assert getattr(read(given), given.partition("=")[0]) == wanted


@pytest.mark.parametrize("read", [of_label_video, of_cascade])
@pytest.mark.parametrize("given", ["overlap=1.1", "overlap=-0.1", "size=[16,64]", "pixels=2", "region=[0,0,1]"])
def test_both_commands_refuse_the_same(read: Callable[[str], DetectorOptions], given: str) -> None:
    with pytest.raises(UserError, match=given.partition("=")[0]):
        read(given)


@pytest.mark.parametrize("command", ["label_video", "cascade"])
def test_seconds_are_finite(command: str) -> None:
    needed = ["source=a.mp4", "detector=people"] if command == "label_video" else []
    settings = {"label_video": train.label_video.settings.Settings, "cascade": train.cascade.settings.Settings}[command]
    for given in ("start=inf", "end=inf", "start=nan"):
        with pytest.raises(UserError, match=given.partition("=")[0]):
            validate(settings, compose_config(command, *needed, given))


@pytest.mark.parametrize(("box", "inside"), [((0, 0, 20, 20), True), ((0, 0, 19, 20), False), ((20, 0, 40, 20), False)])
def test_a_centre_in_a_region(box: tuple[int, int, int, int], inside: bool) -> None:
    """Its left and upper edges belong to the region, the right and lower ones do not."""
    region = DetectorOptions(region=(10, 10, 20, 5)).find_region((48, 64))
    assert region == Region("region", 10, 10, 20, 5)
    assert Detection("a", 1, *box).has_centre_in(region) is inside
    assert DetectorOptions().find_region((48, 64)) is None
    with pytest.raises(UserError, match="is not within the frame"):
        DetectorOptions(region=(0, 0, 65, 10)).find_region((48, 64))
