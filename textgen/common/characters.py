"""Name characters in messages, so that a reader can tell which is meant also if it draws nothing."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

# Categories of characters that draw ink of their own: letters, numbers, punctuation and symbols.
VISIBLE = frozenset("LNPS")

# Characters of other categories than Cf that draw nothing, as first and last code point.
INVISIBLE = (
    *((0x034F, 0x034F), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x2065, 0x2065), (0x2800, 0x2800)),
    *((0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8), (0xE0000, 0xE0FFF)),
)


def name_character(character: str) -> str:
    """An ASCII character as it is; any other with its code point, and with its Unicode name if it draws nothing.

    >>> name_character("k"), name_character("é"), name_character("\\u200b")
    ('k', 'é (U+00E9)', 'U+200B ZERO WIDTH SPACE')
    """
    code = f"U+{ord(character):04X}"
    if unicodedata.category(character)[0] not in VISIBLE or draws_nothing(character):
        return f"{code} {unicodedata.name(character, '')}".rstrip()
    return character if character.isascii() else f"{character} ({code})"


def name_characters(characters: Iterable[str], most: int = 10) -> str:
    """The names of `characters`, of no more than `most`.

    >>> name_characters("abc", most=2)
    'a b and 1 more'
    """
    names = [name_character(character) for character in characters]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return " ".join(names[:most]) + more


def breaks_line(text: str) -> bool:
    """Whether a text holds control characters, line breaks or half characters; texts are stored one per line."""
    return any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text)


def draws_nothing(character: str) -> bool:
    """Whether a character has neither ink nor width of its own, or is a blank that Unicode calls a letter or symbol."""
    return unicodedata.category(character) == "Cf" or is_in_ranges(character, INVISIBLE)


def is_in_ranges(character: str, ranges: Iterable[tuple[int, int]]) -> bool:
    """Whether a code point is in one of `ranges`, given by first and last code point."""
    return any(first <= ord(character) <= last for first, last in ranges)
