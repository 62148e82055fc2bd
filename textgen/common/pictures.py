"""Read the user's picture files: few formats, bounded sizes, errors that name the file."""

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

import cv2
import joblib
import numpy as np
from PIL import Image, UnidentifiedImageError

from textgen.common.array_types import U8
from textgen.common.errors import UserError

A = TypeVar("A")
B = TypeVar("B")
Size = tuple[int, int]  # height, width

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP")  # whatever the suffix; Pillow would run Ghostscript for EPS
MAX_PIXELS = 50_000_000  # larger pictures are refused before decoding: a small file can decode to gigabytes
MAX_FILE_BYTES = 64 << 20
CHUNK, CHUNK_BYTES = 64, 4 << 20  # maximum images, and bytes of pixels, per thread task
DEEP_MODES = ("I", "F")  # more than 8 bits per channel, which Pillow would clip instead of scaling
_warnings_lock = threading.Lock()  # all threads share the filters of warnings


def map_in_threads(function: Callable[[A], B], items: Iterable[A]) -> Iterator[B]:
    """Yield `function(item)` in order, computed a few items ahead on all cores; for work that releases the GIL."""
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


def inspect_picture(path: Path) -> tuple[str, Size]:
    """Return the SHA-256 of a picture file and its height and width; nothing is decoded."""
    data = _read(path)
    with open_picture(io.BytesIO(data), str(path)) as image:
        return _digest(data), (image.height, image.width)


def read_pixels(path: Path, size: Size, digest: str = "") -> tuple[U8, bool]:
    """Read a picture file as RGB uint8 (H, W, 3) of this size (H, W); also return whether it was resized.

    Raises `UserError` for a file that is not a picture, is damaged, or no longer has the digest `digest`.
    """
    data = _read(path)
    if digest and _digest(data) != digest:
        raise UserError(f"{path} changed while it was read: try again when nothing writes to the folder")
    with open_picture(io.BytesIO(data), str(path)) as image:
        if image.mode.partition(";")[0] in DEEP_MODES:
            raise UserError(f"{path} has more than 8 bits per channel (mode {image.mode}): save it with 8")
        pixels = np.asarray(image.convert("RGB"))
    height, width = pixels.shape[:2]
    if (height, width) == size:
        return pixels, False
    shrinks = height >= size[0] and width >= size[1]
    resized = cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return resized.astype(np.uint8, copy=False), True


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > MAX_FILE_BYTES:
        raise UserError(f"{path} has more than {MAX_FILE_BYTES >> 20} MiB: save it smaller")
    return data


@contextmanager
def open_picture(
    source: Path | io.BytesIO, name: str, formats: tuple[str, ...] = FORMATS, max_pixels: int = MAX_PIXELS
) -> Iterator[Image.Image]:
    """Open a picture of one of `formats` with at most `max_pixels` pixels; only its header is read yet.

    All errors while it is open, those of decoders included, are raised as `UserError`s that begin with `name`.
    """
    try:
        with without_warnings():
            image = Image.open(source, formats=formats)
        with image:
            if image.width * image.height > max_pixels:
                raise UserError(
                    f"{name} has {image.height}×{image.width} pixels, more than {max_pixels:,}: scale it down"
                )
            yield image
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
