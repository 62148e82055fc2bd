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
import shutil
import sys
import unicodedata
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import asdict
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from textgen.assets.catalogue import sha256
from textgen.common.atomic import (
    file_lock,
    os_errors_as_user_errors,
    remove_replaced,
    replace_folder,
    restore_folder,
    sync_folder,
)
from textgen.common.bounded_text import load_json
from textgen.common.errors import UserError
from textgen.common.progress import progress_bar
from textgen.dataset.blocks import (
    WHOLE,
    Block,
    BlockFiles,
    Shard,
    StoredBlocks,
    block_is_intact,
    copy_block,
    split_into_blocks,
    write_block,
)
from textgen.dataset.shards import (
    check_manifest_size,
    check_room,
    damaged_copies,
    find_stored_blocks,
    require_stored_blocks,
    shard_path,
)
from textgen.dataset.store import (
    FORMAT,
    OTHER_DATA_FOLDER,
    DamagedDataset,
    Dataset,
    LabelAndTextWriter,
    block_rows,
    damaged_error,
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
    process builds the same data set, wait for it. A damaged shard is named on stderr and built again. Raises
    `UserError` for a wrong definition, a folder without write permission, a full disk or a damaged data set.
    """
    build = _DatasetBuild.of(definition, out, shard, workers, quiet)
    is_shard = shard.count > 1
    with os_errors_as_user_errors(build.path, OTHER_DATA_FOLDER):
        if not rebuild:
            try:
                if dataset := build.open():
                    remove_replaced(build.part, build.path, build.lock_path)
                    return dataset
            except DamagedDataset:
                if not is_shard:
                    raise
        with build.lock():
            try:
                dataset = None if rebuild else build.open()
            except DamagedDataset as error:
                if not is_shard:
                    raise
                dataset = None
                print(f"shard {build.path} is damaged, and is made again: {error.problem}", file=sys.stderr)
            return dataset or build.run(anew=rebuild)


def dataset_hash(definition: DatasetDefinition) -> str:
    """The hash of the data set of `definition`. Raises `UserError` for a definition that cannot be drawn."""
    return str(_identity(definition, Renderer.from_definition(definition))["hash"])


def merge_shards(
    definition: DatasetDefinition, out: str | Path, count: int, *, workers: int | None = None, quiet: bool = False
) -> Dataset:
    """Open the data set of `definition` below `out`; where it is missing, merge its `count` shards there.

    Every block is compared with its digest as it is copied. `ShardsError` names all shards that are missing or damaged;
    then there is no data set, and the blocks that were copied are kept for the next call. Otherwise as
    `ensure_dataset`.
    """
    build = _DatasetBuild.of(definition, out, WHOLE, workers, quiet)
    with os_errors_as_user_errors(build.path, OTHER_DATA_FOLDER):
        if dataset := build.open():
            return dataset
        with build.lock():
            return build.open() or build.run(merged=count)


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
        **({"label": renderer.fields.describe()} if renderer.spec.is_joint else {}),
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


def _differs(manifest: dict[str, Any], identity: dict[str, Any]) -> bool:
    """Whether a manifest is not that of the data set of `identity`, or is damaged."""
    return any(manifest.get(key) != value for key, value in identity.items())


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
        self.part, self.lock_path = (path.with_name(f".{path.name}.{suffix}") for suffix in ("part", "lock"))
        images = asdict(definition.game.images)
        self.per_class = {split: images[split if split in SPLITS else "test"] for split in renderer.splits}
        self.wholes = {split: per_class * renderer.period for split, per_class in self.per_class.items()}
        self.blocks = {
            split: split_into_blocks(split, count, block_rows(definition.game.size), shard)
            for split, count in self.wholes.items()
        }
        self.counts = {split: sum(b.last - b.first for b in blocks) for split, blocks in self.blocks.items()}
        self.files = BlockFiles(self.part, definition.game.size, self.counts)

    @classmethod
    def of(
        cls, definition: DatasetDefinition, out: str | Path, shard: Shard, workers: int | None, quiet: bool
    ) -> _DatasetBuild:
        """Below `out`. Raises `UserError` for a definition that cannot be drawn."""
        if shard.count > 1:  # a process may build many
            renderer = _cached_renderer(joblib.hash(definition), definition)
        else:
            renderer = Renderer.from_definition(definition)
        identity = _identity(definition, renderer)
        path = shard_path(Path(out) / definition.game.name / identity["hash"][:16], shard)
        return cls(definition, renderer, identity, path, shard, workers or joblib.cpu_count(), quiet)

    def lock(self) -> AbstractContextManager[None]:
        """Held while the folder is made; waits for another process that makes it."""
        return file_lock(self.lock_path, f"another process builds {self.path}", self.quiet)

    def open(self, verify: bool = True) -> Dataset | None:
        """The finished data set; None if there is none. Raises `UserError` for a damaged one."""
        if not self.path.exists():
            return None
        dataset = open_dataset(self.path, verify)
        counts = {split: len(arrays.labels) for split, arrays in dataset.splits.items()}
        if _differs(dataset.manifest, self.identity) or counts != self.counts:
            raise damaged_error(self.path, "its manifest belongs to another definition")
        return dataset

    def run(self, *, anew: bool = False, merged: int | None = None) -> Dataset:
        """Render the missing blocks and move the finished data set to `path`, in place of one that is there.

        With `anew`, use nothing that is there; otherwise copy blocks of shards. With `merged`, the number of shards,
        copy all blocks from them, or raise `ShardsError`.
        """
        if self.path.exists() and not self.path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(self.path))
        check_manifest_size(self.path, self.identity, self.wholes, self.definition.game.size, self.shard)
        if not anew and self._is_complete():
            return self._move_into_place()
        whole = (self.path, self.identity["hash"], self.wholes, self.definition.game.size)
        stored: StoredBlocks = {}
        damaged: set[Path] = set()
        if merged is not None:
            stored = require_stored_blocks(*whole, merged)
            check_room(self.path, self.part, self.counts, self.definition.game.size, self.quiet)
        elif not anew and self.shard.count == 1:
            stored = find_stored_blocks(*whole)
        if anew:
            shutil.rmtree(self.part, ignore_errors=True)
        self._prepare_folder()
        copy, write = partial(copy_block, self.files, stored, damaged), partial(write_block, self.files, stored)
        self._finish_blocks(write if merged is None else copy, rendering=merged is None)
        if merged is not None and damaged:
            raise damaged_copies(self.path, merged, damaged)
        self._publish()
        return self._move_into_place()

    def _is_complete(self) -> bool:
        """Whether a killed build had written everything, and at most its marks were still to be removed."""
        if not (self.part / "manifest.json").exists():
            return False
        try:
            manifest = open_dataset(self.part).manifest
        except UserError:
            return False
        shard = asdict(self.shard) if self.shard.count > 1 else None
        return not _differs(manifest, self.identity) and manifest.get("shard") == shard

    def _move_into_place(self) -> Dataset:
        """Put the complete folder at `path`, without the marks, and open it."""
        sync_folder(self.part, "*")  # before the marks go, by which a block is found that is not on the disk
        shutil.rmtree(self.part / "done", ignore_errors=True)
        restore_folder(self.part, self.path)
        if self.path.exists():
            replace_folder(self.part, self.path)
        else:
            self.part.rename(self.path)
        dataset = self.open(verify=False)
        assert dataset is not None
        return dataset

    def _finish_blocks(self, task: Callable[..., int], rendering: bool) -> None:
        """Run `task` on all blocks that are not done; `rendering` says whether it draws."""
        pending = [b for blocks in self.blocks.values() for b in blocks if not self.files.done_path(b).exists()]
        total, remaining = sum(self.counts.values()), sum(block.last - block.first for block in pending)
        name = f"data set {self.definition.game.name}"
        with progress_bar(total, name, done=total - remaining, quiet=self.quiet) as progress:
            try:
                for count in self._run_blocks(task, pending, rendering):
                    progress.update(count)
            except UserError:
                shutil.rmtree(self.part)  # a text cannot be drawn: resuming would fail again
                raise
            except KeyboardInterrupt:
                message = f"stopped: the same command resumes from the finished blocks in {self.part}"
                progress.write(message, file=sys.stderr)
                raise

    def _publish(self) -> None:
        """Write the manifest."""
        manifest = {**self.identity, "splits": {split: self._finish_split(split) for split in self.blocks}}
        if self.shard.count > 1:
            manifest["shard"] = asdict(self.shard)
        (self.part / "manifest.json").write_bytes(json.dumps(manifest, indent=1).encode())

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

    def _run_blocks(self, task: Callable[..., int], pending: list[Block], rendering: bool) -> Iterator[int]:
        """Run `task` on all pending blocks; yield the number of samples of each finished block."""
        in_threads = not (rendering and self.definition.augment.transforms)
        if in_threads or self.workers == 1 or len(pending) == 1:
            coming = iter(pending)
            with ThreadPoolExecutor(self.workers) as threads:
                running = deque(threads.submit(task, self.renderer, b) for b in islice(coming, 4 * self.workers))
                try:
                    while running:
                        yield running.popleft().result()
                        running.extend(threads.submit(task, self.renderer, b) for b in islice(coming, 1))
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
        writer = LabelAndTextWriter(self.part, split, self.counts[split], self.renderer.fields.shape)
        blocks: list[dict[str, Any]] = []
        rejects: Counter[str] = Counter()
        for block in self.blocks[split]:
            done = load_json(self.files.done_path(block))
            labels = self.renderer.draw_labels(split, range(block.first, block.last))
            del done["check"]
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
