"""Style and letter tables of a game, as compiled code takes them, see `textgen.kernels.tables`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from textgen.assets.backgrounds import parse_color
from textgen.assets.fonts import Face
from textgen.assets.glyph_atlas import StyleLevels
from textgen.common.array_types import U8
from textgen.kernels.tables import GLOW, SHADOW, SIDES, LetterTable, StyleTable, build_blur_filters, build_normal_table
from textgen.schema.game import Text


def build_style_table(text: Text, icons: NDArray[np.int64], icon_planes: U8) -> StyleTable:
    """The style table of a game; `icons` and `icon_planes` are those of `textgen.assets.icons.load_icons`."""
    outline, gradient, panel, icon, neighbour = text.outline, text.gradient, text.panel, text.icon, text.neighbour
    shadow, glow = text.shadow, text.glow
    palettes = [
        text.colors,
        outline.colors if outline else (),
        gradient.colors if gradient else (),
        panel.colors if panel else (),
        panel.border if panel else (),
        shadow.colors if shadow else (),
        glow.colors if glow else (),
    ]
    counts = [len(palette) for palette in palettes]
    shadow_and_glow = np.zeros((2, 7))
    if shadow:
        shadow_and_glow[SHADOW] = (shadow.chance, *shadow.offset, *shadow.blur, *shadow.opacity)
    if glow:
        shadow_and_glow[GLOW] = (glow.chance, 0, 0, *glow.blur, *glow.opacity)
    return StyleTable(
        colors=np.array([parse_color(color) for palette in palettes for color in palette], np.float32),
        palettes=np.array([np.cumsum([0, *counts[:-1]]), counts], np.int32).T.copy(),
        color_jitter=float(text.color_jitter),
        opacity=_range(text.opacity),
        spacing=_range(text.spacing),
        x=_range(text.x),
        y=_range(text.y),
        margin=float(text.margin),
        min_letter_height=float(text.least),
        outline_chance=_chance(outline),
        gradient_chance=_chance(gradient),
        panel_chance=_chance(panel),
        panel_padding=_range(panel.padding if panel else (0, 0)),
        panel_opacity=_range(panel.opacity if panel else (0, 0)),
        shadow_and_glow=shadow_and_glow,
        blur_filters=build_blur_filters(float(shadow_and_glow[:, 4].max())),
        neighbour_chance=_chance(neighbour),
        neighbour_sides=_sides(neighbour.sides if neighbour else ("left",)),
        neighbour_gap=_range(neighbour.gap if neighbour else (0, 0)),
        icon_chance=_chance(icon),
        icon_sides=_sides(icon.sides if icon else ("left",)),
        icon_gap=_range(icon.gap if icon else (0, 0)),
        icon_height=_range(icon.height if icon else (1, 1)),
        icons=icons,
        icon_planes=icon_planes,
        normals=build_normal_table(1 << 16),
    )


def build_letter_table(
    faces: Sequence[Face],
    chances: NDArray[np.float64],
    usable: Sequence[int],
    levels: StyleLevels,
    alphabet: str,
    kerning: bool,
) -> LetterTable:
    """The letter table of a split that uses the faces `usable`. Code 0 of the alphabet has no width."""
    advances = np.stack([np.concatenate([[0], face.advances]) for face in faces])
    pairs = np.zeros((len(faces), len(alphabet), len(alphabet)), np.float32)
    if kerning:
        pairs[:, 1:, 1:] = np.stack([face.kerning for face in faces])
    usable_chances = chances[list(usable)]
    return LetterTable(
        face_bounds=np.cumsum(usable_chances / usable_chances.sum()),
        faces=np.array(usable, np.int32),
        ems=np.array([face.pixels_per_em(1.0) for face in faces], np.float64),
        advances=advances.astype(np.float32),
        kerning=pairs,
        heights=levels.heights,
        strokes=levels.strokes,
        slants=levels.slants,
        alphanumeric=np.array([character.isalnum() for character in alphabet]),
    )


def _chance(effect: object) -> float:
    return float(getattr(effect, "chance", 0.0))


def _range(pair: tuple[float, float]) -> NDArray[np.float64]:
    return np.array(pair, np.float64)


def _sides(sides: Sequence[str]) -> NDArray[np.int32]:
    return np.array([SIDES.index(side) for side in sides], np.int32)
