"""A network in front of a slower one, from a clip to answers."""

import csv
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from clips import presence, train_on, write_clip
from PIL import Image

from textgen.common.errors import UserError
from textgen.common.hydra_app import compose_config
from textgen.common.validation import validate
from textgen.footage.frames import Footage, Frame, FrameReader, open_frames
from textgen.footage.pixels import RgbPixels
from train.cascade.footage import MAX_KEPT, FootageSettings, fit_batches, measure_footage
from train.cascade.networks import CascadeNetwork, FittedNetwork, LabelledFrames, spread
from train.cascade.plots import sweep, write_plot
from train.cascade.report import format_report
from train.cascade.run import Report, read_task, run_cascade
from train.cascade.running import Answer, Cascade
from train.cascade.settings import Settings
from train.cascade.thresholds import Promise, Thresholds
from train.predict.predictor import Predictor
from train.predict.reading import Clock

FRAMES = 1200
LOOSE = ["fn=0.06", "fp=0.06", "thin=1", "batch=64"]
DELAY = "reference=delay:0.004"


class Place:
    """A clip with its labels, a FoldedCNN and an original for it, and networks to use."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.video, self.labels = write_clip(folder, FRAMES)
        self.run = train_on(self.video, self.labels, folder / "f2", 2)
        self.original = train_on(self.video, self.labels, folder / "f1", 1)
        self.present = presence(FRAMES)

    def network(self, batch: int = 64) -> CascadeNetwork:
        return CascadeNetwork(self.run, engine="auto", device="cpu", threads=1, batch=batch)

    def frames(self) -> Iterator[Frame]:
        with open_frames(self.video) as reader:
            yield from reader

    def cascade(self, *given: str) -> Report:
        s = settings(f"run={self.run}", *LOOSE, *given)
        s.check(names_of(given))
        return run_cascade(s)

    def footage(self, *given: str) -> dict[str, Any]:
        values = self.cascade(f"source={self.video}", DELAY, f"labels={self.labels}", *given).values["footage"]
        assert isinstance(values, dict)
        return values


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("cascade"))


def settings(*given: str) -> Settings:
    return validate(Settings, compose_config("cascade", *given))


def names_of(given: Sequence[str]) -> list[str]:
    return [setting.partition("=")[0] for setting in given]


def read(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


class Recorder:
    """A reference that knows the truth, and notes how it is called."""

    needs_pixels = True

    def __init__(self, truth: np.ndarray):
        self.name, self.truth = "recorder", truth
        self.calls: list[list[int]] = []

    def check(self, index: int) -> None:
        assert index < len(self.truth)

    def answer(self, indices: Sequence[int], frames: Sequence[np.ndarray]) -> list[bool]:
        assert [frame.shape for frame in frames] == [(48, 64, 3)] * len(indices)
        self.calls.append([*indices])
        return [bool(self.truth[index]) for index in indices]


@pytest.mark.parametrize("f", [1, 2, 3, 4])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 63, 64])
def test_every_frame_has_a_place_and_those_of_a_stack_are_far_apart(n: int, f: int) -> None:
    order, places = spread(n, f)
    assert len(order) == -(-n // f) * f
    assert (order[places] == np.arange(n)).all()
    distances = np.diff(order.reshape(-1, f), axis=1)
    assert (distances[: max(n - (f - 1) * (len(order) // f), 0)] == len(order) // f).all()


def test_no_frames() -> None:
    assert [len(each) for each in spread(0, 4)] == [0, 0]


def test_probabilities_are_those_of_spread_stacks(place: Place, rng: np.random.Generator) -> None:
    network, predictor = place.network(8), Predictor.load(place.run)
    frames = rng.integers(0, 256, (21, *network.size, 3), np.uint8)
    found = network.probabilities(frames)
    wanted = np.empty(21)
    for first, last in ((0, 8), (8, 16), (16, 21)):
        stacks = -(-(last - first) // 2)
        for j in range(stacks):
            pair = [first + j, min(first + j + stacks, last - 1)]
            values = np.exp(predictor.log_probabilities(frames[pair]).astype(np.float64))[:, 1]
            wanted[pair[0]] = values[0]
            if first + j + stacks < last:
                wanted[pair[1]] = values[1]
    assert found == pytest.approx(wanted, abs=1e-6)
    assert len(network.probabilities(frames[:0])) == 0


def run_with(
    place: Place, thresholds: Thresholds, reference: Any, *, compare: bool = False, reference_batch: int = 16
) -> tuple[list[Answer], Cascade]:
    cascade = Cascade(
        place.network(), thresholds, reference, reference_batch=reference_batch, compare=compare, clock=Clock()
    )
    return list(cascade.run(place.frames())), cascade


def test_frames_between_the_thresholds_have_the_answer_of_the_reference(place: Place) -> None:
    sure, _ = run_with(place, Thresholds(0.5, 0.5), Recorder(place.present))
    low, high = np.quantile([answer.probability for answer in sure], [0.3, 0.6]).tolist()
    thresholds, truth = Thresholds(low, high), ~place.present  # a reference that is always wrong can be told
    reference = Recorder(truth)
    answers, cascade = run_with(place, thresholds, reference)
    assert [answer.frame for answer in answers] == list(range(FRAMES))
    assert [answer.time for answer in answers[:2]] == pytest.approx([0, 1 / 30], abs=1e-3)
    forwarded = [answer.frame for answer in answers if low <= answer.probability < high]
    assert [answer.frame for answer in answers if answer.decided_by == "reference"] == forwarded
    assert len(forwarded) == pytest.approx(0.3 * FRAMES, rel=0.2)
    for answer in answers:
        by_network = "present" if answer.probability >= high else "absent"
        by_reference = "present" if truth[answer.frame] else "absent"
        assert answer.answer == (by_reference if answer.decided_by == "reference" else by_network)
    assert [index for call in reference.calls for index in call] == forwarded
    assert {len(call) for call in reference.calls[:-1]} == {16}
    assert cascade.counts.forwarded == len(forwarded)
    assert cascade.counts.present == sum(answer.answer == "present" for answer in answers)


def test_nothing_and_everything_is_forwarded(place: Place) -> None:
    reference = Recorder(place.present)
    answers, cascade = run_with(place, Thresholds(0.5, 0.5), reference)
    assert {answer.decided_by for answer in answers} == {"network"}
    assert (cascade.counts.forwarded, reference.calls) == (0, [])
    answers, cascade = run_with(place, Thresholds(0, float("inf")), reference)
    assert {answer.decided_by for answer in answers} == {"reference"}
    assert [answer.answer == "present" for answer in answers] == place.present.tolist()
    assert cascade.counts.forwarded == FRAMES


def test_with_a_comparison_every_frame_is_asked_about_once_and_the_answers_stay(place: Place) -> None:
    thresholds, reference = Thresholds(0.45, 0.55), Recorder(place.present)
    alone, _ = run_with(place, thresholds, Recorder(place.present))
    answers, cascade = run_with(place, thresholds, reference, compare=True)
    assert answers == alone
    assert sorted(index for call in reference.calls for index in call) == list(range(FRAMES))
    said = np.array([answer.answer == "present" for answer in answers])
    counts = cascade.counts
    assert counts.missed == (~said & place.present).sum() > 0
    assert counts.false_alarms == (said & ~place.present).sum()
    assert counts.compared + counts.forwarded == FRAMES


@pytest.mark.parametrize("needs_pixels", [True, False])
def test_few_frames_are_kept_however_long_the_footage_is(place: Place, needs_pixels: bool) -> None:
    alive: weakref.WeakSet[RgbPixels] = weakref.WeakSet()
    most = 0

    def frames() -> Iterator[Frame]:
        nonlocal most
        rng = np.random.default_rng(0)
        for number in range(600):
            pixels = RgbPixels(rng.integers(0, 256, (48, 64, 3), np.uint8))
            alive.add(pixels)
            most = max(most, len(alive))
            yield Frame(number, number / 30, pixels)
            del pixels

    class Blind(Recorder):
        def answer(self, indices: Sequence[int], frames: Sequence[np.ndarray]) -> list[bool]:
            return [False] * len(indices)

    reference = Blind(np.zeros(600))
    reference.needs_pixels = needs_pixels
    for thresholds in (Thresholds(0, float("inf")), Thresholds(0.2, 0.8), Thresholds(0.5, 0.5)):
        cascade = Cascade(place.network(), thresholds, reference, reference_batch=40, compare=False, clock=Clock())
        gc.collect()
        assert sum(1 for _ in cascade.run(frames())) == 600
    assert most <= (64 + 40 if needs_pixels else 2)


def test_answers_that_wait_for_long_call_the_reference_early(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.cascade.running.MAX_WAITING", 200)
    reference = Recorder(place.present)
    answers, _ = run_with(place, Thresholds(0, float("inf")), reference, reference_batch=5000)
    assert [answer.frame for answer in answers] == list(range(FRAMES))
    assert [len(call) for call in reference.calls] == [256] * 4 + [176]


def test_measured_latency_is_that_of_the_formula(place: Place, tmp_path: Path) -> None:
    given = (f"source={place.video}", "reference=delay:0.01", f"labels={place.labels}", f"out={tmp_path / 'a.csv'}")
    report = place.cascade(*given, "compare=true", "end=20")
    footage, latency = report.values["footage"], report.values["latency"]
    assert 0.02 < footage["forwarded"] < 0.9
    assert latency["T_g"] == pytest.approx(0.01, rel=0.05)
    assert footage["predicted"] == pytest.approx(latency["T_s"] + footage["forwarded"] * latency["T_g"])
    assert footage["measured"] == pytest.approx(footage["predicted"], rel=0.05)
    rows = read(tmp_path / "a.csv")
    assert [int(row["frame"]) for row in rows] == list(range(600))
    truth = place.present[:600]
    said = np.array([row["answer"] == "present" for row in rows])
    by_reference = np.array([row["decided_by"] == "reference" for row in rows])
    assert by_reference.mean() == footage["forwarded"]
    assert said.mean() == footage["present"]
    assert (said[by_reference] == truth[by_reference]).all()
    compared = footage["comparison"]
    assert compared["agreement"] == pytest.approx((said == truth).mean())
    assert compared["missed"] == (~said & truth).sum()
    assert compared["false_alarms"] == (said & ~truth).sum()
    assert compared["reference_present"] == truth[~by_reference].sum()
    assert compared["reference_frames_per_second"] == pytest.approx(100, rel=0.05)
    assert compared["speedup"] == pytest.approx(0.01 / footage["measured"], rel=0.06)
    text = format_report(report.values)
    assert "600 frames" in text
    assert "delay:0.01" in text


def test_figures_of_the_test_frames(place: Place) -> None:
    values = place.cascade(DELAY, f"original={place.original}").values
    for name, run, fold in (("network", place.run, 2), ("original", place.original, 1)):
        found = values[name]
        assert (found["run"], found["fold"]) == (str(run), fold)
        result = json.loads((run / "result.json").read_text(encoding="utf-8"))
        assert found["test"]["frames"] == result["test_images"] == FRAMES // 4
        if fold == 1:
            assert found["test"]["network_accuracy"] == pytest.approx(result["accuracy"], abs=0.003)
        assert found["test"]["cascade_accuracy"] >= found["test"]["network_accuracy"]
        for rate, target in (("missed", 0.06), ("false_alarms", 0.06)):
            fitted = found["validation"][rate]
            assert fitted["bound"] <= target
            assert fitted["bound_of"] == fitted["of"]
            assert found["test"][rate]["bound"] >= found["test"][rate]["rate"]
    latency, folding = values["latency"], values["folding"]
    x = latency["original_T_s"] / latency["T_s"]
    lost = values["original"]["test"]["network_accuracy"] - values["network"]["test"]["network_accuracy"]
    more = values["network"]["test"]["forwarded"] - values["original"]["test"]["forwarded"]
    assert folding["by_accuracy"]["x"] == folding["by_thresholds"]["x"] == pytest.approx(x)
    assert folding["by_accuracy"]["a"] == pytest.approx(lost)
    assert folding["by_thresholds"]["a"] == pytest.approx(more)
    assert folding["by_thresholds"]["u"] == values["original"]["test"]["forwarded"]
    assert folding["by_accuracy"]["ratio"] == pytest.approx(latency["T_g"] / latency["original_T_s"])
    assert "folding: x = " in format_report(values)


def test_a_given_ratio_stands_for_a_reference(place: Place) -> None:
    values = place.cascade("ratio=83", f"original={place.original}").values
    assert values["latency"]["T_g"] == pytest.approx(83 * values["latency"]["original_T_s"])
    assert values["folding"]["by_accuracy"]["ratio"] == pytest.approx(83)
    assert values["footage"] is None
    without = place.cascade().values
    assert without["latency"]["T_g"] is None
    assert "T_g" not in format_report(without)


@pytest.mark.parametrize(("wrong", "broken"), [(0, []), (20, []), (60, ["missed frames"])])
def test_test_frames_that_break_the_promise_are_reported(place: Place, wrong: int, broken: list[str]) -> None:
    """400 frames with the object, 400 without; of the former some are missed, where 5 % are allowed."""
    truth, thresholds = np.arange(800) < 400, Thresholds(0.4, 0.6)
    val = LabelledFrames(np.where(truth, 0.9, 0.1), truth)
    test = LabelledFrames(np.where(truth & (np.arange(800) >= wrong), 0.9, 0.1), truth)
    fitted = FittedNetwork(place.network(), thresholds, (), val, test)
    notes = fitted.describe(Promise(0.05, 0.05, 0.95), thin=1)["notes"]
    assert [name for name in ("missed frames", "false alarms") if any(name in note for note in notes)] == broken


def test_thinned_frames_are_too_few(place: Place) -> None:
    s = settings(f"run={place.run}", DELAY, "fn=0.01", "fp=0.01")
    values = run_cascade(s).values
    assert values["promise"]["thin"] == 30  # one a second
    assert values["network"]["thresholds"] == {"low": 0.0, "high": None}
    assert values["network"]["test"]["forwarded"] == 1
    assert values["network"]["test"]["cascade_accuracy"] == 1
    assert len(values["network"]["notes"]) == 3
    assert "needs 368" in format_report(values)
    assert "never absent, never present" in format_report(values)


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_other_formats_hold_the_same_answers(place: Place, tmp_path: Path, suffix: str) -> None:
    for name in ("a.csv", f"a.{suffix}"):
        found = place.footage("reference=delay:0.00001", f"out={tmp_path / name}", "start=2", "end=12", "every=3")
    assert found["frames"] == 100
    rows = read(tmp_path / "a.csv")
    if suffix == "jsonl":
        other = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    else:
        other = pyarrow.parquet.read_table(tmp_path / "a.parquet").to_pylist()
    assert [int(row["frame"]) for row in rows] == list(range(60, 360, 3))
    typed = [
        {**row, "frame": int(row["frame"]), "time": float(row["time"]), "probability": float(row["probability"])}
        for row in rows
    ]
    assert other == typed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", f"a.{suffix}"]


DETECTOR = '''
def bright(frames):
    """A box around the bright pixels of each frame, if there are enough."""
    found = []
    for frame in frames:
        y, x = (frame[..., 0] > 160).nonzero()
        box = (x.min(), y.min(), x.max() + 1, y.max() + 1) if len(x) > 100 else None
        found.append([("square", 0.8, *map(float, box)), ("dog", 1.0, 0, 0, 9, 9)] if box else [])
    return found


def broken(frames):
    raise RuntimeError("out of memory")
'''


def box_centre(bright: np.ndarray) -> float:
    """The horizontal centre of the box around bright pixels."""
    x = bright.nonzero()[1]
    return float(x.min() + x.max() + 1) / 2


def test_a_detector_of_the_users_own(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_reference.py").write_text(DETECTOR, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    out = tmp_path / "answers" / "a.csv"
    out.parent.mkdir()
    given = (f"source={place.video}", f"out={out}", "reference=own_reference:bright", "fn=0.03", "fp=0.03")
    found = place.cascade(*given, "compare=true").values["footage"]
    rows = read(out)
    bright = [frame.rgb()[..., 0] > 160 for frame in place.frames()]
    wanted = [bool(each.sum() > 100) for each in bright]
    assert 0.2 < np.mean(wanted) < 0.6
    by_reference = [row for row in rows if row["decided_by"] == "reference"]
    assert len(by_reference) > 20
    assert [row["answer"] == "present" for row in by_reference] == [wanted[int(row["frame"])] for row in by_reference]
    assert found["comparison"]["agreement"] == np.mean(
        [(row["answer"] == "present") == each for row, each in zip(rows, wanted, strict=True)]
    )
    given = (*given, "overwrite=true", "fn=0.0001", "fp=0.0001", "end=5")  # everything is forwarded
    place.cascade(*given, "reference_confidence=0.9")
    assert {row["answer"] for row in read(out)} == {"absent"}  # no square is so sure
    place.cascade(*given, "object=dog", "reference_confidence=0.9")
    assert [row["answer"] == "present" for row in read(out)] == wanted[:150]
    place.cascade(*given, "reference_options={region: [0, 0, 0.5, 1]}")
    left = [bool(each.sum() > 100) and box_centre(each) < 32 for each in bright]
    assert [row["answer"] == "present" for row in read(out)] == left[:150]
    assert 0 < sum(left[:150]) < sum(wanted[:150])
    before = out.read_bytes()
    with pytest.raises(RuntimeError, match="out of memory"):
        place.cascade(*given, "reference=own_reference:broken")
    assert out.read_bytes() == before
    assert [path.name for path in out.parent.iterdir()] == ["a.csv"]


def test_footage_that_ends_in_an_error_leaves_no_file(place: Place, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(70):
        size = (48, 64) if number < 66 else (24, 64)
        Image.fromarray(np.full((*size, 3), number, np.uint8)).save(pictures / f"shot_{number:03}.png")
    out = tmp_path / "a.parquet"
    with pytest.raises(UserError, match="frame 66"):
        place.cascade(f"source={pictures}", DELAY, f"labels={place.labels}", f"out={out}")
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]
    out.write_text("mine")
    with pytest.raises(UserError, match="exists"):
        place.cascade(f"source={pictures}", DELAY, f"labels={place.labels}", f"out={out}")
    assert out.read_text() == "mine"


class Still(Recorder):
    """A reference that needs no frames."""

    needs_pixels = False

    def answer(self, indices: Sequence[int], frames: Sequence[np.ndarray]) -> list[bool]:
        return [bool(self.truth[index]) for index in indices]


class Stream(Footage):
    """A stream of 100 frames, and of many more if nobody ends it."""

    name, is_live, frame_rate = "stream", True, 30.0

    def __init__(self, interrupted_at: int | None):
        self._interrupted_at = interrupted_at

    def read(self, start: float | None) -> Iterator[Frame]:
        for number in range(1000):
            if number == self._interrupted_at:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(10)  # ended by the signal
            yield Frame(number, number / 30, RgbPixels(np.full((48, 64, 3), number % 256, np.uint8)))

    def close(self) -> None:
        pass


def test_a_stream_that_is_stopped_at_once_leaves_no_file(place: Place, tmp_path: Path) -> None:
    how = FootageSettings("stream", tmp_path / "a.csv", 16, False)
    reader = FrameReader(Stream(1), None, None, 1)
    next(iter(reader))
    with pytest.raises(UserError, match="before its first frame"):
        measure_footage(reader, how, place.network(), Thresholds(0.5, 0.5), Still(place.present), 1e-5)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("while_waiting", [True, False])
def test_an_interrupt_ends_a_stream_of_which_every_frame_is_answered(
    place: Place, tmp_path: Path, while_waiting: bool
) -> None:
    class Interrupting(Recorder):
        def answer(self, indices: Sequence[int], frames: Sequence[np.ndarray]) -> list[bool]:
            if not while_waiting and 100 in indices:
                os.kill(os.getpid(), signal.SIGINT)
            return super().answer(indices, frames)

    before = signal.getsignal(signal.SIGINT)
    how = FootageSettings("stream", tmp_path / "a.csv", 16, False)
    reader = FrameReader(Stream(100 if while_waiting else None), None, None, 1)
    forward_all, reference = Thresholds(0, float("inf")), Interrupting(np.arange(1000) % 2 == 0)
    found, _ = measure_footage(reader, how, place.network(), forward_all, reference, 1e-5)
    rows = read(tmp_path / "a.csv")
    assert len(rows) == found["frames"] == (100 if while_waiting else 128)  # of two batches
    assert [row["answer"] for row in rows] == ["present", "absent"] * (len(rows) // 2)
    assert signal.getsignal(signal.SIGINT) is before


def test_labels_that_say_nothing_about_a_frame_are_refused(place: Place, tmp_path: Path) -> None:
    """That such a frame has no row does not mean that it is empty."""
    labels = tmp_path / "labels.csv"
    labels.write_bytes(place.labels.read_bytes())
    given = (f"labels={labels}", "reference=delay:0.00001", "fn=0.0001", "fp=0.0001")
    about = labels.with_name("labels.csv.json")
    about.write_text('{"every": 3, "first": 60, "last": 357}')
    assert place.footage(*given, "every=3", "start=2", "end=12")["frames"] == 100
    for wrong, message in (
        (["every=1", "start=2", "end=12"], "has one frame in 3 labelled: give every=3, or a multiple"),
        (["every=3", "end=12"], "about frames 60 to 357, and the footage has frame 0: give start= and end="),
        (["every=3", "start=2", "end=13"], "about frames 60 to 357, and the footage has frame 360: give start="),
    ):
        with pytest.raises(UserError, match=message):
            place.footage(*given, *wrong)
    about.write_text('{"every": 1, "first": 30}')
    assert place.footage(*given, "start=1", "end=3")["frames"] == 60
    with pytest.raises(UserError, match="about frames 30 to the last, and the footage has frame 0"):
        place.footage(*given, "end=3")


def test_from_which_confidence_the_reference_counts(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of the run's labels, if they say one."""
    (tmp_path / "sure_reference.py").write_text(
        "def weak(frames):\n    return [[('square', 0.1, 0, 0, 9, 9)] for _ in frames]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    about = place.labels.with_name(f"{place.labels.name}.json")
    given = (f"source={place.video}", "reference=sure_reference:weak", "fn=0.0001", "fp=0.0001", "end=2")

    def heard(*more: str) -> tuple[float, float, str]:
        report = place.cascade(*given, *more)
        found = report.values["reference"]
        shown = f"objects count from confidence {found['confidence']:g}, by {found['confidence_of']}"
        assert shown in format_report(report.values)
        return report.values["footage"]["present"], found["confidence"], found["confidence_of"]

    assert heard() == (0, 0.25, "label_video's default")
    assert heard("reference_confidence=0.1") == (1, 0.1, "reference_confidence")
    about.write_text('{"every": 1, "confidence": 0.05}')
    try:
        assert heard() == (1, 0.05, "labels.csv.json")
        about.write_text('{"every": 1, "confidence": 0.4}')
        assert heard() == (0, 0.4, "labels.csv.json")
    finally:
        about.unlink()
    task = read_task(place.run)
    config = place.run / "config.yaml"
    before = config.read_text(encoding="utf-8")
    assert task.threshold == 0
    config.write_text(before.replace("threshold: 0.0", "threshold: 0.6"), encoding="utf-8")
    digests = place.run / "digests.json"
    kept = digests.read_bytes()
    digests.unlink()  # as of a run that was trained with that threshold
    try:
        assert heard() == (0, 0.6, "task.threshold")
    finally:
        config.write_text(before, encoding="utf-8")
        digests.write_bytes(kept)
    about.write_text('{"every": 1, "confidence": 0.05, "region": [20, 20, 8, 8]}')  # the box's centre is not in it
    assert place.cascade(*given).values["reference"]["region"] == [20, 20, 8, 8]
    assert heard()[0] == 0
    whole = "reference_options={region: [0, 0, 10, 10]}"
    assert place.cascade(*given, whole).values["reference"]["region"] == [0, 0, 10, 10]
    about.unlink()


def test_frames_are_thinned_by_the_rate_of_the_video_that_they_are_of(place: Place, tmp_path: Path) -> None:
    """Not by that of the footage."""
    stored = next(path for path in (place.folder / "data").glob("*/*") if (path / "manifest.json").exists())
    data = tmp_path / "data" / stored.parent.name
    shutil.copytree(stored, data / stored.name)
    manifest = json.loads((data / stored.name / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["video"]["rate"] == 30
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(8):
        Image.fromarray(np.full((48, 64, 3), number, np.uint8)).save(pictures / f"shot_{number:03}.png")
    footage = (f"source={pictures}", "rate=5", "reference=delay:0.00001", f"labels={place.labels}")
    for rate, thin in ((50.0, 50), (None, 30)):
        manifest["video"]["rate"] = rate
        (data / stored.name / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
        for where in (f"data_dir={tmp_path / 'data'}", f"path={data / stored.name}"):
            s = settings(f"run={place.run}", "batch=64", where, *footage)
            assert run_cascade(s).values["promise"]["thin"] == thin


def test_the_plot(place: Place, tmp_path: Path) -> None:
    report = place.cascade(DELAY, f"original={place.original}")
    assert [line.name for line in report.lines] == ["fold=2", "original"]
    assert report.general is not None
    write_plot(report.lines, report.general, tmp_path)
    assert (tmp_path / "cascade.png").read_bytes().startswith(b"\x89PNG")
    line = report.lines[0]
    same = replace(line.frames, probabilities=np.full(len(line.frames.truth), 0.5))
    write_plot([line._replace(frames=same)], report.general, tmp_path)


@pytest.mark.parametrize("digits", [16, 1])
def test_the_curves_of_the_plot(rng: np.random.Generator, digits: int) -> None:
    p, truth = rng.random(300).round(digits), rng.random(300) < 0.5
    doubts = np.array([0.5, 0.3, 0.1, 0.01, 0])
    forwarded, wrong = sweep(LabelledFrames(p, truth), doubts)
    for doubt, share, errors in zip(doubts, forwarded, wrong, strict=True):
        sure = np.minimum(p, 1 - p) <= doubt
        assert share == pytest.approx(1 - sure.mean())
        assert errors == pytest.approx((sure & ((p >= 0.5) != truth)).mean())


def test_the_frames_that_fit_in_memory() -> None:
    assert fit_batches(1024, 16, (48, 64), 4) == (1024, 16)
    for given, size in (((1024, 16), (1080, 1920)), ((1024, 1000), (2160, 3840)), ((8, 1000), (1080, 1920))):
        batch, reference_batch = fit_batches(*given, size, 4)
        bytes_of_frame = size[0] * size[1] * 3
        assert (batch + reference_batch) * bytes_of_frame <= MAX_KEPT < (batch + reference_batch + 1) * bytes_of_frame
        assert min(given[0], MAX_KEPT // bytes_of_frame // 2) <= batch <= given[0]
        assert min(given[1], MAX_KEPT // bytes_of_frame // 2) <= reference_batch <= given[1]
    assert fit_batches(1024, 16, (16384, 16384), 4) == (4, 1)  # a frame is 0.8 GB: no less than a stack


def test_batches_that_do_not_fit_are_reduced_and_told(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "counting_reference.py").write_text(
        "calls = []\ndef none(frames):\n    calls.append(len(frames))\n    return [[] for _ in frames]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("train.cascade.footage.MAX_KEPT", 40 * 48 * 64 * 3)
    given = (f"source={place.video}", "reference=counting_reference:none", "reference_batch=50", "end=4")
    values = place.cascade(*given, "fn=0.0001", "fp=0.0001").values  # everything is forwarded
    assert values["network"]["batch"] == 20
    assert max(sys.modules["counting_reference"].calls) == 20
    told = capsys.readouterr().err
    assert "batch=64 frames of 64×48 do not fit in memory: 20 go through the network at once" in told
    assert "reference_batch=50 frames of 64×48 do not fit in memory: 20 go through the reference at once" in told


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "give run=…"),
        (["x=2.5"], "give run=…"),
        (["x=2.5", "a=0.1", "source=clip.mp4"], "source=… needs run=…"),
        (["x=2.5", "a=0.1", "compare=true"], "compare=… needs run=…"),
        (["x=2.5", "a=0.1", "fn=0.02"], "fn=… needs run=…"),
        (["x=2.5", "a=0.1", "network=resnet18"], "network=… needs run=…"),
        (["run=r", "x=2"], "x=… is measured"),
        (["run=r", "source=clip.mp4"], "needs reference=…"),
        (["run=r", "source=clip.mp4", "reference=delay:0.1"], "give labels=…"),
        (["run=r", "source=clip.mp4", "reference=delay:fast", "labels=l"], "give seconds a frame"),
        (["run=r", "source=clip.mp4", "reference=delay:-1", "labels=l"], "give seconds a frame"),
        (["run=r", "source=clip.mp4", "reference=people", "labels=l"], "labels=… is for reference=delay"),
        (["run=r", "reference=people"], "reference=people needs frames"),
        (["run=r", "reference=delay:0.1", "ratio=83"], "ratio=… is measured"),
        (["run=r", "reference=delay:0.1", "compare=true"], "compare=… is about footage"),
        (["run=r", "reference=delay:0.1", "out=a.csv"], "out=… is about footage"),
        (["run=r", "reference=delay:0.1", "every=1"], "every=… is about footage"),
        (["run=r", "object=car"], "object=… is about the reference"),
        (["run=r", "plots=p"], "plots=… shows throughput"),
        (["run=r", "reference=delay:0.1", "reference_options={size: [64,64]}"], "is for a detector"),
    ],
)
def test_settings_that_do_not_go_together(given: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        settings(*[each for each in given if not each.startswith("network=")]).check(names_of(given))


@pytest.mark.parametrize(
    "given", ["x=0", "x=inf", "fn=0", "fn=1", "confidence=1", "batch=0", "thin=0", "u=2", "a=nan", "ratio=-1"]
)
def test_settings_out_of_range(given: str) -> None:
    with pytest.raises(UserError, match=given.partition("=")[0]):
        settings(given)


def test_wrong_runs(place: Place, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give a run with fold=1 as original="):
        run_cascade(settings(f"run={place.original}", f"original={place.run}"))
    with pytest.raises(UserError, match="batch=1 is less than a stack of 2 frames"):
        place.cascade("batch=1")
    with pytest.raises(UserError, match="cannot be read"):
        run_cascade(settings(f"run={tmp_path}"))


def command(*given: str) -> str:
    words = [sys.executable, "-m", "train.cascade", *given]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def test_the_command_with_the_paper_s_figures() -> None:
    figures = json.loads(command("x=2.5", "a=0.0021", "ratio=83", "format=json"))
    assert figures["break_even"] == pytest.approx(285.714, abs=1e-3)
    assert figures["verdict"] == "folding pays below 285.7x; at 83x it pays"
    for given in ("compare=true", "reference_options={size: [64,64]}", "network=my.module:Net", "batch=64"):
        words = [sys.executable, "-m", "train.cascade", "x=2.5", "a=0.0021", given]
        ended = subprocess.run(words, capture_output=True, text=True, check=False)
        wanted = f"{given.partition('=')[0]}=… needs run=…"
        assert (ended.returncode, wanted in ended.stderr) == (2, True), ended.stderr
    assert command("x=2.51", "a=0.0089", "ratio=83") == "folding does not pay at 83x: it pays below 67.6x\n"


def test_the_command_on_footage(place: Place, tmp_path: Path) -> None:
    given = [f"run={place.run}", f"source={place.video}", "reference=delay:0.0001", f"labels={place.labels}", *LOOSE]
    found = json.loads(command(*given, "start=1", f"plots={tmp_path / 'plots'}", "format=json"))
    assert found["footage"]["frames"] == FRAMES - 30
    assert (tmp_path / "plots" / "cascade.png").exists()
