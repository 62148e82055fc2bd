"""Which part of a text is its label: one field, several of them, or all."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from textgen.common.errors import SpecError
from textgen.spec.characters import as_seen, name_blanks
from textgen.spec.items import Choice, Field, Items, OptionalText, find_fields, find_optional
from textgen.spec.label_fields import ABSENT, PRESENT, deciding_key
from textgen.spec.values import MAX_VALUES, OTHER, check_string, error_at, parse_choice

MAX_CLASSES = 10_000  # with OTHER, of all fields together
ALL, TEXT = "all", "text"  # in place of fields


@dataclass(frozen=True)
class Label:
    """One of several fields of a label.

    `key` is the letter of a field, or the number of an optional text that has no field; `name` is the letter, or that
    text as the spec has it. `values` are those of the field, then `ABSENT` if it can be missing.
    """

    key: str | int
    name: str
    values: tuple[str, ...]

    def number_of(self, shown: Mapping[str | int, str]) -> int:
        """The number of the value in what a text shows, see `textgen.spec.items.read_values`."""
        if self.key not in shown:
            return self.values.index(ABSENT)
        return 0 if isinstance(self.key, int) else self.values.index(shown[self.key])


def parse_labels(label: object, text: str, items: Items, columns: Mapping[str, int], *, grouped: bool) -> list[Label]:
    """The fields of a label that is a list, "all" or "text"; none for one that is a single field.

    Raises `SpecError`.
    """
    if isinstance(label, str) and label not in (ALL, TEXT):
        return []
    if isinstance(label, str):
        keys: list[str | int] = list(columns)
        if not keys:
            raise SpecError(f"spec '{text}' has no field: write an uppercase letter, such as X for a digit")
    elif isinstance(label, Sequence) and label:
        keys = [parse_letter(check_string("label", each), text, items, columns) for each in label]
    else:
        if not isinstance(label, Sequence):
            check_string("label", label)  # says what YAML makes of such texts
        given = list(label) if isinstance(label, Sequence) else label
        raise SpecError(f"label is {given!r}: give a field such as S, a list of fields, {ALL}, or {TEXT}")
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise SpecError(f"label names {twice[0]} twice: remove one")
    if grouped:
        raise SpecError("groups are for a label of one field: leave them out, or name one field in label")
    keys.sort(key=list[object](columns).index)  # as in the text: the fields of a clock carry over from right to left
    optional = find_optional(items)
    if label == TEXT:
        keys += [of.number for of, _ in optional if isinstance(deciding_key(of), int)]
    labels = list(_describe(keys, text, items, columns))
    total = sum(len(of.values) + 1 for of in labels)
    if total > MAX_CLASSES:
        raise SpecError(
            f"label makes {total:,} classes in {len(labels)} fields, more than {MAX_CLASSES:,}: narrow them"
        )
    return labels


def _describe(keys: Sequence[str | int], text: str, items: Items, columns: Mapping[str, int]) -> Iterator[Label]:
    fields = {field.letter: field for field in find_fields(items)}
    certain = {item.letter for item in items if isinstance(item, Field)}
    names: set[str] = set()
    for key in keys:
        if isinstance(key, int):
            of = next(of for of, _ in find_optional(items) if of.number == key)
            name, number = written(of), 2
            while name in names:
                name, number = f"{written(of)} ({number})", number + 1
            names.add(name)
            yield Label(key, name, (PRESENT, ABSENT))
            continue
        values = list_values(fields[key])
        if ABSENT in values:
            problem = f"fields.{key} holds '{ABSENT}', the class of texts without a field: use another word"
            raise error_at(columns[key], "spec", text, problem)
        if key not in certain:
            values = [*values, ABSENT]
        yield Label(key, key, tuple(values))


def written(optional: OptionalText) -> str:
    """Optional text as a spec has it, without its chance."""
    inner = ""
    for item in optional.items:
        if isinstance(item, str):
            inner += item
        else:
            inner += item.letter * item.width if isinstance(item, Field) else written(item)
    return f"[{inner}]"


def parse_letter(label: str, text: str, items: Items, columns: Mapping[str, int]) -> str:
    """The letter of a field that `label` names, by its letter or its run. Raises `SpecError`."""
    letter = label[0] if re.fullmatch(r"([A-Z])\1*", label) else label
    if letter not in columns:
        raise SpecError(
            f"label '{label}' is no field of spec '{text}': choose one of {', '.join(columns)}, a list of them, "
            f"{ALL}, or {TEXT}"
        )
    width = next(field.width for field in find_fields(items) if field.letter == letter)
    if len(label) not in (1, width):
        raise SpecError(f"label '{label}' is {letter * width} in spec '{text}': write {letter * width} or {letter}")
    return letter


def list_values(field: Field) -> list[str]:
    """All values of a field. Raises `SpecError` for too many."""
    count = len(field.values.options) if field.values else 10**field.width
    if count > MAX_VALUES:
        raise SpecError(f"label {field.letter} has more than {MAX_VALUES} values: narrow it")
    if field.values:
        return list(field.values.options)
    return [str(number).zfill(field.width) for number in range(10**field.width)]


def parse_label(
    label: str, text: str, items: Items, columns: Mapping[str, int], *, grouped: bool
) -> tuple[str, list[str]]:
    """Return the letter of the field that is classified, and its values. Raises `SpecError`."""
    if not columns:
        raise SpecError(f"spec '{text}' has no field: write an uppercase letter, such as X for a digit")
    letter = parse_letter(check_string("label", label), text, items, columns)
    item = next((item for item in items if isinstance(item, Field) and item.letter == letter), None)
    if item is None:
        problem = f"the label stands in optional text, and a text without it has no class: move {letter} out"
        raise error_at(columns[letter], "spec", text, problem)
    if item.source:
        problem = f"fields.{letter} depends on {item.source}, but classes are drawn first, equally often"
        raise SpecError(
            f'{problem}: let {item.source} depend on {letter} instead, such as {item.source}: "{letter}..99", '
            f"or read several fields: label: [{item.source}, {letter}]"
        )
    if item.values and item.values.bounds:
        raise SpecError(f"fields.{letter} has weights, but classes are asked for by name: remove them")
    count = len(item.values.options) if item.values else 10**item.width
    if not grouped and count >= MAX_CLASSES:
        raise SpecError(f"label {letter} makes more than {MAX_CLASSES} classes with '{OTHER}': narrow it")
    return letter, list_values(item)


def parse_groups(letter: str, values: list[str], groups: Mapping[str, object]) -> dict[str, Choice[str]]:
    """Parse the values of each class; every one of `values` is in exactly one. Raises `SpecError`."""
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
