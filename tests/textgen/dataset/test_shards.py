"""Shards: made again alone where damaged, merged only when all are there and intact."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
from conftest import ROOT, flat_game

from textgen.common.errors import UserError
from textgen.dataset import build, shards, store
from textgen.dataset.blocks import Shard
from textgen.dataset.build import ensure_dataset, merge_shards
from textgen.dataset.shards import ShardsError, list_indices, parse_shard_name
from textgen.dataset.store import Dataset
from textgen.kernels.tables import REJECT_REASONS
from textgen.main import Settings
from textgen.schema.compose import compose
from textgen.schema.definition import DatasetDefinition
from textgen.schema.game import Game

COUNT = 4
IMAGES = {"train": 12, "val": 3, "test": 3}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight crops of 22×30 a block: 17 + 5 + 5 blocks."""
    monkeypatch.setattr(store, "BLOCK_BYTES", 8 * 22 * 30 * 3)


@pytest.fixture
def definition(tmp_path: Path) -> DatasetDefinition:
    return DatasetDefinition(Game.from_config({**flat_game(tmp_path / "flat"), "images": IMAGES}))


@pytest.fixture
def shard(definition: DatasetDefinition, tmp_path: Path) -> Callable[[int], Dataset]:
    return lambda index: ensure_dataset(definition, tmp_path / "out", shard=Shard(index, COUNT), workers=1, quiet=True)


@pytest.fixture
def merged(definition: DatasetDefinition, tmp_path: Path) -> Callable[[], Dataset]:
    return lambda: merge_shards(definition, tmp_path / "out", COUNT, workers=2)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def change_a_byte(file: Path, at: int = -1) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)


def whole_folders(out: Path) -> list[Path]:
    """Data sets below `out`, and what is left of making one, other than shards and locks."""
    return [path for path in out.glob("*/*") if ".shard-" not in path.name and path.suffix != ".lock"]


def test_merged_shards_are_the_single_build(
    definition: DatasetDefinition,
    tmp_path: Path,
    shard: Callable[[int], Dataset],
    merged: Callable[[], Dataset],
    capsys: pytest.CaptureFixture[str],
) -> None:
    for index in range(COUNT):
        shard(index)
    whole = ensure_dataset(definition, tmp_path / "single", workers=1, quiet=True)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(build.Renderer, "render", lambda *_: pytest.fail("a merge renders nothing"))
        result = merged()
        assert contents(result.path) == contents(whole.path)
        assert f"merging {18 * 11:,} images takes 0.00 GB of" in capsys.readouterr().err
        assert contents(merged().path) == contents(whole.path)
    assert (result.path.name, result.hash) == (whole.path.name, whole.hash)


def test_all_missing_and_damaged_shards_are_named_and_nothing_is_published(
    tmp_path: Path, shard: Callable[[int], Dataset], merged: Callable[[], Dataset]
) -> None:
    folders = {index: shard(index).path for index in (0, 1, 3)}
    change_a_byte(folders[1] / "train.images.npy")
    (folders[3] / "test.texts.txt").unlink()
    with pytest.raises(ShardsError) as raised:
        merged()
    assert raised.value.indices == (1, 2, 3)
    assert str(raised.value).endswith(
        ": 2 missing, 1 damaged (train.images.npy does not have the bytes that were written),"
        " 3 damaged (test.texts.txt is missing)"
    )
    assert whole_folders(tmp_path / "out") == []


def test_images_that_are_damaged_are_found_while_they_are_copied_and_the_other_blocks_are_kept(
    definition: DatasetDefinition, tmp_path: Path, shard: Callable[[int], Dataset], merged: Callable[[], Dataset]
) -> None:
    folders = [shard(index).path for index in range(COUNT)]
    for index in (0, 2):
        change_a_byte(folders[index] / "train.images.npy")
    with pytest.raises(ShardsError) as raised:
        merged()
    assert raised.value.indices == (0, 2)
    assert [path.suffix for path in whole_folders(tmp_path / "out")] == [".part"]
    for index in (0, 2):
        shard(index)
    for index in (1, 3):  # their blocks are in the merged folder already
        change_a_byte(folders[index] / "train.images.npy")
    assert contents(merged().path) == contents(ensure_dataset(definition, tmp_path / "single", quiet=True).path)


@pytest.mark.parametrize("name", ["train.images.npy", "train.labels.npy", "train.texts.txt", "manifest.json", ""])
def test_a_damaged_shard_is_named_and_made_again_alone(
    tmp_path: Path, shard: Callable[[int], Dataset], capsys: pytest.CaptureFixture[str], name: str
) -> None:
    folders = [shard(index).path for index in range(COUNT)]
    before = [contents(folder) for folder in folders]
    if name:
        change_a_byte(folders[1] / name, 0 if name == "manifest.json" else -1)
    else:
        (folders[1] / "manifest.json").unlink()
    times = [(folder / "val.images.npy").stat().st_mtime_ns for folder in folders]
    for index in range(COUNT):
        shard(index)
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert told[0].startswith(f"shard {folders[1]} is damaged, and is made again: {name or 'manifest.json is missing'}")
    assert [contents(folder) for folder in folders] == before
    after = [(folder / "val.images.npy").stat().st_mtime_ns for folder in folders]
    assert [new == old for new, old in zip(after, times, strict=True)] == [True, False, True, True]


def test_a_shard_of_another_definition_in_its_place_is_made_again(
    definition: DatasetDefinition, tmp_path: Path, shard: Callable[[int], Dataset]
) -> None:
    path = shard(0).path
    before = contents(path)
    manifest = json.loads(before["manifest.json"])
    (path / "manifest.json").write_text(json.dumps({**manifest, "hash": "0" * 64}))
    assert contents(shard(0).path) == before


def test_a_merge_needs_room_and_says_how_much(
    tmp_path: Path, shard: Callable[[int], Dataset], merged: Callable[[], Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(COUNT):
        shard(index)
    usage = build.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(build.shutil, "disk_usage", lambda _: usage._replace(free=1000))  # a full disk
    with pytest.raises(UserError, match=r"takes 0\.00 GB more, and 0\.00 GB are free: make room, or .* data=shards"):
        merged()
    assert whole_folders(tmp_path / "out") == []


KILLED = """
import json, os, signal, sys
from textgen.dataset import build, shards, store
from textgen.schema.definition import DatasetDefinition
from textgen.schema.game import Game

store.BLOCK_BYTES = 8 * 22 * 30 * 3
copy, calls = build.copy_block, []


def copy_some(*arguments):
    calls.append(arguments)
    if len(calls) == 10:
        os.kill(os.getpid(), signal.SIGKILL)
    return copy(*arguments)


build.copy_block = copy_some
build.merge_shards(DatasetDefinition(Game.from_config(json.loads(sys.argv[1]))), sys.argv[2], 4, workers=1)
"""


def test_a_killed_merge_is_resumed(
    tmp_path: Path, shard: Callable[[int], Dataset], merged: Callable[[], Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(COUNT):
        shard(index)
    game = {**flat_game(tmp_path / "flat"), "images": IMAGES}
    command = [sys.executable, "-c", KILLED, json.dumps(game), str(tmp_path / "out")]
    ended = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, check=False)
    assert ended.returncode == -9, ended.stderr
    copied: list[object] = []
    copy = build.copy_block
    monkeypatch.setattr(build, "copy_block", lambda *arguments: copied.append(arguments) or copy(*arguments))
    result = merged()
    assert len(copied) == 17 + 5 + 5 - 9
    assert {split: len(arrays.labels) for split, arrays in result.splits.items()} == {
        split: 11 * count for split, count in IMAGES.items()
    }
    assert store.open_dataset(result.path).hash == result.hash


def textgen(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "textgen", *arguments]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)


def command_settings(tmp_path: Path) -> list[str]:
    images = [f"game.images.{split}=2" for split in IMAGES]
    return ["game=lol_gold1", "augment=noise", *images, f"out={tmp_path / 'out'}", "shard.count=3", "workers=1"]


def test_the_command_names_the_command_that_makes_what_a_merge_lacks(tmp_path: Path) -> None:
    given = command_settings(tmp_path)
    ended = textgen("-m", *given, "shard.index=0,2", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert len(list((tmp_path / "out" / "lol_gold1").glob("*.shard-*-of-3"))) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"out"}  # no folder multirun
    lacking = textgen(*given, "shard.merge=true", cwd=tmp_path)
    assert lacking.returncode == 2
    (line,) = lacking.stderr.splitlines()
    command = f"python -m textgen -m {' '.join(given)} shard.index=1"
    assert line.endswith(f": 1 missing; nothing is merged. Make them with: {command}")


@pytest.mark.slow
def test_a_multirun_with_joblib_makes_all_shards_and_skips_those_that_exist(tmp_path: Path) -> None:
    given = [*command_settings(tmp_path), "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "shard.index=range(0,3)"]
    ended = textgen("-m", *given, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    folders = sorted((tmp_path / "out" / "lol_gold1").glob("*.shard-*-of-3"))
    times = [(folder / "manifest.json").stat().st_mtime_ns for folder in folders]
    change_a_byte(folders[2] / "manifest.json", 0)
    again = textgen("-m", *given, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert f"{folders[2].name} is damaged, and is made again: manifest.json is damaged" in again.stderr
    assert [(folder / "manifest.json").stat().st_mtime_ns for folder in folders[:2]] == times[:2]
    assert textgen(*given[:-3], "shard.merge=true", cwd=tmp_path).returncode == 0
    assert {path.name for path in tmp_path.iterdir()} == {"out"}


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["shard.merge=true"], "it merges all shards"),
        (["shard.count=3", "shard.index=1", "shard.merge=true"], "it merges all shards"),
        (["shard.count=3"], "shard.merge=true to merge the shards"),
        (["shard.count=3", "shard.merge=true", "rebuild=true"], "give one of them"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: list[str], told: str) -> None:
    with pytest.raises(UserError, match=told):
        Settings.from_config(compose("game=lol_gold1", *settings))


def test_names_of_shards() -> None:
    assert list_indices([0, 1, 2, 5, 7, 8]) == "0-2, 5, 7, 8"
    found = parse_shard_name("8721c537f3acac46.shard-3-of-8")
    assert found is not None
    assert (found[0], asdict(found[1])) == ("8721c537f3acac46", {"index": 3, "count": 8})
    for name in ("8721c537f3acac46", "x.shard-8-of-8", "../x.shard-1-of-8", "x.shard-1-of-8.tmp", ".x.shard-1-of-8"):
        assert parse_shard_name(name) is None


def test_a_manifest_that_would_be_too_large_is_refused_before_any_work(
    definition: DatasetDefinition, tmp_path: Path, shard: Callable[[int], Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And as many shards as the message says are not too large."""
    whole = ensure_dataset(definition, tmp_path / "whole", workers=1, quiet=True)
    head = len(json.dumps({key: value for key, value in whole.manifest.items() if key != "splits"}, indent=1))
    limit = head + 3 * shards.MAX_SPLIT_ENTRY + 26 * store.MAX_BLOCK_ENTRY
    monkeypatch.setattr(shards, "MAX_MANIFEST_BYTES", limit + store.MAX_BLOCK_ENTRY)
    ensure_dataset(definition, tmp_path / "just", workers=1, quiet=True)
    monkeypatch.setattr(shards, "MAX_MANIFEST_BYTES", limit)
    ensure_dataset(definition, tmp_path / "just", workers=1, quiet=True)  # what is there is read
    with monkeypatch.context() as patched:
        patched.setattr(build.Renderer, "render", lambda *_: pytest.fail("it was refused"))
        for make in (ensure_dataset, lambda *given, **more: merge_shards(*given, COUNT, **more)):
            with pytest.raises(
                UserError, match=r"27 blocks of 8 .* holds 26: make 2 shards or more .* without merging"
            ):
                make(definition, tmp_path / "out", workers=1, quiet=True)
        assert not whole_folders(tmp_path / "out")
    for index in range(2):
        ensure_dataset(definition, tmp_path / "out", shard=Shard(index, 2), workers=1, quiet=True)


def test_a_block_takes_no_more_of_a_manifest_than_is_reckoned() -> None:
    block = {"xxh3": "0" * 32, "rejects": dict.fromkeys(REJECT_REASONS.values(), 10**9)}
    manifest = {"splits": {"train": {"blocks": [block] * 100}}}
    assert len(json.dumps(manifest, indent=1)) <= 100 * store.MAX_BLOCK_ENTRY
    store.parse_json(json.dumps({"blocks": [block] * (store.MAX_MANIFEST_BYTES // store.MAX_BLOCK_ENTRY)}).encode())
