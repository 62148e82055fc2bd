"""Runs with data=shards: the same network as from one folder, recorded as what they are."""

from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
from conftest import composed

from textgen.common.errors import UserError
from textgen.dataset.blocks import Shard
from textgen.dataset.build import ensure_dataset
from textgen.schema.definition import parse_definition
from train.inference.network import load
from train.runs.finished_runs import calibration_crops, load_run_data
from train.runs.run import run

SMALL = [
    *("game=lol_gold1", "game.images.train=12", "game.images.val=3", "game.images.test=3", "augment=off"),
    *("workers=1", "threads=1", "groupings=1", "epochs=1", "batch=32", "model.arch=C4 M C4 M F", "fold=2"),
]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of data sets with all shards of one."""
    folder = tmp_path_factory.mktemp("data")
    definition = parse_definition(composed(*SMALL), 0)
    for index in range(2):
        ensure_dataset(definition, folder, shard=Shard(index, 2), workers=1, quiet=True)
    return folder


@pytest.fixture
def url(shards: Path) -> Iterator[str]:
    files = fsspec.filesystem("memory")
    files.put(str(shards / "lol_gold1"), "/store/lol_gold1", recursive=True)
    yield "memory://store"
    files.rm("/store", recursive=True)


def test_a_run_on_shards_is_that_of_one_folder_and_says_that_it_is_on_shards(
    shards: Path, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [*SMALL, f"runs={tmp_path}"]
    results = {
        "files": run(composed(*given, "data=files", f"data_dir={tmp_path / 'data'}", f"out={tmp_path / 'files'}")),
        "url": run(composed(*given, "data=shards", f"path={url}", f"out={tmp_path / 'url'}")),
    }
    weights = {name: (tmp_path / name / "model.safetensors").read_bytes() for name in results}
    assert weights["files"] == weights["url"]
    assert {result["dataset_hash"] for result in results.values()} == {results["files"]["dataset_hash"]}
    assert [results[name]["data"] for name in results] == ["files", "shards"]
    assert results["url"]["identity"] != results["files"]["identity"]
    assert "of other settings" not in capsys.readouterr().err
    assert [path.name for path in (shards / "lol_gold1").iterdir() if path.name.isalnum()] == []  # nothing was merged

    opened = [
        load_run_data(tmp_path / "url", load(tmp_path / "url")),
        load_run_data(tmp_path / "url", load(tmp_path / "url"), path=shards),
        load_run_data(tmp_path / "files", load(tmp_path / "files")),
    ]
    crops = [calibration_crops(data, 20, 1) for data in opened]
    for data, found in zip(opened, crops, strict=True):
        np.testing.assert_array_equal(found, crops[-1])
        np.testing.assert_array_equal(data.tests["test"].images, opened[-1].tests["test"].images)


def test_shards_of_other_settings_are_trained_on_with_a_note(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run(composed(*SMALL, "augment=noise", "data=shards", f"path={shards}", f"runs={tmp_path}"))
    assert result["train_images"] == 12 * 11
    assert "of other settings, or made by other versions of libraries" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["data=folder", "path=s3://bucket/crops"], "a URL is for data=shards"),
        (["data=files", "path=s3://bucket/crops"], "a URL is for data=shards"),
        (["data=shards", "rebuild=true"], "data=shards reads what is there"),
        (["data=shards", "path=nowhere"], "there are no shards in nowhere: make them with python -m textgen -m"),
        (["data=shards", "game=sot_time", "path={shards}/lol_gold1"], "of 11 classes and 22×52 pixels, game=sot_time"),
        (["data=shards", "data_dir={shards}", "augment=noise"], "none of this command's"),
        (["data=shards", "path=memory://nowhere"], "there are no shards in memory://nowhere"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_is_written(
    shards: Path, tmp_path: Path, settings: list[str], told: str
) -> None:
    given = [setting.replace("{shards}", str(shards)) for setting in settings]
    with pytest.raises(UserError, match=told):
        run(composed(*SMALL, f"runs={tmp_path / 'runs'}", f"data_dir={tmp_path / 'data'}", *given))
    assert list(tmp_path.iterdir()) == []
