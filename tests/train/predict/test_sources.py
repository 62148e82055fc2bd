"""Many sources at once: which they are, what is read before, and workers of Ray that die."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import unquote

import pyarrow.dataset
import pytest
from bits import CLASSES, LEFT, save_run, settings, write_video

from textgen.common.errors import UserError
from train.predict.rows import read_rows
from train.predict.run import predict
from train.predict.sources import list_sources, predict_many

REGIONS = {"left": LEFT}
FRAMES = 240


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_run(tmp_path_factory.mktemp("run") / "bits", 3)


def test_lists_patterns_and_files_of_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("b.mp4", "a.mp4", "c.mkv", "[x].mp4"):
        Path(name).touch()
    Path("list.txt").write_text("# cameras\na.mp4\n\n rtsp://host/1?[a]=* \n", encoding="utf-8")
    assert list_sources(["a.mp4", "b.mp4"]) == ["a.mp4", "b.mp4"]
    assert list_sources("?.mp4") is None, "a name"
    assert list_sources("[ab].mp4") == ["a.mp4", "b.mp4"]
    assert list_sources("*.mp4") == ["[x].mp4", "a.mp4", "b.mp4"]
    assert list_sources("[x].mp4") is None, "the file of that name"
    assert list_sources("list.txt") == ["a.mp4", "rtsp://host/1?[a]=*"]
    for single in ("a.mp4", "0", "shot_%05d.png", "rtsp://host/*"):
        assert list_sources(single) is None
    for wrong, message in ((["a", "a"], "has a twice"), ([], "names no source"), ("*.avi", "names no source")):
        with pytest.raises(UserError, match=message):
            list_sources(wrong)
    with pytest.raises(UserError, match=r"nowhere\.txt"):
        list_sources("nowhere.txt")


def test_settings_that_many_sources_cannot_have(run: Path, tmp_path: Path) -> None:
    for changes, message in (
        ({"annotate": tmp_path / "a.mp4"}, "annotate"),
        ({"out": tmp_path / "v.csv"}, "need a folder"),
    ):
        given = {"run": run, "source": "a", "regions": REGIONS, "out": tmp_path / "values", **changes}
        with pytest.raises(UserError, match=message):
            predict_many(settings(**given), ["a", "b"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_worker_that_dies_loses_and_doubles_no_row(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One job of five good sources and a bad one on two workers, of which one is killed; then the job again."""
    monkeypatch.chdir(tmp_path)
    Path("clips/more").mkdir(parents=True)
    expected = {}
    for number in range(5):
        name = f"clips/more/s {number}.mp4" if number == 4 else f"clips/{number}.mp4"
        write_video(Path(name), [((n // 10 + number) % 15, 0) for n in range(FRAMES * 10)])
        predict(settings(run, name, REGIONS, tmp_path / f"{number}.parquet"))
        expected[name] = list(read_rows(tmp_path / f"{number}.parquet"))
    Path("clips/bad.mp4").write_bytes(b"no video")
    command = [sys.executable, "-m", "train.predict", f"run={run}", "source=clips/**/*.mp4", "out=values"]
    command += ["regions={left: [8, 8, 32, 16]}".replace("8, 8, 32, 16", ", ".join(map(str, LEFT))), "ray.workers=2"]
    command += ["smoothing=none"]
    killed: list[int] = []
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as job:
        threading.Thread(target=kill_a_worker, args=(killed,), daemon=True).start()
        _, errors = job.communicate(timeout=300)
    assert job.returncode == 2, errors
    assert len(killed) == 1
    assert "error: 1 of 6 sources could not be read, the first: clips/bad.mp4: " in errors
    for name, rows in expected.items():
        (folder,) = (path for path in Path("values").iterdir() if unquote(path.name) == f"source={name}")
        assert list(read_rows(folder / "values.parquet")) == rows
    table = pyarrow.dataset.dataset("values", partitioning="hive", format="parquet").to_table()
    assert set(table["source"].to_pylist()) == {*expected}
    assert table.num_rows == sum(map(len, expected.values()))
    assert {*table["value"].to_pylist()} <= {*CLASSES}

    before = {path: path.stat().st_mtime_ns for path in Path("values").glob("*/values.parquet")}
    write_video(Path("clips/bad.mp4"), [(3, 0)] * 20)
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "20 frames of 1 sources" in again.stdout
    assert again.stdout.strip().endswith(", 5 were read before")
    assert {path: path.stat().st_mtime_ns for path in before} == before
    other = subprocess.run([*command, "every=2"], capture_output=True, text=True, check=False)
    assert (other.returncode, other.stdout) == (2, "")
    assert "holds rows of another job: " in other.stderr


def kill_a_worker(killed: list[int]) -> None:
    """Kill the first process of Ray that has a video open when some rows of it are on the disk."""
    while not killed:
        for process in Path("/proc").glob("[0-9]*"):
            try:
                opened = [os.readlink(link) for link in (process / "fd").iterdir()]
            except OSError:
                continue
            if any("/clips/" in path and path.endswith(".mp4") for path in opened):
                os.kill(int(process.name), signal.SIGKILL)
                killed.append(int(process.name))
                return
        time.sleep(0.005)
