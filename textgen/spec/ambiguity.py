"""The proof that no text has two classes, by a search over pairs of readings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from textgen.common.errors import SpecError
from textgen.spec.automaton import ACCEPT, UNREAD, Automaton
from textgen.spec.characters import is_blank, name_blanks
from textgen.spec.items import Field, Items, OptionalText

LOOK = "blanks at the ends of a text, and kinds of blanks, cannot be told apart"


@dataclass(frozen=True)
class LabelledTexts:
    """The texts of a spec, `items`, and the values of one label, a field or optional text; `labels` are their classes.

    `key` is the letter of the field, or the number of the optional text, and `name` what messages call it. If it can be
    missing, the last of `values` says so; of optional text, the first of two says that it is there.
    """

    text: str
    key: str | int
    name: str
    items: Items
    values: Sequence[str]
    labels: Sequence[str]

    def add_to(self, automaton: Automaton, numbers: Sequence[int]) -> int:
        """Add states that read these texts and the number of each one's value; return the first state."""
        return automaton.begin(self._add(automaton, self.items, ACCEPT, numbers))

    def _add(self, automaton: Automaton, items: Items, after: int, numbers: Sequence[int]) -> int:
        """The same for `items` that have the label in them, and then go on at the state `after`."""
        at = next(n for n, item in enumerate(items) if self._is_in(item))
        after = automaton.add(items[at + 1 :], after)
        item = items[at]
        if isinstance(item, OptionalText):
            if item.number == self.key:
                shown = automaton.add(item.items, automaton.add_jumps((after, numbers[0])))
            else:
                shown = self._add(automaton, item.items, after, numbers)
            after = automaton.add_jumps((shown, UNREAD), (after, numbers[-1]))
        else:
            some = self.values[:-1] if self._is_optional else self.values
            after = automaton.add_values(some, after, numbers[: len(some)])
        return automaton.add(items[:at], after)

    def _is_in(self, item: str | Field | OptionalText) -> bool:
        if isinstance(item, OptionalText):
            return item.number == self.key or any(map(self._is_in, item.items))
        return isinstance(item, Field) and item.letter == self.key

    @cached_property
    def _is_optional(self) -> bool:
        return not any(isinstance(item, Field) and item.letter == self.key for item in self.items)

    def find_values(self, text: str, *, as_drawn: bool) -> list[int]:
        """The places in `values` with which `text` can be read; without `as_drawn`, exactly this text."""
        automaton = Automaton(as_drawn=as_drawn)
        return automaton.find_labels(self.add_to(automaton, range(len(self.values))), text)


def build_automaton(texts: LabelledTexts, numbers: Sequence[int], others: Mapping[str, Items]) -> tuple[Automaton, int]:
    """The automaton that reads `texts`, and its first state; a text's label is the number of its class in `numbers`.

    Raises `SpecError` for a text that looks like one of two classes, or like one of a class and one of `others`. Limits
    of dependent fields are left aside: a spec may be refused that only they make unambiguous.
    """
    automaton = Automaton()
    start, starts = _add_all(automaton, texts, numbers, others)
    if any(is_blank(character) for steps in automaton.steps for character in steps):
        drawn = Automaton(as_drawn=True)
        _check(drawn, *_add_all(drawn, texts, numbers, others), texts, numbers, others)
    else:  # then only equal texts look the same
        _check(automaton, start, starts, texts, numbers, others)
    return automaton, start


def _add_all(
    automaton: Automaton, texts: LabelledTexts, numbers: Sequence[int], others: Mapping[str, Items]
) -> tuple[int, dict[str, int]]:
    start = texts.add_to(automaton, numbers)
    return start, {key: automaton.begin(automaton.add(items)) for key, items in others.items()}


def _check(
    automaton: Automaton,
    start: int,
    starts: Mapping[str, int],
    texts: LabelledTexts,
    numbers: Sequence[int],
    others: Mapping[str, Items],
) -> None:
    if (found := automaton.find_ambiguous_text((start, UNREAD), (start, UNREAD))) is not None:
        raise _two_classes(texts, found)
    for key, other in starts.items():
        if (found := automaton.find_ambiguous_text((start, UNREAD), (other, max(numbers) + 1))) is not None:
            raise _class_and_other(texts, found, key, others[key])


def _two_classes(texts: LabelledTexts, found: str) -> SpecError:
    plain = texts.find_values(found, as_drawn=False)
    as_drawn = len({texts.labels[value] for value in plain}) < 2
    values = texts.find_values(found, as_drawn=True) if as_drawn else plain
    second = next(value for value in values if texts.labels[value] != texts.labels[values[0]])
    one, two = (f"{texts.name} = '{name_blanks(texts.values[value])}'" for value in (values[0], second))
    problem, shown = f"spec '{name_blanks(texts.text)}' is ambiguous", name_blanks(found)
    if as_drawn:
        return SpecError(f"{problem}: texts with {one} and with {two} look the same, '{shown.strip()}': {LOOK}")
    advice = f"narrow a field, or set {texts.name} apart by a character of its own"
    return SpecError(f"{problem}: '{shown}' can be read with {one} and with {two}: {advice}")


def _class_and_other(texts: LabelledTexts, found: str, key: str, items: Items) -> SpecError:
    automaton = Automaton()
    plain = texts.find_values(found, as_drawn=False) if automaton.find_labels(automaton.add(items), found) else []
    value = (plain or texts.find_values(found, as_drawn=True))[0]
    spec, name, other = (name_blanks(text) for text in (texts.text, texts.labels[value], key))
    if not plain:
        return SpecError(f"other '{other}' can look like class '{name}' of spec '{spec}': {LOOK}")
    problem = f"other '{other}' can show '{name_blanks(found)}', which spec '{spec}' reads as class '{name}'"
    return SpecError(f"{problem}: write an other-text that shares no text with the spec")
