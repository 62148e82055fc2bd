"""Random texts that show given values of some fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from textgen.common.errors import SpecError
from textgen.spec.items import Choice, Field, Items, Limit, draw, find_fields, find_optional
from textgen.spec.label_fields import ABSENT

TRIES = 10_000  # texts drawn for values that fields depend on


def draw_with(
    items: Items, shown: Mapping[str | int, str], orders: Sequence[Sequence[Field]], rng: np.random.Generator
) -> str:
    """Draw a text of `items` that shows the values in `shown`, by letters of fields and numbers of optional texts.

    `ABSENT` leaves the optional text out that a field stands in. Fields that depend on each other are drawn in one of
    `orders`, or again and again until those in `shown` have their values. Raises `SpecError` if no text shows them.
    """
    presence = _decide_presence(items, shown)
    given = {key: value for key, value in shown.items() if isinstance(key, str) and value != ABSENT}
    order = Choice(tuple(orders)).draw(rng) if len(orders) > 1 else orders[0]
    coupled = {field.letter for field in order} | {field.source for field in order}
    if given.keys().isdisjoint(coupled):
        return draw(items, rng, given, order, presence)
    for _ in range(TRIES):
        values = dict(given)
        for field in order:
            if field.letter not in given and isinstance(field.values, Limit) and field.source in values:
                values[field.letter] = field.values.draw_within(rng, int(values[field.source]))
            else:
                values.setdefault(field.letter, field.draw(rng))
        if _within_limits(items, values):
            return draw(items, rng, values, [], presence)
    raise SpecError(f"no text was found that shows {', '.join(f'{key} = {value}' for key, value in given.items())}")


def _within_limits(items: Items, values: Mapping[str, str]) -> bool:
    """Whether every field in `values` is within the limit that another one sets; one that is missing sets none."""
    return all(
        not isinstance(field.values, Limit)
        or field.letter not in values
        or field.source not in values
        or field.values.allows(values[field.letter], values[field.source])
        for field in find_fields(items)
    )


def _decide_presence(items: Items, shown: Mapping[str | int, str]) -> dict[int, bool]:
    """Which optional texts have to be shown, or left out, so that the values in `shown` are."""
    presence: dict[int, bool] = {}
    for optional, around in find_optional(items):
        own = {item.letter for item in optional.items if isinstance(item, Field)} | {optional.number}
        for key in own & shown.keys():
            if shown[key] != ABSENT:
                presence |= dict.fromkeys((*around, optional.number), True)
    for optional, _ in find_optional(items):
        own = {item.letter for item in optional.items if isinstance(item, Field)} | {optional.number}
        for key in own & shown.keys():
            if shown[key] == ABSENT and presence.setdefault(optional.number, False):
                name = key if isinstance(key, str) else "optional text"
                raise SpecError(f"{name} cannot be {ABSENT} where other fields in the same brackets are shown")
    return presence
