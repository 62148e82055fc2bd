"""Read picture files by one set of rules, for crops, backgrounds and icons.

A picture is read as it is seen. Of more than 8 bits per channel the upper eight are kept. The orientation of EXIF is
applied. Palettes, CMYK and the like become RGB. Transparent parts show `GROUND`, so that no hidden colour appears. Of
an animation the first frame is read. Colour profiles are ignored.

This module is also used where foldtext is installed without its dependencies: NumPy and Pillow are enough to read.
"""

from __future__ import annotations

import hashlib
import io
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngImageFile

from textgen.common.array_types import U8
from textgen.common.errors import UserError

A = TypeVar("A")
B = TypeVar("B")
Size = tuple[int, int]  # height, width

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP")  # whatever the suffix; Pillow would run Ghostscript for EPS
MAX_PIXELS = 50_000_000  # larger pictures are refused before decoding: a small file can decode to gigabytes
MAX_FILE_BYTES = 256 << 20  # more than MAX_PIXELS take without compression
CHUNK, CHUNK_BYTES = 64, 4 << 20  # maximum images, and bytes of pixels, per thread task
GROUND = "#808080"  # behind transparent parts: neither black nor white text vanishes before it
UPRIGHT = {  # what turns a picture upright, by its orientation in EXIF
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_warnings_lock = threading.Lock()  # all threads share the filters of warnings


class Picture:
    """A picture file that is open. `size` is its height and width as it is seen."""

    def __init__(self, image: Image.Image, name: str) -> None:
        self._image, self._name = image, name
        # How the file stores samples, such as "L;4" or "RGB;16B"; known until it is decoded.
        self._samples = str(image.tile[0].args) if isinstance(image, PngImageFile) and image.tile else ""
        self._turn = UPRIGHT.get(_read_orientation(image))
        width, height = image.size
        swaps = self._turn is not None and self._turn not in (UPRIGHT[2], UPRIGHT[3], UPRIGHT[4])
        self.size: Size = (width, height) if swaps else (height, width)

    def decode_rgb(self) -> U8:
        """Decode RGB uint8 (H, W, 3), with transparent parts over `GROUND`."""
        image = self._decode()
        if image.mode == "RGBA":
            ground = Image.new("RGBA", image.size, GROUND)
            ground.alpha_composite(image)
            image = ground.convert("RGB")
        return np.asarray(image)

    def decode_rgba(self) -> U8:
        """Decode RGB and opacity, uint8 (H, W, 4)."""
        return np.asarray(self._decode().convert("RGBA"))

    def _decode(self) -> Image.Image:
        """Decode an upright image of mode RGB, or RGBA if parts of it can be transparent."""
        image = self._image
        if image.mode.startswith("I"):  # I;16, or I of older versions of Pillow: 16 bits of grey
            image = _take_upper_byte(image)
        elif "transparency" in image.info and image.mode in ("L", "RGB"):
            image.info["transparency"] = self._scale_transparent_color(image.info["transparency"])
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        return image if self._turn is None else image.transpose(self._turn)

    def _scale_transparent_color(self, color: int | tuple[int, int, int]) -> int | tuple[int, int, int]:
        """Scale the transparent colour of a PNG as Pillow has scaled the pixels."""
        if isinstance(color, int):
            return color * {"L;2": 85, "L;4": 17}.get(self._samples, 1)
        if self._samples == "RGB;16B":
            problem = "has 16 bits per channel and a transparent colour"
            raise UserError(f"{self._name} {problem}: save it with 8 bits, or with an alpha channel")
        return color


def _read_orientation(image: Image.Image) -> int:
    if isinstance(image, PngImageFile):
        image.load()  # its EXIF may stand behind the pixels
    try:
        with without_warnings():
            return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged metadata raise many types of errors, and are no reason to refuse the pixels
        return 1


def _take_upper_byte(image: Image.Image) -> Image.Image:
    """Convert 16 bits of grey to 8, with an alpha channel if one value is transparent; Pillow would clip them."""
    values = np.asarray(image)
    grey = Image.fromarray((values >> 8).astype(np.uint8))
    if "transparency" in image.info:
        grey.putalpha(Image.fromarray(np.where(values == image.info["transparency"], 0, 255).astype(np.uint8)))
    return grey


def map_in_threads(function: Callable[[A], B], items: Iterable[A]) -> Iterator[B]:
    """Yield `function(item)` in order, computed a few items ahead on all cores; for work that releases the GIL."""
    import joblib  # noqa: PLC0415

    items, cores = iter(items), joblib.cpu_count()
    with ThreadPoolExecutor(cores) as pool:
        waiting = deque(pool.submit(function, item) for item in islice(items, 2 * cores))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(function, item) for item in islice(items, 1))
            yield result


def choose_chunk_size(image_bytes: int) -> int:
    """Choose the number of images of `image_bytes` bytes that a thread takes at a time."""
    return max(1, min(CHUNK, CHUNK_BYTES // image_bytes))


def read_picture(path: str | Path, size: Size | None = None) -> U8:
    """Read a picture file as RGB uint8 (H, W, 3), scaled to `size` (height, width) if that is given.

    All commands read crops so. Raises `UserError` for a file that is not a picture in `FORMATS`, or is damaged.
    """
    with open_picture(Path(path), str(path)) as picture:
        pixels = picture.decode_rgb()
    return pixels if size is None or pixels.shape[:2] == tuple(size) else resize(pixels, size)


def inspect_picture(path: Path) -> tuple[str, Size]:
    """Return the SHA-256 of a picture file, and its height and width as it is seen."""
    data = _read(path, str(path))
    with open_picture(data, str(path)) as picture:
        return _digest(data), picture.size


def read_pixels(path: Path, size: Size, digest: str = "") -> tuple[U8, bool]:
    """Read a picture file as RGB uint8 (H, W, 3) of this size (H, W); also return whether it was resized.

    Raises `UserError` for a file that is not a picture, is damaged, or no longer has the digest `digest`.
    """
    data = _read(path, str(path))
    if digest and _digest(data) != digest:
        raise UserError(f"{path} changed while it was read: try again when nothing writes to the folder")
    with open_picture(data, str(path)) as picture:
        pixels = picture.decode_rgb()
    return (pixels, False) if pixels.shape[:2] == size else (resize(pixels, size), True)


def resize(pixels: U8, size: Size) -> U8:
    """Scale a crop (h, w, 3) to `size` (H, W), as all commands scale crops: areas are averaged where it shrinks."""
    import cv2  # noqa: PLC0415

    shrinks = pixels.shape[0] >= size[0] and pixels.shape[1] >= size[1]
    resized = cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(resized, np.uint8)


def _read(path: Path, name: str) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise UserError(f"{name} cannot be read: {error.strerror}") from None
    if len(data) > MAX_FILE_BYTES:
        raise UserError(f"{name} has more than {MAX_FILE_BYTES >> 20} MiB: save it smaller")
    return data


@contextmanager
def open_picture(
    source: Path | bytes, name: str, formats: tuple[str, ...] = FORMATS, max_pixels: int = MAX_PIXELS
) -> Iterator[Picture]:
    """Open a picture of one of `formats` with at most `max_pixels` pixels, a file or its content.

    All errors while it is open, those of decoders included, are raised as `UserError`s that begin with `name`.
    """
    data = _read(source, name) if isinstance(source, Path) else source
    try:
        with without_warnings():
            image = Image.open(io.BytesIO(data), formats=formats)
        with image:
            if image.width * image.height > max_pixels:
                raise UserError(
                    f"{name} has {image.height}×{image.width} pixels, more than {max_pixels:,}: scale it down"
                )
            yield Picture(image, name)
    except UserError:
        raise
    except Image.DecompressionBombError:
        raise UserError(f"{name} has more than {max_pixels:,} pixels: scale it down") from None
    except UnidentifiedImageError:
        raise UserError(
            f"{name} is not a picture in {', '.join(formats)}: save it as one of these, or remove it"
        ) from None
    except Exception as error:  # decoders raise many types of errors for damaged files
        raise UserError(f"{name} cannot be read as a picture: {error}; remove it or save it again") from None


@contextmanager
def without_warnings() -> Iterator[None]:
    """Suppress the warnings of Pillow about metadata and about large sizes, which `MAX_PIXELS` limits."""
    with _warnings_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
