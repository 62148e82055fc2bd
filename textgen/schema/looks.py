"""How a game looks: as its file says, or broad, for a game whose look is not known.

A network that is trained with a narrow guess reads little of the real footage if the guess is wrong. With broad looks
it sees most of what counters look like, and reads them without having seen the font.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal, TypeVar, get_args

from textgen.common.errors import UserError
from textgen.schema.game import Background, Game, Gaps, Glow, Gradient, Outline, Panel, Part, Shadow, Text

Looks = Literal["game", "broad"]
Key = TypeVar("Key")

FAMILIES = (  # whose digits read well; most counters are set in sans
    *("dejavu-sans", "open-sans", "roboto", "roboto-condensed", "montserrat", "arimo", "rubik", "nunito", "kanit"),
    *("exo-2", "oswald", "teko", "rajdhani", "barlow-condensed", "bebas-neue", "anton", "archivo-black", "khand"),
    *("sofia-sans-condensed", "league-gothic", "chakra-petch", "orbitron", "roboto-slab", "crimson-pro", "fredoka"),
    *("luckiest-guy", "bangers", "pixelify-sans"),
)
LIGHT = (
    *("#ffffff", "#ffffff", "#ffffff", "#f0f0f0", "#d8d8d8", "#b4b4b4", "#fff0c0", "#ffe860", "#ffd020", "#ffa820"),
    *("#ff7818", "#ff5040", "#ff80b0", "#d080ff", "#80b0ff", "#40d8ff", "#60f0a0", "#b0f040"),
)
DARK = ("#000000", "#202020", "#505050", "#808080", "#a01818", "#703810", "#c07000", "#106020", "#1848b0", "#501870")
EDGES = (*("#000000",) * 3, "#181818", "#404040", "#808080", "#ffffff", "#ffffff", *DARK[4:], *LIGHT[6:10])
PANELS = ("#000000", "#000000", "#182028", "#303030", "#606060", "#ffffff", *DARK[4:])
JITTER = 16.0  # standard deviation of a colour, in levels
HEIGHTS = (0.8, 1.2)  # factors of the game's least and largest height
SPACING = (-0.03, 0.15)  # between letters, in heights of the text
GLYPH_BYTES, CHARACTERS, FONTS = 200 << 20, 11, 56  # of the masks of all glyphs, and how many there are, about
MIN_VARIANTS, MAX_VARIANTS = 6, 24  # of a character in one font
CLIP = 0.1  # of the height of the text, at each edge of the crop
MAX_CONTRAST = 12.0  # that is demanded, in levels
BACKGROUNDS = (
    Background("bright", 2, (1, 4), (0.5, 1.4)),
    Background("dark", 2, (1, 4), (0.5, 1.4)),
    Background("bright", 1, (1, 4), (0.7, 1.3), ("#000000", "#303030", "#ffffff", *DARK[4:]), (0.2, 0.8)),
    Background("scene", 2, (1, 4), (0.5, 1.4)),
    Background("noise", 1, (1, 2), (0.5, 1.4)),
    Background("gradient", 2, (1, 4), (0.3, 1.4)),
    Background("panel", 1, (1, 2), (0.7, 2.0)),
)


def with_looks(game: Game, looks: Any) -> Game:
    """The game with the looks of the setting `looks`. Raises `UserError` for a value that is not one of `Looks`."""
    if looks not in get_args(Looks):
        raise UserError(f"looks={looks}: give one of {', '.join(get_args(Looks))}")
    return broaden(game) if looks == "broad" else game


def broaden(game: Game) -> Game:
    """The game with many fonts, colours, effects, sizes, places and backgrounds instead of its own.

    Texts, sizes of parts, neighbours and icons stay, and heights stay near the game's. Font files and pictures of the
    user's own, given as paths, stay with half of the weight.
    """
    text = _broaden_text(game.text, game.size[0])
    return replace(game, text=text, backgrounds=_broaden_backgrounds(game.backgrounds))


def _broaden_text(text: Text, crop_height: int) -> Text:
    low, high = HEIGHTS[0] * text.height[0], HEIGHTS[1] * text.height[1]
    low, high = max(low, min(4.0, text.height[0])), max(min(high, 0.9 * crop_height), text.height[1])
    fonts = _broaden_fonts(text.fonts)
    return replace(
        text,
        fonts=fonts,
        incomplete_fonts="skip",
        variants=choose_variants(high),
        features=(),
        axes=text.axes if any(map(_is_path, fonts)) else None,
        height=(low, high),
        colors=(*LIGHT, *DARK),
        color_jitter=max(JITTER, text.color_jitter),
        spacing=(min(SPACING[0] * low, text.spacing[0]), max(SPACING[1] * high, text.spacing[1])),
        gaps=Gaps(0.4, (0.05, 0.6)),
        opacity=(min(0.85, text.opacity[0]), 1.0),
        x=(0.0, 1.0),
        y=(0.0, 1.0),
        clip=max(CLIP, text.clip),
        least=min(text.least, Text.least),
        contrast=min(text.contrast, MAX_CONTRAST),
        gradient=Gradient(0.3, (*LIGHT, *DARK)),
        outline=Outline(0.5, (0.5, max(0.75, min(0.08 * high, 2.5))), EDGES),
        shadow=Shadow(0.35, (0.0, max(1.5, 0.1 * high)), (0.0, 1.5), (0.4, 1.0), EDGES),
        glow=Glow(0.1, (0.5, 2.5), (0.3, 1.0), EDGES),
        panel=Panel(0.25, (0.0, 0.3 * high), (0.2, 1.0), PANELS),
        parts={key: _broaden_part(part) for key, part in text.parts.items()},
    )


def choose_variants(height: float) -> int:
    """How many variants of a character fit in memory with as many fonts: fewer of large ones.

    >>> choose_variants(12), choose_variants(24), choose_variants(80)
    (24, 24, 6)
    """
    # Sixteen masks of the fill, and with two of three widths of the outline as many of both.
    bytes_each = 16 * (height + 2) * (0.7 * height + 2) * 5 / 3
    fitting = int(GLYPH_BYTES / (CHARACTERS * FONTS * bytes_each))
    return min(max(fitting - fitting % 3, MIN_VARIANTS), MAX_VARIANTS)


def _broaden_part(part: Part) -> Part:
    return replace(part, colors=(*LIGHT, *DARK)) if part.colors else part


def _broaden_fonts(fonts: tuple[str, ...] | Mapping[str, float]) -> dict[str, float]:
    """The families of `FAMILIES` and those of the game; paths have half of the weight."""
    broad = dict.fromkeys((*FAMILIES, *(font for font in fonts if not _is_path(font))), 1.0)
    weights = dict(fonts) if isinstance(fonts, Mapping) else dict.fromkeys(fonts, 1.0)
    return broad | _with_weight({font: weight for font, weight in weights.items() if _is_path(font)}, len(broad))


def _broaden_backgrounds(backgrounds: Iterable[Background]) -> tuple[Background, ...]:
    own = [background for background in backgrounds if _is_path(background.source)]
    weights = _with_weight({at: background.weight for at, background in enumerate(own)}, _sum_weights(BACKGROUNDS))
    return (*BACKGROUNDS, *(replace(background, weight=weights[at]) for at, background in enumerate(own)))


def _sum_weights(backgrounds: Iterable[Background]) -> float:
    return sum(background.weight for background in backgrounds)


def _with_weight(weights: Mapping[Key, float], total: float) -> dict[Key, float]:
    """The same shares of another sum."""
    return {key: weight * total / sum(weights.values()) for key, weight in weights.items()}


def _is_path(source: str) -> bool:
    """Whether fonts or backgrounds are files of the user's own, not of the catalogue."""
    return "/" in source or source.lower().endswith((".ttf", ".otf", ".ttc", ".png", ".jpg", ".jpeg"))
