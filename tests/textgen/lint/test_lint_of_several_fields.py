"""Checks of games whose label has several fields."""

from collections.abc import Sequence

import pytest
from conftest import changed, load

from textgen.lint.checks import OK, WARN, Check
from textgen.lint.report import Report, lint
from textgen.render.renderer import Renderer
from textgen.schema.game import Game


def lint_of(spec: str, fields: dict[str, object], label: str | Sequence[str] = "text", each: int = 100) -> Report:
    config = {**load("game", "apex_count"), "spec": spec, "label": label, "fields": fields}
    config = changed(config, "text.height", [5.5, 7])
    return lint(Renderer(Game.from_config({**config, "size": [19, 40]}), 0, load("augment", "light")), each)


def balance(report: Report) -> Check:
    return next(check for check in report.checks if check.name == "balance")


@pytest.mark.parametrize(
    ("spec", "fields", "label"),
    [
        ("MM:SS", {"M": "00..20", "S": "00..59"}, "text"),
        ("M:SS", {"M": "0..9", "S": "00..59"}, ["M"]),
        ("N/M", {"M": "0..30", "N": "0..M"}, "all"),  # each value has at least half of its share
        ("[H:]MM[k]", {"H": "1..9", "M": "00..20"}, "text"),  # few texts show H, but its values are even
    ],
)
def test_fields_with_even_values_pass(spec: str, fields: dict[str, object], label: str | Sequence[str]) -> None:
    report = lint_of(spec, fields, label)
    assert not report.failed, report.text()
    assert balance(report).status == OK, report.text()


@pytest.mark.parametrize(
    ("spec", "fields", "rare"),
    [
        ("A/B/C", {"A": "0..9", "B": "A..9", "C": "B..9"}, "C=0"),
        ("M:SS", {"M": "0..9", "S": {"00": 1, "01..19": 400}}, "S=00"),
    ],
)
def test_rare_values_of_any_field_warn(spec: str, fields: dict[str, object], rare: str) -> None:
    found = balance(lint_of(spec, fields))
    assert found.status == WARN
    assert f"show {rare}," in found.detail
    assert found.table[0]["value"] == rare
    assert found.figure < 0.25


def test_a_few_crops_say_nothing_of_rare_values() -> None:
    assert balance(lint_of("A/B/C", {"A": "0..9", "B": "A..9", "C": "B..9"}, each=3)).status == OK
