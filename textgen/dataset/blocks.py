"""The blocks of which a data set is built: which there are, where they lie, how one is filled and marked as done."""

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
    """Shard `index` (from 0) of `count`; one of one is the whole data set."""

    index: int = 0
    count: int = 1


WHOLE = Shard()


class Block(NamedTuple):
    """A task: the samples `first` to `last` of a split, which begin at row `row` of the file."""

    split: str
    number: int
    first: int
    last: int
    row: int


def split_into_blocks(split: str, count: int, rows: int, shard: Shard) -> list[Block]:
    """The blocks of a split that a shard holds."""
    number = -(-count // rows)
    first, last = (number * part // shard.count for part in (shard.index, shard.index + 1))
    return [Block(split, n, n * rows, min((n + 1) * rows, count), (n - first) * rows) for n in range(first, last)]


ShardBlocks = dict[tuple[str, int], tuple[Path, int, Mapping[str, int]]]  # by split and block: file, row, rejects


class BlockFiles(NamedTuple):
    """Where blocks are written: a folder whose arrays of crops `size` hold `counts` samples."""

    part: Path
    size: tuple[int, int]
    counts: Mapping[str, int]

    def images(self, split: str) -> Path:
        """The file of a split's images."""
        return self.part / file_names(split)[0]

    def header(self, split: str) -> bytes:
        """The beginning of that file."""
        return npy_header((self.counts[split], *self.size, 3), np.dtype(np.uint8))

    def offset(self, block: Block) -> int:
        """The byte in that file at which a block begins."""
        return len(self.header(block.split)) + block.row * self.size[0] * self.size[1] * 3

    def mark(self, block: Block) -> Path:
        """The file that says that a block is done, with its digest, rejects and texts."""
        return self.part / "done" / f"{block.split}-{block.number}.json"


def write_block(target: BlockFiles, held: ShardBlocks, renderer: Renderer, block: Block) -> int:
    """Render a block, or copy it from a shard, into its place, and mark it as done. Returns its number of samples."""
    indices = range(block.first, block.last)
    if (block.split, block.number) in held:
        path, row, rejects = held[block.split, block.number]
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
        images = np.ascontiguousarray(stored[row : row + len(indices)])
        texts = renderer.texts(block.split, indices)  # to draw them anew is quicker than to look for their lines
    else:
        crops = renderer.render(block.split, indices)
        images, texts, rejects = crops.images, crops.texts, dict(sorted(crops.rejects.items()))
    with target.images(block.split).open("r+b") as file:
        file.seek(target.offset(block))
        file.write(images.data)
    digest = xxhash.xxh3_128_hexdigest(images.data)
    mark = target.mark(block)
    temporary = mark.with_suffix(".tmp")
    temporary.write_text(json.dumps({"xxh3": digest, "rejects": rejects, "texts": texts}), encoding="utf-8")
    temporary.rename(mark)
    return block.last - block.first


def block_is_intact(target: BlockFiles, block: Block) -> bool:
    """Whether a block that was marked as done is there: after a power cut it need not be."""
    try:
        expected = json.loads(target.mark(block).read_text(encoding="utf-8"))["xxh3"]
        with target.images(block.split).open("rb") as file:
            file.seek(target.offset(block))
            data = file.read((block.last - block.first) * target.size[0] * target.size[1] * 3)
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(xxhash.xxh3_128_hexdigest(data) == expected)
