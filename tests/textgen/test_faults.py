"""Faults that strike while textgen works: kills, damage, full and read-only disks, two processes on one folder."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import ROOT, Config, flat_game

from textgen.common import atomic
from textgen.common.atomic import file_lock, write_atomic
from textgen.common.digests import DIGESTS, check_digest, check_digests, write_digests
from textgen.common.errors import UserError
from textgen.common.pictures import read_picture
from textgen.dataset import build
from textgen.dataset.build import ensure_dataset
from textgen.footage.index import COLUMNS
from textgen.frames import decode
from textgen.label.distinct import ReadingCache
from textgen.label.readers import Reading
from textgen.schema.definition import DatasetDefinition
from textgen.schema.game import Game

ENV = {**os.environ, "PYTHONPATH": str(ROOT)}


def child(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def flipped(data: bytes, at: int) -> bytes:
    """With one bit of the byte `at` changed."""
    return data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]


REPLACING = """
import sys
from pathlib import Path
from textgen.common.atomic import atomic_folder
out = Path(sys.argv[1])
for number in range(1_000_000):
    with atomic_folder(out, "another", "replace") as folder:
        (folder / "a").write_text(str(number))
        (folder / "b").write_text(str(number))
    print(number, flush=True)
"""


def test_a_folder_that_is_replaced_again_and_again_is_whole_whenever_the_process_is_killed(tmp_path: Path) -> None:
    out, chance = tmp_path / "out", random.Random(0)
    for _ in range(6):
        process = child(REPLACING, out)
        assert process.stdout
        process.stdout.readline()
        time.sleep(chance.uniform(0, 0.03))
        process.kill()
        process.communicate()
        assert out.is_dir()
        assert (out / "a").read_text() == (out / "b").read_text()
    write_atomic(tmp_path / "out.txt", b"", "another")


def test_a_file_of_a_killed_process_goes_with_the_next_write(tmp_path: Path) -> None:
    code = "import os, sys; from pathlib import Path; from textgen.common.atomic import atomic_file, atomic_path\n"
    code += "with atomic_file(Path(sys.argv[1]), 'x'), atomic_path(Path(sys.argv[1]), 'x'): os.kill(os.getpid(), 9)"
    process = child(code, tmp_path / "out.txt")
    assert process.wait() == -signal.SIGKILL
    # The lines of a table that is converted at the end:
    (tmp_path / f"..out.{atomic._host()}.{process.pid}.tmp.txt.rows.csv").touch()
    assert len([*tmp_path.iterdir()]) == 3
    write_atomic(tmp_path / "out.txt", b"whole", "x")
    assert [path.name for path in tmp_path.iterdir()] == ["out.txt"]


COUNTING = """
import sys
from pathlib import Path
from textgen.common.atomic import file_lock
folder = Path(sys.argv[1])
for _ in range(40):
    with file_lock(folder / ".lock", "another counts", quiet=True, remove=True):
        count = int((folder / "count").read_text())
        (folder / "count").write_text(str(count + 1))
"""


def test_a_lock_whose_file_is_removed_still_lets_in_one_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "count").write_text("0")
    for process in [child(COUNTING, tmp_path) for _ in range(3)]:
        assert process.communicate()[1] == ""
    assert (tmp_path / "count").read_text() == "120"
    assert [path.name for path in tmp_path.iterdir()] == ["count"]


def digests(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.iterdir())]


@pytest.mark.parametrize("left", [(), ("done",), ("done", "manifest.json")])
def test_a_build_killed_while_it_tidies_up_is_finished_and_not_done_again(
    tmp_path: Path, left: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the manifest: with all marks, with none, or with half a manifest and none."""
    definition = DatasetDefinition(Game.from_config(flat_game(tmp_path / "flat")))
    whole = ensure_dataset(definition, tmp_path / "data", quiet=True).path
    expected, part = digests(whole), whole.with_name(f".{whole.name}.part")
    whole.rename(part)
    if "done" not in left:
        (part / "done").mkdir()
    if "manifest.json" in left:
        os.truncate(part / "manifest.json", 100)
    else:
        monkeypatch.setattr(build.Renderer, "render", lambda *_: pytest.fail("it is all there"))
    assert digests(ensure_dataset(definition, tmp_path / "data", quiet=True).path) == expected


@pytest.mark.parametrize("suffix", ["part", "old"])
def test_a_folder_that_a_killed_rebuild_left_goes_unless_a_build_is_going_on(tmp_path: Path, suffix: str) -> None:
    """Killed after both folders were exchanged, or, where they cannot be, after both were renamed."""
    definition = DatasetDefinition(Game.from_config(flat_game(tmp_path / "flat")))
    whole = ensure_dataset(definition, tmp_path / "data", quiet=True).path
    expected, left = digests(whole), whole.with_name(f".{whole.name}.{suffix}")
    shutil.copytree(whole, left)
    with file_lock(whole.with_name(f".{whole.name}.lock"), "another builds"):
        ensure_dataset(definition, tmp_path / "data", quiet=True)
        assert left.exists()
    assert digests(ensure_dataset(definition, tmp_path / "data", quiet=True).path) == expected
    assert not left.exists()


@pytest.mark.parametrize("exchanged", [True, False])
@pytest.mark.parametrize("killed", ["between-the-renamings", "after-them"])
def test_a_rebuild_after_a_kill_while_a_folder_was_replaced_is_whole(
    tmp_path: Path, killed: str, exchanged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed where folders cannot be exchanged; the rebuild is there or elsewhere."""
    definition = DatasetDefinition(Game.from_config(flat_game(tmp_path / "flat")))
    whole = ensure_dataset(definition, tmp_path / "data", quiet=True).path
    expected, part, old = digests(whole), *(whole.with_name(f".{whole.name}.{suffix}") for suffix in ("part", "old"))
    shutil.copytree(whole, old)
    if killed == "between-the-renamings":
        whole.rename(part)
    if not exchanged:
        monkeypatch.setattr(atomic, "_exchange", lambda *_: False)
    for rebuild in (killed != "between-the-renamings", True):
        assert digests(ensure_dataset(definition, tmp_path / "data", quiet=True, rebuild=rebuild).path) == expected
        assert sorted(path.name for path in whole.parent.iterdir()) == [f".{whole.name}.lock", whole.name]


def test_a_data_set_is_on_the_disk_before_its_marks_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced, fsync = set(), os.fsync

    def note(number: int) -> None:
        fsync(number)
        synced.add(os.fstat(number).st_ino)
        assert [*tmp_path.glob("data/flat/.*.part/done/train-0.json")]

    monkeypatch.setattr(os, "fsync", note)
    definition = DatasetDefinition(Game.from_config(flat_game(tmp_path / "flat")))
    whole = ensure_dataset(definition, tmp_path / "data", quiet=True).path
    assert {path.stat().st_ino for path in (whole, *whole.iterdir())} <= synced


def test_a_mark_with_a_damaged_byte_counts_as_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    game = {**flat_game(tmp_path / "flat"), "images": {"train": 2, "val": 1, "test": 1}}
    definition = DatasetDefinition(Game.from_config(game))
    expected = digests(ensure_dataset(definition, tmp_path / "whole", quiet=True).path)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(build._DatasetBuild, "_finish_split", stop)
        with pytest.raises(KeyboardInterrupt):
            ensure_dataset(definition, tmp_path / "data", quiet=True)
    (mark,) = tmp_path.glob("data/flat/.*.part/done/train-0.json")
    data = mark.read_bytes()
    at = data.index(b'"texts"') + 12
    mark.write_bytes(data[:at] + b"7" + data[at + 1 :])
    assert data[at : at + 1] != b"7"
    assert digests(ensure_dataset(definition, tmp_path / "data", quiet=True).path) == expected


@pytest.mark.parametrize("key", ["game", "seed", "augment", "assets", "versions", "classes"])
def test_a_manifest_that_says_something_else_is_refused(tmp_path: Path, key: str) -> None:
    definition = DatasetDefinition(Game.from_config(flat_game(tmp_path / "flat")))
    manifest = ensure_dataset(definition, tmp_path / "data", quiet=True).path / "manifest.json"
    about = json.loads(manifest.read_text())
    about[key] = [*about[key][1:], about[key][0]] if isinstance(about[key], list) else 1
    manifest.write_text(json.dumps(about))
    with pytest.raises(UserError, match="is damaged"):
        ensure_dataset(definition, tmp_path / "data", quiet=True)


def test_a_reading_with_a_damaged_byte_is_made_again_and_never_another_one(tmp_path: Path) -> None:
    path, reading = tmp_path / "readings.jsonl", Reading("0:47", 0.875, None)
    ReadingCache(path, "r").add([("crop", reading)])
    data = path.read_bytes()
    for at in range(len(data)):
        path.write_bytes(flipped(data, at))
        assert ReadingCache(path, "r").get("crop") in (reading, None), at
        path.write_bytes(data[:at])
        assert ReadingCache(path, "r").get("crop") in (reading, None), at
    path.write_bytes(data)
    assert ReadingCache(path, "r").get("crop") == reading


def test_a_crop_with_a_damaged_byte_or_cut_off_is_refused_or_is_the_same(tmp_path: Path) -> None:
    crop = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)
    path, data = tmp_path / "crop.png", cv2.imencode(".png", crop)[1].tobytes()
    for broken in [*(flipped(data, at) for at in range(len(data))), *(data[:at] for at in range(len(data)))]:
        path.write_bytes(broken)
        found = None
        with suppress(UserError):
            found = read_picture(path)
        assert found is None or np.array_equal(found, crop[..., ::-1])


def test_digests_tell_damaged_missing_and_changed_files(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(bytes(100))
    check_digests(tmp_path, "again")  # a folder of an older version has none
    write_digests(tmp_path, ["weights"], {"result": b"97"}, "elsewhere")
    (tmp_path / "result").write_bytes(b"97")
    check_digests(tmp_path, "again")
    (tmp_path / "result").write_bytes(b"37")
    for check in (lambda: check_digests(tmp_path, "again"), lambda: check_digest(tmp_path / "result", "again")):
        with pytest.raises(UserError, match=r"result is damaged: .*; again"):
            check()
    check_digest(tmp_path / "weights", "again")
    (tmp_path / "result").unlink()
    with pytest.raises(UserError, match="result is missing; again"):
        check_digests(tmp_path, "again")
    whole = (tmp_path / DIGESTS).read_bytes()
    for broken in (b"", b"{", whole[: len(whole) // 2], b"[]", b"\xff", b'{"../x": ""}'):
        (tmp_path / DIGESTS).write_bytes(broken)
        with pytest.raises(UserError, match=r"digests\.json is damaged; again"):
            check_digest(tmp_path / "weights", "again")


def test_decoded_frames_that_are_damaged_are_decoded_again(tmp_path: Path) -> None:
    files = decode._SplitFiles(tmp_path, "train", 0, (4, 5))
    with files:
        for number in range(3):
            files.add(number, np.full((4, 5, 3), number, np.uint8))
        state = decode._State(total=9, next=3, stored={"train": 3, "val": 0, "test": 0})
        state.digests["train"] = files.sync()
        decode._save_state(tmp_path, state)
    assert decode._load_state(tmp_path) == state
    assert decode._digest_stored(tmp_path, state, (4, 5)) is not None
    pixels, numbers = ((tmp_path / f"train.{kind}").read_bytes() for kind in ("pixels", "numbers"))
    for name in ("train.pixels", "train.numbers"):
        data = (tmp_path / name).read_bytes()
        for broken in (flipped(data, 17), data[:-1], b""):
            (tmp_path / name).write_bytes(broken)
            assert decode._digest_stored(tmp_path, state, (4, 5)) is None
        (tmp_path / name).write_bytes(data + b"more, of a killed process")
        digests = decode._digest_stored(tmp_path, state, (4, 5))
        assert digests is not None
        with decode._SplitFiles(tmp_path, "train", 3, (4, 5), digests["train"]) as resumed:
            assert resumed.sync() == state.digests["train"]  # and what was behind is dropped
            assert (tmp_path / name).read_bytes() == data
            resumed.add(3, np.zeros((4, 5, 3), np.uint8))
            more = decode._State(total=9, next=4, stored={**state.stored, "train": 4})
            more.digests["train"] = resumed.sync()
        assert decode._digest_stored(tmp_path, more, (4, 5)) is not None
        (tmp_path / "train.pixels").write_bytes(pixels)
        (tmp_path / "train.numbers").write_bytes(numbers)
    data = (tmp_path / decode.STATE).read_bytes()
    for at in range(len(data)):
        for broken in (flipped(data, at), data[:at]):
            (tmp_path / decode.STATE).write_bytes(broken)
            assert decode._load_state(tmp_path) in (state, decode._State()), at


# ---- Whole commands, on disks that are full or read-only.


def namespace(folder: Path, mount: str, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a command with `folder` mounted anew for it alone; skip the test where that is forbidden."""
    if not shutil.which("unshare") or subprocess.run(["unshare", "-rm", "true"], check=False).returncode:
        pytest.skip("mounts are not permitted here")
    script = f'{mount} && exec "$@"'
    return subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, "sh", str(folder), *command],
        *(),
        env=ENV,
        capture_output=True,
        text=True,
        check=False,
    )


READ_ONLY = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && shift'
FULL = 'mount -t tmpfs -o size=16k tmpfs "$1" && cp -r "$1.from/." "$1" && shift'
LABEL = ("game=lol_time", "game.spec=M:SS", "game.label=SS", "game.fields={M: 0..9, S: 00..59}", "reader=file")


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    """Two crops with an index, and a table of their texts."""
    folder = tmp_path / "crops"
    (folder / "timer").mkdir(parents=True)
    for at in range(2):
        cv2.imwrite(str(folder / "timer" / f"{at}.png"), np.full((6, 9, 3), at * 50, np.uint8))
    rows = "".join(f"timer/{at}.png,timer,{at},{at}\n" for at in range(2))
    (folder / "index.csv").write_text(f"{','.join(COLUMNS)}\n{rows}")
    (tmp_path / "texts.csv").write_text("file,text\ntimer/0.png,0:12\ntimer/1.png,0:13\n")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["read-only", "full"])
def test_labelling_on_a_bad_disk_ends_in_one_line(crops: Path, tmp_path: Path, fault: str) -> None:
    command = [sys.executable, "-m", "textgen.label", *LABEL, f"crops={crops}", f"file={tmp_path / 'texts.csv'}"]
    if fault == "full":
        shutil.copytree(crops, tmp_path / "crops.from")
    ended = namespace(crops, READ_ONLY if fault == "read-only" else FULL, command)
    assert ended.returncode == 2, ended.stderr
    lines = [line for line in ended.stderr.splitlines() if "%|" not in line]
    assert len(lines) == 1, ended.stderr
    assert ("Read-only file system" if fault == "read-only" else "No space left on device") in lines[0]
    assert sorted(path.name for path in crops.iterdir()) == ["index.csv", "timer"]


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["read-only", "full"])
def test_a_build_on_a_bad_disk_ends_in_one_line(small_game: Config, tmp_path: Path, fault: str) -> None:
    for name in ("data", "data.from"):
        (tmp_path / name).mkdir()
    images = [f"game.images.{split}=4" for split in ("train", "val", "test")]
    command = [sys.executable, "-m", "textgen", "game=sot_time", *images, f"out={tmp_path / 'data'}"]
    ended = namespace(tmp_path / "data", READ_ONLY if fault == "read-only" else FULL, command)
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.count("error: cannot write") == 1
    assert "Traceback" not in ended.stderr
    assert [*(tmp_path / "data").iterdir()] == []


@pytest.mark.slow
def test_two_labellings_at_once_leave_the_tables_of_one(crops: Path, tmp_path: Path) -> None:
    for name, minute in (("one", 1), ("two", 2)):
        texts = f"file,text\ntimer/0.png,{minute}:12\ntimer/1.png,{minute}:13\n"
        (tmp_path / f"{name}.csv").write_text(texts)
    base = [sys.executable, "-m", "textgen.label", *LABEL, f"crops={crops}"]
    processes = [
        subprocess.Popen([*base, f"file={tmp_path / name}.csv"], env=ENV, stderr=subprocess.PIPE, text=True)
        for name in ("one", "two")
    ]
    for process in processes:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    labels = (crops / "labels.csv").read_text()
    page = (crops / "labels.html").read_text()
    minute = "1" if "1:12" in labels else "2"
    assert labels.count(f"{minute}:1") == 2
    assert f"{minute}:12" in page
    assert f"{3 - int(minute)}:12" not in page
    assert not [path for path in crops.iterdir() if path.name.startswith(".labels")]
