"""Read the pickles of CIFAR's Python version as data: dicts of lists, texts, numbers and arrays uint8.

A pickle is a program that can call anything. It is therefore interpreted here and not by Python's own reader: the four
names that pickled arrays need are symbols without a function behind them, every other name is refused, and arrays are
made from the bytes in the file. Memory is limited by the file's size and by the number of steps.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from enum import Enum
from math import prod
from typing import Any

import numpy as np

from textgen.common.array_types import U8
from textgen.common.errors import UserError

MAX_BYTES = 256 << 20  # of a file; the largest of CIFAR has 148 MiB
MAX_STEPS = 2_000_000  # opcodes; the largest file of CIFAR has 250 thousand
MAX_NAME = 64  # characters of a name in a message


class _Symbol(Enum):
    """What a pickled array may name."""

    RECONSTRUCT = "reconstruct"
    NDARRAY = "ndarray"
    DTYPE = "dtype"
    ENCODE = "encode"
    UINT8 = "uint8"  # the result of calling DTYPE


SYMBOLS = {
    ("numpy.core.multiarray", "_reconstruct"): _Symbol.RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _Symbol.RECONSTRUCT,  # since NumPy 2
    ("numpy", "ndarray"): _Symbol.NDARRAY,
    ("numpy", "dtype"): _Symbol.DTYPE,
    ("_codecs", "encode"): _Symbol.ENCODE,  # bytes as Python 3 writes them with protocol 2
}


class _Array:
    """An array; it has no values until its state is set."""

    values: U8 | None = None


class _Mark:
    """Where the items of a tuple, list or dict begin on the stack."""


class _Refused(Exception):
    """Why a pickle is none of CIFAR's."""


def read_pickle(data: bytes, name: str) -> dict[str, Any]:
    """Read a pickled dict with texts as keys; texts are bytes, as in Python 2, and arrays are uint8.

    Nothing is imported or called. Raises `UserError` that begins with `name` for a file that is no such pickle, that
    names anything else than an array needs, or that is damaged.
    """
    try:
        if len(data) > MAX_BYTES:
            raise _Refused(f"it has more than {MAX_BYTES >> 20} MiB")
        found = _Interpreter(data).run()
        if not isinstance(found, dict):
            raise _Refused("it holds no dict")
    except _Refused as error:
        raise UserError(f"{name} is no file of CIFAR: {error}; download it again") from None
    return {key.decode("latin-1"): _unwrap(value) for key, value in found.items()}


def _unwrap(value: Any) -> Any:
    return value.values if isinstance(value, _Array) else value


class _Interpreter:
    """A stack machine for the opcodes that pickles of dicts, lists, texts, numbers and arrays have."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._encoded = 0  # bytes that ENCODE has made

    def run(self) -> object:
        """The object of the pickle."""
        for _ in range(MAX_STEPS):
            opcode = self._take(1)
            if opcode == b".":
                return self._pop()
            if opcode not in OPCODES:
                raise _Refused(f"it has an opcode, {opcode!r}, that no file of CIFAR has")
            OPCODES[opcode](self)
        raise _Refused(f"it has more than {MAX_STEPS:,} steps")

    def _take(self, count: int) -> bytes:
        taken = self._data[self._at : self._at + count]
        if len(taken) < count:
            raise _Refused("its end is missing")
        self._at += count
        return taken

    def _number(self, layout: str) -> int:
        (number,) = struct.unpack(layout, self._take(struct.calcsize(layout)))
        return int(number)

    def _pop(self) -> Any:
        if not self._stack or isinstance(self._stack[-1], _Mark):
            raise _Refused("it is damaged")
        return self._stack.pop()

    def _top(self, kind: type) -> Any:
        """The object on the stack that the next ones go into."""
        if not self._stack or not isinstance(self._stack[-1], kind):
            raise _Refused("it is damaged")
        return self._stack[-1]

    def _pop_items(self) -> list[Any]:
        """What lies above the last mark."""
        for at in range(len(self._stack) - 1, -1, -1):
            if isinstance(self._stack[at], _Mark):
                items = self._stack[at + 1 :]
                del self._stack[at:]
                return items
        raise _Refused("it is damaged")

    # The opcodes.

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def protocol(self) -> None:
        if self._take(1)[0] > 5:
            raise _Refused("its protocol is newer than Python's")

    def frame(self) -> None:
        self._take(8)  # its length says nothing that the opcodes do not

    def integer(self, layout: str) -> None:
        self.push(self._number(layout))

    def text(self, layout: str) -> None:
        """A text of Python 2, or bytes."""
        self.push(self._take(self._number(layout)))

    def unicode(self, layout: str) -> None:
        try:
            self.push(self._take(self._number(layout)).decode("utf-8", "surrogatepass"))
        except UnicodeDecodeError:
            raise _Refused("a text is damaged") from None

    def remember(self, layout: str) -> None:
        self._memo[self._number(layout)] = self._top(object)

    def memoize(self) -> None:
        self._memo[len(self._memo)] = self._top(object)

    def recall(self, layout: str) -> None:
        number = self._number(layout)
        if number not in self._memo:
            raise _Refused("it is damaged")
        self.push(self._memo[number])

    def tuple_of(self, count: int) -> None:
        self.push(tuple(reversed([self._pop() for _ in range(count)])))

    def tuple_of_items(self) -> None:
        self.push(tuple(self._pop_items()))

    def append(self) -> None:
        value = self._pop()
        self._top(list).append(value)

    def append_items(self) -> None:
        items = self._pop_items()
        self._top(list).extend(items)

    def set_item(self) -> None:
        value, key = self._pop(), self._pop()
        self._set(key, value)

    def set_items(self) -> None:
        items = self._pop_items()
        if len(items) % 2:
            raise _Refused("it is damaged")
        for key, value in zip(items[::2], items[1::2], strict=True):
            self._set(key, value)

    def _set(self, key: Any, value: Any) -> None:
        # No other keys: to hash a nested tuple can take for ever, or end the process.
        if not isinstance(key, bytes | str):
            raise _Refused("a key is no text")
        self._top(dict)[_to_bytes(key)] = value

    def name_in_lines(self) -> None:
        """A name as protocols up to 3 write it: module and name, a line each."""
        lines = []
        for _ in range(2):
            end = self._data.find(b"\n", self._at, self._at + 4 * MAX_NAME)
            if end < 0:
                raise _Refused("it is damaged")
            lines.append(self._data[self._at : end].decode("latin-1"))
            self._at = end + 1
        self._push_symbol(*lines)

    def name_on_stack(self) -> None:
        name, module = self._pop(), self._pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise _Refused("it is damaged")
        self._push_symbol(module, name)

    def _push_symbol(self, module: str, name: str) -> None:
        if (module, name) not in SYMBOLS:
            raise _Refused(f"it names {f'{module}.{name}'[:MAX_NAME]!r}, which no file of CIFAR does")
        self.push(SYMBOLS[module, name])

    def call(self) -> None:
        """What REDUCE would call, done here."""
        arguments, function = self._pop(), self._pop()
        if not isinstance(arguments, tuple):
            raise _Refused("it is damaged")
        if function is _Symbol.RECONSTRUCT and arguments[:1] and arguments[0] is _Symbol.NDARRAY:
            self.push(_Array())
        elif function is _Symbol.DTYPE and arguments and isinstance(arguments[0], bytes | str):
            if _to_bytes(arguments[0]) not in (b"u1", b"|u1"):
                raise _Refused("an array does not hold uint8")
            self.push(_Symbol.UINT8)
        elif function is _Symbol.ENCODE and len(arguments) == 2 and arguments[1] in ("latin1", "latin-1"):
            if not isinstance(arguments[0], str):
                raise _Refused("it is damaged")
            self._encoded += len(arguments[0])
            if self._encoded > len(self._data):  # the same text again and again
                raise _Refused("it makes more bytes than it has")
            self.push(_to_bytes(arguments[0]))
        else:
            raise _Refused("it makes what no file of CIFAR holds")

    def set_state(self) -> None:
        """What BUILD would set: the values of an array, or of a dtype, which says nothing more."""
        state, target = self._pop(), self._pop()
        if isinstance(target, _Array) and target.values is None:
            target.values = _to_array(state)
        elif target is not _Symbol.UINT8 or not isinstance(state, tuple):
            raise _Refused("it sets the state of what is no array")
        self.push(target)


def _to_bytes(text: bytes | str) -> bytes:
    try:
        return text if isinstance(text, bytes) else text.encode("latin-1")
    except UnicodeEncodeError:
        raise _Refused("a text holds characters that no file of CIFAR has") from None


def _to_array(state: Any) -> U8:
    """The array of a state (version, shape, dtype, whether columns come first, bytes)."""
    if not isinstance(state, tuple) or len(state) != 5 or state[2] is not _Symbol.UINT8:
        raise _Refused("an array does not hold uint8")
    _, shape, _, columns_first, data = state
    if not isinstance(shape, tuple) or not 1 <= len(shape) <= 4 or not all(type(n) is int and n >= 0 for n in shape):
        raise _Refused("an array has no shape")
    if not isinstance(data, bytes) or prod(shape) != len(data):
        held = f"{len(data):,} bytes" if isinstance(data, bytes) else "no bytes"
        raise _Refused(f"an array of shape {shape} holds {held}")
    return np.frombuffer(data, np.uint8).reshape(shape, order="F" if columns_first is True else "C")


OPCODES: dict[bytes, Callable[[_Interpreter], None]] = {
    b"\x80": _Interpreter.protocol,
    b"\x95": _Interpreter.frame,
    b"(": lambda machine: machine.push(_Mark()),
    b"N": lambda machine: machine.push(None),
    b"\x88": lambda machine: machine.push(True),
    b"\x89": lambda machine: machine.push(False),
    b"K": lambda machine: machine.integer("<B"),
    b"M": lambda machine: machine.integer("<H"),
    b"J": lambda machine: machine.integer("<i"),
    b"U": lambda machine: machine.text("<B"),
    b"T": lambda machine: machine.text("<I"),
    b"C": lambda machine: machine.text("<B"),
    b"B": lambda machine: machine.text("<I"),
    b"\x8e": lambda machine: machine.text("<Q"),
    b"\x8c": lambda machine: machine.unicode("<B"),
    b"X": lambda machine: machine.unicode("<I"),
    b"\x8d": lambda machine: machine.unicode("<Q"),
    b"q": lambda machine: machine.remember("<B"),
    b"r": lambda machine: machine.remember("<I"),
    b"\x94": _Interpreter.memoize,
    b"h": lambda machine: machine.recall("<B"),
    b"j": lambda machine: machine.recall("<I"),
    b"}": lambda machine: machine.push({}),
    b"]": lambda machine: machine.push([]),
    b")": lambda machine: machine.push(()),
    b"\x85": lambda machine: machine.tuple_of(1),
    b"\x86": lambda machine: machine.tuple_of(2),
    b"\x87": lambda machine: machine.tuple_of(3),
    b"t": _Interpreter.tuple_of_items,
    b"a": _Interpreter.append,
    b"e": _Interpreter.append_items,
    b"s": _Interpreter.set_item,
    b"u": _Interpreter.set_items,
    b"c": _Interpreter.name_in_lines,
    b"\x93": _Interpreter.name_on_stack,
    b"R": _Interpreter.call,
    b"b": _Interpreter.set_state,
}
