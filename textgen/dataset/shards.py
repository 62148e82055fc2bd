"""Shards: parts of a data set in folders of their own, `<hash>.shard-<index>-of-<count>`, and what is found in them."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from textgen.common.errors import UserError
from textgen.dataset.blocks import Block, Shard, StoredBlock, StoredBlocks, split_into_blocks
from textgen.dataset.store import (
    MAX_BLOCK_ENTRY,
    MAX_MANIFEST_BYTES,
    DamagedDataset,
    block_rows,
    file_names,
    open_dataset,
)

MAX_SPLIT_ENTRY = 4096  # bytes of the manifest for each split, without its blocks
NAME = re.compile(r"(\w+)\.shard-(\d{1,6})-of-(\d{1,6})")


class ShardsError(UserError):
    """Shards `indices` are missing or damaged; the message names them and says why."""

    def __init__(self, message: str, indices: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.indices = tuple(indices)


def shard_path(path: Path, shard: Shard) -> Path:
    """The folder of a shard of the data set at `path`; that path itself for the whole."""
    return path.with_name(f"{path.name}.shard-{shard.index}-of-{shard.count}") if shard.count > 1 else path


def parse_shard_name(name: str) -> tuple[str, Shard] | None:
    """The name of the data set and the shard that a folder's name says; None for another folder.

    >>> parse_shard_name("8721c537f3acac46.shard-3-of-8")
    ('8721c537f3acac46', Shard(index=3, count=8))
    """
    match = NAME.fullmatch(name)
    shard = Shard(int(match[2]), int(match[3])) if match else None
    return (match[1], shard) if match and shard and shard.index < shard.count else None


def shard_blocks(
    manifest: Mapping[str, Any], counts: Mapping[str, int], size: tuple[int, int], shard: Shard
) -> dict[str, list[Block]]:
    """The blocks of a shard by split, in the order of its manifest.

    `counts` are the samples of each split of the whole data set, `size` (H, W) is that of its images. Raises
    `DamagedDataset`, with a `problem` alone, if the manifest is not of this shard.
    """
    other = "its manifest belongs to another shard or definition"
    given = manifest.get("shard")
    if given != {"index": shard.index, "count": shard.count} or set(manifest["splits"]) != set(counts):
        raise DamagedDataset(other, other)
    blocks = {split: split_into_blocks(split, count, block_rows(size), shard) for split, count in counts.items()}
    for split, entry in manifest["splits"].items():
        images = sum(block.last - block.first for block in blocks[split])
        if (entry["images"], len(entry["blocks"])) != (images, len(blocks[split])):
            raise DamagedDataset(other, other)
    return blocks


def _stored_blocks(
    folder: Path, digest: str, counts: Mapping[str, int], size: tuple[int, int], shard: Shard, verify: bool
) -> StoredBlocks:
    """The blocks of the shard of data set `digest` in `folder`. Raises `UserError` for a damaged one."""
    dataset = open_dataset(folder, verify)
    if dataset.hash != digest:
        raise DamagedDataset(problem := "its manifest belongs to another definition", problem)
    found: StoredBlocks = {}
    row = size[0] * size[1] * 3
    for split, blocks in shard_blocks(dataset.manifest, counts, size, shard).items():
        entry, path = dataset.manifest["splits"][split], folder / file_names(split)[0]
        header = path.stat().st_size - entry["images"] * row
        for block, stored in zip(blocks, entry["blocks"], strict=True):
            found[split, block.number] = StoredBlock(path, header + block.row * row, stored["xxh3"], stored["rejects"])
    return found


def find_stored_blocks(path: Path, digest: str, counts: Mapping[str, int], size: tuple[int, int]) -> StoredBlocks:
    """The blocks in the intact shards of the data set at `path` with hash `digest`; damaged ones are told on stderr.

    `counts` are the samples of each split of the whole, `size` (H, W) is that of the images.
    """
    found: StoredBlocks = {}
    for folder in sorted(path.parent.glob(f"{path.name}.shard-*")):
        name = parse_shard_name(folder.name)
        if name is None:
            continue
        try:
            found |= _stored_blocks(folder, digest, counts, size, name[1], verify=True)
        except (UserError, KeyError, TypeError, ValueError) as error:
            print(f"shard {folder} is skipped: {error}", file=sys.stderr)
    return found


def require_stored_blocks(
    path: Path, digest: str, counts: Mapping[str, int], size: tuple[int, int], count: int
) -> StoredBlocks:
    """The blocks of all `count` shards, whose images are not yet read. Raises `ShardsError` that names all others.

    Where a shard is missing or damaged, the images of the others are read too, so that the error names all of them.
    """
    found: StoredBlocks = {}
    problems: dict[int, str] = {}
    for verify in (False, True):
        for index in range(count):
            folder = shard_path(path, shard := Shard(index, count))
            if index in problems:
                continue
            try:
                if folder.exists():
                    found |= _stored_blocks(folder, digest, counts, size, shard, verify)
                else:
                    problems[index] = ""
            except DamagedDataset as error:
                problems[index] = error.problem
            except (KeyError, TypeError, ValueError) as error:
                if isinstance(error, UserError):
                    raise
                problems[index] = "manifest.json is damaged"
        if not problems:
            return found
    raise shards_error(path, count, dict(sorted(problems.items())))


def shards_error(path: Path | str, count: int, problems: Mapping[int, str]) -> ShardsError:
    """The error for shards of the data set at `path`, by index: "" for a missing one, else what is wrong with it."""
    missing = [index for index, problem in problems.items() if not problem]
    parts = [f"{list_indices(missing)} missing"] if missing else []
    parts += [f"{index} damaged ({problem})" for index, problem in problems.items() if problem]
    return ShardsError(f"of the {count} shards of {path}: {', '.join(parts)}", sorted(problems))


def damaged_copies(path: Path, count: int, damaged: Iterable[Path]) -> ShardsError:
    """The error for shards, by folder, whose images turned out to be damaged while they were copied."""
    names = (parse_shard_name(folder.name) for folder in damaged)
    indices = sorted(name[1].index for name in names if name)
    return shards_error(path, count, dict.fromkeys(indices, "images do not have the bytes that were written"))


def list_indices(indices: Sequence[int]) -> str:
    """Indices in rising order, in short.

    >>> list_indices([0, 1, 2, 5, 7, 8])
    '0-2, 5, 7, 8'
    """
    runs: list[list[int]] = []
    for index in indices:
        if runs and runs[-1][-1] == index - 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs)


def check_manifest_size(
    path: Path, identity: Mapping[str, Any], counts: Mapping[str, int], size: tuple[int, int], shard: Shard
) -> None:
    """Raise `UserError` if the manifest of a data set or shard at `path` would be too large to be read.

    `identity` is that of the data set, `counts` the samples of each split of the whole, `size` (H, W) of the images.
    """
    head = len(json.dumps(identity, indent=1)) + MAX_SPLIT_ENTRY * len(counts)
    most = max((MAX_MANIFEST_BYTES - head) // MAX_BLOCK_ENTRY, 1)
    rows = block_rows(size)
    whole = [-(-count // rows) for count in counts.values()]
    blocks = sum(blocks * (shard.index + 1) // shard.count - blocks * shard.index // shard.count for blocks in whole)
    if blocks > most:
        needed = -(-sum(whole) // max(most - len(whole), 1))
        raise UserError(
            f"{path} would have {blocks:,} blocks of {rows:,} images, and a manifest holds {most:,}: make"
            f" {needed:,} shards or more with shard.count, and train on them without merging, with data=shards"
        )


def check_room(path: Path, part: Path, counts: Mapping[str, int], size: tuple[int, int], quiet: bool) -> None:
    """Say how much disk a merge to `path` takes, of which `part` holds some. Raises `UserError` if there is too little.

    A sample takes its image, a label of 8 bytes, and its text, twice until the end.
    """
    samples = sum(counts.values())
    needed = samples * (size[0] * size[1] * 3 + 8 + 64)
    used = sum(file.stat().st_blocks * 512 for file in part.rglob("*") if file.is_file()) if part.is_dir() else 0
    folder = next(parent for parent in path.parents if parent.exists())
    free, left = shutil.disk_usage(folder).free, max(needed - used, 0)
    if left > free:
        raise UserError(
            f"merging {samples:,} images in {path} takes {left / 1e9:.2f} GB more, and {free / 1e9:.2f} GB are free:"
            " make room, or train on the shards as they are, with data=shards"
        )
    if not quiet:
        print(f"merging {samples:,} images takes {left / 1e9:.2f} GB of {free / 1e9:.2f} GB free", file=sys.stderr)
