"""Frames of footage one after the other: a video file, a stream, a camera, a folder or a sequence of pictures.

Memory stays the same however long the footage is, as long as the caller does not keep the frames.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from textgen.common.array_types import U8
from textgen.common.errors import UserError
from textgen.common.pictures import MAX_PIXELS, SUFFIXES
from textgen.footage.pixels import Pixels
from textgen.footage.regions import Region, is_within

PICTURE_RATE = 30.0  # frames a second of pictures, which have no times
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


@dataclass(frozen=True)
class Frame:
    """A frame. `index` is its position in the footage, from 0, and `time` its seconds after the first frame."""

    index: int
    time: float
    pixels: Pixels = field(repr=False)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.pixels.size

    def crop(self, region: Region) -> U8:
        """The pixels of a region, RGB uint8 (h, w, 3). Raises `UserError` for a region that is not within the frame."""
        if not is_within(region, self.size):
            height, width = self.size
            raise UserError(f"region {region.name} is not within the frame, which has {width}×{height} pixels")
        return self.pixels.crop(region.left, region.top, region.width, region.height)

    def rgb(self) -> U8:
        """The whole frame, RGB uint8 (H, W, 3)."""
        return self.pixels.crop(0, 0, self.size[1], self.size[0])


class Footage(ABC):
    """Opened footage, which `FrameReader` reads."""

    name: str  # in messages
    frame_rate: float | None = None  # frames a second, if the source declares or has one
    frames: int | None = None  # how many there are, if that is known
    seconds: float | None = None  # how long it is, likewise
    is_live: bool = False  # whether it ends when the user ends it: a stream or a camera
    problem: str | None = None  # what was wrong with the footage, after the last frame

    @abstractmethod
    def read(self, start: float | None) -> Iterator[Frame]:
        """All frames in order, or those from about `start` seconds on: earlier ones may come, too."""

    @abstractmethod
    def close(self) -> None:
        """End reading."""


class FrameReader:
    """The chosen frames of footage. It can be iterated once.

    `size` is the height and width of all frames. `frame_rate`, `frames` and `seconds` are what the source declares, the
    latter two for the whole of it; None where it declares nothing. `problem` is None, or one line
    that says what was wrong, such as a file that is cut off: it is set when the iteration has ended.
    """

    def __init__(self, footage: Footage, start: float | None, end: float | None, every: int) -> None:
        """Reads the first frame. Raises `UserError` if there is none."""
        self.name, self.frame_rate, self.frames = footage.name, footage.frame_rate, footage.frames
        self.is_live, self.seconds = footage.is_live, footage.seconds
        self._footage, self._chosen = footage, self._choose(start, end, every)
        first = next(self._chosen, None)
        if first is None:
            raise UserError(self._why_empty(start, end, every))
        self.size = first.size
        self._first: Frame | None = first

    @property
    def problem(self) -> str | None:
        return self._footage.problem

    def __iter__(self) -> Iterator[Frame]:
        if self._first is not None:
            first, self._first = self._first, None
            yield first
            del first  # a frame that is kept is memory
        yield from self._chosen

    def _choose(self, start: float | None, end: float | None, every: int) -> Iterator[Frame]:
        size: tuple[int, int] | None = None
        self._last_time: float | None = None
        for frame in self._footage.read(start):
            self._last_time = frame.time
            if size is None:
                size = _check_size(frame, self.name)
            if frame.size != size:
                (height, width), (now_height, now_width) = size, frame.size
                raise UserError(
                    f"{self.name}: frame {frame.index} ({frame.time:.2f} s) has {now_width}×{now_height} pixels, those "
                    f"before {width}×{height}: regions would show another place; choose a part with start= and end="
                )
            if end is not None and frame.time >= end:
                return
            if (start is None or frame.time >= start) and frame.index % every == 0:
                yield frame

    def _why_empty(self, start: float | None, end: float | None, every: int) -> str:
        if self._last_time is None:
            return f"{self.name} has no frame that can be decoded: " + (self.problem or "give another video")
        if start is not None and self._last_time < start:
            return f"start={start:g} is after the last frame of {self.name}, at {self._last_time:.2f} s"
        return f"no frame of {self.name} is chosen: change start={start}, end={end} or every={every}"


@contextmanager
def open_frames(
    source: str | Path,
    *,
    start: float | None = None,
    end: float | None = None,
    every: int = 1,
    rate: float | None = None,
) -> Iterator[FrameReader]:
    """Open footage and choose frames: those at `start` <= time < `end` seconds whose index is a multiple of `every`.

    `source` is a video file, a URL, the number of a camera ("0"), a picture, a folder of pictures (in the order of the
    numbers in their names), or a pattern such as "shot_%05d.png". Times are the time stamps of the video, counted from
    its first frame; pictures have `rate` frames a second (30). A local file is decoded from the key frame before
    `start` on; other sources from the beginning. Rotation in the metadata of a video is not applied.

    Raises `UserError` for a source that does not exist or is no footage, for PyAV that is not installed, for a frame of
    another size than the first (during the iteration), and if no frame is chosen. For a file that is cut off the frames
    before are given, and `problem` tells.
    """
    if every < 1:
        raise UserError(f"every={every}: give 1 for all frames, or a larger whole number")
    if start is not None and end is not None and end <= start:
        raise UserError(f"end={end:g} is not after start={start:g}")
    footage = open_footage(source, rate)
    try:
        yield FrameReader(footage, start, end, every)
    finally:
        footage.close()


def open_footage(source: str | Path, rate: float | None) -> Footage:
    """Open a source of `open_frames`, by its form: each kind is imported when it is needed."""
    text = str(source)
    if text.isascii() and text.isdigit():
        from textgen.footage.camera import CameraFootage  # noqa: PLC0415

        return CameraFootage(int(text))
    if URL.match(text):
        from textgen.footage.video import VideoFootage  # noqa: PLC0415

        return VideoFootage(text, is_url=True)
    from textgen.footage.picture_files import PictureFootage, find_pattern, find_pictures  # noqa: PLC0415

    path = Path(text).expanduser()
    if "%" in path.name and not path.exists():
        return PictureFootage(text, find_pattern(path), rate or PICTURE_RATE)
    if path.is_dir():
        return PictureFootage(text, find_pictures(path), rate or PICTURE_RATE)
    if not path.exists():
        raise UserError(
            f"there is no {path} (current folder: {Path.cwd()}): give a video, a folder of pictures or a URL"
        )
    if path.suffix.lower() in SUFFIXES:
        return PictureFootage(text, [path], rate or PICTURE_RATE)
    from textgen.footage.video import VideoFootage  # noqa: PLC0415

    return VideoFootage(str(path), is_url=False)


def _check_size(frame: Frame, name: str) -> tuple[int, int]:
    height, width = frame.size
    if height * width > MAX_PIXELS:
        raise UserError(f"{name} has frames of {width}×{height} pixels, more than {MAX_PIXELS:,}: scale it down")
    return frame.size
