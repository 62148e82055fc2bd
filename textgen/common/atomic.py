"""Files and folders that are whole or not there: written beside their place, and renamed into it at the end."""

from __future__ import annotations

import errno
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import filelock

from textgen.common.errors import UserError

USER_ERRNOS = {  # by the user: no room, or a path that cannot be
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ENOENT, errno.ENAMETOOLONG, errno.ELOOP),
}
OTHER_OUT = "another place with out=…"  # the advice of commands whose setting `out` cannot be written
_writing: set[Path] = set()  # the temporary folders of this process


@contextmanager
def os_errors_as_user_errors(path: Path, advice: str) -> Iterator[None]:
    """Raise as `UserError` what the user can mend while `path` is written: no permission, no room, an impossible path.

    `advice` ends the advice "make room or choose …".
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
def atomic_file(path: Path, advice: str) -> Iterator[Callable[[bytes], None]]:
    """Gives a function that writes the whole of `path`; without a call of it the file stays as it was.

    The temporary file beside it is there from the beginning: a place that cannot be written is an error before any
    work. Raises `UserError` for what the user can mend; `advice` ends the advice "choose …".
    """
    path = Path(os.path.realpath(path))
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")

    def write(data: bytes) -> None:
        with os_errors_as_user_errors(path, advice):
            temporary.write_bytes(data)
            temporary.replace(path)

    try:
        with os_errors_as_user_errors(path, advice):
            temporary.touch()
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        yield write
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_atomic(path: Path, data: bytes, advice: str) -> None:
    """Write a file whole or not at all, as `atomic_file` does."""
    with atomic_file(path, advice) as write:
        write(data)


@contextmanager
def atomic_folder(path: Path, advice: str, existing: Literal["keep", "replace", "refuse"] = "keep") -> Iterator[Path]:
    """An empty folder to write to, beside `path`; it takes that place when the block ends well and vanishes otherwise.

    `existing` says what becomes of a folder that is at `path` when the block ends: it stays (another process wrote the
    same bytes), is replaced, or is an error. `advice` ends the advice "make room or choose …". Raises `UserError`
    for what the user can mend: no permission, no room, a path that cannot be. Other errors and Ctrl-C pass as they are.
    """
    path = Path(os.path.realpath(path))  # also of a link: what it leads to is replaced, and never the link alone
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with os_errors_as_user_errors(path, advice):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        temporary.mkdir()
        _writing.add(temporary)
        try:
            if path.exists() and not path.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
            yield temporary
            _put(temporary, path, advice, existing)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            _writing.discard(temporary)


@contextmanager
def file_lock(lock: Path, told: str, quiet: bool = False) -> Iterator[None]:
    """Only one process at a time has the file `lock`, made if it is not there; `told` says to another why it waits.

    The system frees the lock of a process that is killed.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    held = filelock.FileLock(lock)
    try:
        held.acquire(timeout=0)
    except filelock.Timeout:
        if not quiet:
            print(f"{told}: waiting for it", file=sys.stderr)
        held.acquire()
    try:
        yield
    finally:
        held.release()


def _put(temporary: Path, path: Path, advice: str, existing: Literal["keep", "replace", "refuse"]) -> None:
    if not path.exists():
        try:
            temporary.rename(path)
            return
        except OSError:
            if not path.is_dir():  # else another process was there in between
                raise
    if existing == "refuse":
        raise UserError(f"{path} was made by another process meanwhile: choose {advice}")
    elif existing == "replace":
        old = temporary.with_suffix(".old")
        path.rename(old)
        try:
            temporary.rename(path)
        except BaseException:
            old.rename(path)
            raise
        shutil.rmtree(old, ignore_errors=True)


def _remove_abandoned(path: Path) -> None:
    """Remove what killed processes have left beside `path`."""
    for folder in path.parent.iterdir():
        match = re.fullmatch(re.escape(f".{path.name}.") + r"([1-9][0-9]{0,8})\.(tmp|old)", folder.name)
        if match and folder not in _writing and _is_dead(int(match[1])):
            shutil.rmtree(folder, ignore_errors=True)


def _is_dead(pid: int) -> bool:
    if pid == os.getpid():
        return True  # a container gives every run the same number: an earlier one had it
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # another user's process, and it runs
    return False
