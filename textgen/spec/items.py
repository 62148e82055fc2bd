"""The items of a spec: characters, fields and optional texts, which draw random samples.

All sampling uses rng.random, since rng.integers takes five times as long.
"""

from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Generic, TypeAlias, TypeVar

import numpy as np

from textgen.common.errors import SpecError

DIGITS = "0123456789"
T = TypeVar("T")


@dataclass(frozen=True)
class Choice(Generic[T]):
    """A random choice of `options`. `bounds` are their cumulative probabilities without the last; empty if uniform."""

    options: tuple[T, ...]
    bounds: tuple[float, ...] = ()

    @cached_property
    def by_length(self) -> dict[int, frozenset[T]]:
        """The options of each length, if they are texts: to read one takes no search."""
        lengths: dict[int, set[T]] = {}
        for option in self.options:
            lengths.setdefault(len(str(option)), set()).add(option)
        return {length: frozenset(options) for length, options in lengths.items()}

    @classmethod
    def from_weights(cls, options: Sequence[T], weights: Sequence[float]) -> "Choice[T]":
        """Build a choice with probabilities in proportion to `weights`."""
        if len(set(weights)) == 1:
            return cls(tuple(options))
        largest = max(weights)  # dividing by it keeps the sums finite
        sums = list(accumulate(weight / largest for weight in weights))
        return cls(tuple(options), tuple(partial / sums[-1] for partial in sums[:-1]))

    def draw(self, rng: np.random.Generator) -> T:
        """Draw one of the options."""
        if self.bounds:
            return self.options[bisect_right(self.bounds, rng.random())]
        return self.options[int(rng.random() * len(self.options))]


@dataclass(frozen=True)
class Limit(Choice[str]):
    """Consecutive numbers, of which those up to (`upper`), or from, the value of the field `source` can be drawn."""

    source: str = ""
    upper: bool = False

    def draw_within(self, rng: np.random.Generator, limit: int) -> str:
        """Draw a number on the allowed side of `limit`, itself included."""
        at = min(max(limit - int(self.options[0]), 0), len(self.options) - 1)
        first, count = (0, at + 1) if self.upper else (at, len(self.options) - at)
        return self.options[first + int(rng.random() * count)]

    def allows(self, value: str, limit: str) -> bool:
        """Whether `value` is on the allowed side of `limit`."""
        return int(value) <= int(limit) if self.upper else int(value) >= int(limit)


@dataclass(frozen=True)
class Field:
    """A field, written as `width` times `letter`: one of `values`, or `width` random digits if `values` is None."""

    letter: str
    width: int
    values: Choice[str] | None

    @property
    def source(self) -> str:
        """The letter of the field that this one depends on, or an empty text."""
        return self.values.source if isinstance(self.values, Limit) else ""

    def draw(self, rng: np.random.Generator) -> str:
        """Draw a value, whatever other fields show."""
        if self.values is not None:
            return self.values.draw(rng)
        return "".join([DIGITS[int(rng.random() * 10)] for _ in range(self.width)])


@dataclass(frozen=True)
class OptionalText:
    """Optional text `[items]:chance`, present with the probability `chance`. `number` counts those of a text from 0."""

    items: "Items"
    chance: float
    number: int = 0


Items: TypeAlias = tuple[str | Field | OptionalText, ...]


def draw(
    items: Items,
    rng: np.random.Generator,
    shown: Mapping[str, str] | None = None,
    order: Sequence[Field] | None = None,
    presence: Mapping[int, bool] | None = None,
) -> str:
    """Draw a text that consists of `items`; fields in `shown` have these values.

    `order` are the fields to draw before the text is written, `order_dependent(items, shown)` if None; of optional text
    whose number is in `presence`, that says whether it is shown.
    """
    values, decided = dict(shown or {}), presence or {}
    for field in order_dependent(items, values) if order is None else order:
        if isinstance(field.values, Limit) and field.source in values:
            values[field.letter] = field.values.draw_within(rng, int(values[field.source]))
        else:
            values[field.letter] = field.draw(rng)

    def write(some: Items) -> str:
        parts = []
        for item in some:
            if isinstance(item, OptionalText):
                is_shown = decided[item.number] if item.number in decided else rng.random() < item.chance
                parts.append(write(item.items) if is_shown else "")
            elif isinstance(item, Field):
                parts.append(values[item.letter] if item.letter in values else item.draw(rng))
            else:
                parts.append(item)
        return "".join(parts)

    return write(items)


def coupled_orders(items: Items, labels: Collection[str]) -> list[list[Field]]:
    """The orders in which fields that depend on each other can be drawn, so that each of `labels` comes first in one.

    The first order is `order_dependent(items)`. In another one, a dependent field is drawn from all its values, and
    then the field that it depends on within the limit that this sets. Where N <= M, no joint distribution gives all
    values of both the same frequency; with the orders in turn, each value has at least its share of one order.
    """
    base = order_dependent(items)
    fields = {field.letter: field for field in find_fields(items)}
    orders = [base] if not base or base[0].letter in labels or not labels else []
    for field in base:
        if not isinstance(field.values, Limit) or field.letter not in labels:
            continue
        if (source := _limit_source(fields[field.source], field)) is not None:
            first = Field(field.letter, field.width, Choice(field.values.options))
            others = [other for other in base if other.letter not in (field.letter, field.source)]
            orders.append([first, source, *others])
    return orders or [base]


def _limit_source(source: Field, dependent: Field) -> Field | None:
    """`source` within the limit that its `dependent` field sets; None unless its values are consecutive numbers."""
    choice = source.values
    if choice is None or choice.bounds or isinstance(choice, Limit) or not isinstance(dependent.values, Limit):
        return None
    numbers = [int(value) for value in choice.options]  # a field that another depends on has numbers alone
    if numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        return None
    limit = Limit(choice.options, (), dependent.letter, upper=not dependent.values.upper)
    return Field(source.letter, source.width, limit)


def fix(items: Items, values: Mapping[str, str], rng: np.random.Generator) -> Items:
    """`items` as one text: every field with a single value, that of `values` or a random one, and no optional text.

    `text_of` is the text. Fields that depend on others have to be in `values`.
    """
    fixed: list[str | Field | OptionalText] = []
    for item in items:
        if isinstance(item, OptionalText):
            if rng.random() < item.chance:
                fixed += fix(item.items, values, rng)
        elif isinstance(item, Field):
            value = values.get(item.letter)
            fixed.append(Field(item.letter, item.width, Choice((item.draw(rng) if value is None else value,))))
        else:
            fixed.append(item)
    return tuple(fixed)


def text_of(fixed: Items) -> str:
    """The text of the items that `fix` returns."""
    return "".join(item.values.options[0] if isinstance(item, Field) and item.values else str(item) for item in fixed)


def order_dependent(items: Items, known: Iterable[str] = ()) -> list[Field]:
    """The fields to draw before a text is written: those that depend on another field in it, and these, first.

    Fields in `known` have their values already. Raises `SpecError` if such another field is in optional text: a text
    may then not show what the value depends on.
    """
    fields = {field.letter: field for field in find_fields(items)}
    certain = {item.letter for item in items if isinstance(item, Field)} | {*known}
    ordered: dict[str, Field] = {}

    def add(field: Field) -> None:
        if field.source in fields and field.source not in known:
            if field.source not in certain:
                problem = f"fields.{field.letter} depends on {field.source}, which stands in optional text"
                raise SpecError(f"{problem}: move {field.source} out of the brackets")
            add(fields[field.source])
        ordered.setdefault(field.letter, field)

    for field in fields.values():
        if field.source in fields or field.source in known:
            add(field)
    return [field for letter, field in ordered.items() if letter not in known]


def find_optional(items: Items) -> list[tuple[OptionalText, tuple[int, ...]]]:
    """All optional texts in `items` in the order of their numbers, each with the numbers of those around it."""
    found: list[tuple[OptionalText, tuple[int, ...]]] = []
    for item in items:
        if isinstance(item, OptionalText):
            inner = find_optional(item.items)
            found += [(item, ()), *((each, (item.number, *around)) for each, around in inner)]
    return found


def find_fields(items: Items) -> list[Field]:
    """All fields in `items`, those in optional text included."""
    fields = []
    for item in items:
        if isinstance(item, OptionalText):
            fields += find_fields(item.items)
        elif isinstance(item, Field):
            fields.append(item)
    return fields


def read(items: Items, text: str, label: str) -> set[str]:
    """The values of the field `label` with which `text` can be read as `items`, all dependent fields within limits."""
    return {values[label] for values in read_values(items, text, {label})}


def read_values(items: Items, text: str, labels: Collection[str | int]) -> list[dict[str | int, str]]:
    """All readings of `text` as `items`, with all dependent fields within limits: the values of `labels` that it shows.

    `labels` are letters of fields, and numbers of optional texts, whose value is "". Other values may be among them.
    """
    fields = {field.letter: field for field in find_fields(items)}
    dependent = [field for field in fields.values() if field.source]
    kept = {*labels, *(field.letter for field in dependent), *(field.source for field in dependent)}
    found = []
    for at, pairs in _advance(items, text, {(0, ())}, kept):
        values = dict(pairs)
        if at == len(text) and all(_is_within(fields[key], values) for key in values if isinstance(key, str)):
            found.append(values)
    return found


def _is_within(field: Field, values: Mapping[str | int, str]) -> bool:
    limit = values.get(field.source)
    return not isinstance(field.values, Limit) or limit is None or field.values.allows(values[field.letter], limit)


# Characters read, and the values that were kept: of fields by letter, of optional texts by number.
Position: TypeAlias = tuple[int, tuple[tuple[str | int, str], ...]]


def _advance(items: Items, text: str, positions: set[Position], kept: set[str | int]) -> set[Position]:
    """All positions after `items`. A set, so that optional text in a row does not double the work each time."""
    for item in items:
        reached: set[Position] = set()
        if isinstance(item, OptionalText):
            inner = _advance(item.items, text, positions, kept)
            if item.number in kept:
                inner = {(at, (*values, (item.number, ""))) for at, values in inner}
            reached = positions | inner
        elif isinstance(item, str):
            reached = {(at + 1, values) for at, values in positions if text.startswith(item, at)}
        else:
            for at, values in positions:
                for value in _values_at(item, text, at):
                    more = ((item.letter, value),) if item.letter in kept else ()
                    reached.add((at + len(value), values + more))
        positions = reached
    return positions


def _values_at(field: Field, text: str, at: int) -> list[str]:
    if field.values is None:
        value = text[at : at + field.width]
        return [value] if len(value) == field.width and all(digit in DIGITS for digit in value) else []
    found = ((text[at : at + length], options) for length, options in field.values.by_length.items())
    return [value for value, options in found if value in options]


def key_of_part(item: str | Field) -> str:
    r"""How a user names a part of a text: a field by its letter, a literal as in the spec, so \H for the letter H."""
    if isinstance(item, Field):
        return item.letter
    return f"\\{item}" if "A" <= item <= "Z" or item in "[]\\" else item


def find_parts(items: Items) -> set[str]:
    """The keys of all fields and literals in `items`."""
    keys = set()
    for item in items:
        keys |= find_parts(item.items) if isinstance(item, OptionalText) else {key_of_part(item)}
    return keys


def find_characters(items: Items, without: Collection[str] = ()) -> set[str]:
    """All characters in `items` but the literals whose keys are in `without`."""
    found: set[str] = set()
    for item in items:
        if isinstance(item, OptionalText):
            found |= find_characters(item.items, without)
        elif isinstance(item, Field):
            found.update(DIGITS if item.values is None else "".join(item.values.options))
        elif key_of_part(item) not in without:
            found.add(item)
    return found
