"""The blocks of a data set: runs of samples that are rendered, written and marked as done one by one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xxhash

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


ShardBlocks = dict[tuple[str, int], tuple[Path, int, Mapping[str, int]]]  # (split, block number): (file, row, rejects)


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


def write_block(files: BlockFiles, shard_blocks: ShardBlocks, renderer: Renderer, block: Block) -> int:
    """Render a block or copy it from a shard, write it, and mark it as done. Return its number of samples."""
    indices = range(block.first, block.last)
    if (block.split, block.number) in shard_blocks:
        path, row, rejects = shard_blocks[block.split, block.number]
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
        images = np.ascontiguousarray(stored[row : row + len(indices)])
        texts = renderer.draw_texts(block.split, indices)  # faster than finding their lines in a file
    else:
        crops = renderer.render(block.split, indices)
        images, texts, rejects = crops.images, crops.texts, dict(sorted(crops.rejects.items()))
    with files.images_path(block.split).open("r+b") as file:
        file.seek(files.offset(block))
        file.write(images.data)
    digest = xxhash.xxh3_128_hexdigest(images.data)
    done = files.done_path(block)
    temporary = done.with_suffix(".tmp")
    temporary.write_text(json.dumps({"xxh3": digest, "rejects": rejects, "texts": texts}), encoding="utf-8")
    temporary.rename(done)
    return block.last - block.first


def block_is_intact(files: BlockFiles, block: Block) -> bool:
    """Whether the bytes of a block that is marked as done are on the disk; after a power cut they may be missing."""
    try:
        expected = json.loads(files.done_path(block).read_text(encoding="utf-8"))["xxh3"]
        with files.images_path(block.split).open("rb") as file:
            file.seek(files.offset(block))
            data = file.read((block.last - block.first) * files.size[0] * files.size[1] * 3)
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(xxhash.xxh3_128_hexdigest(data) == expected)
