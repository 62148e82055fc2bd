"""Style and letter tables of a game, as compiled code takes them, see `textgen.kernels.tables`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from textgen.assets.backgrounds import parse_color
from textgen.assets.fonts import Face
from textgen.assets.glyph_atlas import StyleLevels
from textgen.assets.icons import Icons
from textgen.kernels.tables import (
    GLOW,
    SHADOW,
    SIDES,
    LetterTable,
    PartTable,
    StyleTable,
    build_blur_filters,
    build_normal_table,
)
from textgen.schema.game import Text

MAX_REPEATED = 1000  # colours of a palette, those with weights as often as these say
RISES = {"bottom": 0.0, "middle": 0.5, "top": 1.0}


def build_style_table(text: Text, icons: Icons, levels: StyleLevels) -> StyleTable:
    """The style table of a game."""
    outline, gradient, panel, icon, neighbour = text.outline, text.gradient, text.panel, text.icon, text.neighbour
    shadow, glow = text.shadow, text.glow
    kinds = [
        text.colors,
        outline.colors if outline else (),
        gradient.colors if gradient else (),
        panel.colors if panel else (),
        panel.border if panel else (),
        shadow.colors if shadow else (),
        glow.colors if glow else (),
        *(part.colors for part in text.parts.values()),
    ]
    palettes = [repeat_by_weight(kind) for kind in kinds]
    counts = [len(palette) for palette in palettes]
    rows = np.array([np.cumsum([0, *counts[:-1]]), counts], np.int32).T.copy()
    shadow_and_glow = np.zeros((2, 7))
    if shadow:
        shadow_and_glow[SHADOW] = (shadow.chance, *shadow.offset, *shadow.blur, *shadow.opacity)
    if glow:
        shadow_and_glow[GLOW] = (glow.chance, 0, 0, *glow.blur, *glow.opacity)
    return StyleTable(
        colors=np.array([parse_color(color) for palette in palettes for color in palette], np.float32),
        palettes=rows,
        color_jitter=float(text.color_jitter),
        opacity=_range(text.opacity),
        spacing=_range(text.spacing),
        x=_range(text.x),
        y=_range(text.y),
        margin=float(text.margin),
        clip=float(text.clip),
        gap_chance=_chance(text.gaps),
        gap_width=_range(text.gaps.width if text.gaps else (0, 0)),
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
        icon_count=icons.counts[0],
        icon_sides=_sides(icon.sides if icon else ("left",)),
        icon_gap=_range(icon.gap if icon else (0, 0)),
        icon_height=_range(icon.height if icon else (1, 1)),
        icons=icons.table,
        icon_planes=icons.planes,
        normals=build_normal_table(1 << 16),
        parts=_build_part_table(text, icons, levels, rows[len(rows) - len(text.parts) :]),
    )


def repeat_by_weight(colors: Sequence[str] | Mapping[str, float]) -> list[str]:
    """Colours that are drawn with equal chance: those of a mapping as often as their weights say, nearly.

    >>> repeat_by_weight({"#000000": 1, "#ffffff": 2.9})
    ['#000000', '#ffffff', '#ffffff', '#ffffff']
    """
    if not isinstance(colors, Mapping):
        return list(colors)
    unit = max(min(colors.values()), sum(colors.values()) / MAX_REPEATED)
    return [color for color, weight in colors.items() for _ in range(max(round(weight / unit), 1))]


def _build_part_table(text: Text, icons: Icons, levels: StyleLevels, colors: NDArray[np.int32]) -> PartTable:
    """The parts of a text, whose colours are the rows `colors` (parts, 2) of the style table's palettes."""
    parts = list(text.parts.values())
    colored = [number for number, part in enumerate(parts) if part.colors]
    groups = [colored.index(number) + 1 if number in colored else 0 for number in range(len(parts))]
    known = {size: level for level, size in enumerate(levels.sizes)}
    first_icons = np.cumsum([0, *icons.counts[:-1]])
    return PartTable(
        sizes=np.array([1.0, *(part.size for part in parts)]),
        levels=np.array([0, *(0 if part.icon else known[np.float32(part.size)] for part in parts)], np.int32),
        rises=np.array([0.0, *(RISES[part.align] for part in parts)]),
        groups=np.array([0, *groups], np.int32),
        palettes=np.array([[0, 0], *(colors[number] for number in colored)], np.int32),
        icons=np.array([[0, 0], *zip(first_icons[1:], icons.counts[1:], strict=True)], np.int32),
    )


def build_letter_table(
    faces: Sequence[Face],
    chances: NDArray[np.float64],
    usable: Sequence[int],
    levels: StyleLevels,
    alphabet: str,
    drawn: frozenset[str],
    kerning: bool,
) -> LetterTable:
    """The letter table of a split that uses the faces `usable`.

    Characters of the alphabet that are not `drawn` with a font, NUL and icons, have no width.
    """
    codes = np.array([code for code, character in enumerate(alphabet) if character in drawn])
    advances = np.zeros((len(faces), len(alphabet)), np.float32)
    advances[:, codes] = [face.advances for face in faces]
    pairs = np.zeros((len(faces), len(alphabet), len(alphabet)), np.float32)
    if kerning:
        pairs[:, codes[:, None], codes] = np.stack([face.kerning for face in faces])
    usable_chances = chances[list(usable)]
    return LetterTable(
        face_bounds=np.cumsum(usable_chances / usable_chances.sum()),
        faces=np.array(usable, np.int32),
        ems=np.array([face.pixels_per_em(1.0) for face in faces], np.float64),
        advances=advances,
        kerning=pairs,
        heights=levels.heights,
        sizes=levels.sizes,
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
