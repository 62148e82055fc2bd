"""What the texts of a spec are made of: characters, fields and optional parts, each of which can be drawn.

All draw with rng.random alone: rng.integers takes five times as long.
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
    """One of `options`. `bounds` are their cumulative chances but the last, or empty where all are equal."""

    options: tuple[T, ...]
    bounds: tuple[float, ...] = ()

    @classmethod
    def of(cls, options: Sequence[T], weights: Sequence[float]) -> "Choice[T]":
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
class Field:
    """A run of `width` times `letter`: one of `values`, or if these are None, as many digits."""

    letter: str
    width: int
    values: Choice[str] | None

    def draw(self, rng: np.random.Generator) -> str:
        if self.values is not None:
            return self.values.draw(rng)
        return "".join([DIGITS[int(rng.random() * 10)] for _ in range(self.width)])


@dataclass(frozen=True)
class OptionalText:
    """`[items]:chance`."""

    items: "Items"
    chance: float

    def draw(self, rng: np.random.Generator) -> str:
        return draw(self.items, rng) if rng.random() < self.chance else ""


Items: TypeAlias = tuple[str | Field | OptionalText, ...]


def draw(items: Items, rng: np.random.Generator) -> str:
    return "".join([item if isinstance(item, str) else item.draw(rng) for item in items])
