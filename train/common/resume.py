"""The state of a half-done table of rows, in a hidden file beside it: a stopped command goes on from there.

Rows that were written after the state are cut off and are made again.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textgen.common.atomic import OTHER_OUT, write_atomic
from textgen.common.errors import UserError
from textgen.footage.frames import URL

CHECKED = 4096  # bytes of the last rows, which have to be as they were


@dataclass(frozen=True)
class SavedState:
    """How far a command was: the bytes of its lines, the last frame that was read, and arrays of the command's own."""

    offset: int
    frame: int
    time: float
    arrays: dict[str, NDArray[Any]]


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


def save_state(out: Path, lines: Path, identity: Mapping[str, str], state: SavedState) -> None:
    """Replace the state beside `out`; the rows of its file `lines` up to `state.offset` have to be on the disk."""
    about = {"identity": dict(identity), "offset": state.offset, "frame": state.frame, "time": state.time}
    about["end"] = _digest_end(lines, state.offset)
    buffer = io.BytesIO()
    np.savez(buffer, about=np.frombuffer(json.dumps(about).encode(), np.uint8), **state.arrays)  # type: ignore[arg-type]
    write_atomic(state_path(out), buffer.getvalue(), OTHER_OUT)


def _digest_end(lines: Path, offset: int) -> str:
    """A digest of the last rows before `offset`."""
    with lines.open("rb") as file:
        file.seek(max(offset - CHECKED, 0))
        return hashlib.sha256(file.read(min(CHECKED, offset))).hexdigest()


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
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        about = json.loads(arrays.pop("about").tobytes())
        saved = SavedState(int(about["offset"]), int(about["frame"]), float(about["time"]), arrays)
        before, end = dict(about["identity"]), str(about["end"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        raise UserError(f"{path} is damaged: remove it, and {lines}, to begin again") from None
    if not lines.is_file():
        return None
    if other := [key for key in identity if before.get(key) != identity[key]]:
        raise UserError(
            f"out={out} is half-done with another {other[0]}: give the settings it was begun with to go on, another"
            " out=…, or overwrite=true"
        )
    if os.path.getsize(lines) < saved.offset or _digest_end(lines, saved.offset) != end:
        raise UserError(f"{lines} has lost rows, or others: begin again with overwrite=true, or give another out=…")
    return saved
