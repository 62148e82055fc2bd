"""The state of a half-done table of rows, in a hidden file beside it: a stopped command goes on from there.

Rows that were written after the state are cut off and are made again.
"""

from __future__ import annotations

import errno
import io
import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from textgen.common.atomic import OTHER_OUT, file_lock, os_errors_as_user_errors, write_atomic
from textgen.common.errors import UserError
from textgen.footage.frames import URL
from train.common.lines import digest_lines

MAX_STATE_BYTES = 160 << 20  # of a state: the tables of smoothing, for 10,000 classes and a few seconds of frames
CHECK = 32  # bytes at the end of the file of a state: the digest of those before


@dataclass(frozen=True)
class SavedState:
    """How far a command was: the bytes of its lines with their digest, the last frame that was read, and arrays of the
    command's own."""

    offset: int
    digest: str
    frame: int
    time: float
    arrays: dict[str, NDArray[Any]]


@contextmanager
def lock_output(out: Path) -> Iterator[None]:
    """Hold `out` for this process: another one that writes it is waited for. Raises `UserError`."""
    with ExitStack() as stack:
        with os_errors_as_user_errors(out, OTHER_OUT):
            if not out.parent.is_dir():  # a lock would create it
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            lock = out.with_name(f".{out.name}.lock")
            stack.enter_context(file_lock(lock, f"another process writes {out}", remove=True))
        yield


def state_path(out: Path) -> Path:
    return out.with_name(f".{out.name}.state.npz")


def is_resumable(source: str) -> bool:
    """Whether the frames of a source are there again when it is opened again: not those of a camera or a stream."""
    return not (URL.match(source) or source.isdigit())


def identify_source(source: str) -> str:
    """What tells a file from one that took its place: its path, size and time of change."""
    path = Path(source).expanduser()
    found = path.stat() if path.exists() else None
    return f"{path.resolve()} {found.st_size} {found.st_mtime_ns}" if found else str(path.absolute())


def save_state(out: Path, identity: Mapping[str, str], state: SavedState) -> None:
    """Replace the state beside `out`; its rows up to `state.offset` have to be on the disk."""
    about = {"identity": dict(identity), "offset": state.offset, "frame": state.frame, "time": state.time}
    about["digest"] = state.digest
    buffer = io.BytesIO()
    np.savez(buffer, about=np.frombuffer(json.dumps(about).encode(), np.uint8), **state.arrays)  # type: ignore[arg-type]
    data = buffer.getvalue()
    write_atomic(state_path(out), data + _check(data), OTHER_OUT)


def _check(data: bytes) -> bytes:
    return xxhash.xxh3_128_hexdigest(data).encode()


def find_state(out: Path, lines: Path, identity: Mapping[str, str], *, overwrite: bool) -> SavedState | None:
    """The state of `load_state`; with `overwrite`, one that cannot go on is removed: the command begins again."""
    try:
        return load_state(out, lines, identity)
    except UserError:
        if not overwrite:
            raise
        state_path(out).unlink(missing_ok=True)
        return None


def load_state(out: Path, lines: Path, identity: Mapping[str, str]) -> SavedState | None:
    """The state beside `out`, None if there is none or its file `lines` is gone.

    Raises `UserError` for a state of other settings, and for lines that somebody has changed.
    """
    path = state_path(out)
    try:
        with path.open("rb") as opened:
            content = opened.read(MAX_STATE_BYTES + 1)
        data = content[:-CHECK]
        if len(content) > MAX_STATE_BYTES or content[-CHECK:] != _check(data):
            raise ValueError("its digest is another one")
        with zipfile.ZipFile(io.BytesIO(data)) as parts:
            if sum(part.file_size for part in parts.infolist()) > len(data):
                raise ValueError("its arrays are packed, which foldtext does not")
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        about = json.loads(arrays.pop("about").tobytes())
        offset, digest = int(about["offset"]), str(about["digest"])
        saved = SavedState(offset, digest, int(about["frame"]), float(about["time"]), arrays)
        before = dict(about["identity"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        raise UserError(f"{path} is damaged: remove it, and {lines}, to begin again") from None
    if not lines.is_file():
        return None
    if other := [key for key in identity if before.get(key) != identity[key]]:
        raise UserError(
            f"out={out} is half-done with another {other[0]}: give the settings it was begun with to go on, another"
            " out=…, or overwrite=true"
        )
    if digest_lines(lines, saved.offset) != saved.digest:
        raise UserError(f"{lines} has lost rows, or others: begin again with overwrite=true, or give another out=…")
    return saved
