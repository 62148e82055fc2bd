"""Parse what the fields of a spec stand for: texts, ranges, weights. `name` is the setting's name in messages."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Mapping, Sequence

from textgen.common.characters import breaks_line
from textgen.common.errors import SpecError
from textgen.spec.characters import find_problem
from textgen.spec.items import Choice, Limit

OTHER = "other"  # the last class of every spec: the texts that the spec does not describe
MAX_LENGTH = 200  # characters of a text or value
MAX_VALUES = 100_000  # of a field

_RANGE = re.compile(r"(-?)([0-9]{1,18})\.\.(-?)([0-9]{1,18})")
_RANGE_WITH_FIELD = re.compile(r"(?:([A-Z])\.\.(-?[0-9]{1,18}))|(?:(-?[0-9]{1,18})\.\.([A-Z]))")


def parse_fields(fields: Mapping[str, object]) -> dict[str, Choice[str]]:
    """Parse the values of the fields by letter. Raises `SpecError`."""
    if not isinstance(fields, Mapping):
        raise SpecError(f"fields is {fields!r}: write a mapping from letters to what they stand for")
    values: dict[str, Choice[str]] = {}
    limited: dict[str, re.Match[str]] = {}
    for letter, given in fields.items():
        if not re.fullmatch("[A-Z]", check_string("fields", letter)):
            raise SpecError(f"fields.{letter}: a field has one uppercase letter, A to Z, for a name")
        name = f"fields.{letter}"
        if isinstance(given, str) and (ends := re.fullmatch(r"(-?[0-9]+)-(-?[0-9]+)", given)):
            raise SpecError(f"{name} is '{given}', one text: write {ends[1]}..{ends[2]} for a range, or ['{given}']")
        if isinstance(given, str) and (match := _RANGE_WITH_FIELD.fullmatch(given)):
            limited[letter] = match
        else:
            values[letter] = parse_choice(name, given)
    while limited:  # first those whose source has its values
        ready = [letter for letter, match in limited.items() if (match[1] or match[4]) in values]
        if not ready:
            raise _open_end(*next(iter(limited.items())), limited)
        for letter in ready:
            values[letter] = _limit(f"fields.{letter}", limited.pop(letter), values)
    return values


def _open_end(letter: str, match: re.Match[str], limited: Mapping[str, object]) -> SpecError:
    source = match[1] or match[4]
    if source in limited:
        problem = f"fields.{letter} is '{match[0]}', and {source} depends on {letter} in turn"
        return SpecError(f"{problem}: give one of them numbers alone")
    problem = f"fields.{letter} is '{match[0]}', but {source} has no values in fields"
    return SpecError(f'{problem}: add them, such as {source}: "0..9"')


def parse_choice(name: str, given: object) -> Choice[str]:
    """Parse a value, a range, a list of these, or a mapping from these to weights. Raises `SpecError`."""
    weights: dict[str, float] = {}
    for key, weight in parse_weights(name, given).items():
        expanded = _expand(name, key)
        if len(weights) + len(expanded) > MAX_VALUES:
            raise SpecError(f"{name} holds more than {MAX_VALUES} values: narrow it")
        for value in expanded:
            if value in weights:
                raise SpecError(f"{name} holds '{value}' twice: remove one")
            # In a list all values are equally likely; in a mapping the values of a range share its weight.
            weights[value] = weight / len(expanded) if isinstance(given, Mapping) else 1.0
    return Choice.from_weights(list(weights), list(weights.values()))


def _limit(name: str, match: re.Match[str], values: Mapping[str, Choice[str]]) -> Limit:
    """A range one of whose ends is the value of another field; its options are all numbers that it can ever hold.

    They are written with leading zeros if those of the other field are.
    """
    source, upper = match[1] or match[4], bool(match[4])
    written = values[source].options
    if not all(re.fullmatch("-?[0-9]{1,18}", value) for value in written):
        raise SpecError(f"{name} is '{match[0]}', but {source} also holds texts that are no numbers: use numbers alone")
    numbers = [int(value) for value in written]
    first, last = (int(match[3]), max(numbers)) if upper else (min(numbers), int(match[2]))
    worst = min(numbers) if upper else max(numbers)
    if not first <= worst <= last:
        raise SpecError(f"{name} is '{match[0]}', which is empty for {source} = {worst}: narrow {source}")
    widths = {len(value.removeprefix("-")) for value in written}
    padded = any(value != str(int(value)) for value in written)
    return Limit(tuple(_write_range(name, match[0], first, last, min(widths) if padded else 0)), (), source, upper)


def _expand(name: str, text: str) -> Sequence[str]:
    """Return the values of a range, or `text` as the only value."""
    if not text:
        raise SpecError(f"{name} holds an empty text: use brackets in the spec for what may be absent")
    if text == OTHER:
        raise SpecError(f"{name} holds '{OTHER}', the class of all other texts: use another word")
    bounds = _RANGE.fullmatch(text)
    if bounds is None:
        if _RANGE_WITH_FIELD.fullmatch(text):
            raise SpecError(f"{name} holds '{text}' beside other values: a range that depends on a field stands alone")
        if re.search(r"(?<!\.)\.\.(?!\.)", text):  # "a..z", "0..9, 00..99": meant as ranges
            sign = ", with the hyphen '-' as the sign" if "\u2212" in text else ""
            raise SpecError(f"{name} holds '{text}', which is no range: write '0..20', '00..60' or '-10..40'{sign}")
        if len(text) > MAX_LENGTH:
            raise SpecError(f"{name} holds a text of {len(text)} characters: shorten it to {MAX_LENGTH}")
        return [text]
    first_sign, low, last_sign, high = bounds.groups()
    first, last = int(first_sign + low), int(last_sign + high)
    if (first_sign and not first) or (last_sign and not last):
        raise SpecError(f"{name} holds '{text}', but zero has no sign: write '{first}..{last}'")
    padded = low != str(int(low)) or high != str(int(high))
    if padded and len(low) != len(high):
        width = max(len(low), len(high))
        with_zeros = f"'{first_sign}{low.zfill(width)}..{last_sign}{high.zfill(width)}' with leading zeros"
        problem = f"{name} holds '{text}', whose ends differ in width"
        raise SpecError(f"{problem}: write {with_zeros} or '{first}..{last}' without")
    if first > last:
        raise SpecError(f"{name} holds '{text}', which runs downwards: write '{last_sign}{high}..{first_sign}{low}'")
    return _write_range(name, text, first, last, len(low) if padded else 0)


def _write_range(name: str, text: str, first: int, last: int, width: int) -> list[str]:
    """The numbers from `first` to `last`, with leading zeros up to `width` digits."""
    if last - first >= MAX_VALUES:
        raise SpecError(f"{name} holds '{text}', more than {MAX_VALUES} values: narrow it")
    return ["-" * (number < 0) + str(abs(number)).zfill(width) for number in range(first, last + 1)]


def error_at(column: int, name: str, text: str, problem: str) -> SpecError:
    """The error about a character of the setting `name`, which is `text`; columns count from 1."""
    return SpecError(f"{name}, column {column}: {problem}", text, column)


def parse_weights(name: str, given: object) -> dict[str, float]:
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
        text = check_string(name, key)
        if text in weights:
            raise SpecError(f"{name} holds '{text}' twice: remove one")
        number = weight if isinstance(weight, int | float) and not isinstance(weight, bool) else 0
        if not 0 < number <= sys.float_info.max:
            raise SpecError(f"{name} gives '{text}' the weight {weight!r}: write a number above 0")
        weights[text] = float(number)
    return weights


def check_string(name: str, given: object, *, drawn: bool = True) -> str:
    """Return `given` in composed form (NFC).

    Raises `SpecError` if it is not one line of text, or if it is `drawn` and holds what cannot be drawn.
    """
    if not isinstance(given, str):
        trap = "YAML forgets the leading zeros of 01, and reads 30:54 as a number and NO as false"
        raise SpecError(f"{name} holds {given!r}, which is no text: write it in quotes, because {trap}")
    for char in given:
        if breaks_line(char):
            raise SpecError(f"{name} holds {char!r}: a text is one line without control characters")
    composed = unicodedata.normalize("NFC", given)
    for char in composed if drawn else "":
        if problem := find_problem(char):
            raise SpecError(f"{name} holds {problem}")
    return composed
