import time

import numpy as np
import pytest

from textgen.footage.smoothing import APPEAR, DOUBT, JUMP, KINDS, SLOPE, Kind, Smoother, guess_kind, smooth
from textgen.spec.parser import Spec

SECONDS = (*(f"{number:02}" for number in range(60)), "other")
NUMBERS = (*(f"{number:03}" for number in range(100)), "other")
RATE = 30


def read(true: np.ndarray, classes: int, confidence: np.ndarray | float) -> np.ndarray:
    """What a reader gives that reads `true` with so much confidence: log-likelihoods (n, classes)."""
    shares = np.tile((1 - np.broadcast_to(confidence, len(true)))[:, None] / (classes - 1), (1, classes))
    shares[np.arange(len(true)), true] = confidence
    return np.log(shares)


def clock(frames: int, rng: np.random.Generator, step: int = -1) -> np.ndarray:
    """A clock at 30 frames a second, which pauses, and is set to another value once."""
    seconds = np.cumsum(rng.random(frames) < np.where(np.arange(frames) % 900 < 700, 1, 0)) // RATE
    values = rng.integers(60) + step * seconds
    return (values + np.where(np.arange(frames) > frames // 2, rng.integers(60), 0)) % 60


def counter(frames: int, rng: np.random.Generator, changes: float) -> np.ndarray:
    """A counter that changes so often a second, mostly by a little."""
    steps = np.where(rng.random(frames) < changes / RATE, rng.integers(-3, 4, frames), 0)
    return np.clip(50 + np.cumsum(steps), 0, 99)


def slip(true: np.ndarray, classes: int, rng: np.random.Generator, share: float, longest: int) -> np.ndarray:
    """`true` with so many errors, in bursts of one wrong value."""
    wrong = true.copy()
    while (wrong != true).mean() < share:
        at, length = rng.integers(len(true)), rng.integers(1, longest + 1)
        wrong[at : at + length] = rng.integers(classes)
    return wrong


@pytest.mark.parametrize(
    ("kind", "classes", "longest", "after"),
    [("clock", SECONDS, 1, 0.995), ("clock", SECONDS, 5, 0.985), ("counter", NUMBERS, 1, 0.98)],
)
def test_slips_are_mended(kind: Kind, classes: tuple[str, ...], longest: int, after: float) -> None:
    rng = np.random.default_rng(0)
    true = clock(6000, rng) if kind == "clock" else counter(6000, rng, 2)
    wrong = slip(true, len(classes), rng, 0.1, longest)
    scores = read(wrong, len(classes), np.where(wrong == true, 0.97, 0.6))
    smoothed = smooth(scores, np.arange(len(true)) / RATE, classes, kind)
    assert (wrong == true).mean() < 0.91
    assert (smoothed == true).mean() > after


def test_a_few_sure_frames_do_not_make_a_second() -> None:
    values = np.repeat([8, 7, 6, 5, 4], 30)
    wrong = values.copy()
    wrong[70:73] = 5  # within the 6: a step down, and back
    smoothed = smooth(read(wrong, 61, 0.99), np.arange(150) / RATE, SECONDS, "clock")
    assert smoothed.tolist() == values.tolist()


@pytest.mark.parametrize("step", [-1, 1])
def test_a_clock_runs_either_way_and_over_its_end(step: int) -> None:
    true = (3 * step * -1 + step * np.arange(200) // RATE) % 60
    wrong = np.where(np.arange(200) % 7 == 0, 30, true)
    smoothed = smooth(read(wrong, 61, np.where(wrong == true, 0.97, 0.6)), np.arange(200) / RATE, SECONDS, "clock")
    assert (smoothed == true).mean() > 0.98


def test_a_clock_of_one_frame_a_second_and_of_one_in_ten() -> None:
    for seconds in (1.001, 10.0):
        times = np.arange(50) * seconds
        true = np.floor(times).astype(int) % 60
        wrong = true.copy()
        wrong[20] = 33
        smoothed = smooth(read(wrong, 61, 0.9), times, SECONDS, "clock")
        assert (smoothed[np.arange(50) != 20] == true[np.arange(50) != 20]).all()
        assert smoothed[20] != 33


def test_a_clock_can_be_set_and_hidden() -> None:
    true = np.concatenate([np.repeat([12, 11, 10], 30), np.repeat([60], 30), np.repeat([45, 44], 30), np.repeat(5, 30)])
    assert smooth(read(true, 61, 0.9), np.arange(len(true)) / RATE, SECONDS, "clock").tolist() == true.tolist()


def test_a_counter_that_changes_several_times_a_second_is_kept() -> None:
    true = counter(900, np.random.default_rng(1), 8)
    assert (smooth(read(true, 101, 0.9), np.arange(900) / RATE, NUMBERS, "counter") == true).all()


def test_a_counter_jumps_and_disappears() -> None:
    true = np.concatenate([np.repeat(20, 40), np.repeat(99, 40), np.repeat(100, 20), np.repeat(3, 40)])
    wrong = true.copy()
    wrong[[10, 60, 61]] = [70, 11, 100]
    assert smooth(read(wrong, 101, 0.8), np.arange(140) / RATE, NUMBERS, "counter").tolist() == true.tolist()


def test_none_takes_the_best_class_of_each_frame() -> None:
    scores = np.random.default_rng(0).normal(size=(50, 4))
    assert smooth(scores, np.zeros(50), ["a", "b", "c", "other"], "none").tolist() == scores.argmax(1).tolist()


def plain_viterbi(emissions: np.ndarray, costs: np.ndarray) -> float:
    """The score of the best path, with a matrix of all transitions for each frame but the first."""
    scores = emissions[0]
    for emission, cost in zip(emissions[1:], costs, strict=True):
        scores = (scores[:, None] - cost).max(0) + emission
    return float(scores.max())


def path_score(path: np.ndarray, emissions: np.ndarray, costs: np.ndarray) -> float:
    at = np.arange(len(path))
    return float(emissions[at, path].sum() - costs[at[:-1], path[:-1], path[1:]].sum())


@pytest.mark.parametrize("seed", range(5))
def test_the_path_of_a_counter_is_the_best_of_all(seed: int) -> None:
    """Beside a plain Viterbi algorithm that tries every transition."""
    rng = np.random.default_rng(seed)
    values, frames, changes = 50, 80, 2.0
    classes = [*map(str, rng.permutation(values)), "other"]
    scores, times = rng.normal(0, 3, (frames, values + 1)), np.cumsum(rng.exponential(0.1, frames))
    smoother = Smoother(classes, "counter", lag=frames, changes=changes)
    path = np.concatenate([smoother.push(scores, times), smoother.finish()])
    shares = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    emissions = np.log((1 - DOUBT) * shares + DOUBT / len(classes))
    numbers = np.array([int(name) for name in classes[:-1]])
    distance = np.abs(numbers[:, None] - numbers[None])
    costs = np.full((frames - 1, values + 1, values + 1), APPEAR["counter"])
    for at, elapsed in enumerate(np.diff(times)):
        change = -np.log(min(changes * elapsed, 0.5))
        costs[at, :-1, :-1] = np.where(distance, np.minimum(change + SLOPE * distance, JUMP), 0)
        costs[at, -1, -1] = 0
    assert path_score(path, emissions, costs) == pytest.approx(plain_viterbi(emissions, costs), abs=0.01)


@pytest.mark.parametrize("seed", range(5))
def test_the_path_of_a_clock_is_the_best_of_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, frames = 7, 60
    classes = [*map(str, range(values)), "other"]
    scores, times = rng.normal(0, 4, (frames, values + 1)), np.cumsum(rng.exponential(0.5, frames))
    path = smooth(scores, times, classes, "clock")
    shares = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    emissions = np.log((1 - DOUBT) * shares + DOUBT / len(classes))
    costs = np.full((frames - 1, 2 * values + 1, 2 * values + 1), APPEAR["clock"])
    for at, elapsed in enumerate(np.diff(times)):
        costs[at, :-1, :-1] = np.clip(20 - 3 * np.log(elapsed), 15, 30)
        costs[at, -1, -1] = 0
        steps = [max(-elapsed, -5)]
        for count in range(1, min(int(elapsed + 0.5) + 2, values - 1) + 1):
            steps.append(count * np.log(elapsed) - elapsed - np.log(np.arange(1, count + 1)).sum())
        for direction in (0, 1):
            for value in range(values):
                for count, score in enumerate(steps):
                    after = (value + (count if direction == 0 else -count)) % values
                    cell = (at, direction * values + value, direction * values + after)
                    costs[cell] = min(costs[cell], -score)
    both = np.concatenate([emissions[:, :-1], emissions], axis=1)
    # The directions of the path are not known: the best ones are those of the best path through its values.
    allowed = np.where(np.arange(2 * values + 1) % values == np.minimum(path, values - 1)[:, None], 0.0, -1e9)
    allowed[:, -1] = np.where(path == values, 0, -1e9)
    allowed[path == values, :-1] = -1e9
    assert plain_viterbi(both + allowed, costs) == pytest.approx(plain_viterbi(both, costs), abs=0.01)


@pytest.mark.parametrize(("kind", "classes"), [("clock", SECONDS), ("counter", NUMBERS)])
def test_a_stream_gets_the_labels_of_the_whole_sequence(kind: Kind, classes: tuple[str, ...]) -> None:
    rng = np.random.default_rng(2)
    true = clock(9000, rng) if kind == "clock" else counter(9000, rng, 3)
    wrong = slip(true, len(classes), rng, 0.1, 5)
    scores, times = read(wrong, len(classes), np.where(wrong == true, 0.97, 0.6)), np.arange(9000) / RATE
    smoother, labels, at = Smoother(classes, kind), [], 0
    while at < 9000:
        count = int(rng.choice([1, 1, 7, 64, 1500]))
        labels.append(smoother.push(scores[at : at + count], times[at : at + count]))
        at += count
        assert sum(map(len, labels)) >= min(at, 9000) - smoother.lag - 31
    labels.append(smoother.finish())
    streamed = np.concatenate(labels)
    assert len(streamed) == 9000
    assert (streamed == smooth(scores, times, classes, kind)).mean() > 0.995
    at_once = np.concatenate([smoother.push(scores, times), smoother.finish()])  # after finish() it starts anew
    assert (at_once == streamed).all()


def test_an_hour_takes_seconds() -> None:
    rng, frames = np.random.default_rng(4), 3600 * RATE
    scores, times = rng.normal(-6, 1, (frames, 61)).astype(np.float32), np.arange(frames) / RATE
    true = np.arange(frames) // RATE % 60
    scores[np.arange(frames), true] = 0
    begin = time.perf_counter()
    assert (smooth(scores, times, SECONDS, "clock") == true).all()
    assert time.perf_counter() - begin < 10


@pytest.mark.parametrize("kind", KINDS)
def test_odd_input(kind: Kind) -> None:
    classes = ["3", "other"]
    assert smooth(np.empty((0, 2)), np.empty(0), classes, kind).tolist() == []
    assert smooth([[0.0, -np.inf]], [0.0], classes, kind).tolist() == [0]
    assert smooth([[-np.inf, 0.0]] * 40, [5.0] * 40, classes, kind).tolist() == [1] * 40  # time stands still
    assert smooth([[0.0]], [1.0], ["only"], kind).tolist() == [0]
    assert smooth([[0.0]] * 9, range(9), ["other"], kind).tolist() == [0] * 9
    for scores, times in [([[0.0, np.nan]], [0.0]), ([[0.0, 0.0]], [np.inf]), ([[0.0]], [0.0]), ([[0.0, 0.0]], [0, 1])]:
        with pytest.raises(ValueError, match=r"number|classes"):
            smooth(scores, times, classes, kind)


@pytest.mark.parametrize(
    ("text", "label", "fields", "kind"),
    [
        ("MM:SS", "S", None, "clock"),
        ("MM:SS", "M", None, "clock"),
        ("[MM:]SS left", "S", None, "clock"),
        ("NNN", "N", None, "counter"),
        ("N / 100", "N", {"N": "0..100"}, "counter"),
        ("X.Yk", "X", None, "counter"),
        ("X.Yk", "Y", None, "none"),
        ("N", "N", {"N": ["north", "south"]}, "none"),
    ],
)
def test_the_kind_of_a_counter_is_guessed(text: str, label: str, fields: dict[str, object] | None, kind: Kind) -> None:
    assert guess_kind(Spec.parse(text, label=label, fields=fields)) == kind
