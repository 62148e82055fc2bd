from typing import Any

import numpy as np
import pytest
from compiled_texts import Uniforms, assert_same_texts
from conftest import load
from hypothesis import given, settings
from hypothesis import strategies as st
from random_specs import RandomSpec, random_specs

from textgen.common.errors import UserError
from textgen.kernels.text_program import build_alphabet, compile_texts, decode_texts, write_text
from textgen.spec.items import draw
from textgen.spec.parser import Spec, parse_texts


@settings(max_examples=60, deadline=None)
@given(random_specs())
def test_a_random_spec_is_drawn_as_it_is_sampled(made: RandomSpec) -> None:
    try:
        spec = Spec.parse(made.text, label="L", fields=made.fields, other=made.other)
    except UserError:
        return  # ambiguous
    assert_same_texts(spec)


@pytest.mark.parametrize(
    "arguments",
    [
        {"text": "XY.Zk", "label": "Z"},
        {"text": "N", "label": "N", "fields": {"N": ["0..9", "00..99"]}},
        {"text": "N[:MM[ left]:0.25]", "label": "N", "fields": {"N": "0..20", "M": {"00": 3, "01..59": 1}}},
        {"text": "A:N", "label": "N", "fields": {"A": {"x": 1e308, "yy": 1e-300, "zzz": 1e308}, "N": ["é", "日本"]}},
        {"text": "N[XXX]", "label": "N", "fields": {"N": "a"}, "other": {"": 3, "X[b]:0.9": 1, "c[d[e]]": 4}},
        {"text": "[[[a]]]XX[b[c]][d]", "label": "X"},
        {"text": "N", "label": "N", "fields": {"N": ["\U0001f600", "x\U0001f600y"]}, "other": ["\U0001f3b2 ", " "]},
    ],
)
def test_every_kind_of_item_is_drawn_as_it_is_sampled(arguments: dict[str, Any]) -> None:
    assert_same_texts(Spec.parse(**arguments), times=12)


def test_a_game_is_drawn_as_it_is_sampled(game_name: str) -> None:
    game = load("game", game_name)
    assert_same_texts(Spec.parse(game["spec"], label=game["label"], fields=game.get("fields")), times=3)


@pytest.mark.parametrize("texts", ["X", ["", "aXX[b]", " "], {"N:MM": 3, "": 1, "GO": 0.5}])
def test_texts_without_a_label_are_drawn_by_their_weights(texts: object) -> None:
    choice, characters = parse_texts("text.neighbour.texts", texts, {"N": "0..30", "M": {"00": 2, "01..59": 1}})
    alphabet = build_alphabet(characters)
    program = compile_texts(choice, alphabet)
    assert program.classes == 1
    for index in range(100):
        one: Any = Uniforms(index)
        two = Uniforms(index)
        out = np.zeros(max(program.max_length, 1), np.uint16)
        write_text(program, 0, two.state, out, np.zeros(len(out), np.uint8), np.empty(0, np.int32))
        assert decode_texts(out[None], alphabet) == [draw(choice.draw(one), one)]
        assert {*alphabet} >= set(decode_texts(out[None], alphabet)[0])


def test_an_error_in_texts_without_a_label_names_their_key() -> None:
    for texts, word in (("a[b", "never closed"), ([], "empty"), (5, "in quotes"), ({"a": -1}, "weight")):
        with pytest.raises(UserError, match=word) as caught:
            parse_texts("text.neighbour.texts", texts)
        assert caught.value.summary.startswith("text.neighbour.texts")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=8), max_size=6))
def test_codes_are_decoded_to_their_texts(texts: list[str]) -> None:
    """Trailing spaces and characters beyond the first 65536 among them."""
    texts = [*texts, "a  ", "\U0001f600", " \U0010ffff ", ""]
    alphabet = build_alphabet(frozenset("".join(texts)))
    codes = np.zeros((len(texts), max(map(len, texts)) + 1), np.uint16)
    for row, text in zip(codes, texts, strict=True):
        row[: len(text)] = [alphabet.index(character) for character in text]
    assert decode_texts(codes, alphabet) == texts
    assert decode_texts(codes[:0], alphabet) == []
    assert decode_texts(codes[:, :0], alphabet) == [""] * len(texts)
