"""The catalogues of fonts and backgrounds: names, tags and the user's own paths are resolved to files."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from textgen.common.data_folders import data_folder
from textgen.common.errors import UserError
from textgen.common.yaml_files import load_yaml


@dataclass(frozen=True)
class Asset:
    """A catalogue entry: its files, and all its keys as `metadata` (licence, copyright, source, …)."""

    name: str
    paths: tuple[Path, ...]
    tags: tuple[str, ...]
    metadata: dict[str, Any]


@cache
def load_catalogue(package: str) -> dict[str, Asset]:
    """The assets of a data package (`fonts` or `backgrounds`) by name."""
    root = data_folder(package)
    entries = load_yaml(root / "catalogue.yaml")
    assets = {}
    for name, entry in entries.items():
        files_of_entry = entry["files"] if "files" in entry else [entry["file"]]
        assets[name] = Asset(name, tuple(root / file for file in files_of_entry), tuple(entry["tags"]), entry)
    return assets


def resolve_asset(package: str, item: str, suffixes: Iterable[str], more_names: Iterable[str] = ()) -> list[Path]:
    """The files of `item`: an asset's name, a tag, a file, or a folder of files.

    An item that contains a / or ends in one of `suffixes` is a path, relative to the working folder or with `~`;
    anything else is looked up in the catalogue. `more_names` are further names that the error message lists.
    """
    suffixes = tuple(suffixes)
    if "/" in item or item.lower().endswith(suffixes):
        return find_user_files(Path(item).expanduser(), package, suffixes)
    known = load_catalogue(package)
    if item in known:
        return list(known[item].paths)
    tagged = [path for asset in known.values() if item in asset.tags for path in asset.paths]
    if tagged:
        return tagged
    names = sorted({*known, *more_names, *(tag for asset in known.values() for tag in asset.tags)})
    near = difflib.get_close_matches(item, names, 1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(names)}"
    raise UserError(f"{package} has nothing called {item!r}; {hint} (your own files: give a path with a /)")


def find_user_files(path: Path, package: str, suffixes: tuple[str, ...]) -> list[Path]:
    """The file `path`, or all files below the folder `path` that end in one of `suffixes`, sorted."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(f"{package}: no file or folder {path} (seen from {Path.cwd()})")
    found = sorted(p for p in path.rglob("*") if p.is_file() and p.suffix.lower() in suffixes)
    if not found:
        raise UserError(f"{package}: folder {path} holds no file that ends in {' '.join(suffixes)}")
    return found


def sha256(path: Path) -> str:
    """The hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
