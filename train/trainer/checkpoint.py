"""The complete state of a training as a file that is whole or not there, with the one before it kept.

Two files take turns: `checkpoint.pt` is the newest, `checkpoint.old.pt` the one before. Both are torch's zip format, of
which every part has a checksum, and are read without executing anything (`weights_only=True`).
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
from train.config.paths import OTHER_RUNS_FOLDER

NAMES = ("checkpoint.pt", "checkpoint.old.pt")


def save(folder: Path, state: dict[str, Any]) -> None:
    """Write `state`, nested dicts and lists of tensors, numbers, text and None; the file before it stays beside it."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    newest, old = (folder / name for name in NAMES)
    if newest.exists():
        os.replace(newest, old)  # a kill right here leaves the old one, from which a run goes on as well
    write_atomic(newest, buffer.getvalue(), OTHER_RUNS_FOLDER)


def load(folder: Path, identity: str) -> dict[str, Any] | None:
    """The newest whole state, if `state["identity"] == identity`, or None. Says on stderr which file is damaged."""
    state = _newest(folder, print)
    return state if state and state.get("identity") == identity else None


def of_another(folder: Path, identity: str) -> bool:
    """Whether there is a state with another `state["identity"]`, which would be lost."""
    state = _newest(folder, lambda *_, **__: None)
    return state is not None and state.get("identity") != identity


def _newest(folder: Path, tell: Callable[..., None]) -> dict[str, Any] | None:
    for name in NAMES:
        path = folder / name
        try:
            return _read(path)
        except FileNotFoundError:
            continue
        except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
            then = f"{NAMES[1]} is used" if name == NAMES[0] and (folder / NAMES[1]).exists() else "none is left"
            tell(f"{path} is damaged and not used ({str(error).splitlines()[0]}): {then}", file=sys.stderr)
    return None


def remove(folder: Path) -> None:
    """Remove the files of a training that is done, and what a kill in the middle of writing one has left."""
    for path in (*(folder / name for name in NAMES), *folder.glob(f".{NAMES[0]}.*.tmp")):
        path.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as parts:
        if broken := parts.testzip():
            raise zipfile.BadZipFile(f"its part {broken} does not match its checksum")
    state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict):
        raise ValueError("it holds no state")
    return state
