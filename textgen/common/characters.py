"""Name characters in messages, so that a reader can tell which is meant also if it draws nothing."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

# Categories of characters that draw ink of their own: letters, numbers, punctuation and symbols.
VISIBLE = frozenset("LNPS")


def name_character(character: str) -> str:
    """An ASCII character as it is; any other with its code point, and with its Unicode name if it draws nothing.

    >>> name_character("k"), name_character("é"), name_character("\\u200b")
    ('k', 'é (U+00E9)', 'U+200B ZERO WIDTH SPACE')
    """
    code = f"U+{ord(character):04X}"
    if unicodedata.category(character)[0] not in VISIBLE:
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
