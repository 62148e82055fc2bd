"""Exact bounds of error rates, beside those of SciPy."""

import numpy as np
import pytest
from scipy.stats import beta, binom

from train.metrics.binomial import least_trials, most_errors, upper_bound


@pytest.mark.parametrize("n", [1, 2, 10, 367, 368, 1000, 200_000])
@pytest.mark.parametrize("alpha", [0.5, 0.05, 0.025, 1e-6])
def test_upper_bounds_are_quantiles_of_the_beta_distribution(n: int, alpha: float) -> None:
    for errors in sorted({0, 1, 2, n // 100, n // 3, n - 1}):
        if errors < n:
            known = beta.ppf(1 - alpha, errors + 1, n - errors)
            assert upper_bound(errors, n, alpha) == pytest.approx(known, rel=1e-8, abs=1e-14)
    assert upper_bound(n, n, alpha) == 1.0
    assert upper_bound(0, 0, alpha) == 1.0


@pytest.mark.parametrize("n", [1, 20, 367, 368, 5000])
@pytest.mark.parametrize("target", [0.001, 0.01, 0.3, 0.95])
def test_the_most_errors_that_show_a_target(n: int, target: float) -> None:
    most = most_errors(n, target, 0.025)
    assert most == int((binom.cdf(np.arange(n + 1), n, target) <= 0.025).sum()) - 1
    if most >= 0:
        assert upper_bound(most, n, 0.025) <= target * (1 + 1e-12)
    assert upper_bound(most + 1, n, 0.025) > target


@pytest.mark.parametrize(("target", "alpha"), [(0.01, 0.025), (0.05, 0.025), (0.5, 0.25), (0.9, 0.4)])
def test_the_fewest_trials_that_show_a_target(target: float, alpha: float) -> None:
    n = least_trials(target, alpha)
    assert most_errors(n, target, alpha) == 0
    assert n == 1 or (most_errors(n - 1, target, alpha) == -1 and (1 - target) ** (n - 1) > alpha)
