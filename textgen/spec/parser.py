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
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from textgen.common.errors import SpecError
from textgen.spec.ambiguity import LabelledTexts, build_automaton
from textgen.spec.automaton import Automaton
from textgen.spec.characters import as_seen, name_blanks
from textgen.spec.items import Choice, Field, Items, OptionalText, draw, find_fields, order_dependent, read
from textgen.spec.values import MAX_LENGTH, MAX_VALUES, OTHER, check_string, parse_choice, parse_fields, parse_weights

MAX_CLASSES = 10_000  # with OTHER

_TOKEN = re.compile(r"\\(?P<escaped>.)|(?P<letter>[A-Z])(?P=letter)*|\](?::0?(?P<chance>\.[0-9]+))?|.")


@dataclass(frozen=True)
class Spec:
    """A parsed spec: all texts of a game and the label of each. Build it with `Spec.parse`.

    Attributes:
        text: the spec as it was written.
        label: the letter of the field that is classified.
        classes: the values of that field in order, or the names of their groups, then "other".
        values: the class of each value of that field.
        characters: all characters of all texts, those of class "other" included.
        items: what the texts consist of.
        groups: the values of each class but "other", if classes are groups.
        others: the texts of class "other".
    """

    text: str
    label: str
    classes: tuple[str, ...]
    values: Mapping[str, str] = field(repr=False)
    characters: frozenset[str] = field(repr=False)
    items: "Items" = field(repr=False)
    groups: "tuple[Choice[str], ...]" = field(repr=False)
    others: "Choice[Items]" = field(repr=False)
    _automaton: "Automaton" = field(repr=False, compare=False)
    _start: int = field(repr=False, compare=False)
    _has_limits: bool = field(repr=False, compare=False)

    @classmethod
    def parse(
        cls,
        text: str,
        *,
        label: str,
        fields: Mapping[str, object] | None = None,
        other: object = "",
        groups: Mapping[str, object] | None = None,
    ) -> "Spec":
        """Parse the spec `text`, whose field `label` is to be classified. Raises `SpecError`.

        `fields` maps letters to their values: a value or range, a list of these, or a mapping from these to weights.
        `other` describes the texts of class "other": a text, a list of texts, or a mapping from texts to weights.
        `groups` maps names of classes to values of the label, in the syntax of `fields`, if they are not to be classes
        of their own.

        >>> fields = {"N": ["0..2", "00"], "M": {"00": 3, "01..59": 1}}  # M is 00 with probability 3/4
        >>> spec = Spec.parse("N:MM[ left]", label="N", fields=fields, other="N.MM")
        >>> spec.classes
        ('0', '1', '2', '00', 'other')
        >>> spec.label_of("00:59 left"), spec.label_of("00:60"), spec.label_of("2.30")
        ('00', 'other', 'other')
        """
        values = parse_fields({} if fields is None else fields)
        items, columns = _parse_text("spec", text, values)
        letter, names = _parse_label(label, text, items, columns, grouped=groups is not None)
        parsed_groups = {} if groups is None else _parse_groups(letter, names, groups)
        classes = (*(parsed_groups or names), OTHER)
        class_of = {value: name for name, group in parsed_groups.items() for value in group.options}
        class_of = class_of or dict(zip(names, names, strict=True))

        shown = parse_weights("other", other)
        others = {key: _parse_text("other", key, values) for key in shown}
        letters = set(columns).union(*(other_columns for _, other_columns in others.values()))
        for unused in [letter for letter in values if letter not in letters]:
            problem = f"fields.{unused} stands nowhere in '{text}': rename or remove it"
            raise SpecError(f"{problem}; the fields there are {', '.join(sorted(letters))}")
        order_dependent(items, [letter])
        for parsed, _ in others.values():
            order_dependent(parsed)

        texts = LabelledTexts(text, letter, items, names, [class_of[name] for name in names])
        number_of = {name: number for number, name in enumerate(classes)}
        numbers = [number_of[name] for name in texts.labels]
        other_items = {key: parsed for key, (parsed, _) in others.items()}
        automaton, start = build_automaton(texts, numbers, other_items)
        return cls(
            text=text,
            label=letter,
            classes=classes,
            values=class_of,
            characters=frozenset[str]().union(*automaton.steps),
            items=items,
            groups=tuple(parsed_groups.values()),
            others=Choice.from_weights(list(other_items.values()), list(shown.values())),
            _automaton=automaton,
            _start=start,
            _has_limits=any(item.source for item in find_fields(items)),
        )

    def sample(self, label: str, rng: np.random.Generator) -> str:
        """Draw a random text of the class `label`. Raises `SpecError` for an unknown class."""
        if label == OTHER:
            return draw(self.others.draw(rng), rng)
        if self.groups and label in self.classes:
            label = self.groups[self.classes.index(label)].draw(rng)
        elif self.groups or label not in self.values:
            some = ", ".join(f"'{name}'" for name in self.classes[:10])
            raise SpecError(f"'{label}' is no class of spec '{self.text}': choose {some}, … or '{OTHER}'")
        return draw(self.items, rng, {self.label: label})

    def label_of(self, text: str) -> str:
        """Return the class of `text`, the inverse of `sample`; "other" for all other texts, the empty text included."""
        text = unicodedata.normalize("NFC", text)
        labels = self._automaton.find_labels(self._start, text)
        if labels and self._has_limits:  # the automaton knows none
            found = {self.values[value] for value in read(self.items, text, self.label)}
            return found.pop() if found else OTHER
        return self.classes[labels[0]] if labels else OTHER


def parse_texts(
    name: str, given: object, fields: Mapping[str, object] | None = None
) -> "tuple[Choice[Items], frozenset[str]]":
    """Parse texts without a label, in the syntax of `other`; also return all their characters. Raises `SpecError`."""
    values = parse_fields({} if fields is None else fields)
    weights = parse_weights(name, given)
    texts = [_parse_text(name, key, values)[0] for key in weights]
    automaton = Automaton()  # collects the characters, and refuses texts that are too large
    for items in texts:
        automaton.add(items)
    return Choice.from_weights(texts, list(weights.values())), frozenset[str]().union(*automaton.steps)


# Parsing. `name` is the name of the parsed setting in messages: spec, other or fields.N.


def _parse_text(name: str, text: str, values: Mapping[str, Choice[str]]) -> tuple[Items, dict[str, int]]:
    """Parse a text into items; also return the column of each field by its letter."""
    text = check_string(name, text)
    if len(text) > MAX_LENGTH:
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


def _parse_label(
    label: str, text: str, items: Items, columns: Mapping[str, int], *, grouped: bool
) -> tuple[str, list[str]]:
    """Return the letter of the field that is classified, and its values."""
    if not columns:
        raise SpecError(f"spec '{text}' has no field: write an uppercase letter, such as X for a digit")
    label = check_string("label", label)
    letter = label[0] if re.fullmatch(r"([A-Z])\1*", label) else label
    if letter not in columns:
        raise SpecError(f"label '{label}' is no field of spec '{text}': choose one of {', '.join(columns)}")
    item = next((item for item in items if isinstance(item, Field) and item.letter == letter), None)
    if item is None:
        problem = f"the label stands in optional text, and a text without it has no class: move {letter} out"
        raise _error_at(columns[letter], "spec", text, problem)
    if len(label) not in (1, item.width):
        raise SpecError(
            f"label '{label}' is {letter * item.width} in spec '{text}': write {letter * item.width} or {letter}"
        )
    if item.source:
        problem = f"fields.{letter} depends on {item.source}, but classes are drawn first, equally often"
        raise SpecError(
            f'{problem}: let {item.source} depend on {letter} instead, such as {item.source}: "{letter}..99"'
        )
    if item.values and item.values.bounds:
        raise SpecError(f"fields.{letter} has weights, but classes are asked for by name: remove them")
    count = len(item.values.options) if item.values else 10**item.width
    if not grouped and count >= MAX_CLASSES:
        raise SpecError(f"label {letter} makes more than {MAX_CLASSES} classes with '{OTHER}': narrow it")
    if count > MAX_VALUES:
        raise SpecError(f"label {letter} has more than {MAX_VALUES} values: narrow it")
    if item.values:
        return letter, list(item.values.options)
    return letter, [str(number).zfill(item.width) for number in range(10**item.width)]


def _parse_groups(letter: str, values: list[str], groups: Mapping[str, object]) -> dict[str, Choice[str]]:
    """Parse the values of each class; every one of `values` is in exactly one."""
    if not isinstance(groups, Mapping) or not groups:
        raise SpecError(f"groups is {groups!r}: write a mapping from names of classes to values of {letter}")
    if len(groups) >= MAX_CLASSES:
        raise SpecError(f"groups makes more than {MAX_CLASSES} classes with '{OTHER}': make fewer")
    parsed: dict[str, Choice[str]] = {}
    found: dict[str, str] = {}
    known, names = set(values), dict[str, str]()
    for given, content in groups.items():
        name = check_string("groups", given, drawn=False)
        seen = as_seen(name)
        if not seen:
            raise SpecError("groups has a class without a name: give it one that can be seen")
        if seen == OTHER:
            raise SpecError(f"groups has a class '{OTHER}', the class of all other texts: use another name")
        if seen in names:
            one, two = name_blanks(names[seen]), name_blanks(name)
            raise SpecError(f"groups has the classes '{one}' and '{two}', which look the same: rename one")
        names[seen] = name
        parsed[name] = parse_choice(f"groups.{name}", content)
        for value in parsed[name].options:
            if value not in known:
                raise SpecError(f"groups.{name} holds '{value}', which is no value of {letter}: remove it")
            if value in found:
                raise SpecError(f"groups.{name} holds '{value}', which is in {found[value]} too: remove one")
            found[value] = name
    if missing := [value for value in values if value not in found]:
        some = ", ".join(f"'{value}'" for value in missing[:3]) + (", …" if len(missing) > 3 else "")
        raise SpecError(f"groups leaves out {some} of {letter}: add them to a group, or narrow fields.{letter}")
    return parsed
