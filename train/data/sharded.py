"""A data set in shards, local or in an object store: manifests are checked at first, each block as it is read."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import xxhash
from numpy.typing import NDArray

from textgen.common.array_types import U8
from textgen.common.errors import UserError
from textgen.dataset.blocks import Shard
from textgen.dataset.shards import parse_shard_name, shard_blocks, shards_error
from textgen.dataset.store import (
    MAX_MANIFEST_BYTES,
    DamagedDataset,
    StoredSplit,
    block_rows,
    file_names,
    labels_fit,
    manifest_fields,
    npy_header,
    parse_manifest,
)
from textgen.spec.label_fields import LabelFields
from train.data.storage import Storage

MAX_WHOLE_BYTES = 8 << 30  # of a split that is held in memory: validation and tests
READERS = 8  # files that are read at the same time
REQUIRED = ("train", "val", "test")


class ShardFiles(NamedTuple):
    """What a shard has of a split: the `first` of its `blocks`, their number, and their digests, 16 bytes each."""

    folder: str
    first: int
    blocks: int
    images: int
    digests: bytes
    texts: str  # the digest of that file
    labels: str  # likewise


@dataclass(frozen=True, repr=False)
class ShardedDataset:
    """A data set of images of `size` (H, W) in `shards` shards: `counts` images by split.

    Sample i is of class i mod k (`is_cyclic`), unless the label has several `fields`. `manifest` holds what all shards'
    manifests have in common.
    """

    storage: Storage
    manifest: Mapping[str, Any]
    fields: LabelFields
    size: tuple[int, int]
    counts: Mapping[str, int]
    shards: int
    files: Mapping[str, Sequence[ShardFiles]]

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of all classes, see `LabelFields.classes`."""
        return self.fields.classes

    @property
    def is_cyclic(self) -> bool:
        return "label" not in self.manifest

    @property
    def hash(self) -> str:
        """The hash of everything that decides the bytes."""
        return str(self.manifest["hash"])

    @property
    def block_rows(self) -> int:
        """The images of a block."""
        return block_rows(self.size)

    def blocks(self, split: str) -> int:
        """The number of blocks of a split."""
        return -(-self.counts[split] // self.block_rows)

    def read_block(self, split: str, number: int) -> U8:
        """The images of a block, uint8 (b, H, W, 3), read-only. Raises `UserError` that names a damaged block."""
        shards = self.files[split]
        shard = shards[bisect_right(shards, number, key=lambda files: files.first) - 1]
        rows, row = self.block_rows, self.size[0] * self.size[1] * 3
        images = min(rows, self.counts[split] - number * rows)
        name = f"{shard.folder}/{file_names(split)[0]}"
        start = _header(shard.images, self.size) + (number - shard.first) * rows * row
        data = self.storage.read(name, start, start + images * row)
        at = (number - shard.first) * 16
        if xxhash.xxh3_128_digest(data) != shard.digests[at : at + 16]:
            raise UserError(
                f"block {number} of {split} is damaged: {self.storage.name}/{name} does not have the bytes that were"
                " written: make this shard again, or copy it again"
            )
        return np.frombuffer(data, np.uint8).reshape(images, *self.size, 3)

    def load(self, split: str) -> StoredSplit:
        """A whole split, in memory. Raises `UserError` for one that is damaged or too large."""
        count = self.counts[split]
        size = count * self.size[0] * self.size[1] * 3
        if size > MAX_WHOLE_BYTES:
            raise UserError(
                f"{split} of {self.storage.name} has {count:,} images, {size / 1e9:.1f} GB, and is held in memory,"
                f" where at most {MAX_WHOLE_BYTES / 1e9:.1f} GB are taken: make shards with fewer, as"
                f" game.images.{split}=1000"
            )
        images = np.empty((count, *self.size, 3), np.uint8)
        rows = self.block_rows

        def read(number: int) -> None:
            images[number * rows : (number + 1) * rows] = self.read_block(split, number)

        with ThreadPoolExecutor(READERS) as threads:
            list(threads.map(read, range(self.blocks(split))))
            texts = [
                text for part in threads.map(self._texts, [split] * self.shards, self.files[split]) for text in part
            ]
        return StoredSplit(images, self.load_labels(split).astype(np.int64), texts)

    def load_labels(self, split: str) -> NDArray[np.integer[Any]]:
        """The labels of a split, (n,), or int16 (n, m) of m fields. Raises `UserError` for damaged ones."""
        if self.is_cyclic:
            return np.arange(self.counts[split], dtype=np.int64) % len(self.classes)
        with ThreadPoolExecutor(READERS) as threads:
            parts = list(threads.map(self._labels, [split] * self.shards, self.files[split]))
        labels = np.concatenate(parts)
        if not labels_fit(labels, self.fields):
            raise UserError(f"the labels of {split} in {self.storage.name} are of other classes: make the shards again")
        return labels

    def _labels(self, split: str, shard: ShardFiles) -> NDArray[np.int16]:
        name, shape = f"{shard.folder}/{file_names(split)[1]}", self.fields.shape
        data = self.storage.read(name)
        header = npy_header((shard.images, *shape), np.dtype("<i8"))
        size = len(header) + 8 * int(np.prod((shard.images, *shape)))
        if xxhash.xxh3_128_hexdigest(data) != shard.labels or len(data) != size or not data.startswith(header):
            raise self._other_bytes(name)
        return np.frombuffer(data, "<i8", offset=len(header)).reshape(shard.images, *shape).astype(np.int16)

    def _other_bytes(self, name: str) -> UserError:
        return UserError(
            f"{self.storage.name}/{name} does not have the bytes that were written: make this shard again, or copy it"
            " again"
        )

    def _texts(self, split: str, shard: ShardFiles) -> list[str]:
        name = f"{shard.folder}/{file_names(split)[2]}"
        data = self.storage.read(name)
        lines = data.decode("utf-8", "replace").split("\n")[:-1]
        if xxhash.xxh3_128_hexdigest(data) != shard.texts or len(lines) != shard.images:
            raise self._other_bytes(name)
        return lines


def open_shards(storage: Storage, game: str, digest: str, make: str, *, exact: bool = False) -> ShardedDataset:
    """The data set whose shards are in `storage`, or in its folder `game`.

    Of several data sets, that with hash `digest` is opened; if there is but one, that one, unless it has to be `exact`.
    `make` is advice how to make shards. Raises `UserError` that names all missing and damaged shards.
    """
    folder, shards = _choose(storage, game, digest, make, exact)
    count = shards[0].count
    prefix = folder.rpartition("/")[2]
    names = {shard.index: f"{folder}.shard-{shard.index}-of-{count}" for shard in shards}
    problems = dict.fromkeys((index for index in range(count) if index not in names), "")
    first = _first_manifest(storage, list(names.values()), prefix)
    size, counts = _described(first, _place(storage, folder))

    def check(index: int) -> dict[str, ShardFiles] | None:
        try:
            return _check(storage, names[index], prefix, first, counts, size, Shard(index, count))
        except DamagedDataset as error:
            problems[index] = error.problem
            return None

    with ThreadPoolExecutor(READERS) as threads:
        checked = list(threads.map(check, sorted(names)))
    if problems:
        indices = ",".join(map(str, sorted(problems)))
        raise UserError(
            f"{shards_error(_place(storage, folder), count, dict(sorted(problems.items())))}; copy them again, or make"
            f" them with the command of the others, with -m and shard.count={count} shard.index={indices}"
        )
    files = {split: [of[split] for of in checked if of] for split in counts}
    common = {key: value for key, value in first.items() if key not in ("splits", "shard")}
    return ShardedDataset(storage, common, manifest_fields(first), size, counts, count, files)


def _choose(storage: Storage, game: str, digest: str, make: str, exact: bool) -> tuple[str, list[Shard]]:
    """The path of the data set within the storage, without the name of a shard, and its shards that are there."""
    for within in ("", game):
        names = (parse_shard_name(name) for name in storage.folders(within))
        known = [name for name in names if name]
        if known:
            break
    else:
        raise UserError(f"there are no shards in {storage.name}: {make}")
    prefixes = sorted({prefix for prefix, _ in known})
    chosen = digest[:16] if digest[:16] in prefixes else prefixes[0]
    if chosen != digest[:16] and (exact or len(prefixes) > 1):
        shown = ", ".join(islice(prefixes, 4))
        raise UserError(
            f"{storage.name} has shards of other data sets, {shown}, and none of this command's, {digest[:16]}: {make}"
        )
    counts = Counter(shard.count for prefix, shard in known if prefix == chosen)
    count = max(counts, key=lambda count: (counts[count] == count, counts[count]))  # all are there, or most
    shards = sorted({shard for prefix, shard in known if (prefix, shard.count) == (chosen, count)}, key=_index)
    return f"{within}/{chosen}" if within else chosen, shards


def _first_manifest(storage: Storage, names: Sequence[str], prefix: str) -> dict[str, Any]:
    """Of the shards in the folders `names`. Raises `DamagedDataset` if none has one."""
    for name in names:
        try:
            return _read_manifest(storage, name, prefix)
        except DamagedDataset as error:
            problem = error
    raise problem


def _index(shard: Shard) -> int:
    return shard.index


def _place(storage: Storage, path: str) -> str:
    return f"{storage.name}/{path}"


def _read_manifest(storage: Storage, folder: str, prefix: str) -> dict[str, Any]:
    """Raises `DamagedDataset`."""
    name = f"{folder}/manifest.json"
    size = storage.size(name)
    place = _place(storage, folder)
    if size is None or size > MAX_MANIFEST_BYTES:
        problem = "manifest.json is missing" if size is None else "manifest.json is too large"
        raise DamagedDataset(f"shard {place} is damaged: {problem}", problem)
    manifest = parse_manifest(storage.read(name), place)
    if manifest["hash"][:16] != prefix:
        raise DamagedDataset(f"{place}: {_OTHER}", _OTHER)
    return manifest


_OTHER = "its manifest belongs to another shard or definition"


def _described(manifest: Mapping[str, Any], place: str) -> tuple[tuple[int, int], dict[str, int]]:
    """The size (H, W) of the images and their number by split, of the whole data set. Raises `UserError`."""
    try:
        height, width = (int(side) for side in manifest["game"]["size"])
        each = {split: int(entry["per_class"]) for split, entry in manifest["splits"].items()}
        if min(height, width, len(manifest["classes"])) < 1 or max(height, width) > 1 << 14 or min(each.values()) < 0:
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise UserError(f"shard {place} is damaged: manifest.json is damaged") from None
    if lacking := [split for split in REQUIRED if not each.get(split)]:
        raise UserError(f"shard {place} is of a data set without images for {', '.join(lacking)}: make others")
    return (height, width), {split: count * manifest_fields(manifest).period for split, count in each.items()}


def _check(
    storage: Storage,
    folder: str,
    prefix: str,
    first: Mapping[str, Any],
    counts: Mapping[str, int],
    size: tuple[int, int],
    shard: Shard,
) -> dict[str, ShardFiles]:
    """What a shard has of each split. Raises `DamagedDataset` if it is not that shard of the data set of `first`."""
    manifest = _read_manifest(storage, folder, prefix)
    blocks = shard_blocks(manifest, counts, size, shard)
    if any(manifest.get(key) != first.get(key) for key in ("hash", "classes", "label", "game")):
        raise DamagedDataset(_OTHER, _OTHER)
    files = {}
    for split, entry in manifest["splits"].items():
        name, labels, texts = file_names(split)
        expected = _header(entry["images"], size) + entry["images"] * size[0] * size[1] * 3
        if (found := storage.size(f"{folder}/{name}")) != expected:
            problem = f"{name} is missing" if found is None else f"{name} has {found:,} bytes of {expected:,}"
            raise DamagedDataset(problem, problem)
        try:
            digests = b"".join(bytes.fromhex(block["xxh3"]) for block in entry["blocks"])
        except ValueError:
            digests = b""
        if len(digests) != 16 * len(blocks[split]):
            raise DamagedDataset(problem := "manifest.json is damaged", problem)
        start = blocks[split][0].number if blocks[split] else _first_block(counts[split], size, shard)
        digest_of = entry["xxh3"]
        files[split] = ShardFiles(
            folder, start, len(blocks[split]), entry["images"], digests, digest_of[texts], digest_of[labels]
        )
    return files


def _first_block(count: int, size: tuple[int, int], shard: Shard) -> int:
    """Where the blocks of a shard begin that has none."""
    return -(-count // block_rows(size)) * shard.index // shard.count


def _header(images: int, size: tuple[int, int]) -> int:
    """The bytes before the first image of a file."""
    return len(npy_header((images, *size, 3), np.dtype(np.uint8)))
