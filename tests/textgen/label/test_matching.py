import pytest

from textgen.label.matching import Match, Matcher
from textgen.spec.parser import Spec

CLOCK = Spec.parse("M:SS", label="S", fields={"S": "00..59"})


@pytest.mark.parametrize(
    ("reading", "text"),
    [
        ("0:59", "0:59"),
        (" 0:59 ", "0:59"),
        ("0: 59", "0:59"),
        ("O:59", "0:59"),
        ("l:o5", "1:05"),
        ("1.05", "1:05"),
        ("1-05", "1:05"),
        ("105", "1:05"),
        ("1：05", "1:05"),
        ("０:５９", "0:59"),
    ],
)
def test_a_reading_becomes_the_only_text_it_can_be(reading: str, text: str) -> None:
    assert Matcher(CLOCK).match(reading) == Match(text, text[-2:])


@pytest.mark.parametrize("reading", ["", "0:60", "0:5", "12:30", "O:OO", "GOLD", "0:59s", "5", ":", "9" * 100])
def test_a_reading_that_the_game_cannot_show_is_refused(reading: str) -> None:
    assert Matcher(CLOCK).match(reading) is None


def test_a_reading_of_two_texts_is_refused() -> None:
    spec = Spec.parse("H[:MM]", label="H", fields={"H": "0..999", "M": "00..59"})
    assert Matcher(spec).match("130") == Match("130", "130")  # as it is
    assert Matcher(spec).match("l30") is None  # 130, 1:30
    assert Matcher(spec).match("l:30") == Match("1:30", "1")


def test_texts_without_a_value_are_matched_if_the_game_describes_them() -> None:
    spec = Spec.parse("N", label="N", fields={"N": "0..9"}, other=["paused"])
    assert Matcher(spec).match("paused") == Match("paused", "other")
    assert Matcher(spec).match("stopped") is None


def test_limits_between_fields_hold() -> None:
    spec = Spec.parse("A/B", label="B", fields={"A": "B..9", "B": "0..5"})
    assert Matcher(spec).match("6/ 5") == Match("6/5", "5")
    assert Matcher(spec).match("4/ 5") is None


def test_a_search_that_takes_too_long_is_given_up() -> None:
    spec = Spec.parse("[ ][:][ ][:][ ][:][ ][:][ ][:][ ][:][ ][:][ ][:][ ][:][ ][:]N", label="N", fields={"N": "0..99"})
    assert Matcher(spec).match(". . . . . . 1l") is None
