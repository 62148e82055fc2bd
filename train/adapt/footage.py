"""The crops of the counter, cut from the footage into a folder."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from contextlib import ExitStack
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
    """What tells one choice of footage from another, as 8 hexadecimal digits."""
    s = settings
    source = str(Path(str(s.source)).resolve()) if Path(str(s.source)).exists() else str(s.source)
    chosen = json.dumps([source, s.regions, s.start, s.end, s.every], sort_keys=True)
    return hashlib.sha256(chosen.encode()).hexdigest()[:8]
