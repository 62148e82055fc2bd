"""From videos to tables of values."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow.parquet
import pytest
from bits import CLASSES, LEFT, RIGHT, frame, save_run, settings, write_video
from PIL import Image

from textgen.common.errors import UserError
from train.inference.network import Network
from train.models.notation import build, parse
from train.predict import run as predict_run
from train.predict.readouts import check_repeated_names
from train.predict.run import predict

REGIONS = {"left": LEFT, "right": RIGHT}


def values_of(count: int) -> list[tuple[int, int]]:
    return [(n // 10 % 15, (n // 7 + 3) % 15) for n in range(count)]


def read(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_run(tmp_path_factory.mktemp("run") / "bits", 3)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "clip.mp4", values_of(500))


@pytest.fixture(scope="module")
def long_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "long.mp4", values_of(1600), gop=100)


def test_rows_of_two_regions(run: Path, video: Path, tmp_path: Path) -> None:
    summary = predict(settings(run, video, REGIONS, tmp_path / "values.csv"))
    assert summary.frames == 500
    assert "500 frames in" in summary.text
    rows = read(tmp_path / "values.csv")
    assert list(rows[0]) == ["frame", "time", "region", "value", "probability"]
    shown = [(int(row["frame"]), row["region"], row["value"]) for row in rows]
    pairs = enumerate(values_of(500))
    assert shown == [(n, name, CLASSES[value]) for n, pair in pairs for name, value in zip(REGIONS, pair, strict=True)]
    assert [float(row["time"]) for row in rows[::2]] == pytest.approx([n / 30 for n in range(500)], abs=1e-6)
    assert all(0.9 < float(row["probability"]) <= 1 for row in rows)
    predict(settings({"left": run, "right": run}, video, REGIONS, tmp_path / "again.csv"))
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "values.csv").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.csv", "values.csv"]


def test_a_part_of_the_frames(run: Path, video: Path, tmp_path: Path) -> None:
    predict(settings(run, video, {"left": LEFT}, tmp_path / "v.csv", start=5, end=9, every=7))
    rows = read(tmp_path / "v.csv")
    wanted = [n for n in range(0, 500, 7) if 150 <= n < 270]
    assert [(int(row["frame"]), row["value"]) for row in rows] == [(n, str(n // 10 % 15)) for n in wanted]


def test_several_networks_on_one_region_and_joined_texts(run: Path, video: Path, tmp_path: Path) -> None:
    other = save_run(tmp_path / "other", 1)
    runs = {"left": {"minutes": str(run), "again": str(other)}, "right": str(other)}
    changes = {"join": {"time": "{minutes}:{right}"}, "smoothing": {"minutes": "counter", "right": "counter"}}
    predict(settings(runs, video, REGIONS, tmp_path / "v.csv", **changes))
    rows = read(tmp_path / "v.csv")
    assert [row["region"] for row in rows[:4]] == ["minutes", "again", "right", "time"]
    for first, second, third, joined in zip(*[iter(rows)] * 4, strict=True):
        assert first["value"] == second["value"]
        for column in ("value", "smoothed"):
            assert joined[column] == f"{first[column]}:{third[column]}"
        product = float(first["probability"]) * float(third["probability"])
        assert float(joined["probability"]) == pytest.approx(product, abs=2e-4)


def test_smoothing_mends_single_frames_and_keeps_what_was_read(run: Path, tmp_path: Path) -> None:
    shown = [n // 30 % 15 for n in range(300)]
    wrong = dict.fromkeys((45, 100, 101, 200), 13)
    write_video(tmp_path / "clip.mkv", [(wrong.get(n, value), 0) for n, value in enumerate(shown)])
    predict(settings(run, tmp_path / "clip.mkv", {"left": LEFT}, tmp_path / "v.csv", smoothing="auto"))
    rows = read(tmp_path / "v.csv")
    assert [int(row["value"]) for row in rows] == [wrong.get(n, value) for n, value in enumerate(shown)]
    assert [int(row["smoothed"]) for row in rows] == shown
    changed = tmp_path / "changes.csv"
    predict(settings(run, tmp_path / "clip.mkv", {"left": LEFT}, changed, smoothing="auto", changes=True))
    assert [(int(row["frame"]), int(row["smoothed"])) for row in read(changed)] == [
        (n, n // 30) for n in range(0, 300, 30)
    ]


def test_unsure_and_other(run: Path, tmp_path: Path) -> None:
    pictures = [frame(4), frame(15), frame(4)]
    pictures[2][LEFT[1] : LEFT[1] + 16, LEFT[0] + 48 : LEFT[0] + 64] = 190  # neither black nor white
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / f"shot_{number:03}.png")
    given: Any = {"source": tmp_path / "shot_%03d.png", "regions": REGIONS, "join": "{left}-{right}"}
    predict(settings(run, out=tmp_path / "v.jsonl", threshold=0.99, **given))
    rows = [json.loads(line) for line in (tmp_path / "v.jsonl").read_text().splitlines()]
    values = [row["value"] for row in rows]
    assert values == ["4", "0", "4-0", "other", "0", "other", "unsure", "0", "unsure"]
    predict(settings(run, out=tmp_path / "changes.jsonl", threshold=0.99, changes=True, **given))
    rows = [json.loads(line) for line in (tmp_path / "changes.jsonl").read_text().splitlines()]
    assert [(row["frame"], row["value"]) for row in rows] == [
        (0, "4"),
        (0, "0"),
        (0, "4-0"),
        (1, "other"),
        (1, "other"),
    ]


def test_formats_hold_the_same_rows(run: Path, video: Path, tmp_path: Path) -> None:
    for suffix in ("csv", "jsonl", "parquet"):
        predict(settings(run, video, REGIONS, tmp_path / f"v.{suffix}", smoothing="auto", end=2))
    rows = read(tmp_path / "v.csv")
    lines = [json.loads(line) for line in (tmp_path / "v.jsonl").read_text().splitlines()]
    table = pyarrow.parquet.read_table(tmp_path / "v.parquet").to_pylist()
    assert len(rows) == len(lines) == len(table) == 120
    for row, line, entry in zip(rows, lines, table, strict=True):
        assert list(row) == list(line) == list(entry)
        assert line == {**row, **{key: type(line[key])(row[key]) for key in ("frame", "time", "probability")}}
        assert {**entry, "probability": round(entry["probability"], 4)} == line
    assert {path.name for path in tmp_path.iterdir()} == {"v.csv", "v.jsonl", "v.parquet"}


SCRIPT = """
import json, sys
from pathlib import Path
from bits import settings
from train.predict import run
run.SAVE_EVERY = 0
run.predict(settings(sys.argv[1], sys.argv[2], out=Path(sys.argv[3]), **json.loads(sys.argv[4])))
"""
KILLED: dict[str, Any] = {"regions": REGIONS, "smoothing": "auto", "join": "{left}:{right}", "start": 1}


@pytest.mark.parametrize(("suffix", "kills"), [("csv", 2), ("parquet", 1)])
def test_killed_and_started_again(
    run: Path, long_video: Path, tmp_path: Path, suffix: str, kills: int, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, out, state = (tmp_path / name for name in (f"a.{suffix}", f"b.{suffix}", f".b.{suffix}.state.npz"))
    predict(settings(run, long_video, out=whole, **KILLED))
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    for _ in range(kills):
        seen = state.stat().st_mtime_ns if state.exists() else 0
        command = [sys.executable, "-c", SCRIPT, str(run), str(long_video), str(out), json.dumps(KILLED)]
        process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path})
        while process.poll() is None and not (state.exists() and state.stat().st_mtime_ns > seen):
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    capsys.readouterr()
    predict(settings(run, long_video, out=out, **KILLED))
    assert f"{out} goes on at " in capsys.readouterr().err
    assert out.read_bytes() == whole.read_bytes()
    assert len(whole.read_bytes()) > 10_000
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [whole.name, out.name]


def test_a_stopped_command_goes_on_with_its_own_settings_only(
    run: Path, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, begun = tmp_path / "v.csv", settings(run, video, {"left": LEFT}, tmp_path / "v.csv")
    rows = tmp_path / ".v.csv.rows.csv"

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(predict_run, "SAVE_EVERY", 0)
    with monkeypatch.context() as patch:
        original = predict_run.save_state
        patch.setattr(predict_run, "save_state", lambda *given: [original(*given), stop()])
        with pytest.raises(KeyboardInterrupt, match="stopped; the same command goes on"):
            predict(begun)
    assert len(read(rows)) == 240
    assert not out.exists()
    with pytest.raises(UserError, match="half-done with another threshold"):
        predict(settings(run, video, {"left": LEFT}, out, threshold=0.3))
    with pytest.raises(UserError, match="half-done with another regions"):
        predict(settings(run, video, {"left": RIGHT}, out))
    written = rows.read_bytes()
    rows.write_bytes(written.replace(b"left", b"LEFT"))
    with pytest.raises(UserError, match="has lost rows, or others"):
        predict(begun)
    rows.write_text("frame,time\n")
    with pytest.raises(UserError, match="has lost rows"):
        predict(begun)
    predict(settings(run, video, {"left": LEFT}, out, overwrite=True))
    assert len(read(out)) == 500
    with pytest.raises(UserError, match="exists: choose another place"):
        predict(begun)


def test_annotated_video(run: Path, video: Path, tmp_path: Path) -> None:
    predict(
        settings(run, video, REGIONS, tmp_path / "v.csv", annotate=tmp_path / "a.mp4", end=1, join="{left}.{right}")
    )
    with av.open(str(tmp_path / "a.mp4")) as container:
        frames = [picture.to_ndarray(format="rgb24").astype(int) for picture in container.decode(video=0)]
    assert len(frames) == 30
    plain = frame(0, 3).astype(int)
    x, y, width, height = LEFT
    edge = frames[0][y - 1, x : x + width]
    assert abs(edge - plain[y - 1, x : x + width]).mean() > 20
    assert (
        abs(frames[0][y : y + height, x + 2 : x + width - 2] - plain[y : y + height, x + 2 : x + width - 2]).mean() < 20
    )


def test_truncated_video(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = write_video(tmp_path / "whole.mkv", values_of(600))
    data = whole.read_bytes()
    (tmp_path / "cut.mkv").write_bytes(data[: len(data) * 2 // 3])
    predict(settings(run, tmp_path / "cut.mkv", {"left": LEFT}, tmp_path / "v.csv"))
    rows = read(tmp_path / "v.csv")
    assert 300 < len(rows) < 500
    assert [row["value"] for row in rows] == [str(n // 10 % 15) for n in range(len(rows))]
    assert "note: " in (told := capsys.readouterr().err)
    assert "the rows up to there are in" in told


def test_frames_of_another_size(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "shots"
    folder.mkdir()
    for number in range(4):
        picture = frame(number) if number < 3 else np.zeros((50, 50, 3), np.uint8)
        Image.fromarray(picture).save(folder / f"{number}.png")
    with pytest.raises(UserError, match=r"frame 3 .* 50×50 pixels.*the rows of 3 frames before are in"):
        predict(settings(run, folder, {"left": LEFT}, tmp_path / "v.csv"))
    assert [row["value"] for row in read(tmp_path / "v.csv")] == ["0", "1", "2"]


def test_bad_settings(run: Path, video: Path, tmp_path: Path) -> None:
    two = {"a": str(run), "b": str(run)}
    for given, message in (
        ({"regions": {"left": [120, 0, 64, 16]}}, "left: .*not within the frame"),
        ({"regions": {"left": LEFT}, "run": {"right": run}}, "run has right, but regions has left"),
        ({"run": {"left": run}}, "regions right have no run"),
        ({"run": {"left": two, "right": {"b": str(run)}}}, "two runs for 'b', in regions left and right"),
        ({"run": {"left": {}, "right": run}}, "run.left is empty"),
        ({"run": tmp_path}, "cannot be read"),
        ({"source": tmp_path / "none.mp4"}, "there is no"),
        ({"out": tmp_path / "v.txt"}, "end it in .csv, .jsonl, .parquet"),
        ({"out": tmp_path / "no" / "v.csv"}, "No such file"),
        ({"join": "{minutes}"}, r"there is no \{minutes\}, there are \{left\}, \{right\}"),
        ({"join": "{left"}, "expected '}'"),
        ({"join": "left"}, "no name in braces"),
        ({"join": {"left": "{right}"}}, "'left' is the name of a region"),
        ({"smoothing": {"middle": "clock"}}, "smoothing has middle, which is read nowhere"),
        ({"annotate": tmp_path / "a.gif"}, "a video ends in .mp4"),
        ({"source": "rtmp://localhost/x", "annotate": tmp_path / "a.mp4"}, "reads the source again, which is live"),
    ):
        with pytest.raises(UserError, match=message):
            predict(settings(**{"run": run, "source": video, "regions": REGIONS, "out": tmp_path / "v.csv", **given}))
    assert not [path for path in tmp_path.iterdir() if path.suffix]


def test_repeated_names() -> None:
    for given, message in (
        ("run={timer: runs/a, timer: runs/b}", "run: two runs for timer"),
        ("run={timer:{s:a,s:b}}", "run: two runs for s"),
        ("regions={timer:[1,2,3,4],timer:[5,6,7,8]}", "regions: two places for timer"),
    ):
        with pytest.raises(UserError, match=message):
            check_repeated_names(["out=x.csv", given])
    check_repeated_names(["run={a: x, b: x}", "run=runs/{x", "regions={a:[0.1,2,3,4]}"])


def test_wrong_shapes_and_wrong_games_are_told(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_video(tmp_path / "clip.mp4", [(15, 0)] * 20)
    predict(settings(run, tmp_path / "clip.mp4", {"left": LEFT, "tall": [8, 16, 16, 40]}, tmp_path / "v.csv"))
    told = capsys.readouterr().err
    assert "region tall is 16×40, and" in told
    assert "region left is" not in told
    assert "warning: left shows no counter in 100% of the frames" in told


def test_a_task_on_video_that_is_mostly_unsure_is_sent_to_the_cascade(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    layers, pool = parse("C2 F", "2x2 stride 2"), "2x2 stride 2"
    network = Network(build(layers, size=(16, 64), classes=2), "C2 F", pool, (16, 64), ("absent", "present"), 1)
    (tmp_path / "run" / "model.safetensors").write_bytes(network.to_bytes())
    write_video(tmp_path / "clip.mp4", [(15, 0)] * 20)
    predict(settings(tmp_path / "run", tmp_path / "clip.mp4", {"left": LEFT}, tmp_path / "v.csv", threshold=1))
    told = capsys.readouterr().err
    assert "note: left is unsure in 100% of the frames: foldtext cascade asks a slower network" in told
    assert "warning" not in told


def test_command(run: Path, video: Path, tmp_path: Path) -> None:
    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "train.predict", f"run={run}", f"source={video}", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    ended = call("regions={left: [8,16,64,16]}", "end=1", "join={t: '{left}.'}")
    assert ended.returncode == 0, ended.stderr
    assert "values.csv: 30 frames" in ended.stdout
    assert len(read(tmp_path / "values.csv")) == 60
    ended = call("regions={left: [8,16,64,16], left: [0,0,9,9]}")
    assert (ended.returncode, ended.stderr) == (2, "error: regions: two places for left: give each its own name\n")
