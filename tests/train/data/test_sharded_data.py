"""Training images from shards: each once an epoch, shuffled in windows, in bounded memory, from any storage."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
from conftest import composed, flat_game
from s3_server import s3_server

from textgen.common.errors import UserError
from textgen.dataset import store
from textgen.dataset.blocks import Shard
from textgen.dataset.build import ensure_dataset
from textgen.dataset.store import Dataset
from textgen.schema.definition import DatasetDefinition
from textgen.schema.game import Game
from textgen.spec.label_fields import LabelFields
from train.config.curriculum import Curriculum
from train.config.recipe import fit_recipe
from train.data import shard_source, sharded
from train.data.order import CyclicLabels, EpochBatches, batch_sizes
from train.data.shard_source import ShardSource
from train.data.sharded import ShardedDataset, open_shards
from train.data.sources import to_device
from train.data.storage import LocalFolder, Storage, open_storage
from train.models.notation import parse
from train.trainer import loop
from train.trainer.curriculum import epoch_order
from train.trainer.schedule import Schedule
from train.trainer.state import Output, TrainingSetup

CPU = torch.device("cpu")
ROWS, WINDOW = 8, 3  # images of a block, blocks of a window
IMAGES = {"train": 20, "val": 3, "test": 3}  # of each of 11 classes: 28 blocks, the last of 4 images, and 5 and 5


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "BLOCK_BYTES", ROWS * 22 * 30 * 3)
    monkeypatch.setattr(shard_source, "WINDOW", WINDOW)


@pytest.fixture(scope="module")
def definition(tmp_path_factory: pytest.TempPathFactory) -> DatasetDefinition:
    folder = tmp_path_factory.mktemp("game")
    return DatasetDefinition(Game.from_config({**flat_game(folder / "flat"), "images": IMAGES}))


@pytest.fixture(scope="module")
def made(definition: DatasetDefinition, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the whole data set in `whole`, in 3 shards in `three`, and in 5 in `five`."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(store, "BLOCK_BYTES", ROWS * 22 * 30 * 3)
        ensure_dataset(definition, folder / "whole", workers=1, quiet=True)
        for name, count in (("three", 3), ("five", 5)):
            for index in range(count):
                ensure_dataset(definition, folder / name, shard=Shard(index, count), workers=1, quiet=True)
    return folder


@pytest.fixture
def whole(definition: DatasetDefinition, made: Path) -> Dataset:
    return ensure_dataset(definition, made / "whole")


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of the three shards, to be damaged."""
    shutil.copytree(made / "three" / "flat", tmp_path / "flat")
    return tmp_path / "flat"


def opened(place: Path | str | Storage, whole: Dataset) -> ShardedDataset:
    storage = open_storage(place) if isinstance(place, Path | str) else place
    return open_shards(storage, "flat", whole.hash, "make them")


class Counting:
    """A storage that notes what is read of files of images."""

    def __init__(self, storage: Storage):
        self._storage, self.name, self.read_at = storage, storage.name, list[tuple[str, int]]()
        self.folders, self.size = storage.folders, storage.size

    def read(self, path: str, start: int = 0, end: int | None = None) -> bytes:
        if path.endswith("train.images.npy"):
            self.read_at.append((path, start))
        return self._storage.read(path, start, end)


def epoch_batches(source: ShardSource, epoch: int, batch: int = 16, curriculum: bool = False) -> EpochBatches:
    """The batches of a schedule with two epochs, of which the first has 2 classes if there is a curriculum."""
    config = composed("game=lol_gold1")["recipe"]
    given = Curriculum(initial=2, step=9, every=1, of=2) if curriculum else None
    recipe = fit_recipe({**config, "curriculum": given}, game="flat", fold=2, train_images=220, epochs=2)
    names = (*"0123456789", "other")
    schedule = Schedule.build(
        recipe,
        labels=source.labels_of,
        fields=LabelFields.single(names),
        fold=2,
        stack=2,
        seed=4,
        windows=source.windows,
    )
    return schedule.batches(epoch, batch, 2)


@pytest.mark.parametrize("name", ["three", "five"])
def test_every_split_is_read_as_it_was_written(made: Path, whole: Dataset, name: str) -> None:
    dataset = opened(made / name, whole)
    assert (dataset.hash, dataset.classes, dataset.size) == (whole.hash, whole.classes, (22, 30))
    assert dataset.blocks("train") == 28
    for split, stored in whole.splits.items():
        loaded = dataset.load(split)
        np.testing.assert_array_equal(loaded.images, stored.images)
        np.testing.assert_array_equal(loaded.labels, stored.labels)
        assert list(loaded.texts) == list(stored.texts)


def test_an_epoch_has_every_image_once_in_windows_of_shuffled_blocks(made: Path, whole: Dataset) -> None:
    source = ShardSource(opened(made / "three", whole), CPU, seed=4)
    orders = []
    for epoch in (0, 1):
        batches = epoch_batches(source, epoch)
        assert [len(batch) for batch in batches] == batches.sizes == [16] * 13 + [12]
        order = torch.cat(list(batches))
        assert sorted(order.tolist()) == list(range(220))
        windows = [order[start : start + ROWS * WINDOW] // ROWS for start in range(0, 220 - ROWS * WINDOW, 24)]
        if epoch == 0:
            first = windows[0].tolist()
            assert len(set(first)) == WINDOW
            assert first != sorted(first)  # images of a window are shuffled among each other
        orders.append(order)
    assert not torch.equal(*orders)
    again = ShardSource(opened(made / "five", whole), CPU, seed=4)  # the number of shards has no influence
    assert torch.equal(torch.cat(list(epoch_batches(again, 1))), orders[1])
    other = ShardSource(opened(made / "five", whole), CPU, seed=5)
    assert not torch.equal(torch.cat(list(epoch_batches(other, 1))), orders[1])


def test_one_window_is_shuffled_as_a_data_set_in_memory(
    made: Path, whole: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_source, "WINDOW", 28)
    source = ShardSource(opened(made / "three", whole), CPU, seed=4)
    split = to_device(whole.splits["train"], CPU)
    for epoch in (0, 1):
        ranks = split.labels
        assert torch.equal(torch.cat(list(epoch_batches(source, epoch))), epoch_order(ranks, 11, 4, epoch))


@pytest.mark.parametrize("curriculum", [False, True])
@pytest.mark.parametrize("rows", [None, slice(2, 4)])
@pytest.mark.parametrize("begin", [0, 3])
def test_batches_hold_the_images_of_their_indices(
    made: Path, whole: Dataset, curriculum: bool, rows: slice | None, begin: int
) -> None:
    source = ShardSource(opened(made / "three", whole), CPU, seed=4)
    images, labels = whole.splits["train"].images, whole.splits["train"].labels
    for epoch in (0, 1):
        batches = epoch_batches(source, epoch, batch=12, curriculum=curriculum)[begin:]
        of = None if rows is None else [rows] * len(batches)
        seen = 0
        for batch, found in zip(batches, source.batches(epoch, batches, of), strict=True):
            indices = batch if rows is None else batch[rows]
            np.testing.assert_array_equal(found.numpy(), images[indices.numpy()])
            assert source.labels[indices].tolist() == labels[indices.numpy()].tolist()
            seen += len(batch)
        classes = 2 if curriculum and epoch == 0 else 11
        assert seen == classes * 20 - 12 * begin
        if classes == 2:
            assert set(source.labels[torch.cat(list(batches))].tolist()) <= {0, 1}


def test_each_block_is_read_once_an_epoch_and_at_most_one_window_ahead(made: Path, whole: Dataset) -> None:
    counting = Counting(LocalFolder(made / "three"))
    source = ShardSource(opened(counting, whole), CPU, seed=4)
    counting.read_at.clear()
    batches = epoch_batches(source, 0)
    used, most = 0, 0
    for batch, _ in zip(batches, source.batches(0, batches), strict=True):
        used += len(batch)
        most = max(most, len(counting.read_at) - used // ROWS)
    assert len(counting.read_at) == len(set(counting.read_at)) == 28
    assert most <= 2 * WINDOW


def test_a_resumed_epoch_reads_only_what_is_left(made: Path, whole: Dataset) -> None:
    counting = Counting(LocalFolder(made / "three"))
    source = ShardSource(opened(counting, whole), CPU, seed=4)
    counting.read_at.clear()
    batches = epoch_batches(source, 0)
    assert len(list(source.batches(0, batches[12:]))) == 2
    assert len(counting.read_at) <= 28 - 12 * 16 // ROWS + WINDOW


def test_missing_and_damaged_shards_are_named_in_one_line(folder: Path, whole: Dataset) -> None:
    prefix = whole.hash[:16]
    shutil.rmtree(folder / f"{prefix}.shard-1-of-3")
    with pytest.raises(UserError, match=r"of the 3 shards of .*: 1 missing; .* -m and shard\.count=3 shard\.index=1$"):
        opened(folder, whole)
    shutil.copytree(folder / f"{prefix}.shard-0-of-3", folder / f"{prefix}.shard-1-of-3")
    (folder / f"{prefix}.shard-2-of-3" / "val.images.npy").unlink()
    (folder / f"{prefix}.shard-0-of-3" / "manifest.json").write_text("{")
    with pytest.raises(UserError) as raised:
        opened(folder, whole)
    assert ": 0 damaged (manifest.json is damaged), 1 damaged (its manifest belongs to another shard" in str(
        raised.value
    )
    assert ", 2 damaged (val.images.npy is missing)" in str(raised.value)


def test_a_block_that_is_damaged_later_is_named(folder: Path, whole: Dataset) -> None:
    source = ShardSource(opened(folder, whole), CPU, seed=4)
    file = folder / f"{whole.hash[:16]}.shard-1-of-3" / "train.images.npy"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    batches = epoch_batches(source, 0)
    with pytest.raises(UserError, match=r"block 17 of train is damaged: .*shard-1-of-3/train\.images\.npy does"):
        list(source.batches(0, batches))
    file.unlink()
    with pytest.raises(UserError, match=r"shard-1-of-3/train\.images\.npy cannot be read: No such file"):
        list(source.batches(0, batches))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda m: m.update(splits={"../../etc": m["splits"]["train"]}), "manifest.json is damaged"),
        (lambda m: m["splits"]["train"]["blocks"][0].update(xxh3="nothing"), "manifest.json is damaged"),
        (lambda m: m["splits"]["train"].update(images=1), "belongs to another shard"),
        (lambda m: m.update(hash="0" * 64), "belongs to another shard"),
        (lambda m: m.update(classes=["a"]), "belongs to another shard"),
        (lambda m: m.update(shard=[1, 3]), "belongs to another shard"),
    ],
)
def test_what_a_manifest_may_not_say(
    folder: Path, whole: Dataset, change: Callable[[dict[str, Any]], None], told: str
) -> None:
    file = folder / f"{whole.hash[:16]}.shard-1-of-3" / "manifest.json"
    manifest = json.loads(file.read_text())
    change(manifest)
    file.write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=f"1 damaged .*{told}"):
        opened(folder, whole)


def test_shards_of_several_data_sets_and_of_none(folder: Path, tmp_path: Path, whole: Dataset) -> None:
    with pytest.raises(UserError, match=r"there are no shards in .*: make them"):
        opened(tmp_path / "nothing", whole)
    for index in range(3):
        (folder / f"{'0' * 16}.shard-{index}-of-3").mkdir()
    assert opened(folder, whole).hash == whole.hash
    with pytest.raises(
        UserError, match=r"has shards of other data sets, 0{16}, .* none of this command's, f{16}: make"
    ):
        open_shards(open_storage(folder), "flat", "f" * 64, "make them")


def test_splits_that_are_too_large_for_memory_are_named(
    made: Path, whole: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharded, "MAX_WHOLE_BYTES", 1000)
    with pytest.raises(UserError, match=r"val of .* has 33 images, .* game\.images\.val=1000"):
        opened(made / "five", whole).load("val")


@pytest.fixture
def memory(made: Path) -> Iterator[str]:
    """The three shards in fsspec's file system in memory."""
    files = fsspec.filesystem("memory")
    files.put(str(made / "three" / "flat"), "/bucket/shards", recursive=True)
    yield "memory://bucket/shards"
    files.rm("/bucket", recursive=True)


@pytest.fixture
def s3(made: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The three shards in an object store, which the usual variables say how to reach."""
    base = made / "three" / "flat"
    objects = {
        f"bucket/some/prefix/{file.relative_to(base).as_posix()}": file.read_bytes()
        for file in base.rglob("*")
        if file.is_file()
    }
    with s3_server(objects) as (address, _):
        for name, value in {
            "AWS_ENDPOINT_URL": address,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_EC2_METADATA_DISABLED": "true",
        }.items():
            monkeypatch.setenv(name, value)
        yield "s3://bucket/some/prefix"


@pytest.mark.parametrize("kind", ["file", "memory", "s3"])
def test_object_storage_gives_the_same_images(
    request: pytest.FixtureRequest, made: Path, whole: Dataset, kind: str
) -> None:
    url = f"file://{made / 'three'}" if kind == "file" else request.getfixturevalue(kind)
    dataset = opened(url, whole)
    source = ShardSource(dataset, CPU, seed=4)
    batches = epoch_batches(source, 0)
    for batch, found in zip(batches, source.batches(0, batches), strict=True):
        np.testing.assert_array_equal(found.numpy(), whole.splits["train"].images[batch.numpy()])
    np.testing.assert_array_equal(dataset.load("test").images, whole.splits["test"].images)


def test_an_object_that_is_gone_or_damaged_is_named(made: Path, whole: Dataset, memory: str) -> None:
    dataset = opened(memory, whole)
    files, path = fsspec.filesystem("memory"), f"/bucket/shards/{whole.hash[:16]}.shard-2-of-3/train.images.npy"
    data = bytearray(files.cat(path))
    data[-1] ^= 1
    files.pipe(path, bytes(data))
    with pytest.raises(UserError, match=r"block 27 of train is damaged: memory://bucket/shards/.*shard-2-of-3/train"):
        dataset.read_block("train", 27)
    files.rm(path)
    with pytest.raises(UserError, match=r"memory://bucket/shards/.*/train\.images\.npy cannot be read: FileNotFound"):
        dataset.read_block("train", 27)
    with pytest.raises(UserError, match=r"2 damaged \(train\.images\.npy is missing\)"):
        opened(memory, whole)


@pytest.mark.parametrize(
    ("url", "told"),
    [("nothing://a", "cannot be opened: .*nothing"), ("s3://bucket/x", "AWS_ENDPOINT_URL is 'ftp://x'")],
)
def test_urls_that_cannot_be_opened(url: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "ftp://x")
    with pytest.raises(UserError, match=told):
        open_storage(url)


class Stopping:
    """The source of a training that stops at batch `at` of those that it takes."""

    def __init__(self, source: ShardSource, at: int):
        self._source, self._at = source, at
        self.labels, self.size, self.windows = source.labels, source.size, source.windows
        self.labels_of = source.labels_of

    def batches(
        self, epoch: int, batches: Sequence[torch.Tensor], rows: Sequence[slice] | None = None
    ) -> Iterator[torch.Tensor]:
        for images in self._source.batches(epoch, batches, rows):
            self._at -= 1
            if self._at == 0:
                raise OSError("the machine is gone")
            yield images


def test_a_training_on_shards_that_is_stopped_ends_with_the_bits_of_one_that_is_not(
    definition: DatasetDefinition, made: Path, whole: Dataset, tmp_path: Path
) -> None:
    dataset = opened(made / "three", whole)
    settings = ("game=lol_gold1", "recipe.curriculum={initial: 2, step: 5, every: 1, of: 3}")
    recipe = fit_recipe(composed(*settings)["recipe"], game="flat", fold=2, train_images=220, epochs=3, batch=24)
    val = to_device(dataset.load("val"), CPU)
    layers = parse("C4 M C4 M F", "3x3 strides 2,1,2")

    def trained(source: Any, folder: Path) -> dict[str, torch.Tensor]:
        folder.mkdir(exist_ok=True)
        kept: list[dict[str, torch.Tensor]] = []
        setup = TrainingSetup(source, val, layers, definition.game.label_fields, 2, recipe, seed=4)
        output = Output(folder, "this", lambda net: kept.append(net.state_dict()), save_every=0, quiet=True)
        loop.train(setup, output)
        return kept[-1]

    source = ShardSource(dataset, CPU, seed=4)
    expected = trained(source, tmp_path / "whole")
    for at in (2, 3, 7):
        with pytest.raises(OSError, match="gone"):
            trained(Stopping(source, at), tmp_path / "stopped")
    found = trained(source, tmp_path / "stopped")
    assert all(torch.equal(value, found[name]) for name, value in expected.items())


def test_batches_of_windows_are_those_of_their_images_in_one_row() -> None:
    windows = [torch.arange(start, stop) for start, stop in ((0, 5), (5, 6), (6, 17), (17, 40), (40, 41))]
    batches = EpochBatches(lambda number: windows[number], batch_sizes(40, 8, 4))
    assert batches.sizes == [8] * 5
    assert torch.equal(torch.cat(list(batches)), torch.arange(40))
    assert batches[3].tolist() == list(range(24, 32))
    assert batches[0].tolist() == list(range(8))  # also back
    assert [part.tolist()[0] for part in batches[2:][1:]] == [24, 32]
    with pytest.raises(IndexError):
        batches[5]


def test_cyclic_labels_are_those_of_a_tensor() -> None:
    labels = CyclicLabels(25, 11, CPU)
    stored = torch.arange(25) % 11
    indices = torch.tensor([24, 0, 11, 3])
    assert torch.equal(labels[indices], stored[indices])
    assert torch.equal(labels.count(), torch.bincount(stored))
    assert len(labels) == 25
