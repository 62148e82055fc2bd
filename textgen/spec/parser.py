"""The spec language: a spec describes all texts of a game and the part, or the parts, of them that are the label.

>>> spec = Spec.parse("XY.Zk", label="Z")  # two digits, a point, a digit to be classified, and a k
>>> spec.classes
('0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'other')
>>> spec.sample("7", np.random.default_rng(0))
'62.7k'
>>> spec.label_of("62.7k"), spec.label_of("GOLD")
('7', 'other')
>>> Spec.parse("XY.Zk", label="all").label_of("62.7k")  # one value for each field
{'X': '6', 'Y': '2', 'Z': '7'}

docs/reference/spec.md describes the language. A text is parsed into items, which draw samples. The items form
an automaton, which finds the label of a text, and with which the parser refuses specs that give a text two labels.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from textgen.common.errors import SpecError
from textgen.spec.ambiguity import LabelledTexts, build_automaton
from textgen.spec.automaton import Automaton
from textgen.spec.items import (
    Choice,
    Field,
    Items,
    OptionalText,
    coupled_orders,
    draw,
    find_fields,
    order_dependent,
    read,
    read_values,
)
from textgen.spec.label_fields import ABSENT, LabelField, LabelFields, make_pattern
from textgen.spec.labels import Label, parse_groups, parse_label, parse_labels
from textgen.spec.sampling import draw_with
from textgen.spec.values import MAX_LENGTH, OTHER, check_string, error_at, parse_fields, parse_weights

_TOKEN = re.compile(r"\\(?P<escaped>.)|(?P<letter>[A-Z])(?P=letter)*|\](?::0?(?P<chance>\.[0-9]+))?|.")


@dataclass(frozen=True)
class Spec:
    """A parsed spec: all texts of a game and the label of each. Build it with `Spec.parse`.

    A label is the class of one field, or a class for each of several fields (`is_joint`).

    Attributes:
        text: the spec as it was written.
        label: the letter of the field that is classified; of several, their names, joined by commas.
        fields: the classes of every field of the label, "other" the last of each, and how they make up the text.
        classes: the values of that field in order, or the names of their groups, then "other"; `fields.classes`.
        values: the class of each value of that field, or of each value of several.
        characters: all characters of all texts, those of class "other" included.
        items: what the texts consist of.
        groups: the values of each class but "other", if classes are groups.
        others: the texts of class "other".
        labels: of several fields, each one's key in `items`, a letter or the number of an optional text.
        orders: of several fields, the orders in which those that depend on each other are drawn, see `coupled_orders`.
    """

    text: str
    label: str
    fields: LabelFields
    values: Mapping[str, str] = field(repr=False)
    characters: frozenset[str] = field(repr=False)
    items: "Items" = field(repr=False)
    groups: "tuple[Choice[str], ...]" = field(repr=False)
    others: "Choice[Items]" = field(repr=False)
    labels: "tuple[Label, ...]" = field(repr=False)
    orders: "tuple[tuple[Field, ...], ...]" = field(repr=False)
    _automaton: "Automaton" = field(repr=False, compare=False)
    _start: int = field(repr=False, compare=False)
    _has_limits: bool = field(repr=False, compare=False)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of all classes, see `LabelFields.classes`."""
        return self.fields.classes

    @property
    def is_joint(self) -> bool:
        """Whether the label was given as a list, `all` or `text`: texts are then drawn by the weights of all fields."""
        return bool(self.labels)

    @classmethod
    def parse(
        cls,
        text: str,
        *,
        label: str | Sequence[str],
        fields: Mapping[str, object] | None = None,
        other: object = "",
        groups: Mapping[str, object] | None = None,
    ) -> "Spec":
        """Parse the spec `text`, whose field `label` is to be classified. Raises `SpecError`.

        `label` may also be a list of fields, "all" for every field, or "text" for every field and optional text.
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
        labels = parse_labels(label, text, items, columns, grouped=groups is not None)
        if labels:
            return cls._parse_joint(text, labels, items, _parse_others(text, other, values, columns))
        letter, names = parse_label(str(label), text, items, columns, grouped=groups is not None)
        parsed_groups = {} if groups is None else parse_groups(letter, names, groups)
        classes = (*(parsed_groups or names), OTHER)
        class_of = {value: name for name, group in parsed_groups.items() for value in group.options}
        class_of = class_of or dict(zip(names, names, strict=True))
        others = _parse_others(text, other, values, columns)
        order_dependent(items, [letter])

        texts = LabelledTexts(text, letter, letter, items, names, [class_of[name] for name in names])
        number_of = {name: number for number, name in enumerate(classes)}
        numbers = [number_of[name] for name in texts.labels]
        automaton, start = build_automaton(texts, numbers, others.items)
        return cls(
            text=text,
            label=letter,
            fields=LabelFields.single(classes, letter),
            values=class_of,
            characters=frozenset[str]().union(*automaton.steps),
            items=items,
            groups=tuple(parsed_groups.values()),
            others=others.choice,
            labels=(),
            orders=(),
            _automaton=automaton,
            _start=start,
            _has_limits=any(item.source for item in find_fields(items)),
        )

    @classmethod
    def _parse_joint(cls, text: str, labels: "Sequence[Label]", items: Items, others: "_Others") -> "Spec":
        """With a label of several fields. No text may have two values of any of them."""
        orders = coupled_orders(items, [label.key for label in labels if isinstance(label.key, str)])
        for label in labels:
            texts = LabelledTexts(text, label.key, label.name, items, label.values, label.values)
            automaton, start = build_automaton(texts, range(len(label.values)), others.items)
        columns = {label.key: number for number, label in enumerate(labels)}
        fields = tuple(LabelField(label.name, (*label.values, OTHER)) for label in labels)
        return cls(
            text=text,
            label=",".join(label.name for label in labels),
            fields=LabelFields(fields, make_pattern(items, columns)),
            values={of: of for label in labels if isinstance(label.key, str) for of in label.values if of != ABSENT},
            characters=frozenset[str]().union(*automaton.steps),
            items=items,
            groups=(),
            others=others.choice,
            labels=tuple(labels),
            orders=tuple(map(tuple, orders)),
            _automaton=automaton,
            _start=start,
            _has_limits=True,
        )

    def sample(self, label: str | Mapping[str, str], rng: np.random.Generator) -> str:
        """Draw a random text of the class `label`. Raises `SpecError` for an unknown class.

        Of a label of several fields, `label` maps the names of some of them to the values to show, and `ABSENT` leaves
        optional text out. Every value of the others is as frequent as its weight says, unless the spec makes fields
        depend on each other (`orders`).

        >>> spec = Spec.parse("MM:SS", label=["M", "S"])
        >>> spec.sample({"M": "30"}, np.random.default_rng(0))
        '30:62'
        """
        if not isinstance(label, str) and {*label.values()} == {OTHER} and {*label} <= {*self.fields.names}:
            label = OTHER
        if label == OTHER:
            return draw(self.others.draw(rng), rng)
        if not isinstance(label, str):
            return draw_with(self.items, self._check_shown(label), self.orders, rng)
        if self.is_joint:
            raise SpecError(f"'{label}' is no label of spec '{self.text}': give a mapping from fields to values")
        if self.groups and label in self.classes:
            label = self.groups[self.classes.index(label)].draw(rng)
        elif self.groups or label not in self.values:
            some = ", ".join(f"'{name}'" for name in self.classes[:10])
            raise SpecError(f"'{label}' is no class of spec '{self.text}': choose {some}, … or '{OTHER}'")
        return draw(self.items, rng, {self.label: label})

    def draw_examples(self, count: int, rng: np.random.Generator) -> list[str]:
        """Draw `count` texts with a label: of classes evenly spaced over all, or of random values of several fields."""
        if self.is_joint:
            return [self.sample({}, rng) for _ in range(count)]
        names = self.classes[:-1]
        return [self.sample(names[round(at)], rng) for at in np.linspace(0, len(names) - 1, count)]

    def label_of(self, text: str) -> str | dict[str, str]:
        """Return the class of `text`, the inverse of `sample`; "other" for all other texts, the empty text included.

        Of a label of several fields, the class of each by its name.
        """
        if self.is_joint:
            return dict(zip(self.fields.names, self.fields.values(self.labels_of(text)), strict=True))
        return self.classes[self._class_of(text)]

    def answer_of(self, text: str) -> str:
        """The class of `text` as one text: of a label of several fields, see `LabelFields.join`."""
        return self.fields.name_of(self.labels_of(text))

    def labels_of(self, text: str) -> tuple[int, ...]:
        """The number of the class of every field of the label, for `text`."""
        if not self.is_joint:
            return (self._class_of(text),)
        found = read_values(self.items, unicodedata.normalize("NFC", text), {label.key for label in self.labels})
        if not found:
            return tuple(size - 1 for size in self.fields.sizes)
        return tuple(label.number_of(found[0]) for label in self.labels)

    def _class_of(self, text: str) -> int:
        text = unicodedata.normalize("NFC", text)
        labels = self._automaton.find_labels(self._start, text)
        if labels and self._has_limits:  # the automaton knows none
            found = {self.values[value] for value in read(self.items, text, self.label)}
            return self.classes.index(found.pop()) if found else len(self.classes) - 1
        return labels[0] if labels else len(self.classes) - 1

    def _check_shown(self, label: Mapping[str, str]) -> "dict[str | int, str]":
        """Values by key. Raises `SpecError` for fields and values that the label does not have."""
        shown: dict[str | int, str] = {}
        for name, value in label.items():
            of = next((of for of in self.labels if of.name == name), None)
            if of is None or value not in of.values:
                has = f"field '{name}'" if of is None else f"value '{value}' of field '{name}'"
                raise SpecError(f"the label of spec '{self.text}' has no {has}")
            shown[of.key] = value
        return shown


@dataclass(frozen=True)
class _Others:
    """The texts of class "other", as written, and as a random choice."""

    items: Mapping[str, Items]
    choice: Choice[Items]


def _parse_others(text: str, other: object, values: Mapping[str, Choice[str]], columns: Mapping[str, int]) -> _Others:
    """Parse the setting `other`. Raises `SpecError` also for fields that neither the spec `text` nor it has."""
    shown = parse_weights("other", other)
    parsed = {key: _parse_text("other", key, values) for key in shown}
    letters = set(columns).union(*(other_columns for _, other_columns in parsed.values()))
    for unused in [letter for letter in values if letter not in letters]:
        problem = f"fields.{unused} stands nowhere in '{text}': rename or remove it"
        raise SpecError(f"{problem}; the fields there are {', '.join(sorted(letters))}")
    for items, _ in parsed.values():
        order_dependent(items)
    by_text = {key: items for key, (items, _) in parsed.items()}
    return _Others(by_text, Choice.from_weights(list(by_text.values()), list(shown.values())))


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
    # Open brackets: column, number of the optional text, items before.
    outer: list[tuple[int, int, list[str | Field | OptionalText]]] = []
    brackets = 0
    for token in _TOKEN.finditer(text):
        column, chance = token.start() + 1, token["chance"]
        if token["letter"]:
            items.append(_parse_field(name, text, token, columns, values))
        elif token[0] == "[":
            outer.append((column, brackets, items))
            items, brackets = [], brackets + 1
        elif token[0].startswith("]"):
            if not outer:
                problem = r"']' closes no '[': add one before it, or write '\]' for a bracket"
                raise error_at(column, name, text, problem)
            if not items:
                problem = r"'[]' holds no text: fill it, or write '\[\]' for brackets"
                raise error_at(column - 1, name, text, problem)
            if chance and float(chance) == 0:
                problem = r"a chance of 0 shows nothing: raise it, or write '\:' for a colon"
                raise error_at(column + 1, name, text, problem)
            _, number, before = outer.pop()
            items = [*before, OptionalText(tuple(items), float(chance or 0.5), number)]
        elif token[0] == "\\":
            raise error_at(column, name, text, r"'\' stands before nothing: write '\\' for a backslash")
        else:
            items.append(token["escaped"] or token[0])
    if outer:
        problem = r"'[' is never closed: add a ']', or write '\[' for a bracket"
        raise error_at(outer[-1][0], name, text, problem)
    return tuple(items), columns


def _parse_field(
    name: str, text: str, run: re.Match[str], columns: dict[str, int], values: Mapping[str, Choice[str]]
) -> Field:
    """Parse a run of one letter as a field, and add its column to `columns`."""
    letter, width, column = run["letter"], len(run[0]), run.start() + 1
    if letter in columns:
        problem = f"field {letter} stands at column {columns[letter]} already: use another letter"
        raise error_at(column, name, text, rf"{problem}, or write '\{letter}' for the letter itself")
    columns[letter] = column
    for value in values[letter].options if width > 1 and letter in values else ():
        if len(value) != width:
            problem = f"{run[0]} is {width} characters wide, but fields.{letter} holds '{value}'"
            raise error_at(column, name, text, f"{problem}: write a single {letter} for values of any width")
    return Field(letter, width, values.get(letter))
