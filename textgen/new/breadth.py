"""A game file that is sure to hold what was measured, and stays broad about all else.

A network that was trained with one font, one colour and one place reads little of real footage if one of them is a bit
off. So what was measured has the most weight, and the looks of `textgen.schema.looks` the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from textgen.common.array_types import LUMA
from textgen.fontsearch.search import Match
from textgen.new.details import Details
from textgen.new.proposal import format_color
from textgen.schema import looks

FONT_SHARE = 0.65  # of the crops, in fonts that match
MAX_FONTS, WITHIN, SOFTNESS = 8, 0.06, 0.012  # fonts that match, down to this distance from the best score
COLOR_SHARE = 0.65  # of the crops, in measured colours
HEIGHT_SPREAD = 0.08  # on either side of the measured heights
PLACE_SPREAD = 3.0  # pixels, likewise
NARROW = 0.75  # times as wide as the text is one in a narrower font: it may begin at the same place
SPACING_SPREAD = 0.05  # in heights, likewise
GAP_SPREAD = 0.1  # in heights, likewise
CLIP = 0.05  # in heights, beyond what was measured


def widen(game: Mapping[str, Any], details: Details | None, size: tuple[int, int]) -> dict[str, Any]:
    """`game`, a plain mapping with measured settings, with the broad ones beside them.

    Without `details` the fonts are those of `looks.FAMILIES`, and heights and places stay as they were measured.
    """
    text = dict(game["text"])
    height = details.height if details else tuple(text["height"])
    low, high = (1 - HEIGHT_SPREAD) * height[0], (1 + HEIGHT_SPREAD) * height[1]
    low, high = max(round(2 * low) / 2, 4.0), max(min(round(2 * high) / 2, size[0] - 1.0), 4.0)
    light = _luma(text["colors"][0]) > 100 or _is_saturated(text["colors"][0])
    palette = looks.LIGHT if light else looks.DARK
    text |= {
        "fonts": _widen_fonts(text["fonts"], details.matches if details else ()),
        "incomplete_fonts": "skip",
        "variants": looks.choose_variants(high),
        "height": [low, high],
        "spacing": _widen_spacing(details, high),
        "clip": round((details.overhang if details else 0.0) + CLIP, 2),
        "color_jitter": looks.JITTER,
        "opacity": [0.85, 1.0],
        "contrast": min(text["contrast"], looks.MAX_CONTRAST),
        **_widen_edges(text, high, light),
        **_widen_colors(text["colors"], details, palette),
    }
    if details and details.gap is not None:
        middle = max(details.gap, 0.0)
        text["gaps"] = {"chance": 1, "width": _round([max(middle - GAP_SPREAD, 0), middle + GAP_SPREAD])}
    else:
        text["gaps"] = {"chance": 0.3, "width": [0.05, 0.5]}
    if details:
        text |= _place(details, text["clip"], size)
    return {**game, "text": text, "backgrounds": _widen_backgrounds(game["backgrounds"])}


def _widen_fonts(given: Sequence[str], matches: Sequence[Match]) -> dict[str, float]:
    """The fonts that match best, and beside them all families of `looks` and those that the user has `given`."""
    broad = dict.fromkeys((*looks.FAMILIES, *given), 1.0)
    scores: dict[str, float] = {}
    portable = max((match.score for match in matches if not match.candidate.installed), default=0.0)
    for match in matches:
        worth = not match.candidate.installed or match.score > portable  # the file is read on other machines too
        if worth and match.score >= matches[0].score - WITHIN:
            scores[match.candidate.item] = max(match.score, scores.get(match.candidate.item, 0.0))
    best = sorted(scores.items(), key=lambda item: -item[1])[:MAX_FONTS]
    if not best:
        return broad
    weights = np.exp((np.array([score for _, score in best]) - best[0][1]) / SOFTNESS) + 0.1
    weights *= FONT_SHARE / (1 - FONT_SHARE) * len(broad) / weights.sum()
    found = {item: round(float(weight), 2) for (item, _), weight in zip(best, weights, strict=True)}
    return found | {item: round(weight + found.get(item, 0.0), 2) for item, weight in broad.items()}


def choose_best_fonts(matches: Sequence[Match]) -> list[str]:
    """The items of the fonts that match as well as the best one, nearly."""
    items = [match.candidate.item for match in matches if match.score >= matches[0].score - SOFTNESS]
    return list(dict.fromkeys(items))[:4]


def _widen_colors(colors: Sequence[str], details: Details | None, palette: Sequence[str]) -> dict[str, Any]:
    """Measured colours as often as it takes for COLOR_SHARE, and those of `palette`; likewise for a gradient."""
    if details is None or details.gradient is None:
        return {"colors": _mix(colors, palette), "gradient": {"chance": 0.15, "colors": list(dict.fromkeys(palette))}}
    top, bottom = (format_color(color) for color in details.gradient)
    return {"colors": _mix([top], palette), "gradient": {"chance": 0.8, "colors": _mix([bottom], palette)}}


def _mix(colors: Sequence[str], palette: Sequence[str], share: float = COLOR_SHARE) -> dict[str, float]:
    """Weights of colours: `colors` have a `share` of them together, and those of `palette` the rest."""
    rest = dict.fromkeys(palette, 1.0)
    each = share / (1 - share) * len(rest) / len(colors)
    return dict.fromkeys(colors, round(each, 1)) | {color: 1.0 for color in rest if color not in colors}


def _widen_edges(text: Mapping[str, Any], height: float, light: bool) -> dict[str, Any]:
    """Outline, shadow, glow and panel: those that were measured more often, with colours beside the measured one."""
    edges = list(dict.fromkeys(looks.EDGES if light else [*looks.LIGHT, "#ffffff"]))
    thick = max(1.0, min(0.08 * height, 2.5))
    outline = {"chance": 0.3, "width": _round([0.5, thick]), "colors": edges}
    if measured := text.get("outline"):
        widths = [max(measured["width"][0] - 0.5, 0.25), measured["width"][1] + 0.5]
        colors = _mix([_push(measured["colors"][0], light), measured["colors"][0]], edges)
        outline = {"chance": 0.9, "width": _round(widths), "colors": colors}
    shadow = {"chance": 0.35, "offset": _round([0.0, max(1.5, 0.1 * height)]), "blur": [0.0, 1.5], "colors": edges}
    if measured := text.get("shadow"):
        shadow |= {"chance": 0.8, "colors": _mix(measured["colors"], edges)}
    shadow["opacity"] = [0.4, 1.0]
    glow = {"chance": 0.05, "blur": [0.5, 2.5], "opacity": [0.3, 1.0], "colors": edges}
    panel = {"chance": 0.15, "padding": _round([0.0, 0.3 * height]), "opacity": [0.2, 1.0]}
    return {"outline": outline, "shadow": shadow, "glow": glow, "panel": panel | {"colors": list(looks.PANELS)}}


def _push(color: str, dark: bool) -> str:
    """A thin line mixes with what is beside it: the colour further from it."""
    values = np.array([int(color[k : k + 2], 16) for k in (1, 3, 5)], float)
    return format_color(values * 0.3 if dark else 255 - (255 - values) * 0.3)


def _widen_spacing(details: Details | None, height: float) -> list[float]:
    spacing = details.spacing if details and details.spacing is not None else 0.0
    return _round([min(spacing, 0.0) - SPACING_SPREAD * height, max(spacing, 0.0) + SPACING_SPREAD * height])


def _place(details: Details, clip: float, size: tuple[int, int]) -> dict[str, Any]:
    """Ranges of `x` and `y` that hold the places of the letters and PLACE_SPREAD pixels around."""
    height = float(np.mean(details.height))
    beyond = clip * height
    places = {}
    for key, ends, side, extent in (("x", details.left, size[1], details.width), ("y", details.top, size[0], height)):
        free, more = (max(side - share * extent + 2 * beyond, 1.0) for share in (1.0, NARROW))
        low, high = (ends[0] - PLACE_SPREAD + beyond) / more, (ends[1] + PLACE_SPREAD + beyond) / free
        low, high = min(max(low, 0.0), 0.8), max(min(high, 1.0), 0.2)
        places[key] = _round([low, high])
    return places


def _widen_backgrounds(measured: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The measured backgrounds with half of the weight, and those of `looks`."""
    total = sum(background.get("weight", 1.0) for background in measured)
    share = sum(background.weight for background in looks.BACKGROUNDS) / total
    own = [{**background, "weight": round(background.get("weight", 1.0) * share, 2)} for background in measured]
    return [*own, *(_as_settings(background) for background in looks.BACKGROUNDS)]


def _as_settings(background: Any) -> dict[str, Any]:
    settings = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(background).items()}
    if not settings["tint"]:
        del settings["tint"], settings["tint_opacity"]
    return settings


def _luma(color: str) -> float:
    return float(np.array([int(color[k : k + 2], 16) for k in (1, 3, 5)]) @ LUMA)


def _is_saturated(color: str) -> bool:
    values = [int(color[k : k + 2], 16) for k in (1, 3, 5)]
    return max(values) > 160 and max(values) - min(values) > 90


def _round(values: Sequence[float]) -> list[float]:
    return [round(float(value), 2) for value in values]
