"""The paper's App. G in figures."""

import math

import pytest

from textgen.common.errors import UserError
from train.cascade.tradeoff import Tradeoff

# Table 3: accuracy of the original in per cent, and (accuracy, speedup) for f = 2, 3, 4.
TABLE_3 = {
    "N1": (98.82, [(98.64, 1.39), (98.35, 1.85), (97.93, 2.51)]),
    "N2": (96.96, [(96.99, 1.38), (96.93, 1.85), (96.75, 2.50)]),
    "N3": (94.84, [(94.95, 1.07), (94.82, 1.37), (94.72, 1.76)]),
    "N4": (91.66, [(91.91, 0.90), (91.39, 1.07), (91.21, 1.41)]),
}
# When folding pays in each cell, computed by hand from 1 - 1/x > a·ratio.
EXPECTED = {
    "N1": [("below", 155.88), ("below", 97.76), ("below", 67.59)],
    "N2": [("always", None), ("below", 1531.53), ("below", 285.71)],
    "N3": [("always", None), ("below", 1350.36), ("below", 359.85)],
    "N4": [("above", 44.44), ("below", 24.23), ("below", 64.62)],
}


@pytest.mark.parametrize("name", TABLE_3)
def test_every_cell_of_table_3(name: str) -> None:
    original, folded = TABLE_3[name]
    for (accuracy, x), (pays, break_even) in zip(folded, EXPECTED[name], strict=True):
        tradeoff = Tradeoff(x, round(original - accuracy, 4) / 100)
        assert tradeoff.pays == pays
        assert tradeoff.break_even == (None if break_even is None else pytest.approx(break_even, abs=0.005))


def test_the_paper_s_two_examples() -> None:
    n2, n1 = Tradeoff(2.5, 0.0021, 83), Tradeoff(2.51, 0.0089, 83)
    assert n2.verdict == "folding pays below 285.7x; at 83x it pays"
    assert n1.verdict == "folding does not pay at 83x: it pays below 67.6x"
    assert (n2.pays_here, n1.pays_here) == (True, False)


@pytest.mark.parametrize(
    ("x", "a", "pays"),
    [
        (2, 0.01, "below"),
        (2, 0, "always"),
        (2, -0.01, "always"),
        (1, -0.01, "always"),
        (1, 0, "never"),
        (1, 0.01, "never"),
        (0.5, 0, "never"),
        (0.5, 0.01, "never"),
        (0.5, -0.01, "above"),
    ],
)
def test_every_sign(x: float, a: float, pays: str) -> None:
    tradeoff = Tradeoff(x, a)
    assert tradeoff.pays == pays
    ratios = [0.01, 1, 49, 51, 99, 101, 1e6]
    here = [Tradeoff(x, a, ratio).pays_here for ratio in ratios]
    # What E[T] says, for any u that both shares allow.
    latencies = [Tradeoff(x, a, ratio, 0.5).latencies for ratio in ratios]
    assert here == [both is not None and both[1] < both[0] for both in latencies]
    assert (all(here), any(here)) == {"always": (True, True), "never": (False, False)}.get(pays, (False, True))
    verdict = Tradeoff(x, a, 1).verdict
    assert ("any ratio" in verdict, "no ratio" in verdict) == (pays == "always", pays == "never")


@pytest.mark.parametrize(("x", "a"), [(2.5, 0.0021), (2.51, 0.0089), (1.07, 0.0027), (0.9, -0.0025), (4, 0.2)])
@pytest.mark.parametrize("u", [0.0, 0.01, 0.5, 1.0])
def test_both_are_as_fast_at_the_break_even_ratio(x: float, a: float, u: float) -> None:
    at = Tradeoff(x, a).break_even
    assert at is not None
    u = min(max(u, -a), 1 - max(a, 0))
    original, folded = Tradeoff(x, a, at, u).latencies or (0, 1)
    assert original == pytest.approx(folded, rel=1e-12)
    for ratio, sign in ((at * 0.99, 1), (at * 1.01, -1)):
        original, folded = Tradeoff(x, a, ratio, u).latencies or (0, 0)
        assert math.copysign(1, original - folded) == sign * math.copysign(1, a)


def test_nothing_and_everything_is_forwarded() -> None:
    assert Tradeoff(2.5, 0, 83, 0).latencies == (1, 0.4)
    assert Tradeoff(2.5, 0, 83, 1).latencies == (84, 83.4)
    assert Tradeoff(2.5, 0.0021, 83, 0).latencies == pytest.approx((1, 0.4 + 0.0021 * 83))
    assert Tradeoff(2.5, -0.0021, 83, 1).latencies == pytest.approx((84, 0.4 + 0.9979 * 83))


@pytest.mark.parametrize(("a", "u"), [(0.0021, 1), (-0.0021, 0.001)])
def test_shares_beyond_all_frames_are_refused(a: float, u: float) -> None:
    with pytest.raises(UserError, match="give a u from"):
        Tradeoff(2.5, a, 83, u)


def test_figures_of_the_report() -> None:
    found = Tradeoff(2.5, 0.0021, 83, 0.0304).to_dict()
    assert found["expected_latency"] == {
        "original": pytest.approx(1 + 0.0304 * 83),
        "folded": pytest.approx(0.4 + 0.0325 * 83),
    }
    assert "total throughput × 1.137" in Tradeoff(2.5, 0.0021, 83, 0.0304).to_text()
    assert Tradeoff(2.5, 0.0021).to_dict()["expected_latency"] is None
