"""Settings of a new game that the user has not given: fonts and heights that can draw its texts."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from textgen.assets.catalogue import load_catalogue
from textgen.common.errors import UserError
from textgen.render.renderer import Renderer
from textgen.schema.game import MAX_CROP_SIDE, Game
from textgen.spec.parser import Spec
from textgen.spec.values import OTHER

CLOCK_VALUES = {"HH": "00..23", "MM": "00..59", "SS": "00..59"}  # of these fields, in a text with a colon
FONTS = ("oswald", "teko", "rajdhani", "roboto-condensed")  # condensed and plain, as in most counters
TEXT: dict[str, Any] = {
    "height": None,
    "colors": ["#ffffff"],
    "spacing": [0, 0],
    "x": [0.0, 1.0],
    "y": [0.0, 1.0],
    "contrast": 18,
}
BACKGROUNDS: list[dict[str, Any]] = [
    {"source": "scene", "tint": ["#101418"], "tint_opacity": [0.1, 0.6]},
    {"source": "panel"},
]
JOINT_ARCH = "C32 M B M C32 M F"  # of several fields, which need more of the picture than one
MIN_HEIGHT = 4.0  # of the digits, in pixels
MAX_TRAIN_IMAGES = 100_000  # of all classes


def choose_images(classes: int) -> dict[str, int]:
    """Choose the number of images per class of each split."""
    train = min(1000, max(20, MAX_TRAIN_IMAGES // classes))
    return {"train": train, "val": max(train // 10, 10), "test": max(train // 10, 10)}


def choose_size(longest: int) -> tuple[int, int]:
    """Choose height and width of a crop for texts of up to `longest` characters."""
    return 20, min(max(7 * longest + 12, 20), MAX_CROP_SIDE)


def choose_height(size: tuple[int, int], longest: int) -> list[float]:
    """Choose heights of digits that fit a crop of `size` with some space: a digit is about 0.6 of its height wide."""
    high = max(min(0.6 * size[0], 0.85 * size[1] / (0.6 * longest)), 5.0)
    return [max(round(1.4 * high) / 2, MIN_HEIGHT), round(2 * high) / 2]


def measure_longest_text(spec: Spec) -> int:
    """Count the characters of the longest of eight texts of each of up to 60 classes."""
    rng = np.random.default_rng(0)
    if spec.is_joint:
        return max(map(len, spec.draw_examples(480, rng)))
    classes = [c for c in spec.classes if c != OTHER]
    chosen = {classes[round(i)] for i in np.linspace(0, len(classes) - 1, 60)} | {max(classes, key=len)}
    return max(len(spec.sample(name, rng)) for name in sorted(chosen) for _ in range(8))


def choose_fonts(game: Mapping[str, Any], option: str | None) -> list[str]:
    """Parse the option `--fonts`, or choose FONTS, or if these lack a glyph, other families that have all glyphs.

    Raises `UserError` for fonts that cannot draw the spec.
    """
    if option is not None:
        parts = re.split(r",(?![^\[\]]*\])", option)  # but not at that of Name[wdth,wght].ttf
        fonts = [font.strip() for font in parts if font.strip()]
        _check_fonts(game, fonts)
        return fonts
    try:
        _check_fonts(game, FONTS)
        return list(FONTS)
    except UserError as error:
        problem = error.summary
    usable: list[str] = []
    for family in dict.fromkeys([*FONTS, *load_catalogue("fonts")]):
        with contextlib.suppress(UserError):
            _check_fonts(game, [family])
            usable.append(family)
        if len(usable) == len(FONTS):
            break
    if not usable:
        raise UserError(f"{problem}; no family of foldtext has all glyphs: give your own fonts, --fonts ./myfonts/")
    return usable


def _check_fonts(game: Mapping[str, Any], fonts: Sequence[str]) -> None:
    """Raise `UserError` for fonts that cannot draw the spec. The background is one that loads fast."""
    text = {**game["text"], "fonts": list(fonts)}
    Renderer(Game.from_config({**game, "text": text, "backgrounds": [{"source": "gradient"}]}))


def make_drawable(game: dict[str, Any]) -> dict[str, Any]:
    """Reduce the height of the text and the least contrast until crops can be drawn.

    Raises `UserError` if the smallest text does not fit either.
    """
    while True:
        renderer = Renderer(Game.from_config(game))
        n = renderer.period
        try:
            renderer.render("train", sorted({round(i) for i in np.linspace(0, 2 * n - 1, 100)}))
            return game
        except UserError:
            low, high = game["text"]["height"]
            if high <= MIN_HEIGHT:
                raise
            height = [max(round(1.7 * low) / 2, MIN_HEIGHT), max(round(1.7 * high) / 2, MIN_HEIGHT)]
            contrast = max(game["text"]["contrast"] - 3, 5)
            game = {**game, "text": {**game["text"], "height": height, "contrast": contrast}}
