"""Short videos for tests, written with PyAV."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from textgen.common.array_types import U8

SIZE = (96, 160)  # height, width


def numbered(index: int, size: tuple[int, int] = SIZE) -> U8:
    """A frame that shows its index in eight squares, black or white, 16 pixels each, on a colour that moves."""
    height, width = size
    frame = np.zeros((height, width, 3), np.uint8)
    frame[:] = (40, 90 + index % 50, 160)
    for bit in range(8):
        frame[32:48, 16 + 16 * bit : 32 + 16 * bit] = 255 if index >> bit & 1 else 0
    return frame


def read_number(frame: U8) -> int:
    """The index that a frame of `numbered` shows."""
    return sum((frame[40, 24 + 16 * bit].mean() > 128) << bit for bit in range(8))


def write_video(
    path: Path,
    frames: Sequence[U8],
    *,
    codec: str = "libx264",
    pts: Sequence[int] | None = None,
    rate: int = 25,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    **context: Any,
) -> Path:
    """Encode RGB frames. `pts` are time stamps in 1/1000 s, `context` attributes of the encoder."""
    height, width = frames[0].shape[:2]
    with av.open(path, "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, context.pop("pix_fmt", "yuv420p")
        if pts is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        stream.codec_context.thread_count = 1
        for name, value in context.items():
            setattr(stream.codec_context, name, value)
        for index, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, "rgb24").reformat(
                format=stream.pix_fmt,
                dst_colorspace=context.get("colorspace"),
                dst_color_range=context.get("color_range"),
            )
            picture.pts, picture.time_base = (
                (index, Fraction(1, rate)) if pts is None else (pts[index], Fraction(1, 1000))
            )
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def colorful(rng: np.random.Generator, size: tuple[int, int] = SIZE) -> U8:
    """Smooth random colours over the whole range."""
    small = rng.integers(0, 256, (size[0] // 16, size[1] // 16, 3), np.uint8)
    return np.asarray(cv2.resize(small, size[::-1], interpolation=cv2.INTER_CUBIC), np.uint8)
