"""What is common to both asset catalogues: names, tags and the user's own paths, resolved to files."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from textgen.common.errors import UserError


@dataclass(frozen=True)
class Asset:
    """A catalogue entry: the files that it stands for and whatever else the catalogue says of it."""

    name: str
    paths: tuple[Path, ...]
    tags: tuple[str, ...]
    about: dict[str, Any]  # licence, copyright, source, …


@cache
def catalogue(package: str) -> dict[str, Asset]:
    """The assets of a data package (`fonts` or `backgrounds`) by name."""
    root = Path(str(files(package)))
    entries = yaml.safe_load((root / "catalogue.yaml").read_text(encoding="utf-8"))
    assets = {}
    for name, about in entries.items():
        names = about["files"] if "files" in about else [about["file"]]
        assets[name] = Asset(name, tuple(root / n for n in names), tuple(about["tags"]), about)
    return assets


def resolve_asset(package: str, item: str, suffixes: Iterable[str], also: Iterable[str] = ()) -> list[Path]:
    """The files that `item` stands for: an asset's name, a tag, a file, or a folder of files.

    An item with a path separator or one of `suffixes` is a path of the user's own, `~` and relative to the working
    folder; anything else is looked up. `also` are further names for the error message to know.
    """
    suffixes = tuple(suffixes)
    if "/" in item or item.lower().endswith(suffixes):
        return user_files(Path(item).expanduser(), package, suffixes)
    known = catalogue(package)
    if item in known:
        return list(known[item].paths)
    tagged = [path for asset in known.values() if item in asset.tags for path in asset.paths]
    if tagged:
        return tagged
    names = sorted({*known, *also, *(tag for asset in known.values() for tag in asset.tags)})
    near = difflib.get_close_matches(item, names, 1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(names)}"
    raise UserError(f"{package} has nothing called {item!r}; {hint} (your own files: give a path with a /)")


def user_files(path: Path, package: str, suffixes: tuple[str, ...]) -> list[Path]:
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
