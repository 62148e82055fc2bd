"""The characters that a text may hold: those that draw the same wherever they stand.

Texts are drawn character by character from left to right. So combining marks, scripts that are written from right to
left or whose letters join, and characters that draw nothing are refused by name.
"""

from __future__ import annotations

import unicodedata

from fontTools.unicodedata import script

from textgen.common.characters import draws_nothing, is_in_ranges, name_character

OGHAM_SPACE = "\u1680"  # the only space that is drawn with ink
JOINING = {"Mong": "Mongolian", "Phag": "Phags-pa"}  # from left to right; the other joining scripts are not
JAMO = ((0x1100, 0x11FF), (0xA960, 0xA97F), (0xD7B0, 0xD7FF))
EMOJI_PARTS = ((0x1F1E6, 0x1F1FF), (0x1F3FB, 0x1F3FF))  # regional indicators, skin tones


def is_blank(character: str) -> bool:
    """Whether a character only moves the next one: it is never drawn, whatever its glyph looks like."""
    return unicodedata.category(character) == "Zs" and character != OGHAM_SPACE


def name_blanks(text: str) -> str:
    """`text` with the code points of what cannot be seen, all but the plain space.

    >>> name_blanks("5\\u00a0k")
    '5<U+00A0>k'
    """
    return "".join(f"<U+{ord(c):04X}>" if c != " " and (is_blank(c) or draws_nothing(c)) else c for c in text)


def as_seen(text: str) -> str:
    """`text` as a reader sees it: without blanks at its ends and characters that draw nothing, all blanks alike.

    >>> as_seen("a\\u00a0b \\u200b")
    'a b'
    """
    return "".join(" " if is_blank(c) else c for c in text if not draws_nothing(c)).strip()


def find_problem(character: str) -> str:
    """Why a character of a text in composed form (NFC) cannot be drawn on its own, and what to do; "" if it can.

    >>> find_problem("k")
    ''
    >>> find_problem("\\u00ad")
    'U+00AD SOFT HYPHEN, which draws nothing: remove it'
    """
    category = unicodedata.category(character)
    problem = ""
    if draws_nothing(character):
        problem = "which draws nothing: remove it"
    elif category in ("Mn", "Mc", "Me"):
        problem = "a mark on another letter: write both as one composed character, or leave it out"
    elif unicodedata.bidirectional(character) in ("R", "AL"):
        problem = "of a script that is written from right to left: only its digits can be drawn"
    elif (found := script(character)) in JOINING:
        problem = f"of the {JOINING[found]} script, whose letters join: they cannot be drawn one by one"
    elif is_in_ranges(character, JAMO):
        problem = "a part of a Korean syllable: write whole syllables"
    elif is_in_ranges(character, EMOJI_PARTS):
        problem = "a part of an emoji: only emoji of one character can be drawn"
    return problem and f"{name_character(character)}, {problem}"
