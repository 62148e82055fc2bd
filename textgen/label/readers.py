"""What reads crops: an OCR engine or a network behind one interface, found by its name.

Readers are entry points of the group `foldtext.readers`: functions that take `ReaderSettings` and return a `Reader`. So
`train` and other distributions add readers that this package does not know.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import NamedTuple, Protocol

from textgen.common.array_types import U8
from textgen.common.errors import UserError
from textgen.spec.parser import Spec

GROUP = "foldtext.readers"


class Reading(NamedTuple):
    """What a reader found in a crop.

    Attributes:
        text: the whole text, empty if the crop shows none; None from a reader that knows classes and no texts.
        confidence: the probability, from 0 to 1, that this is right.
        label: the class, from a reader that knows classes, such as a network.
    """

    text: str | None
    confidence: float
    label: str | None = None


class Reader(Protocol):
    """A reader of one game's crops."""

    name: str  # names the engine, its version and settings: readings are kept under it

    def read(self, crops: Sequence[U8]) -> list[Reading]:
        """Read crops, RGB uint8 (h, w, 3), each of any size."""
        ...


@dataclass(frozen=True)
class ReaderSettings:
    """What a reader may need: the spec of the game's texts, processor threads, and the run of a network."""

    spec: Spec
    threads: int = 1
    run: Path | None = None


def find_readers() -> list[str]:
    """The names of all readers that are installed."""
    return sorted({entry.name for entry in entry_points(group=GROUP)})


def make_reader(name: str, settings: ReaderSettings) -> Reader:
    """Return the reader `name`. Raises `UserError` if there is none, or if its engine is not installed."""
    for entry in entry_points(group=GROUP, name=name):
        reader: Reader = entry.load()(settings)
        return reader
    raise UserError(f"reader={name}: there is no such reader; known are {', '.join([*find_readers(), 'file'])}")


def refuse_run(name: str, settings: ReaderSettings) -> None:
    """Raise `UserError` if a run is given to a reader that is no network."""
    if settings.run is not None:
        raise UserError(f"run={settings.run}: reader={name} takes no run; give reader=network, or leave run out")
