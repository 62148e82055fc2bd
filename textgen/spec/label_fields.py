"""What a text is labelled with: one field, or several, each with classes of its own, and how they make up the text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import Any

from textgen.spec.items import Field, Items, OptionalText
from textgen.spec.values import OTHER

ABSENT = "absent"  # the class of a field in optional text that is not shown
PRESENT = "present"  # the class of optional text without a field that is shown
MAX_PATTERN_DEPTH = 200  # brackets in brackets: a spec has at most 200 characters


@dataclass(frozen=True)
class LabelField:
    """One column of the labels: the letter of a field, or optional text as the spec has it, such as "[k]".

    `classes` are its values in order, `ABSENT` if it can be missing, and "other" last, where the task has that class.
    """

    name: str
    classes: tuple[str, ...]


# How a text is put together: characters; {"field": column}, which shows its value; {"optional": column, "items": […]},
# which is shown unless the class of that column is ABSENT. Plain values, as JSON has them.
Pattern = tuple[str | Mapping[str, Any], ...]


@dataclass(frozen=True)
class LabelFields:
    """The fields that a network answers for, and the text that they make up.

    A network gives the logits of all classes of the first field, then of the second, and so on; "other" is a class of
    each of them, and an answer is "other" in all or in none. Labels of n crops are int64 (n,) for one field, (n, m) for
    m. `pattern` is None if the fields do not decide the whole text.
    """

    fields: tuple[LabelField, ...]
    pattern: Pattern | None = field(default=None, hash=False)  # its mappings have no hash

    @classmethod
    def single(cls, classes: Iterable[str], name: str = "label") -> LabelFields:
        """One field with `classes`, as every task had before there were several."""
        return cls((LabelField(name, tuple(classes)),))

    @property
    def is_single(self) -> bool:
        return len(self.fields) == 1

    @property
    def is_plain(self) -> bool:
        """Whether a list of classes says all of it: one field, whose class is the answer."""
        return self.is_single and self.pattern is None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one crop's labels: () for one field, (m,) for m."""
        return () if self.is_single else (len(self.fields),)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(of.name for of in self.fields)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """The number of classes of each field."""
        return tuple(len(of.classes) for of in self.fields)

    @cached_property
    def slices(self) -> tuple[slice, ...]:
        """Where the logits of each field are among those of a crop."""
        ends = list(accumulate(self.sizes))
        return tuple(slice(end - size, end) for end, size in zip(ends, self.sizes, strict=True))

    @property
    def period(self) -> int:
        """The classes of the largest field: of so many samples of a game one is "other"."""
        return max(self.sizes)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The names of all logits of a crop in order: those of the classes, or of field and class, "M=30"."""
        if self.is_single:
            return self.fields[0].classes
        return tuple(f"{of.name}={name}" for of in self.fields for name in of.classes)

    @property
    def has_other(self) -> bool:
        """Whether crops that show nothing to read are a class, the last of every field."""
        return all(of.classes[-1:] == (OTHER,) for of in self.fields)

    def values(self, labels: Sequence[int]) -> tuple[str, ...]:
        """The class of each field, of its number in `labels` (m,)."""
        return tuple(of.classes[label] for of, label in zip(self.fields, labels, strict=True))

    def join(self, values: Sequence[str]) -> str:
        """The text that shows `values`, one for each field; "other" if they are. Without a pattern "M=30 S=54".

        >>> fields = LabelField("M", ("0", "1", "other")), LabelField("S", ("00", "30", "other"))
        >>> LabelFields(fields, ({"field": 0}, ":", {"field": 1})).join(["1", "30"])
        '1:30'
        """
        if self.is_plain:
            return values[0]
        if OTHER in values:
            return OTHER
        if self.pattern is None:
            return " ".join(f"{of.name}={value}" for of, value in zip(self.fields, values, strict=True))
        return _write(self.pattern, values)

    def name_of(self, labels: Sequence[int] | int) -> str:
        """The answer as one text, of its number, or of the numbers of all fields."""
        return self.join(self.values([labels] if isinstance(labels, int) else labels))

    def describe(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        fields = [{"name": of.name, "classes": list(of.classes)} for of in self.fields]
        return {"fields": fields, "pattern": None if self.pattern is None else _plain(self.pattern)}

    @classmethod
    def parse(cls, given: Any) -> LabelFields:
        """What `describe` gave, from a file of a stranger. Raises `ValueError`."""
        try:
            fields = tuple(LabelField(_text(of["name"]), tuple(map(_text, of["classes"]))) for of in given["fields"])
            pattern = None if given["pattern"] is None else _parse_pattern(given["pattern"], len(fields), 0)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"the fields of a label are not as they were written ({error})") from None
        if not fields or not all(of.classes for of in fields):
            raise ValueError("a label has no field, or a field without classes")
        return cls(fields, pattern)


def make_pattern(items: Items, columns: Mapping[str | int, int]) -> Pattern | None:
    """How `items` are written from fields in `columns`, by their letters, and optional text by its number.

    None if a field or an optional text has no column that decides what it shows.
    """
    pattern: list[str | Mapping[str, Any]] = []
    for item in items:
        if isinstance(item, str):
            pattern.append(item)
        elif isinstance(item, Field):
            if item.letter not in columns:
                return None
            pattern.append({"field": columns[item.letter]})
        else:
            column, inner = columns.get(deciding_key(item)), make_pattern(item.items, columns)
            if column is None or inner is None:
                return None
            pattern.append({"optional": column, "items": inner})
    return tuple(pattern)


def deciding_key(optional: OptionalText) -> str | int:
    """The column that tells whether optional text is shown: its first field, or else itself, by its number."""
    return next((item.letter for item in optional.items if isinstance(item, Field)), optional.number)


def _write(pattern: Pattern, values: Sequence[str]) -> str:
    written = []
    for item in pattern:
        if isinstance(item, str):
            written.append(item)
        elif "field" in item:
            value = values[item["field"]]
            written.append("" if value == ABSENT else value)
        elif values[item["optional"]] != ABSENT:
            written.append(_write(item["items"], values))
    return "".join(written)


def _plain(pattern: Pattern) -> list[Any]:
    return [
        {**item, "items": _plain(item["items"])} if isinstance(item, Mapping) and "items" in item else item
        for item in pattern
    ]


def _parse_pattern(given: Any, columns: int, depth: int) -> Pattern:
    if not isinstance(given, list | tuple) or depth > MAX_PATTERN_DEPTH:
        raise ValueError("a pattern is a list")
    return tuple(_parse_item(item, columns, depth) for item in given)


def _parse_item(item: Any, columns: int, depth: int) -> str | Mapping[str, Any]:
    if isinstance(item, str):
        return item
    column = item["field"] if "field" in item else item["optional"]
    if not isinstance(column, int) or not 0 <= column < columns:
        raise ValueError(f"a pattern names column {str(column)[:40]} of {columns}")
    if "field" in item:
        return {"field": column}
    return {"optional": column, "items": _parse_pattern(item["items"], columns, depth + 1)}


def _text(given: Any) -> str:
    if not isinstance(given, str):
        raise TypeError(f"{given!r} is no text")
    return given
