"""Which text of the game a reading stands for.

Readers confuse a few characters and leave out separators. A reading that is no text of the game becomes the one text of
the game that these changes make of it: blanks are removed or added, O, o becomes 0, l, I, | become 1, a point, a dash
and the like become a colon, a colon is added, wide characters become narrow ones. At least half of its characters stay.
If there are several such texts, or none, the reading is refused.

>>> matcher = Matcher(Spec.parse("M:SS", label="S", fields={"S": "00..59"}))
>>> [matcher.match(text) for text in ("0:59", "O.5 9", "059", "0:61", "GOLD")]
[Match(text='0:59', label='59'), Match(text='0:59', label='59'), Match(text='0:59', label='59'), None, None]
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

from textgen.spec.automaton import ACCEPT, Automaton
from textgen.spec.parser import Spec
from textgen.spec.values import OTHER

CONFUSED = {"O": "0", "o": "0", "l": "1", "I": "1", "|": "1", "·": ":."} | dict.fromkeys(".-;'", ":")
INSERTED = " :"  # what readers leave out
MAX_TEXT = 64  # characters of a reading that is looked at
MAX_TRIES = 10_000  # steps of the search for similar texts


class Match(NamedTuple):
    """A text of the game, and its class."""

    text: str
    label: str


class Matcher:
    """Finds the texts of one spec."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self._automaton = Automaton()
        self._others = [self._automaton.add(items) for items in spec.others.options]
        self._spec = self._automaton.add(spec.items)

    def match(self, reading: str) -> Match | None:
        """The text of the game that `reading` is or stands for; None if there is none, or more than one."""
        if found := self.match_exactly(unicodedata.normalize("NFC", reading).strip()):
            return found
        text = unicodedata.normalize("NFKC", reading).strip()
        found_texts: set[Match] = set()
        if 0 < len(text) <= MAX_TEXT:
            for similar in self._find_similar(text):
                if similar is None:
                    return None
                if match := self.match_exactly(similar):
                    found_texts.add(match)
                    if len(found_texts) > 1:
                        return None
        return next(iter(found_texts), None)

    def match_exactly(self, text: str) -> Match | None:
        """The match of `text` as it is; None if it is no text of the game, nor one of class other."""
        label = self.spec.answer_of(text)
        if label != OTHER or (text and any(self._automaton.find_labels(start, text) for start in self._others)):
            return Match(text, label)
        return None

    def _find_similar(self, text: str) -> Iterator[str | None]:
        """Texts of the game that `text` can be turned into; some may break limits between fields.

        None at the end says that the search was given up.
        """
        least = (sum(not char.isspace() for char in text) + 1) // 2  # characters that stay
        pending = [("", 0, 0, self._automaton.start(self._spec, *self._others))]
        for _ in range(MAX_TRIES):
            if not pending:
                return
            made, at, same, readings = pending.pop()
            if at == len(text):
                if same >= least and any(state == ACCEPT for state, _ in readings):
                    yield made
                options = []
            else:
                options = [(char, at + 1, same) for char in CONFUSED.get(text[at], "")]
                options.append((text[at], at + 1, same + (not text[at].isspace())))
                if text[at].isspace():
                    pending.append((made, at + 1, same, readings))
            options += [(char, at, same) for char in INSERTED if made[-1:] != char]
            for char, after, kept in options:
                if reached := self._automaton.read(readings, char):
                    pending.append((made + char, after, kept, reached))
        yield None
