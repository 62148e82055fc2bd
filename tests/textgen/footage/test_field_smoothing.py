"""The most likely sequence of the answers for several fields."""

import numpy as np
import pytest
from numpy.typing import NDArray

from textgen.footage.field_smoothing import FieldsSmoother, list_times
from textgen.footage.smoothing import Kind, guess_kinds
from textgen.spec import Spec
from textgen.spec.field_scores import choose
from textgen.spec.label_fields import LabelFields


def smooth(
    fields: LabelFields, kinds: tuple[Kind, ...], scores: NDArray[np.float32], rate: float = 30
) -> NDArray[np.int64]:
    smoother = FieldsSmoother(fields, kinds, lag=60)
    return np.concatenate([smoother.push(scores, np.arange(len(scores)) / rate), smoother.finish()])


def scores_of(fields: LabelFields, probabilities: NDArray[np.float64]) -> NDArray[np.float32]:
    """Logarithms of `probabilities` (n, k), each field's divided by their sum."""
    parts = [probabilities[:, of] / probabilities[:, of].sum(1, keepdims=True) for of in fields.slices]
    return np.asarray(np.log(np.concatenate(parts, 1)), np.float32)


def test_the_fields_of_a_clock_carry_over() -> None:
    spec = Spec.parse("M:SS", label="text", fields={"M": "0..3", "S": "00..59"})
    seconds = 55 + np.arange(300) / 30
    times = (np.arange(300) / 30).astype(np.float64)
    labels = np.stack([seconds.astype(int) // 60, seconds.astype(int) % 60], 1)
    rng = np.random.default_rng(5)
    scores = np.log(np.full((300, 66), 0.01, np.float32))
    for row, (m, s) in enumerate(labels.tolist()):
        scores[row, m], scores[row, 5 + s] = 0, 0
        if rng.random() < 0.3:  # misread: the minutes of a third of the frames
            scores[row, m], scores[row, (m + 1) % 4] = np.log(0.01), 0
    assert guess_kinds(spec) == ("clock", "clock")
    smoother = FieldsSmoother(spec.fields, guess_kinds(spec), lag=60)
    parts = [smoother.push(scores[at : at + 50], times[at : at + 50]) for at in range(0, 150, 50)]
    saved = smoother.save()
    other = FieldsSmoother(spec.fields, guess_kinds(spec), lag=60)
    other.restore(saved)
    parts += [other.push(scores[150:], times[150:]), other.finish()]
    assert np.array_equal(np.concatenate(parts), labels)


def test_a_clock_and_a_score_are_smoothed_apart() -> None:
    spec = Spec.parse("M:SS A:B", label="text", fields={"M": "0..9", "S": "00..59"})
    assert list_times(spec.fields, guess_kinds(spec)) is None
    clock = Spec.parse("M:SS", label="text", fields={"M": "0..9", "S": "00..59"})
    times = list_times(clock.fields, guess_kinds(clock))
    assert times is not None
    assert (times[0], times[59:61], times[-1]) == ("0:00", ("0:59", "1:00"), "other")


def test_two_fields_that_do_not_decide_the_text_are_no_clock() -> None:
    fields = dict.fromkeys("MSKD", "00..59")
    spec = Spec.parse("MM:SS KK:DD", label=["S", "K"], fields=fields)
    rng = np.random.default_rng(0)
    truth = np.stack([np.arange(300) % 60, 59 - np.arange(300) // 60], 1)
    shown = np.where(rng.random(truth.shape) < 0.15, rng.integers(0, 60, truth.shape), truth)
    p = np.full((300, 122), 1e-3)
    np.put_along_axis(p, shown + np.array([0, 61]), 0.9, 1)
    scores = scores_of(spec.fields, p)
    assert (choose(scores, spec.fields) == truth).all(1).mean() < 0.8
    assert (smooth(spec.fields, guess_kinds(spec), scores, rate=1) == truth).all(1).mean() > 0.95


@pytest.mark.parametrize("kinds", [("counter",) * 3, ("none",) * 3, ("counter", "none", "none")])
def test_answers_that_stay_are_those_of_each_frame(kinds: tuple[Kind, ...]) -> None:
    fields = Spec.parse("X,Y,Z", label="text").fields
    rng = np.random.default_rng(1)
    for _ in range(50):  # "other" is likely in some fields, and the fields do not agree
        p = rng.random((1, 33)) ** 6
        p[:, [10, 21, 32]] += rng.random(3)
        scores = scores_of(fields, np.repeat(p, 60, 0))
        assert (smooth(fields, kinds, scores) == choose(scores, fields)).all()


def test_without_a_clock_or_counter_the_answers_are_those_of_each_frame() -> None:
    fields = Spec.parse("X,Y[k]", label="text").fields
    scores = scores_of(fields, np.random.default_rng(2).random((200, sum(fields.sizes))))
    assert (smooth(fields, ("none",) * 3, scores) == choose(scores, fields)).all()


def test_one_doubtful_optional_text_is_not_other() -> None:
    spec = Spec.parse("NN[k]", label="text")
    p = np.full((200, sum(spec.fields.sizes)), 1e-4)
    p[:, 42], p[:, [-3, -2, -1]] = 0.99, [0.9, 0.05, 0.05]
    p[100, [-3, -2, -1]] = [0.3, 0.1, 0.6]
    found = smooth(spec.fields, guess_kinds(spec), scores_of(spec.fields, p))
    assert {spec.fields.name_of(row) for row in found.tolist()} == {"42k"}


def test_a_smoothed_answer_is_other_in_all_fields_or_in_none() -> None:
    spec = Spec.parse("N/M[k]", label="text", fields={"N": "0..9", "M": "0..9"})
    p = np.random.default_rng(3).random((400, sum(spec.fields.sizes))) ** 4
    p[100:200, np.cumsum(spec.fields.sizes) - 1] += 20
    found = smooth(spec.fields, guess_kinds(spec), scores_of(spec.fields, p)) == np.array(spec.fields.sizes) - 1
    assert (found.all(1) == found.any(1)).all()
    assert found[100:200].mean() > 0.95
