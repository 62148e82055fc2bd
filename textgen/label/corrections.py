"""What the user says of crops: a table that the page saves, or that is written by hand.

Columns: `file`, `text` (empty: no counter is shown), and perhaps `action`, "label" or "leave out".
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from textgen.common.errors import UserError
from textgen.dataset.text_files import read_text, to_nfc
from textgen.label.matching import Match, Matcher
from textgen.spec.values import OTHER

ACTIONS = ("label", "leave out")


@dataclass(frozen=True)
class Correction:
    """A crop's text, or None to leave the crop out; `where` names the line of the table in messages."""

    text: str | None
    where: str

    def find_match(self, matcher: Matcher) -> Match | None:
        """The class of the text; None if the crop is left out. Raises `UserError` if the game has no such text."""
        if self.text is None:
            return None
        if self.text in ("", OTHER):
            return Match("", OTHER)
        if match := matcher.match(self.text):
            return match
        raise UserError(
            f"{self.where} has the text {self.text!r}, which the spec {matcher.spec.text!r} does not describe: correct"
            " it, or leave it empty where no counter is shown"
        )


def read_corrections(path: Path) -> dict[str, Correction]:
    """The corrections of a table, by file. Raises `UserError` that names the line for what is not in that form."""
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""), strict=True)
    corrections: dict[str, Correction] = {}
    try:
        columns = reader.fieldnames or []
        if not {"file", "text"} <= set(columns):
            raise UserError(f"{path} has the columns {', '.join(columns) or 'of nothing'}: it needs file and text")
        for row in reader:
            where = f"{path}, line {reader.line_num},"
            if None in row or None in row.values():
                raise UserError(f"{where} has another number of fields than the first line: put quotes around texts")
            action = row.get("action") or ACTIONS[0]
            if action not in ACTIONS:
                raise UserError(f"{where} has the action {action!r}: write {' or '.join(ACTIONS)}")
            file = to_nfc(row["file"])
            corrections[file] = Correction(to_nfc(row["text"].strip()) if action == ACTIONS[0] else None, where)
    except csv.Error as error:
        raise UserError(f"{path} cannot be read after line {reader.line_num}: {error}; correct the quotes") from None
    return corrections
