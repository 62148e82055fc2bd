"""Icons beside a text: drawn here or the user's own PNG files, stored at every height that a game can need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from textgen.assets.catalogue import find_user_files
from textgen.common.array_types import U8
from textgen.common.errors import UserError
from textgen.common.pictures import open_picture
from textgen.schema.game import Text

DRAWN_SIDE = 96  # icons are drawn this large and averaged down
MAX_LEVELS = 24  # heights of an icon
MAX_ICONS, MAX_PIXELS, MAX_HEIGHT, MAX_RATIO = 256, 4_000_000, 256, 8


class Icons(NamedTuple):
    """The pictures of a game at every height that it can need.

    `table` (icons, heights, 3) holds offset, height and width; `planes` the pixels at these offsets, planes of red,
    green, blue and alpha, with colours multiplied by alpha. The icons beside a text come first in `table`, then those
    of each part; `counts` are their numbers, 0 for a part that is no icon.
    """

    table: NDArray[np.int64]
    planes: U8
    counts: list[int]
    paths: list[Path]  # of the user's files


def load_icons(text: Text, height: int) -> Icons:
    """The icons of a game whose crops are `height` pixels high. Raises `UserError` for a source that cannot be used."""
    sources = {"game.text.icon.source": text.icon.source if text.icon else ()}
    sources |= {f"game.text.parts.{key}.icon": part.icon for key, part in text.parts.items()}
    pictures, paths, counts = [], [], []
    for name, source in sources.items():
        own, own_paths = _load_source(name, source)
        pictures += own
        paths += own_paths
        counts.append(len(own))
    if not pictures:
        return Icons(np.zeros((1, 1, 3), np.int64), np.zeros(1, np.uint8), counts, [])
    heights = _spread_heights(text, height)
    table = np.zeros((len(pictures), len(heights), 3), np.int64)
    planes, offset = [], 0
    for number, picture in enumerate(pictures):
        for level, h in enumerate(heights):
            w = max(1, round(picture.shape[1] * h / picture.shape[0]))
            scaled = cv2.resize(picture, (w, h), interpolation=cv2.INTER_AREA).reshape(h, w, 4)
            table[number, level] = offset, h, w
            planes.append(np.rint(scaled.transpose(2, 0, 1)).astype(np.uint8).ravel())
            offset += planes[-1].size
    return Icons(table, np.concatenate(planes), counts, paths)


def _load_source(name: str, sources: Sequence[str]) -> tuple[list[NDArray[np.float32]], list[Path]]:
    """The pictures of `sources`, kinds or paths, as of the setting `name`; and the files among them."""
    pictures, paths = [], []
    for source in sources:
        if source in KINDS:
            pictures.append(_draw_icon(KINDS[source]))
        else:
            if "/" not in source and not source.lower().endswith(".png"):
                raise UserError(f"{name}: {source!r} is none of {', '.join(KINDS)}, no .png and no folder with a /")
            found = find_user_files(Path(source).expanduser(), "icons", (".png",))
            paths += found
            pictures += [_read_icon(path) for path in found]
    if len(pictures) > MAX_ICONS:
        raise UserError(f"{name} holds {len(pictures)} pictures, more than {MAX_ICONS}: give fewer")
    return pictures, paths


def _spread_heights(text: Text, height: int) -> list[int]:
    """The heights in pixels at which icons are stored."""
    lows, highs = [], []
    if text.icon:  # beside the text: a multiple of the height of its ink
        lows.append(int(text.icon.height[0] * text.height[0] * 0.6))
        highs.append(int(text.icon.height[1] * text.height[1] * 1.6) + 1)
    for part in text.parts.values():  # in the text: a multiple of the height of its digits
        if part.icon:
            lows.append(int(part.size * text.height[0]))
            highs.append(round(part.size * text.height[1]))
    highest = min(max(highs), 2 * height, MAX_HEIGHT)
    lowest = max(3, min(lows))
    return sorted({round(h) for h in np.geomspace(min(lowest, highest), highest, MAX_LEVELS).tolist()})


def _read_icon(path: Path) -> NDArray[np.float32]:
    """A PNG as float32 (h, w, 4) in 0…255, colours multiplied by alpha."""
    with open_picture(path, f"icon {path}", ("PNG",), MAX_PIXELS) as picture:
        height, width = picture.size
        if max(width, height) > MAX_RATIO * min(width, height):
            raise UserError(f"icon {path} is {height}×{width}, one side over {MAX_RATIO} times the other: cut it")
        return _premultiply(picture.decode_rgba().astype(np.float32))


def _premultiply(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.concatenate([pixels[..., :3] * pixels[..., 3:] / 255, pixels[..., 3:]], 2).astype(np.float32)


def _draw_icon(draw: Callable[[ImageDraw.ImageDraw], None]) -> NDArray[np.float32]:
    image = Image.new("RGBA", (DRAWN_SIDE, DRAWN_SIDE))
    draw(ImageDraw.Draw(image))
    return _premultiply(np.asarray(image, np.float32))


def _coin(draw: ImageDraw.ImageDraw) -> None:
    draw.ellipse((2, 2, 93, 93), "#8a5a10")
    draw.ellipse((9, 9, 86, 86), "#e8b830")
    draw.ellipse((24, 24, 71, 71), "#c89020")
    draw.rectangle((42, 32, 53, 63), "#f8e080")


def _clock(draw: ImageDraw.ImageDraw) -> None:
    draw.ellipse((3, 3, 92, 92), "#f0f0f0")
    draw.ellipse((13, 13, 82, 82), "#20283a")
    draw.line((48, 48, 48, 22), "#f0f0f0", 9)
    draw.line((48, 48, 68, 58), "#f0f0f0", 9)


def _heart(draw: ImageDraw.ImageDraw) -> None:
    draw.ellipse((4, 10, 52, 58), "#d02838")
    draw.ellipse((43, 10, 91, 58), "#d02838")
    draw.polygon([(8, 46), (87, 46), (48, 92)], "#d02838")


def _star(draw: ImageDraw.ImageDraw) -> None:
    angles = np.arange(10) * np.pi / 5
    radii = np.where(np.arange(10) % 2, 19, 46)
    points = zip(48 + radii * np.sin(angles), 50 - radii * np.cos(angles), strict=True)
    draw.polygon([(round(x, 3), round(y, 3)) for x, y in points], "#f4e8c0")


KINDS: dict[str, Callable[[ImageDraw.ImageDraw], None]] = {
    "coin": _coin,
    "clock": _clock,
    "heart": _heart,
    "star": _star,
}
