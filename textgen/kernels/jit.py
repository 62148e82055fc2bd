"""numba with a cache on disk that is renewed whenever any file of this package changes.

numba checks only the file of a compiled function, and not the files of the functions that it calls: after a change
there it would keep running old code. Here the cache folder is named by a digest of all files of the package.
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

FOLDER = Path(__file__).parent  # of the kernels
config: Any = numba.config


def compiled(function: Callable[..., Any]) -> Any:
    """Compile `function` at its first call, without the GIL, and cache the code where a folder can be written."""
    folder, before = _find_cache_folder(), config.CACHE_DIR
    if folder is None:
        return numba.njit(function, nogil=True)
    config.CACHE_DIR = str(folder)  # numba reads it in the decorator; other users of numba keep their setting
    try:
        return numba.njit(function, nogil=True, cache=True)
    finally:
        config.CACHE_DIR = before


def is_cached(function: Any) -> bool:
    """Whether the code of a `compiled` function is in the cache, so that its first call does not compile."""
    folder, module = _find_cache_folder(), function.__module__.rpartition(".")[2]
    return folder is not None and any(folder.rglob(f"{module}.{function.__qualname__}-*.nbc"))


@cache
def _find_cache_folder() -> Path | None:
    """The first that can be written of NUMBA_CACHE_DIR or else the package's __pycache__ and the user's cache."""
    digest = hashlib.sha256()
    for path in sorted(FOLDER.glob("*.py")):
        digest.update(path.read_bytes())
    name = f"foldtext-numba-{digest.hexdigest()[:16]}"
    given = os.environ.get("NUMBA_CACHE_DIR")
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    # Never a folder for temporary files: cached code is executed, and other users can write there.
    for place in [Path(given)] if given else [FOLDER / "__pycache__", Path(home) / "foldtext"]:
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
