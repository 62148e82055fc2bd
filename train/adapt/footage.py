"""The crops of the counter, cut from the footage into a folder."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from textgen.common.errors import UserError
from textgen.common.progress import progress_bar
from textgen.cut.crops import Choice, cut_crops, warn
from textgen.footage.index import INDEX
from train.adapt.settings import Settings


def cut_counter(settings: Settings, game: str) -> Path:
    """Cut the regions of the footage into a folder, unless that was done before, and return it. Raises `UserError`."""
    s = settings
    folder = s.crops or s.runs / f"crops_{game}_{_name_footage(s)}"
    if (folder / INDEX).is_file():
        print(f"the crops in {folder} are there already", file=sys.stderr)
        return folder
    if s.source is None or s.regions is None:
        raise UserError(f"crops={s.crops} holds no crops of textgen.cut: give source=… and regions=…, to cut them")
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UserError(f"crops={folder} holds other things than crops of textgen.cut: give a new or empty folder")
    with ExitStack() as stack:

        def show_progress(frames: int | None) -> Callable[[int], object]:
            bar = stack.enter_context(progress_bar(frames, "frames cut"))
            update: Callable[[int], object] = bar.update
            return update

        cut = cut_crops(str(s.source), s.regions, folder, Choice(s.start, s.end, s.every), progress=show_progress)
    warn(cut.problem)
    print(f"{cut.crops} crops of {cut.first_time:.1f} to {cut.last_time:.1f} s cut", file=sys.stderr)
    return folder


def _name_footage(settings: Settings) -> str:
    """What tells one choice of footage from another, as 8 hexadecimal digits.

    A video file that is recorded anew and a file of regions that is changed are other choices.
    """
    s = settings
    chosen = json.dumps([_identify(s.source), _identify(s.regions), s.start, s.end, s.every], sort_keys=True)
    return hashlib.sha256(chosen.encode()).hexdigest()[:8]


def _identify(given: object) -> object:
    """A setting, and if it names a file, its place, size and time of change instead."""
    if not isinstance(given, str):
        return given
    path = Path(given).expanduser()
    with suppress(OSError, ValueError):  # of what is no path
        about = path.stat()
        return [str(path.resolve()), *([about.st_size, about.st_mtime_ns] if path.is_file() else [])]
    return given
