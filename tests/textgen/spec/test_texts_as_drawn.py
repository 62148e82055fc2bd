"""Texts that look the same are no two classes, and what cannot be drawn letter by letter is refused by name."""

import re
import unicodedata
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from random_specs import RandomSpec, random_specs

from textgen.common.errors import SpecError
from textgen.spec import Spec
from textgen.spec.characters import find_problem, is_blank

BLANKS = [chr(code) for code in range(0x110000) if is_blank(chr(code))]


def refusal(text: str, **arguments: Any) -> str:
    with pytest.raises(SpecError) as caught:
        Spec.parse(text, **{"label": "N", **arguments})
    assert "\n" not in caught.value.summary
    return caught.value.summary


@pytest.mark.parametrize("blank", BLANKS, ids=lambda blank: f"{ord(blank):04X}")
def test_every_kind_of_blank_is_the_same_to_the_eye(blank: str) -> None:
    for values in ([f"5{blank}", "5"], [f"{blank}5", "5"], [f"5{blank}k", "5 k"], [f"{blank}{blank}", "5"]):
        if len(set(values)) == 2:
            assert "cannot be told apart" in refusal("N", fields={"N": values})
    assert "can look like class '0'" in refusal("N k", other=f"N{blank}k" if blank != " " else "N k ")
    assert len(BLANKS) > 15


@pytest.mark.parametrize(
    ("text", "arguments", "words"),
    [
        ("N", {"fields": {"N": ["5 ", "6", "5"]}}, "texts with N = '5 ' and with N = '5' look the same, '5'"),
        ("N", {"fields": {"N": ["5\u00a0", "5 "]}}, "N = '5<U+00A0>' and with N = '5 ' look the same"),
        ("N", {"fields": {"N": [" ", "5"]}}, "other '' can look like class ' '"),
        ("N", {"other": "N "}, "other 'N ' can look like class '0'"),
        ("N", {"other": "\u2003N"}, "other '<U+2003>N' can look like class '0'"),
        ("N[ ]k", {"other": "N\u202fk"}, "other 'N<U+202F>k' can look like class '0'"),
        ("[ ]N", {"fields": {"N": ["1", " 1"]}}, "' 1' can be read with N = '1' and with N = ' 1'"),
    ],
)
def test_texts_that_look_the_same_are_refused_with_both_names(text: str, arguments: Any, words: str) -> None:
    assert words in refusal(text, **arguments)


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("N", {"fields": {"N": ["5k", "5 k"]}}),  # a gap can be seen
        ("N", {"fields": {"N": ["5  k", "5 k"]}}),
        ("N k", {"fields": {"N": ["5", "55"]}, "other": "k"}),
        ("N[ ][\u00a0]k", {}),  # one class, however it looks
    ],
)
def test_a_gap_between_letters_can_be_seen(text: str, arguments: Any) -> None:
    Spec.parse(text, label="N", **arguments)


@settings(max_examples=150, deadline=None)
@given(random_specs())
def test_the_check_of_looks_is_exact(made: RandomSpec) -> None:
    """Against an enumeration of all readings, with blanks for the letters a and b of the random spec."""

    def blank(text: str) -> str:
        return text.replace("a", " ").replace("b", "\u2009")

    def look(text: str) -> str:
        return blank(text).replace("\u2009", " ").strip(" ")

    fields = {letter: [blank(value) for value in values] for letter, values in made.fields.items()}
    classes: dict[str, set[str]] = {}
    for text, label in made.readings:
        classes.setdefault(look(text), set()).add(blank(label))
    alike = any(len(found) > 1 for found in classes.values()) or {look(text) for text in made.others} & set(classes)
    if alike:
        with pytest.raises(SpecError, match=r"ambiguous|can show|can look like"):
            Spec.parse(blank(made.text), label="L", fields=fields, other=blank(made.other))
    else:
        spec = Spec.parse(blank(made.text), label="L", fields=fields, other=blank(made.other))
        for text, label in made.readings:
            assert spec.label_of(blank(text)) == blank(label)


@pytest.mark.parametrize("name", ["é", "Å", "각", "ñ", "ﾎﾟ", "Ω", "①"])
def test_composed_and_decomposed_texts_are_one(name: str) -> None:
    forms = {unicodedata.normalize(form, name) for form in ("NFC", "NFD")}
    for form in forms:
        spec = Spec.parse(f"{form} N", label="N", fields={"N": ["1", form]})
        assert spec.classes == ("1", unicodedata.normalize("NFC", name), "other")
        assert all(spec.label_of(f"{name_form} 1") == "1" for name_form in forms)
    if len(forms) > 1:
        assert "twice: remove one" in refusal("N", fields={"N": sorted(forms)})


@pytest.mark.parametrize("code", [0xAD, 0x34F, 0x61C, 0x115F, 0x180E, 0x200B, 0x200F, 0x202E, 0x2060, 0x2800, 0x3164])
def test_what_draws_nothing_is_refused_by_code_point(code: int) -> None:
    said = refusal(f"N{chr(code)}k")
    assert f"spec holds U+{code:04X} {unicodedata.name(chr(code))}, which draws nothing" in said
    assert chr(code) not in said
    for arguments in ({"fields": {"N": ["5", f"5{chr(code)}"]}}, {"other": chr(code)}, {"label": f"N{chr(code)}"}):
        assert f"U+{code:04X}" in refusal("N", **arguments)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("N \u0644\u0645\u0627", "ل (U+0644), of a script that is written from right to left"),
        ("N \u05d0", "א (U+05D0), of a script that is written from right to left"),
        ("N x\u0302", "U+0302 COMBINING CIRCUMFLEX ACCENT, a mark on another letter"),
        ("N \u0915\u093f", "U+093F DEVANAGARI VOWEL SIGN I, a mark"),
        ("N \u0e01\u0e34", "U+0E34 THAI CHARACTER SARA I, a mark"),
        ("N \u1820", "Mongolian script, whose letters join"),
        ("N \u1112", "a part of a Korean syllable"),
        ("N \U0001f1e9\U0001f1ea", "a part of an emoji"),
        ("N \U0001f44d\U0001f3fd", "a part of an emoji"),
        ("N \u2764\ufe0f", "U+FE0F VARIATION SELECTOR-16, which draws nothing"),
    ],
)
def test_what_needs_shaping_is_refused_by_name(text: str, words: str) -> None:
    assert words in refusal(text)


@pytest.mark.parametrize(
    "text", ["٣", "۴", "한", "か", "金", "Ж", "Ω", "ა", "Ա", "ก", "๓", "½", "№", "€", "→", "∞", "\ue000", "🏆"]
)
def test_what_is_drawn_letter_by_letter_is_accepted(text: str) -> None:
    spec = Spec.parse(f"N{text}", label="N")
    assert spec.label_of(f"7{text}") == "7"


def test_every_code_point_has_an_answer() -> None:
    """One line that names the character, or none, for all that Unicode has assigned below its planes of ideographs."""
    problems = [find_problem(chr(code)) for code in range(0x20000) if not 0xD800 <= code < 0xE000]
    refused = [problem for problem in problems if problem]
    assert 1000 < len(refused) < 20_000
    assert all(re.search(r"U\+[0-9A-F]{4,6}", problem) and problem.isprintable() for problem in refused)


def test_a_message_shows_no_blank_that_looks_like_another() -> None:
    said = refusal("N\u3000[k]", fields={"N": ["5", "5\u2003"]}, other="\u3000")
    assert all(character == " " or not is_blank(character) for character in said)


def test_the_seed_of_a_text_is_that_of_its_composed_form() -> None:
    texts = [
        [Spec.parse(f"{name}N", label="N").sample("3", np.random.default_rng(seed)) for seed in range(3)]
        for name in ("\u00e9", "e\u0301")
    ]
    assert texts[0] == texts[1]
