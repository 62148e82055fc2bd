"""Write a video file with H.264, frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

from textgen.common.array_types import U8
from textgen.common.atomic import OTHER_OUT, atomic_path
from textgen.common.errors import UserError
from textgen.common.pyav import import_pyav

THREADS = 2  # of the encoder: a fixed number, so that the bytes do not depend on the machine's
KEYFRAMES = 60  # frames from one that is complete to the next, at most
SUFFIXES = (".mp4", ".mkv", ".mov")


class VideoWriter:
    """A video file that is being written; see `open_video_writer`."""

    def __init__(self, container: Any, stream: Any, size: tuple[int, int]):
        self._container, self._stream, self._size = container, stream, size
        self._last = -1

    def write(self, frame: U8, time: Fraction | float | None = None) -> None:
        """Add a frame, RGB uint8 (H, W, 3), that is shown from `time` in seconds; None: one frame after the last."""
        if frame.shape != (*self._size, 3):
            raise ValueError(f"frames are uint8 ({self._size[0]}, {self._size[1]}, 3), not {frame.shape}")
        import av  # noqa: PLC0415, known to be here

        picture = av.VideoFrame.from_ndarray(frame, "rgb24").reformat(format="yuv420p")
        base = self._stream.codec_context.time_base
        at = self._last + 1 if time is None else max(round(time / base), self._last + 1)
        picture.pts, picture.time_base, self._last = at, base, at
        self._container.mux(self._stream.encode(picture))

    def finish(self) -> None:
        """Write what the encoder still holds."""
        self._container.mux(self._stream.encode(None))


@contextmanager
def open_video_writer(
    path: Path, size: tuple[int, int], rate: Fraction, *, crf: int = 23, preset: str = "veryfast", steps: int = 1
) -> Iterator[VideoWriter]:
    """Write H.264, 4:2:0, of frames of `size` (H, W), both even, `rate` a second; `path` appears when it is complete.

    `crf` and `preset` are x264's quality, 0 to 51, and its effort. Times are in `steps` to a frame. The same frames and
    library versions give the same bytes. Raises `UserError` without PyAV, for an odd size, for a suffix that is not in
    `SUFFIXES`, and for a place that cannot be written.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"{path} has the suffix {path.suffix!r}: a video file ends in {', '.join(SUFFIXES)}")
    if size[0] % 2 or size[1] % 2:
        raise UserError(f"H.264 takes frames of even width and height, not {size[1]}×{size[0]}: give even numbers")
    av = import_pyav("H.264 needs PyAV: pip install 'foldtext[video]'")
    with atomic_path(path, OTHER_OUT) as temporary, av.open(str(temporary), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.height, stream.width, stream.pix_fmt = size[0], size[1], "yuv420p"
        stream.codec_context.time_base, stream.codec_context.gop_size = 1 / (rate * steps), KEYFRAMES
        stream.codec_context.thread_count = THREADS
        stream.options = {"crf": str(crf), "preset": preset}
        writer = VideoWriter(container, stream, size)
        yield writer
        writer.finish()
