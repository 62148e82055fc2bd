"""Build a data set: render its blocks on all cores, mark each as done, rename the folder when all are done.

A build that was stopped or killed leaves its blocks in the folder `.<name>.part`; the same command resumes it.
A shard is a contiguous part of the blocks of every split, built independently; a full build copies the blocks of
shards that it finds.
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
import unicodedata
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
    OTHER_DATA_FOLDER,
    Dataset,
    LabelAndTextWriter,
    block_rows,
    damaged_error,
    file_names,
    manifest_entry,
    open_dataset,
)
from textgen.render.renderer import SPLITS, Renderer
from textgen.schema.definition import DatasetDefinition, describe_game
from textgen.spec.characters import is_blank

GENERATOR = 2  # part of the hash: increment it when the same definition gives different pixels
# Since version 3 texts are composed and blanks that a font lacks are gaps; games without either keep their hashes.
TEXT_GENERATOR = 3
# Their versions are part of the hash, since they can change pixels.
LIBRARIES = ("numpy", "pillow", "fonttools", "uharfbuzz", "opencv-python-headless", "numba")


def ensure_dataset(
    definition: DatasetDefinition,
    out: str | Path,
    *,
    shard: Shard = WHOLE,
    workers: int | None = None,
    rebuild: bool = False,
    quiet: bool = False,
) -> Dataset:
    """Open the data set of `definition` (or a shard of it) below `out`; build it if missing or if `rebuild`.

    `workers` is the number of rendering threads, by default one per core; it does not change the bytes. If another
    process builds the same data set, wait for it. Raises `UserError` for a wrong definition, a folder without write
    permission, a full disk or a damaged data set.
    """
    renderer = Renderer.from_definition(definition)  # raises for what cannot be drawn
    identity = _identity(definition, renderer)
    name = identity["hash"][:16] + (f".shard-{shard.index}-of-{shard.count}" if shard.count > 1 else "")
    path = Path(out) / definition.game.name / name
    build = _DatasetBuild(definition, renderer, identity, path, shard, workers or joblib.cpu_count(), quiet)
    built = False
    with os_errors_as_user_errors(path, OTHER_DATA_FOLDER):
        if rebuild or not path.exists():
            with file_lock(path.with_name(f".{path.name}.lock"), f"another process builds {path}", quiet):
                if rebuild or not path.exists():
                    build.run(rebuild)
                    built = True
    dataset = open_dataset(path, verify=not built)
    counts = {split: len(arrays.labels) for split, arrays in dataset.splits.items()}
    if dataset.hash != identity["hash"] or dataset.classes != renderer.classes or counts != build.counts:
        raise damaged_error(path, "its manifest belongs to another definition")
    return dataset


def _identity(definition: DatasetDefinition, renderer: Renderer) -> dict[str, Any]:
    """The part of the manifest that decides the pixels, and its hash."""
    game, augment = describe_game(definition.game), definition.augment
    digest = cache(sha256)  # "assets" and "use" below list the same files
    libraries = [*LIBRARIES, *(["albumentations"] if augment.transforms else []), *(["av"] if augment.h264 else [])]
    identity = {
        "format": FORMAT,
        "generator": TEXT_GENERATOR if _has_newer_text(game, renderer) else GENERATOR,
        "game": game,
        "classes": list(renderer.classes),
        "augment": asdict(augment),
        "seed": definition.seed,
        "holdout": asdict(definition.holdout),
        "assets": _digest_files(renderer.assets, digest),
        "use": renderer.asset_usage(digest),
        "canvases": renderer.backgrounds.digest,  # painted and scaled by this machine's libraries
        "versions": {name: importlib.metadata.version(name) for name in libraries},
    }
    identity = json.loads(json.dumps(identity))  # as it is read back: lists instead of tuples
    # Keys are not sorted: the order of fonts and of a field's values decides classes and pixels.
    return {**identity, "hash": hashlib.sha256(json.dumps(identity).encode()).hexdigest()}


def _has_newer_text(game: dict[str, Any], renderer: Renderer) -> bool:
    """Whether a game has texts that generator 2 drew differently."""
    written = json.dumps(game, ensure_ascii=False)
    return any(c != " " and is_blank(c) for c in renderer.alphabet) or not unicodedata.is_normalized("NFC", written)


def _digest_files(assets: list[Path], digest: Callable[[Path], str]) -> dict[str, str]:
    """The digests of files by file name; equal names from several folders are numbered in order."""
    digests: dict[str, str] = {}
    for path in assets:
        name, number = path.name, 1
        while name in digests:
            number += 1
            name = f"{path.name} ({number})"
        digests[name] = digest(path)
    return digests


class _DatasetBuild:
    """The build of a data set or shard at `path`, in the folder `.<name>.part` beside it until it is complete."""

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
        self.files = BlockFiles(self.part, definition.game.size, self.counts)

    def run(self, replace: bool) -> None:
        """Render the missing blocks and move the finished data set to `path`; `replace` an existing one."""
        if self.path.exists() and not self.path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(self.path))
        shard_blocks = {} if replace or self.shard.count > 1 else self._find_shard_blocks()
        if replace:
            shutil.rmtree(self.part, ignore_errors=True)
        self._prepare_folder()
        pending = [b for blocks in self.blocks.values() for b in blocks if not self.files.done_path(b).exists()]
        total, remaining = sum(self.counts.values()), sum(block.last - block.first for block in pending)
        task = partial(write_block, self.files, shard_blocks)
        name = f"data set {self.definition.game.name}"
        with progress_bar(total, name, done=total - remaining, quiet=self.quiet) as progress:
            try:
                for count in self._render_blocks(task, pending):
                    progress.update(count)
            except UserError:
                shutil.rmtree(self.part)  # a text cannot be drawn: resuming would fail again
                raise
            except KeyboardInterrupt:
                message = f"stopped: the same command resumes from the finished blocks in {self.part}"
                progress.write(message, file=sys.stderr)
                raise
        manifest = {**self.identity, "splits": {split: self._finish_split(split) for split in self.blocks}}
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

    def _prepare_folder(self) -> None:
        """Create the folder and reserve space for all images, or keep the intact blocks of a stopped build."""
        done = self.part / "done"
        if not done.is_dir():
            shutil.rmtree(self.part, ignore_errors=True)
            self.part.mkdir()
            try:
                for split in self.blocks:
                    self._reserve_space(split)
                done.mkdir()
            except OSError:
                shutil.rmtree(self.part, ignore_errors=True)
                raise
        for block in (block for blocks in self.blocks.values() for block in blocks):
            if self.files.done_path(block).exists() and not block_is_intact(self.files, block):
                self.files.done_path(block).unlink()

    def _reserve_space(self, split: str) -> None:
        """Allocate the file of the images of a split, so that a full disk is an error before any rendering."""
        header = self.files.header(split)
        with self.files.images_path(split).open("wb", buffering=0) as file:
            file.write(header)
            size = len(header) + int(np.prod((self.counts[split], *self.files.size, 3)))
            try:
                os.posix_fallocate(file.fileno(), 0, size)
            except (AttributeError, OSError) as error:  # unsupported by some systems and file systems
                if isinstance(error, OSError) and error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                    raise
                file.truncate(size)

    def _find_shard_blocks(self) -> ShardBlocks:
        """Find the blocks of the shards beside `path`; report and skip damaged shards."""
        found: ShardBlocks = {}
        for folder in sorted(self.path.parent.glob(f"{self.path.name}.shard-*")):
            if not re.fullmatch(r"shard-\d+-of-\d+", folder.name.removeprefix(f"{self.path.name}.")):
                continue
            try:
                shard = open_dataset(folder)
                part = Shard(int(shard.manifest["shard"]["index"]), int(shard.manifest["shard"]["count"]))
                if shard.hash != self.identity["hash"]:
                    continue
                for split, entry in shard.manifest["splits"].items():
                    count = self.per_class[split] * len(self.renderer.classes)
                    blocks = split_into_blocks(split, count, block_rows(self.definition.game.size), part)
                    for block, stored in zip(blocks, entry["blocks"], strict=True):
                        found[split, block.number] = folder / file_names(split)[0], block.row, stored["rejects"]
            except (UserError, KeyError, TypeError, ValueError) as error:
                print(f"shard {folder} is skipped: {error}", file=sys.stderr)
        return found

    def _render_blocks(self, task: Callable[..., int], pending: list[Block]) -> Iterator[int]:
        """Run `task` on all pending blocks; yield the number of samples of each finished block."""
        if not self.definition.augment.transforms or self.workers == 1 or len(pending) == 1:
            with ThreadPoolExecutor(self.workers) as threads:
                futures = [threads.submit(task, self.renderer, block) for block in pending]
                try:
                    yield from (future.result() for future in futures)
                except BaseException:
                    threads.shutdown(cancel_futures=True)
                    raise
            return
        # albumentations holds the GIL, so use processes: spawned ones, since a fork can hang when torch has threads.
        parallel = joblib.Parallel(n_jobs=self.workers, return_as="generator_unordered", batch_size=1)
        key = joblib.hash(self.definition)
        yield from parallel(joblib.delayed(_run_in_process)(key, self.definition, task, block) for block in pending)

    def _finish_split(self, split: str) -> dict[str, Any]:
        """Write the labels and texts of a split; return its entry of the manifest."""
        writer = LabelAndTextWriter(self.part, split, self.counts[split])
        blocks: list[dict[str, Any]] = []
        rejects: Counter[str] = Counter()
        for block in self.blocks[split]:
            done = json.loads(self.files.done_path(block).read_text(encoding="utf-8"))
            labels = np.arange(block.first, block.last, dtype=np.int64) % len(self.renderer.classes)
            writer.add(labels, done.pop("texts"))
            rejects.update(done["rejects"])
            blocks.append(done)
        entry = manifest_entry(self.part, split, self.counts[split], blocks, writer.close())
        return {**entry, "per_class": self.per_class[split], "rejects": dict(sorted(rejects.items()))}


def _run_in_process(key: str, definition: DatasetDefinition, task: Callable[..., int], block: Block) -> int:
    return task(_cached_renderer(key, definition), block)


_renderers: dict[str, Renderer] = {}


def _cached_renderer(key: str, definition: DatasetDefinition) -> Renderer:
    """The renderer of this worker process, built once: it holds parsed fonts, canvases and glyphs."""
    if key not in _renderers:
        _renderers.clear()
        _renderers[key] = Renderer.from_definition(definition)
    return _renderers[key]
