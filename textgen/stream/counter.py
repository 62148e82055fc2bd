"""What a counter shows from frame to frame: a clock that runs, or a counter that changes at random moments."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Literal

from textgen.common.array_types import Rng
from textgen.spec.items import DIGITS, Field, Items, Limit, find_fields, fix, order_dependent
from textgen.spec.parser import Spec

Kind = Literal["clock", "countdown", "counter"]
CYCLE = 20.0  # seconds in each of which the counter is hidden once
STEP_UP, STEP_DOWN = 0.5, 0.2  # shares of a counter's changes that are by one; the others lead anywhere


def guess_kind(spec: Spec) -> Kind:
    """A clock if the spec has fields on both sides of a colon, otherwise a counter."""
    kinds = ["field" if isinstance(item, Field) else item for item in spec.items]
    return "clock" if ("field", ":", "field") in zip(kinds, kinds[1:], kinds[2:], strict=False) else "counter"


class Numbers:
    """The texts of a spec, numbered: its fields are the digits of a number, the first one the most significant.

    Optional texts are there or not as drawn once. Fields that depend on others are no digits: they keep a value as long
    as the limit allows it.
    """

    def __init__(self, spec: Spec, rng: Rng):
        self._items, self._rng = fix_optional(spec.items, rng), rng
        fields = find_fields(self._items)
        self._dependent = [field for field in order_dependent(self._items) if field.source]
        self._fields = [field for field in fields if field not in self._dependent]
        self._kept: dict[str, str] = {}
        self.count = math.prod(map(_count, self._fields))

    def text(self, number: int) -> Items:
        """The text of a number, 0 to `count` - 1, as `textgen.spec.items.fix` returns it."""
        values = {}
        for field in reversed(self._fields):
            number, at = divmod(number, _count(field))
            values[field.letter] = str(at).zfill(field.width) if field.values is None else field.values.options[at]
        for field in self._dependent:
            kept, limit = self._kept.get(field.letter), values.get(field.source)
            if kept is None or (isinstance(field.values, Limit) and limit and not field.values.allows(kept, limit)):
                kept = draw_field(field, values, self._rng)
            values[field.letter] = self._kept[field.letter] = kept
        return fix(self._items, values, self._rng)


def _count(field: Field) -> int:
    return len(DIGITS) ** field.width if field.values is None else len(field.values.options)


def fix_optional(items: Items, rng: Rng) -> Items:
    """`items` without optional texts: each is there, or not, at random."""
    chosen: list[str | Field] = []
    for item in items:
        if isinstance(item, str | Field):
            chosen.append(item)
        elif rng.random() < item.chance:
            chosen += [each for each in fix_optional(item.items, rng) if isinstance(each, str | Field)]
    return tuple(chosen)


def count_frames(
    spec: Spec, kind: Kind, frames: int, rate: float, rng: Rng, *, speed: float = 1.0, hidden: float = 0.0
) -> Iterator[Items]:
    """The text of each of `frames` frames, `rate` a second.

    A clock changes `speed` times a second and begins again after its last text; a counter changes as often on average.
    In each `CYCLE` the share `hidden` of the time shows a text of class "other" of the spec in its place.
    """
    numbers = Numbers(spec, rng)
    shown = _clock(numbers, kind, rate, rng, speed) if kind != "counter" else _counter(numbers, rate, rng, speed)
    cycle = max(round(CYCLE * rate), 1)
    start = stop = 0
    other: Items = ()
    for frame in range(frames):
        text = next(shown)  # the counter goes on while it is hidden
        if frame % cycle == 0:
            length = round(hidden * cycle)
            start = frame + int(rng.random() * (cycle - length))
            stop = start + length
            other = _draw_text(spec.others.draw(rng), rng)
        yield other if start <= frame < stop else text


def draw_field(field: Field, values: Mapping[str, str], rng: Rng) -> str:
    """A random value of a field, within the limit of the field in `values` that it depends on."""
    if isinstance(field.values, Limit) and field.source in values:
        return field.values.draw_within(rng, int(values[field.source]))
    return field.draw(rng)


def _draw_text(items: Items, rng: Rng) -> Items:
    values: dict[str, str] = {}
    for field in order_dependent(items):
        values[field.letter] = draw_field(field, values, rng)
    return fix(items, values, rng)


def _clock(numbers: Numbers, kind: Kind, rate: float, rng: Rng, speed: float) -> Iterator[Items]:
    first, phase = int(rng.random() * numbers.count), rng.random()
    sign = -1 if kind == "countdown" else 1
    for number, frames in itertools.groupby(itertools.count(), lambda frame: int(phase + frame * speed / rate)):
        text = numbers.text((first + sign * number) % numbers.count)
        yield from (text for _ in frames)


def _counter(numbers: Numbers, rate: float, rng: Rng, speed: float) -> Iterator[Items]:
    number, left = int(rng.random() * numbers.count), 0
    while True:
        text = numbers.text(number)
        left = max(round(rng.exponential(rate / speed)), 1)
        yield from itertools.repeat(text, left)
        kind = rng.random()
        if kind < STEP_UP:
            number = min(number + 1, numbers.count - 1)
        elif kind < STEP_UP + STEP_DOWN:
            number = max(number - 1, 0)
        else:
            number = int(rng.random() * numbers.count)
