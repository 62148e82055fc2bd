"""Font files that a counter may be set in: the catalogue's, the user's, and those installed on this machine."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from textgen.assets.catalogue import load_catalogue, resolve_asset
from textgen.assets.fonts import SUFFIXES

SYSTEM_FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts", "~/.fonts")
MAC_FOLDERS = ("/System/Library/Fonts", "/Library/Fonts", "~/Library/Fonts")
MAX_SYSTEM_FONTS = 400
# Styles in which no counter is set. Their families are found by their other files.
SLANTED_OR_THIN = re.compile(r"italic|oblique|thin|hairline|extralight|ultralight|[-_](it|bi|i)$", re.IGNORECASE)
FOR_TEXT = re.compile(r"bold|black|heavy|medium|condensed|regular", re.IGNORECASE)


@dataclass(frozen=True)
class Candidate:
    """A font file, and the item that stands for it in `text.fonts` of a game: a family or the file's path.

    `installed` is whether it is one of this machine, which others may lack.
    """

    path: Path
    item: str
    title: str
    installed: bool = False


def find_candidates(given: Sequence[str] = (), system: bool = True) -> list[Candidate]:
    """The fonts `given`, as in `text.fonts`, the catalogue's, and with `system` those installed, no file twice."""
    found: dict[Path, Candidate] = {}
    for item in given:
        for path in resolve_asset("fonts", item, SUFFIXES):
            found.setdefault(
                path.resolve(), Candidate(path, item if item in load_catalogue("fonts") else str(path), path.stem)
            )
    for family in load_catalogue("fonts").values():
        for path in family.paths:
            found.setdefault(path.resolve(), Candidate(path, family.name, path.stem))
    for path in find_system_fonts() if system else ():
        found.setdefault(path.resolve(), Candidate(path, str(path), path.stem, True))
    return list(found.values())


def find_system_fonts() -> list[Path]:
    """At most MAX_SYSTEM_FONTS upright font files of the folders that fontconfig, macOS or Windows use."""
    folders = [Path(folder).expanduser() for folder in _list_folders()]
    paths = {path for folder in folders for path in _walk(folder) if not SLANTED_OR_THIN.search(path.stem)}
    ranked = sorted(paths, key=lambda path: (not FOR_TEXT.search(path.stem), path.name))
    return ranked[:MAX_SYSTEM_FONTS]


def _list_folders() -> Iterable[str]:
    if sys.platform == "win32":
        return (str(Path(os.environ.get("WINDIR", r"C:\Windows")) / "Fonts"),)
    return MAC_FOLDERS if sys.platform == "darwin" else SYSTEM_FOLDERS


def _walk(folder: Path) -> Iterator[Path]:
    for root, _, names in os.walk(folder):  # a folder that cannot be read is left out
        for name in names:
            if name.lower().endswith(SUFFIXES):
                yield Path(root) / name
