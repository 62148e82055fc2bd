"""The spec language: a spec describes all texts of a game and the part of them that is the label.

>>> spec = Spec.parse("XY.Zk", label="Z")  # two digits, a point, a digit to be classified, and a k
>>> spec.classes
('0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'other')
>>> spec.sample("7", np.random.default_rng(0))
'62.7k'
>>> spec.label_of("62.7k"), spec.label_of("GOLD")
('7', 'other')

docs/reference/spec.md describes the language. A text is parsed into items, which draw samples. The items form
an automaton, which finds the label of a text, and with which the parser refuses specs that give a text two labels.
"""

import re
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from textgen.common.errors import SpecError
from textgen.spec.automaton import UNREAD, Automaton
from textgen.spec.items import Choice, Field, Items, OptionalText, draw

OTHER = "other"  # the last class of every spec: the texts that the spec does not describe
MAX_LENGTH = 200  # characters of a text or value
MAX_VALUES = 100_000  # of a field
MAX_CLASSES = 10_000  # with OTHER

_TOKEN = re.compile(r"\\(?P<escaped>.)|(?P<letter>[A-Z])(?P=letter)*|\](?::0?(?P<chance>\.[0-9]+))?|.")
_RANGE = re.compile(r"([0-9]{1,18})\.\.([0-9]{1,18})")


@dataclass(frozen=True)
class Spec:
    """A parsed spec: all texts of a game and the label of each. Build it with `Spec.parse`.

    Attributes:
        text: the spec as it was written.
        label: the letter of the field that is classified.
        classes: the values of that field in order, then "other".
        characters: all characters of all texts, those of class "other" included.
    """

    text: str
    label: str
    classes: tuple[str, ...]
    characters: frozenset[str] = field(repr=False)
    before: "Items" = field(repr=False)  # the items before and after the label
    after: "Items" = field(repr=False)
    others: "Choice[Items]" = field(repr=False)
    _known: frozenset[str] = field(repr=False)
    _automaton: "Automaton" = field(repr=False, compare=False)
    _start: int = field(repr=False, compare=False)

    @classmethod
    def parse(
        cls,
        text: str,
        *,
        label: str,
        fields: Mapping[str, object] | None = None,
        other: object = "",
    ) -> "Spec":
        """Parse the spec `text`, whose field `label` is to be classified. Raises `SpecError`.

        `fields` maps letters to their values: a value or range, a list of these, or a mapping from these to weights.
        `other` describes the texts of class "other": a text, a list of texts, or a mapping from texts to weights.

        >>> fields = {"N": ["0..2", "00"], "M": {"00": 3, "01..59": 1}}  # M is 00 with probability 3/4
        >>> spec = Spec.parse("N:MM[ left]", label="N", fields=fields, other="N.MM")
        >>> spec.classes
        ('0', '1', '2', '00', 'other')
        >>> spec.label_of("00:59 left"), spec.label_of("00:60"), spec.label_of("2.30")
        ('00', 'other', 'other')
        """
        values = _parse_fields({} if fields is None else fields)
        items, columns = _parse_text("spec", text, values)
        before, classes, after = _split_at_label(label, text, items, columns)

        shown = _parse_weights("other", other)
        others = {key: _parse_text("other", key, values) for key in shown}
        letters = set(columns).union(*(other_columns for _, other_columns in others.values()))
        for letter in values:
            if letter not in letters:
                problem = f"fields.{letter} stands nowhere in '{text}': rename or remove it"
                raise SpecError(f"{problem}; the fields there are {', '.join(sorted(letters))}")

        automaton = Automaton()
        start = automaton.add(before, automaton.add_values(classes[:-1], automaton.add(after), labelled=True))
        ambiguous = automaton.find_ambiguous_text((start, UNREAD), (start, UNREAD))
        if ambiguous is not None:
            one, two = (f"{label} = '{classes[number]}'" for number in automaton.find_labels(start, ambiguous)[:2])
            problem = f"spec '{text}' is ambiguous: '{ambiguous}' can be read with {one} and with {two}"
            raise SpecError(f"{problem}: narrow a field, or set {label} apart by a character of its own")
        for key, (other_items, _) in others.items():
            ambiguous = automaton.find_ambiguous_text((start, UNREAD), (automaton.add(other_items), len(classes) - 1))
            if ambiguous is not None:
                name = classes[automaton.find_labels(start, ambiguous)[0]]
                problem = f"other '{key}' can show '{ambiguous}', which spec '{text}' reads as class '{name}'"
                raise SpecError(f"{problem}: write an other-text that shares no text with the spec")

        return cls(
            text=text,
            label=label,
            classes=classes,
            characters=frozenset[str]().union(*automaton.steps),
            before=before,
            after=after,
            others=Choice.from_weights([other_items for other_items, _ in others.values()], list(shown.values())),
            _known=frozenset(classes),
            _automaton=automaton,
            _start=start,
        )

    def sample(self, label: str, rng: np.random.Generator) -> str:
        """Draw a random text of the class `label`. Raises `SpecError` for an unknown class."""
        if label not in self._known:
            some = ", ".join(f"'{name}'" for name in self.classes[:10])
            raise SpecError(f"'{label}' is no class of spec '{self.text}': choose {some}, … or '{OTHER}'")
        if label == OTHER:
            return draw(self.others.draw(rng), rng)
        return draw(self.before, rng) + label + draw(self.after, rng)

    def label_of(self, text: str) -> str:
        """Return the class of `text`, the inverse of `sample`; "other" for all other texts, the empty text included."""
        labels = self._automaton.find_labels(self._start, text)
        return self.classes[labels[0]] if labels else OTHER


def parse_texts(
    name: str, given: object, fields: Mapping[str, object] | None = None
) -> "tuple[Choice[Items], frozenset[str]]":
    """Parse texts without a label, in the syntax of `other`; also return all their characters. Raises `SpecError`."""
    values = _parse_fields({} if fields is None else fields)
    weights = _parse_weights(name, given)
    texts = [_parse_text(name, key, values)[0] for key in weights]
    automaton = Automaton()  # collects the characters, and refuses texts that are too large
    for items in texts:
        automaton.add(items)
    return Choice.from_weights(texts, list(weights.values())), frozenset[str]().union(*automaton.steps)


# Parsing. `name` is the name of the parsed setting in messages: spec, other or fields.N.


def _parse_text(name: str, text: str, values: Mapping[str, Choice[str]]) -> tuple[Items, dict[str, int]]:
    """Parse a text into items; also return the column of each field by its letter."""
    if len(_check_string(name, text)) > MAX_LENGTH:
        raise SpecError(f"{name} is {len(text)} characters long: shorten it to {MAX_LENGTH}")
    columns: dict[str, int] = {}
    items: list[str | Field | OptionalText] = []
    outer: list[tuple[int, list[str | Field | OptionalText]]] = []  # open brackets: column, items before
    for token in _TOKEN.finditer(text):
        column, chance = token.start() + 1, token["chance"]
        if token["letter"]:
            items.append(_parse_field(name, text, token, columns, values))
        elif token[0] == "[":
            outer.append((column, items))
            items = []
        elif token[0].startswith("]"):
            if not outer:
                problem = r"']' closes no '[': add one before it, or write '\]' for a bracket"
                raise _error_at(column, name, text, problem)
            if not items:
                problem = r"'[]' holds no text: fill it, or write '\[\]' for brackets"
                raise _error_at(column - 1, name, text, problem)
            if chance and float(chance) == 0:
                problem = r"a chance of 0 shows nothing: raise it, or write '\:' for a colon"
                raise _error_at(column + 1, name, text, problem)
            items = [*outer.pop()[1], OptionalText(tuple(items), float(chance or 0.5))]
        elif token[0] == "\\":
            raise _error_at(column, name, text, r"'\' stands before nothing: write '\\' for a backslash")
        else:
            items.append(token["escaped"] or token[0])
    if outer:
        problem = r"'[' is never closed: add a ']', or write '\[' for a bracket"
        raise _error_at(outer[-1][0], name, text, problem)
    return tuple(items), columns


def _parse_field(
    name: str, text: str, run: re.Match[str], columns: dict[str, int], values: Mapping[str, Choice[str]]
) -> Field:
    """Parse a run of one letter as a field, and add its column to `columns`."""
    letter, width, column = run["letter"], len(run[0]), run.start() + 1
    if letter in columns:
        problem = f"field {letter} stands at column {columns[letter]} already: use another letter"
        raise _error_at(column, name, text, rf"{problem}, or write '\{letter}' for the letter itself")
    columns[letter] = column
    for value in values[letter].options if width > 1 and letter in values else ():
        if len(value) != width:
            problem = f"{run[0]} is {width} characters wide, but fields.{letter} holds '{value}'"
            raise _error_at(column, name, text, f"{problem}: write a single {letter} for values of any width")
    return Field(letter, width, values.get(letter))


def _error_at(column: int, name: str, text: str, problem: str) -> SpecError:
    return SpecError(f"{name}, column {column}: {problem}", text, column)


def _split_at_label(
    label: str, text: str, items: Items, columns: Mapping[str, int]
) -> tuple[Items, tuple[str, ...], Items]:
    """Return the items before the label, the classes, and the items after the label."""
    if not columns:
        raise SpecError(f"spec '{text}' has no field: write an uppercase letter, such as X for a digit")
    if _check_string("label", label) not in columns:
        raise SpecError(f"label '{label}' is no field of spec '{text}': choose one of {', '.join(columns)}")
    for at, item in enumerate(items):
        if not isinstance(item, Field) or item.letter != label:
            continue
        count = len(item.values.options) if item.values else 10**item.width
        if count >= MAX_CLASSES:
            raise SpecError(f"label {label} makes more than {MAX_CLASSES} classes with '{OTHER}': narrow it")
        if item.values and item.values.bounds:
            raise SpecError(f"fields.{label} has weights, but classes are asked for by name: remove them")
        names = item.values.options if item.values else [str(n).zfill(item.width) for n in range(count)]
        return items[:at], (*names, OTHER), items[at + 1 :]
    problem = f"the label stands in optional text, and a text without it has no class: move {label} out"
    raise _error_at(columns[label], "spec", text, problem)


def _parse_fields(fields: Mapping[str, object]) -> dict[str, Choice[str]]:
    """Parse the values of the fields by letter."""
    if not isinstance(fields, Mapping):
        raise SpecError(f"fields is {fields!r}: write a mapping from letters to what they stand for")
    values = {}
    for letter, given in fields.items():
        if not re.fullmatch("[A-Z]", _check_string("fields", letter)):
            raise SpecError(f"fields.{letter}: a field has one uppercase letter, A to Z, for a name")
        name = f"fields.{letter}"
        if isinstance(given, str) and (ends := re.fullmatch(r"(\d+)-(\d+)", given)):
            raise SpecError(f"{name} is '{given}', one text: write {ends[1]}..{ends[2]} for a range, or ['{given}']")
        weights: dict[str, float] = {}
        for key, weight in _parse_weights(name, given).items():
            expanded = _expand(name, key)
            if len(weights) + len(expanded) > MAX_VALUES:
                raise SpecError(f"{name} holds more than {MAX_VALUES} values: narrow it")
            for value in expanded:
                if value in weights:
                    raise SpecError(f"{name} holds '{value}' twice: remove one")
                # In a list all values are equally likely; in a mapping the values of a range share its weight.
                weights[value] = weight / len(expanded) if isinstance(given, Mapping) else 1.0
        values[letter] = Choice.from_weights(list(weights), list(weights.values()))
    return values


def _expand(name: str, text: str) -> Sequence[str]:
    """Return the values of a range, or `text` as the only value."""
    if not text:
        raise SpecError(f"{name} holds an empty text: use brackets in the spec for what may be absent")
    if text == OTHER:
        raise SpecError(f"{name} holds '{OTHER}', the class of all other texts: use another word")
    bounds = _RANGE.fullmatch(text)
    if bounds is None:
        if re.search(r"(?<!\.)\.\.(?!\.)", text):  # "a..z", "-5..5", "0..9, 00..99": meant as ranges
            raise SpecError(f"{name} holds '{text}', which is no range: write '0..20' or '00..60'")
        if len(text) > MAX_LENGTH:
            raise SpecError(f"{name} holds a text of {len(text)} characters: shorten it to {MAX_LENGTH}")
        return [text]
    low, high = bounds.groups()
    first, last = int(low), int(high)
    padded = low != str(first) or high != str(last)
    if padded and len(low) != len(high):
        width = max(len(low), len(high))
        mended = f"'{low.zfill(width)}..{high.zfill(width)}' with leading zeros or '{first}..{last}' without"
        raise SpecError(f"{name} holds '{text}', whose ends differ in width: write {mended}")
    if first > last:
        raise SpecError(f"{name} holds '{text}', which runs downwards: write '{high}..{low}'")
    if last - first >= MAX_VALUES:
        raise SpecError(f"{name} holds '{text}', more than {MAX_VALUES} values: narrow it")
    return [str(number).zfill(len(low) if padded else 0) for number in range(first, last + 1)]


def _parse_weights(name: str, given: object) -> dict[str, float]:
    """Convert a string, a list of strings, or a mapping from strings to weights to such a mapping."""
    pairs: list[tuple[object, object]] = [(given, 1.0)]
    if isinstance(given, Mapping):
        pairs = list(given.items())
    elif isinstance(given, Sequence) and not isinstance(given, str):
        pairs = [(text, 1.0) for text in given]
    if not pairs or given is None:
        raise SpecError(f"{name} is empty: write at least one text, in quotes")
    weights: dict[str, float] = {}
    for key, weight in pairs:
        text = _check_string(name, key)
        if text in weights:
            raise SpecError(f"{name} holds '{text}' twice: remove one")
        number = weight if isinstance(weight, int | float) and not isinstance(weight, bool) else 0
        if not 0 < number <= sys.float_info.max:
            raise SpecError(f"{name} gives '{text}' the weight {weight!r}: write a number above 0")
        weights[text] = float(number)
    return weights


def _check_string(name: str, given: object) -> str:
    """Return `given` if it is a one-line text. Raises `SpecError` otherwise."""
    if not isinstance(given, str):
        trap = "YAML forgets the leading zeros of 01, and reads 30:54 as a number and NO as false"
        raise SpecError(f"{name} holds {given!r}, which is no text: write it in quotes, because {trap}")
    for char in given:
        if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp"):  # texts are stored one per line
            raise SpecError(f"{name} holds {char!r}: a text is one line without control characters")
    return given
