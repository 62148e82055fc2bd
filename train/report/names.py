"""Names of classes in figures and pages: visible, short enough for their place, in fonts that have their characters."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import matplotlib
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.textpath import text_to_path

from textgen.common.characters import VISIBLE, draws_nothing

FONT = "DejaVu Sans"  # a part of matplotlib
NO_SHAPES = ("Color", "Last Resort")  # words in the names of fonts whose glyphs matplotlib cannot draw or are boxes
JOINERS = "\u200c\u200d"  # they draw nothing, but decide how their neighbours are drawn


def visible_name(name: str) -> str:
    """A name in which every character shows: blanks at the ends as ␣, what draws nothing by its code point.

    >>> visible_name("a b"), visible_name(" a"), visible_name("a\\u200b"), visible_name("")
    ('a b', '␣a', 'aU+200B', '(empty)')
    """
    inner = name.strip(" ")
    start = name.index(inner) if inner else len(name)
    shown = "".join(c if _is_visible(c) else _code(c) for c in inner)
    return "␣" * start + shown + "␣" * (len(name) - start - len(inner)) or "(empty)"


def fit_name(name: str, width: float, size: float) -> str:
    """A name for a figure, its middle left out where it is wider than `width`, in inches, in letters of `size` points.

    Characters of which no installed font has a glyph are given by their code point.

    >>> fit_name("a rather long name", 0.8, 8), fit_name("short", 0.8, 8)
    ('a rath… name', 'short')
    """
    shown = "".join(c if _find_family(c) else _code(c) for c in visible_name(name))
    with fonts_for(shown):
        kept = len(shown)
        fitted = shown
        while kept > 1 and _width(fitted, size) > width:
            kept -= 1
            fitted = f"{shown[: (kept + 1) // 2]}…{shown[len(shown) - kept // 2 :]}"
    return fitted


@contextmanager
def fonts_for(text: str) -> Iterator[None]:
    """Draw with matplotlib within: texts literally, with a glyph for each character of `text` that a font here has."""
    families = dict.fromkeys([FONT, *filter(None, map(_find_family, text))])
    with matplotlib.rc_context({"font.family": list(families), "text.parse_math": False}):
        yield


def _is_visible(character: str) -> bool:
    """Whether a character within a name shows, or changes another that shows."""
    if character == " " or character in JOINERS:
        return True
    return unicodedata.category(character)[0] in VISIBLE | {"M"} and not draws_nothing(character)


def _code(character: str) -> str:
    return f"U+{ord(character):04X}"


def _width(text: str, size: float) -> float:
    return text_to_path.get_text_width_height_descent(text, FontProperties(size=size), ismath=False)[0] / 72


@cache
def _find_family(character: str) -> str | None:
    """The family of a font that has a glyph for a character."""
    if ord(character) in get_font(findfont(FONT)).get_charmap():
        return FONT
    for entry in fontManager.ttflist:
        if not any(word in entry.name for word in NO_SHAPES) and ord(character) in _characters(entry.fname):
            return entry.name
    return None


@cache
def _characters(path: str) -> frozenset[int]:
    """The code points of which a font has glyphs; none if it cannot be read."""
    try:
        return frozenset(get_font(path).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()
