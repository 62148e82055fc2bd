"""Thresholds whose errors stay below their targets."""

import math

import numpy as np
import pytest

from train.cascade.thresholds import (
    ABSENT,
    FORWARDED,
    PRESENT,
    Promise,
    Thresholds,
    fit_thresholds,
    measure_rates,
)

PROMISE = Promise(fn=0.05, fp=0.02, confidence=0.95)


def test_decisions_at_the_thresholds_themselves() -> None:
    given = np.array([0, 0.2, 0.20001, 0.5, 0.89999, 0.9, 1])
    decided = Thresholds(0.2, 0.9).decide(given)
    assert decided.tolist() == [ABSENT, *[FORWARDED] * 4, PRESENT, PRESENT]
    assert set(Thresholds(0.0, math.inf).decide(given).tolist()) == {FORWARDED}  # u = 1
    assert Thresholds(0.5, 0.5).decide(given).tolist() == [ABSENT] * 3 + [PRESENT] * 4  # u = 0


def draw(rng: np.random.Generator, n: int, digits: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of "present" of a network that is often wrong, and the truth."""
    truth = rng.random(n) < 0.4
    return np.where(truth, rng.beta(4, 1.5, n), rng.beta(1.2, 5, n)).round(digits), truth


@pytest.mark.parametrize("digits", [16, 2])
def test_the_promise_holds_in_95_of_100_resamplings(rng: np.random.Generator, digits: int) -> None:
    """With ties, too: of 2 digits."""
    population, truth = draw(rng, 400_000, digits)
    held, forwarded = 0, []
    for _ in range(100):
        sample, labels = draw(rng, 1500, digits)
        thresholds, notes = fit_thresholds(sample, labels, PROMISE)
        assert notes == []
        missed, alarms = measure_rates(thresholds, population, truth, PROMISE)
        assert missed.rate is not None
        assert alarms.rate is not None
        held += missed.rate <= PROMISE.fn and alarms.rate <= PROMISE.fp
        forwarded.append(float((thresholds.decide(population) == FORWARDED).mean()))
    assert held >= 95
    assert 0.1 < np.mean(forwarded) < 0.5  # and is not held by forwarding everything


@pytest.mark.parametrize("digits", [16, 2, 1])
def test_no_less_cautious_threshold_has_a_bound_within_the_target(rng: np.random.Generator, digits: int) -> None:
    sample, truth = draw(rng, 900, digits)
    thresholds, _ = fit_thresholds(sample, truth, PROMISE)
    missed, alarms = measure_rates(thresholds, sample, truth, PROMISE)
    assert missed.bound <= PROMISE.fn
    assert alarms.bound <= PROMISE.fp
    for last in np.unique(sample[truth & (sample >= thresholds.low)]):
        assert measure_rates(Thresholds(np.nextafter(last, 2), 2), sample, truth, PROMISE)[0].bound > PROMISE.fn
    for high in np.unique(sample[~truth & (sample < thresholds.high)]):
        assert measure_rates(Thresholds(0, high), sample, truth, PROMISE)[1].bound > PROMISE.fp


def test_a_perfect_network_forwards_nothing() -> None:
    truth = np.arange(2000) % 2 == 0
    thresholds, notes = fit_thresholds(np.where(truth, 0.999, 0.001), truth, PROMISE)
    assert notes == []
    assert (thresholds.decide(np.array([0.001, 0.999])) == [ABSENT, PRESENT]).all()
    assert thresholds.low == thresholds.high == 0.5


def test_a_network_that_says_the_same_of_all_frames_forwards_all() -> None:
    truth = np.arange(2000) % 2 == 0
    thresholds, notes = fit_thresholds(np.full(2000, 0.5), truth, PROMISE)
    assert (thresholds.decide(np.full(2000, 0.5)) == FORWARDED).all()
    assert notes == []


def test_too_few_frames_forward_everything_on_their_side() -> None:
    truth = np.arange(1000) < 50  # 50 frames cannot show a rate of 5 %: 72 are needed
    present = np.where(truth, 0.9, 0.1)
    thresholds, notes = fit_thresholds(present, truth, PROMISE)
    assert thresholds.low == 0.0
    assert 0.1 < thresholds.high <= 0.9
    assert len(notes) == 1
    assert "50 validation frames with the object count" in notes[0]
    assert "needs 72" in notes[0]
    thresholds, notes = fit_thresholds(present[:10], truth[:10], PROMISE)
    assert thresholds == Thresholds(0.0, math.inf)
    assert thresholds.to_dict() == {"low": 0.0, "high": None}
    assert len(notes) == 2


def test_rates_without_frames() -> None:
    missed, alarms = measure_rates(Thresholds(0.5, 0.5), np.array([0.2]), np.array([True]), PROMISE)
    assert (missed.errors, missed.n, missed.rate, missed.bound) == (1, 1, 1.0, 1.0)
    assert (alarms.n, alarms.rate, alarms.bound) == (0, None, 1.0)
