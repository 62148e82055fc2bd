"""Regions are read from mappings and files, and what is wrong with them is told."""

from pathlib import Path
from typing import Any

import pytest

from textgen.common.errors import UserError
from textgen.footage.regions import Region, load_regions, parse_regions

SIZE = (600, 800)


def test_pixels_and_fractions() -> None:
    given = {"timer": [324, 545, 118, 52], "all": [0.0, 0, 1, 1], "edge": [0.5, 0.75, 0.5, 0.25]}
    assert parse_regions(given, SIZE) == (
        Region("timer", 324, 545, 118, 52),
        Region("all", 0, 0, 800, 600),
        Region("edge", 400, 450, 400, 150),
    )


@pytest.mark.parametrize("width", range(90, 110))
def test_fractions_that_touch_leave_no_gap(width: int) -> None:
    left, right = parse_regions({"a": [0.1, 0.0, 0.37, 1.0], "b": [0.47, 0.0, 0.53, 1.0]}, (50, width))
    assert left.left + left.width == right.left
    assert right.left + right.width == width


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "regions is empty"),
        ({"t": [324, 545, 118]}, "are not four numbers"),
        ({"t": "324"}, "are not four numbers"),
        ({"t": [1, 2, 3, True]}, "are not four numbers"),
        ({"t": [324.5, 545, 118, 52]}, "numbers with a point are fractions of the frame"),
        ({"t": [0.5, 0.5, float("nan"), 0.1]}, "fractions of the frame"),
        ({"t": [0.6, 0.5, 0.5, 0.1]}, "is not within the frame, which has 800×600 pixels"),
        ({"t": [700, 0, 101, 52]}, "is not within the frame"),
        ({"t": [-1, 0, 10, 10]}, "is not within the frame"),
        ({"t": [0, 0, 0, 10]}, "has no pixels"),
        ({"a/b": [0, 0, 10, 10]}, "a name has 1 to 64 letters"),
        ({"..": [0, 0, 10, 10]}, "a name has 1 to 64 letters"),
        ({"-a": [0, 0, 10, 10]}, "a name has 1 to 64 letters"),
        ({"a": [0, 0, 10, 10], "A": [0, 0, 10, 10]}, "differ only in capitals"),
    ],
)
def test_wrong_regions(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_regions(given, SIZE)


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "regions.yaml"
    for text in ("timer: [1, 2, 30, 40]\n", "regions:\n  timer: [1, 2, 30, 40]\n"):
        path.write_text(text)
        assert load_regions(path, SIZE) == (Region("timer", 1, 2, 30, 40),)
    for text, message in [("[1, 2]", "holds no regions"), ("a: [", "is no YAML"), ("", "holds no regions")]:
        path.write_text(text)
        with pytest.raises(UserError, match=message):
            load_regions(str(path), SIZE)
    with pytest.raises(UserError, match="cannot read this file"):
        load_regions(tmp_path / "none.yaml", SIZE)
    with pytest.raises(UserError, match="cannot be read: write"):
        load_regions("{timer: [1, 2, 30, 40]", SIZE)
