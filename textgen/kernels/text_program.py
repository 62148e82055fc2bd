"""Random texts in compiled code: the items of a spec as a program in flat arrays, and the function that runs it.

From the same random numbers it draws the same texts as `textgen.spec.items`, some hundred times as fast.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from textgen.kernels import philox
from textgen.kernels.jit import compiled
from textgen.spec.items import Choice, Field, Items, Limit, OptionalText, key_of_part, order_dependent
from textgen.spec.parser import Spec

CHARACTER, DIGITS, VALUE, OPTIONAL, DRAW, WRITE, BRANCH, END = range(8)
LABEL_REGISTER = 0
_NUMBER = re.compile("-?[0-9]{1,18}")


class Program(NamedTuple):
    """A program for random texts. Codes are indices into an alphabet, where 0 is no character.

    A row of `steps` is an operation, two operands and the part of the text (a row of PartTable) that it writes:
    CHARACTER code; DIGITS width; VALUE table; OPTIONAL index of its chance in `bounds`, number of steps to skip; DRAW
    table, register, which draws a value that is written later; WRITE register; BRANCH table (its values are the steps
    to jump to); END. A row of `tables` is the first value, the number of values, the first bound, or -1 if all are
    equally likely, and for a field that depends on another the register of that one, or -1, and whether it is the upper
    end. The codes of value v are codes[starts[v]:starts[v + 1]]. The first tables are the values of each group, or of
    the label.
    """

    steps: NDArray[np.int32]  # (n, 4)
    tables: NDArray[np.int32]  # (k, 5)
    bounds: NDArray[np.float64]
    starts: NDArray[np.int32]
    codes: NDArray[np.int32]
    numbers: NDArray[np.int64]  # each value as a number, 0 if it is none
    digits: NDArray[np.int32]  # (10,): codes of 0 to 9
    entry: NDArray[np.int32]  # (2,): the first step of a text with a label, and of one without
    classes: int
    grouped: bool  # whether a class has a table of values
    registers: int  # values that are drawn before they are written; the first is that of the label
    max_length: int  # of a text


def build_alphabet(characters: frozenset[str]) -> str:
    """The sorted characters after NUL, which has code 0 and ends a text."""
    return "\0" + "".join(sorted(characters))


def compile_spec(spec: Spec, alphabet: str, parts: Sequence[str] = ()) -> Program:
    """The program for the texts of every class of `spec`; `parts` are keys of items, see `key_of_part`, from row 1."""
    compiler = _Compiler(alphabet, parts)
    for group in spec.groups or (Choice(tuple(spec.values)),):
        compiler.add_table(group)
    compiler.add_text(spec.items, {spec.label: LABEL_REGISTER})
    return compiler.finish(spec.others, len(spec.classes), bool(spec.groups))


def compile_texts(texts: Choice[Items], alphabet: str, parts: Sequence[str] = ()) -> Program:
    """The program for texts without a label; `parts` as in `compile_spec`."""
    compiler = _Compiler(alphabet, parts)
    compiler.add_table(Choice(()))
    compiler.add_text((), {})
    return compiler.finish(texts, 1, False)


class _Compiler:
    """A program that grows."""

    def __init__(self, alphabet: str, parts: Sequence[str] = ()):
        self.code = {character: number for number, character in enumerate(alphabet)}
        self.rows = {key: row for row, key in enumerate(parts, 1)}
        self.steps: list[list[int]] = []
        self.tables: list[list[int]] = []
        self.bounds: list[float] = []
        self.values: list[list[int]] = []
        self.numbers: list[int] = []
        self.registers, self.max_length = 1, 0

    def add_table(self, choice: Choice[str], source: int = -1) -> int:
        """Add the values of a field, which depends on the field in the register `source` if it is not -1."""
        upper = isinstance(choice, Limit) and choice.upper
        values = [[self.code[character] for character in value] for value in choice.options]
        numbers = [int(value) if _NUMBER.fullmatch(value) else 0 for value in choice.options]
        return self._add_table(values, numbers, choice.bounds, source, upper)

    def _add_table(
        self,
        values: list[list[int]],
        numbers: list[int],
        bounds: Sequence[float],
        source: int = -1,
        upper: bool = False,
    ) -> int:
        self.tables.append([len(self.values), len(values), len(self.bounds) if bounds else -1, source, upper])
        self.values.extend(values)
        self.numbers.extend(numbers)
        self.bounds.extend(bounds)
        return len(self.tables) - 1

    def add_text(self, items: Items, registers: dict[str, int]) -> int:
        """Add the steps of a text; fields in `registers` have been drawn. Returns the first step."""
        start = len(self.steps)
        registers = dict(registers)
        for field in order_dependent(items, registers):
            table = self.add_table(_values(field), registers.get(field.source, -1))
            registers[field.letter] = len(registers) if LABEL_REGISTER in registers.values() else len(registers) + 1
            self.steps.append([DRAW, table, registers[field.letter], 0])
        self.registers = max(self.registers, len(registers) + 1)
        self._add_items(items, registers)
        self.steps.append([END, 0, 0, 0])
        self.max_length = max(self.max_length, _max_length(items))
        return start

    def _add_items(self, items: Items, registers: dict[str, int]) -> None:
        for item in items:
            if isinstance(item, OptionalText):
                self.bounds.append(item.chance)
                at = len(self.steps)
                self.steps.append([OPTIONAL, len(self.bounds) - 1, 0, 0])
                self._add_items(item.items, registers)
                self.steps[at][2] = len(self.steps) - at - 1
                continue
            part = self.rows.get(key_of_part(item), 0)
            if isinstance(item, str):
                self.steps.append([CHARACTER, self.code[item], 0, part])
            elif item.letter in registers:
                self.steps.append([WRITE, registers[item.letter], 0, part])
            elif item.values is None:
                self.steps.append([DIGITS, item.width, 0, part])
            else:
                self.steps.append([VALUE, self.add_table(item.values), 0, part])

    def finish(self, others: Choice[Items], classes: int, grouped: bool) -> Program:
        """Add the texts without a label, and return the program."""
        branch = len(self.steps)
        self.steps.append([BRANCH, 0, 0, 0])
        starts = [[self.add_text(items, {})] for items in others.options]
        self.steps[branch][1] = self._add_table(starts, [0] * len(starts), others.bounds)
        return Program(
            steps=np.array(self.steps, np.int32),
            tables=np.array(self.tables, np.int32),
            bounds=np.array(self.bounds, np.float64),
            starts=np.cumsum([0, *map(len, self.values)]).astype(np.int32),
            codes=np.array([c for value in self.values for c in value], np.int32),
            numbers=np.array(self.numbers, np.int64),
            digits=np.array([self.code.get(digit, 0) for digit in "0123456789"], np.int32),
            entry=np.array([0, branch], np.int32),
            classes=classes,
            grouped=grouped,
            registers=self.registers,
            max_length=self.max_length,
        )


def _values(field: Field) -> Choice[str]:
    assert field.values is not None, "a field that another depends on has values"
    return field.values


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
    steps, bounds = program.steps, program.bounds
    other = label == program.classes - 1
    at = program.entry[1 if other else 0]
    registers = np.empty(program.registers, np.int64)
    if not other:
        registers[LABEL_REGISTER] = program.tables[0, 0] + label
        if program.grouped:
            registers[LABEL_REGISTER] = _draw_value(program, label, registers, state)
    n = 0
    while True:
        kind, operand, operand_2, part = steps[at]
        at += 1
        before = n
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
        elif kind == DRAW:
            registers[operand_2] = _draw_value(program, operand, registers, state)
        elif kind == END:
            return n
        else:
            value = registers[operand] if kind == WRITE else _draw_value(program, operand, registers, state)
            start, stop = program.starts[value], program.starts[value + 1]
            if kind == BRANCH:
                at = program.codes[start]
            else:
                for code in program.codes[start:stop]:
                    out[n] = code
                    n += 1
        parts[before:n] = part


@compiled
def _draw_value(program, table, registers, state):
    """A random value of a table, within the limit of the value that it depends on."""
    first, count, bound, source, upper = program.tables[table]
    if source >= 0:
        limit = program.numbers[registers[source]] - program.numbers[first]
        if upper:
            count = limit + 1
        else:
            first, count = first + limit, count - limit
    chance = philox.uniform(state)
    if bound < 0:
        return first + int(chance * count)
    return first + np.searchsorted(program.bounds[bound : bound + count - 1], chance, side="right")


def decode_texts(codes: NDArray[Any], alphabet: str) -> list[str]:
    """The strings of rows of codes (n, length), which are padded with 0."""
    characters = np.array([ord(character) for character in alphabet], np.uint32)[codes]
    n, length = codes.shape
    return (
        [str(text) for text in np.ascontiguousarray(characters).view(f"<U{length}")[:, 0].tolist()]
        if length
        else [""] * n
    )
