"""Pickles: those of CIFAR are read, and whatever else a pickle can do is refused with one line, and not done."""

import builtins
import copyreg
import functools
import io
import os
import pickle
import struct
import subprocess
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cifar_copies import batch, draw, python2_pickle
from hypothesis import given, settings
from hypothesis import strategies as st

from textgen.common.errors import UserError
from textgen.dataset import cifar_pickle
from textgen.dataset.cifar_pickle import OPCODES, read_pickle

SAMPLE = draw("cifar10", 2)
BATCH = batch("cifar10", SAMPLE)
ORIGINAL = python2_pickle(BATCH)
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
UINT8 = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"


def refusal(data: bytes) -> str:
    with pytest.raises(UserError) as caught:
        read_pickle(data, "data_batch_1")
    message = str(caught.value)
    assert message.startswith("data_batch_1 is no file of CIFAR: ")
    assert "\n" not in message
    assert len(message) < 250
    return message


def read_or_refuse(data: bytes) -> Any:
    """What is read, or the one line."""
    try:
        return read_pickle(data, "x")
    except UserError:
        return refusal(data)


def dict_with(value: bytes) -> bytes:
    """{"data": value}."""
    return b"\x80\x02}U\x04data" + value + b"s."


def test_a_batch_of_python_2_is_read_with_texts_as_bytes() -> None:
    found = read_pickle(ORIGINAL, "x")
    assert list(found) == list(BATCH)
    np.testing.assert_array_equal(found["data"], BATCH["data"])
    assert found["labels"] == BATCH["labels"]
    assert found["batch_label"] == b"a batch"
    assert found["filenames"] == [name.encode() for name in BATCH["filenames"]]


def test_the_sample_is_a_pickle_that_python_reads_too() -> None:
    """So it has the true format, and not one of our own."""
    found = pickle.loads(ORIGINAL, encoding="bytes")
    np.testing.assert_array_equal(found[b"data"], BATCH["data"])
    assert found[b"labels"] == BATCH["labels"]


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_a_part_that_python_3_wrote_again_is_read(protocol: int) -> None:
    """With texts or bytes as keys; NumPy 2 gives its modules other names than NumPy 1."""
    for value in (BATCH, {key.encode(): each for key, each in BATCH.items()}):
        for module in (b"numpy._core.multiarray", b"numpy.core.multiarray"):
            data = pickle.dumps(value, protocol)
            if protocol < 4:  # names are lines there
                data = data.replace(b"cnumpy._core.multiarray\n", b"c" + module + b"\n")
            found = read_pickle(data, "x")
            np.testing.assert_array_equal(found["data"], BATCH["data"])
            assert found["labels"] == BATCH["labels"]


def test_arrays_by_columns_have_their_values_in_place() -> None:
    array = np.asfortranarray(np.arange(12, dtype=np.uint8).reshape(3, 4))
    np.testing.assert_array_equal(read_pickle(pickle.dumps({"data": array}, 2), "x")["data"], array)


# ---- Hostile pickles.


class Calls:
    """Pickled as the call of a function."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> Any:
        return self.reduced


def touch(path: Path) -> str:
    return f"touch {path}"


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(
    "hostile",
    [
        lambda path: Calls(os.system, touch(path)),
        lambda path: Calls(subprocess.check_output, ["touch", str(path)]),
        lambda path: Calls(eval, f"open({str(path)!r}, 'w')"),
        lambda path: Calls(exec, f"open({str(path)!r}, 'w')"),
        lambda path: Calls(getattr, Calls(__import__, "builtins"), "eval"),
        lambda path: Calls(builtins.open, str(path), "w"),
        lambda path: Calls(__import__, "os"),
        lambda path: Calls(functools.partial, os.system, touch(path)),
        lambda path: Calls(copyreg._reconstructor, object, object, None),
        lambda path: Calls(np.fromfile, str(path)),
        lambda path: Calls(np.load, str(path), None, True),
        lambda path: Calls(io.FileIO, str(path), "w"),
        lambda path: OrderedDict(a=1),
        lambda path: path,
        lambda path: np.float64(1),
        lambda path: np.array([Calls(os.system, touch(path))], object),
        lambda path: np.array([(1, 2)], [("a", "u1"), ("b", "u1")]),
        lambda path: np.array([1, 2]),
        lambda path: {1, 2},
        lambda path: 2**200,
        lambda path: 1.5,
    ],
)
def test_a_pickle_that_calls_or_makes_anything_else_is_refused(hostile: Any, protocol: int, tmp_path: Path) -> None:
    target = tmp_path / "made"
    for value in ({"data": hostile(target)}, {"labels": [hostile(target)]}, hostile(target)):
        refusal(pickle.dumps(value, protocol))
    assert not target.exists()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"cos\nsystem\nU\x04true\x85R", "it names 'os.system'"),
        (b"c__builtin__\neval\nU\x011\x85R", "it names '__builtin__.eval'"),
        (b"cnumpy\nndarray.__class__\n", "it names 'numpy.ndarray.__class__'"),
        (b"cnumpy\nload\n", "it names 'numpy.load'"),
        (b"\x8c\x02os\x8c\x06system\x93", "it names 'os.system'"),
        (b"]\x8c\x06system\x93", "it is damaged"),
        (b"(S'touch x'\nios\nsystem\n", "an opcode, b'S'"),
        (b"(ios\nsystem\n", "an opcode, b'i'"),
        (b"(cnumpy\nndarray\no", "an opcode, b'o'"),
        (b"cnumpy\nndarray\n)\x81", "an opcode, b'\\x81'"),
        (b"cnumpy\nndarray\n)}\x92", "an opcode, b'\\x92'"),
        (b"Pabc\n", "an opcode, b'P'"),
        (b"U\x01aQ", "an opcode, b'Q'"),
        (b"\x82\x01", "an opcode, b'\\x82'"),
        (b"\x83\x01\x00", "an opcode, b'\\x83'"),
        (b"\x97", "an opcode, b'\\x97'"),
        (b"I01\n", "an opcode, b'I'"),
        (b"2", "an opcode, b'2'"),
        # Calls of the names that are allowed, with other arguments than arrays have.
        (b"cnumpy\nndarray\nM\xff\xff\x85\x85R", "it makes what"),
        (b"cnumpy\ndtype\nU\x01OK\x00K\x01\x87R", "does not hold uint8"),
        (b"cnumpy\ndtype\n}\x85R", "it makes what"),
        (b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\ndtype\nK\x00\x85U\x01b\x87R", "it makes what"),
        (b"cnumpy.core.multiarray\n_reconstruct\n)R", "it makes what"),
        (b"c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00utf-7\x86R", "it makes what"),
        (b"c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00hex\x86R", "it makes what"),
        (b"c_codecs\nencode\n]X\x06\x00\x00\x00latin1\x86R", "it is damaged"),
        (b"c_codecs\nencode\nX\x03\x00\x00\x00\xe2\x82\xacX\x06\x00\x00\x00latin1\x86R", "a text holds characters"),
        (b"U\x01a)R", "it makes what"),
        (b"cnumpy\ndtype\n]R", "it is damaged"),
        (UINT8 + b")R", "it makes what"),
        (ARRAY + b")R", "it makes what"),
        # State of what has none: BUILD would set attributes of functions and classes.
        (b"cnumpy\nndarray\n}U\x01aK\x01sb", "the state of what is no array"),
        (b"c_codecs\nencode\nN}U\x0c__defaults__Ns\x86b", "the state of what is no array"),
        (b"}}b", "the state of what is no array"),
        (UINT8 + b"}b", "the state of what is no array"),
        # Arrays whose state is no array's.
        (ARRAY + b"}b", "does not hold uint8"),
        (ARRAY + b"(K\x01K\x02\x85" + UINT8 + b"\x89U\x01atb", "an array of shape (2,) holds 1 bytes"),
        (ARRAY + b"(K\x01J\xff\xff\xff\xff\x85" + UINT8 + b"\x89U\x01atb", "an array has no shape"),
        (ARRAY + b"(K\x01\x88\x85" + UINT8 + b"\x89U\x01atb", "an array has no shape"),
        (ARRAY + b"(K\x01)" + UINT8 + b"\x89U\x01atb", "an array has no shape"),
        (ARRAY + b"(K\x01" + b"J\xff\xff\xff\x7f" * 3 + b"\x87" + UINT8 + b"\x89U\x00tb", "holds 0 bytes"),
        (ARRAY + b"(K\x01K\x01\x85" + UINT8 + b"\x89]tb", "holds no bytes"),
        (ARRAY + b"(K\x01K\x01\x85cnumpy\ndtype\n\x89U\x01atb", "does not hold uint8"),
        (ARRAY + b"(K\x01K\x01\x85" + UINT8 + b"\x89U\x01atb" + b"(K\x01)tb", "the state of what is no array"),
        # Sizes that the file does not have.
        (b"T\xff\xff\xff\x7fab", "its end is missing"),
        (b"B\xff\xff\xff\xffab", "its end is missing"),
        (b"X\xff\xff\xff\xffab", "its end is missing"),
        (b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7fab", "its end is missing"),
        (b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffab", "its end is missing"),
        (b"]r\xff\xff\xff\xffj\xfe\xff\xff\xff", "it is damaged"),
        # Damage of the stack.
        (b"R", "it is damaged"),
        (b"b", "the state of what is no array"),
        (b"\x87", "it is damaged"),
        (b"e", "it is damaged"),
        (b"u", "it is damaged"),
        (b"K\x01K\x02a", "it is damaged"),
        (b"K\x01(K\x02e", "it is damaged"),
        (b"}(K\x02u", "it is damaged"),
        (b"}K\x01K\x02s", "a key is no text"),
        (b"}(K\x01)\x85K\x02u", "it is damaged"),
        (b"})\x85\x85K\x02s", "a key is no text"),
        (b"(K\x01a", "it is damaged"),
        (b"h\x07", "it is damaged"),
        (b"cos", "it is damaged"),
        (b"c" + b"a" * 300 + b"\nb\n", "it is damaged"),
        (b"c" + b"a" * 200 + b"\nb\n", "it names 'aaaa"),
        (b"X\x01\x00\x00\x00\xff", "a text is damaged"),
        (b"\x80\x09", "its protocol is newer"),
    ],
)
def test_every_other_step_is_refused(value: bytes, reason: str) -> None:
    assert reason in refusal(dict_with(value))


def test_what_is_no_dict_is_refused() -> None:
    assert "it holds no dict" in refusal(b"\x80\x02].")
    assert "it is damaged" in refusal(b"\x80\x02(.")
    assert "its end is missing" in refusal(b"")
    assert "an opcode" in refusal(b"<html>")


def test_no_nesting_ends_the_process() -> None:
    """Python's own reader hashes a key that is a nested tuple: deep ones end the process, doubled ones never end."""
    deep = b")" + b"\x85" * 200_000
    doubled = b")" + b"q\x00h\x00\x86" * 60
    for nested in (deep, doubled, b"]" * 200_000 + b"a" * 199_999):
        assert "a key is no text" in refusal(b"\x80\x02}" + nested + b"K\x01s.")
        assert list(read_pickle(dict_with(nested), "x")) == ["data"]


def test_a_list_that_holds_itself_is_only_data() -> None:
    found = read_pickle(dict_with(b"]q\x00h\x00a"), "x")["data"]
    assert found[0] is found


def test_memory_is_limited_by_the_files_size(monkeypatch: pytest.MonkeyPatch) -> None:
    text = b"X" + struct.pack("<I", 1000) + b"a" * 1000 + b"q\x00"
    again = b"c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R"
    assert "more bytes than it has" in refusal(b"\x80\x02" + text + again * 200 + b".")
    monkeypatch.setattr(cifar_pickle, "MAX_BYTES", len(ORIGINAL) - 1)
    assert "it has more than" in refusal(ORIGINAL)


def test_the_number_of_steps_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar_pickle, "MAX_STEPS", 1000)
    assert "more than 1,000 steps" in refusal(b"\x80\x02" + b"]" * 1001 + b".")


def test_every_place_at_which_a_file_may_end_is_refused() -> None:
    for end in (*range(200), *range(200, len(ORIGINAL), 997)):
        refusal(ORIGINAL[:end])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(sorted(OPCODES)), st.binary(min_size=1, max_size=6)), max_size=40))
def test_any_bytes_are_read_or_refused_with_one_line(pieces: list[bytes]) -> None:
    assert isinstance(read_or_refuse(b"\x80\x02" + b"".join(pieces) + b"."), dict | str)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 400), st.integers(0, 255))
def test_a_changed_byte_is_read_or_refused_with_one_line(at: int, value: int) -> None:
    small = python2_pickle(batch("cifar10", type(SAMPLE)(SAMPLE.images[:1], SAMPLE.labels[:1])))
    head = small[: small.index(b"U\x04data") + 220]
    data = bytearray(small)
    data[at % len(head)] = value
    assert isinstance(read_or_refuse(bytes(data)), dict | str)
