"""Exact bounds of a rate from a count of errors: Clopper and Pearson's."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

STEPS = 60  # of bisection: an interval of 1 shrinks below the precision of a float


def _log_choose(n: int, most: int) -> NDArray[np.float64]:
    """log C(n, i) for i = 0 … most, float64 (most + 1,)."""
    i = np.arange(1, most + 1)
    return np.concatenate([[0.0], np.cumsum(np.log((n - i + 1) / i))])


def _log_terms(log_choose: NDArray[np.float64], n: int, rate: float) -> NDArray[np.float64]:
    """log P(X = i) of a binomial variable, for the i of `log_choose` and 0 < rate < 1."""
    i = np.arange(len(log_choose))
    terms: NDArray[np.float64] = log_choose + i * math.log(rate) + (n - i) * math.log1p(-rate)
    return terms


def upper_bound(errors: int, n: int, alpha: float) -> float:
    """The one-sided upper bound of a rate, at confidence 1 - alpha, after `errors` in `n` independent trials.

    It is the rate at which so few errors or fewer have the probability `alpha`. Without trials it is 1.

    >>> round(upper_bound(0, 368, 0.025), 6), round(upper_bound(3, 50, 0.05), 4)
    (0.009974, 0.1478)
    """
    if errors >= n:
        return 1.0
    if errors == 0:
        return -math.expm1(math.log(alpha) / n)
    log_choose, low, high = _log_choose(n, errors), errors / n, 1.0
    for _ in range(STEPS):
        rate = (low + high) / 2
        if rate in (low, high):
            break
        if np.logaddexp.reduce(_log_terms(log_choose, n, rate)) > math.log(alpha):
            low = rate
        else:
            high = rate
    return high


def most_errors(n: int, target: float, alpha: float) -> int:
    """The most errors in `n` trials with which `upper_bound` is at most the `target`, 0 < target < 1; -1 if none is.

    >>> most_errors(367, 0.01, 0.025), most_errors(368, 0.01, 0.025), most_errors(1000, 0.01, 0.025)
    (-1, 0, 3)
    """
    most = math.ceil(n * target)  # above the mean the probability of so few is no longer small
    cumulated = np.logaddexp.accumulate(_log_terms(_log_choose(n, most), n, target))
    return int(np.searchsorted(cumulated, math.log(alpha), "right")) - 1


def least_trials(target: float, alpha: float) -> int:
    """The fewest trials that can show a rate of at most `target`: (1 - target)^n <= alpha.

    >>> least_trials(0.01, 0.025)
    368
    """
    n = max(math.ceil(math.log(alpha) / math.log1p(-target)), 1)
    return n if most_errors(n, target, alpha) >= 0 else n + 1
