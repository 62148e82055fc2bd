"""The games of games.yaml, their clips, and the labels of a clip's counters."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml

from textgen.common.array_types import U8
from textgen.common.errors import UserError
from textgen.footage.frames import open_frames
from textgen.footage.regions import parse_regions
from textgen.spec import OTHER, Spec

GAMES = Path(__file__).with_name("games.yaml")
FULL_WIDTH = str.maketrans("：０１２３４５６７８９", ":0123456789")  # engines for Chinese read them for the usual ones


@dataclass(frozen=True)
class Counter:
    """A counter of a game: what it shows and where.

    `region` is left, top, width and height in pixels of the frame. `label` is the field that a network reads.
    """

    name: str
    region: tuple[int, int, int, int]
    spec: str
    label: str
    fields: Mapping[str, object] = field(default_factory=dict)

    def parse(self) -> Spec:
        """The spec, which finds the class of a text."""
        return Spec.parse(self.spec, label=self.label, fields=self.fields)


@dataclass(frozen=True)
class Game:
    """A game, its clips and its counters. Choices are made on the first clip; the others are for checks alone."""

    name: str
    clips: tuple[str, ...]
    counters: tuple[Counter, ...]


@dataclass(frozen=True)
class Correction:
    """The text that the frames from `first` to `last`, both included, show."""

    first: int
    last: int
    text: str


def read_games(path: Path = GAMES) -> tuple[Game, ...]:
    """The games that a file describes.

    Raises `UserError` for a clip or a counter that stands there twice.
    """
    games = []
    clips: set[str] = set()
    for name, entry in yaml.safe_load(path.read_text("utf-8")).items():
        counters = tuple(
            Counter(counter, **{**given, "region": tuple(given["region"])})
            for counter, given in entry["counters"].items()
        )
        if twice := clips & set(entry["clips"]):
            raise UserError(f"{path.name}: {', '.join(sorted(twice))} belongs to two games")
        clips |= set(entry["clips"])
        games.append(Game(name, tuple(entry["clips"]), counters))
    return tuple(games)


def find_clip(clip: str, games: tuple[Game, ...]) -> Game:
    """The game of a clip. Raises `UserError` for an unknown clip."""
    for game in games:
        if clip in game.clips:
            return game
    known = ", ".join(name for game in games for name in game.clips)
    raise UserError(f"no such clip: {clip}; expected one of {known}")


def read_crops(clip: Path, counter: Counter, *, every: int = 1) -> dict[int, U8]:
    """The crops of a counter, RGB uint8 (h, w, 3), of the frames whose number is a multiple of `every`."""
    with open_frames(clip, every=every) as frames:
        (region,) = parse_regions({counter.name: list(counter.region)}, frames.size)
        return {frame.index: np.ascontiguousarray(frame.crop(region)) for frame in frames}


def read_texts(path: Path) -> dict[int, str]:
    """The texts of a CSV file with the columns frame and text."""
    with path.open(newline="", encoding="utf-8") as file:
        return {int(row["frame"]): row["text"] for row in csv.DictReader(file)}


def write_texts(path: Path, texts: Mapping[int, str]) -> None:
    """Write the texts of frames as such a file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("frame", "text"))
        writer.writerows(sorted(texts.items()))


def read_corrections(path: Path) -> list[Correction]:
    """The corrections of a CSV file with the columns first, last and text; none if there is no file.

    Raises `UserError` for a line with the last frame before the first.
    """
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        corrections = [Correction(int(row["first"]), int(row["last"]), row["text"]) for row in csv.DictReader(file)]
    for correction in corrections:
        if correction.last < correction.first:
            raise UserError(f"{path}: frames {correction.first} to {correction.last}: the last stands before the first")
    return corrections


def correct(texts: Mapping[int, str], corrections: list[Correction]) -> dict[int, str]:
    """The texts with the corrections applied in their order."""
    corrected = dict(texts)
    for correction in corrections:
        for frame in corrected:
            if correction.first <= frame <= correction.last:
                corrected[frame] = correction.text
    return corrected


def clean(text: str) -> str:
    """A text without spaces, and with digits and colons as a spec writes them."""
    return "".join(text.translate(FULL_WIDTH).split())


def find_doubtful(texts: Mapping[int, str], spec: Spec) -> list[int]:
    """Frames whose text the counter cannot show, or differs from that of both neighbours while these agree."""
    frames = sorted(texts)
    doubtful = []
    for at, frame in enumerate(frames):
        text = texts[frame]
        around = {texts[frames[other]] for other in (at - 1, at + 1) if 0 <= other < len(frames)}
        lone = 0 < at < len(frames) - 1 and len(around) == 1 and text not in around
        if lone or (text and spec.answer_of(text) == OTHER):
            doubtful.append(frame)
    return doubtful
