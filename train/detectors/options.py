"""What a detector is given beside its name, as every command that runs detectors takes it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field, StrictInt
from pydantic import dataclasses as checked

from textgen.common.errors import UserError
from textgen.common.validation import UserPath
from textgen.footage.regions import Region, parse_regions
from train.detectors.detection import Channels, Detector, Pixels
from train.detectors.load import load_detector

MAX_NAMES = 1 << 20  # bytes of a file of names
Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1)]
Side = Annotated[StrictInt, Field(ge=32, le=8192)]


@checked.dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class DetectorOptions:
    """None leaves a choice to the detector.

    Objects count if the centre of their box is in the `region` (left, top, width, height), in pixels or fractions of
    the frame. `names` are those of the classes 0, 1, …, or a text file with one in each line. The others are those of
    `load_detector`.
    """

    region: Annotated[tuple[StrictInt | float, ...], Field(min_length=4, max_length=4)] | None = None
    overlap: Share | None = None
    names: tuple[Name, ...] | UserPath | None = None
    size: Annotated[tuple[Side, ...], Field(min_length=2, max_length=2)] | None = None
    pixels: Pixels | None = None
    channels: Channels | None = None

    def load(self, text: str, *, threads: int, confidence: float) -> Detector:
        """The detector that `text` names, see `load_detector`. Raises `UserError`."""
        return load_detector(
            text,
            threads=threads,
            confidence=confidence,
            overlap=self.overlap,
            size=None if self.size is None else (self.size[0], self.size[1]),
            names=_read_names(self.names) if isinstance(self.names, Path) else self.names,
            pixels=self.pixels,
            channels=self.channels,
        )

    def find_region(self, size: tuple[int, int]) -> Region | None:
        """The region in frames of `size` (H, W). Raises `UserError` for one that is not within them."""
        return None if self.region is None else parse_regions({"region": self.region}, size)[0]


def _read_names(path: Path) -> tuple[str, ...]:
    """The lines of a text file: the names of classes 0, 1, …"""
    try:
        if path.stat().st_size > MAX_NAMES:
            raise UserError(f"names={path} has more than {MAX_NAMES:,} bytes: give a name in each line")
        names = tuple(line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines())
    except OSError as error:
        raise UserError(f"names={path} cannot be read: {error.strerror}; give a list, or a file of names") from None
    except UnicodeDecodeError:
        raise UserError(f"names={path} is no text in UTF-8: give a name in each line") from None
    while names and not names[-1]:
        names = names[:-1]
    if not names or not all(names):
        raise UserError(f"names={path} has an empty line: give a name in each line")
    return names
