"""The threshold below which values are unsure."""

import numpy as np
import pytest

from train.metrics.confidence import fit_threshold


def test_threshold_is_the_smallest_that_keeps_right_answers() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.uniform(0.2, 1, 20_000)
    right = rng.random(20_000) < np.minimum(1, probabilities + 0.2)  # surely right from 0.8 on
    threshold = fit_threshold(probabilities, right)
    kept = probabilities >= threshold
    assert right[kept].mean() >= 0.999
    assert 0.6 < threshold < 0.8
    smaller = probabilities[probabilities < threshold].max()
    assert right[probabilities >= smaller].mean() < 0.999


@pytest.mark.parametrize(
    ("probabilities", "right", "threshold"),
    [
        ([0.3, 0.4], [True, True], 0.0),
        ([0.3, 0.9], [True, False], 1.0),
        ([0.9, 0.9, 0.95], [True, False, True], 0.95),  # equal probabilities are kept together
        ([0.2] + [0.9] * 1000, [False] + [True] * 1000, 0.0),  # 99.9 % of all are right
    ],
)
def test_edges(probabilities: list[float], right: list[bool], threshold: float) -> None:
    assert fit_threshold(np.array(probabilities), np.array(right)) == threshold
