"""Classes that are groups of values, and fields that depend on another."""

from collections import Counter
from typing import Any

import pytest
from compiled_texts import assert_same_texts
from hypothesis import given, settings
from hypothesis import strategies as st

from textgen.common.errors import SpecError
from textgen.spec import Spec


def assert_consistent(spec: Spec, times: int = 20) -> dict[str, list[str]]:
    """Compiled code draws the texts that the spec samples, and each reads as its class. Returns the texts by class."""
    texts = assert_same_texts(spec, times)
    for name, drawn in texts.items():
        assert {spec.label_of(text) for text in drawn} == {name}
    return texts


def refusal(text: str, **arguments: Any) -> str:
    with pytest.raises(SpecError) as caught:
        Spec.parse(text, **{"label": "N", **arguments})
    assert "\n" not in caught.value.summary
    return caught.value.summary


def test_a_group_draws_its_values_equally_often() -> None:
    spec = Spec.parse("N%", label="N", fields={"N": "0..100"}, groups={"low": "0..9", "mid": "10..99", "full": "100"})
    assert spec.classes == ("low", "mid", "full", "other")
    texts = assert_consistent(spec, 300)
    assert set(texts["low"]) == {f"{number}%" for number in range(10)}
    assert set(texts["full"]) == {"100%"}
    assert max(Counter(texts["low"]).values()) < 60
    assert (spec.label_of("9%"), spec.label_of("10%"), spec.label_of("101%")) == ("low", "mid", "other")


def test_a_group_can_weigh_its_values_and_hold_any_of_them() -> None:
    groups = {"metal": {"GOLD": 3, "SILVER": 1}, "number": ["1..3", "none"]}
    spec = Spec.parse("N!", label="N", fields={"N": ["GOLD", "1..3", "SILVER", "none"]}, groups=groups)
    texts = assert_consistent(spec, 400)
    assert Counter(texts["metal"])["GOLD!"] == pytest.approx(300, abs=40)
    assert set(texts["number"]) == {"1!", "2!", "3!", "none!"}


def test_the_number_of_digits_can_be_the_class() -> None:
    groups = {"1 digit": "0..9", "2 digits": "10..99", "3 digits": "100..999"}
    spec = Spec.parse("N", label="N", fields={"N": "0..999"}, groups=groups)
    for name, texts in assert_consistent(spec).items():
        assert name == "other" or {len(text) for text in texts} == {int(name[0])}


def test_digits_without_values_can_be_grouped() -> None:
    spec = Spec.parse("NN:MM", label="NN", groups={"first half": "00..29", "second half": "30..99"})
    assert_consistent(spec)
    assert spec.label_of("29:71") == "first half"


def test_two_readings_of_one_group_are_no_contradiction() -> None:
    fields = {"N": ["1", "11"], "M": ["1", "11", "2"]}
    assert "ambiguous" in refusal("NM", fields=fields)
    assert "ambiguous: '111' can be read with N = '1' and with N = '11'" in refusal(
        "NM", fields=fields, groups={"a": "1", "b": "11"}
    )
    assert_consistent(Spec.parse("NM", label="N", fields=fields, groups={"ones": ["1", "11"]}))


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ({"low": "0..4"}, "groups leaves out '5', '6', '7', … of N"),
        ({"low": "0..5", "high": "5..9"}, "groups.high holds '5', which is in low too"),
        ({"low": "0..9", "high": "10"}, "groups.high holds '10', which is no value of N"),
        ({"other": "0..9"}, "groups has a class 'other'"),
        ({"": "0..9"}, "groups has a class without a name"),
        ({"low": "0..4", "low ": "5..9"}, "groups has the classes 'low' and 'low ', which look the same"),
        ({"very low": "0..4", "very\u2009low": "5..9"}, "'very low' and 'very<U+2009>low', which look the same"),
        ({"low": "0..4", "lo\u200bw": "5..9"}, "lo<U+200B>w', which look the same"),
        ({"\u3000": "0..9"}, "groups has a class without a name"),
        ({}, "write a mapping from names of classes to values of N"),
        (["0..9"], "write a mapping from names of classes to values of N"),
        ({"low": "00..09"}, "which is no value of N"),
        ({1: "0..9"}, "groups holds 1, which is no text"),
        ({"low": None}, "groups.low is empty"),
    ],
)
def test_wrong_groups_are_refused_in_one_line(groups: Any, words: str) -> None:
    assert words in refusal("N", groups=groups)


def test_names_of_groups_are_never_drawn_and_so_of_any_script() -> None:
    names = ["منخفض", "उच्च", "می\u200cخواهم"]
    spec = Spec.parse("N", label="N", fields={"N": "1..3"}, groups=dict(zip(names, "123", strict=True)))
    assert spec.classes == (*names, "other")
    assert_consistent(spec)


# ---- Fields that depend on another.


def numbers_of(texts: list[str]) -> list[list[int]]:
    return [[int(number) for number in text.split("/")] for text in texts]


def test_a_field_is_never_below_or_above_the_one_that_it_depends_on() -> None:
    spec = Spec.parse("N/M/K", label="N", fields={"N": "0..12", "M": "N..15", "K": "0..N"})
    texts = assert_consistent(spec, 60)
    for name in spec.classes[:-1]:
        found = numbers_of(texts[name])
        assert all(number == int(name) <= most and least <= number for number, most, least in found)
        assert {most for _, most, _ in found} >= {int(name), 15} or name == "0"
    assert (spec.label_of("7/6/0"), spec.label_of("7/7/0"), spec.label_of("7/7/8")) == ("other", "7", "other")


def test_all_values_within_the_limit_are_equally_likely() -> None:
    spec = Spec.parse("N/M", label="N", fields={"N": "0..9", "M": "N..9"})
    counts = Counter(most for _, most in numbers_of(assert_consistent(spec, 500)["5"]))
    assert set(counts) == {5, 6, 7, 8, 9}
    assert all(count == pytest.approx(100, abs=45) for count in counts.values())


def test_fields_before_their_source_and_chains_of_them() -> None:
    spec = Spec.parse("K/M/N/L", label="L", fields={"N": "00..20", "M": "N..30", "K": "M..40"})
    for texts in assert_consistent(spec, 40).values():
        for text in filter(None, texts):
            k, m, n, _ = text.split("/")
            assert int(n) <= int(m) <= int(k)
            assert len(n) == len(m) == len(k) == 2, "leading zeros as in N"


def test_negative_limits() -> None:
    spec = Spec.parse("N/M", label="N", fields={"N": "-3..3", "M": "-5..N"})
    for name, texts in assert_consistent(spec, 40).items():
        assert name == "other" or all(-5 <= most <= number == int(name) for number, most in numbers_of(texts))


def test_a_field_whose_source_is_not_in_a_text_has_all_its_values() -> None:
    spec = Spec.parse("N/M", label="N", fields={"N": "5..9", "M": "N..9"}, other="M")
    assert set(assert_consistent(spec, 100)["other"]) == set("56789")


def test_a_dependent_field_can_be_optional() -> None:
    spec = Spec.parse("N[/M]", label="N", fields={"N": "0..9", "M": "N..9"})
    texts = assert_consistent(spec, 60)["4"]
    assert {len(text) for text in texts} == {1, 3}
    assert all(int(text[2]) >= 4 for text in texts if len(text) == 3)


def test_groups_and_limits_together() -> None:
    groups = {"few": "0..9", "many": "10..30"}
    spec = Spec.parse("N/M", label="N", fields={"N": "0..30", "M": "N..30"}, groups=groups)
    for name, texts in assert_consistent(spec, 60).items():
        for number, most in numbers_of(texts) if name != "other" else ():
            assert number <= most
            assert (number < 10) == (name == "few")


@settings(max_examples=60, deadline=None)
@given(low=st.integers(-20, 20), size=st.integers(0, 30), more=st.integers(0, 20), upper=st.booleans())
def test_random_limits(low: int, size: int, more: int, upper: bool) -> None:
    high = low + size
    limit = f"{low - more}..N" if upper else f"N..{high + more}"
    spec = Spec.parse("N/M", label="N", fields={"N": f"{low}..{high}", "M": limit})
    texts = assert_consistent(spec, 4)
    for name in spec.classes[:-1]:
        for number, value in numbers_of(texts[name]):
            assert low - more <= value <= number if upper else number <= value <= high + more


@pytest.mark.parametrize(
    ("text", "fields", "words"),
    [
        ("N/M", {"N": "M..30", "M": "0..9"}, 'let M depend on N instead, such as M: "N..99"'),
        ("N/M", {"N": "0..40", "M": "N..30"}, "which is empty for N = 40: narrow N"),
        ("N/M", {"N": "0..40", "M": "5..N"}, "which is empty for N = 0: narrow N"),
        ("N/M", {"M": "N..30"}, "N has no values in fields"),
        ("N/M/K", {"M": "K..30", "K": "0..M"}, "K depends on M in turn"),
        ("N/M", {"N": "0..9", "M": "M..30"}, "M depends on M in turn"),
        ("N/M", {"N": ["1", "GOLD"], "M": "N..30"}, "texts that are no numbers"),
        ("N/M", {"N": "0..9", "M": ["N..30", "x"]}, "a range that depends on a field stands alone"),
        ("N/M", {"N": "0..9", "M": {"N..30": 1}}, "a range that depends on a field stands alone"),
        ("N[/K]/M", {"K": "0..9", "M": "0..K"}, "K, which stands in optional text: move K out of the brackets"),
        ("N/MM", {"N": "0..9", "M": "N..30"}, "MM is 2 characters wide, but fields.M holds '0'"),
        ("N/M", {"N": "0..9", "M": "N..200000"}, "more than 100000 values"),
    ],
)
def test_a_wrong_limit_is_refused_in_one_line(text: str, fields: Any, words: str) -> None:
    assert words in refusal(text, fields=fields)
