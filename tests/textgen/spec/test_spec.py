import doctest
import pickle
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from random_specs import RandomSpec, random_specs

from textgen.spec import automaton
from textgen.spec import parser as spec_module
from textgen.spec.parser import Spec, SpecError

DOCS = Path(__file__).parents[3] / "docs" / "reference" / "spec.md"


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def draw(spec: Spec, label: str, count: int) -> Counter[str]:
    generator = rng()
    return Counter(spec.sample(label, generator) for _ in range(count))


def assert_round_trip(spec: Spec, times: int = 3) -> None:
    generator = rng()
    for label in spec.classes:
        for _ in range(times):
            text = spec.sample(label, generator)
            assert spec.label_of(text) == label
            assert spec.characters >= set(text)


# ---- The documentation.


def documented() -> list[Any]:
    blocks = re.findall(r"```yaml\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    return [pytest.param(block, id=f"{at}:{block.splitlines()[0]}") for at, block in enumerate(blocks)]


@pytest.mark.parametrize("block", documented())
def test_documented_example(block: str) -> None:
    game = yaml.safe_load(block)
    arguments = {key: game[key] for key in ("label", "fields", "other", "groups") if key in game}
    promises = re.findall(r"^# .*$", block, re.MULTILINE)
    assert promises, "an example promises something"
    if promises[0].startswith("# refused: "):
        with pytest.raises(SpecError) as caught:
            Spec.parse(game["spec"], **arguments)
        assert promises == [f"# refused: {caught.value.summary}"]
        return
    spec = Spec.parse(game["spec"], **arguments)
    assert_round_trip(spec)
    for promise in promises:
        if promise.startswith("# classes: "):
            assert promise.split()[2:] == list(spec.classes)
        else:
            match = re.fullmatch(r"# '(.*)' -> '(.*)'", promise)
            assert match, promise
            assert spec.label_of(match[1]) == match[2]


def test_documented_sessions() -> None:
    for result in (doctest.testfile(str(DOCS), module_relative=False), doctest.testmod(spec_module)):
        assert result.attempted > 0
        assert result.failed == 0


# ---- What a spec means.


def test_digits_keep_leading_zeros() -> None:
    spec = Spec.parse("XXX:MM", label="M")
    assert spec.classes == (*(f"{number:02}" for number in range(100)), "other")
    assert all(re.fullmatch(r"\d{3}:07", text) for text in draw(spec, "07", 50))


def test_a_union_tells_0_from_00() -> None:
    spec = Spec.parse("Nk", label="N", fields={"N": ["0..9", "00..99"]})
    assert len(spec.classes) == 111
    assert spec.classes[:11] == (*"0123456789", "00")
    assert spec.classes[-1] == "other"
    assert spec.label_of("0k") == "0"
    assert spec.label_of("00k") == "00"
    assert_round_trip(spec)


@pytest.mark.parametrize(
    ("given_values", "expanded"),
    [
        ("8..11", ["8", "9", "10", "11"]),
        ("08..11", ["08", "09", "10", "11"]),
        ("5..5", ["5"]),
        ("GOLD", ["GOLD"]),
        (["b", "a", "1..2"], ["b", "a", "1", "2"]),
        (("b", "a"), ["b", "a"]),
        ({"b": 2, "0..1": 2.0, "a": 1}, None),
        ({"b": 2, "a": 2.0}, ["b", "a"]),
        ("...", ["..."]),
        ("é日", ["é日"]),
        (r"[X\]", [r"[X\]"]),
    ],
)
def test_values_of_a_field(given_values: object, expanded: list[str] | None) -> None:
    if expanded is None:
        with pytest.raises(SpecError, match="weights"):
            Spec.parse("N", label="N", fields={"N": given_values})
    else:
        spec = Spec.parse("N", label="N", fields={"N": given_values})
        assert spec.classes == (*expanded, "other")
        assert_round_trip(spec)


def test_optional_text() -> None:
    spec = Spec.parse("X[a[b]:.25]:0.5[c]", label="X")
    assert set(draw(spec, "1", 300)) == {"1", "1c", "1a", "1ac", "1ab", "1abc"}
    assert spec.label_of("1b") == "other"
    assert spec.characters == set("0123456789abc")


@pytest.mark.parametrize("suffix", [":1", ":0.", ":.", ":00.5", ":1.5", ":-.5", ":0,5", ": .5", ";0.5"])
def test_other_colons_are_themselves(suffix: str) -> None:
    spec = Spec.parse(f"X[a]{suffix}", label="X")
    assert set(draw(spec, "1", 100)) == {f"1{suffix}", f"1a{suffix}"}


def test_escapes() -> None:
    spec = Spec.parse(r"\XX\[\]\\\:\a", label="X")
    assert spec.sample("3", rng()) == r"X3[]\:a"
    assert spec.label_of("X3[]\\:a") == "3"


def test_other_is_blank_unless_told() -> None:
    spec = Spec.parse("X", label="X")
    assert set(draw(spec, "other", 10)) == {""}
    assert spec.label_of("") == "other"


def test_other_texts_share_the_fields_and_may_have_more() -> None:
    fields = {"T": ["a", "b"], "A": ["x", "y"]}
    spec = Spec.parse("T:N", label="N", fields=fields, other=["T;N", "A", "BB", ""])
    shown = draw(spec, "other", 3000)
    assert {text for text in shown if ";" in text} == {f"{t};{n}" for t in "ab" for n in range(10)}
    assert {"x", "y", ""} < set(shown)
    assert len([text for text in shown if re.fullmatch(r"\d\d", text)]) == 100
    assert set("abxy;:0123456789") == spec.characters
    assert_round_trip(spec)


def test_an_other_text_may_read_in_two_ways() -> None:
    spec = Spec.parse("X!", label="X", other=["[A][B]", "X"])
    assert_round_trip(spec)


def assert_chances(shown: Counter[str], chances: dict[str, float]) -> None:
    """Chi-square, with a limit five standard deviations above its mean; the draws are seeded."""
    total = shown.total()
    assert set(shown) <= set(chances)
    chi2 = sum((shown[text] - total * chance) ** 2 / (total * chance) for text, chance in chances.items())
    freedom = len(chances) - 1
    assert chi2 < freedom + 5 * (2 * freedom) ** 0.5


def test_weights_are_those_of_whole_keys() -> None:
    spec = Spec.parse("NS", label="N", fields={"S": {"00": 3, "1..4": 1, "x": 0.5}})
    shown = Counter({text[1:]: count for text, count in draw(spec, "7", 20_000).items()})
    assert_chances(shown, {"00": 3 / 4.5, "x": 0.5 / 4.5, **{str(s): 0.25 / 4.5 for s in range(1, 5)}})


def test_values_of_a_list_are_equally_likely() -> None:
    spec = Spec.parse("NS", label="N", fields={"S": ["x", "1..4"]})
    assert_chances(draw(spec, "7", 20_000), {f"7{s}": 0.2 for s in "x1234"})


def test_chances_of_digits_options_and_others() -> None:
    spec = Spec.parse("NX", label="N", other={"": 3, "a[b]:0.2": 1, "c[d]": 4})
    assert_chances(draw(spec, "7", 20_000), {f"7{x}": 0.1 for x in range(10)})
    chances = {"": 3 / 8, "a": 0.8 / 8, "ab": 0.2 / 8, "c": 2 / 8, "cd": 2 / 8}
    assert_chances(draw(spec, "other", 20_000), chances)


def test_extreme_weights() -> None:
    spec = Spec.parse("NS", label="N", fields={"S": {"a": 1e308, "b": 1e308, "c": 5e-324, "d": 1}})
    assert_chances(draw(spec, "7", 1000), {"7a": 0.5, "7b": 0.5})


def test_samples_never_drift() -> None:
    """A change here changes every data set that is made from now on."""
    fields = {"N": ["0..9", "00..99"], "S": {"00": 3, "01..59": 1}}
    spec = Spec.parse("N:XX[:SS]:0.7[k]", label="N", fields=fields, other={"": 1, "--[k]": 2})
    generator = rng(7)
    labels = ["5", "05", "other", "99", "other", "0"]
    assert [spec.sample(label, generator) for label in labels] == [
        "5:68k",
        "05:38:17",
        "--k",
        "99:22:00",
        "--",
        "0:69:00",
    ]


def test_samples_depend_on_the_generator_alone() -> None:
    spec = Spec.parse("XY[k]Z", label="Z")
    first, second = ([spec.sample("1", generator) for _ in range(20)] for generator in (rng(3), rng(3)))
    assert first == second


def test_pickle_and_equality() -> None:
    def make() -> Spec:
        fields = {"N": "0..20", "S": {"00": 3, "01..59": 1}}
        return Spec.parse("N[:SS][k]", label="N", fields=fields, other=["a[b]", ""])

    spec = make()
    copy = pickle.loads(pickle.dumps(spec))
    assert copy == spec == make()
    assert spec != Spec.parse("N", label="N")
    assert [copy.sample(label, rng(1)) for label in copy.classes] == [
        spec.sample(label, rng(1)) for label in spec.classes
    ]
    assert [copy.label_of(text) for text in ("5:17k", "5:1")] == ["5", "other"]


def test_an_error_can_be_pickled() -> None:
    with pytest.raises(SpecError) as caught:
        Spec.parse("X[", label="X")
    copy = pickle.loads(pickle.dumps(caught.value))
    assert str(copy) == str(caught.value)
    assert copy.summary == caught.value.summary


# ---- Errors.


@pytest.mark.parametrize(
    ("text", "column", "says"),
    [
        ("[]X", 1, "holds no text"),
        ("X[a[]]", 4, "holds no text"),
        ("X[k", 2, "never closed"),
        ("X[k[l]", 2, "never closed"),
        ("X[k[l", 4, "never closed"),
        ("Xk]", 3, "closes no"),
        ("X[k]]", 5, "closes no"),
        ("X\\", 2, "stands before nothing"),
        ("X\\\\\\", 4, "stands before nothing"),
        ("X:X", 3, "stands at column 1 already"),
        ("YXYZ", 3, "stands at column 1 already"),
        ("YY.XX[X]", 7, "stands at column 4 already"),
        ("X[a]:0.0", 5, "a chance of 0"),
        ("X[a]:.00k", 5, "a chance of 0"),
        ("Y[X]", 3, "optional"),
        ("Y[a[:XX]]", 6, "optional"),
        ("X.FFF", 3, "FFF is 3 characters wide, but fields.F holds '1'"),
    ],
)
def test_column_and_caret(text: str, column: int, says: str) -> None:
    fields = {"F": "1"} if "F" in text else {}
    with pytest.raises(SpecError) as caught:
        Spec.parse(text, label="X", fields=fields)
    first, shown, caret = str(caught.value).split("\n")
    assert says in first
    assert first == caught.value.summary
    assert first.startswith(f"spec, column {column}: ")
    assert shown == "    " + text
    assert caret == "    " + " " * (column - 1) + "^"


def test_the_caret_stays_below_wide_characters() -> None:
    with pytest.raises(SpecError) as caught:
        Spec.parse("日a[X", label="X")
    assert str(caught.value).endswith("\n    日a[X\n    \u3000 ^")


def test_errors_of_an_other_text_show_that_text() -> None:
    with pytest.raises(SpecError) as caught:
        Spec.parse("X", label="X", other=["", "a[b"])
    assert str(caught.value).startswith("other, column 2: ")
    assert str(caught.value).endswith("\n    a[b\n     ^")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"N": 5}, "fields.N holds 5, which is no text: write it in quotes"),
        ({"N": ["1", 2.5]}, "fields.N holds 2.5, which is no text: write it in quotes"),
        ({"N": {True: 1}}, "fields.N holds True, which is no text: write it in quotes"),
        ({"N": [None]}, "fields.N holds None, which is no text: write it in quotes"),
        ({"N": [["1"]]}, "write it in quotes"),
        ({"N": b"1"}, "write it in quotes"),
        ({1: "1"}, "fields holds 1, which is no text: write it in quotes"),
        ({"N": None}, "fields.N is empty"),
        ({"N": []}, "fields.N is empty"),
        ({"N": {}}, "fields.N is empty"),
        ({"N": ""}, "fields.N holds an empty text"),
        ({"N": ["1", ""]}, "fields.N holds an empty text"),
        ({"N": "other"}, "fields.N holds 'other'"),
        ({"N": "0-30"}, "fields.N is '0-30', one text: write 0..30 for a range, or ['0-30']"),
        ({"N": "9..1"}, "fields.N holds '9..1', which runs downwards: write '1..9'"),
        ({"N": "00..5"}, "write '00..05' with leading zeros or '0..5' without"),
        ({"N": "5..010"}, "write '005..010' with leading zeros or '5..10' without"),
        ({"N": "a..z"}, "fields.N holds 'a..z', which is no range"),
        ({"N": "-5..-7"}, "fields.N holds '-5..-7', which runs downwards: write '-7..-5'"),
        ({"N": "-0..5"}, "but zero has no sign: write '0..5'"),
        ({"N": "-05..5"}, "write '-05..05' with leading zeros or '-5..5' without"),
        ({"N": "\u22125..5"}, "'-10..40', with the hyphen '-' as the sign"),
        ({"N": "-3--1"}, "one text: write -3..-1 for a range"),
        ({"N": "0.. 5"}, "which is no range"),
        ({"N": "0..9, 00..99"}, "which is no range"),
        ({"N": "0.." + "9" * 5000}, "which is no range"),
        ({"N": "0..100000"}, "more than 100000 values"),
        ({"N": ["0..99999", "a"]}, "more than 100000 values"),
        ({"N": "1..10000"}, "more than 10000 classes"),
        ({"N": ["5", "0..9"]}, "fields.N holds '5' twice"),
        ({"N": ["a", "a"]}, "fields.N holds 'a' twice"),
        ({"N": {"0..9": 1, "5": 1}}, "fields.N holds '5' twice"),
        ({"N": "a\nb"}, r"fields.N holds '\n': a text is one line"),
        ({"N": "\ud800"}, "a text is one line"),
        ({"n": "1"}, "fields.n: a field has one uppercase letter"),
        ({"NN": "11"}, "fields.NN: a field has one uppercase letter"),
        ({"É": "1"}, "fields.É: a field has one uppercase letter"),
        ({"": "1"}, "fields.: a field has one uppercase letter"),
        ({"Q": "1"}, "fields.Q stands nowhere in 'N:S': rename or remove it; the fields there are N, S"),
        ({"N": {"a": 2, "b": 1}}, "fields.N has weights, but classes are asked for by name"),
        *[
            ({"S": {"a": weight, "b": 1}}, f"fields.S gives 'a' the weight {weight!r}")
            for weight in (0, -1, float("inf"), float("nan"), True, None, "3", 10**400)
        ],
        ("N", "fields is 'N': write a mapping"),
    ],
)
def test_wrong_fields(fields: Any, says: str) -> None:
    with pytest.raises(SpecError) as caught:
        Spec.parse("N:S", label="N", fields=fields)
    assert says in str(caught.value)
    assert "\n" not in caught.value.summary


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"text": 12, "label": "X"}, "spec holds 12, which is no text: write it in quotes"),
        ({"text": "", "label": "X"}, "spec '' has no field"),
        ({"text": "abc", "label": "X"}, "spec 'abc' has no field"),
        ({"text": "X" + "a" * 200, "label": "X"}, "spec is 201 characters long"),
        ({"text": "X\n", "label": "X"}, r"spec holds '\n'"),
        ({"text": "XX", "label": "XXX"}, "label 'XXX' is XX in spec 'XX': write XX or X"),
        (
            {"text": "XX", "label": "XY"},
            "label 'XY' is no field of spec 'XX': choose one of X, a list of them, all, or text",
        ),
        (
            {"text": "XY", "label": "Z"},
            "label 'Z' is no field of spec 'XY': choose one of X, Y, a list of them, all, or text",
        ),
        ({"text": "XY", "label": True}, "label holds True, which is no text: write it in quotes"),
        ({"text": r"\XY", "label": "X"}, "choose one of Y"),
        ({"text": "XXXX", "label": "X"}, "more than 10000 classes"),
        ({"text": "X" * 200, "label": "X"}, "more than 10000 classes"),
        ({"text": "X", "label": "X", "other": None}, "other is empty"),
        ({"text": "X", "label": "X", "other": []}, "other is empty"),
        ({"text": "X", "label": "X", "other": 0}, "other holds 0, which is no text: write it in quotes"),
        ({"text": "X", "label": "X", "other": ["a", "a"]}, "other holds 'a' twice"),
        ({"text": "X", "label": "X", "other": {"a": 0}}, "other gives 'a' the weight 0"),
        ({"text": "X", "label": "X", "other": "a" * 201}, "other is 201 characters long"),
        ({"text": "X", "label": "X", "other": ["a", "5"]}, "other '5' can show '5', which spec 'X' reads as"),
        (
            {"text": "X[k]", "label": "X", "other": "A[B]"},
            "can show '0', which spec 'X[k]' reads as class '0'",
        ),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError) as caught:
        Spec.parse(**arguments)
    assert says in str(caught.value)


def test_an_unknown_class() -> None:
    with pytest.raises(SpecError, match=r"'10' is no class of spec 'X': choose '0', '1', .* or 'other'"):
        Spec.parse("X", label="X").sample("10", rng())


# ---- Ambiguity.


@pytest.mark.parametrize(
    ("text", "fields", "witness", "labels"),
    [
        ("NM", {"N": "0..20", "M": "0..20"}, "110", {"1", "11"}),
        ("[X]N", {"N": "0..20"}, "10", {"0", "10"}),
        ("NT", {"N": ["a", "ab"], "T": ["bc", "c"]}, "abc", {"a", "ab"}),
        ("[a]N", {"N": ["b", "ab"]}, "ab", {"b", "ab"}),
    ],
)
def test_ambiguous_by_name(text: str, fields: dict[str, object], witness: str, labels: set[str]) -> None:
    with pytest.raises(SpecError) as caught:
        Spec.parse(text, label="N", fields=fields)
    said = re.search(r"ambiguous: '(.*)' can be read with N = '(.*)' and with N = '(.*)':", str(caught.value))
    assert said
    assert said[1] == witness
    assert {said[2], said[3]} == labels


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("NX", {"N": "0..20"}),
        ("[X][Y]NN", {}),
        ("[a][a][a]N", {}),
        ("NN[k][k]", {}),
        ("[X].N", {"N": "0..20"}),
    ],
)
def test_not_ambiguous(text: str, fields: dict[str, object]) -> None:
    assert_round_trip(Spec.parse(text, label="N", fields=fields))


@pytest.mark.parametrize("fields", [{"M": "0..9999"}, {"N": "000..399", "M": "0"}])
def test_too_large_to_check(fields: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    """The first has too many states, the second too many pairs of them."""
    assert_round_trip(Spec.parse("N:M", label="N", fields=fields))
    monkeypatch.setattr(automaton, "MAX_STATES", 1000)
    with pytest.raises(SpecError, match="too large to be checked"):
        Spec.parse("N:M", label="N", fields=fields)


def test_the_search_forgets_which_labels_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would visit some 300 000 pairs: a thousand labels, at each of 150 digits."""
    monkeypatch.setattr(automaton, "MAX_STATES", 20_000)
    Spec.parse("N" + "X" * 150, label="N", fields={"N": "0..999"})


def test_many_options_take_no_exponential_time() -> None:
    started = time.perf_counter()
    spec = Spec.parse("[a]" * 60 + "X", label="X", other="[a]" * 60 + "b")
    assert spec.label_of("a" * 60 + "7") == "7"
    assert spec.label_of("a" * 61 + "7") == "other"
    assert spec.label_of("a" * 60) == "other"
    with pytest.raises(SpecError, match="can show '0'"):
        Spec.parse("[a]" * 60 + "X", label="X", other="[a]" * 60 + "Y")
    assert time.perf_counter() - started < 5


def test_deep_brackets() -> None:
    spec = Spec.parse("[" * 99 + "a" + "]" * 99 + "X", label="X")
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert_round_trip(spec)


# ---- Random specs, against an enumeration of all their readings that shares no code with the module.


@settings(max_examples=200, deadline=None)
@given(random_specs())
def test_the_check_is_exact(made: RandomSpec) -> None:
    labels: dict[str, set[str]] = {}
    for text, label in made.readings:
        labels.setdefault(text, set()).add(label)
    ambiguous = {text for text, found in labels.items() if len(found) > 1}
    if ambiguous or made.others & set(labels):
        with pytest.raises(SpecError) as caught:
            Spec.parse(made.text, label="L", fields=made.fields, other=made.other)
        message = str(caught.value)
        if ambiguous:
            said = re.search(r"ambiguous: '(.*)' can be read with L = '(.*)' and with L = '(.*)':", message)
            assert said
            assert said[1] in ambiguous
            assert len(said[1]) == min(map(len, ambiguous))
            assert said[2] != said[3]
            assert {said[2], said[3]} <= labels[said[1]]
        else:
            said = re.search(r"can show '(.*)', which spec '.*' reads as class '(.*)':", message)
            assert said
            assert said[1] in made.others & set(labels)
            assert len(said[1]) == min(map(len, made.others & set(labels)))
            assert said[2] in labels[said[1]]
        return
    spec = Spec.parse(made.text, label="L", fields=made.fields, other=made.other)
    assert spec.characters == {char for text in [*labels, *made.others] for char in text}
    for text, (label,) in labels.items():
        assert spec.label_of(text) == label
    for text in made.others | {label + "?" for label in spec.classes}:
        assert spec.label_of(text) == "other"
    generator = rng()
    for label in spec.classes:
        text = spec.sample(label, generator)
        assert text in made.others if label == "other" else (text, label) in made.readings


FIELD_VALUES = st.recursive(
    st.one_of(
        st.sampled_from(["0..20", "00..12", "5..1", "00..5", "a", "ab", "12", "", "other", "..", "0..x"]),
        st.text("01.a", max_size=6),
        st.sampled_from([0, 1.5, True, None]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.text("01.a", max_size=6), inner | st.floats() | st.integers(), max_size=3),
    ),
    max_leaves=4,
)


@settings(max_examples=600, deadline=None)
@given(
    text=st.text("XYMN09.,:k[]\\ a", max_size=14),
    label=st.sampled_from("XYMN"),
    fields=st.dictionaries(st.sampled_from(["X", "Y", "M", "N", "m", "XX"]), FIELD_VALUES, max_size=2),
    other=st.one_of(st.just(""), st.text("XYMN09.,:k[]\\ a", max_size=8), FIELD_VALUES),
)
def test_anything_works_or_is_refused(text: str, label: str, fields: dict[str, Any], other: object) -> None:
    for some_fields, some_other in ((None, ""), (fields, other)):
        try:
            spec = Spec.parse(text, label=label, fields=some_fields, other=some_other)
        except SpecError:
            continue
        assert len(set(spec.classes)) == len(spec.classes)
        generator = rng()
        for name in {*spec.classes[:50], "other"}:
            assert spec.label_of(spec.sample(name, generator)) == name
