"""The blocks of a data set: runs of samples that are rendered, written and marked as done one by one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xxhash

from textgen.common.array_types import U8
from textgen.dataset.store import file_names, npy_header
from textgen.render.renderer import Renderer


@dataclass(frozen=True)
class Shard:
    """Shard `index` (from 0) of `count`; shard 0 of 1 is the whole data set."""

    index: int = 0
    count: int = 1


WHOLE = Shard()


class Block(NamedTuple):
    """The samples `first` to `last` (exclusive) of a split, stored from row `row` of the file on."""

    split: str
    number: int
    first: int
    last: int
    row: int


def split_into_blocks(split: str, count: int, rows: int, shard: Shard) -> list[Block]:
    """Split `count` samples into blocks of `rows`; return those that belong to the shard."""
    blocks = -(-count // rows)
    first, last = (blocks * part // shard.count for part in (shard.index, shard.index + 1))
    return [Block(split, n, n * rows, min((n + 1) * rows, count), (n - first) * rows) for n in range(first, last)]


class StoredBlock(NamedTuple):
    """A block in the file of a shard: its byte offset there, its digest, and its draws that were rejected."""

    path: Path
    offset: int
    xxh3: str
    rejects: Mapping[str, int]


StoredBlocks = dict[tuple[str, int], StoredBlock]  # by split and number


class BlockFiles(NamedTuple):
    """The files in `folder` to which blocks are written: crops of `size` (H, W), `counts` samples by split."""

    folder: Path
    size: tuple[int, int]
    counts: Mapping[str, int]

    def images_path(self, split: str) -> Path:
        """The .npy file of the images of a split."""
        return self.folder / file_names(split)[0]

    def header(self, split: str) -> bytes:
        """The .npy header of that file."""
        return npy_header((self.counts[split], *self.size, 3), np.dtype(np.uint8))

    def offset(self, block: Block) -> int:
        """The byte offset of a block in that file."""
        return len(self.header(block.split)) + block.row * self.size[0] * self.size[1] * 3

    def done_path(self, block: Block) -> Path:
        """The file that marks a block as done; it holds its digest, rejects and texts."""
        return self.folder / "done" / f"{block.split}-{block.number}.json"


def write_block(files: BlockFiles, stored: StoredBlocks, renderer: Renderer, block: Block) -> int:
    """Copy a block from a shard or render it, write it, and mark it as done. Return its number of samples."""
    if copied := copy_block(files, stored, set(), renderer, block):
        return copied
    crops = renderer.render(block.split, range(block.first, block.last))
    return _write(files, block, crops.images, crops.texts, dict(sorted(crops.rejects.items())))


def copy_block(files: BlockFiles, stored: StoredBlocks, damaged: set[Path], renderer: Renderer, block: Block) -> int:
    """Copy a block from a shard, and mark it as done. Return its number of samples.

    Returns 0 if no shard has it, or if its bytes there differ from what was written: then the shard's folder is added
    to `damaged`.
    """
    found = stored.get((block.split, block.number))
    if found is None:
        return 0
    data = b""
    with suppress(OSError), found.path.open("rb", buffering=0) as file:
        file.seek(found.offset)
        data = file.read((block.last - block.first) * files.size[0] * files.size[1] * 3)
    if xxhash.xxh3_128_hexdigest(data) != found.xxh3:
        damaged.add(found.path.parent)
        return 0
    images = np.frombuffer(data, np.uint8)
    texts = renderer.draw_texts(block.split, range(block.first, block.last))  # faster than finding them in a file
    return _write(files, block, images, texts, found.rejects)


def _write(files: BlockFiles, block: Block, images: U8, texts: Sequence[str], rejects: Mapping[str, int]) -> int:
    with files.images_path(block.split).open("r+b") as file:
        file.seek(files.offset(block))
        file.write(images.data)
    digest = xxhash.xxh3_128_hexdigest(images.data)
    done = files.done_path(block)
    temporary = done.with_suffix(".tmp")
    mark = {"xxh3": digest, "rejects": dict(rejects), "texts": list(texts)}
    temporary.write_text(json.dumps({**mark, "check": _digest_mark(mark)}), encoding="utf-8")
    temporary.rename(done)
    return block.last - block.first


def _digest_mark(mark: Mapping[str, Any]) -> str:
    return xxhash.xxh3_64_hexdigest(json.dumps(mark).encode())


def block_is_intact(files: BlockFiles, block: Block) -> bool:
    """Whether the bytes of a block that is marked as done are on the disk; after a power cut they may be missing.

    The texts are in the mark itself, which has a digest of its own.
    """
    try:
        mark = json.loads(files.done_path(block).read_text(encoding="utf-8"))
        expected = mark["xxh3"]
        if mark.pop("check") != _digest_mark(mark):
            return False
        with files.images_path(block.split).open("rb") as file:
            file.seek(files.offset(block))
            data = file.read((block.last - block.first) * files.size[0] * files.size[1] * 3)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    return bool(xxhash.xxh3_128_hexdigest(data) == expected)
