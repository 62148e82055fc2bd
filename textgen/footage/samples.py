"""A few frames from all of the footage."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from textgen.common.errors import UserError
from textgen.footage.frames import Frame, open_frames

STEP = 1.0  # seconds between frames where the length is not known, as of a stream


def sample_frames(
    source: str | Path, count: int, *, start: float | None = None, end: float | None = None, rate: float | None = None
) -> list[Frame]:
    """At most `count` frames of a source, evenly spread over `start` to `end` seconds, in order, each once.

    The arguments are those of `open_frames`. Of a source whose length is not known, such as a stream, they are the
    first ones, a second apart. Raises `UserError` as `open_frames` does.
    """
    with open_frames(source, start=start, end=end, rate=rate) as reader:
        seconds = None if reader.is_live else reader.seconds
        first = next(iter(reader))
        if seconds is None:
            return _first_frames(first, reader, count)
    begin, finish = first.time, min(seconds, seconds if end is None else end)
    chosen = {first.index: first}
    for k in range(1, count):
        time = begin + (finish - begin) * k / count
        try:
            with open_frames(source, start=time, end=end, rate=rate) as reader:
                frame = next(iter(reader))
        except UserError:  # a file that is cut off is shorter than it says
            break
        chosen[frame.index] = frame
    return [chosen[index] for index in sorted(chosen)]


def _first_frames(first: Frame, frames: Iterable[Frame], count: int) -> list[Frame]:
    chosen = [first]
    for frame in frames:
        if len(chosen) == count:
            break
        if frame.time >= chosen[-1].time + STEP:
            chosen.append(frame)
    return chosen
