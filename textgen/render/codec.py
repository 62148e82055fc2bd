"""JPEG through OpenCV and H.264 through PyAV: what real streams are made of."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from textgen.common.arrays import U8
from textgen.common.errors import UserError

MACROBLOCK = 16


def jpeg(images: U8, qualities: NDArray[np.int64]) -> None:
    """Compress and read again in place: uint8 (n, H, W, 3) at `qualities` (n,) from 1 to 100; 0 leaves one as it is."""
    settings = [cv2.IMWRITE_JPEG_QUALITY, 0, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]
    for k in np.flatnonzero(qualities).tolist():
        settings[1] = int(qualities[k])
        # OpenCV takes BGR for its colours: read backwards, and the codec sees them as they are.
        done, data = cv2.imencode(".jpg", images[k][:, :, ::-1], settings)
        assert done
        images[k] = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[:, :, ::-1]


def h264(frames: U8, crf: int, preset: str, corner: Sequence[int] | NDArray[np.int64]) -> U8:
    """The last of `frames` uint8 (k, H, W, 3) as x264 sends it, 4:2:0, at the quality `crf`: uint8 (H, W, 3).

    `corner` (y, x) is where in a macroblock of 16×16 the crop's corner lies. Some milliseconds: an encoder and a
    decoder are opened for every crop, so that it depends on no other. Raises `UserError` where PyAV is not installed.
    """
    av = _pyav()
    (_, height, width, _), (y, x) = frames.shape, (int(value) for value in corner)
    below, right = -(y + height) % MACROBLOCK, -(x + width) % MACROBLOCK
    padded = np.pad(frames, ((0, 0), (y, below), (x, right), (0, 0)), "edge")
    encoder = av.CodecContext.create("libx264", "w")
    encoder.height, encoder.width, encoder.pix_fmt = padded.shape[1], padded.shape[2], "yuv420p"
    encoder.time_base, encoder.thread_count = Fraction(1, 30), 1  # one thread: the same bits every time
    encoder.options = {"crf": str(crf), "preset": preset, "tune": "zerolatency"}
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    pictures = [av.VideoFrame.from_ndarray(frame, "rgb24").reformat(format="yuv420p") for frame in padded]
    packets = [packet for picture in [*pictures, None] for packet in encoder.encode(picture)]
    shown = [picture for packet in [*packets, None] for picture in decoder.decode(packet)]
    out: U8 = shown[-1].to_ndarray(format="rgb24")[y : y + height, x : x + width]
    return out


@cache
def _pyav() -> Any:
    try:
        import av  # noqa: PLC0415
    except ImportError:
        raise UserError("augment.h264 needs PyAV: pip install 'foldtext[video]', or another augment") from None
    av.logging.set_level(av.logging.ERROR)
    return av


def check_h264() -> None:
    """Raise `UserError` where `h264` cannot work."""
    _pyav()
