"""The comparison on recorded games: what it is told of them, corrections of labels, and scores."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks/footage"))

from compare import Score, design_effect, score_classes, to_markdown
from footage import correct, find_clip, find_doubtful, read_corrections, read_games, read_texts, write_texts
from record import parse_step, read_recordings

from textgen.common.errors import UserError
from textgen.spec import Spec


def test_every_clip_that_is_recorded_has_a_game_with_counters_that_can_be_read() -> None:
    games = read_games()
    for clip in read_recordings():
        assert find_clip(clip, games).counters
    for counter in [counter for game in games for counter in game.counters]:
        assert 1 < len(counter.parse().classes) <= 301
        left, top, width, height = counter.region
        assert 0 <= left < left + width <= 800
        assert 0 <= top < top + height <= 600
    with pytest.raises(UserError, match="no such clip: chess; expected one of neverball_coins, "):
        find_clip("chess", games)


def test_a_clip_belongs_to_one_game(tmp_path: Path) -> None:
    file = tmp_path / "games.yaml"
    file.write_text("a: {clips: [one, two], counters: {}}\nb: {clips: [two], counters: {}}\n")
    with pytest.raises(UserError, match="two belongs to two games"):
        read_games(file)


def test_a_step_that_nobody_can_take_is_refused() -> None:
    assert parse_step("wait 0.5") == 0.5
    assert parse_step("down Left") == ("keydown", "Left")
    with pytest.raises(UserError, match="step 'press x'"):
        parse_step("press x")


def test_corrections_replace_what_was_read_in_their_order(tmp_path: Path) -> None:
    write_texts(tmp_path / "texts.csv", {6: "13", 0: "12", 3: "l2"})
    (tmp_path / "corrections.csv").write_text("first,last,text\n0,5,12\n6,6,\n")
    corrections = read_corrections(tmp_path / "corrections.csv")
    assert correct(read_texts(tmp_path / "texts.csv"), corrections) == {0: "12", 3: "12", 6: ""}
    assert read_corrections(tmp_path / "none.csv") == []
    (tmp_path / "corrections.csv").write_text("first,last,text\n5,0,12\n")
    with pytest.raises(UserError, match="frames 5 to 0"):
        read_corrections(tmp_path / "corrections.csv")


def test_doubtful_are_texts_that_cannot_be_and_those_alone_among_others() -> None:
    spec = Spec.parse("N", label="N", fields={"N": "0..20"})
    texts = {0: "1", 3: "7", 6: "1", 9: "21", 12: "2", 15: "", 18: ""}
    assert find_doubtful(texts, spec) == [3, 9]


def test_the_interval_is_wider_where_errors_come_in_a_row() -> None:
    alone = np.ones(1000)
    alone[::50] = 0
    row = np.ones(1000)
    row[:20] = 0
    assert design_effect(alone, 10) == 1
    assert design_effect(row, 10) == pytest.approx(10, rel=0.05)
    true = ["1"] * 1000
    by_wilson = score_classes(["1" if right else "2" for right in alone], true, 10)
    assert by_wilson == pytest.approx((0.98, 0.9694, 0.9870), abs=1e-4)
    assert score_classes(["1" if right else "2" for right in row], true, 10)[1] < 0.95
    share, low, high = score_classes(true, true, 10)
    assert (share, high) == (1, 1)
    assert low == pytest.approx(0.9962, abs=1e-4)


def test_the_table_has_a_row_a_reader() -> None:
    lines = to_markdown("toppler_b", "time", [Score("network", 500, 99.6, 98.5, 99.9, 51234.5, None)]).splitlines()
    assert lines[0] == "toppler_b, time: 500 frames"
    assert lines[-1] == "| network | 99.6 % | 98.5 to 99.9 | 51 234 |  |"
