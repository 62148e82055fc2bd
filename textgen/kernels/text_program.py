"""Random texts in compiled code: the items of a spec as a program in flat arrays, and the function that runs it.

From the same random numbers it draws the same texts as `textgen.spec.items`, some hundred times as fast.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from textgen.kernels import philox
from textgen.kernels.jit import compiled
from textgen.spec.items import Choice, Field, Items, OptionalText, key_of_part
from textgen.spec.parser import Spec

CHARACTER, DIGITS, VALUE, OPTIONAL, LABEL, BRANCH, END = range(7)


class Program(NamedTuple):
    """A program for random texts. Codes are indices into an alphabet, where 0 is no character.

    A row of `steps` is an operation, two operands and the part of the text (a row of PartTable) that it writes:
    CHARACTER code; DIGITS width; VALUE table; OPTIONAL index of its chance in `bounds`, number of steps to skip; LABEL;
    BRANCH table (its values are the steps to jump to); END. A row
    of `tables` is the first value, the number of values, and the first bound, or -1 if all are equally likely. The
    codes of value v are codes[starts[v]:starts[v + 1]].
    """

    steps: NDArray[np.int32]  # (n, 4)
    tables: NDArray[np.int32]  # (k, 3)
    bounds: NDArray[np.float64]
    starts: NDArray[np.int32]
    codes: NDArray[np.int32]
    digits: NDArray[np.int32]  # (10,): codes of 0 to 9
    entry: NDArray[np.int32]  # (2,): the first step of a text with a label, and of one without
    classes: int
    max_length: int  # of a text


def build_alphabet(characters: frozenset[str]) -> str:
    """The sorted characters after NUL, which has code 0 and ends a text."""
    return "\0" + "".join(sorted(characters))


def compile_spec(spec: Spec, alphabet: str, parts: Sequence[str] = ()) -> Program:
    """The program for the texts of every class of `spec`; `parts` are keys of items, see `key_of_part`, from row 1."""
    return _compile(spec.before, spec.after, spec.classes[:-1], spec.others, alphabet, spec.label, parts)


def compile_texts(texts: Choice[Items], alphabet: str) -> Program:
    """The program for texts without a label."""
    return _compile((), (), (), texts, alphabet)


def _compile(
    before: Items,
    after: Items,
    labels: Sequence[str],
    others: Choice[Items],
    alphabet: str,
    label: str = "",
    parts: Sequence[str] = (),
) -> Program:
    rows = {key: row for row, key in enumerate(parts, 1)}
    code = {character: number for number, character in enumerate(alphabet)}
    steps: list[list[int]] = []
    tables: list[list[int]] = []
    bounds: list[float] = []
    values: list[list[int]] = []

    def add_table(options: Sequence[list[int]], chances: Sequence[float]) -> int:
        tables.append([len(values), len(options), len(bounds) if chances else -1])
        values.extend(options)
        bounds.extend(chances)
        return len(tables) - 1

    def add_steps(items: Items) -> None:
        for item in items:
            if isinstance(item, str):
                steps.append([CHARACTER, code[item], 0, rows.get(key_of_part(item), 0)])
            elif isinstance(item, OptionalText):
                bounds.append(item.chance)
                at = len(steps)
                steps.append([OPTIONAL, len(bounds) - 1, 0, 0])
                add_steps(item.items)
                steps[at][2] = len(steps) - at - 1
            elif item.values is None:
                steps.append([DIGITS, item.width, 0, rows.get(item.letter, 0)])
            else:
                options = [[code[character] for character in value] for value in item.values.options]
                steps.append([VALUE, add_table(options, item.values.bounds), 0, rows.get(item.letter, 0)])

    add_table([[code[character] for character in value] for value in labels], ())  # table 0
    add_steps(before)
    steps.append([LABEL, 0, 0, rows.get(label, 0)])
    add_steps(after)
    steps.append([END, 0, 0, 0])
    branch = len(steps)
    steps.append([BRANCH, 0, 0, 0])
    branches = []
    for items in others.options:
        branches.append([len(steps)])
        add_steps(items)
        steps.append([END, 0, 0, 0])
    steps[branch][1] = add_table(branches, others.bounds)

    with_label = _max_length(before) + max(map(len, labels), default=0) + _max_length(after)
    return Program(
        steps=np.array(steps, np.int32),
        tables=np.array(tables, np.int32).reshape(-1, 3),
        bounds=np.array(bounds, np.float64),
        starts=np.cumsum([0, *map(len, values)]).astype(np.int32),
        codes=np.array([c for value in values for c in value], np.int32),
        digits=np.array([code.get(digit, 0) for digit in "0123456789"], np.int32),
        entry=np.array([0, branch], np.int32),
        classes=len(labels) + 1,
        max_length=max([with_label, *map(_max_length, others.options)]),
    )


def _max_length(items: Items) -> int:
    total = 0
    for item in items:
        if isinstance(item, str):
            total += 1
        elif isinstance(item, OptionalText):
            total += _max_length(item.items)
        elif isinstance(item, Field):
            total += max(map(len, item.values.options)) if item.values else item.width
    return total


@compiled
def write_text(program, label, state, out, parts):
    """Write the codes of a random text of class `label` to `out`, and the part of each to `parts`.

    Both are at least `program.max_length` long. Returns the length of the text.
    """
    steps, tables, bounds = program.steps, program.tables, program.bounds
    at = program.entry[1 if label == program.classes - 1 else 0]
    n = 0
    while True:
        kind, operand, operand_2, part = steps[at]
        at += 1
        start_of_step = n
        if kind == CHARACTER:
            out[n] = operand
            n += 1
        elif kind == DIGITS:
            for _ in range(operand):
                out[n] = program.digits[int(philox.uniform(state) * 10)]
                n += 1
        elif kind == OPTIONAL:
            if philox.uniform(state) >= bounds[operand]:
                at += operand_2
        elif kind == END:
            return n
        else:
            value = tables[0, 0] + label
            if kind != LABEL:
                first, count, bound = tables[operand]
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
        parts[start_of_step:n] = part


def decode_texts(codes: NDArray[Any], alphabet: str) -> list[str]:
    """The strings of rows of codes (n, length), which are padded with 0."""
    characters = np.array([ord(character) for character in alphabet], np.uint32)[codes]
    n, length = codes.shape
    return (
        [str(text) for text in np.ascontiguousarray(characters).view(f"<U{length}")[:, 0].tolist()]
        if length
        else [""] * n
    )
