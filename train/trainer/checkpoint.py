"""Checkpoints: the complete state of a training, written atomically.

`checkpoint.pt` is the newest, `checkpoint.old.pt` the one before it. Both are in torch's zip format, whose parts have
checksums, and are read without executing anything (`weights_only=True`).
"""

from __future__ import annotations

import io
import os
import pickle
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from textgen.common.atomic import write_atomic
from train.config.advice import OTHER_RUNS_FOLDER

NAMES = ("checkpoint.pt", "checkpoint.old.pt")


def save(folder: Path, state: dict[str, Any]) -> None:
    """Write `state`, nested dicts and lists of tensors, numbers, text and None, and keep the checkpoint before it."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    newest, old = (folder / name for name in NAMES)
    if newest.exists():
        os.replace(newest, old)  # after a kill at this point the old one is resumed
    write_atomic(newest, buffer.getvalue(), OTHER_RUNS_FOLDER)


def load(folder: Path, identity: str) -> dict[str, Any] | None:
    """The newest undamaged state, if `state["identity"] == identity`, or None. Reports damaged files on stderr."""
    state = _newest(folder, print)
    return state if state and state.get("identity") == identity else None


def belongs_to_another_run(folder: Path, identity: str) -> bool:
    """Whether there is a state with another `state["identity"]`, which would be overwritten."""
    state = _newest(folder, lambda *_, **__: None)
    return state is not None and state.get("identity") != identity


def _newest(folder: Path, report: Callable[..., None]) -> dict[str, Any] | None:
    for name in NAMES:
        path = folder / name
        try:
            return _read(path)
        except FileNotFoundError:
            continue
        except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
            then = f"{NAMES[1]} is used" if name == NAMES[0] and (folder / NAMES[1]).exists() else "none is left"
            what = (str(error) or type(error).__name__).splitlines()[0]
            report(f"{path} is damaged and not used ({what}): {then}", file=sys.stderr)
    return None


def remove(folder: Path) -> None:
    """Remove the checkpoints of a finished training, and what a kill while one was written has left."""
    for path in (*(folder / name for name in NAMES), *folder.glob(f".{NAMES[0]}.*.tmp")):
        path.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as parts:
        # torch.save packs nothing: a part that is packed could be a bomb.
        if any(part.compress_type != zipfile.ZIP_STORED for part in parts.infolist()):
            raise zipfile.BadZipFile("its parts are packed, which foldtext does not")
        if sum(part.file_size for part in parts.infolist()) > path.stat().st_size:
            raise zipfile.BadZipFile("its parts are larger than the file")
        if broken := parts.testzip():
            raise zipfile.BadZipFile(f"its part {broken} does not match its checksum")
    state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict):
        raise ValueError("it holds no state")
    return state
