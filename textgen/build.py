"""Build a data set: every split rendered on all cores, written in order, renamed into place when it is whole."""

from __future__ import annotations

import errno
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import joblib
from tqdm import tqdm

from textgen.catalogue import sha256
from textgen.errors import UserError
from textgen.game import Game
from textgen.render import SPLITS, Crops, Renderer
from textgen.store import FORMAT, Dataset, SplitWriter, damaged, open_dataset

GENERATOR = 1  # raise it when the same definition gives other pixels, so that no older data set passes for the new one
CHUNK = 500  # samples a task: a second of work, some megabytes of memory
MENDABLE = {  # by the user: no room, or a path that cannot be
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS),
    *(errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ENOENT, errno.ENAMETOOLONG),
}
ELSEWHERE = "another folder (out=… of textgen, data_dir=… of train)"
# Whose versions can change a pixel.
LIBRARIES = ("numpy", "pillow", "fonttools", "opencv-python-headless", "albumentations")


@dataclass(frozen=True)
class Definition:
    """All that decides the bytes of a data set, but for the assets' contents."""

    game: Game
    augment: tuple[Mapping[str, Any], ...] = ()
    seed: int = 0

    def renderer(self) -> Renderer:
        return Renderer(self.game, self.seed, self.augment)


def ensure(
    definition: Definition, out: Path, *, workers: int | None = None, rebuild: bool = False, quiet: bool = False
) -> Dataset:
    """The data set of `definition` below `out`, built if it is not there (or again, if `rebuild`), and verified.

    `workers` processes render, by default one a core; their number changes nothing in the bytes. Raises `UserError`
    for what the user can mend: a folder without write permission, a full disk, a damaged data set.
    """
    renderer = definition.renderer()  # also the check that everything in the definition can be drawn at all
    identity = _identity(definition, renderer)
    path = out / definition.game.name / identity["hash"][:16]
    try:
        there = path.exists()
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; choose {ELSEWHERE}") from None
    if rebuild or not there:
        with _building(path, rebuild) as folder:
            _write(definition, renderer, identity, folder, workers or joblib.cpu_count(), quiet)
    dataset = open_dataset(path)
    expected = {split: per_class * len(renderer.classes) for split, per_class in asdict(definition.game.images).items()}
    if (
        dataset.hash != identity["hash"]
        or dataset.classes != renderer.classes
        or {split: len(arrays.labels) for split, arrays in dataset.splits.items()} != expected
    ):
        raise damaged(path, "its manifest is that of another definition")
    return dataset


def _identity(definition: Definition, renderer: Renderer) -> dict[str, Any]:
    """What the manifest says before a pixel is drawn, with the hash of it all."""
    game = asdict(definition.game)
    pictured = {key: value for key, value in game.items() if key not in ("arch", "title")}
    identity = {
        "format": FORMAT,
        "generator": GENERATOR,
        "game": pictured,
        "classes": list(renderer.classes),
        "augment": list(definition.augment),
        "seed": definition.seed,
        "assets": _digests(renderer.assets),
        "versions": {name: importlib.metadata.version(name) for name in LIBRARIES},
    }
    identity = json.loads(json.dumps(identity))  # as it will be read back: tuples are lists
    # Not sorted by key: the order of a user's mapping, of fonts or a field's values, decides classes and pixels.
    return {**identity, "hash": hashlib.sha256(json.dumps(identity).encode()).hexdigest()}


def _digests(assets: list[Path]) -> dict[str, str]:
    """File names and digests; where files of several folders share a name, it is numbered in their order."""
    digests: dict[str, str] = {}
    for path in assets:
        name, number = path.name, 1
        while name in digests:
            number += 1
            name = f"{path.name} ({number})"
        digests[name] = sha256(path)
    return digests


def _write(
    definition: Definition, renderer: Renderer, identity: dict[str, Any], folder: Path, workers: int, quiet: bool
) -> None:
    game = definition.game
    per_class = asdict(game.images)
    total = sum(per_class.values()) * len(renderer.classes)
    splits = {}
    with tqdm(total=total, desc=f"data set {game.name}", unit=" images", unit_scale=True, disable=quiet) as bar:
        for split in SPLITS:
            count = per_class[split] * len(renderer.classes)
            writer = SplitWriter(folder, split, count, game.size)
            rejects: Counter[str] = Counter()
            for crops in _rendered(definition, renderer, split, count, workers):
                writer.add(crops.images, crops.labels, crops.texts)
                rejects.update(crops.rejects)
                bar.update(len(crops.images))
            splits[split] = {**writer.close(), "per_class": per_class[split], "rejects": dict(sorted(rejects.items()))}
    manifest = json.dumps({**identity, "splits": splits}, indent=1)
    (folder / "manifest.json").write_text(manifest, encoding="utf-8")


def _rendered(definition: Definition, renderer: Renderer, split: str, count: int, workers: int) -> Iterator[Crops]:
    """All samples of a split, in order, a chunk at a time."""
    chunks = [range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]
    if workers == 1 or len(chunks) == 1:
        yield from (renderer.render(split, chunk) for chunk in chunks)
        return
    # Workers are fresh processes that import textgen alone: a fork of a process that has torch's threads can hang.
    parallel = joblib.Parallel(n_jobs=workers, return_as="generator", pre_dispatch="3*n_jobs", batch_size=1)
    yield from parallel(joblib.delayed(_render_chunk)(definition, split, chunk) for chunk in chunks)


def _render_chunk(definition: Definition, split: str, chunk: range) -> Crops:
    return _cached_renderer(joblib.hash(definition), definition).render(split, chunk)


_renderers: dict[str, Renderer] = {}


def _cached_renderer(key: str, definition: Definition) -> Renderer:
    """The renderer of a worker, made once: it holds parsed fonts, canvases and glyphs."""
    if key not in _renderers:
        _renderers.clear()
        _renderers[key] = definition.renderer()
    return _renderers[key]


@contextmanager
def _building(path: Path, replace: bool) -> Iterator[Path]:
    """A temporary folder beside `path` that takes its place when the block ends well and vanishes when it does not.

    What another process has put at `path` meanwhile is as good, the same bytes, and stays unless `replace`.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    old = temporary.with_suffix(".old")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        temporary.mkdir()
        if path.exists() and not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
        yield temporary
        if replace and path.exists():
            path.rename(old)
        if not path.exists():
            temporary.rename(path)
    except PermissionError as error:
        raise UserError(f"cannot write to {error.filename}: choose {ELSEWHERE}, or allow writing") from None
    except OSError as error:
        if error.errno not in MENDABLE:
            raise
        raise UserError(f"cannot write {path}: {error.strerror}; make room or choose {ELSEWHERE}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _remove_abandoned(path: Path) -> None:
    """Remove what killed builds of this data set have left."""
    for folder in path.parent.glob(f".{path.name}.*"):
        match = re.fullmatch(r"([1-9][0-9]{0,8})\.(tmp|old)", folder.name.removeprefix(f".{path.name}."))
        if not match:
            continue  # none of ours
        try:
            os.kill(int(match[1]), 0)
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
        except PermissionError:
            pass  # another user's build, and it runs
