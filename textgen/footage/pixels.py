"""The pixels of a frame, of which any rectangle is converted to RGB by itself."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from textgen.common.array_types import U8
from textgen.kernels.yuv import convert_yuv_region

# The weights of red and blue in luma, by the number of a colour space in ITU-T H.273. Without one, BT.601, as swscale.
WEIGHTS = {1: (0.2126, 0.0722), 4: (0.30, 0.11), 7: (0.212, 0.087), 9: (0.2627, 0.0593), 10: (0.2627, 0.0593)}
BT601 = (0.299, 0.114)
FULL_RANGE = 2  # `color_range` of a frame whose black is 0 and white 255
# Formats that are converted here, with the binary logarithms of their chroma's steps across and down.
PLANAR = {
    **dict.fromkeys(("yuv420p", "yuvj420p"), (1, 1)),
    **dict.fromkeys(("yuv422p", "yuvj422p"), (1, 0)),
    **dict.fromkeys(("yuv444p", "yuvj444p"), (0, 0)),
}
INTERLEAVED = {"nv12": (0, 1), "nv21": (1, 0)}  # 4:2:0 with U and V in one plane; where U and V begin


class Pixels(Protocol):
    """The pixels of one frame."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""

    def crop(self, left: int, top: int, width: int, height: int) -> U8:
        """A rectangle within the frame as RGB uint8 (height, width, 3), which is the caller's."""


class RgbPixels:
    """A frame that is an array already, RGB uint8 (H, W, 3)."""

    def __init__(self, array: U8) -> None:
        self._array = array
        self.size = (array.shape[0], array.shape[1])

    def crop(self, left: int, top: int, width: int, height: int) -> U8:
        return self._array[top : top + height, left : left + width].copy()


class DecodedPixels:
    """A frame of PyAV. Of YUV with 8 bits only the rectangle is converted; other formats are converted whole, once."""

    def __init__(self, frame: Any) -> None:
        self._frame = frame
        self.size = (int(frame.height), int(frame.width))
        self._planes: tuple[U8, U8, U8, NDArray[np.int64], NDArray[np.int64]] | None = None
        self._rgb: U8 | None = None

    def crop(self, left: int, top: int, width: int, height: int) -> U8:
        if self._planes is None and self._rgb is None:
            self._prepare()
        if self._planes is None:
            assert self._rgb is not None
            return self._rgb[top : top + height, left : left + width].copy()
        out = np.empty((height, width, 3), np.uint8)
        convert_yuv_region(*self._planes, left, top, out)
        return out

    def _prepare(self) -> None:
        name, planes = self._frame.format.name, self._frame.planes
        if (name not in PLANAR and name not in INTERLEAVED) or any(plane.line_size <= 0 for plane in planes):
            self._rgb = self._frame.to_ndarray(format="rgb24")
            return
        rows = [np.frombuffer(plane, np.uint8) for plane in planes]
        y, u, *v = [row.reshape(-1, plane.line_size) for row, plane in zip(rows, planes, strict=True)]
        if name in INTERLEAVED:
            layout = np.array([1, 1, 2, *INTERLEAVED[name]], np.int64)
        else:
            layout = np.array([*PLANAR[name], 1, 0, 0], np.int64)
        full = name.startswith("yuvj") or int(self._frame.color_range) == FULL_RANGE
        self._planes = (y, u, v[0] if v else u, layout, conversion_factors(int(self._frame.colorspace), full))


def conversion_factors(colorspace: int, full_range: bool) -> NDArray[np.int64]:
    """The `factors` of `convert_yuv_region` for a colour space's number in ITU-T H.273 and a range.

    >>> conversion_factors(1, full_range=False).tolist()
    [16, 76309, 117489, -13975, -34925, 138438]
    """
    red, blue = WEIGHTS.get(colorspace, BT601)
    green = 1 - red - blue
    chroma = 1.0 if full_range else 255 / 224
    v_red, u_blue = 2 * (1 - red) * chroma, 2 * (1 - blue) * chroma
    values = [1.0 if full_range else 255 / 219, v_red, -u_blue * blue / green, -v_red * red / green, u_blue]
    return np.array([0 if full_range else 16, *(round(value * 65536) for value in values)], np.int64)
