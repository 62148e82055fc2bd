"""The items of a spec: characters, fields and optional texts, which draw random samples.

All sampling uses rng.random, since rng.integers takes five times as long.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Generic, TypeAlias, TypeVar

import numpy as np

DIGITS = "0123456789"
T = TypeVar("T")


@dataclass(frozen=True)
class Choice(Generic[T]):
    """A random choice of `options`. `bounds` are their cumulative probabilities without the last; empty if uniform."""

    options: tuple[T, ...]
    bounds: tuple[float, ...] = ()

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
class Field:
    """A field, written as `width` times `letter`: one of `values`, or `width` random digits if `values` is None."""

    letter: str
    width: int
    values: Choice[str] | None

    def draw(self, rng: np.random.Generator) -> str:
        """Draw a value."""
        if self.values is not None:
            return self.values.draw(rng)
        return "".join([DIGITS[int(rng.random() * 10)] for _ in range(self.width)])


@dataclass(frozen=True)
class OptionalText:
    """Optional text `[items]:chance`, present with the probability `chance`."""

    items: "Items"
    chance: float

    def draw(self, rng: np.random.Generator) -> str:
        """Draw the text, or an empty text."""
        return draw(self.items, rng) if rng.random() < self.chance else ""


Items: TypeAlias = tuple[str | Field | OptionalText, ...]


def draw(items: Items, rng: np.random.Generator) -> str:
    """Draw a text that consists of `items`."""
    return "".join([item if isinstance(item, str) else item.draw(rng) for item in items])


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
