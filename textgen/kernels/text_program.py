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
from textgen.kernels.tables import TEXT_STREAM
from textgen.spec.items import Choice, Field, Items, Limit, OptionalText, key_of_part, order_dependent
from textgen.spec.parser import Spec

CHARACTER, DIGITS, VALUE, OPTIONAL, DRAW, WRITE, BRANCH, END = range(8)
LABEL_REGISTER = 0
_NUMBER = re.compile("-?[0-9]{1,18}")


class Program(NamedTuple):
    """A program for random texts. Codes are indices into an alphabet, where 0 is no character.

    A row of `steps` is an operation, two operands, the part of the text (a row of PartTable) that it writes, and the
    field of the label, from 1, whose class it decides, or 0: CHARACTER code; DIGITS width; VALUE table; OPTIONAL index
    of its chance in `bounds`, number of steps to skip; DRAW table, register, which draws a value that is written later;
    WRITE register, the first value of its table; BRANCH table (its values are the steps to jump to); END.

    A row of `tables` is the first value, the number of values, the first bound, or -1 if all are equally likely, and
    for a field that depends on another the register of that one, or -1, and whether it is the upper end. The codes of
    value v are codes[starts[v]:starts[v + 1]]. The first tables are the values of each group, or of the label.

    A label of several fields has the classes `absent` (m,) for what a text does not show, and `other` (m,) for texts
    without a label. Both are empty for a label of one field.
    """

    steps: NDArray[np.int32]  # (n, 5)
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
    absent: NDArray[np.int32]
    other: NDArray[np.int32]


def build_alphabet(characters: frozenset[str]) -> str:
    """The sorted characters after NUL, which has code 0 and ends a text."""
    return "\0" + "".join(sorted(characters))


def compile_spec(spec: Spec, alphabet: str, parts: Sequence[str] = ()) -> Program:
    """The program for the texts of every class of `spec`; `parts` are keys of items, see `key_of_part`, from row 1."""
    if spec.is_joint:
        compiler = _Compiler(alphabet, parts, [label.key for label in spec.labels])
        compiler.add_table(Choice(()))
        compiler.add_orders(spec.items, spec.orders)
        absent = [len(label.values) - 1 for label in spec.labels]  # ABSENT is the last, for what can be missing
        return compiler.finish(spec.others, 2, False, absent, [size - 1 for size in spec.fields.sizes])
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

    def __init__(self, alphabet: str, parts: Sequence[str] = (), labels: Sequence[str | int] = ()):
        self.labels = {key: number for number, key in enumerate(labels, 1)}
        self.code = {character: number for number, character in enumerate(alphabet)}
        self.rows = {key: row for row, key in enumerate(parts, 1)}
        self.steps: list[list[int]] = []
        self.tables: list[list[int]] = []
        self.bounds: list[float] = []
        self.values: list[list[int]] = []
        self.numbers: list[int] = []
        self.registers, self.max_length = 1, 0
        self.first_values: dict[int, int] = {}  # of the table from which a register was drawn

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

    def add_orders(self, items: Items, orders: Sequence[Sequence[Field]]) -> None:
        """Add a text whose fields are drawn in one of `orders`, each as often."""
        if len(orders) == 1:
            self.add_text(items, {}, orders[0])
            return
        self.steps.append([BRANCH, 0, 0, 0, 0])
        starts = [[self.add_text(items, {}, order)] for order in orders]
        self.steps[0][1] = self._add_table(starts, [0] * len(starts), ())

    def add_text(self, items: Items, registers: dict[str, int], order: Sequence[Field] | None = None) -> int:
        """Add the steps of a text; fields in `registers` have been drawn. Returns the first step.

        `order` are the fields that are drawn before it is written, by default those that depend on each other.
        """
        start = len(self.steps)
        registers = dict(registers)
        for field in order_dependent(items, registers) if order is None else order:
            table = self.add_table(_values(field), registers.get(field.source, -1))
            registers[field.letter] = len(registers) if LABEL_REGISTER in registers.values() else len(registers) + 1
            self.first_values[registers[field.letter]] = self.tables[table][0]
            self.steps.append([DRAW, table, registers[field.letter], 0, 0])
        self.registers = max(self.registers, len(registers) + 1)
        self._add_items(items, registers)
        self.steps.append([END, 0, 0, 0, 0])
        self.max_length = max(self.max_length, _max_length(items))
        return start

    def _add_items(self, items: Items, registers: dict[str, int]) -> None:
        for item in items:
            if isinstance(item, OptionalText):
                self.bounds.append(item.chance)
                at = len(self.steps)
                self.steps.append([OPTIONAL, len(self.bounds) - 1, 0, 0, self.labels.get(item.number, 0)])
                self._add_items(item.items, registers)
                self.steps[at][2] = len(self.steps) - at - 1
                continue
            part = self.rows.get(key_of_part(item), 0)
            if isinstance(item, str):
                self.steps.append([CHARACTER, self.code[item], 0, part, 0])
                continue
            label = self.labels.get(item.letter, 0)
            if item.letter in registers:
                register = registers[item.letter]
                self.steps.append([WRITE, register, self.first_values.get(register, 0), part, label])
            elif item.values is None:
                self.steps.append([DIGITS, item.width, 0, part, label])
            else:
                self.steps.append([VALUE, self.add_table(item.values), 0, part, label])

    def finish(
        self,
        others: Choice[Items],
        classes: int,
        grouped: bool,
        absent: Sequence[int] = (),
        other: Sequence[int] = (),
    ) -> Program:
        """Add the texts without a label, and return the program."""
        branch = len(self.steps)
        self.labels = {}
        self.steps.append([BRANCH, 0, 0, 0, 0])
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
            absent=np.array(absent, np.int32),
            other=np.array(other, np.int32),
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
def write_text(program, label, state, out, parts, labels):
    """Write the codes of a random text of class `label` to `out`, and the part of each to `parts`.

    Both are at least `program.max_length` long. Of a label of m fields, `label` is 0, or 1 for "other", and `labels`
    (m,) are the classes of the text. Returns the length of the text.
    """
    steps, bounds = program.steps, program.bounds
    other = label == program.classes - 1
    at = program.entry[1 if other else 0]
    registers = np.empty(program.registers, np.int64)
    for field in range(len(program.absent)):
        labels[field] = program.other[field] if other else program.absent[field]
    if not other:
        registers[LABEL_REGISTER] = program.tables[0, 0] + label
        if program.grouped:
            registers[LABEL_REGISTER] = _draw_value(program, label, registers, state)
    n = 0
    while True:
        kind, operand, operand_2, part, field = steps[at]
        at += 1
        before = n
        if kind == CHARACTER:
            out[n] = operand
            n += 1
        elif kind == DIGITS:
            number = 0
            for _ in range(operand):
                digit = int(philox.uniform(state) * 10)
                number = 10 * number + digit
                out[n] = program.digits[digit]
                n += 1
            if field:
                labels[field - 1] = number
        elif kind == OPTIONAL:
            if philox.uniform(state) >= bounds[operand]:
                at += operand_2
            elif field:
                labels[field - 1] = 0
        elif kind == DRAW:
            registers[operand_2] = _draw_value(program, operand, registers, state)
        elif kind == END:
            return n
        else:
            value = registers[operand] if kind == WRITE else _draw_value(program, operand, registers, state)
            if field:
                labels[field - 1] = value - (operand_2 if kind == WRITE else program.tables[operand, 0])
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
        limit = min(max(program.numbers[registers[source]] - program.numbers[first], 0), count - 1)
        if upper:
            count = limit + 1
        else:
            first, count = first + limit, count - limit
    chance = philox.uniform(state)
    if bound < 0:
        return first + int(chance * count)
    return first + np.searchsorted(program.bounds[bound : bound + count - 1], chance, side="right")


@compiled
def draw_labels(program, key, indices, others, labels):
    """The classes of the texts of samples: `labels` (n, m) of a label of m fields, in place.

    `indices` (n,) are the samples' numbers, and `others` (n,) says which have no label. Takes a fraction of a
    microsecond a sample.
    """
    state = np.empty(philox.STATE, np.uint64)
    codes, parts = np.empty(program.max_length, np.uint16), np.empty(program.max_length, np.uint8)
    for k in range(len(indices)):
        philox.start(state, key, indices[k], TEXT_STREAM)
        write_text(program, 1 if others[k] else 0, state, codes, parts, labels[k])


def decode_texts(codes: NDArray[Any], alphabet: str) -> list[str]:
    """The strings of rows of codes (n, length), which are padded with 0."""
    characters = np.array([ord(character) for character in alphabet], np.uint32)[codes]
    n, length = codes.shape
    return (
        [str(text) for text in np.ascontiguousarray(characters).view(f"<U{length}")[:, 0].tolist()]
        if length
        else [""] * n
    )
