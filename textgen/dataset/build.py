"""Build a data set: blocks rendered on all cores, each marked when it is done, renamed into place when all are.

A build that is stopped, even killed, leaves its blocks beside the data set's place, and the same command goes on.
A shard is a run of the blocks of every split, built alone anywhere; a whole build takes blocks from shards it finds.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from textgen.assets.catalogue import sha256
from textgen.common.atomic import file_lock, os_errors_as_user_errors
from textgen.common.errors import UserError
from textgen.common.progress import progress_bar
from textgen.dataset.blocks import (
    WHOLE,
    Block,
    BlockFiles,
    Shard,
    ShardBlocks,
    block_is_intact,
    split_into_blocks,
    write_block,
)
from textgen.dataset.store import (
    FORMAT,
    Dataset,
    LabelAndTextWriter,
    block_rows,
    damaged_error,
    file_names,
    manifest_entry,
    open_dataset,
)
from textgen.render.renderer import SPLITS, Renderer
from textgen.schema.definition import DatasetDefinition

GENERATOR = 2  # raise it when the same definition gives other pixels, so that no older data set passes for the new one
OTHER_DATA_FOLDER = "another folder (out=… of textgen, data_dir=… of train)"
# Whose versions can change a pixel.
LIBRARIES = ("numpy", "pillow", "fonttools", "uharfbuzz", "opencv-python-headless", "numba")


def ensure_dataset(
    definition: DatasetDefinition,
    out: Path,
    *,
    shard: Shard = WHOLE,
    workers: int | None = None,
    rebuild: bool = False,
    quiet: bool = False,
) -> Dataset:
    """The data set of `definition` below `out`, or a shard of it, built if it is not there (or again, if `rebuild`).

    `workers` threads render, by default one a core; their number changes nothing in the bytes. Another process that
    builds the same is waited for. Raises `UserError` for what the user can mend: a folder without write permission, a
    full disk, a damaged data set.
    """
    renderer = Renderer.of(definition)  # also the check that everything in the definition can be drawn at all
    identity = _identity(definition, renderer)
    name = identity["hash"][:16] + (f".shard-{shard.index}-of-{shard.count}" if shard.count > 1 else "")
    path = out / definition.game.name / name
    build = _Build(definition, renderer, identity, path, shard, workers or joblib.cpu_count(), quiet)
    built = False
    with os_errors_as_user_errors(path, OTHER_DATA_FOLDER):
        if rebuild or not path.exists():
            with file_lock(path.with_name(f".{path.name}.lock"), f"another process builds {path}", quiet):
                if rebuild or not path.exists():
                    build.run(rebuild)
                    built = True
    dataset = open_dataset(path, verify=not built)
    wrong = {split: len(arrays.labels) for split, arrays in dataset.splits.items()} != build.counts
    if dataset.hash != identity["hash"] or dataset.classes != renderer.classes or wrong:
        raise damaged_error(path, "its manifest is that of another definition")
    return dataset


def _identity(definition: DatasetDefinition, renderer: Renderer) -> dict[str, Any]:
    """What the manifest says before a pixel is drawn, with the hash of it all."""
    game, augment = asdict(definition.game), definition.augment
    digest = cache(sha256)  # of a file, which stands in both lists below
    libraries = [*LIBRARIES, *(["albumentations"] if augment.transforms else []), *(["av"] if augment.h264 else [])]
    identity = {
        "format": FORMAT,
        "generator": GENERATOR,
        "game": {key: value for key, value in game.items() if key not in ("arch", "title")},
        "classes": list(renderer.classes),
        "augment": asdict(augment),
        "seed": definition.seed,
        "holdout": asdict(definition.holdout),
        "assets": _digests(renderer.assets, digest),
        "use": renderer.use(digest),
        "canvases": renderer.backgrounds.painted,  # as this machine's libraries paint and scale them
        "versions": {name: importlib.metadata.version(name) for name in libraries},
    }
    identity = json.loads(json.dumps(identity))  # as it will be read back: tuples are lists
    # Not sorted by key: the order of a user's mapping, of fonts or a field's values, decides classes and pixels.
    return {**identity, "hash": hashlib.sha256(json.dumps(identity).encode()).hexdigest()}


def _digests(assets: list[Path], digest: Callable[[Path], str]) -> dict[str, str]:
    """File names and digests; where files of several folders share a name, it is numbered in their order."""
    digests: dict[str, str] = {}
    for path in assets:
        name, number = path.name, 1
        while name in digests:
            number += 1
            name = f"{path.name} ({number})"
        digests[name] = digest(path)
    return digests


class _Build:
    """One build of a data set or shard at `path`, in the folder `.<name>.part` beside it until it is whole."""

    def __init__(
        self,
        definition: DatasetDefinition,
        renderer: Renderer,
        identity: dict[str, Any],
        path: Path,
        shard: Shard,
        workers: int,
        quiet: bool,
    ):
        self.definition, self.renderer, self.identity = definition, renderer, identity
        self.path, self.shard, self.workers, self.quiet = path, shard, workers, quiet
        self.part = path.with_name(f".{path.name}.part")
        images, classes = asdict(definition.game.images), len(renderer.classes)
        self.per_class = {split: images[split if split in SPLITS else "test"] for split in renderer.splits}
        self.blocks = {
            split: split_into_blocks(split, per_class * classes, block_rows(definition.game.size), shard)
            for split, per_class in self.per_class.items()
        }
        self.counts = {split: sum(b.last - b.first for b in blocks) for split, blocks in self.blocks.items()}
        self.target = BlockFiles(self.part, definition.game.size, self.counts)

    def run(self, replace: bool) -> None:
        """Render what is missing and put the data set in its place."""
        if self.path.exists() and not self.path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(self.path))
        shards = {} if replace or self.shard.count > 1 else self._shards()
        if replace:
            shutil.rmtree(self.part, ignore_errors=True)
        self._begin()
        todo = [block for blocks in self.blocks.values() for block in blocks if not self.target.mark(block).exists()]
        total, left = sum(self.counts.values()), sum(block.last - block.first for block in todo)
        task = partial(write_block, self.target, shards)
        name = f"data set {self.definition.game.name}"
        with progress_bar(total, name, done=total - left, quiet=self.quiet) as shown:
            try:
                for count in self._each(task, todo):
                    shown.update(count)
            except UserError:
                shutil.rmtree(self.part)  # a text that cannot be drawn: there is nothing to go on with
                raise
            except KeyboardInterrupt:
                told = f"stopped: the same command goes on with what is done, in {self.part}"
                shown.write(told, file=sys.stderr)
                raise
        manifest = {**self.identity, "splits": {split: self._finish(split) for split in self.blocks}}
        if self.shard.count > 1:
            manifest["shard"] = asdict(self.shard)
        (self.part / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        shutil.rmtree(self.part / "done")
        old = self.path.with_name(f".{self.path.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        if replace and self.path.exists():
            self.path.rename(old)
        self.part.rename(self.path)
        shutil.rmtree(old, ignore_errors=True)

    def _begin(self) -> None:
        """Make the folder and room for all images, or go on with what a stopped build has left."""
        done = self.part / "done"
        if not done.is_dir():
            shutil.rmtree(self.part, ignore_errors=True)
            self.part.mkdir()
            try:
                for split in self.blocks:
                    self._allocate(split)
                done.mkdir()
            except OSError:
                shutil.rmtree(self.part, ignore_errors=True)
                raise
        for block in (block for blocks in self.blocks.values() for block in blocks):
            if self.target.mark(block).exists() and not block_is_intact(self.target, block):
                self.target.mark(block).unlink()

    def _allocate(self, split: str) -> None:
        """All room that the images of a split need, so that a disk that is too small says so before any work."""
        header = self.target.header(split)
        with self.target.images(split).open("wb", buffering=0) as file:
            file.write(header)
            size = len(header) + int(np.prod((self.counts[split], *self.target.size, 3)))
            try:
                os.posix_fallocate(file.fileno(), 0, size)
            except (AttributeError, OSError) as error:  # not on every system, nor in every file system
                if isinstance(error, OSError) and error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                    raise
                file.truncate(size)

    def _shards(self) -> ShardBlocks:
        """The blocks that the shards beside the data set's place hold. One that is damaged is told and left out."""
        held: ShardBlocks = {}
        for folder in sorted(self.path.parent.glob(f"{self.path.name}.shard-*")):
            if not re.fullmatch(r"shard-\d+-of-\d+", folder.name.removeprefix(f"{self.path.name}.")):
                continue
            try:
                shard = open_dataset(folder)
                which = Shard(int(shard.manifest["shard"]["index"]), int(shard.manifest["shard"]["count"]))
                if shard.hash != self.identity["hash"]:
                    continue
                for split, about in shard.manifest["splits"].items():
                    count = self.per_class[split] * len(self.renderer.classes)
                    blocks = split_into_blocks(split, count, block_rows(self.definition.game.size), which)
                    for block, mark in zip(blocks, about["blocks"], strict=True):
                        held[split, block.number] = folder / file_names(split)[0], block.row, mark["rejects"]
            except (UserError, KeyError, TypeError, ValueError) as error:
                print(f"{folder} is left out: {error}", file=sys.stderr)
        return held

    def _each(self, task: Callable[..., int], todo: list[Block]) -> Iterator[int]:
        """Run `task` on all blocks; yields the number of samples of each as it is done."""
        if not self.definition.augment.transforms or self.workers == 1 or len(todo) == 1:
            with ThreadPoolExecutor(self.workers) as threads:
                futures = [threads.submit(task, self.renderer, block) for block in todo]
                try:
                    yield from (future.result() for future in futures)
                except BaseException:
                    threads.shutdown(cancel_futures=True)
                    raise
            return
        # albumentations holds Python's lock: processes, fresh ones, for a fork of one with torch's threads can hang.
        parallel = joblib.Parallel(n_jobs=self.workers, return_as="generator_unordered", batch_size=1)
        key = joblib.hash(self.definition)
        yield from parallel(joblib.delayed(_in_process)(key, self.definition, task, block) for block in todo)

    def _finish(self, split: str) -> dict[str, Any]:
        """Labels and texts of a split in order, and its entry in the manifest."""
        rest = LabelAndTextWriter(self.part, split, self.counts[split])
        blocks: list[dict[str, Any]] = []
        rejects: Counter[str] = Counter()
        for block in self.blocks[split]:
            mark = json.loads(self.target.mark(block).read_text(encoding="utf-8"))
            labels = np.arange(block.first, block.last, dtype=np.int64) % len(self.renderer.classes)
            rest.add(labels, mark.pop("texts"))
            rejects.update(mark["rejects"])
            blocks.append(mark)
        about = manifest_entry(self.part, split, self.counts[split], blocks, rest.close())
        return {**about, "per_class": self.per_class[split], "rejects": dict(sorted(rejects.items()))}


def _in_process(key: str, definition: DatasetDefinition, task: Callable[..., int], block: Block) -> int:
    return task(_cached_renderer(key, definition), block)


_renderers: dict[str, Renderer] = {}


def _cached_renderer(key: str, definition: DatasetDefinition) -> Renderer:
    """The renderer of a worker, made once: it holds parsed fonts, canvases and glyphs."""
    if key not in _renderers:
        _renderers.clear()
        _renderers[key] = Renderer.of(definition)
    return _renderers[key]
