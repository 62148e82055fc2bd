import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Config, changed, flat_game, load

from textgen import build
from textgen.build import Definition, ensure
from textgen.errors import UserError
from textgen.game import Game
from textgen.render import SPLITS
from textgen.store import Dataset

LIGHT = tuple(load("augment", "light")["transforms"])
COUNTS = {"train": 4, "val": 2, "test": 2}


def made(definition: Definition, out: Path, workers: int = 1, rebuild: bool = False) -> Dataset:
    return ensure(definition, out, workers=workers, rebuild=rebuild, quiet=True)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def left_behind(out: Path) -> list[Path]:
    """Files, data sets and temporary folders below `out`; the folders `out` and `out`/<game> are no data."""
    return [path for path in out.rglob("*") if path.parent != out]


@pytest.fixture
def definition(small_game: Config) -> Definition:
    return Definition(Game.of(small_game), LIGHT, 3)


@pytest.fixture
def tiny(tmp_path: Path) -> Definition:
    """A game that is built in a moment."""
    return Definition(Game.of(flat_game(tmp_path / "flat")))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "data"


def test_workers_change_no_byte(definition: Definition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = made(definition, tmp_path / "whole")
    monkeypatch.setattr(build, "CHUNK", 7)
    chunked = made(definition, tmp_path / "chunked")
    two = made(definition, tmp_path / "two", workers=2)
    files = contents(one.path)
    assert set(files) == {f"{s}.{k}" for s in SPLITS for k in ("images.npy", "labels.npy", "texts.txt")} | {
        "manifest.json"
    }
    assert contents(chunked.path) == files
    assert contents(two.path) == files
    assert one.path.relative_to(tmp_path / "whole") == two.path.relative_to(tmp_path / "two")


def test_a_sample_by_index_is_the_one_of_the_file(definition: Definition, out: Path) -> None:
    dataset = made(definition, out)
    renderer = definition.renderer()
    for split in SPLITS:
        stored = dataset.splits[split]
        for i in (len(stored.images) - 1, 0, 17):
            crops = renderer.render(split, [i])
            np.testing.assert_array_equal(crops.images[0], stored.images[i])
            assert crops.labels[0] == stored.labels[i]
            assert crops.texts == [stored.texts[i]]


def test_there_are_exactly_as_many_images_of_each_class_as_asked(definition: Definition, out: Path) -> None:
    dataset = made(definition, out)
    assert dataset.classes == definition.game.classes
    spec = definition.game.parse_spec()
    for split, count in COUNTS.items():
        images, labels, texts = dataset.splits[split]
        assert Counter(labels.tolist()) == dict.fromkeys(range(27), count)
        assert images.shape == (27 * count, 22, 30, 3)
        assert [spec.label_of(text) for text in texts] == [dataset.classes[label] for label in labels]


def test_no_image_is_in_two_splits(definition: Definition, out: Path) -> None:
    images = [image.tobytes() for split in made(definition, out).splits.values() for image in split.images]
    assert len(set(images)) == len(images)


def test_the_manifest_says_what_went_in_and_what_was_refused(definition: Definition, out: Path) -> None:
    dataset = made(definition, out)
    manifest = json.loads((dataset.path / "manifest.json").read_text())
    assert manifest["seed"] == 3
    assert manifest["classes"] == list(definition.game.classes)
    assert manifest["game"]["spec"] == "N"
    assert manifest["augment"] == json.loads(json.dumps(LIGHT))
    assert {"numpy", "pillow", "albumentations"} <= manifest["versions"].keys()
    assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in manifest["assets"].values())
    assert len(manifest["assets"]) == len(definition.renderer().assets)
    assert manifest["splits"].keys() == set(SPLITS)
    for split, count in COUNTS.items():
        about = manifest["splits"][split]
        assert (about["per_class"], about["images"]) == (count, 27 * count)
        assert about["rejects"].keys() <= {"too large", "low contrast"}
    assert dataset.path == out / "sot_time" / manifest["hash"][:16]
    assert "arch" not in manifest["game"]


def test_refused_draws_are_counted_whatever_the_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    definition = Definition(Game.of(flat_game(tmp_path / "flat", "#808080", colors=["#ffffff", "#858585"])))
    whole = made(definition, tmp_path / "whole").manifest["splits"]["train"]["rejects"]
    monkeypatch.setattr(build, "CHUNK", 5)
    assert made(definition, tmp_path / "chunks").manifest["splits"]["train"]["rejects"] == whole
    assert whole["low contrast"] > 0


def test_a_data_set_that_is_there_is_taken_as_it_is(tiny: Definition, out: Path) -> None:
    first = made(tiny, out)
    before = {file: file.stat().st_mtime_ns for file in first.path.iterdir()}
    again = made(tiny, out)
    assert again.path == first.path
    assert {file: file.stat().st_mtime_ns for file in again.path.iterdir()} == before
    made(tiny, out, rebuild=True)
    assert {file: file.stat().st_mtime_ns for file in again.path.iterdir()} != before


@pytest.mark.parametrize("damage", ["truncated", "emptied"])
def test_a_damaged_data_set_is_told_and_can_be_built_again(tiny: Definition, out: Path, damage: str) -> None:
    dataset = made(tiny, out)
    whole = contents(dataset.path)
    if damage == "truncated":
        os.truncate(dataset.path / "train.images.npy", 1000)
    else:
        shutil.rmtree(dataset.path)
        dataset.path.mkdir()
    with pytest.raises(UserError, match=r"train\.images\.npy" if damage == "truncated" else r"manifest\.json"):
        made(tiny, out)
    assert contents(made(tiny, out, rebuild=True).path) == whole
    assert [path.name for path in dataset.path.parent.iterdir()] == [dataset.path.name]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_impossible_text_leaves_nothing_behind(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr(build, "CHUNK", 4)
    game = flat_game(tmp_path / "flat", height=[30, 40])
    with pytest.raises(UserError, match="could not be drawn"):
        made(Definition(Game.of(game)), out, workers)
    assert left_behind(out) == []


def test_a_failing_rebuild_leaves_the_old_data_set(
    tiny: Definition, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = made(tiny, out)
    before = contents(dataset.path)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(build.SplitWriter, "close", stop)
        with pytest.raises(KeyboardInterrupt):
            made(tiny, out, rebuild=True)
    assert contents(dataset.path) == before
    assert list(out.rglob("*.tmp")) == []


@pytest.mark.parametrize("place", ["below-a-file", "proc", "long-name"])
def test_a_folder_that_cannot_be_written_to_is_an_error_of_the_user(
    tiny: Definition, tmp_path: Path, place: str
) -> None:
    file = tmp_path / "file"
    file.write_text("a file, not a folder")
    out = {"below-a-file": file / "data", "proc": Path("/proc/foldtext"), "long-name": tmp_path / ("x" * 300)}[place]
    with pytest.raises(UserError, match=f"cannot write .*{re.escape(str(out))}") as caught:
        made(tiny, out)
    assert "out=" in caught.value.summary
    assert file.read_text() == "a file, not a folder"
    assert {path.name for path in tmp_path.iterdir()} == {"file", "flat"}


def test_an_old_file_in_place_of_the_data_set_is_an_error_of_the_user(tiny: Definition, out: Path) -> None:
    path = made(tiny, out).path
    shutil.rmtree(path)
    path.write_text("a file")
    for rebuild in (False, True):
        with pytest.raises(UserError, match=re.escape(str(path))):
            made(tiny, out, rebuild=rebuild)


def test_what_dead_builds_left_is_removed_and_what_live_ones_write_is_kept(tiny: Definition, out: Path) -> None:
    path = made(tiny, out).path
    dead = subprocess.Popen([sys.executable, "-S", "-c", ""])
    dead.wait()
    live = subprocess.Popen(["sleep", "60"])
    try:
        folders = {pid: path.with_name(f".{path.name}.{pid}.tmp") for pid in (dead.pid, live.pid)}
        unrelated = path.with_name(f".another.{dead.pid}.tmp")
        for folder in (*folders.values(), unrelated):
            folder.mkdir()
            (folder / "train.images.npy").write_bytes(b"half")
        made(tiny, out, rebuild=True)
        assert not folders[dead.pid].exists()
        assert (folders[live.pid] / "train.images.npy").read_bytes() == b"half"
        assert unrelated.exists()
    finally:
        live.kill()
        live.wait()


def test_a_folder_that_only_looks_like_a_dead_build_does_not_stop_one(tiny: Definition, out: Path) -> None:
    path = made(tiny, out).path
    for middle in ("old", "123.old", "99999999999999999999"):
        path.with_name(f".{path.name}.{middle}.tmp").mkdir()
    assert made(tiny, out, rebuild=True).path == path


def test_a_killed_build_leaves_no_data_set_and_the_next_one_cleans_up(
    tiny: Definition, tmp_path: Path, out: Path
) -> None:
    """A process that dies by SIGKILL in the middle of a split."""
    code = f"""
import os, signal, yaml
from pathlib import Path
from textgen import build
from textgen.game import Game
build.SplitWriter.close = lambda self: os.kill(os.getpid(), signal.SIGKILL)
game = Game.of(yaml.safe_load({json.dumps(flat_game(tmp_path / "flat"))!r}))
build.ensure(build.Definition(game), Path({str(out)!r}), workers=1, quiet=True)
"""
    root = Path(build.__file__).parents[1]
    killed = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(root)}, check=False)
    assert killed.returncode == -signal.SIGKILL
    (half,) = (out / "flat").iterdir()
    assert half.name.endswith(".tmp")
    path = made(tiny, out).path
    assert list((out / "flat").iterdir()) == [path]


def hash_of(game: Config, augment: tuple[Any, ...] = (), seed: int = 0) -> str:
    definition = Definition(Game.of(game), augment, seed)
    return str(build._identity(definition, definition.renderer())["hash"])


@pytest.mark.parametrize(
    "change",
    [
        lambda game: changed(game, "text.height", [8, 13]),
        lambda game: changed(game, "images.val", 2),
        lambda game: changed(game, "size", [24, 30]),
        lambda game: changed(game, "spec", "Xk"),
        lambda game: changed(game, "fields", {"X": "1..3"}),
        lambda game: changed(game, "other", "go"),
        lambda game: changed(game, "backgrounds.0.zoom", [1, 1.5]),
        lambda game: changed(game, "name", "another"),
        lambda game: changed(game, "text.contrast", 10),
    ],
)
def test_the_hash_changes_with_what_decides_a_crop(tmp_path: Path, change: Callable[[Config], Config]) -> None:
    game = flat_game(tmp_path)
    assert hash_of(change(game)) != hash_of(game)


def test_the_hash_changes_with_augmentation_and_seed(tmp_path: Path) -> None:
    game = flat_game(tmp_path)
    hashes = [
        hash_of(game),
        hash_of(game, LIGHT),
        hash_of(game, LIGHT[::-1]),
        hash_of(game, LIGHT[:1]),
        hash_of(game, seed=1),
    ]
    assert len(set(hashes)) == len(hashes)


def test_the_hash_changes_with_the_content_of_an_asset(tmp_path: Path) -> None:
    game = flat_game(tmp_path, "#000000")
    before = hash_of(game)
    assert hash_of(flat_game(tmp_path, "#000000")) == before
    assert hash_of(flat_game(tmp_path, "#000001")) != before


def test_the_hash_changes_with_assets_of_one_name_in_two_folders(tmp_path: Path) -> None:
    """Both decide the crops, although they are called the same."""
    one, two = flat_game(tmp_path / "one", "#000000"), flat_game(tmp_path / "two", "#100000")
    game = {**one, "backgrounds": one["backgrounds"] + two["backgrounds"]}
    before = hash_of(game)
    flat_game(tmp_path / "one", "#000030")
    after_one = hash_of(game)
    flat_game(tmp_path / "two", "#100030")
    assert len({before, after_one, hash_of(game)}) == 3


def test_the_hash_is_that_of_the_pictures_alone(tmp_path: Path) -> None:
    game = flat_game(tmp_path)
    assert hash_of({**game, "arch": "C8 M F", "title": "Another title"}) == hash_of(game)
    assert hash_of(dict(reversed(game.items()))) == hash_of(game)
