"""Regions of the screen: where the counters are, in pixels or in fractions of the frame."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from textgen.common.errors import UserError
from textgen.common.yaml_files import load_yaml

NAME = re.compile(r"\w[\w-]{0,63}")  # names are folders and parts of file names
FORM = "write regions={name: [left, top, width, height]}, in pixels or in fractions of the frame"
Size = tuple[int, int]  # height, width


@dataclass(frozen=True)
class Region:
    """A rectangle of the frame, in pixels; `left` and `top` count from 0."""

    name: str
    left: int
    top: int
    width: int
    height: int


def load_regions(given: Mapping[str, Any] | str | Path, frame_size: Size) -> tuple[Region, ...]:
    """Regions from a mapping, as `parse_regions` takes it, or from a YAML file that holds one.

    The file may hold the mapping itself, or under the key `regions`. Raises `UserError` as `parse_regions` does, and
    for a file that cannot be read.
    """
    if isinstance(given, Mapping):
        return parse_regions(given, frame_size)
    if str(given).lstrip().startswith("{"):
        raise UserError(f"regions={given} cannot be read: {FORM}, in quotes")
    path = Path(given).expanduser()
    try:
        content = load_yaml(path)
    except OSError as error:
        raise UserError(f"regions={given}: cannot read this file: {error.strerror}; {FORM}") from None
    except UnicodeDecodeError:
        raise UserError(f"regions={given} is no text in UTF-8: {FORM} into it") from None
    except yaml.YAMLError as error:
        raise UserError(f"regions={given} is no YAML: {error}; write lines name: [left, top, width, height]") from None
    if isinstance(content, dict) and isinstance(content.get("regions"), dict):
        content = content["regions"]
    if not isinstance(content, dict):
        raise UserError(f"regions={given} holds no regions: write lines name: [left, top, width, height]")
    return parse_regions(content, frame_size)


def parse_regions(given: Mapping[str, Any], frame_size: Size) -> tuple[Region, ...]:
    """Regions from {"timer": [left, top, width, height]}, for frames of `frame_size` (height, width).

    Four whole numbers are pixels. If one has a decimal point, all four are fractions of the frame's width and height,
    0 to 1; edges are rounded to the nearest pixel. Raises `UserError` for no region, a name that is no folder's, other
    than four numbers, and a region that is empty or not within the frame.

    >>> parse_regions({"timer": [0.25, 0.5, 0.25, 0.1]}, (720, 1280))
    (Region(name='timer', left=320, top=360, width=320, height=72),)
    """
    if not given:
        raise UserError(f"regions is empty: {FORM}")
    regions = tuple(_parse(str(name), place, frame_size) for name, place in given.items())
    seen: dict[str, str] = {}
    for region in regions:
        if other := seen.get(region.name.casefold()):
            raise UserError(f"regions {other} and {region.name} differ only in capitals: give one another name")
        seen[region.name.casefold()] = region.name
    return regions


def _parse(name: str, place: Any, frame_size: Size) -> Region:
    if not NAME.fullmatch(name):
        raise UserError(f"region {name!r}: a name has 1 to 64 letters, digits, _ and -, the first no -")
    four = isinstance(place, Sequence) and not isinstance(place, str) and len(place) == 4
    if not four or not all(isinstance(number, int | float) and not isinstance(number, bool) for number in place):
        raise UserError(f"region {name}: {place!r} are not four numbers: write [left, top, width, height]")
    height, width = frame_size
    shown = f"region {name}: [{', '.join(map(str, place))}]"
    if any(isinstance(number, float) for number in place):
        if not all(0 <= number <= 1 for number in place):
            raise UserError(
                f"{shown}: numbers with a point are fractions of the frame, 0 to 1; pixels are whole numbers"
            )
        x, y, w, h = place
        left, top = round(x * width), round(y * height)
        region = Region(name, left, top, round((x + w) * width) - left, round((y + h) * height) - top)
    else:
        region = Region(name, *place)
    if region.width < 1 or region.height < 1:
        raise UserError(f"{shown} has no pixels: give a width and a height of at least 1")
    if not is_within(region, frame_size):
        raise UserError(f"{shown} is not within the frame, which has {width}×{height} pixels (width×height)")
    return region


def is_within(region: Region, frame_size: Size) -> bool:
    """Whether a region lies within frames of this size (height, width)."""
    height, width = frame_size
    inside = region.left >= 0 and region.top >= 0
    return inside and region.left + region.width <= width and region.top + region.height <= height
