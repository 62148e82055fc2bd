"""From videos to tables of values, by networks for several fields."""

import csv
from pathlib import Path

import numpy as np
import pytest
from bits import LEFT, SIZE, frame, save_run_of_fields, settings, write_video

from textgen.footage.frames import Frame
from textgen.footage.pixels import RgbPixels
from textgen.footage.regions import Region
from train.predict.predictor import Predictor
from train.predict.reading import LIVE_GROUP, Clock, FootageReader
from train.predict.readouts import Joined, Readout, parse_join
from train.predict.rows import Row
from train.predict.run import predict

OTHER = 15


def text_of(value: int) -> str:
    return "other" if value == OTHER else f"{value & 3}:{value >> 2}"


def values_of(count: int) -> list[int]:
    known = [m + 4 * s for s in range(3) for m in range(3)]
    return [OTHER if n // 10 % 10 == 9 else known[n // 10 % 10] for n in range(count)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_run_of_fields(tmp_path_factory.mktemp("run") / "fields", 3)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "clip.mp4", [(v, 0) for v in values_of(300)])


def read(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


@pytest.mark.parametrize("smoothing", ["none", "counter"])
def test_rows_of_the_text_and_of_its_fields(run: Path, video: Path, tmp_path: Path, smoothing: str) -> None:
    join = {"time": "{left.M}m{left.S}"}
    predict(settings(run, video, {"left": LEFT}, tmp_path / "v.csv", smoothing=smoothing, join=join))
    rows = read(tmp_path / "v.csv")
    names = ["left", "left.M", "left.S", "time"]
    assert [row["region"] for row in rows] == names * 300
    assert [row["value"] for row in rows[::4]] == [text_of(v) for v in values_of(300)]
    for whole, *fields, joined in (rows[at : at + 4] for at in range(0, len(rows), 4)):
        values = [row["value"] for row in fields]
        assert values == (["other"] * 2 if whole["value"] == "other" else whole["value"].split(":"))
        assert joined["value"] == whole["value"].replace(":", "m")
        assert joined["probability"] == whole["probability"]
        assert smoothing == "none" or [row["smoothed"] for row in (whole, *fields)] == [whole["value"], *values]


def read_frames(predictor: Predictor, pictures: list[np.ndarray], changes: bool, stop: int | None = None) -> list[Row]:  # type: ignore[type-arg]
    """The rows of frames; the reader is saved, and another goes on from frame `stop`."""
    readouts, joined = [Readout("left", Region("left", *LEFT), predictor, ("none",) * 2)], list[Joined]()
    reader, rows = FootageReader(readouts, joined, changes=changes, live=True, clock=Clock()), []
    for number, picture in enumerate(pictures):
        if number == stop:
            saved = reader.save()
            reader = FootageReader(readouts, joined, changes=changes, live=True, clock=Clock())
            reader.restore(saved)
        rows += reader.add(Frame(number, number / 30, RgbPixels(picture)))
    return rows + reader.finish()


def test_changes_go_on_where_they_were(run: Path) -> None:
    predictor, pictures = Predictor.load(run, threshold=0), [frame(v) for v in values_of(8 * LIVE_GROUP)]
    whole = read_frames(predictor, pictures, changes=True)
    assert read_frames(predictor, pictures, changes=True, stop=4 * LIVE_GROUP) == whole
    assert len(whole) < len(pictures)


GREY = np.full((*SIZE, 3), 191, np.uint8)  # half of white: every answer is about as likely
GREY[:, :8] += 3


def read_grey(run: Path, threshold: float, join: dict[str, str]) -> dict[str, Row]:
    """The rows of one frame that shows `GREY`."""
    predictor = Predictor.load(run, threshold=threshold)
    readouts = [Readout(name, Region(name, *LEFT), predictor, ()) for name in ("a", "b")]
    reader = FootageReader(readouts, parse_join(join, readouts), changes=False, live=True, clock=Clock())
    picture = frame(0)
    x, y, width, height = LEFT
    picture[y : y + height, x : x + width] = np.repeat(np.repeat(GREY, 2, 0), 2, 1)
    reader.add(Frame(0, 0.0, RgbPixels(picture)))
    return {row.region: row for row in reader.finish()}


def test_a_joined_text_has_the_probability_of_its_fields_together(tmp_path: Path) -> None:
    run = save_run_of_fields(tmp_path / "run")
    scores = np.exp(Predictor.load(run).log_probabilities(GREY[None])[0].astype(np.float64))
    chances = {(m, s): scores[m] * scores[4 + s] for m in range(4) for s in range(4) if (m == 3) == (s == 3)}
    total, best = sum(chances.values()), max(chances, key=lambda pair: chances[pair])
    whole = chances[best] / total
    m, s = (sum(of for pair, of in chances.items() if pair[at] == best[at]) / total for at in (0, 1))
    join = {"both": "{a.M}{a.S}", "one": "{a.M}", "two": "{a}{b}", "fields": "{a.M}{b.S}"}
    rows = read_grey(run, 0, join)
    assert rows["both"].value == f"{best[0]}{best[1]}"
    expected = {"a": whole, "both": whole, "a.M": m, "a.S": s, "one": m, "two": whole**2, "fields": m * s}
    assert {name: rows[name].probability for name in expected} == pytest.approx(expected, rel=1e-3)
    rows = read_grey(run, (whole + min(m, s)) / 2, join)  # the text is unsure, and what has it
    assert [rows[name].value for name in ("a", "two", "a.M", "both")] == [
        "unsure",
        "unsure",
        str(best[0]),
        "".join(map(str, best)),
    ]


def test_an_absent_field_is_joined_as_nothing() -> None:
    joined = Joined("ammo", "{gun.N}/{gun.M}", ((0, 1), (0, 2)), ("gun.N", "gun.M"))
    assert joined.join(["5", "absent"]) == "5/"
    assert joined.join(["5", "other"]) == "other"
