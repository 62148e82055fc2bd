"""The size that crops are scaled to for the network: as small as their text allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from textgen.common.array_types import U8
from textgen.new.measure import TextLine, find_text_lines
from textgen.schema import looks
from textgen.schema.game import MIN_CROP_SIDE

READABLE = 12.5  # pixels of a digit's height that a network reads well
LARGE = 18.0  # from this height on crops are scaled down: a quarter of the pixels costs a quarter of the time
MEASURED = 60  # crops
LENGTHS = {"outline": ("width",), "shadow": ("offset", "blur"), "glow": ("blur",), "panel": ("padding",)}  # in pixels


def choose_network_size(crops: Sequence[U8]) -> tuple[int, int]:
    """Choose height and width for crops uint8 (H, W, 3) of one size: theirs, or smaller where their text is large."""
    height, width = crops[0].shape[:2]
    sample = crops[:: max(len(crops) // MEASURED, 1)]
    found = max((find_text_lines(sample, light) for light in (False, True)), key=_sum_scores)
    heights = [line.height for line in found if line]
    text = float(np.median(heights)) if heights else 0.6 * height
    if text < LARGE:
        return height, width
    factor = READABLE / text
    return max(round(height * factor), MIN_CROP_SIDE), max(round(width * factor), MIN_CROP_SIDE)


def scale_game(game: Mapping[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    """`game`, a plain mapping, for crops of another `size` (H, W): all lengths in pixels change with the height."""
    factor = size[0] / game["size"][0]
    text = dict(game["text"])
    low, high = (max(round(2 * factor * height) / 2, 4.0) for height in text["height"])
    text |= {"height": [low, high], "spacing": _scale(text["spacing"], factor)}
    for effect, keys in LENGTHS.items():
        if effect in text:
            scaled = {key: _scale(text[effect][key], factor) for key in keys if key in text[effect]}
            text[effect] = {**text[effect], **scaled}
    if "variants" in text:
        text["variants"] = looks.choose_variants(high)
    return {**game, "size": list(size), "text": text}


def _scale(lengths: Sequence[float], factor: float) -> list[float]:
    return [round(factor * float(length), 2) for length in lengths]


def _sum_scores(lines: Sequence[TextLine | None]) -> float:
    """How clearly lines stand out; it is larger for the right polarity."""
    return sum(line.score for line in lines if line)
