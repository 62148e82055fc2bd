"""Settings of a game that make its crops look like crops of the user's own, measured by `textgen.new.measure`.

Blur and thin strokes bias the measurements. Hence crops are rendered with the proposed settings and measured as well,
and the settings are moved by the difference, in a few rounds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from textgen.common.array_types import LUMA, U8
from textgen.common.data_folders import CONF
from textgen.common.errors import UserError
from textgen.common.yaml_files import load_yaml
from textgen.new.crop_folder import CropFolder
from textgen.new.inks import Edge, find_fill, is_hollow, measure_edge
from textgen.new.measure import (
    F64,
    TextLine,
    find_text_lines,
    measure_colors,
    measure_noise,
    measure_ranges,
    remove_outliers,
)
from textgen.render.renderer import Renderer
from textgen.schema.game import Game

ROUNDS, RENDERED_CROPS = 4, 96  # of calibration, and per round
TINT_RADIUS, MAX_TINTS = 40.0, 4  # RGB distance within which ground colours count as one
COLOR_SPREAD, MAX_COLORS = 1.25, 4  # times the measured spread of a single colour: within it text colours count as one
MIN_COLOR_DISTANCE = 30.0  # of two proposed text colours, in RGB
MIN_CONTRAST, MAX_CONTRAST = 5, 18  # proposed as the least contrast, in levels
CLUSTERED_SHARE = 0.8  # of the colours that must lie near the centre of a cluster
MIN_SHARE = 0.08  # of the colours in a cluster; smaller ones are dropped
ITERATIONS = 8
NOISE_FREE = 1.8  # levels: the crops of a recording with compression have more noise


@dataclass(frozen=True)
class Proposal:
    """Keys of a game that make its crops look like the user's, and notes for the user."""

    text: dict[str, Any]  # height, colors, x, y, contrast, and outline or shadow if there is one
    backgrounds: list[dict[str, Any]]
    notes: list[str]
    advice: list[str]  # for crops that show only what was measured
    lines: list[TextLine]
    fill: F64  # (3,): the most frequent colour of the text
    edge: Edge | None


@dataclass
class _Look:
    """The settings that are calibrated. `ranges` are those of height, y and x."""

    ranges: F64  # (3, 2)
    colors: F64  # (k, 3)
    contrast: float
    tints: F64  # (t, 3)
    edge: Edge | None = None
    tint_opacity: float = 0.7

    def text(self, size: tuple[int, int]) -> dict[str, Any]:
        """The keys of `text` for crops of `size` (H, W)."""
        (low, high), y, x = self.ranges
        low = min(max(round(low * 2) / 2, 4.0), size[0] - 2.0)
        high = min(max(round(high * 2) / 2, low), size[0] - 1.0)
        edge = self.edge.settings(format_color(self.edge.color)) if self.edge else {}
        return edge | {
            "height": [low, high],
            "colors": [format_color(color) for color in self.colors],
            "x": [round(float(v), 2) for v in np.clip(x, 0, 1)],
            "y": [round(float(v), 2) for v in np.clip(y, 0, 1)],
            "contrast": round(self.contrast),
        }

    def backgrounds(self, folders: Sequence[Path] = ()) -> list[dict[str, Any]]:
        """The key `backgrounds`: a tinted scene, and `folders` of pictures without text."""
        opacity = [round(max(self.tint_opacity - 0.15, 0.0), 2), round(min(self.tint_opacity + 0.15, 1.0), 2)]
        scene = {"source": "scene", "tint": [format_color(tint) for tint in self.tints], "tint_opacity": opacity}
        return [scene, *({"source": f"{folder}/", "weight": 0.25, "zoom": [1, 1]} for folder in folders)]


def propose_settings(crops: CropFolder, game: Mapping[str, Any]) -> Proposal:
    """Propose settings that make `game`, a plain mapping with any text and backgrounds, look like `crops`.

    Raises `UserError` if no crop shows a line of text.
    """
    found = {light: find_text_lines(crops.images, light) for light in (False, True)}
    noise = float(np.quantile([measure_noise(crop) for crop in crops.images], 0.75))
    augment = "off" if noise < NOISE_FREE else "light"
    light, both = find_fill(crops.images, found[False], found[True])
    lines = _keep_text(found[light], crops.size)
    if not both and any(found[not light]):
        plain = _measure_rendered(replace(_find_look(lines, crops.size), edge=None), light, crops.size, game, augment)
        if plain and is_hollow(lines, plain):
            light, lines = not light, _keep_text(found[not light], crops.size)
    look = _find_look(lines, crops.size)
    _calibrate(look, lines, light, crops.size, game, augment)
    _widen(look, len(lines))

    notes = [*crops.notes, f"{len(lines)} of {len(crops.images)} crops show text, {_describe(light, look.edge)}"]
    advice = ["the crops have hardly any noise: add augment=off to the commands below to render crops like them"]
    fill = np.median([line.color for line in lines], 0).astype(np.float64)
    text, backgrounds = look.text(crops.size), look.backgrounds(crops.blank_folders)
    return Proposal(text, backgrounds, notes, advice * (augment == "off"), lines, fill, measure_edge(lines))


def _keep_text(found: Sequence[TextLine | None], size: tuple[int, int]) -> list[TextLine]:
    """Keep the lines that are text. Raises `UserError` if there are none, or if they hardly stand out."""
    lines = remove_outliers([line for line in found if line], size)
    if not lines or 0.6 * np.quantile([line.score for line in lines], 0.1) <= MIN_CONTRAST:
        raise UserError("--like: no text was found in these crops: cut closer to the text, or leave out --like")
    return lines


def _find_look(lines: Sequence[TextLine], size: tuple[int, int]) -> _Look:
    """The settings of lines as they are measured, before calibration."""
    edge = measure_edge(lines)
    # Outlined text may be as light as its ground; plain text has at least MIN_CONTRAST.
    contrast = 0.6 * np.quantile([line.contrast for line in lines], 0.1)
    tints = find_centers(np.array([line.ground for line in lines]), min(MAX_TINTS, 1 + len(lines) // 4), TINT_RADIUS)
    return _Look(
        measure_ranges(lines, size),
        np.median(measure_colors(lines), 0, keepdims=True),
        float(np.clip(contrast, 0 if edge else MIN_CONTRAST, MAX_CONTRAST)),
        tints,
        edge,
    )


def _describe(light: bool, edge: Edge | None) -> str:
    around = f"its {edge.kind}" if edge else "its background"
    return f"{'lighter' if light else 'darker'} than {around}"


def _calibrate(
    look: _Look, lines: Sequence[TextLine], light: bool, size: tuple[int, int], game: Mapping[str, Any], augment: str
) -> None:
    """Move the settings of `look` until rendered crops measure like `lines`."""
    clutter = float(np.median([line.clutter for line in lines]))
    target_ranges, target_colors, target_edge = measure_ranges(lines, size), look.colors, look.edge
    calibrated = False
    for _ in range(ROUNDS):
        rendered = _measure_rendered(look, light, size, game, augment)
        if not rendered:
            look.ranges, look.contrast = look.ranges * ((0.85,), (1,), (1,)), max(look.contrast - 4, 0)
            continue
        look.ranges = _shift_ranges(look.ranges, target_ranges - measure_ranges(rendered, size))
        edge = measure_edge(rendered)
        if look.edge and target_edge and edge:
            look.edge = look.edge.move(target_edge, edge)
        rendered_clutter = max(float(np.median([line.clutter for line in rendered])), 1.0)
        look.tint_opacity = float(np.clip(1 - (1 - look.tint_opacity) * clutter / rendered_clutter, 0.15, 0.9))
        colors = measure_colors(rendered)
        if not calibrated:
            # The colours of the lines are several only if they differ more than size, blur and noise spread one colour.
            spread = float(np.quantile(np.linalg.norm(colors - np.median(colors, 0), axis=1), CLUSTERED_SHARE))
            bias = look.colors - np.median(colors, 0)
            target_colors = _find_target_colors(lines, COLOR_SPREAD * spread)
            look.colors, calibrated = target_colors + bias, True
        else:  # both are clustered in the same way, so that errors of the clustering cancel
            look.colors = look.colors + target_colors - move_to_medians(target_colors, colors)
        # Thin strokes and blur move a measured colour towards the ground only: the true one is no nearer to the ground.
        too_near = (look.colors - target_colors) @ LUMA * (1 if light else -1) < 0
        look.colors = np.clip(np.where(too_near[:, None], target_colors, look.colors), 0, 255)
    look.colors = merge_similar(look.colors, MIN_COLOR_DISTANCE)


def _find_target_colors(lines: Sequence[TextLine], radius: float) -> F64:
    colors = measure_colors(lines)
    return find_centers(colors, min(MAX_COLORS, 1 + len(colors) // 5), radius)


def _measure_rendered(
    look: _Look, light: bool, size: tuple[int, int], game: Mapping[str, Any], augment: str
) -> list[TextLine]:
    """Measure the text lines of crops of `game` rendered with the settings of `look`; none if they cannot be drawn."""
    text = {**look.text(size), "fonts": game["text"]["fonts"]}
    try:
        images = _render({**game, "text": text, "backgrounds": look.backgrounds()}, augment)
    except UserError:  # these fonts are wider than that of the crops, or the crops have little contrast
        return []
    return remove_outliers([line for line in find_text_lines(images, light) if line], size)


def _render(game: Mapping[str, Any], augment: str) -> list[U8]:
    """Render RENDERED_CROPS crops with text, with the degradation of conf/augment/<augment>.yaml."""
    settings = load_yaml(CONF / f"augment/{augment}.yaml")
    renderer = Renderer(Game.from_config(game), 0, settings)
    classes = renderer.period
    # The last class shows no text.
    indices = [i for i in range(2 * RENDERED_CROPS + classes) if i % classes != classes - 1]
    chosen = [indices[round(i)] for i in np.linspace(0, len(indices) - 1, RENDERED_CROPS)]
    return list(renderer.render("train", chosen).images)


def _shift_ranges(ranges: F64, shifts: F64) -> F64:
    """Shift the ends of ranges (3, 2). Ends that would cross become their mean."""
    shifted = ranges + shifts
    crossed = shifted[:, 0] > shifted[:, 1]
    shifted[crossed] = shifted[crossed].mean(1, keepdims=True)
    return shifted


def _widen(look: _Look, n: int) -> None:
    """Widen the ranges that were measured in `n` crops.

    n samples of a range miss about 1/n of it at either end; the constants apply where all samples are equal.
    """
    half = (look.ranges[:, 1] - look.ranges[:, 0]) / 2
    margin = (2 * half + (4.0, 0.3, 0.3)) / n
    look.ranges = look.ranges + margin[:, None] * np.array([-1, 1])


def format_color(color: F64) -> str:
    """Format an RGB colour, 0…255.

    >>> format_color(np.array([255.0, 127.6, 0.0]))
    '#ff8000'
    """
    return "#" + "".join(f"{round(float(v)):02x}" for v in np.clip(color, 0, 255))


# Clusters of colours are found with medians instead of means: a few outliers do not move them.


def find_centers(points: F64, max_centers: int, radius: float) -> F64:
    """Find the fewest centres (k, 3), at most `max_centers`, with CLUSTERED_SHARE of `points` (n, 3) within `radius`.

    >>> find_centers(np.array([[0, 0, 0], [0, 0, 0], [200, 0, 0], [200, 0, 0]], np.float64), 3, 40.0)
    array([[  0.,   0.,   0.],
           [200.,   0.,   0.]])
    """
    centers = np.median(points, 0, keepdims=True)
    while len(centers) < max_centers:
        distances = np.linalg.norm(points[:, None] - centers, axis=2).min(1)  # (n,)
        if np.quantile(distances, CLUSTERED_SHARE) < radius:
            break
        # The next centre starts far from all others, but not at the farthest point, which may be an outlier.
        start = points[np.argsort(distances)[int(0.95 * (len(points) - 1))]]
        centers = move_to_medians(np.vstack([centers, start]), points)
    nearest = np.linalg.norm(points[:, None] - centers, axis=2).argmin(1)
    shares = np.bincount(nearest, minlength=len(centers)) / len(points)
    return np.asarray(centers[shares >= min(MIN_SHARE, shares.max())])


def move_to_medians(centers: F64, points: F64) -> F64:
    """Move each centre (k, 3) to the median of the points (n, 3) nearest to it, ITERATIONS times."""
    for _ in range(ITERATIONS):
        nearest = np.linalg.norm(points[:, None] - centers, axis=2).argmin(1)
        centers = np.array(
            [np.median(points[nearest == j], 0) if (nearest == j).any() else c for j, c in enumerate(centers)]
        )
    return centers


def merge_similar(colors: F64, distance: float) -> F64:
    """Drop each colour (k, 3) that is within `distance` of a colour before it."""
    kept: list[F64] = []
    for color in colors:
        if all(np.linalg.norm(color - other) >= distance for other in kept):
            kept.append(color)
    return np.array(kept)
