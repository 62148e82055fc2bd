"""The user's picture files, read with care: four formats, bounded sizes, errors that name the file."""

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

from textgen.common.arrays import U8
from textgen.common.errors import UserError

A = TypeVar("A")
B = TypeVar("B")
Size = tuple[int, int]  # height, width

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP")  # whatever the suffix says; of the others, EPS would start Ghostscript
MAX_PIXELS = 50_000_000  # more is refused unread: a small file can unpack to gigabytes
MAX_FILE_BYTES = 64 << 20
DEEP = ("I", "F")  # modes of more than 8 bits a channel, which Pillow would cut off instead of scaling them
_one_at_a_time = threading.Lock()  # filters of warnings belong to all threads


def map_in_threads(function: Callable[[A], B], items: Iterable[A]) -> Iterator[B]:
    """`function` of every item, in order, a few items ahead on all cores: for work that lets go of Python's lock."""
    items, cores = iter(items), joblib.cpu_count()
    with ThreadPoolExecutor(cores) as pool:
        waiting = deque(pool.submit(function, item) for item in islice(items, 2 * cores))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(function, item) for item in islice(items, 1))
            yield result


def inspect_picture(path: Path) -> tuple[str, Size]:
    """The digest of a picture file's bytes, and its height and width, of which only the header is read."""
    data = _read(path)
    with open_picture(io.BytesIO(data), str(path)) as image:
        return _digest(data), (image.height, image.width)


def read_pixels(path: Path, size: Size, digest: str = "") -> tuple[U8, bool]:
    """A picture file as uint8 (H, W, 3) of this size, and whether it was resized to it.

    Raises `UserError` for a file that is no picture, a damaged one, or one whose bytes no longer have `digest`.
    """
    data = _read(path)
    if digest and _digest(data) != digest:
        raise UserError(f"{path} changed while it was read: try again when nothing writes to the folder")
    with open_picture(io.BytesIO(data), str(path)) as image:
        if image.mode.partition(";")[0] in DEEP:
            raise UserError(f"{path} has more than 8 bits a channel (mode {image.mode}): save it with 8")
        whole = np.asarray(image.convert("RGB"))
    height, width = whole.shape[:2]
    if (height, width) == size:
        return whole, False
    shrinks = height >= size[0] and width >= size[1]
    resized = cv2.resize(whole, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
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
    source: Path | io.BytesIO, what: str, formats: tuple[str, ...] = FORMATS, most: int = MAX_PIXELS
) -> Iterator[Image.Image]:
    """A picture of one of `formats` with at most `most` pixels, of which only the header is read so far.

    Whatever goes wrong while it is open, a decoder that stumbles too, is raised as `UserError` that begins with `what`.
    """
    try:
        with without_warnings():
            image = Image.open(source, formats=formats)
        with image:
            if image.width * image.height > most:
                raise UserError(f"{what} has {image.height}×{image.width} pixels, more than {most:,}: scale it down")
            yield image
    except UserError:
        raise
    except Image.DecompressionBombError:
        raise UserError(f"{what} has more than {most:,} pixels: scale it down") from None
    except UnidentifiedImageError:
        raise UserError(
            f"{what} is no picture in {', '.join(formats)}: save it as one of these, or remove it"
        ) from None
    except Exception as error:  # decoders raise whatever a damaged file leads them to
        raise UserError(f"{what} cannot be read as a picture: {error}; remove it or save it again") from None


@contextmanager
def without_warnings() -> Iterator[None]:
    """Without Pillow's warnings: of odd metadata, and of sizes, for which our own limit is lower."""
    with _one_at_a_time, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
