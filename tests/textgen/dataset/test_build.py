import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, Config, changed, flat_game, load

from textgen.common.errors import UserError
from textgen.common.validation import validate
from textgen.dataset import build, store
from textgen.dataset.blocks import Shard
from textgen.dataset.build import ensure_dataset
from textgen.dataset.store import Dataset
from textgen.render.renderer import SPLITS, Renderer
from textgen.schema.augment import Augment
from textgen.schema.definition import DatasetDefinition, parse_definition
from textgen.schema.game import Game
from textgen.schema.split import Holdout

LIGHT = validate(Augment, load("augment", "light"))
COUNTS = {"train": 4, "val": 2, "test": 2}


def made(
    definition: DatasetDefinition, out: Path, workers: int = 1, rebuild: bool = False, shard: Shard | None = None
) -> Dataset:
    return ensure_dataset(definition, out, shard=shard or Shard(), workers=workers, rebuild=rebuild, quiet=True)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def left_behind(out: Path) -> list[Path]:
    """Files, data sets and parts of them below `out`; its folder of the game and locks there are no data."""
    return [path for path in out.rglob("*") if path.parent != out and path.suffix != ".lock"]


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight crops of 22×30 a block."""
    monkeypatch.setattr(store, "BLOCK_BYTES", 8 * 22 * 30 * 3)


@pytest.fixture
def definition(small_game: Config) -> DatasetDefinition:
    return DatasetDefinition(Game.from_config(small_game), LIGHT, 3)


@pytest.fixture
def tiny(tmp_path: Path) -> DatasetDefinition:
    """A game that is built in a moment."""
    return DatasetDefinition(Game.from_config(flat_game(tmp_path / "flat")))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.mark.parametrize(
    ("augment", "counts"), [("light", (2, 5)), pytest.param("albumentations", (3,), marks=pytest.mark.slow)]
)
def test_workers_and_shards_change_no_byte(
    small_game: Config, tmp_path: Path, small_blocks: None, augment: str, counts: tuple[int, ...]
) -> None:
    """Threads for our own pipeline, processes for albumentations."""
    definition = DatasetDefinition(Game.from_config(small_game), validate(Augment, load("augment", augment)), 3)
    whole = contents(made(definition, tmp_path / "1").path)
    for workers in counts:
        assert contents(made(definition, tmp_path / str(workers), workers).path) == whole
    for count in counts:
        out = tmp_path / f"shards{count}"
        shards = [made(definition, out, shard=Shard(index, count)) for index in reversed(range(count))]
        assert sum(len(shard.splits["train"].labels) for shard in shards) == 4 * 27
        rendered = build.Renderer.render
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(build.Renderer, "render", lambda *_: pytest.fail("it is all there"))
            assert contents(made(definition, out).path) == whole
        assert build.Renderer.render is rendered


def test_a_shard_is_the_same_wherever_it_is_made(
    definition: DatasetDefinition, tmp_path: Path, small_blocks: None
) -> None:
    here, there = (
        made(definition, tmp_path / name, workers, shard=Shard(1, 3)) for name, workers in (("a", 1), ("b", 3))
    )
    assert contents(here.path) == contents(there.path)
    whole = made(definition, tmp_path / "whole").splits["train"]
    shards = [made(definition, tmp_path / "c", shard=Shard(index, 3)).splits["train"] for index in range(3)]
    np.testing.assert_array_equal(np.concatenate([shard.images for shard in shards]), whole.images)
    np.testing.assert_array_equal(np.concatenate([shard.labels for shard in shards]), whole.labels)
    assert [text for shard in shards for text in shard.texts] == whole.texts


def test_missing_shards_are_rendered(definition: DatasetDefinition, tmp_path: Path, small_blocks: None) -> None:
    whole = contents(made(definition, tmp_path / "whole").path)
    made(definition, tmp_path / "some", shard=Shard(1, 3))
    assert contents(made(definition, tmp_path / "some").path) == whole


def test_a_damaged_shard_is_told_and_rendered_anew(
    definition: DatasetDefinition, tmp_path: Path, small_blocks: None, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = contents(made(definition, tmp_path / "whole").path)
    shard = made(definition, tmp_path / "some", shard=Shard(0, 2))
    os.truncate(shard.path / "train.images.npy", 1000)
    assert contents(made(definition, tmp_path / "some").path) == whole
    assert f"{shard.path} is skipped" in capsys.readouterr().err


def test_a_rebuild_takes_nothing_that_was_there(
    definition: DatasetDefinition, tmp_path: Path, small_blocks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(2):
        made(definition, tmp_path, shard=Shard(index, 2))
    drawn: list[int] = []
    render = build.Renderer.render
    monkeypatch.setattr(build.Renderer, "render", lambda self, split, i: drawn.extend(i) or render(self, split, i))
    made(definition, tmp_path)
    assert drawn == []
    made(definition, tmp_path, rebuild=True)
    assert len(drawn) == 8 * 27


def test_a_small_split_may_leave_shards_without_any(tiny: DatasetDefinition, out: Path) -> None:
    shards = [made(tiny, out, shard=Shard(index, 4)) for index in range(4)]
    assert sorted(len(shard.splits["val"].labels) for shard in shards) == [0, 0, 0, 11]
    assert len(made(tiny, out).splits["val"].labels) == 11


def test_held_out_assets_have_test_sets_of_their_own(small_game: Config, out: Path) -> None:
    definition = DatasetDefinition(Game.from_config(small_game), holdout=Holdout(fonts=0.25, backgrounds=0.25))
    dataset = made(definition, out)
    assert list(dataset.splits) == [*SPLITS, "test_fonts", "test_backgrounds"]
    assert len(dataset.splits["test_fonts"].labels) == len(dataset.splits["test"].labels)
    assert dataset.hash != made(DatasetDefinition(Game.from_config(small_game)), out).hash


def test_a_sample_by_index_is_the_one_of_the_file(definition: DatasetDefinition, out: Path) -> None:
    dataset = made(definition, out)
    renderer = Renderer.from_definition(definition)
    for split in SPLITS:
        stored = dataset.splits[split]
        for i in (len(stored.images) - 1, 0, 17):
            crops = renderer.render(split, [i])
            np.testing.assert_array_equal(crops.images[0], stored.images[i])
            assert crops.labels[0] == stored.labels[i]
            assert crops.texts == [stored.texts[i]]


def test_there_are_exactly_as_many_images_of_each_class_as_asked(definition: DatasetDefinition, out: Path) -> None:
    dataset = made(definition, out)
    assert dataset.classes == definition.game.classes
    spec = definition.game.parse_spec()
    for split, count in COUNTS.items():
        images, labels, texts = dataset.splits[split]
        assert Counter(labels.tolist()) == dict.fromkeys(range(27), count)
        assert images.shape == (27 * count, 22, 30, 3)
        assert [spec.label_of(text) for text in texts] == [dataset.classes[label] for label in labels]


def test_no_image_is_in_two_splits(definition: DatasetDefinition, out: Path) -> None:
    images = [image.tobytes() for split in made(definition, out).splits.values() for image in split.images]
    assert len(set(images)) == len(images)


def test_the_manifest_says_what_went_in_and_what_was_refused(definition: DatasetDefinition, out: Path) -> None:
    dataset = made(definition, out)
    manifest = json.loads((dataset.path / "manifest.json").read_text())
    assert manifest["seed"] == 3
    assert manifest["classes"] == list(definition.game.classes)
    assert manifest["game"]["spec"] == "N"
    assert manifest["augment"] == json.loads(json.dumps(asdict(LIGHT)))
    assert {"numpy", "pillow", "numba"} <= manifest["versions"].keys()
    assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in manifest["assets"].values())
    assert len(manifest["assets"]) == len(Renderer.from_definition(definition).assets)
    assert manifest["splits"].keys() == set(SPLITS)
    for split, count in COUNTS.items():
        about = manifest["splits"][split]
        assert (about["per_class"], about["images"]) == (count, 27 * count)
        assert about["rejects"].keys() <= {"too large", "too small", "low contrast"}
    assert dataset.path == out / "sot_time" / manifest["hash"][:16]
    assert "arch" not in manifest["game"]


def test_refused_draws_are_counted_whatever_the_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    definition = DatasetDefinition(
        Game.from_config(flat_game(tmp_path / "flat", "#808080", colors=["#ffffff", "#858585"]))
    )
    whole = made(definition, tmp_path / "whole").manifest["splits"]["train"]["rejects"]
    monkeypatch.setattr(store, "BLOCK_BYTES", 4 * 22 * 30 * 3)
    blocks = made(definition, tmp_path / "blocks").manifest["splits"]["train"]
    assert len(blocks["blocks"]) == 6
    assert blocks["rejects"] == whole
    assert whole["low contrast"] > 0


def test_a_data_set_that_is_there_is_taken_as_it_is(tiny: DatasetDefinition, out: Path) -> None:
    first = made(tiny, out)
    before = {file: file.stat().st_mtime_ns for file in first.path.iterdir()}
    again = made(tiny, out)
    assert again.path == first.path
    assert {file: file.stat().st_mtime_ns for file in again.path.iterdir()} == before
    made(tiny, out, rebuild=True)
    assert {file: file.stat().st_mtime_ns for file in again.path.iterdir()} != before


@pytest.mark.parametrize("damage", ["truncated", "emptied"])
def test_a_damaged_data_set_is_told_and_can_be_built_again(tiny: DatasetDefinition, out: Path, damage: str) -> None:
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
    assert {path.name for path in left_behind(out)} == {dataset.path.name, *whole}


@pytest.mark.parametrize("workers", [1, 2])
def test_an_impossible_text_leaves_nothing_behind(tmp_path: Path, out: Path, small_blocks: None, workers: int) -> None:
    game = flat_game(tmp_path / "flat", height=[30, 40])
    with pytest.raises(UserError, match="could not be drawn"):
        made(DatasetDefinition(Game.from_config(game)), out, workers)
    assert left_behind(out) == []


def test_a_failing_rebuild_leaves_the_old_data_set(
    tiny: DatasetDefinition, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = made(tiny, out)
    before = contents(dataset.path)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(build.LabelAndTextWriter, "close", stop)
        with pytest.raises(KeyboardInterrupt):
            made(tiny, out, rebuild=True)
    assert contents(dataset.path) == before
    assert contents(made(tiny, out, rebuild=True).path) == before
    assert {path.name for path in left_behind(out)} == {dataset.path.name, *before}


@pytest.mark.parametrize("place", ["below-a-file", "proc", "long-name"])
def test_a_folder_that_cannot_be_written_to_is_an_error_of_the_user(
    tiny: DatasetDefinition, tmp_path: Path, place: str
) -> None:
    file = tmp_path / "file"
    file.write_text("a file, not a folder")
    out = {"below-a-file": file / "data", "proc": Path("/proc/foldtext"), "long-name": tmp_path / ("x" * 300)}[place]
    with pytest.raises(UserError, match=f"cannot write .*{re.escape(str(out))}") as caught:
        made(tiny, out)
    assert "out=" in caught.value.summary
    assert file.read_text() == "a file, not a folder"
    assert {path.name for path in tmp_path.iterdir()} == {"file", "flat"}


def test_an_old_file_in_place_of_the_data_set_is_an_error_of_the_user(tiny: DatasetDefinition, out: Path) -> None:
    path = made(tiny, out).path
    shutil.rmtree(path)
    path.write_text("a file")
    for rebuild in (False, True):
        with pytest.raises(UserError, match=re.escape(str(path))):
            made(tiny, out, rebuild=rebuild)


CHILD = """
import sys, yaml
from dataclasses import asdict
from pathlib import Path
from textgen.dataset import build, store
from textgen.schema.definition import DatasetDefinition, parse_definition
from textgen.schema.game import Game
store.BLOCK_BYTES = 8 * 22 * 30 * 3
game = Game.from_config(yaml.safe_load(sys.argv[1]))
build.ensure_dataset(DatasetDefinition(game), Path(sys.argv[2]), workers=2, quiet=True)
"""


def child(game: Config, out: Path) -> subprocess.Popen[bytes]:
    """A process that builds `game` in small blocks."""
    command = [sys.executable, "-c", CHILD, json.dumps(game), str(out)]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)})


def killed_builds(game: Config, out: Path, kills: int, seed: int) -> int:
    """Build, with SIGKILL at random moments of the writing. Returns how many blocks were done at all the kills."""
    chance, kept = random.Random(seed), 0
    blocks = sum(game["images"].values()) * 11 // 8
    for number in range(kills):
        process = child(game, out)
        enough = blocks * (number + chance.random()) / kills
        while process.poll() is None and sum(1 for _ in out.rglob("done/*.json")) < enough:
            time.sleep(0.001)
        time.sleep(chance.random() * 0.02)
        process.kill()
        process.wait()
        kept += sum(1 for _ in out.rglob("done/*.json"))
    assert child(game, out).wait() == 0
    return kept


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_a_killed_build_goes_on_to_the_same_bytes(
    tmp_path: Path, out: Path, kills: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = {"train": 60 * kills, "val": 40, "test": 40}
    game = {**flat_game(tmp_path / "flat"), "images": images}
    assert killed_builds(game, out, kills, seed=kills) > 0
    monkeypatch.setattr(store, "BLOCK_BYTES", 8 * 22 * 30 * 3)
    disturbed, whole = (
        made(DatasetDefinition(Game.from_config(game)), out),
        made(DatasetDefinition(Game.from_config(game)), tmp_path / "whole"),
    )
    assert contents(disturbed.path) == contents(whole.path)
    assert {path.name for path in left_behind(out)} == {disturbed.path.name, *contents(whole.path)}


def test_a_block_that_was_lost_after_its_mark_is_rendered_again(
    tiny: DatasetDefinition, out: Path, small_blocks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a power cut can leave it."""
    whole = contents(made(tiny, out.with_name("whole")).path)
    with monkeypatch.context() as patched:
        patched.setattr(build.LabelAndTextWriter, "close", lambda *_: pytest.fail("stopped"))
        with pytest.raises(pytest.fail.Exception):
            made(tiny, out)
    (images,) = out.rglob("train.images.npy")
    with images.open("r+b") as file:
        file.seek(500)
        file.write(b"damage")
    (next(iter(out.rglob("done/val-*.json")))).write_text("{")
    assert contents(made(tiny, out).path) == whole


def test_two_builds_at_once_do_no_harm(tmp_path: Path, out: Path, small_blocks: None) -> None:
    game = {**flat_game(tmp_path / "flat"), "images": {"train": 40, "val": 1, "test": 1}}
    processes = [child(game, out) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    whole = made(DatasetDefinition(Game.from_config(game)), tmp_path / "whole")
    assert contents(made(DatasetDefinition(Game.from_config(game)), out).path) == contents(whole.path)


def test_ctrl_c_keeps_what_is_done(tmp_path: Path, out: Path) -> None:
    game = {**flat_game(tmp_path / "flat"), "images": {"train": 2000, "val": 1, "test": 1}}
    process = child(game, out)
    while process.poll() is None and not any(out.rglob("done/*.json")):
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    assert process.wait() != 0
    assert any(out.rglob("done/*.json"))
    assert [path.name for path in (out / "flat").iterdir() if not path.name.startswith(".")] == []


def test_a_disk_too_small_says_so_before_any_work(
    tiny: DatasetDefinition, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", str(out))

    with monkeypatch.context() as patched:
        patched.setattr(os, "posix_fallocate", full)
        patched.setattr(build.Renderer, "render", lambda *_: pytest.fail("rendered in vain"))
        with pytest.raises(UserError, match=r"No space left on device; make room or choose another folder"):
            made(tiny, out)
    assert left_behind(out) == []
    made(tiny, out)


def hash_of(game: Config, augment: Config | None = None, **others: Any) -> str:
    definition = DatasetDefinition(Game.from_config(game), validate(Augment, augment or {}), **others)
    return str(build._identity(definition, Renderer.from_definition(definition))["hash"])


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


def test_the_hash_changes_with_augmentation_seed_and_holdout(tmp_path: Path) -> None:
    game = {**flat_game(tmp_path), "backgrounds": [{"source": "scene"}, {"source": "noise"}]}
    light = load("augment", "light")
    hashes = [
        hash_of(game),
        hash_of(game, light),
        hash_of(game, {**light, "chroma": {}}),
        hash_of(game, {"transforms": [{"name": "GaussianBlur"}]}),
        hash_of(game, seed=1),
        hash_of(game, holdout=Holdout(backgrounds=0.5)),
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


def test_the_hash_changes_when_a_file_moves_to_another_source(tmp_path: Path) -> None:
    """The same files, but other chances."""
    one, two = flat_game(tmp_path / "one", "#000000"), flat_game(tmp_path / "two", "#300000")
    for color in ("#101010", "#202020"):
        shutil.copy(
            flat_game(tmp_path / color, color)["backgrounds"][0]["source"] + "flat.png", tmp_path / f"one/{color}.png"
        )
    tinted = {**two["backgrounds"][0], "weight": 9, "tint": ["#ff0000"]}
    pictures = {**one, "backgrounds": [one["backgrounds"][0], tinted]}
    fonts = {**one, "text": {**one["text"], "fonts": {f"{tmp_path}/a/": 1, f"{tmp_path}/b/": 9}}}
    files = sorted((ROOT / "fonts" / "oswald").glob("*.ttf"))
    for folder, of in (("a", files[:1]), ("b", files[1:])):
        (tmp_path / folder).mkdir()
        for file in of:
            shutil.copy(file, tmp_path / folder)
    before = hash_of(pictures), hash_of(fonts)
    (tmp_path / "one" / "#202020.png").rename(tmp_path / "two" / "#202020.png")
    (tmp_path / "b" / files[1].name).rename(tmp_path / "a" / files[1].name)
    assert hash_of(pictures) != before[0]
    assert hash_of(fonts) != before[1]


def test_the_hash_is_that_of_the_pictures_alone(tmp_path: Path) -> None:
    game = flat_game(tmp_path)
    assert hash_of({**game, "arch": "C8 M F", "title": "Another title"}) == hash_of(game)
    assert hash_of(dict(reversed(game.items()))) == hash_of(game)


@pytest.mark.parametrize(
    ("spec", "generator"), [("N", 2), ("N k", 2), ("N\u00a0k", 3), ("N \u00e9", 2), ("N e\u0301", 3), ("N\u3000k", 3)]
)
def test_only_texts_that_older_versions_drew_differently_get_another_hash(
    config: Callable[[str], Config], tmp_path: Path, spec: str, generator: int
) -> None:
    images = {"train": 1, "val": 1, "test": 1}
    game = {**config("sot_time"), "spec": spec, "fields": {"N": ["1", "2"]}, "images": images, "size": [24, 60]}
    game["text"] = {"fonts": ["oswald"], "height": [8, 9]}
    dataset = ensure_dataset(parse_definition({"game": game, "augment": {}, "split": {}}, 0), tmp_path, quiet=True)
    manifest = json.loads((dataset.path / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["generator"] == generator
