"""A simulated stream: its file, its true values, and bad settings."""

import csv
import itertools
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from conftest import load
from pydantic import TypeAdapter

from textgen.common.errors import UserError
from textgen.render.video_writer import open_video_writer
from textgen.schema.game import Game
from textgen.spec.items import text_of
from textgen.spec.parser import Spec
from textgen.stream.counter import count_frames, guess_kind
from textgen.stream.stream import Settings, write_stream

SETTINGS = {
    **{"out": None, "labels": None, "seconds": 3, "size": (320, 180), "rate": 30, "place": (200, 20), "zoom": 2},
    **{"kind": "auto", "speed": 4, "hidden": 0, "crf": 23, "seed": 0},
}


def stream(folder: Path, game: str = "lol_time", **changes: Any) -> tuple[list[dict[str, str]], list[np.ndarray]]:
    """The rows of the labels file, and the frames."""
    out = folder / "stream.mp4"
    settings = TypeAdapter(Settings).validate_python({**SETTINGS, "out": out, **changes})
    write_stream(Game.from_config(load("game", game)), settings)
    with av.open(str(out)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return list(csv.DictReader(out.with_suffix(".csv").read_text().splitlines())), frames


def test_frames_and_values(tmp_path: Path) -> None:
    rows, frames = stream(tmp_path)
    assert len(rows) == len(frames) == 90
    assert {frame.shape for frame in frames} == {(180, 320, 3)}
    assert [float(row["time"]) for row in rows] == pytest.approx([n / 30 for n in range(90)], abs=1e-6)
    spec = Game.from_config(load("game", "lol_time")).parse_spec()
    assert all(spec.label_of(row["text"]) == row["label"] for row in rows)
    # Within the region, frames of one text are alike, and those of different texts are not.
    region = [frame[20:50, 200:270].astype(int) for frame in frames]
    pairs = [(n, rows[n]["text"] == rows[n + 1]["text"], abs(region[n + 1] - region[n]).mean()) for n in range(89)]
    same = [difference for _, equal, difference in pairs if equal]
    changed = [difference for _, equal, difference in pairs if not equal]
    assert len(changed) >= 9
    assert np.median(changed) > 2 * np.median(same)


def test_moving_background(tmp_path: Path) -> None:
    _, frames = stream(tmp_path, seconds=1)
    assert abs(frames[0][100:].astype(int) - frames[-1][100:]).mean() > 2


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    written = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / name).mkdir()
        stream(tmp_path / name, seed=seed, seconds=0.5)
        written.append((tmp_path / name / "stream.mp4").read_bytes())
    assert written[0] == written[1] != written[2]


def texts(spec: Spec, kind: Any, frames: int, **options: float) -> list[str]:
    return [text_of(items) for items in count_frames(spec, kind, frames, 10, np.random.default_rng(0), **options)]


def test_clock_and_countdown() -> None:
    spec = Spec.parse("M:SS", label="M", fields={"M": "0..9", "S": "00..59"})
    assert guess_kind(spec) == "clock"
    for kind, step in (("clock", 1), ("countdown", -1)):
        shown = texts(spec, kind, 10_000, speed=1)
        seconds = [60 * int(text[0]) + int(text[2:]) for text in dict.fromkeys(shown)]
        assert len(seconds) == 600
        assert all((later - earlier) % 600 == step % 600 for earlier, later in itertools.pairwise(seconds))
        assert {len(list(frames)) for _, frames in itertools.islice(itertools.groupby(shown), 1, 900)} == {10}


def test_counter_and_dependent_fields() -> None:
    spec = Spec.parse("N/M[ hp]", label="N", fields={"N": "0..30", "M": "N..30"}, other="--")
    assert guess_kind(spec) == "counter"
    shown = texts(spec, "counter", 5000, speed=2, hidden=0.2)
    assert shown.count("--") == 1000
    values = [text for text in shown if text != "--"]
    assert all(spec.label_of(text) != "other" for text in values)
    changes = sum(one != two for one, two in itertools.pairwise(values))
    assert 700 < changes < 1200  # 500 seconds, twice a second, some of them to the same value


def test_bad_settings(tmp_path: Path) -> None:
    for changes, message in (
        ({"place": (280, 20)}, "do not fit into a frame of 320×180"),
        ({"out": tmp_path / "stream.avi"}, "ends in .mp4"),
        ({"size": (321, 180)}, "even width and height"),
        ({"out": tmp_path / "no" / "stream.mp4"}, "No such file"),
        ({"out": tmp_path / "s.mp4", "labels": tmp_path / "s.mp4"}, "is the video itself"),
    ):
        with pytest.raises(UserError, match=message):
            stream(tmp_path, **changes)
    assert not list(tmp_path.iterdir())


def test_times_of_frames(tmp_path: Path) -> None:
    times = [0.0, 0.1, 0.15, 0.5]
    with open_video_writer(tmp_path / "x.mp4", (64, 64), Fraction(30), steps=8) as video:
        for time in times:
            video.write(np.zeros((64, 64, 3), np.uint8), time)
    with av.open(str(tmp_path / "x.mp4")) as container:
        assert [frame.time for frame in container.decode(video=0)] == pytest.approx(times, abs=1 / 240)


def test_command(tmp_path: Path) -> None:
    def run(*settings: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "textgen.stream", "game=sot_time", *settings]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    ended = run("out=a.mp4", "seconds=1", "size=[320,180]", "place=[0,0]")
    assert ended.returncode == 0, ended.stderr
    assert "30 frames of 320×180, a counter at [0,0,30,22]" in ended.stdout
    assert (tmp_path / "a.csv").read_text().startswith("frame,time,text,label\n0,0.000000,")
    assert run("seconds=0").returncode == 2
