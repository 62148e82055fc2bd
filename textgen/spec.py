"""The spec language: a few characters describe all texts of a counter, and which part of them is the label.

>>> spec = Spec.parse("XY.Zk", label="Z")  # two digits, a point, a digit that is to be classified, and a k
>>> spec.classes
('0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'other')
>>> spec.sample("7", np.random.default_rng(0))
'62.7k'
>>> spec.label_of("62.7k"), spec.label_of("GOLD")
('7', 'other')

docs/spec.md describes the language. A text is parsed into items, which draw samples, and these make an
automaton, which reads texts back, and proves that no text can be read with two different labels.
"""

import re
import sys
import unicodedata
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Generic, TypeAlias, TypeVar

import numpy as np

OTHER = "other"  # the last class of every spec: whatever shows none of the label's values
MAX_LENGTH, MAX_VALUES, MAX_CLASSES = 200, 100_000, 10_000  # of a text, of a field, of the label with OTHER
MAX_STATES = 1_000_000  # of the automaton, and of the search for ambiguities

_DIGITS = "0123456789"
_CHANCE = re.compile(r":0?(\.[0-9]+)")
_RANGE = re.compile(r"([0-9]{1,18})\.\.([0-9]{1,18})")
T = TypeVar("T")


class SpecError(ValueError):
    r"""A wrong spec. `str(error)` is one sentence, then a picture where a place in a text is to blame.

    >>> Spec.parse("X[.Yk", label="X")
    Traceback (most recent call last):
    textgen.spec.SpecError: spec, column 2: '[' is never closed: add a ']', or write '\[' for a bracket
        X[.Yk
         ^

    Attributes:
        summary: the sentence alone; it names the column, counted from 1.
    """

    def __init__(self, summary: str, text: str = "", column: int = 0) -> None:
        # An East Asian wide character is as wide as an ideographic space: the caret stays below its column.
        wide = [unicodedata.east_asian_width(char) in "WF" for char in text[: column - 1]]
        caret = "".join("\u3000" if is_wide else " " for is_wide in wide) + "^"
        super().__init__(f"{summary}\n    {text}\n    {caret}" if column else summary)
        self.summary = summary


@dataclass(frozen=True)
class Spec:
    """All texts that a counter can show, and the label of each. `Spec.parse` makes one.

    Attributes:
        text: the spec as it was written.
        label: the letter of the field that is classified.
        classes: the values of that field in their order, then "other".
        characters: every character that some text holds, those of class "other" included.
    """

    text: str
    label: str
    classes: tuple[str, ...]
    characters: frozenset[str] = field(repr=False)
    _before: "_Items" = field(repr=False)  # the label stands between these two
    _after: "_Items" = field(repr=False)
    _others: "_Choice[_Items]" = field(repr=False)
    _known: frozenset[str] = field(repr=False)
    _automaton: "_Automaton" = field(repr=False, compare=False)
    _start: int = field(repr=False, compare=False)

    @classmethod
    def parse(
        cls, text: str, *, label: str, fields: Mapping[str, object] | None = None, other: object = ""
    ) -> "Spec":
        """Read the spec `text`, whose field `label` is to be classified.

        `fields` says what letters stand for: a value or range, a list of these, or a mapping from these to
        weights. `other` says what class "other" shows: a text, a list of texts, or a mapping to weights.

        >>> fields = {"N": ["0..2", "00"], "M": {"00": 3, "01..59": 1}}  # three of four M are 00
        >>> spec = Spec.parse("N:MM[ left]", label="N", fields=fields, other="N.MM")
        >>> spec.classes
        ('0', '1', '2', '00', 'other')
        >>> spec.label_of("00:59 left"), spec.label_of("00:60"), spec.label_of("2.30")
        ('00', 'other', 'other')
        """
        values = _parse_fields({} if fields is None else fields)
        items, columns = _parse_text("spec", text, values)
        before, classes, after = _split_at_label(label, text, items, columns)

        shown = _weighted("other", other)
        others = {key: _parse_text("other", key, values) for key in shown}
        letters = set(columns).union(*(other_columns for _, other_columns in others.values()))
        for letter in values:
            if letter not in letters:
                problem = f"fields.{letter} stands nowhere in '{text}': rename or remove it"
                raise SpecError(f"{problem}; the fields there are {', '.join(sorted(letters))}")

        automaton = _Automaton()
        start = automaton.add(before, automaton.add_values(classes[:-1], automaton.add(after), labelled=True))
        clash = automaton.clash((start, UNREAD), (start, UNREAD))
        if clash is not None:
            one, two = (f"{label} = '{classes[number]}'" for number in automaton.labels(start, clash)[:2])
            problem = f"spec '{text}' is ambiguous: '{clash}' can be read with {one} and with {two}"
            raise SpecError(f"{problem}: narrow a field, or set {label} apart by a character of its own")
        for key, (other_items, _) in others.items():
            clash = automaton.clash((start, UNREAD), (automaton.add(other_items), len(classes) - 1))
            if clash is not None:
                of = classes[automaton.labels(start, clash)[0]]
                problem = f"other '{key}' can show '{clash}', which spec '{text}' reads as class '{of}'"
                raise SpecError(f"{problem}: write an other-text that shares no text with the spec")

        return cls(
            text=text,
            label=label,
            classes=classes,
            characters=frozenset[str]().union(*automaton.steps),
            _before=before,
            _after=after,
            _others=_Choice.of([other_items for other_items, _ in others.values()], list(shown.values())),
            _known=frozenset(classes),
            _automaton=automaton,
            _start=start,
        )

    def sample(self, label: str, rng: np.random.Generator) -> str:
        """A random text of the class `label`."""
        if label not in self._known:
            some = ", ".join(f"'{name}'" for name in self.classes[:10])
            raise SpecError(f"'{label}' is no class of spec '{self.text}': choose {some}, … or '{OTHER}'")
        if label == OTHER:
            return _draw(self._others.draw(rng), rng)
        return _draw(self._before, rng) + label + _draw(self._after, rng)

    def label_of(self, text: str) -> str:
        """The class of `text`, the inverse of `sample`: "other" for all that is no class, blank included."""
        labels = self._automaton.labels(self._start, text)
        return self.classes[labels[0]] if labels else OTHER


# ---- Items: what texts are made of. They draw with rng.random alone: rng.integers takes five times as long.


@dataclass(frozen=True)
class _Choice(Generic[T]):
    """One of `options`. `bounds` are their cumulative chances but the last, or empty where all are equal."""

    options: tuple[T, ...]
    bounds: tuple[float, ...] = ()

    @classmethod
    def of(cls, options: Sequence[T], weights: Sequence[float]) -> "_Choice[T]":
        if len(set(weights)) == 1:
            return cls(tuple(options))
        largest = max(weights)  # divided by first, so that no sum overflows
        sums = list(accumulate(weight / largest for weight in weights))
        return cls(tuple(options), tuple(partial / sums[-1] for partial in sums[:-1]))

    def draw(self, rng: np.random.Generator) -> T:
        if self.bounds:
            return self.options[bisect_right(self.bounds, rng.random())]
        return self.options[int(rng.random() * len(self.options))]


@dataclass(frozen=True)
class _Field:
    """A run of `width` times `letter`: one of `values`, or if these are None, as many digits."""

    letter: str
    width: int
    values: _Choice[str] | None

    def draw(self, rng: np.random.Generator) -> str:
        if self.values is not None:
            return self.values.draw(rng)
        return "".join([_DIGITS[int(rng.random() * 10)] for _ in range(self.width)])


@dataclass(frozen=True)
class _Optional:
    """`[items]:chance`."""

    items: "_Items"
    chance: float

    def draw(self, rng: np.random.Generator) -> str:
        return _draw(self.items, rng) if rng.random() < self.chance else ""


_Items: TypeAlias = tuple[str | _Field | _Optional, ...]


def _draw(items: _Items, rng: np.random.Generator) -> str:
    return "".join([item if isinstance(item, str) else item.draw(rng) for item in items])


# ---- Parsing. `name` is what errors call a thing: spec, other or fields.N.


def _parse_text(name: str, text: str, values: Mapping[str, _Choice[str]]) -> tuple[_Items, dict[str, int]]:
    """The items of a text, and the column of each field by its letter."""

    def error(column: int, problem: str) -> SpecError:
        return SpecError(f"{name}, column {column}: {problem}", text, column)

    if len(_string(name, text)) > MAX_LENGTH:
        raise SpecError(f"{name} is {len(text)} characters long: shorten it to {MAX_LENGTH}")
    columns: dict[str, int] = {}
    items: list[str | _Field | _Optional] = []
    outer: list[tuple[int, list[str | _Field | _Optional]]] = []  # of open brackets: column, items before
    at = 0
    while at < len(text):
        char, column = text[at], at + 1
        at += 1
        if char == "\\":
            if at == len(text):
                raise error(column, r"'\' stands before nothing: write '\\' for a backslash")
            items.append(text[at])
            at += 1
        elif char == "[":
            outer.append((column, items))
            items = []
        elif char == "]":
            if not outer:
                raise error(column, r"']' closes no '[': add one before it, or write '\]' for a bracket")
            if not items:
                raise error(column - 1, r"'[]' holds no text: fill it, or write '\[\]' for brackets")
            inner, (_, items) = items, outer.pop()
            chance = _CHANCE.match(text, at)
            if chance and float(chance[1]) == 0:
                raise error(at + 1, r"a chance of 0 shows nothing: raise it, or write '\:' for a colon")
            items.append(_Optional(tuple(inner), float(chance[1]) if chance else 0.5))
            at = chance.end() if chance else at
        elif "A" <= char <= "Z":
            while text[at : at + 1] == char:
                at += 1
            if char in columns:
                problem = f"field {char} stands at column {columns[char]} already: use another letter"
                raise error(column, rf"{problem}, or write '\{char}' for the letter itself")
            columns[char], width = column, at + 1 - column
            unfit = [value for value in values[char].options if len(value) != width] if char in values else []
            if width > 1 and unfit:
                problem = f"{char * width} is {width} characters wide, but fields.{char} holds '{unfit[0]}'"
                raise error(column, f"{problem}: write a single {char} for values of any width")
            items.append(_Field(char, width, values.get(char)))
        else:
            items.append(char)
    if outer:
        raise error(outer[-1][0], r"'[' is never closed: add a ']', or write '\[' for a bracket")
    return tuple(items), columns


def _split_at_label(
    label: str, text: str, items: _Items, columns: Mapping[str, int]
) -> tuple[_Items, tuple[str, ...], _Items]:
    """What stands before the label, the classes, and what stands after the label."""
    if not columns:
        raise SpecError(f"spec '{text}' has no field: write an uppercase letter, such as X for a digit")
    if _string("label", label) not in columns:
        raise SpecError(f"label '{label}' is no field of spec '{text}': choose one of {', '.join(columns)}")
    for at, item in enumerate(items):
        if not isinstance(item, _Field) or item.letter != label:
            continue
        count = len(item.values.options) if item.values else 10**item.width
        if count >= MAX_CLASSES:
            raise SpecError(f"label {label} makes more than {MAX_CLASSES} classes with '{OTHER}': narrow it")
        if item.values and item.values.bounds:
            raise SpecError(f"fields.{label} has weights, but classes are asked for by name: remove them")
        names = item.values.options if item.values else [str(n).zfill(item.width) for n in range(count)]
        return items[:at], (*names, OTHER), items[at + 1 :]
    problem = "the label stands in optional text, and without it a text would have no class"
    where = f"spec, column {columns[label]}"
    raise SpecError(f"{where}: {problem}: move {label} out of the brackets", text, columns[label])


def _parse_fields(fields: Mapping[str, object]) -> dict[str, _Choice[str]]:
    if not isinstance(fields, Mapping):
        raise SpecError(f"fields is {fields!r}: write a mapping from letters to what they stand for")
    values = {}
    for letter, given in fields.items():
        if not re.fullmatch("[A-Z]", _string("fields", letter)):
            raise SpecError(f"fields.{letter}: a field has one uppercase letter, A to Z, for a name")
        name = f"fields.{letter}"
        weights: dict[str, float] = {}
        for key, weight in _weighted(name, given).items():
            expanded = _expand(name, key)
            if len(weights) + len(expanded) > MAX_VALUES:
                raise SpecError(f"{name} holds more than {MAX_VALUES} values: narrow it")
            for value in expanded:
                if value in weights:
                    raise SpecError(f"{name} holds '{value}' twice: remove one")
                # In a list all values are equally likely; a weight is that of its whole key.
                weights[value] = weight / len(expanded) if isinstance(given, Mapping) else 1.0
        values[letter] = _Choice.of(list(weights), list(weights.values()))
    return values


def _expand(name: str, text: str) -> Sequence[str]:
    """The values of a range, or the one value that `text` is."""
    if not text:
        raise SpecError(f"{name} holds an empty text: use brackets in the spec for what may be absent")
    if text == OTHER:
        raise SpecError(f"{name} holds '{OTHER}', the class of all that is no value: use another word")
    bounds = _RANGE.fullmatch(text)
    if bounds is None:
        if re.search(r"(?<!\.)\.\.(?!\.)", text):  # "a..z", "-5..5", "0..9, 00..99": not meant as they are
            raise SpecError(f"{name} holds '{text}', which is no range: write '0..20' or '00..60'")
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


def _weighted(name: str, given: object) -> dict[str, float]:
    """A string, a list of strings, or a mapping from strings to weights, as the last of these."""
    pairs: list[tuple[object, object]] = [(given, 1.0)]
    if isinstance(given, Mapping):
        pairs = list(given.items())
    elif isinstance(given, Sequence) and not isinstance(given, str):
        pairs = [(text, 1.0) for text in given]
    if not pairs or given is None:
        raise SpecError(f"{name} is empty: write at least one text, in quotes")
    weights: dict[str, float] = {}
    for key, weight in pairs:
        text = _string(name, key)
        if text in weights:
            raise SpecError(f"{name} holds '{text}' twice: remove one")
        number = weight if isinstance(weight, int | float) and not isinstance(weight, bool) else 0
        if not 0 < number <= sys.float_info.max:
            raise SpecError(f"{name} gives '{text}' the weight {weight!r}: write a number above 0")
        weights[text] = float(number)
    return weights


def _string(name: str, given: object) -> str:
    if not isinstance(given, str):
        trap = "YAML forgets the leading zeros of 01, and reads 30:54 as a number and NO as false"
        raise SpecError(f"{name} holds {given!r}, which is no text: write it in quotes, because {trap}")
    for char in given:
        if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp"):  # texts are stored one a line
            raise SpecError(f"{name} holds {char!r}: a text is one line without control characters")
    return given


# ---- The automaton.

ACCEPT = 0  # the state in which a whole text has been read
UNREAD = -1  # the number of a label that has not been read yet

_Reading: TypeAlias = tuple[int, int]  # a state, and the number of the label


class _Automaton:
    """Reads texts. `steps[state]` lead on by a character, `jumps[state]` by none; a jump may tell the label.

    There is a state for each character of a text and each node of a tree of values, so it reads a text of n
    characters with s states in n·s steps, where trying the branches of `[a][a][a]…` in turn would take 2**s.
    """

    def __init__(self) -> None:
        self.steps: list[dict[str, int]] = [{}]
        self.jumps: list[list[_Reading]] = [[]]

    def add(self, items: _Items, after: int = ACCEPT) -> int:
        """A new state from which `items` are read, and then what is read from `after`."""
        for item in reversed(items):
            if isinstance(item, str):
                after = self._state({item: after})
            elif isinstance(item, _Optional):
                after = self._state({}, (self.add(item.items, after), UNREAD), (after, UNREAD))
            elif item.values is not None:
                after = self.add_values(item.values.options, after)
            else:
                for _ in range(item.width):
                    after = self._state(dict.fromkeys(_DIGITS, after))
        return after

    def add_values(self, values: Sequence[str], after: int, labelled: bool = False) -> int:
        """The root of a new tree in which one of `values` is read; if `labelled`, its number is the label."""
        root = self._state({})
        for number, value in enumerate(values):
            node = root
            for char in value:
                if char not in self.steps[node]:
                    self.steps[node][char] = self._state({})
                node = self.steps[node][char]
            self.jumps[node].append((after, number if labelled else UNREAD))
        return root

    def labels(self, start: int, text: str) -> list[int]:
        """The numbers of the labels with which `text` can be read."""
        readings = self._settled({(start, UNREAD)})
        for char in text:
            leads = {(self.steps[state].get(char), label) for state, label in readings}
            readings = self._settled({(state, label) for state, label in leads if state is not None})
        return sorted(label for state, label in readings if state == ACCEPT)

    def clash(self, one: _Reading, two: _Reading) -> str | None:
        """The shortest text that can be read from both `one` and `two` with different labels.

        A breadth-first search through pairs of readings of the same text, and so exact. Once both labels are
        read, a pair that agrees is dropped, and of one that differs is forgotten in what: few pairs remain.
        """
        texts: dict[tuple[_Reading, _Reading], str] = {}
        layer: list[tuple[_Reading, _Reading]] = []

        def reach(one: _Reading, two: _Reading, text: str) -> None:
            if UNREAD not in (one[1], two[1]):
                if one[1] == two[1]:
                    return
                one, two = (one[0], 0), (two[0], 1)
            if (one, two) not in texts:
                texts[one, two] = text
                layer.append((one, two))
                _check_size(len(texts))

        reach(one, two, "")
        while layer:
            for one, two in layer:  # which grows meanwhile: a jump reads no character
                if one[0] == two[0] == ACCEPT:
                    return texts[one, two]
                for jumped in self._jumped(one):
                    reach(jumped, two, texts[one, two])
                for jumped in self._jumped(two):
                    reach(one, jumped, texts[one, two])
            read, layer = layer, []
            for one, two in read:
                steps, others = self.steps[one[0]], self.steps[two[0]]
                for char in steps:
                    if char in others:
                        reach((steps[char], one[1]), (others[char], two[1]), texts[one, two] + char)
        return None

    def _state(self, steps: dict[str, int], *jumps: _Reading) -> int:
        _check_size(len(self.steps))
        self.steps.append(steps)
        self.jumps.append(list(jumps))
        return len(self.steps) - 1

    def _jumped(self, reading: _Reading) -> list[_Reading]:
        state, label = reading
        return [(after, label if told == UNREAD else told) for after, told in self.jumps[state]]

    def _settled(self, readings: set[_Reading]) -> set[_Reading]:
        """`readings`, and all that jumps lead to from them."""
        todo = list(readings)
        while todo:
            new = set(self._jumped(todo.pop())) - readings
            readings |= new
            todo += new
        return readings


def _check_size(states: int) -> None:
    if states > MAX_STATES:
        raise SpecError("spec is too large to be checked for ambiguity: give its fields fewer values")
