"""Frames of videos, pictures and streams: which are given, at what times, and what is said of bad footage."""

import functools
import http.server
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from videos import SIZE, numbered, read_number, write_video

from textgen.common.errors import UserError
from textgen.footage.camera import CameraFootage
from textgen.footage.frames import Frame, FrameReader, open_frames
from textgen.footage.video import VideoFootage

COUNT, RATE = 100, 25
GOP = {"g": "12", "keyint_min": "12", "sc_threshold": "0"}
OPEN_GOP = {"x264-params": "keyint=12:min-keyint=12:scenecut=0:open-gop=1:bframes=3:b-adapt=0", "crf": "20"}
UNEVEN = list(np.cumsum([0, *([20, 40, 110, 33] * COUNT)])[:COUNT].tolist())  # time stamps, 1/1000 s


def read(source: str | Path, **choice: float) -> list[tuple[int, float, int]]:
    """Index, time and shown number of the chosen frames."""
    with open_frames(source, **choice) as reader:  # type: ignore[arg-type]
        return [(frame.index, round(frame.time, 3), read_number(frame.rgb())) for frame in reader]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("videos")


@pytest.fixture(scope="module")
def video(folder: Path) -> Path:
    return write_video(folder / "even.mp4", [numbered(k) for k in range(COUNT)], options=GOP)


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.mp4", GOP), ("b.mkv", OPEN_GOP), ("c.ts", OPEN_GOP), ("d.mp4", OPEN_GOP), ("e.mp4", {**GOP, "bf": "0"})],
)
@pytest.mark.parametrize("even", [True, False])
def test_every_frame_has_its_index_and_time_also_after_a_seek(
    tmp_path: Path, name: str, options: dict[str, str], even: bool
) -> None:
    pts = [40 * k for k in range(COUNT)] if even else UNEVEN
    path = write_video(tmp_path / name, [numbered(k) for k in range(COUNT)], pts=pts, options=options)
    everything = read(path)
    assert [(index, shown) for index, _, shown in everything] == [(k, k) for k in range(COUNT)]
    assert np.allclose([time for _, time, _ in everything], np.array(pts) / 1000, atol=0.0011)
    for start, end in [(0.0, 1.0), (1.0, 2.3), (pts[36] / 1000 + 0.002, 100.0), (pts[50] / 1000 - 0.002, 3.0)]:
        expected = [row for row in everything if start <= row[1] < end]
        assert read(path, start=start, end=end) == expected, (start, end)
    assert [index for index, _, _ in read(path, start=1.0, every=7)] == [
        index for index, time, _ in everything if time >= 1 and index % 7 == 0
    ]


def test_what_a_reader_knows_of_a_video(video: Path) -> None:
    with open_frames(video) as reader:
        assert (reader.size, reader.frame_rate, reader.frames, reader.is_live) == (SIZE, RATE, COUNT, False)
        frames = list(reader)
        assert reader.problem is None
        assert list(reader) == []  # once
    assert frames[3].rgb().shape == (*SIZE, 3)  # also after the reader is closed


def test_a_late_start_does_not_decode_what_is_before(folder: Path) -> None:
    frames = [numbered(k) for k in range(250)] * 2
    path = write_video(folder / "long.mp4", frames, options={**GOP, "preset": "ultrafast"})
    footage = VideoFootage(str(path), is_url=False)
    assert next(footage.read(19.0)).index == 468  # the last multiple of 12 before 475
    footage.close()
    with open_frames(path, start=19.0) as reader:
        assert next(iter(reader)).index == 475


def test_two_recordings_in_one_file_have_times_that_go_on(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.ts", [numbered(k) for k in range(20)], options=GOP)
    (tmp_path / "b.ts").write_bytes(path.read_bytes() * 3)
    times = [time for _, time, _ in read(tmp_path / "b.ts")]
    assert len(times) > 50
    assert np.allclose(np.diff(times), 0.04, atol=0.0011)
    assert [time for _, time, _ in read(tmp_path / "b.ts", start=1.5)] == [time for time in times if time >= 1.5]


def test_avi_without_time_stamps_of_presentation(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", [numbered(k) for k in range(30)], codec="mpeg4", options={"qscale": "2"})
    assert read(path, start=0.5, every=2) == [(k, k / 25, k) for k in range(14, 30, 2)]


@pytest.mark.parametrize("kept", [0.5, 0.97])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_file_that_is_cut_off_gives_the_frames_before(tmp_path: Path, name: str, kept: float) -> None:
    frames = [numbered(k) for k in range(COUNT)]
    options = {"movflags": "faststart"} if name == "a.mp4" else {}
    write_video(tmp_path / name, frames, options={"bf": "0"}, container_options=options)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(len(data) * kept)])
    with open_frames(tmp_path / name) as reader:
        shown = [read_number(frame.rgb()) for frame in reader]
        assert 10 < len(shown) < COUNT
        assert shown == list(range(len(shown)))
        if kept == 0.5:
            assert reader.problem is not None
            assert "is cut off: its last whole frame is at" in reader.problem
            assert reader.problem.endswith("s are declared")
    with open_frames(tmp_path / name, end=0.2) as reader:
        assert len(list(reader)) == 5
        assert reader.problem is None  # nothing of it was asked for


def test_a_frame_of_another_size_ends_the_iteration(tmp_path: Path) -> None:
    for name, size in (("a.ts", SIZE), ("b.ts", (80, 160))):
        write_video(tmp_path / name, [numbered(k, size) for k in range(20)], options=GOP)
    both = tmp_path / "both.ts"
    both.write_bytes((tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes())
    with open_frames(both) as reader:
        frames: list[Frame] = []
        with pytest.raises(UserError, match=r"frame (19|20) .* has 160×80 pixels, those before 160×96"):
            frames.extend(reader)
    assert reader.size == SIZE


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.mp4", b"text\n" * 100, "cannot be read as a video"),
        ("b.mp4", b"\0\0\0\x18ftypisom" + bytes(100), "no table of frames"),
        ("a.mkv", b"text\n" * 100, "cannot be read as a video"),
        ("a.txt", b"text\n" * 100, "is no video"),
        ("empty.mp4", b"", "cannot be read as a video"),
    ],
)
def test_what_is_no_video(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as error, open_frames(tmp_path / name):
        pass
    assert "\n" not in str(error.value)


def test_an_audio_file_is_no_video(tmp_path: Path) -> None:
    with av.open(tmp_path / "a.wav", "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
    with pytest.raises(UserError, match="is no video: it holds audio"), open_frames(tmp_path / "a.wav"):
        pass


def test_a_codec_that_nobody_knows(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", [numbered(k) for k in range(5)], codec="mpeg4")
    path.write_bytes(path.read_bytes().replace(b"FMP4", b"ZQZQ").replace(b"fmp4", b"ZQZQ"))
    with pytest.raises(UserError, match="has no decoder for its video"), open_frames(path):
        pass


def test_choices_without_a_frame_are_errors(video: Path) -> None:
    for choice, message in [
        ({"start": 5.0}, r"start=5 is after the last frame of .*, at 3\.96 s"),
        ({"start": 1.0, "end": 1.0}, r"end=1 is not after start=1"),
        ({"every": 0}, "every=0: give 1"),
        ({"start": 1.01, "end": 1.02}, "no frame of .* is chosen"),
    ]:
        with pytest.raises(UserError, match=message), open_frames(video, **choice):  # type: ignore[arg-type]
            pass


def test_a_source_that_does_not_exist(tmp_path: Path) -> None:
    for source, message in [
        (tmp_path / "none.mp4", "there is no .*none.mp4"),
        (tmp_path / "f_%03d.png", "no file fits the pattern"),
        (tmp_path / "f_%s.png", "a pattern has one %d"),
        (tmp_path, "holds no picture"),
        ("http://127.0.0.1:9/a.mp4", r"127\.0\.0\.1:9/a\.mp4 cannot be opened: Connection refused"),
        ("999", "camera 999 cannot be opened"),
    ]:
        with pytest.raises(UserError, match=message) as error, open_frames(source):
            pass
        assert "\n" not in str(error.value)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for k in range(8, 12):  # as text, f_10 is before f_8
        cv2.imwrite(str(folder / f"f_{k}.png"), numbered(k)[:, :, ::-1])
    (folder / "notes.txt").write_text("")
    return folder


def test_folders_patterns_and_single_pictures(pictures: Path) -> None:
    expected = [(0, 0.0, 8), (1, 0.1, 9), (2, 0.2, 10), (3, 0.3, 11)]
    assert read(pictures, rate=10) == expected
    assert read(pictures / "f_%d.png", rate=10) == expected
    assert read(pictures / "f_%02d.png", rate=10) == [(0, 0.0, 10), (1, 0.1, 11)]
    assert read(pictures, rate=10, start=0.2) == expected[2:]
    assert read(pictures / "f_9.png") == [(0, 0.0, 9)]
    with open_frames(pictures) as reader:
        assert (reader.frame_rate, reader.frames) == (30, 4)


def test_pictures_of_different_sizes(pictures: Path) -> None:
    cv2.imwrite(str(pictures / "f_12.png"), numbered(1, (80, 160)))
    with open_frames(pictures) as reader, pytest.raises(UserError, match=r"frame 4 .* has 160×80 pixels"):
        list(reader)


@pytest.fixture
def address(video: Path) -> Iterator[str]:
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(video.parent))
    handler.func.log_message = lambda *_: None  # type: ignore[attr-defined]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_url(address: str, video: Path) -> None:
    assert read(f"{address}/{video.name}", start=2.0) == read(video, start=2.0)
    with pytest.raises(UserError, match=r"none\.mp4 cannot be opened: .*404"), open_frames(f"{address}/none.mp4"):
        pass


def test_a_camera_gives_frames_as_they_come(video: Path) -> None:
    camera = CameraFootage.__new__(CameraFootage)  # no camera is here: OpenCV opens the video in its place
    camera.name, camera._camera = "camera 0", cv2.VideoCapture(str(video))
    reader = FrameReader(camera, None, None, 10)
    frames = list(reader)
    assert [read_number(frame.rgb()) for frame in frames] == list(range(0, COUNT, 10))
    assert [frame.time for frame in frames] == sorted(frame.time for frame in frames)
    assert reader.is_live
    assert reader.problem == "camera 0 gives no more frames after 100"


def test_without_pyav_pictures_are_read_and_videos_are_an_error_in_one_line(video: Path, pictures: Path) -> None:
    code = (
        "import sys; sys.modules['av'] = None\n"
        "from textgen.footage.frames import open_frames\n"
        "with open_frames(sys.argv[1]) as reader: print(len(list(reader)))\n"
        "with open_frames(sys.argv[2]) as reader: pass\n"
    )
    command = [sys.executable, "-c", code, str(pictures), str(video)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.stdout == "4\n"
    assert "UserError: videos and streams need PyAV: pip install 'foldtext[video]'" in ended.stderr


def test_names_that_look_like_protocols_are_files(video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("concat:x.mp4", "a%d.mp4", "-.mp4", "ünï çode.mp4"):
        shutil.copy(video, name)
        assert len(read(name)) == COUNT


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="reads the memory from /proc")
def test_memory_does_not_grow_with_the_footage(folder: Path) -> None:
    frames = [numbered(k, (480, 640)) for k in range(10)]
    paths = []
    for count in (2, 20):
        options = {"preset": "ultrafast", "g": "10"}
        paths.append(write_video(folder / f"{count}.mp4", frames * count, options=options))
    code = (
        "import re, sys\nfrom textgen.footage.frames import open_frames\n"
        "with open_frames(sys.argv[1]) as reader:\n    for frame in reader: frame.rgb()\n"
        "print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])"
    )
    peaks = [
        int(subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True).stdout)
        for path in paths
    ]
    assert peaks[1] - peaks[0] < 20_000, peaks  # KiB; the frames that are added have 80 MiB
