"""Crops from a game: sample i of a split is a function of (game, augment, assets, seed, split, i) and nothing else."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from textgen.arrays import F32, U8, Rng
from textgen.augment import Augment
from textgen.backgrounds import Backgrounds, rgb
from textgen.errors import UserError
from textgen.fonts import SCALE, faces_of
from textgen.game import Game, Shadow

SPLITS = ("train", "val", "test")
TRIES = 100  # draws of style and background for one text before the game is called impossible
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, what the eye takes for brightness


@dataclass
class Crops:
    """Rendered samples: images uint8 (n, H, W, 3), labels int64 (n,), texts, and the draws rejected by reason."""

    images: U8
    labels: NDArray[np.int64]
    texts: list[str]
    rejects: Counter[str] = field(default_factory=Counter)


class Renderer:
    """Random access to the samples of a game.

    Sample i of a split has class `i % len(classes)`, so every prefix is balanced and n·len(classes) samples hold n of
    each class exactly.

    >>> import omegaconf
    >>> config = omegaconf.OmegaConf.load("conf/game/sot_time.yaml")
    >>> renderer = Renderer(Game.of(omegaconf.OmegaConf.to_container(config)))
    >>> renderer.render("train", range(3)).images.shape
    (3, 22, 30, 3)
    """

    def __init__(self, game: Game, seed: int = 0, augment: Sequence[Mapping[str, Any]] = ()):
        self.game = game
        self.spec = game.parse_spec()
        self.classes = self.spec.classes
        self._key = {split: _key(seed, split) for split in SPLITS}
        self.faces, chances = faces_of(game.text.fonts, self.spec.characters)
        self._face_chances = np.cumsum(chances)
        self.backgrounds = Backgrounds(game.backgrounds, game.size, seed)
        self._augment = Augment(augment)

    @property
    def assets(self) -> list[Path]:
        """Every font and picture file that can show in a crop."""
        paths = [face.path for face in self.faces]
        return sorted({*paths, *(path for source in self.backgrounds.sources for path in source.paths)})

    def render(self, split: str, indices: Iterable[int]) -> Crops:
        """The samples at `indices`, in that order. Raises `UserError` where a text cannot be drawn legibly."""
        indices = list(indices)
        crops = Crops(
            images=np.empty((len(indices), *self.game.size, 3), np.uint8),
            labels=np.array(indices, np.int64) % len(self.classes),
            texts=[],
        )
        for image, label, i in zip(crops.images, crops.labels, indices, strict=True):
            # A counter-based generator a sample: streams of one key never meet, and none is drawn from another.
            rng = np.random.Generator(np.random.Philox(key=self._key[split], counter=[0, 0, 0, i]))
            text = self.spec.sample(self.classes[label], rng)
            crops.texts.append(text)
            image[:] = self._draw(text, rng, crops.rejects)
        return crops

    def _draw(self, text: str, rng: Rng, rejects: Counter[str]) -> U8:
        """`text` in a random style on a random background, uint8 (H, W, 3).

        The text stays and all else is drawn again until it is whole and legible: were texts drawn again too, wide
        ones would grow rare and the width would tell of the class.
        """
        refused: Counter[str] = Counter()
        for _ in range(TRIES):
            canvas = self.backgrounds.patch(rng)
            fill = None
            if text.strip():  # "other" may be blank
                written = self._write(text, canvas, rng)
                if written is None:
                    refused["too large"] += 1
                    continue
                canvas, fill = written
            image = self._augment(np.rint(canvas).astype(np.uint8), rng)
            if fill is not None and contrast(image, fill) < self.game.text.contrast:
                refused["low contrast"] += 1
                continue
            rejects.update(refused)
            return image
        reasons = ", ".join(f"{count} times {reason}" for reason, count in refused.most_common())
        mends = {
            "too large": "make text.height or text.spacing smaller or size larger",
            "low contrast": "make colours and backgrounds more different, text.height larger, or text.contrast smaller",
        }
        mend = "; or ".join(mends[reason] for reason, _ in refused.most_common())
        raise UserError(f"game {self.game.name}: {text!r} could not be drawn in {TRIES} tries ({reasons}): {mend}")

    def _write(self, text: str, canvas: F32, rng: Rng) -> tuple[F32, F32] | None:
        """`text` on `canvas` (H, W, 3) and the coverage (H, W) of its fill, or None where it does not fit."""
        style, (height, width) = self.game.text, self.game.size
        face = self.faces[min(int(np.searchsorted(self._face_chances, rng.random(), "right")), len(self.faces) - 1)]
        digits = _quantised(rng.uniform(*style.height), 2)  # steps of ½ and ¼ pixel, so that glyphs can be cached
        spacing = _quantised(rng.uniform(*style.spacing), SCALE)
        outline = style.outline if style.outline and rng.random() < style.outline.chance else None
        stroke = _quantised(rng.uniform(*outline.width), SCALE) if outline else 0.0
        size = face.pixels_per_em(digits)
        large, large_outer = face.string(text, size, spacing, stroke)  # both (h, w) at SCALE times the size

        margin = round(style.margin * SCALE)
        free_y = height * SCALE - large.shape[0] - 2 * margin
        free_x = width * SCALE - large.shape[1] - 2 * margin
        if free_x < 0 or free_y < 0:
            return None
        y = margin + round(rng.uniform(*style.y) * free_y)
        x = margin + round(rng.uniform(*style.x) * free_x)
        fill = _place(large, y, x, (height, width))
        outer = fill if large_outer is None else _place(large_outer, y, x, (height, width))

        if style.shadow and rng.random() < style.shadow.chance:
            canvas = _shadow(canvas, outer, style.shadow, rng)
        if outline:
            canvas = _paint(canvas, outer, _pick(outline.colors, rng))
        color = np.clip(_pick(style.colors, rng) + rng.normal(0, style.color_jitter, 3), 0, 255).astype(np.float32)
        return _paint(canvas, fill * np.float32(rng.uniform(*style.opacity)), color), fill


def contrast(image: U8, fill: F32) -> float:
    """How far a text stands out of the finished crop, in levels of luma (0…255).

    The step between the strokes and what lies right around and between them, less the standard deviation of the
    latter: text on clutter as strong as itself has none, and blur that closes the gaps between strokes takes it away.
    `image` is uint8 (H, W, 3), `fill` the coverage of the strokes (H, W) in 0…1.
    """
    luma = image @ LUMA
    strokes = fill * fill
    near = cv2.dilate(fill, np.ones((3, 3), np.uint8)) > 0.1
    around = np.where(near, (1 - fill) ** 2, 0)
    strokes, around = strokes / strokes.sum(), around / around.sum()
    ground = (around * luma).sum()
    clutter = np.sqrt((around * (luma - ground) ** 2).sum())
    return float(abs((strokes * luma).sum() - ground) - clutter)


def _place(mask: U8, y: int, x: int, size: tuple[int, int]) -> F32:
    """Coverage at SCALE times the size with its corner at (y, x), averaged down to float32 `size` in 0…1."""
    large = np.zeros((size[0] * SCALE, size[1] * SCALE), np.uint8)
    large[y : y + mask.shape[0], x : x + mask.shape[1]] = mask
    small = cv2.resize(large.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(small / np.float32(255), np.float32)


def _shadow(canvas: F32, cover: F32, shadow: Shadow, rng: Rng) -> F32:
    low, high = shadow.offset
    dy, dx = rng.uniform(low, high, 2)
    moved = cv2.warpAffine(cover, np.array([[1, 0, dx], [0, 1, dy]], np.float32), cover.shape[::-1])
    blur = rng.uniform(*shadow.blur)
    if blur > 0.1:
        moved = cv2.GaussianBlur(moved, (0, 0), blur)
    return _paint(canvas, moved * np.float32(rng.uniform(*shadow.opacity)), _pick(shadow.colors, rng))


def _paint(canvas: F32, cover: F32, color: F32) -> F32:
    """`color` laid over `canvas` (H, W, 3) with opacity `cover` (H, W)."""
    out: F32 = canvas + cover[..., None] * (color - canvas)
    return out


def _pick(colors: tuple[str, ...], rng: Rng) -> F32:
    return np.array(rgb(colors[rng.integers(len(colors))]), np.float32)


def _quantised(value: float, steps: int) -> float:
    return round(value * steps) / steps


def _key(seed: int, split: str) -> int:
    """A 128-bit key of the generators of a split."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{split}".encode()).digest()[:16], "little")
