"""JPEG compression with OpenCV and H.264 compression with PyAV."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import cv2
import numpy as np
from numpy.typing import NDArray

from textgen.common.array_types import U8
from textgen.common.pyav import import_pyav

MACROBLOCK = 16
NEEDS_PYAV = "augment.h264 needs PyAV: pip install 'foldtext[video]', or another augment"


def apply_jpeg(images: U8, qualities: NDArray[np.int64]) -> None:
    """Compress and decompress images uint8 (n, H, W, 3) in place, at `qualities` (n,) 1 to 100; 0 skips an image."""
    settings = [cv2.IMWRITE_JPEG_QUALITY, 0, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]
    for k in np.flatnonzero(qualities).tolist():
        settings[1] = int(qualities[k])
        # OpenCV expects BGR.
        done, data = cv2.imencode(".jpg", images[k][:, :, ::-1], settings)
        assert done
        images[k] = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[:, :, ::-1]


def apply_h264(frames: U8, crf: int, preset: str, corner: Sequence[int] | NDArray[np.int64]) -> U8:
    """Encode `frames` uint8 (k, H, W, 3) with x264, 4:2:0, and return the last as decoded, uint8 (H, W, 3).

    `crf` is the quality, 0 to 51; `corner` the row and column of the crop's corner in a macroblock of 16×16. Takes some
    milliseconds: every crop has its own encoder and decoder, so that it depends on no other crop. Raises `UserError`
    if PyAV is not installed.
    """
    av = import_pyav(NEEDS_PYAV)
    (_, height, width, _), (y, x) = frames.shape, (int(value) for value in corner)
    below, right = -(y + height) % MACROBLOCK, -(x + width) % MACROBLOCK
    padded = np.pad(frames, ((0, 0), (y, below), (x, right), (0, 0)), "edge")
    encoder = av.CodecContext.create("libx264", "w")
    encoder.height, encoder.width, encoder.pix_fmt = padded.shape[1], padded.shape[2], "yuv420p"
    encoder.time_base, encoder.thread_count = Fraction(1, 30), 1  # with one thread, bits are reproducible
    encoder.options = {"crf": str(crf), "preset": preset, "tune": "zerolatency"}
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    pictures = [av.VideoFrame.from_ndarray(frame, "rgb24").reformat(format="yuv420p") for frame in padded]
    packets = [packet for picture in [*pictures, None] for packet in encoder.encode(picture)]
    decoded = [picture for packet in [*packets, None] for picture in decoder.decode(packet)]
    out: U8 = decoded[-1].to_ndarray(format="rgb24")[y : y + height, x : x + width]
    return out


def check_h264() -> None:
    """Raise `UserError` if `apply_h264` cannot work."""
    import_pyav(NEEDS_PYAV)
