"""Random specs with an enumeration of all their readings, which shares no code with the parser."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st


@dataclass(frozen=True)
class RandomSpec:
    """A spec put together from ("literal", char), ("field", letter, width), ("optional", tree, chance)."""

    text: str
    fields: dict[str, list[str]]
    readings: frozenset[tuple[str, str]]  # text, label
    other: str
    others: frozenset[str]


def written(tree: tuple[Any, ...]) -> str:
    def one(kind: str, *rest: Any) -> str:
        if kind == "literal":  # a digit could be taken for one of the chance before it
            return "\\" + rest[0] if rest[0] in "[]\\:X1" else str(rest[0])
        if kind == "field":
            return str(rest[0] * rest[1])
        return f"[{written(rest[0])}]{rest[1]}"

    return "".join(one(*item) for item in tree)


def readings(tree: tuple[Any, ...], fields: dict[str, list[str]], label: str) -> Iterator[tuple[str, str]]:
    """Every text with the label that it was made with, "" if it has none."""

    def one(kind: str, *rest: Any) -> list[tuple[str, str]]:
        if kind == "literal":
            return [(rest[0], "")]
        if kind == "field":
            letter, width = rest
            digits = ["".join(digits) for digits in itertools.product("0123456789", repeat=width)]
            return [(value, value if letter == label else "") for value in fields.get(letter, digits)]
        return [("", ""), *readings(rest[0], fields, label)]

    for parts in itertools.product(*(one(*item) for item in tree)):
        yield "".join(text for text, _ in parts), "".join(found for _, found in parts)


@st.composite
def random_specs(draw: st.DrawFn) -> RandomSpec:
    letters = list("NMT")
    fields: dict[str, list[str]] = {}

    def new_field(label: bool = False) -> tuple[Any, ...]:
        letter = "L" if label else letters.pop()
        if draw(st.integers(0, 9)) > 0:
            width = draw(st.sampled_from([1, 1, 1, 2]))
            size = {"min_size": width, "max_size": width} if width > 1 else {"min_size": 1, "max_size": 3}
            values = st.lists(st.text("ab", **size), min_size=2, max_size=4, unique=True)
            fields[letter] = draw(values)
            return ("field", letter, width)
        return ("field", letter, 1)

    def new_tree(depth: int, shortest: int) -> tuple[Any, ...]:
        tree: list[tuple[Any, ...]] = []
        for _ in range(draw(st.integers(shortest, 3))):
            kind = draw(st.sampled_from(["literal", "field", "optional"]))
            if kind == "field" and letters:
                tree.append(new_field())
            elif kind == "optional" and depth < 2:
                chance = draw(st.sampled_from(["", ":0.2", ":.75"]))
                tree.append(("optional", new_tree(depth + 1, 1), chance))
            else:
                tree.append(("literal", draw(st.sampled_from("aaaaabbbb1X[]\\:."))))
        return tuple(tree)

    tree = (*new_tree(0, 0), new_field(label=True), *new_tree(0, 0))
    used = [letter for letter in "NMT" if letter not in letters]
    letters[:] = ["N", "M", "T"]
    for letter in used:
        letters.remove(letter)
    other = new_tree(1, 0)
    return RandomSpec(
        text=written(tree),
        fields=fields,
        readings=frozenset(readings(tree, fields, "L")),
        other=written(other),
        others=frozenset(text for text, _ in readings(other, fields, "")),
    )
