import errno
import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest
from conftest import ROOT

from textgen.common import atomic
from textgen.common.atomic import atomic_folder
from textgen.common.errors import UserError

Existing = Literal["keep", "replace", "refuse"]
ADVICE = "another folder (out=…)"


def put(path: Path, content: str, existing: Existing = "keep") -> None:
    with atomic_folder(path, ADVICE, existing) as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "file").write_text(content)


def held(path: Path) -> str:
    return (path / "inner" / "file").read_text()


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def run(code: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    code = f"import os, signal\nfrom pathlib import Path\nfrom textgen.common.atomic import atomic_folder\n{code}"
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)


def test_the_folder_is_there_with_its_parents_when_the_block_ends(tmp_path: Path) -> None:
    put(tmp_path / "a" / "b" / "out", "whole")
    assert held(tmp_path / "a" / "b" / "out") == "whole"
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["out"]


def test_nothing_is_at_its_place_before(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "out", ADVICE) as folder:
        (folder / "file").touch()
        assert folder.parent == tmp_path
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("existing", "expected"), [("keep", "old"), ("replace", "new")])
def test_what_is_there_is_kept_or_replaced(tmp_path: Path, existing: Existing, expected: str) -> None:
    put(tmp_path / "out", "old")
    put(tmp_path / "out", "new", existing)
    assert held(tmp_path / "out") == expected
    assert tree(tmp_path) == ["out", "out/inner", "out/inner/file"]


@pytest.mark.parametrize("faster", [False, True], ids=["before-the-check", "after-it"])
@pytest.mark.parametrize("existing", ["keep", "refuse"])
def test_what_another_process_has_made_meanwhile_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, existing: Existing, faster: bool
) -> None:
    out = tmp_path / "out"

    def race() -> None:
        with atomic_folder(out, ADVICE, existing):
            out.mkdir()
            (out / "theirs").touch()
            if faster:
                monkeypatch.setattr(Path, "exists", lambda _: False)

    if existing == "keep":
        race()
    else:
        with pytest.raises(UserError, match="out was created by another process") as caught:
            race()
        assert ADVICE in caught.value.summary
    monkeypatch.undo()
    assert tree(tmp_path) == ["out", "out/theirs"]


@pytest.mark.parametrize("error", [RuntimeError("bug"), KeyboardInterrupt(), SystemExit(3), OSError(errno.EIO, "disk")])
@pytest.mark.parametrize("existing", ["keep", "replace", "refuse"])
def test_any_error_passes_and_leaves_all_as_it_was(tmp_path: Path, error: BaseException, existing: Existing) -> None:
    if existing != "refuse":
        put(tmp_path / "out", "old")
    before = tree(tmp_path)

    def fail() -> None:
        with atomic_folder(tmp_path / "out", ADVICE, existing) as folder:
            (folder / "half").write_text("half")
            raise error

    with pytest.raises(type(error)) as caught:
        fail()
    assert caught.value is error
    assert tree(tmp_path) == before


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_full_disk_is_an_error_of_the_user(tmp_path: Path, number: int) -> None:
    with pytest.raises(UserError) as caught, atomic_folder(tmp_path / "out", ADVICE):
        raise OSError(number, os.strerror(number))
    expected = f"cannot write {tmp_path}/out: {os.strerror(number)}; make room or choose {ADVICE}"
    assert caught.value.summary == expected
    assert tree(tmp_path) == []


def test_a_file_that_the_system_cuts_is_an_error_of_the_user(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(UserError, match="make room"), atomic_folder(tmp_path / "out", ADVICE) as folder:
            (folder / "large").write_bytes(bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert tree(tmp_path) == []


def test_no_permission_is_an_error_of_the_user(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"file\.png.*allow writing"), atomic_folder(tmp_path / "out", ADVICE):
        raise PermissionError(errno.EACCES, "Permission denied", "file.png")
    assert tree(tmp_path) == []


@pytest.mark.parametrize("place", ["file/out", "file", "x" * 300, "loop/out"])
def test_a_place_that_cannot_be_is_an_error_of_the_user(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("a file")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UserError) as caught:
        put(tmp_path / place, "new", "replace")
    assert ADVICE in caught.value.summary
    assert (tmp_path / "file").read_text() == "a file"
    assert tree(tmp_path) == ["file", "loop"]


def test_when_the_new_folder_cannot_be_put_the_old_one_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "out", "old")
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.suffix == ".tmp":
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    monkeypatch.setattr(atomic, "_exchange", lambda *_: False)  # as on systems that cannot do it in one step
    with pytest.raises(KeyboardInterrupt):
        put(tmp_path / "out", "new", "replace")
    assert held(tmp_path / "out") == "old"
    assert tree(tmp_path) == ["out", "out/inner", "out/inner/file"]


def test_what_a_link_leads_to_is_replaced(tmp_path: Path) -> None:
    put(tmp_path / "real", "old")
    (tmp_path / "link").symlink_to("real")
    put(tmp_path / "link", "new", "replace")
    assert (tmp_path / "link").is_symlink()
    assert held(tmp_path / "real") == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "real"]


@pytest.mark.parametrize("name", ["out", "**[ö] t"])
def test_a_killed_process_leaves_no_folder_and_the_next_one_cleans_up(tmp_path: Path, name: str) -> None:
    out = tmp_path / name
    code = f"with atomic_folder(Path({str(out)!r}), 'x') as folder: os.kill(os.getpid(), signal.SIGKILL)"
    assert run(code).returncode == -signal.SIGKILL
    (half,) = tmp_path.iterdir()
    assert half.name.endswith(".tmp")
    put(out, "whole")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_what_a_process_with_this_number_left_is_removed_and_others_are_kept(tmp_path: Path) -> None:
    host = atomic._host()
    ours, running = (tmp_path / f".out.{host}.{pid}.tmp" for pid in (os.getpid(), 1))
    names = (f".other.{host}.99.tmp", f".out.{host}.x.tmp", f".out.{host}.99999999999999999999.tmp", ".out.old")
    others = [tmp_path / name for name in names]
    for folder in (ours, running, *others):
        folder.mkdir()
    put(tmp_path / "out", "whole")
    assert not ours.exists()
    assert running.exists()
    assert all(folder.exists() for folder in others)


@pytest.mark.parametrize("host", ["node-2", "node 1.cluster", "a" * 63, "ö"])
def test_what_another_machine_is_writing_in_a_shared_folder_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    """Its processes have numbers that no process has here."""
    process = subprocess.Popen(["true"])
    process.wait()
    with monkeypatch.context() as there:
        there.setattr(atomic.socket, "gethostname", lambda: host)
        theirs = atomic._host.__wrapped__()
    assert re.fullmatch("[A-Za-z0-9-]{1,20}", theirs)
    assert theirs != atomic._host()
    kept = [
        tmp_path / name
        for name in (
            *(f".out.csv.{theirs}.{process.pid}.tmp", f".out.csv.{theirs}.{process.pid}.old"),
            *(f".out.{theirs}.{process.pid}.tmp.csv", f".out.csv.{theirs}.{os.getpid()}.tmp"),
        )
    ]
    for path in kept:
        path.touch()
    mine = tmp_path / f".out.csv.{atomic._host()}.{process.pid}.tmp"
    mine.touch()
    atomic.write_atomic(tmp_path / "out.csv", b"", ADVICE)
    put(tmp_path / "out.csv.d", "whole")
    assert all(path.exists() for path in kept)
    assert not mine.exists()


def test_long_names_of_machines_with_the_same_beginning_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    names = set()
    for name in ("training-job-of-someone-0", "training-job-of-someone-1", "a.b", "a-b"):
        monkeypatch.setattr(atomic.socket, "gethostname", lambda name=name: name)
        names.add(atomic._host.__wrapped__())
    assert len(names) == 4


@pytest.mark.parametrize("many", [False, True], ids=["few-files", "many-files"])
def test_a_folder_is_on_the_disk_before_it_takes_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, many: bool
) -> None:
    """Every file of a few is synced by itself; the disks are synced for many. Names at that moment are temporary."""
    synced: set[tuple[int, int]] = set()
    fsync, sync = os.fsync, os.sync

    def note_file(number: int) -> None:
        assert not (tmp_path / "out").exists()
        status = os.fstat(number)
        synced.add((status.st_dev, status.st_ino))
        fsync(number)

    def note_all() -> None:
        assert not (tmp_path / "out").exists()
        synced.update((path.stat().st_dev, path.stat().st_ino) for path in tmp_path.rglob("*"))
        sync()

    monkeypatch.setattr(os, "fsync", note_file)
    monkeypatch.setattr(os, "sync", note_all if many else lambda: pytest.fail("other programs' files too"))
    with atomic_folder(tmp_path / "out", ADVICE) as folder:
        (folder / "inner").mkdir()
        for number in range(atomic.SYNCED_ALONE + 1 if many else 3):
            (folder / "inner" / str(number)).touch()
    expected = [tmp_path / "out", *(tmp_path / "out").rglob("*")]
    assert {(path.stat().st_dev, path.stat().st_ino) for path in expected} <= synced


@pytest.mark.parametrize("moved", [False, True], ids=["before-the-new-one", "after-it"])
def test_a_kill_between_two_renamings_is_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: bool) -> None:
    """As on systems that cannot exchange folders in one step."""
    monkeypatch.setattr(atomic, "_exchange", lambda *_: False)
    path, new, old = (tmp_path / name for name in ("out", ".out.part", ".out.old"))
    put(old, "old")
    if moved:
        put(path, "new")
    atomic.restore_folder(new, path)
    assert held(path) == ("new" if moved else "old")
    assert not old.exists()
    put(old, "older")  # a kill after the new one was in place, and then the next replacement
    put(new, "newest")
    atomic.replace_folder(new, path)
    assert held(path) == "newest"
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


def test_two_threads_with_one_place_do_not_mix(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "out", ADVICE) as folder:
        (folder / "file").touch()
        with pytest.raises(UserError):
            put(tmp_path / "out", "theirs")
        assert (folder / "file").exists()
    assert tree(tmp_path) == ["out", "out/file"]
