"""Atomic writes: files and folders are written under a temporary name and renamed when they are complete."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shutil
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import cache
from pathlib import Path
from typing import Literal

import filelock
import xxhash

from textgen.common.errors import UserError

USER_ERRNOS = {  # errors of the environment: a full or read-only disk, an impossible path
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ENOENT, errno.ENAMETOOLONG, errno.ELOOP),
}
SYNCED_ALONE = 64  # files of a folder; for more, one sync of all disks is faster than one of each file
OTHER_OUT = "another place with out=…"  # the advice of commands with a setting `out`
_writing: set[Path] = set()  # the temporary files and folders of this process
_leftovers: dict[Path, list[Path]] = {}  # temporary files in the folders in which this process has written a file


@contextmanager
def os_errors_as_user_errors(path: Path, advice: str) -> Iterator[None]:
    """Convert errors of writing `path` to `UserError`: a missing permission, a full disk, an impossible path.

    `advice` completes the message "make room or choose …". Other errors pass unchanged.
    """
    try:
        yield
    except PermissionError as error:
        raise UserError(f"cannot write {error.filename or path}: choose {advice}, or allow writing") from None
    except OSError as error:
        if error.errno not in USER_ERRNOS:
            raise
        raise UserError(f"cannot write {path}: {error.strerror}; make room or choose {advice}") from None


@contextmanager
def atomic_file(path: Path, advice: str, *, is_synced: bool = True) -> Iterator[Callable[[bytes], None]]:
    """Yield a function that replaces the content of `path`; if it is not called, the file stays unchanged.

    The temporary file is created on entry, so that a path that cannot be written is an error before any work. Raises
    `UserError` as `os_errors_as_user_errors` does; `advice` completes its message. Without `is_synced` a power cut may
    leave the file empty, and thousands of files take a second instead of minutes.
    """
    path = Path(os.path.realpath(path))
    temporary = path.with_name(f".{path.name}.{_owner()}.tmp")

    def write(data: bytes) -> None:
        with os_errors_as_user_errors(path, advice):
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                if is_synced:
                    os.fsync(file.fileno())  # a power cut after the renaming would leave an empty file
            temporary.replace(path)

    with _temporary_file(temporary, path, advice):
        yield write


@contextmanager
def atomic_path(path: Path, advice: str) -> Iterator[Path]:
    """Yield the path of a temporary file; rename it to `path` when the block succeeds, delete it when it fails.

    For files that are too large for memory, and for libraries that write files themselves. The temporary file has the
    suffix of `path`. Raises `UserError` as `os_errors_as_user_errors` does; `advice` completes its message.
    """
    path = Path(os.path.realpath(path))
    temporary = path.with_name(f".{path.stem}.{_owner()}.tmp{path.suffix}")
    with _temporary_file(temporary, path, advice):
        yield temporary
        with os_errors_as_user_errors(path, advice):
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)


@contextmanager
def _temporary_file(temporary: Path, path: Path, advice: str) -> Iterator[None]:
    """Create the file `temporary` beside `path`, and remove it at the end if it is still there."""
    try:
        with os_errors_as_user_errors(path, advice):
            if path.parent not in _leftovers and path.parent.is_dir():  # once: it may hold many other files
                _leftovers[path.parent] = [each for each in path.parent.iterdir() if ".tmp" in each.name]
            _remove_abandoned(path, _leftovers.get(path.parent, []))
            temporary.touch()
            _writing.add(temporary)
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        yield
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        _writing.discard(temporary)


def write_atomic(path: Path, data: bytes, advice: str, *, is_synced: bool = True) -> None:
    """Write a file completely or not at all, as `atomic_file` does."""
    with atomic_file(path, advice, is_synced=is_synced) as write:
        write(data)


@contextmanager
def atomic_folder(path: Path, advice: str, existing: Literal["keep", "replace", "refuse"] = "keep") -> Iterator[Path]:
    """Yield an empty temporary folder; rename it to `path` when the block succeeds, delete it when the block fails.

    `existing` decides about a folder that exists at `path` when the block ends: "keep" it (another process wrote the
    same bytes), "replace" it, or "refuse" it with an error. Raises `UserError` as `os_errors_as_user_errors` does;
    `advice` completes its message.
    """
    path = Path(os.path.realpath(path))  # the target of a link is replaced, not the link
    temporary = path.with_name(f".{path.name}.{_owner()}.tmp")
    with os_errors_as_user_errors(path, advice):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path, path.parent.iterdir())
        temporary.mkdir()
        _writing.add(temporary)
        try:
            if path.exists() and not path.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
            yield temporary
            sync_folder(temporary)
            _move_into_place(temporary, path, advice, existing)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            _writing.discard(temporary)


@contextmanager
def file_lock(path: Path, reason: str, quiet: bool = False, *, remove: bool = False) -> Iterator[None]:
    """Hold the lock file `path`, created if missing; while another process holds it, print `reason` and wait.

    The system releases the lock of a killed process. With `remove`, the lock file is removed at the end, for folders
    that are the user's own.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        if not quiet:
            print(f"{reason}: waiting for it", file=sys.stderr)
        lock.acquire()
    while not path.exists():  # its holder has removed it meanwhile: this lock is held by nobody else's name
        lock.release()
        lock.acquire()
    try:
        yield
    finally:
        if remove:
            path.unlink(missing_ok=True)
        lock.release()


@contextmanager
def free_lock(path: Path) -> Iterator[bool]:
    """Hold the lock file `path` as `file_lock` does, unless another process holds it; yield whether it is held here."""
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def sync_folder(folder: Path, pattern: str = "**/*") -> None:
    """Wait until what `pattern` finds in `folder` is on the disk: a power cut after a renaming leaves no empty file.

    Up to `SYNCED_ALONE` files are synced one by one, so that nothing waits for what other programs write.
    """
    paths = [folder, *(path for path in folder.glob(pattern) if not path.is_symlink())]
    if len(paths) > SYNCED_ALONE and hasattr(os, "sync"):
        os.sync()
        return
    for path in paths:
        if path.is_dir() and os.name == "nt":
            continue  # folders cannot be opened there
        number = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def replace_folder(new: Path, path: Path) -> None:
    """Put the folder `new` in the place of the folder `path` beside it, and remove the old one.

    On Linux in one step: a process that is killed leaves the old one or the new one, and perhaps the other under the
    name of `new`. Elsewhere it may leave the old one under the name of `new` with the suffix .old; `restore_folder`
    mends that. `remove_replaced` removes both.
    """
    if _exchange(new, path):
        shutil.rmtree(new, ignore_errors=True)
        return
    old = new.with_suffix(".old")
    restore_folder(new, path)
    path.rename(old)
    try:
        new.rename(path)
    except BaseException:
        old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def restore_folder(new: Path, path: Path) -> None:
    """Mend what a process left that was killed in `replace_folder(new, path)`, where that takes two steps.

    If nothing is at `path`, the old folder goes back there; otherwise it is removed.
    """
    old = new.with_suffix(".old")
    if not old.is_dir():
        return
    if path.exists():
        shutil.rmtree(old)
    else:
        old.rename(path)


def remove_replaced(new: Path, path: Path, lock: Path) -> None:
    """Remove what a process left beside the intact folder `path` that was killed in `replace_folder(new, path)`.

    Nothing is removed while another process holds `lock`, nor where it cannot be.
    """
    left = [each for each in (new, new.with_suffix(".old")) if each.exists()]
    with suppress(OSError), free_lock(lock) if left else nullcontext(False) as held:
        for each in left if held and path.exists() else ():
            shutil.rmtree(each, ignore_errors=True)


def _exchange(one: Path, two: Path) -> bool:
    """Exchange the names of two folders in one step; False where the system or the file system cannot."""
    try:
        renameat2 = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    at_cwd, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return bool(renameat2(at_cwd, os.fsencode(one), at_cwd, os.fsencode(two), exchange) == 0)


def _move_into_place(temporary: Path, path: Path, advice: str, existing: Literal["keep", "replace", "refuse"]) -> None:
    if not path.exists():
        try:
            temporary.rename(path)
            return
        except OSError:
            if not path.is_dir():  # otherwise another process created it meanwhile
                raise
    if existing == "refuse":
        raise UserError(f"{path} was created by another process meanwhile: choose {advice}")
    elif existing == "replace":
        replace_folder(temporary, path)


def _remove_abandoned(path: Path, beside: Iterable[Path]) -> None:
    """Remove the temporary files and folders of `path` that killed processes left `beside` it.

    What such a process had moved away, to replace it, goes back where it was. Those of other machines stay, which may
    share the folder: whether their processes run is not known here.
    """
    number = r"([1-9][0-9]{0,8})"
    of_file = re.escape(f".{path.name}.{_host()}.") + number + r"\.(tmp|old)"
    of_path = re.escape(f".{path.stem}.{_host()}.") + number + r"\.(tmp)" + re.escape(path.suffix)
    of_path = rf"{of_path}|\.{of_path}\.rows\.\w+"  # and the lines of a table that was to become it
    for found in beside:
        match = re.fullmatch(of_file, found.name) or re.fullmatch(of_path, found.name)
        if not match or found in _writing or not _is_dead(int(match[1] or match[3])):
            continue
        if match[2] == "old" and not path.exists():
            found.rename(path)
        elif found.is_dir() and not found.is_symlink():
            shutil.rmtree(found, ignore_errors=True)
        else:
            with suppress(OSError):
                found.unlink()


def _owner() -> str:
    """The part of a temporary name that says which process writes it: `<host>.<pid>`."""
    return f"{_host()}.{os.getpid()}"


@cache
def _host() -> str:
    """A short form of this machine's name, for names of files: letters, digits and -, at most 20 characters.

    Names that are longer, or have other characters, end in a digest of the whole, so that two machines differ.
    """
    name = socket.gethostname()
    if re.fullmatch(r"[A-Za-z0-9-]{1,20}", name):
        return name
    return f"{re.sub('[^A-Za-z0-9]+', '-', name)[:11]}-{xxhash.xxh32_hexdigest(name.encode())}"


def _is_dead(pid: int) -> bool:
    """Whether no process of this machine has the number."""
    if pid == os.getpid():
        return True  # an earlier run in a container, where every run has the same pid
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # a running process of another user
    return False
