"""Texts drawn in compiled code: the items of a spec as flat arrays, and the function that walks through them.

It draws exactly what `textgen.spec.items` draws from the same random numbers, some hundred times as fast.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from textgen.kernels import philox
from textgen.kernels.jit import compiled
from textgen.spec.items import Choice, Field, Items, OptionalText
from textgen.spec.parser import Spec

CHARACTER, DIGITS, VALUE, OPTIONAL, LABEL, BRANCH, END = range(7)


class Program(NamedTuple):
    """Steps (n, 3) int32: what to do and two operands; codes are indices into an alphabet, where 0 is no character.

    CHARACTER code; DIGITS width; VALUE table; OPTIONAL chance, steps to skip; LABEL; BRANCH table (whose values are
    steps to go on at); END. A table (k, 3) is its first value, how many there are, and its first bound or -1 where all
    are equally likely; value v has the codes[starts[v]:starts[v + 1]].
    """

    steps: NDArray[np.int32]
    tables: NDArray[np.int32]
    bounds: NDArray[np.float64]
    starts: NDArray[np.int32]
    codes: NDArray[np.int32]
    digits: NDArray[np.int32]
    first: NDArray[np.int32]  # (2,): the step at which a text with the label begins, and one without
    classes: int
    length: int  # of the longest text


def build_alphabet(characters: frozenset[str]) -> str:
    """The characters by code; code 0, which ends a text, is NUL."""
    return "\0" + "".join(sorted(characters))


def compile_spec(spec: Spec, alphabet: str) -> Program:
    """The texts of every class of `spec`."""
    return _compile(spec.before, spec.after, spec.classes[:-1], spec.others, alphabet)


def compile_texts(texts: Choice[Items], alphabet: str) -> Program:
    """Texts without a label."""
    return _compile((), (), (), texts, alphabet)


def _compile(before: Items, after: Items, labels: Sequence[str], others: Choice[Items], alphabet: str) -> Program:
    code = {character: number for number, character in enumerate(alphabet)}
    steps: list[list[int]] = []
    tables: list[list[int]] = []
    bounds: list[float] = []
    values: list[list[int]] = []

    def table(options: Sequence[list[int]], chances: Sequence[float]) -> int:
        tables.append([len(values), len(options), len(bounds) if chances else -1])
        values.extend(options)
        bounds.extend(chances)
        return len(tables) - 1

    def add(items: Items) -> None:
        for item in items:
            if isinstance(item, str):
                steps.append([CHARACTER, code[item], 0])
            elif isinstance(item, OptionalText):
                bounds.append(item.chance)
                at = len(steps)
                steps.append([OPTIONAL, len(bounds) - 1, 0])
                add(item.items)
                steps[at][2] = len(steps) - at - 1
            elif item.values is None:
                steps.append([DIGITS, item.width, 0])
            else:
                options = [[code[character] for character in value] for value in item.values.options]
                steps.append([VALUE, table(options, item.values.bounds), 0])

    table([[code[character] for character in value] for value in labels], ())  # table 0
    add(before)
    steps.append([LABEL, 0, 0])
    add(after)
    steps.append([END, 0, 0])
    other = len(steps)
    steps.append([BRANCH, 0, 0])
    branches = []
    for items in others.options:
        branches.append([len(steps)])
        add(items)
        steps.append([END, 0, 0])
    steps[other][1] = table(branches, others.bounds)

    longest = max(
        [_longest(before) + max(map(len, labels), default=0) + _longest(after), *map(_longest, others.options)]
    )
    return Program(
        steps=np.array(steps, np.int32),
        tables=np.array(tables, np.int32).reshape(-1, 3),
        bounds=np.array(bounds, np.float64),
        starts=np.cumsum([0, *map(len, values)]).astype(np.int32),
        codes=np.array([c for value in values for c in value], np.int32),
        digits=np.array([code.get(digit, 0) for digit in "0123456789"], np.int32),
        first=np.array([0, other], np.int32),
        classes=len(labels) + 1,
        length=longest,
    )


def _longest(items: Items) -> int:
    total = 0
    for item in items:
        if isinstance(item, str):
            total += 1
        elif isinstance(item, OptionalText):
            total += _longest(item.items)
        elif isinstance(item, Field):
            total += max(map(len, item.values.options)) if item.values else item.width
    return total


@compiled
def write_text(program, label, state, out):
    """A random text of class `label` as codes in `out` (at least `program.length` long). Returns its length."""
    steps, tables, bounds = program.steps, program.tables, program.bounds
    at = program.first[1 if label == program.classes - 1 else 0]
    n = 0
    while True:
        kind, one, two = steps[at]
        at += 1
        if kind == CHARACTER:
            out[n] = one
            n += 1
        elif kind == DIGITS:
            for _ in range(one):
                out[n] = program.digits[int(philox.uniform(state) * 10)]
                n += 1
        elif kind == OPTIONAL:
            if philox.uniform(state) >= bounds[one]:
                at += two
        elif kind == END:
            return n
        else:
            value = tables[0, 0] + label
            if kind != LABEL:
                first, count, bound = tables[one]
                chance = philox.uniform(state)
                if bound < 0:
                    value = first + int(chance * count)
                else:
                    value = first + np.searchsorted(bounds[bound : bound + count - 1], chance, side="right")
            start, stop = program.starts[value], program.starts[value + 1]
            if kind == BRANCH:
                at = program.codes[start]
            else:
                for code in program.codes[start:stop]:
                    out[n] = code
                    n += 1


def decode_texts(codes: NDArray[Any], alphabet: str) -> list[str]:
    """Rows of codes (n, length), filled up with 0, as strings."""
    characters = np.array([ord(character) for character in alphabet], np.uint32)[codes]
    n, length = codes.shape
    return (
        [str(text) for text in np.ascontiguousarray(characters).view(f"<U{length}")[:, 0].tolist()]
        if length
        else [""] * n
    )
