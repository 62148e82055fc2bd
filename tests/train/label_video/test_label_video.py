"""From a video to its label table."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from blobs import FRAME, boxes_of, settings, write_clip
from PIL import Image

from textgen.common.errors import UserError
from textgen.common.hydra_app import compose_config
from textgen.common.validation import validate
from textgen.frames.label_table import read_label_table
from textgen.frames.settings import FrameTask, Split
from train.label_video import run as label_run
from train.label_video.run import label_video
from train.label_video.settings import Settings

COUNT = 150


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", COUNT)


def read(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def about(path: Path) -> dict[str, Any]:
    found = json.loads(path.with_name(f"{path.name}.json").read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def names_in(path: Path) -> list[tuple[int, str]]:
    return [(int(row["frame"]), row["object_name"]) for row in read(path)]


def test_rows_are_right_to_the_frame(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "labels.csv"
    summary = label_video(settings(source=clip, out=out))
    rows = read(out)
    assert list(rows[0]) == ["frame", "object_name", "confidence", "xmin", "ymin", "xmax", "ymax"]
    wanted = [(index, name, box) for index in range(COUNT) for name, box in boxes_of(index)]
    assert [(int(row["frame"]), row["object_name"]) for row in rows] == [(index, name) for index, name, _ in wanted]
    for row, (_, name, box) in zip(rows, wanted, strict=True):
        assert [float(row[side]) for side in ("xmin", "ymin", "xmax", "ymax")] == pytest.approx(box, abs=3)
        assert float(row["confidence"]) == {"red": 0.9, "green": 0.6}[name]
    red = sum(name == "red" for _, name, _ in wanted)
    assert f"{COUNT} frames labelled" in summary
    assert f"red: {red} in {red} frames, {red / COUNT:.1%}" in summary
    assert f"next: python -m train task=video task.object=red source={clip} labels={out}" in summary
    told = about(out)
    assert (told["source"], told["every"], told["decoded"], told["labelled"]) == ("clip.mp4", 1, COUNT, COUNT)
    assert told["frames_with"] == {"red": red, "green": sum(name == "green" for _, name, _ in wanted)}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labels.csv", "labels.csv.json"]


def test_the_table_is_what_training_reads(clip: Path, tmp_path: Path) -> None:
    task = FrameTask("clip", "red", Split(3, (1,), (2,), (3,)))
    for name, every in (("all.csv", 1), ("some.parquet", 5)):
        label_video(settings(source=clip, out=tmp_path / name, every=every))
        table = read_label_table(tmp_path / name, task)
        assert table.every == every
        wanted = [n for n in range(0, COUNT, every) if n // 7 % 3 == 1]
        assert table.frames.tolist() == wanted


def test_csv_and_parquet_hold_the_same(clip: Path, tmp_path: Path) -> None:
    label_video(settings(source=clip, out=tmp_path / "a.csv"))
    label_video(settings(source=clip, out=tmp_path / "a.parquet"))
    table = pyarrow.parquet.read_table(tmp_path / "a.parquet").to_pylist()
    rows = read(tmp_path / "a.csv")
    assert [list(row) for row in table[:1]] == [list(rows[0])]
    for mine, other in zip(table, rows, strict=True):
        assert (mine["frame"], mine["object_name"]) == (int(other["frame"]), other["object_name"])
        assert [mine[key] for key in list(mine)[2:]] == pytest.approx([float(other[key]) for key in list(mine)[2:]])
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".csv", ".json", ".json", ".parquet"]


def test_a_table_without_objects(clip: Path, tmp_path: Path) -> None:
    summary = label_video(settings(source=clip, out=tmp_path / "a.csv", confidence=0.95))
    assert "no object was found" in summary
    assert read(tmp_path / "a.csv") == []
    assert about(tmp_path / "a.csv")["labelled"] == COUNT
    label_video(settings(source=clip, out=tmp_path / "a.parquet", confidence=0.95))
    assert pyarrow.parquet.read_table(tmp_path / "a.parquet").num_rows == 0


def test_a_part_of_the_frames_and_objects(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.csv"
    summary = label_video(settings(source=clip, out=out, every=4, start=1, end=5, objects=("green",), batch=3))
    chosen = [n for n in range(0, COUNT, 4) if 25 <= n < 125]
    assert names_in(out) == [(n, "green") for n in chosen if n // 11 % 4 == 2]
    told = about(out)
    assert (told["first"], told["last"], told["labelled"]) == (chosen[0], chosen[-1], len(chosen))
    assert told["decoded"] is None
    assert summary.endswith(f"labels={out} task.step=4 'task.range=[{chosen[0]},{chosen[-1] + 1}]'")


@pytest.mark.parametrize("region", [(0, 48, 160, 48), (0.0, 0.5, 1.0, 0.5)])
def test_only_objects_with_their_centre_in_a_region(clip: Path, tmp_path: Path, region: Any) -> None:
    out = tmp_path / "a.csv"
    summary = label_video(settings(source=clip, out=out, region=region))
    assert f"'task.region=[{','.join(map(str, region))}]'" in summary  # the command that comes next
    assert {name for _, name in names_in(out)} == {"green"}
    assert about(out)["region"] == [0, 48, 160, 48]


def test_pictures_of_a_folder(tmp_path: Path) -> None:
    for index in (9, 10):
        frame = np.full((*FRAME, 3), 110, np.uint8)
        frame[20:40, 30:50] = (220, 30, 30) if index == 10 else 110
        Image.fromarray(frame).save(tmp_path / f"shot_{index}.png")
    label_video(settings(source=tmp_path / "shot_%d.png", out=tmp_path / "a.csv"))
    assert [list(row.values()) for row in read(tmp_path / "a.csv")] == [
        ["1", "red", "0.9000", "30.00", "20.00", "50.00", "40.00"]
    ]


def test_a_file_that_is_cut_off_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = write_clip(tmp_path / "whole.mkv", COUNT)
    content = whole.read_bytes()
    (tmp_path / "cut.mkv").write_bytes(content[: len(content) * 2 // 3])
    label_video(settings(source=tmp_path / "cut.mkv", out=tmp_path / "a.csv"))
    told = about(tmp_path / "a.csv")
    assert "is cut off" in told["problem"]
    assert 10 < told["decoded"] == told["labelled"] < COUNT
    assert "is cut off" in capsys.readouterr().err
    assert names_in(tmp_path / "a.csv") == [(n, name) for n in range(told["decoded"]) for name, _ in boxes_of(n)]


def test_an_error_of_the_detector_leaves_what_is_labelled(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The user's function fails in the middle and is mended: the same command goes on, and gives the same table."""
    (tmp_path / "breaking.py").write_text(
        "import pathlib, blobs\nseen = []\n"
        "def find(frames):\n"
        "    seen.append(len(frames))\n"
        "    if len(seen) == 5 and not pathlib.Path('mended').exists():\n        raise KeyError('broken')\n"
        "    return blobs.find_blobs(frames)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(label_run, "SAVE_EVERY", 0)
    given = {"source": clip, "detector": "breaking:find", "batch": 10}
    for form in ("csv", "parquet"):
        sys.modules.pop("breaking", None)
        (tmp_path / "mended").unlink(missing_ok=True)
        out = tmp_path / f"labels.{form}"
        with pytest.raises(KeyError, match="broken"):
            label_video(settings(out=out, **given))
        assert not out.exists()
        (tmp_path / "mended").touch()
        capsys.readouterr()
        label_video(settings(out=out, **given))
        assert f"{out} goes on at 1.56 s, behind frame 39" in capsys.readouterr().err
        assert sys.modules["breaking"].seen == [10] * 16  # four batches, the failed one and the eleven others
        assert about(out)["labelled"] == COUNT
        whole = tmp_path / f"whole.{form}"
        label_video(settings(source=clip, out=whole, batch=10))
        assert out.read_bytes() == whole.read_bytes()
        differing = {key for key in about(out) if about(out)[key] != about(whole)[key]}
        assert differing == {"detector"}


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_command_goes_on(
    clip: Path, tmp_path: Path, sent: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    out, state = tmp_path / "labels.csv", tmp_path / ".labels.csv.state.npz"
    folders = [str(Path(label_run.__file__).parents[2]), str(Path(__file__).parent)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}
    script = (
        "import sys; from blobs import settings; from train.label_video import run\n"
        "run.SAVE_EVERY = 0.05\n"
        "run.label_video(settings(source=sys.argv[1], out=sys.argv[2], detector='blobs:find_slowly', batch=4))"
    )
    command = [sys.executable, "-c", script, str(clip), str(out)]
    process = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not state.exists():
        time.sleep(0.005)
    process.send_signal(sent)
    _, errors = process.communicate()
    assert process.returncode != 0
    assert not out.exists()
    if sent == signal.SIGINT:
        assert "stopped; the same command goes on" in errors
    again = settings(source=clip, out=out, detector="blobs:find_slowly", batch=4)
    for other, key in ((again.every + 1, "every"), (("red",), "objects")):
        changed = settings(source=clip, out=out, detector="blobs:find_slowly", **{"batch": 4, key: other})
        with pytest.raises(UserError, match=f"half-done with another {key}"):
            label_video(changed)
    capsys.readouterr()
    label_video(again)
    assert " goes on at " in capsys.readouterr().err
    label_video(settings(source=clip, out=tmp_path / "whole.csv"))
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_the_file_beside_a_table_is_about_no_other_one(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    """A command that replaces a table of every frame is killed between the file beside the table and the table."""
    task = FrameTask("clip", "red", Split(3, (1,), (2,), (3,)))
    out, other = tmp_path / f"labels.{suffix}", tmp_path / f"other.{suffix}"
    label_video(settings(source=clip, out=out))
    again = settings(source=clip, out=out, every=5, overwrite=True)
    replace = Path.replace

    def replace_until_killed(path: Path, target: Path) -> Path:
        if target == out:
            raise KeyboardInterrupt("killed")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", replace_until_killed)
    with pytest.raises(KeyboardInterrupt, match="killed"):
        label_video(again)
    monkeypatch.undo()
    assert about(out)["every"] == 5
    with pytest.raises(UserError, match=r"is about another table than .*: write the table again, or remove labels"):
        read_label_table(out, task)
    label_video(again)
    assert read_label_table(out, task).every == 5
    label_video(settings(source=clip, out=other, every=10))
    replace(other, out)
    with pytest.raises(UserError, match="is about another table"):
        read_label_table(out, task)


def test_an_existing_table_is_kept(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "a.csv"
    out.write_text("mine")
    with pytest.raises(UserError, match="exists: choose"):
        label_video(settings(source=clip, out=out))
    assert out.read_text() == "mine"
    label_video(settings(source=clip, out=out, overwrite=True, every=50))
    assert names_in(out) == [(n, name) for n in range(0, COUNT, 50) for name, _ in boxes_of(n)]
    before = about(out)
    (tmp_path / "failing.py").write_text("def find(frames):\n    raise KeyError('broken')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(KeyError, match="broken"):
        label_video(settings(source=clip, out=out, overwrite=True, detector="failing:find"))
    assert about(out) == before  # without it, frames between the labelled ones would count as labelled
    assert before["every"] == 50
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_an_error_early_in_a_video_leaves_what_is_labelled(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the first state is due."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "early.py").write_text(
        "import pathlib, blobs\nseen = []\n"
        "def find(frames):\n"
        "    seen.append(1)\n"
        "    if len(seen) == 3 and not pathlib.Path('mended').exists():\n        raise KeyError('broken')\n"
        "    return blobs.find_blobs(frames)\n"
    )
    again = settings(source=clip, out=tmp_path / "a.csv", detector="early:find")
    with pytest.raises(KeyError, match="broken"):
        label_video(again)
    (tmp_path / "mended").touch()
    label_video(again)
    assert "goes on at" in capsys.readouterr().err
    assert names_in(tmp_path / "a.csv") == [(n, name) for n in range(COUNT) for name, _ in boxes_of(n)]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"source": "missing.mp4"}, "there is no missing.mp4"),
        ({"source": "rtsp://camera/1"}, "record it, and give the file"),
        ({"source": "0"}, "record it, and give the file"),
        ({"out": "labels.txt"}, "end it in .csv, .parquet"),
        ({"out": "missing/labels.csv"}, "cannot write"),
        ({"detector": "people", "objects": ("car",)}, r"objects=\[car\]: detector=people knows person"),
        ({"region": (0, 0, 500, 10)}, "is not within the frame"),
        ({"names": ("a",)}, "leave names out"),
        ({"every": 1000, "start": 1}, "no frame"),
    ],
)
def test_wrong_settings(clip: Path, tmp_path: Path, given: dict[str, Any], message: str) -> None:
    if "out" in given:
        given = {**given, "out": tmp_path / given["out"]}
    with pytest.raises(UserError, match=message):
        label_video(settings(**{"source": clip, "out": tmp_path / "a.csv", **given}))
    assert not (tmp_path / "a.csv").exists()


def test_names_from_a_file(clip: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    for content, message in (("", "empty line"), ("a\n\nb\n", "empty line"), (b"\xff\xfe", "no text in UTF-8")):
        names.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(UserError, match=message):
            label_video(settings(source=clip, out=tmp_path / "a.csv", names=names))
    with pytest.raises(UserError, match="cannot be read"):
        label_video(settings(source=clip, out=tmp_path / "a.csv", names=tmp_path / "missing.txt"))


def test_the_command_line(clip: Path, tmp_path: Path) -> None:
    given = compose_config("label_video", f"source={clip}", "detector=people", "region=[0,0,80,48]", "names=[a,2 b]")
    assert validate(Settings, given).region == (0, 0, 80, 48)
    root = Path(label_run.__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(Path(__file__).parent)])}
    command = [sys.executable, "-m", "train.label_video", f"source={clip}", "detector=blobs:find_blobs"]
    ended = subprocess.run([*command, "every=10"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "15 frames labelled" in ended.stdout
    assert (tmp_path / "labels.csv").exists()
    broken = subprocess.run(
        [*command[:-1], "detector=blobs:write_clip", "out=b.csv"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert broken.returncode == 1  # the user's function fails: a traceback
    assert "TypeError" in broken.stderr
    assert "Traceback" in broken.stderr
