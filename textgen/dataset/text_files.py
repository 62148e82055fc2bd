"""Names and texts from the user's folders and text files."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

from textgen.common.characters import breaks_line
from textgen.common.errors import UserError

MAX_IMAGES = 1_000_000  # pictures of a folder, and lines of its labels file
MAX_TEXT_BYTES = 64 << 20  # size limit of classes.txt and of a labels file
MAX_WIDE = MAX_TEXT_BYTES // 2  # characters of such a file, if one of them takes four bytes in memory


def read_text(file: Path) -> str:
    """Read a text file of the user's. Raises `UserError` unless it is UTF-8 of at most `MAX_TEXT_BYTES`.

    In memory it takes at most twice that.
    """
    try:
        if file.stat().st_size > MAX_TEXT_BYTES:
            raise UserError(f"{file} has more than {MAX_TEXT_BYTES >> 20} MiB: it cannot be a list of this folder")
        text = file.read_text(encoding="utf-8-sig")  # spreadsheets and editors write a byte order mark
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{file} is not UTF-8: save it as UTF-8") from None
    wide = re.search("[^\u0000-\uffff]", text) if len(text) > MAX_WIDE else None
    if wide:  # one such character makes all of them take four bytes in memory
        line = text.count("\n", 0, wide.start()) + 1
        raise UserError(
            f"{file} has {len(text):,} characters, and at most {MAX_WIDE:,} are read where one is beyond U+FFFF, such"
            f" as {wide[0]!r} in line {line:,}: replace such characters, or divide the folder"
        )
    return text


def check_line(text: str, what: str) -> None:
    """Raise `UserError` for a text with control characters or line breaks; texts are stored one per line."""
    if breaks_line(text):
        raise UserError(f"{what} holds a control character: texts and classes are one line each")


def to_nfc(name: str) -> str:
    """Compose the characters of a name: macOS writes the names of files decomposed.

    >>> len("e\\u0301"), len(to_nfc("e\\u0301"))
    (2, 1)
    """
    return unicodedata.normalize("NFC", name)
