"""`python -m textgen.cut`: which crops are written, the index, and that a folder is whole or not there."""

import csv
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from textgen.common.array_types import U8
from textgen.common.errors import UserError
from textgen.common.pictures import read_picture
from textgen.cut.crops import ChangeDetector, Choice, cut_crops
from textgen.footage.index import read_index

SIZE = (96, 160)


def clock(index: int) -> U8:
    """A frame with a counter of 5 changes a second, and a line that moves below it."""
    frame = np.full((*SIZE, 3), 60, np.uint8)
    cv2.putText(frame, f"{index // 5:02d}", (20, 50), cv2.FONT_HERSHEY_SIMPLEX, 1, (255, 240, 200), 2)
    frame[80:90, index % 160] = 255
    return frame


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cut") / "clip.mp4"
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "10", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = SIZE[1], SIZE[0], "yuv420p"
        for index in range(100):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(clock(index), "rgb24")))
        container.mux(stream.encode(None))
    return path


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "textgen.cut", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_the_command(video: Path, tmp_path: Path) -> None:
    regions = "regions={timer: [19,25,45,31], half: [0.0,0.5,1.0,0.5]}"
    ended = run(f"source={video}", regions, "start=1", "end=2", "every=2", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("crops: 24 crops from 12 frames, 1.04 to 1.92 s;")
    rows = read_index(tmp_path / "crops")
    assert [(row.frame, row.region) for row in rows] == [(k, n) for k in range(26, 50, 2) for n in ("timer", "half")]
    assert rows[2] == ("timer/0000028.png", "timer", 28, 1.12)
    files = {path.relative_to(tmp_path / "crops").as_posix() for path in (tmp_path / "crops").rglob("*.*")}
    assert files == {"index.csv", *(row.file for row in rows)}
    for row in rows:
        crop = read_picture(tmp_path / "crops" / row.file)
        whole = clock(row.frame).astype(int)
        expected = whole[25:56, 19:64] if row.region == "timer" else whole[48:]
        assert crop.shape == expected.shape
        assert np.abs(crop - expected).mean() < 7

    places = {"timer": [19, 25, 45, 31], "half": [0.0, 0.5, 1.0, 0.5]}
    with pytest.raises(UserError, match=r"out=.*crops exists"):
        cut_crops(video, places, tmp_path / "crops", Choice(start=1, end=2, every=2))
    before = {path: path.read_bytes() for path in (tmp_path / "crops").rglob("*.*")}
    cut_crops(video, places, tmp_path / "crops", Choice(start=1, end=2, every=2), overwrite=True)
    assert {path: path.read_bytes() for path in (tmp_path / "crops").rglob("*.*")} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["crops"]


def test_changes_are_where_the_counter_changes(video: Path, tmp_path: Path) -> None:
    places = {"timer": [19, 25, 45, 31], "line": [0, 76, 160, 20]}
    cut = cut_crops(video, places, tmp_path / "crops", Choice(changes=True))
    with (tmp_path / "crops" / "index.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["frame"]) for row in rows if row["region"] == "timer"] == list(range(0, 100, 5))
    assert len([row for row in rows if row["region"] == "line"]) > 50
    assert (cut.crops, cut.frames, cut.problem) == (len(rows), 100, None)


def test_a_change_is_measured_on_squares_of_8_pixels() -> None:
    detector = ChangeDetector(20)
    crop = np.full((20, 40, 3), 100, np.uint8)
    assert detector(crop)
    assert not detector(crop + np.uint8(19))
    crop[6:14, 10:18] += 21
    assert detector(crop)
    assert not detector(crop)  # compared with the last one
    small = ChangeDetector(20)
    assert small(crop[:3, :5])
    assert small(crop[:3, :5] + np.uint8(21))


def test_regions_from_a_file(video: Path, tmp_path: Path) -> None:
    (tmp_path / "my=regions.yaml").write_text("timer: [19, 25, 45, 31]\n")
    ended = run(f"source={video}", "regions=my=regions.yaml", "end=0.2", "out=a/b", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert len(read_index(tmp_path / "a" / "b")) == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["regions={timer: [119,25,45,31]}"], "is not within the frame, which has 160×96 pixels"),
        (["regions={timer: [19,25,45,31]"], "cannot be read: write regions={name: [left, top, width, height]}"),
    ],
)
def test_wrong_settings_are_told_in_one_line_and_nothing_is_left(
    arguments: list[str], message: str, video: Path, tmp_path: Path
) -> None:
    ended = run(f"source={video}", *arguments, cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert message in ended.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_more_crops_or_bytes_than_the_limits_are_an_error(video: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="would give about 100 crops"):
        cut_crops(video, {"t": [0, 0, 9, 9]}, tmp_path / "crops", Choice(max_crops=50))
    with pytest.raises(UserError, match="bytes of crops up to"):
        cut_crops(video, {"t": [0, 0, 9, 9]}, tmp_path / "crops", Choice(max_bytes=5000))
    assert list(tmp_path.iterdir()) == []
    cut_crops(video, {"t": [0, 0, 9, 9]}, tmp_path / "crops", Choice(max_crops=50, every=2))
    assert len(read_index(tmp_path / "crops")) == 50


def test_what_is_not_replaced(video: Path, tmp_path: Path) -> None:
    places = {"timer": [19, 25, 45, 31]}
    own = tmp_path / "own"
    own.mkdir()
    (own / "photo.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"own has no index\.csv"):
        cut_crops(video, places, own, Choice(end=0.2), overwrite=True)
    cut_crops(video, places, tmp_path / "crops", Choice(end=0.2))
    (tmp_path / "crops" / "labels.csv").write_text("file,text\n")
    with pytest.raises(UserError, match=r"holds labels\.csv, which is not from this command"):
        cut_crops(video, places, tmp_path / "crops", Choice(end=0.2), overwrite=True)
    assert (own / "photo.png").exists()


def test_a_stopped_command_leaves_no_folder_and_can_be_started_again(video: Path, tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    data = cv2.imencode(".png", cv2.resize(clock(1), (1280, 720)))[1].tobytes()
    for k in range(3000):
        (folder / f"{k}.png").write_bytes(data)
    arguments = [sys.executable, "-m", "textgen.cut", "source=frames", "regions={t: [0,0,99,99]}"]
    for kind in (signal.SIGKILL, signal.SIGINT):
        child = subprocess.Popen(arguments, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        while not any(tmp_path.glob(".crops.*.tmp/t/0000003.png")):
            assert child.poll() is None
            time.sleep(0.02)
        child.send_signal(kind)
        child.communicate()
        assert child.returncode == (-kind)
        assert not (tmp_path / "crops").exists()
    cut_crops(folder, {"t": [0, 0, 99, 99]}, tmp_path / "crops", Choice(end=0.2))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["crops", "frames"]
    assert len(read_index(tmp_path / "crops")) == 6


def test_a_video_that_is_cut_off_is_cut_and_told(video: Path, tmp_path: Path) -> None:
    (tmp_path / "short.mkv").write_bytes(b"")
    with av.open(video) as given, av.open(tmp_path / "a.mkv", "w") as taken:
        stream = taken.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                taken.mux(packet)
    data = (tmp_path / "a.mkv").read_bytes()
    (tmp_path / "short.mkv").write_bytes(data[: len(data) // 2])
    ended = run("source=short.mkv", "regions={timer: [19,25,45,31]}", cwd=tmp_path)
    assert ended.returncode == 0
    assert "note: short.mkv is cut off: its last whole frame is at" in ended.stderr
    assert 10 < len(read_index(tmp_path / "crops")) < 90


OUTSIDE = [
    "C:0.png",
    "c:\\0.png",
    "a:/0.png",
    "//host/share/0.png",
    "/0.png",
    "../0.png",
    "t/../../0.png",
    "t\\..\\0.png",
]


@pytest.mark.parametrize(
    ("file", "inside"), [*((file, False) for file in OUTSIDE), ("timer/0.png", True), ("t/a..b.png", True)]
)
def test_an_index_names_files_within_its_folder_on_every_system(tmp_path: Path, file: str, inside: bool) -> None:
    (tmp_path / "index.csv").write_text(f"file,region,frame,time\n{file},timer,0,0\n")
    with pytest.raises(UserError, match="there is no" if inside else "is not inside the folder"):
        read_index(tmp_path)
