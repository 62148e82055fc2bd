"""Labels of several fields: their values, how often each is drawn, and the texts that they make up."""

from collections import Counter
from typing import Any

import numpy as np
import pytest

from textgen.common.errors import SpecError
from textgen.kernels import philox
from textgen.kernels.tables import TEXT_STREAM
from textgen.kernels.text_program import build_alphabet, compile_spec, decode_texts, draw_labels, write_text
from textgen.spec import OTHER, Spec
from textgen.spec.label_fields import LabelFields

CLOCK = {"M": "00..60", "S": "00..59"}
SPECS: list[dict[str, Any]] = [
    {"text": "MM:SS", "label": ["M", "SS"], "fields": CLOCK},
    {"text": "XY.Zk", "label": "all"},
    {"text": "N / M", "label": "text", "fields": {"N": "0..30", "M": "N..30"}},
    {"text": "N of M", "label": ["M"], "fields": {"N": "1..M", "M": "1..10"}},
    {"text": "N[k][ of MM[ left]:.9]:0.2", "label": "text"},
    {"text": "[H:]MM:SS", "label": "text", "fields": {"H": "1..9"}, "other": ["", "--:--"]},
    {"text": "T N", "label": "all", "fields": {"T": {"GOLD": 3, "SILVER": 1}, "N": ["I", "II", "III"]}},
]


def parse(given: dict[str, Any]) -> Spec:
    return Spec.parse(given["text"], **{key: value for key, value in given.items() if key != "text"})


@pytest.mark.parametrize("given", SPECS, ids=lambda given: given["text"])
def test_a_text_has_the_values_that_it_was_drawn_with_and_they_make_it_up_again(given: dict[str, Any]) -> None:
    spec, rng = parse(given), np.random.default_rng(0)
    for _ in range(100):
        text = spec.sample({}, rng)
        label = spec.label_of(text)
        assert isinstance(label, dict)
        assert OTHER not in label.values()
        again = spec.sample(label, rng)
        assert spec.label_of(again) == label
        if spec.fields.pattern is not None:
            assert spec.answer_of(text) == text == again
    other = spec.label_of(spec.sample(OTHER, rng))
    assert isinstance(other, dict)
    assert set(other.values()) == {OTHER}


@pytest.mark.parametrize("given", SPECS, ids=lambda given: given["text"])
def test_every_value_of_every_field_can_be_asked_for(given: dict[str, Any]) -> None:
    spec, rng = parse(given), np.random.default_rng(1)
    for field in spec.fields.fields:
        for value in field.classes[:-1]:
            label = spec.label_of(spec.sample({field.name: value}, rng))
            assert isinstance(label, dict)
            assert label[field.name] == value


def test_values_are_as_frequent_as_their_weights_and_fields_are_independent() -> None:
    spec = parse({"text": "T N", "label": "all", "fields": {"T": {"A": 3, "B": 1}, "N": {"0": 1, "1..4": 4, "5": 5}}})
    rng, n = np.random.default_rng(2), 20_000
    pairs = Counter(spec.sample({}, rng) for _ in range(n))
    numbers = {**dict.fromkeys("01234", 0.1), "5": 0.5}
    chances = {f"{t} {k}": p * q for t, p in (("A", 0.75), ("B", 0.25)) for k, q in numbers.items()}
    deviation = sum((pairs[text] - n * p) ** 2 / (n * p) for text, p in chances.items())
    assert deviation < 31.3  # chi squared with 11 degrees of freedom, 0.1 %


def test_fields_that_depend_on_each_other_are_each_drawn_first_equally_often() -> None:
    spec, rng = parse(SPECS[2]), np.random.default_rng(3)
    texts = [spec.sample({}, rng) for _ in range(6200)]
    assert len(spec.orders) == 2
    for values in zip(*(map(int, text.split(" / ")) for text in texts), strict=True):
        counts = Counter(values)
        assert min(counts[value] for value in range(31)) > 60  # a half of a 31st are 100
    assert all(int(n) <= int(m) for n, m in (text.split(" / ") for text in texts))


@pytest.mark.parametrize("given", SPECS, ids=lambda given: given["text"])
def test_compiled_texts_have_the_labels_that_are_read_in_them(given: dict[str, Any]) -> None:
    spec = parse(given)
    alphabet = build_alphabet(spec.characters)
    program, n = compile_spec(spec, alphabet), 300
    others = np.arange(n) % 10 == 9
    labels = np.empty((n, len(spec.labels)), np.int32)
    draw_labels(program, np.uint64(7), np.arange(n), others, labels)
    codes, parts = np.zeros((n, program.max_length), np.uint16), np.zeros(program.max_length, np.uint8)
    state, row = np.empty(philox.STATE, np.uint64), np.empty(len(spec.labels), np.int32)
    for k in range(n):
        philox.start(state, np.uint64(7), k, TEXT_STREAM)
        write_text(program, int(others[k]), state, codes[k], parts, row)
    texts = decode_texts(codes, alphabet)
    assert [spec.labels_of(text) for text in texts] == [tuple(row) for row in labels.tolist()]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"text": "XY", "label": ["X", "X"]}, "twice"),
        ({"text": "XY", "label": ["Q"]}, "no field"),
        ({"text": "XY", "label": []}, "give a field"),
        ({"text": "abc", "label": "text"}, "no field"),
        ({"text": "N", "label": "all", "groups": {"a": "0..9"}}, "groups are for"),
        ({"text": "NM", "label": "all", "fields": {"N": "0..20", "M": "0..20"}}, "ambiguous"),
        ({"text": "X[Y]", "label": ["X"], "fields": {"X": ["1", "11"], "Y": ["1"]}}, "ambiguous"),
        ({"text": "N[k][k]", "label": "text"}, "ambiguous"),
        ({"text": "X[ Y]", "label": "all", "fields": {"Y": ["absent", "b"]}}, "absent"),
        ({"text": "AAAA BBBB", "label": "all"}, "more than 10,000"),
    ],
)
def test_labels_that_cannot_be_read_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        parse(given)


def test_fields_survive_their_description() -> None:
    for given in SPECS:
        fields = parse(given).fields
        again = LabelFields.parse(fields.describe())
        assert again.describe() == fields.describe()
        assert again.classes == fields.classes
    for damaged in ({}, {"fields": []}, {"fields": [{"name": 1, "classes": []}], "pattern": None}):
        with pytest.raises(ValueError, match="label"):
            LabelFields.parse({"pattern": None, **damaged})
    with pytest.raises(ValueError, match="column"):
        LabelFields.parse({"fields": [{"name": "a", "classes": ["b"]}], "pattern": [{"field": 3}]})
