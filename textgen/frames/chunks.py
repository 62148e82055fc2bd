"""The frames of a video task: contiguous chunks, which of them are for what, and every how many-th frame is taken."""

from __future__ import annotations

from dataclasses import dataclass

from textgen.frames.settings import FRAME_SPLITS, FrameTask


@dataclass(frozen=True)
class Chunk:
    """Frames `first` to `last` - 1 of the video, chunk `number` (from 1), for a `split`."""

    split: str
    number: int
    first: int
    last: int

    def takes(self, frame: int, step: int) -> bool:
        """Whether the frame is in the chunk, and is taken with this `step`."""
        return self.first <= frame < self.last and frame % step == 0

    def count(self, step: int) -> int:
        """How many frames are taken with this `step`."""
        return -(-self.last // step) - -(-self.first // step)


def list_chunks(task: FrameTask, frames: int) -> list[Chunk]:
    """The chunks of the splits in order of time, for a video of `frames` frames.

    Chunk k of n begins at frame ⌊(k - 1)·N / n⌋ of the N frames of the task's range, so that lengths differ by one
    frame at most.
    """
    first, last = task.range or (0, frames)
    last = min(last, frames)
    count, total = task.split.chunks, max(last - first, 0)
    chunks = [
        Chunk(split, number, first + (number - 1) * total // count, first + number * total // count)
        for split in FRAME_SPLITS
        for number in getattr(task.split, split)
    ]
    return sorted(chunks, key=lambda chunk: chunk.first)
