"""Data sets of labelled frames: chunks and labels right to the frame, the same from CSV and Parquet, resumable."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from coded_clips import HEADER, SIZE, coded, decoded, rows_of, task, write_clip, write_table
from PIL import Image

from textgen.common.errors import UserError
from textgen.dataset.store import Dataset
from textgen.footage.frames import Frame
from textgen.footage.pixels import RgbPixels
from textgen.frames.build import ensure_frames, open_frames_dataset
from textgen.frames.preparation import MEAN, Preparation
from textgen.frames.settings import Split

FRAMES = 244  # no multiple of 8
PRESENT = [frame for frame in range(FRAMES) if frame % 10 < 4]
SPLITS = ("train", "val", "test")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", FRAMES)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_table(tmp_path / "labels.csv", rows_of(PRESENT))


def numbers_of(dataset: Dataset, split: str) -> list[int]:
    return [int(text) for text in dataset.splits[split].texts]


def test_chunks_and_labels_are_right_to_the_frame(clip: Path, table: Path, tmp_path: Path) -> None:
    dataset = ensure_frames(task(size=SIZE), clip, table, tmp_path)
    bounds = [FRAMES * k // 8 for k in range(9)]
    for number, split in zip((6, 7, 8), SPLITS, strict=True):
        expected = list(range(bounds[number - 1], bounds[number]))
        assert numbers_of(dataset, split) == expected
        assert [decoded(image) for image in dataset.splits[split].images] == expected
        assert dataset.splits[split].labels.tolist() == [int(frame in PRESENT) for frame in expected]
    video = dataset.manifest["video"]
    assert (video["declared"], video["decoded"], video["problem"]) == (FRAMES, FRAMES, None)
    assert [(c["number"], c["first"], c["last"]) for c in video["chunks"]] == [
        (n, bounds[n - 1], bounds[n]) for n in (6, 7, 8)
    ]
    assert [c["present"] for c in video["chunks"]] == [
        sum(bounds[n - 1] <= frame < bounds[n] for frame in PRESENT) for n in (6, 7, 8)
    ]


def test_colours_are_red_green_and_blue(clip: Path, table: Path, tmp_path: Path) -> None:
    images = ensure_frames(task(), clip, table, tmp_path).splits["train"].images
    assert images.shape[1:] == (50, 50, 3)
    left = images[:, 10:40, 2:10].reshape(-1, 3).mean(0)  # (200, 60, 20) in the clip
    assert np.abs(left - (200, 60, 20)).max() < 12


def test_pixels_are_those_of_an_independent_reader(clip: Path, table: Path, tmp_path: Path) -> None:
    dataset = ensure_frames(task(size=SIZE), clip, table, tmp_path)
    capture, others = cv2.VideoCapture(str(clip)), []
    while (read := capture.read())[0]:
        others.append(read[1][..., ::-1])
    assert len(others) == FRAMES
    for split in SPLITS:
        for number, image in zip(numbers_of(dataset, split), dataset.splits[split].images, strict=True):
            assert np.abs(image.astype(int) - others[number]).mean() < 3


def test_csv_and_parquet_give_the_same_data_set(clip: Path, tmp_path: Path) -> None:
    rows = rows_of(PRESENT) + rows_of(range(0, FRAMES, 7), "car") + rows_of(range(1, FRAMES, 5), confidence=0.2)
    write_table(tmp_path / "labels.csv", rows)
    columns = dict(zip(HEADER, map(list, zip(*rows, strict=True)), strict=True))
    pq.write_table(pa.table(columns), tmp_path / "labels.parquet")
    made = [
        ensure_frames(task(threshold=0.5), clip, tmp_path / f"labels.{kind}", tmp_path / kind)
        for kind in ("csv", "parquet")
    ]
    for split in SPLITS:
        for part in (0, 1):
            assert np.array_equal(made[0].splits[split][part], made[1].splits[split][part])
    assert made[0].manifest["video"]["labels"] == made[1].manifest["video"]["labels"]
    assert made[0].splits["train"].labels.tolist() == [int(f in PRESENT) for f in numbers_of(made[0], "train")]


def test_several_rows_a_frame_a_threshold_and_other_columns(clip: Path, tmp_path: Path) -> None:
    rows = [(f, "bus", "0.61") for f in PRESENT for _ in range(3)] + [(f, "bus", "0.59") for f in range(FRAMES)]
    write_table(tmp_path / "t.csv", rows, ("image", "class", "score"))
    columns = {"frame": "image", "object": "class", "confidence": "score"}
    dataset = ensure_frames(task(object="bus", threshold=0.6, columns=columns), clip, tmp_path / "t.csv", tmp_path)
    assert dataset.splits["test"].labels.tolist() == [int(f in PRESENT) for f in numbers_of(dataset, "test")]
    assert dataset.manifest["video"]["labels"]["below_threshold"] == FRAMES


def test_step_range_and_mean(clip: Path, table: Path, tmp_path: Path) -> None:
    given = {"step": 3, "range": (40, 200), "subtract_mean": True, "split": Split(4, (1, 3), (2,), (4,)), "size": SIZE}
    dataset = ensure_frames(task(**given), clip, table, tmp_path)
    plain = ensure_frames(task(**{**given, "subtract_mean": False}), clip, table, tmp_path)
    train = [f for f in [*range(40, 80), *range(120, 160)] if f % 3 == 0]
    assert numbers_of(dataset, "train") == numbers_of(plain, "train") == train
    assert numbers_of(dataset, "test") == [f for f in range(160, 200) if f % 3 == 0]
    mean = np.rint(plain.splits["train"].images.astype(float).mean(0))
    stored = np.asarray(Image.open(dataset.path / MEAN)).astype(float)
    assert np.array_equal(stored, mean)
    for split in SPLITS:
        expected = (plain.splits[split].images.astype(int) - mean + 128).clip(0, 255)
        assert np.array_equal(dataset.splits[split].images, expected)
    prepare = Preparation.of_run(dataset.path, SIZE)
    first = Frame(0, 0.0, RgbPixels(plain.splits["val"].images[0]))
    assert np.array_equal(prepare(first), dataset.splits["val"].images[0])
    assert not (plain.path / MEAN).exists()


def test_a_region_alone_is_seen(clip: Path, table: Path, tmp_path: Path) -> None:
    whole = ensure_frames(task(size=SIZE), clip, table, tmp_path)
    for region in ((40, 0, 80, 48), (0.25, 0.0, 0.5, 0.5)):
        dataset = ensure_frames(task(size=(48, 80), region=region), clip, table, tmp_path / str(region[2]))
        assert np.array_equal(dataset.splits["test"].images, whole.splits["test"].images[:, :48, 40:120])
    assert "is not within the frame, which has 160×96" in refused(
        clip, table, tmp_path / "out", region=(100, 0, 80, 48)
    )


def test_a_window_decides_by_its_majority(clip: Path, tmp_path: Path) -> None:
    clean = {*range(60, 128), *range(140, 200)}
    wrong = {100, 150, 231}  # frames that a detector has missed, or has seen something in
    table = write_table(tmp_path / "t.csv", rows_of(sorted(clean ^ wrong)))
    dataset = ensure_frames(task(window=9, split=Split(8, (1, 2, 3, 4, 5, 6), (7,), (8,))), clip, table, tmp_path)
    labels: dict[int, int] = {}
    for split in SPLITS:
        labels |= dict(zip(numbers_of(dataset, split), dataset.splits[split].labels.tolist(), strict=True))
    inner = {f for f in range(FRAMES) if len({g in clean for g in range(f - 5, f + 6)}) == 1}
    assert wrong <= inner
    assert {frame: labels[frame] for frame in inner} == {frame: int(frame in clean) for frame in inner}


def test_a_build_is_found_again_and_other_labels_need_another(
    clip: Path, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = ensure_frames(task(), clip, table, tmp_path)
    assert "train: chunk 6, frames 152 to 182: 31 taken" in capsys.readouterr().err
    again = ensure_frames(task(), clip, table, tmp_path)
    assert again.path == first.path
    assert capsys.readouterr().err == ""
    other = write_table(tmp_path / "other.csv", rows_of(PRESENT[::2]))
    assert ensure_frames(task(), clip, other, tmp_path).path != first.path
    assert open_frames_dataset(first.path, task()).hash == first.hash
    assert not [path for path in first.path.parent.iterdir() if path.suffix == ".partial"]


@pytest.mark.parametrize("declared", [60, 400])
def test_a_wrong_declared_length_is_told_and_does_not_move_chunks(
    declared: int, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = write_clip(tmp_path / "clip.avi", FRAMES, codec="mjpeg", pix_fmt="yuvj420p")
    header, rest = clip.read_bytes()[:400], clip.read_bytes()[400:]  # dwTotalFrames and dwLength lie in the header
    clip.write_bytes(header.replace(FRAMES.to_bytes(4, "little"), declared.to_bytes(4, "little")) + rest)
    with av.open(str(clip)) as container:
        assert container.streams.video[0].frames == declared
    dataset = ensure_frames(task(size=SIZE), clip, table, tmp_path)
    assert f"declares {declared} frames and has {FRAMES}" in capsys.readouterr().err
    assert dataset.manifest["video"]["declared"] == declared
    assert dataset.manifest["video"]["decoded"] == FRAMES
    assert numbers_of(dataset, "test") == list(range(FRAMES * 7 // 8, FRAMES))
    assert [decoded(image) for image in dataset.splits["test"].images] == numbers_of(dataset, "test")


def test_without_a_declared_length_frames_are_counted_first(table: Path, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mkv", FRAMES)
    dataset = ensure_frames(task(size=SIZE), clip, table, tmp_path)
    assert dataset.manifest["video"]["decoded"] == FRAMES
    assert numbers_of(dataset, "train") == list(range(FRAMES * 5 // 8, FRAMES * 6 // 8))


def test_a_truncated_video_and_rows_behind_its_end_are_told(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = write_clip(tmp_path / "whole.mkv", FRAMES)
    clip = tmp_path / "cut.mkv"
    clip.write_bytes(whole.read_bytes()[: whole.stat().st_size * 3 // 5])
    dataset = ensure_frames(task(size=SIZE), clip, table, tmp_path)
    video = dataset.manifest["video"]
    assert 50 < video["decoded"] < FRAMES
    assert "cut off" in video["problem"]
    err = capsys.readouterr().err
    beyond = sum(frame >= video["decoded"] for frame in PRESENT)
    assert "is cut off" in err
    assert f"{beyond} labelled frames lie behind the last frame" in err
    assert numbers_of(dataset, "test")[-1] == video["decoded"] - 1


def test_pictures_are_frames_too(table: Path, tmp_path: Path) -> None:
    (tmp_path / "shots").mkdir()
    for index in range(64):
        Image.fromarray(coded(index)).save(tmp_path / "shots" / f"{index}.png")
    dataset = ensure_frames(task(size=SIZE), tmp_path / "shots", table, tmp_path)
    assert [decoded(image) for image in dataset.splits["val"].images] == list(range(48, 56))


def test_pictures_of_a_pattern_are_frames_too(table: Path, tmp_path: Path) -> None:
    """As label_video takes them, whose last line names the command that trains on them."""
    for index in range(64):
        Image.fromarray(coded(index)).save(tmp_path / f"shot_{index:03}.png")
    (tmp_path / "other_001.png").write_bytes(b"no picture")
    pattern = tmp_path / "shot_%03d.png"
    dataset = ensure_frames(task(size=SIZE), pattern, table, tmp_path / "data")
    assert [decoded(image) for image in dataset.splits["val"].images] == list(range(48, 56))
    Image.fromarray(coded(0)).save(tmp_path / "shot_048.png")
    changed = ensure_frames(task(size=SIZE), pattern, table, tmp_path / "data")
    assert decoded(changed.splits["val"].images[0]) == 0
    with pytest.raises(UserError, match=r"no file fits the pattern .*none_%d\.png"):
        ensure_frames(task(size=SIZE), tmp_path / "none_%d.png", table, tmp_path / "data")


def test_a_killed_build_goes_on_and_gives_the_same_bytes(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "long.mp4", 1500)
    table = write_table(tmp_path / "labels.csv", rows_of(range(0, 1500, 2)))
    script = (
        "import textgen.frames.decode as decode; decode.SAVE_EVERY = 0.02;"
        "from pathlib import Path; from coded_clips import task; from textgen.frames.build import ensure_frames;"
        f"print(ensure_frames(task(size=(96, 160)), Path({str(clip)!r}), Path({str(table)!r}), Path('killed')).hash)"
    )
    environment = {**os.environ, "PYTHONPATH": f"{Path(__file__).parent}:{Path.cwd()}"}
    run: dict[str, Any] = {"cwd": tmp_path, "env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", script], **run)
    state = None
    while process.poll() is None and state is None:
        found = list((tmp_path / "killed" / "clip").glob(".*.partial/state.json"))
        state = json.loads(found[0].read_text()) if found else None
        state = state if state and state["stored"]["train"] > 0 else None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert state is not None
    assert state["next"] < 1500
    again = subprocess.run([sys.executable, "-c", script], **run, check=True, text=True)
    assert "decoding again" not in again.stderr
    whole = ensure_frames(task(size=SIZE), clip, table, tmp_path / "whole")
    assert again.stdout.strip() == whole.hash
    for name in ("train.images.npy", "val.images.npy", "test.images.npy", "test.labels.npy", "train.texts.txt"):
        killed = next((tmp_path / "killed" / "clip").glob("[0-9a-f]*")) / name
        assert killed.read_bytes() == (whole.path / name).read_bytes()


def refused(clip: Path, table: Path, out: Path, **changes: Any) -> str:
    with pytest.raises(UserError) as error:
        ensure_frames(task(**changes), clip, table, out)
    assert not [path for path in out.glob("clip/[0-9a-f]*") if not path.name.startswith(".")]
    return error.value.summary


def test_what_is_wrong_is_told_in_one_line(clip: Path, table: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"

    def of(rows: list[Any], header: Any = HEADER, **changes: Any) -> str:
        return refused(clip, write_table(tmp_path / "t.csv", rows, header), out, **changes)

    good = rows_of(PRESENT)
    assert "no column 'object_name'; it has frame, object" in of(good, ("frame", "object", *HEADER[2:]))
    assert "no row of 'persn'; it has person (100 rows)" in of(good, object="persn")
    assert "row 3: frame is '1.5'" in of([good[0], ("1.5", *good[1][1:]), *good[2:]])
    assert "row 2: frame is '-1'" in of([(-1, *good[0][1:])])
    assert "row 2: frame is 'nan'" in of([("nan", *good[0][1:])])
    assert "row 2: confidence is '1.2'" in of(rows_of([1], confidence=1.2))
    assert "has 2 of 7 columns" in of([(1, "person")])
    assert "no frame has 'person' in frames 152 to 182" in of(rows_of(range(100)))
    assert "every frame has 'person'" in of(rows_of(range(FRAMES)))
    assert "has no row of 'person'; it has no rows" in of([])
    assert "chunk 1 of 250 has no frames" in of(good, split=Split(250, (1,), (249,), (250,)))
    assert "task.range ends at frame 900" in of(good, range=(0, 900))
    (tmp_path / "binary.csv").write_bytes(b"frame,object_name,confidence\n\xff\xfe,1,1\n")
    assert "is no CSV in UTF-8" in refused(clip, tmp_path / "binary.csv", out)
    (tmp_path / "no.parquet").write_bytes(b"frame,object_name,confidence\n")
    assert "is no Parquet file" in refused(clip, tmp_path / "no.parquet", out)
    assert "is no file or folder" in refused(tmp_path / "none.mp4", table, out)
    assert "is no file" in refused(clip, tmp_path / "none.csv", out)
    assert "cannot be read as a video" in refused(table, table, out)


def test_a_table_of_every_fifth_frame_needs_the_step(clip: Path, tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.csv", rows_of(frame for frame in PRESENT if frame % 5 == 0))
    table.with_name("t.csv.json").write_text('{"every": 5}')
    assert "give task.step=5, or a multiple" in refused(clip, table, tmp_path / "data")
    dataset = ensure_frames(task(step=5), clip, table, tmp_path / "data")
    assert dataset.splits["train"].labels.tolist() == [int(f in PRESENT) for f in range(155, 183, 5)]
    table.with_name("t.csv.json").write_text('{"every": 5, "first": 100, "last": 180}')
    assert "about frames 100 to 180, and the task takes 0 to 180: give task.range=[100,181]" in refused(
        clip, table, tmp_path / "part", step=5
    )
    part = ensure_frames(task(step=5, range=(100, 181)), clip, table, tmp_path / "part")
    assert numbers_of(part, "test") == [170, 175, 180]
    table.with_name("t.csv.json").write_text('{"every": 0}')
    assert "does not say which frames were labelled" in refused(clip, table, tmp_path / "other", step=5)


def test_memory_does_not_grow_with_the_video(tmp_path: Path) -> None:
    """Of three times as many frames, whose pixels are 20 MB more in the data set."""
    peaks = []
    for frames in (900, 2700):
        clip = write_clip(tmp_path / f"{frames}.mp4", frames)
        table = write_table(tmp_path / f"{frames}.csv", rows_of(range(0, frames, 2)))
        script = (
            "import re, sys; from pathlib import Path; from coded_clips import task;"
            "from textgen.frames.build import ensure_frames; from textgen.frames.settings import Split;"
            f"ensure_frames(task(size=(96, 160), split=Split(3, (1,), (2,), (3,))), Path({str(clip)!r}),"
            f" Path({str(table)!r}), Path('out'));"
            "assert 'torch' not in sys.modules;"
            "print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])"
        )
        environment = {**os.environ, "PYTHONPATH": f"{Path(__file__).parent}:{Path.cwd()}"}
        ended = subprocess.run(
            [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        peaks.append(int(ended.stdout.split()[-1]) / 1024)
    assert max(peaks) < 300  # MB
    assert peaks[1] - peaks[0] < 40
