"""What crops of the user's own show: where their text stands, how high it is, its colours and those of the ground.

Nothing is read, only measured: strokes are thin, and lighter or darker than all that lies around them. Blur and thin
strokes bias every measure, so `proposal` renders crops in the look that it proposes, measures these too, and moves the
proposal by the difference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from textgen.common.arrays import F32, U8
from textgen.common.errors import UserError
from textgen.common.pictures import SUFFIXES, open_picture, without_warnings
from textgen.render.renderer import Renderer
from textgen.schema.game import Game
from textgen.spec.parser import OTHER

MAX_CROPS = 300  # measured; more say nothing new
MAX_SIDE, MIN_SIDE = 512, 8  # of a crop
ROUNDS, EACH = 4, 96  # of calibration: how often crops are rendered and measured, and how many
NEAR, MOST = 40.0, 0.8  # distance of MOST ground colours that count as one, in RGB
SAME = 30.0  # distance of text colours that are proposed as one
CLEAN = 1.8  # less noise than this, in levels, is that of no stream
SPREAD = 1.25  # how much farther than one drawn colour the text's may spread and still count as one
MARGIN = 0.5  # Text.margin, which positions count from
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Line:
    """The line of text in one crop: its box in pixels, colours of strokes and ground (RGB, 0…255), how it stands out.

    `score` is the step between strokes and ground less the clutter of the latter, in levels; text-free crops have
    little.
    """

    top: float
    bottom: float
    left: float
    right: float
    color: F32  # (3,)
    ground: F32  # (3,)
    clutter: float
    score: float

    @property
    def height(self) -> float:
        return self.bottom - self.top

    def place(self, size: tuple[int, int]) -> tuple[float, float]:
        """(y, x) as fractions of the room that the line leaves free in a crop of `size` (H, W)."""
        free_y = max(size[0] - self.height - 2 * MARGIN, 1.0)
        free_x = max(size[1] - (self.right - self.left) - 2 * MARGIN, 1.0)
        y, x = (self.top - MARGIN) / free_y, (self.left - MARGIN) / free_x
        return min(max(y, 0.0), 1.0), min(max(x, 0.0), 1.0)


@dataclass(frozen=True)
class Crops:
    """The user's crops: uint8 (H, W, 3) each, of `size` (H, W), folders of text-free ones, and what to tell."""

    images: list[U8]
    size: tuple[int, int]
    others: list[Path]
    notes: list[str]


@dataclass(frozen=True)
class Proposal:
    """Keys of a game that make its crops look like the user's, and what to tell about them."""

    text: dict[str, Any]  # height, colors, x, y, contrast
    backgrounds: list[dict[str, Any]]
    notes: list[str]


def read_crops(folder: Path, size: tuple[int, int] | None = None) -> Crops:
    """The pictures in `folder` and below, all scaled to `size`, by default the most frequent one.

    Folders named `other` are text-free by the user's word: they are listed, not read. Raises `UserError` for a folder
    that is none or holds no crop, for a damaged picture, and for one that is too large or small for a crop.
    """
    if not folder.is_dir():
        raise UserError(f"--like: there is no folder {folder} (seen from {Path.cwd()})")
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix.lower() in SUFFIXES)
    blank = [p for p in paths if OTHER in p.relative_to(folder).parts[:-1]]
    paths = sorted(set(paths) - set(blank))
    if not paths:
        what = "crops without text alone" if blank else f"no picture that ends in {' '.join(SUFFIXES)}"
        raise UserError(f"--like: folder {folder} holds {what}: put crops there that show the counter")
    paths = [paths[round(i)] for i in np.linspace(0, len(paths) - 1, min(len(paths), MAX_CROPS))]
    images = [_read(path) for path in paths]

    sizes = Counter((image.shape[0], image.shape[1]) for image in images)
    (height, width), same = sizes.most_common(1)[0]
    if size is not None:
        (height, width), same = size, sizes[size]
    # A few pixels more at a side scale the text by little; another shape is another part of the screen.
    alike = [image for image in images if 0.8 < image.shape[1] / image.shape[0] * height / width < 1.25]
    if not alike:
        raise UserError(f"--like: no crop in {folder} has the shape of {height}×{width}: leave out --size")
    notes = []
    if same < len(images):
        low, high = min(sizes), max(sizes)
        notes.append(
            f"{len(images) - same} of {len(images)} crops are not {height}x{width} (sizes from {low[0]}x{low[1]} to "
            f"{high[0]}x{high[1]}): {len(alike) - same} were scaled to it, {len(images) - len(alike)} of another shape "
            "left out; the network takes one size, so cut all at the same place"
        )
    scaled = [
        image
        if image.shape[:2] == (height, width)
        else cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        for image in alike
    ]
    return Crops(
        [np.asarray(image, np.uint8) for image in scaled],
        (height, width),
        _fitting(blank, (height, width), notes),
        notes,
    )


def _fitting(blank: Sequence[Path], size: tuple[int, int], notes: list[str]) -> list[Path]:
    """The folders of text-free crops all of which are as large as `size`: smaller ones make no background."""
    folders = []
    for folder in sorted({path.parent for path in blank}):
        shapes = [_read(path).shape for path in blank if path.parent == folder][:MAX_CROPS]
        if all(shape[0] >= size[0] and shape[1] >= size[1] for shape in shapes):
            folders.append(folder)
        else:
            notes.append(f"{folder} is no background: some of its pictures are smaller than {size[0]}x{size[1]}")
    return folders


def _read(path: Path) -> U8:
    with open_picture(path, f"--like: {path}") as image, without_warnings():
        width, height = image.size
        if not (min(width, height) >= MIN_SIDE and max(width, height) <= MAX_SIDE):
            sides = f"{MIN_SIDE} to {MAX_SIDE} pixels a side"
            raise UserError(f"--like: {path} has {height}×{width} pixels; a crop has {sides}: cut out the text")
        return np.asarray(image.convert("RGB"))


def proposal(crops: Crops, game: Mapping[str, Any]) -> Proposal:
    """Settings that make `game`, a plain mapping with any text and backgrounds, look like `crops`.

    Raises `UserError` where no crop shows a line of text.
    """
    dark, light = ([line for line in lines_of(crops.images, sign) if line] for sign in (False, True))
    is_light = _median_score(light) >= _median_score(dark)
    lines = _texts(light if is_light else dark, crops.size)
    contrast = float(np.clip(0.6 * np.quantile([line.score for line in lines], 0.1), 5, 18)) if lines else 0.0
    if contrast <= 5:
        raise UserError("--like: no text stands out of these crops: cut closer to the text, or leave out --like")

    tints = _centres(np.array([line.ground for line in lines]), min(4, 1 + len(lines) // 4), NEAR)
    clutter, opacity = float(np.median([line.clutter for line in lines])), 0.7
    noise = float(np.quantile([_noise(crop) for crop in crops.images], 0.75))
    stream = "off" if noise < CLEAN else "light"
    user, seen = _ranges(lines, crops.size), _colors(lines)
    guess, targets = user, np.median(seen, 0, keepdims=True)
    colors, calibrated = targets, False
    for _ in range(ROUNDS):
        text = {**_text(guess, colors, crops.size, contrast), "fonts": game["text"]["fonts"]}
        look = {**game, "text": text, "backgrounds": _backgrounds(tints, opacity, [])}
        try:
            drawn = _texts([line for line in lines_of(_render(look, stream), is_light) if line], crops.size)
        except UserError:  # these fonts are wider than that of the crops, or the crops hold little contrast
            drawn = []
        if not drawn:
            guess, contrast = guess * ((0.85,), (1,), (1,)), max(contrast - 4, 0)
            continue
        guess = _moved(guess, user - _ranges(drawn, crops.size))
        floor = max(float(np.median([line.clutter for line in drawn])), 1.0)
        opacity = float(np.clip(1 - (1 - opacity) * clutter / floor, 0.15, 0.9))
        measured = _colors(drawn)
        if not calibrated:  # colours that are farther apart than a single one is spread by size, blur and noise
            spread = float(np.quantile(np.linalg.norm(measured - np.median(measured, 0), axis=1), MOST))
            colors = colors - np.median(measured, 0)
            targets = _centres(seen, min(3, 1 + len(seen) // 5), SPREAD * spread)
            colors, calibrated = targets + colors, True
        else:  # the same clustering of both: what one colour that is taken for two does to either cancels
            colors = colors + targets - _settled(measured, targets)
        # Thin strokes and blur move a colour towards the ground, never away: what was measured is the nearer bound.
        short = (colors - targets) @ LUMA * (1 if is_light else -1) < 0
        colors = np.clip(np.where(short[:, None], targets, colors), 0, 255)
    colors = _merged(colors)

    # n samples of a range leave about 1/n of it out at either end; where all are alike, a little may still be missing.
    half = (guess[:, 1] - guess[:, 0]) / 2
    more = (2 * half + (4.0, 0.3, 0.3)) / len(lines)
    guess = guess + more[:, None] * np.array([-1, 1])
    ground = "lighter" if is_light else "darker"
    notes = [*crops.notes, f"{len(lines)} of {len(crops.images)} crops show text, {ground} than its ground"]
    if stream == "off":
        notes.append("they hold hardly any noise: augment=off, behind the commands below, comes closer to them")
    text = _text(guess, colors, crops.size, contrast)
    return Proposal(text, _backgrounds(tints, opacity, crops.others), notes)


def _texts(lines: Sequence[Line], size: tuple[int, int]) -> list[Line]:
    """The lines without those that are none: of little contrast, or unlike nearly all others in height or place."""
    if not lines:
        return []
    bar = 0.4 * np.quantile([line.score for line in lines], 0.75)
    lines = [line for line in lines if line.score >= bar]
    values = np.array([(line.height, *line.place(size)) for line in lines])  # (n, 3)
    off = np.abs(values - np.median(values, 0))
    usual = np.maximum(1.4826 * np.median(off, 0), (0.06 * np.median(values[:, 0]), 0.05, 0.05))
    return [line for line, far in zip(lines, (off / usual).max(1), strict=True) if far < 4]


def _median_score(lines: Sequence[Line]) -> float:
    return float(np.median([line.score for line in lines])) if lines else -np.inf


def _ranges(lines: Sequence[Line], size: tuple[int, int]) -> F64:
    """The usual range of height, y and x: (3, 2)."""
    values = [(line.height, *line.place(size)) for line in lines]
    return np.asarray(np.quantile(values, (0.05, 0.95), axis=0).T, np.float64)


def _moved(ranges: F64, by: F64) -> F64:
    """Ranges (3, 2), their ends moved; ends that would pass each other meet halfway."""
    moved = ranges + by
    crossed = moved[:, 0] > moved[:, 1]
    moved[crossed] = moved[crossed].mean(1, keepdims=True)
    return moved


def _colors(lines: Sequence[Line]) -> F64:
    """The colours of the higher half, (n, 3): thin strokes mix with the ground."""
    middle = np.median([line.height for line in lines])
    return np.array([line.color for line in lines if line.height >= middle], np.float64)


def _text(guess: F64, colors: F64, size: tuple[int, int], contrast: float) -> dict[str, Any]:
    """The keys of `text` from ranges of height, y and x (3, 2) and colours (k, 3)."""
    (low, high), y, x = guess
    low = min(max(round(low * 2) / 2, 4.0), size[0] - 2.0)
    high = min(max(round(high * 2) / 2, low), size[0] - 1.0)
    return {
        "height": [low, high],
        "colors": [_hex(color) for color in colors],
        "x": [round(float(v), 2) for v in np.clip(x, 0, 1)],
        "y": [round(float(v), 2) for v in np.clip(y, 0, 1)],
        "contrast": round(contrast),
    }


def _backgrounds(tints: F64, opacity: float, others: Sequence[Path]) -> list[dict[str, Any]]:
    between = [round(max(opacity - 0.15, 0.0), 2), round(min(opacity + 0.15, 1.0), 2)]
    tinted = {"source": "scene", "tint": [_hex(tint) for tint in tints], "tint_opacity": between}
    return [tinted, *({"source": f"{folder}/", "weight": 0.25, "zoom": [1, 1]} for folder in others)]


def _hex(color: F64) -> str:
    return "#" + "".join(f"{round(float(v)):02x}" for v in np.clip(color, 0, 255))


def _render(game: Mapping[str, Any], stream: str) -> list[U8]:
    """EACH crops that show text, with the augmentation `stream` of conf/augment."""
    augment = yaml.safe_load(files("conf").joinpath(f"augment/{stream}.yaml").read_text(encoding="utf-8"))
    renderer = Renderer(Game.from_config(game), 0, augment)
    classes = len(renderer.classes)
    shown = [i for i in range(2 * EACH + classes) if i % classes != classes - 1]  # the last class is blank
    picked = [shown[round(i)] for i in np.linspace(0, len(shown) - 1, EACH)]
    return list(renderer.render("train", picked).images)


def _noise(crop: U8) -> float:
    """What a median of 3 by 3 pixels takes away in half of all places: noise, where strokes are few. In levels."""
    luma = (crop @ LUMA).astype(np.float32)
    return float(np.median(np.abs(luma - cv2.medianBlur(luma, 3))))


def _centres(points: F64, most: int, near: float) -> F64:
    """The fewest medians (k, 3), at most `most`, of clusters of `points` (n, 3), MOST of which lie within `near`."""
    centres = np.median(points, 0, keepdims=True)
    while len(centres) < most:
        distance = np.linalg.norm(points[:, None] - centres, axis=2).min(1)  # (n,)
        if np.quantile(distance, MOST) < near:
            break
        # The next begins far from all others, but not at the very farthest point, which may be an accident.
        start = points[np.argsort(distance)[int(0.95 * (len(points) - 1))]]
        centres = _settled(points, np.vstack([centres, start]))
    nearest = np.linalg.norm(points[:, None] - centres, axis=2).argmin(1)
    shares = np.bincount(nearest, minlength=len(centres)) / len(points)
    return np.asarray(centres[shares >= min(0.08, shares.max())])


def _settled(points: F64, centres: F64) -> F64:
    """`centres` (k, 3), each moved to the median of the `points` (n, 3) that are nearest to it, some times."""
    for _ in range(8):
        nearest = np.linalg.norm(points[:, None] - centres, axis=2).argmin(1)
        centres = np.array(
            [np.median(points[nearest == j], 0) if (nearest == j).any() else c for j, c in enumerate(centres)]
        )
    return centres


def _merged(colors: F64) -> F64:
    """Without those that come within SAME of one before them."""
    kept: list[F64] = []
    for color in colors:
        if all(np.linalg.norm(color - other) >= SAME for other in kept):
            kept.append(color)
    return np.array(kept)


def lines_of(crops: Sequence[U8], light: bool) -> list[Line | None]:
    """The line of each crop, uint8 (H, W, 3), its strokes lighter (or darker) than the ground; None where none is."""
    return [_line(crop, light) for crop in crops]


def _line(crop: U8, light: bool) -> Line | None:
    stroke = _strokes(crop, light)
    height, width = stroke.shape
    y0, y1, x0, x1 = 0.0, float(height), 0.0, float(width)
    for _ in range(2):  # the rows of all columns, the columns of these rows, then the rows of these columns …
        rows = _run(stroke[:, int(x0) : int(np.ceil(x1))].mean(1), 1.0)
        if rows is None:
            return None
        y0, y1 = rows
        columns = _run(stroke[int(y0) : int(np.ceil(y1))].mean(0), max(3.0, 1.0 * (y1 - y0)))
        if columns is None:
            return None
        x0, x1 = columns
    box = np.zeros(stroke.shape, bool)
    box[int(y0) : int(np.ceil(y1)), int(x0) : int(np.ceil(x1))] = True
    weight = np.where(box, stroke, 0)
    core = weight >= max(float(np.quantile(stroke[box], 0.9)), 0.5)
    near = cv2.dilate((weight > 0.3).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    wide = cv2.dilate(box.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    ground = wide & ~near
    if not core.any() or ground.sum() < 4:
        return None
    pixels = crop.astype(np.float32)
    color, floor = np.median(pixels[core], 0), np.median(pixels[ground], 0)
    clutter = float((pixels[ground] @ LUMA).std())
    score = float(color @ LUMA - floor @ LUMA) * (1 if light else -1) - clutter
    return Line(y0, y1, x0, x1, color.astype(np.float32), floor.astype(np.float32), clutter, score)


def _strokes(crop: U8, light: bool) -> F32:
    """How much each pixel belongs to a thin structure, lighter (or darker) than what is around: (H, W), 0…1."""
    luma = (crop @ LUMA).astype(np.float32)
    if not light:
        luma = 255 - luma
    side = max(5, round(crop.shape[0] / 3) | 1)  # wider than a stroke: digits are no higher than the crop
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    hat = cv2.morphologyEx(luma, cv2.MORPH_TOPHAT, kernel, borderType=cv2.BORDER_REPLICATE)
    scale = max(float(np.quantile(hat, 0.97)), 4.0)
    out: F32 = np.clip((hat / scale - 0.25) / 0.6, 0, 1).astype(np.float32)
    return out


def _run(profile: F32, gap: float) -> tuple[float, float] | None:
    """Ends of the heaviest stretch of a profile, to fractions of a pixel; holes up to `gap` do not end it."""
    threshold = 0.3 * float(np.quantile(profile, 0.9)) + 1e-6
    active = np.flatnonzero(profile > threshold)
    if not len(active):
        return None
    groups = np.split(active, np.flatnonzero(np.diff(active) > gap + 1) + 1)
    group = max(groups, key=lambda g: float(profile[g].sum()))
    first, last = int(group[0]), int(group[-1])
    before = profile[first - 1] / threshold if first else 0.0  # how much of the pixel before belongs to it, linearly
    after = profile[last + 1] / threshold if last + 1 < len(profile) else 0.0
    return first - float(before) * 0.5, last + 1 + float(after) * 0.5
