"""numba, with a cache that notices every change of the compiled code.

numba looks at one function's own file, and not at what is compiled into it from others: after a change there it would
go on with old code. Here the cache's folder is named by a digest of all of them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba

HERE = Path(__file__).parent
config: Any = numba.config


def compiled(function: Callable[..., Any]) -> Any:
    """Compile for any number of threads; keep what was compiled, where there is a place for it."""
    folder, before = _folder(), config.CACHE_DIR
    if folder is None:
        return numba.njit(function, nogil=True)
    config.CACHE_DIR = str(folder)  # read when a function is decorated; other users of numba keep theirs
    try:
        return numba.njit(function, nogil=True, cache=True)
    finally:
        config.CACHE_DIR = before


def is_cold() -> bool:
    """Whether the first drawing has to compile, for half a minute or so."""
    folder = _folder()
    return folder is None or not any(folder.rglob("compose.draw*.nbc"))


@cache
def _folder() -> Path | None:
    """Where compiled code is kept: as NUMBA_CACHE_DIR says, beside the package, or in the user's cache."""
    digest = hashlib.sha256()
    for path in sorted(HERE.glob("*.py")):
        digest.update(path.read_bytes())
    name = f"foldtext-numba-{digest.hexdigest()[:16]}"
    given = os.environ.get("NUMBA_CACHE_DIR")
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    # Not in a folder for temporary files: what lies in a cache is executed, and others can write there.
    for place in [Path(given)] if given else [HERE / "__pycache__", Path(home) / "foldtext"]:
        try:
            (place / name).mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(place / name, os.W_OK):
            for old in place.glob("foldtext-numba-*"):
                if old.name != name:
                    shutil.rmtree(old, ignore_errors=True)
            return place / name
    return None
