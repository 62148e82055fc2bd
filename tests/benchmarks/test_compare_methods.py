"""The comparison of methods: differences on the same crops, and what their intervals contain."""

import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from compare_methods import Network, _compare


def network(*accuracies: float, n: int = 10_000) -> Network:
    """Seeds that read the first `accuracy` of n crops."""
    return Network([{}] * len(accuracies), np.stack([np.arange(n) < accuracy * n for accuracy in accuracies]) * 1.0)


def test_two_networks_that_read_the_same_crops_do_not_differ() -> None:
    assert network(0.9).below(network(0.9)) == "0.00"


def test_the_interval_is_of_the_crops_on_which_they_differ() -> None:
    half = 1.96 * math.sqrt(0.01 * 0.99 / 10_000)
    text = network(0.90).below(network(0.91))
    mean, low, high = map(float, re.findall(r"\d+\.\d+", text))
    assert mean == pytest.approx(1.0)
    assert (low, high) == pytest.approx((1 - 100 * half, 1 + 100 * half), abs=0.006)


def test_several_seeds_widen_it_by_their_spread() -> None:
    text = network(0.90, 0.88).below(network(0.91, 0.93))
    assert text.startswith("3.00 (")
    assert "crops only" not in text
    low = float(text.split("(")[1].split()[0])
    assert low == pytest.approx(3 - 4.303 * math.sqrt(2), abs=0.2)  # 1 point² and one degree of freedom each: t of 2


def test_errors_are_counted_in_multiples_of_the_others() -> None:
    assert _compare(network(0.98), network(0.99))[1] == "2.00"
    assert _compare(network(0.98), network(1.0))[1] == ""
    assert _compare(network(0.98), None) == ("", "")
