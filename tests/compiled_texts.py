"""Compiled code and `Spec.sample` beside each other, from the same random numbers."""

from typing import Any

import numpy as np

from textgen.kernels import philox
from textgen.kernels.text_program import build_alphabet, compile_spec, decode_texts, write_text
from textgen.spec import Spec

NO_LABELS = np.empty(0, np.int32)  # of a label of one field


class Uniforms:
    """The random numbers of compiled code, for code that takes numpy's generators."""

    def __init__(self, index: int):
        self.state = np.zeros(philox.STATE, np.uint64)
        philox.start(self.state, np.uint64(5), np.uint64(index), np.uint64(0))

    def random(self) -> float:
        return float(philox.uniform(self.state))


def assert_same_texts(spec: Spec, times: int = 4) -> dict[str, list[str]]:
    """The program writes the texts that the spec samples, from the same random numbers. Returns the texts by class."""
    alphabet = build_alphabet(spec.characters)
    program = compile_spec(spec, alphabet)
    texts: dict[str, list[str]] = {name: [] for name in spec.classes}
    for label, name in enumerate(spec.classes):
        for index in range(times):
            one: Any = Uniforms(index)
            two = Uniforms(index)
            text, out = spec.sample(name, one), np.zeros(program.max_length, np.uint16)
            length = write_text(program, label, two.state, out, np.zeros(len(out), np.uint8), NO_LABELS)
            assert decode_texts(out[None], alphabet) == [text]
            assert length == len(text)
            np.testing.assert_array_equal(one.state, two.state)
            texts[name].append(text)
    return texts
