"""The settings of a task on the frames of a video: conf/task/*.yaml with `kind: video`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StrictBool, StrictInt
from pydantic.dataclasses import dataclass

from textgen.common.validation import Positive

CLASSES = ("absent", "present")
MAX_SIDE = 1024  # of a prepared frame
FRAME_SPLITS = ("train", "val", "test")
_STRICT = ConfigDict(extra="forbid")
Chunks = Annotated[tuple[Positive, ...], Field(min_length=1)]


@dataclass(frozen=True, config=_STRICT)
class Columns:
    """The columns of a label table. Without `object` every row counts, without `confidence` every row is certain."""

    frame: str = "frame"
    object: str | None = "object_name"
    confidence: str | None = "confidence"


@dataclass(frozen=True, config=_STRICT)
class Split:
    """Of `chunks` contiguous parts of the video as equal as possible, counted from 1, which ones are for what."""

    chunks: Annotated[StrictInt, Field(ge=3, le=100_000)]
    train: Chunks
    val: Chunks
    test: Chunks

    def __post_init__(self) -> None:
        given = [*self.train, *self.val, *self.test]
        if max(given) > self.chunks:
            raise ValueError(f"there is no chunk {max(given)}: they are 1 to {self.chunks}")
        if len(set(given)) < len(given):
            twice = next(chunk for chunk in given if given.count(chunk) > 1)
            raise ValueError(f"chunk {twice} is given twice: each is for one of train, val and test")


@dataclass(frozen=True, config=_STRICT)
class FrameTask:
    """Whether an `object` is in a frame of a video (paper, App. A.2).

    Of a frame the `region` is taken, [left, top, width, height] in pixels or in fractions of the frame, and scaled to
    `size` (H, W). The video is divided by `split`; `range` are the first frame and the one after
    the last that belong to it, null for the whole video as it is decoded. Of the frames every `step`-th is taken. A row
    of the label table counts from the confidence `threshold` on. With `window` frames, a frame has the object if at
    least half of the frames around it have it by the table. `subtract_mean` subtracts the mean training frame.
    `network`, a file of conf/network, is the network that is trained; the data set does not depend on it.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    object: Annotated[str, Field(min_length=1)]
    split: Split
    kind: Literal["video"] = "video"
    network: str = "coral"
    size: Annotated[tuple[Annotated[StrictInt, Field(ge=1, le=MAX_SIDE)], ...], Field(min_length=2, max_length=2)] = (
        50,
        50,
    )
    region: Annotated[tuple[StrictInt | float, ...], Field(min_length=4, max_length=4)] | None = None
    range: Annotated[tuple[Annotated[StrictInt, Field(ge=0)], ...], Field(min_length=2, max_length=2)] | None = None
    step: Positive = 1
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.0
    window: Positive = 1
    subtract_mean: StrictBool = False
    columns: Columns = Columns()

    @property
    def classes(self) -> tuple[str, str]:
        """The names of the classes."""
        return CLASSES

    def __post_init__(self) -> None:
        if self.range and self.range[0] >= self.range[1]:
            raise ValueError(f"range: the first frame, {self.range[0]}, is not before the end, {self.range[1]}")
