"""Many sources at once: which they are, what is read before, and workers of Ray that die."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import unquote

import pyarrow.dataset
import pytest
from bits import CLASSES, LEFT, save_run, settings, write_video

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))

from streams import kill_reader

from textgen.common.errors import UserError
from train.predict.rows import read_rows
from train.predict.run import predict
from train.predict.sources import Part, _check_marks, _is_done, _Worker, list_sources, predict_many

REGIONS = {"left": LEFT}
FRAMES = 240


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_run(tmp_path_factory.mktemp("run") / "bits", 3)


def test_lists_patterns_and_files_of_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("b.mp4", "a.mp4", "c.mkv", "[x].mp4"):
        Path(name).touch()
    Path("list.txt").write_text("# clips\na.mp4\n\n c.mkv \n", encoding="utf-8")
    assert list_sources(["a.mp4", "b.mp4"]) == ["a.mp4", "b.mp4"]
    assert list_sources("?.mp4") == ["a.mp4", "b.mp4"]
    assert list_sources("[ab].mp4") == ["a.mp4", "b.mp4"]
    assert list_sources("*.mp4") == ["[x].mp4", "a.mp4", "b.mp4"]
    assert list_sources("[x].mp4") is None, "the file of that name"
    assert list_sources("list.txt") == ["a.mp4", "c.mkv"]
    for single in ("a.mp4", "0", "shot_%05d.png", "rtsp://host/*"):
        assert list_sources(single) is None
    live = (["a.mp4", "rtsp://host/1"], "rtsp://host/1 is live"), (["0", "1"], "0 is live")
    for wrong, message in ((["a", "a"], "has a twice"), ([], "names no source"), ("*.avi", "names no source"), *live):
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


def test_a_worker_reads_a_source_once_in_a_command_and_leaves_no_rows_of_a_bad_one(run: Path, tmp_path: Path) -> None:
    clip = write_video(tmp_path / "clip.mp4", [(n // 10 % 15, 0) for n in range(FRAMES)])
    parts = [Part(str(clip), tmp_path / "out" / "a"), Part(str(tmp_path / "bad.mp4"), tmp_path / "out" / "b")]
    given = settings(run, clip, REGIONS, tmp_path / "out")
    arguments = (given, parts, "job", str(tmp_path))
    worker = _Worker(*arguments, "first")
    read = worker({"number": 0})
    assert (read["frames"], read["problem"], read["notes"]) == (FRAMES, "", "")
    written = parts[0].rows.stat().st_mtime_ns
    assert _Worker(*arguments, "first")({"number": 0}) == read, "a worker that died before its result arrived"
    assert parts[0].rows.stat().st_mtime_ns == written
    assert _Worker(*arguments, "second")({"number": 0}) == read
    assert parts[0].rows.stat().st_mtime_ns > written
    assert sorted(path.name for path in parts[0].folder.iterdir()) == [".done.json", "values.parquet"]

    parts[1].folder.mkdir()
    parts[1].rows.write_bytes(b"of an earlier command")
    Path(parts[1].source).write_bytes(b"no video")
    bad = worker({"number": 1})
    assert bad["frames"] == 0
    assert "bad.mp4" in bad["problem"]
    assert not parts[1].rows.exists()
    assert not parts[1].done.exists()
    parts[1].attempts.write_bytes(b"...")
    assert worker({"number": 1})["problem"].startswith("3 workers have died while they read it")
    nowhere = _Worker(given, parts, "job", str(tmp_path / "nowhere"), "first")({"number": 0})
    assert "has no folder" in nowhere["problem"]


def test_rows_count_as_read_for_the_same_source_and_settings_alone(run: Path, tmp_path: Path) -> None:
    clip = write_video(tmp_path / "clip.mp4", [(3, 0)] * 30)
    part = Part(str(clip), tmp_path / "out" / "source=a")
    assert not _is_done(part, "job")
    assert (
        _Worker(settings(run, clip, REGIONS, tmp_path), [part], "job", str(tmp_path), "c")({"number": 0})["frames"]
        == 30
    )
    assert _is_done(part, "job")
    assert not _is_done(part, "other")
    _check_marks(tmp_path / "out", set(), "job", overwrite=False)
    for given, overwrite in ((set(), True), ({part.folder}, False)):
        with pytest.raises(UserError, match="holds rows of other settings"):
            _check_marks(tmp_path / "out", given, "other", overwrite=overwrite)
    _check_marks(tmp_path / "out", {part.folder}, "other", overwrite=True)
    os.utime(clip, ns=(1, 1))
    assert not _is_done(part, "job"), "another file has its place"
    part.done.write_text("{")
    assert not _is_done(part, "job")


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
        threading.Thread(target=lambda: killed.append(kill_reader(tmp_path / "clips")), daemon=True).start()
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
    assert "holds rows of other settings: " in other.stderr
