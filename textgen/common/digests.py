"""The digests of the files of a finished folder, in its file digests.json: a damaged file is told, and never used.

A file that no digests.json names is taken as it is: of an older version, or moved elsewhere.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import xxhash

from textgen.common.atomic import write_atomic
from textgen.common.bounded_text import load_json
from textgen.common.errors import UserError

DIGESTS = "digests.json"
BLOCK = 1 << 20  # bytes that are read at once


def write_digests(folder: Path, files: Iterable[str], contents: Mapping[str, bytes], advice: str) -> None:
    """Write the digests of `files` in `folder`, and of files that are written next, by their `contents`.

    `advice` is that of `textgen.common.atomic.write_atomic`.
    """
    digests = {name: digest_file(folder / name).hexdigest() for name in files}
    digests |= {name: xxhash.xxh3_128_hexdigest(data) for name, data in contents.items()}
    write_atomic(folder / DIGESTS, json.dumps(digests, indent=1).encode(), advice)


def remove_digests(folder: Path) -> None:
    """Before the files of a folder change."""
    (folder / DIGESTS).unlink(missing_ok=True)


def check_digest(path: Path, advice: str) -> None:
    """Raise `UserError` if the folder of `path` has a digest of that file, and the file has other bytes.

    `advice` ends the message.
    """
    expected = _read(path.parent, advice).get(path.name)
    if expected is not None and path.exists() and digest_file(path).hexdigest() != expected:
        raise UserError(f"{path} is damaged: it does not have the bytes that were written; {advice}")


def check_digests(folder: Path, advice: str) -> None:
    """`check_digest` for all files that have one; they have to be there."""
    for name in _read(folder, advice):
        if not (folder / name).exists():
            raise UserError(f"{folder / name} is missing; {advice}")
        check_digest(folder / name, advice)


def _read(folder: Path, advice: str) -> dict[str, str]:
    path = folder / DIGESTS
    try:
        found = load_json(path)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all("/" not in name for name in found):
        raise UserError(f"{path} is damaged; {advice}")
    return {str(name): str(digest) for name, digest in found.items()}


def digest_file(path: Path, size: int | None = None) -> xxhash.xxh3_128:
    """The xxh3 of a file, or of its first `size` bytes, read in parts; more bytes can be added to it."""
    digest = xxhash.xxh3_128()
    left = sys.maxsize if size is None else size
    with path.open("rb") as file:
        while block := file.read(min(BLOCK, left)):
            digest.update(block)
            left -= len(block)
    return digest
