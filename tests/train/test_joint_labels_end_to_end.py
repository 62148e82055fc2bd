"""A label of several fields, from the data set to values: formats, training, evaluation, engines, prediction."""

import copy
import csv
import json
import pickle
import shutil
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from conftest import ROOT
from PIL import Image

from textgen.common.errors import UserError
from textgen.common.validation import validate
from textgen.dataset.blocks import Shard
from textgen.dataset.build import ensure_dataset
from textgen.dataset.import_folder import import_folder
from textgen.dataset.store import Dataset, open_dataset
from textgen.export.formats import export
from textgen.footage.regions import Region
from textgen.preview.samples import SplitCrops
from textgen.real.crops import RealCrops
from textgen.real.recombine import Recombiner
from textgen.render.renderer import Renderer
from textgen.schema.compose import compose
from textgen.schema.definition import DatasetDefinition, parse_definition
from textgen.spec import Spec
from textgen.spec.field_scores import choose
from textgen.spec.items import fix
from textgen.spec.label_fields import LabelFields
from train import Predictor, load
from train.common.answers import answer, log_probabilities, same
from train.config.compose import compose as compose_run
from train.config.recipe import Recipe
from train.data.shard_source import ShardSource
from train.data.sharded import open_shards
from train.data.sources import LiveSource
from train.data.storage import open_storage
from train.export.deploy import export as deploy
from train.export.settings import Settings as DeploySettings
from train.metrics.losses import cross_entropy
from train.predict.predictor import Prediction
from train.predict.readouts import Readout, parse_join
from train.runs.run import run
from train.trainer.schedule import Schedule

SMALL = ("game.images.train=4", "game.images.val=2", "game.images.test=2", "augment=off")
LABEL = "game.label=[M,SS]"


def define(*overrides: str) -> DatasetDefinition:
    return parse_definition(compose("game=lol_time", LABEL, *SMALL, *overrides), 0)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return ensure_dataset(define(), tmp_path_factory.mktemp("data"), quiet=True)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("run")
    overrides = (f"runs={folder}", f"data_dir={folder / 'data'}", "threads=1", "recipe.images=3000", "fold=2")
    result = run(compose_run("game=lol_time", LABEL, *SMALL, *overrides, "game.images.test=20"))
    found = next(path for path in folder.iterdir() if path.name.startswith("lol_time_f2"))
    return found, result


def test_a_data_set_has_a_column_for_each_field(dataset: Dataset) -> None:
    spec = define().game.parse_spec()
    assert dataset.fields == spec.fields
    for split in dataset.splits.values():
        assert split.labels.shape == (len(split.images), 2)
        assert [tuple(row) for row in split.labels.tolist()] == [spec.labels_of(text) for text in split.texts]
        assert (split.labels[:, 0] == 61).mean() == pytest.approx(1 / 62)
    assert open_dataset(dataset.path).fields == spec.fields


def test_a_data_set_whose_label_was_changed_is_damaged(dataset: Dataset, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(dataset.path, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["label"]["fields"][1]["classes"].pop()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(Exception, match="damaged"):
        open_dataset(folder)


@pytest.mark.parametrize("to", ["imagefolder", "parquet", "webdataset"])
def test_formats_have_a_column_for_each_field(dataset: Dataset, tmp_path: Path, to: str) -> None:
    out = tmp_path / "out"
    export(dataset, to, out, quiet=True)
    about = json.loads((out / "export.json").read_text())
    assert LabelFields.parse(about["label"]) == dataset.fields
    if to == "imagefolder":
        with (out / "test/metadata.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        expected = [dataset.fields.values(labels) for labels in dataset.splits["test"].labels.tolist()]
        assert [(row["M"], row["S"]) for row in rows] == expected
    elif to == "parquet":
        table = pytest.importorskip("pyarrow.parquet").read_table(next(out.glob("test-*.parquet")))
        columns = [table.column(name).to_pylist() for name in ("M", "S")]
        assert np.array_equal(np.array(columns).T, dataset.splits["test"].labels)
    else:
        with tarfile.open(next(out.glob("test-*.tar"))) as file:
            found = [json.load(file.extractfile(name)) for name in sorted(file.getnames()) if name.endswith(".json")]  # type: ignore[arg-type]
        assert [[row["M"], row["S"]] for row in found] == dataset.splits["test"].labels.tolist()


def test_an_exported_folder_is_imported_with_the_same_labels(dataset: Dataset, tmp_path: Path) -> None:
    export(dataset, "imagefolder", tmp_path / "out", quiet=True)
    spec = define().game.parse_spec()
    again = import_folder(tmp_path / "out", tmp_path / "data", spec=spec)
    for name, split in dataset.splits.items():
        assert np.array_equal(again.splits[name].labels, split.labels)
        assert np.array_equal(again.splits[name].images, split.images)
    for table in (tmp_path / "out").glob("*/metadata.csv"):  # the columns of the fields alone say the same
        rows = list(csv.reader(table.open(newline="")))
        table.write_text("".join(f"{','.join(row[:3])}\n" for row in rows))
    by_columns = import_folder(tmp_path / "out", tmp_path / "data", spec=spec, name="columns")
    for name, split in dataset.splits.items():
        assert np.array_equal(by_columns.splits[name].labels, split.labels)


def test_a_run_has_the_accuracy_of_the_text_and_of_each_field(trained: tuple[Path, dict[str, Any]]) -> None:
    folder, result = trained
    by_field = [of["accuracy"] for of in result["fields"].values()]
    assert list(result["fields"]) == ["M", "S"]
    assert result["accuracy"] <= min(by_field)
    assert result["classes"] == 62 + 61 == len(result["per_class_accuracy"])
    assert (folder / "report.html").exists()


def test_all_engines_give_the_same_answers(trained: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = trained
    crops = np.random.default_rng(0).integers(0, 255, (41, 15, 35, 3), np.uint8)
    expected = load(folder).classify(crops)
    for engine in ("fused", "eager", "onnxruntime"):
        read = Predictor.load(folder, engine=engine, threshold=0.0)(crops)  # type: ignore[arg-type]
        assert [of.value for of in read] == expected
        for of in read:
            assert of.probability <= min(chance for _, chance in of.fields.values()) + 1e-5
            values = [value for value, _ in of.fields.values()]
            assert of.value == ("other" if "other" in values else ":".join(values))


def test_an_exported_file_says_how_a_text_is_put_together(trained: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, _ = trained
    usual = yaml.safe_load((ROOT / "conf" / "deploy.yaml").read_text())
    given = {key: value for key, value in usual.items() if key not in ("defaults", "hydra")}
    deploy(validate(DeploySettings, {**given, "run": str(folder), "threads": 1, "out": str(tmp_path / "model.onnx")}))
    crops = Renderer.from_definition(define()).render("test", range(31)).images
    for at, crop in enumerate(crops):
        Image.fromarray(crop).save(tmp_path / f"{at:02}.png")
    script = ROOT / "docs" / "how-to" / "read_crops.py"
    command = [sys.executable, str(script), str(tmp_path / "model.onnx"), str(tmp_path)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line.split("\t")[1] for line in lines] == load(folder).classify(crops)
    assert all(0 <= float(line.split("\t")[2]) <= 1 for line in lines)


def test_a_prediction_shows_its_fields(trained: tuple[Path, dict[str, Any]]) -> None:
    found = Predictor.load(trained[0])(np.zeros((1, 15, 35, 3), np.uint8))[0]
    assert f"fields={dict(found.fields)!r}" in repr(found)


def test_values_of_fields_can_be_joined(trained: tuple[Path, dict[str, Any]]) -> None:
    predictor = Predictor.load(trained[0], threshold=0.0)
    readouts = [Readout("timer", Region("timer", 0, 0, 35, 15), predictor, ())]
    joined = parse_join("{timer.M}m{timer.S}s = {timer} {{}}", readouts)
    assert joined[0].parts == ((0, 1), (0, 2), (0, 0))
    assert joined[0].join(["30", "54", "30:54"]) == "30m54s = 30:54 {}"
    assert joined[0].join(["30", "unsure", "30:54"]) == "unsure"
    with pytest.raises(UserError, match=r"there are {timer}, {timer\.M}, {timer\.S}"):
        parse_join("{timer.H}", readouts)


def test_other_is_the_answer_of_all_fields_or_of_none() -> None:
    fields = Spec.parse("X:Y", label="text").fields
    logits = np.random.default_rng(4).normal(0, 3, (2000, 22)).astype(np.float32)
    found = answer(logits, fields)
    other = found.labels == 10
    assert (other.all(1) == other.any(1)).all()
    assert 0 < other.mean() < 1
    assert ((found.probability > 0) & (found.probability <= found.each.min(1) * (1 + 1e-5))).all()
    # by brute force: the best of all consistent answers, and its share
    p = np.exp(log_probabilities(logits, fields))
    for row in range(200):
        joint = {(a, b): p[row, a] * p[row, 11 + b] for a in range(11) for b in range(11) if (a == 10) == (b == 10)}
        best = max(joint, key=lambda pair: joint[pair])
        assert tuple(found.labels[row]) == best
        assert found.probability[row] == pytest.approx(joint[best] / sum(joint.values()), rel=1e-3)
    assert same(found.labels, choose(log_probabilities(logits, fields), fields)).all()


def test_probabilities_are_right_where_other_is_nearly_certain_in_one_field() -> None:
    fields = Spec.parse("X:Y", label="text").fields
    rng = np.random.default_rng(0)
    for margin in (5, 14, 20, 40, 80):
        logits = rng.normal(0, 1, (50, 22)).astype(np.float32)
        logits[:, 10] += margin  # X is "other"
        logits[:, 14] += margin  # and Y is 3
        exact = logits.astype(np.float64)
        log_p = np.concatenate(
            [part - np.logaddexp.reduce(part, 1)[:, None] for part in (exact[:, :11], exact[:, 11:])], 1
        )
        of_other, of_values = log_p[:, 10] + log_p[:, 21], log_p[:, :10][:, :, None] + log_p[:, 11:21][:, None]
        total = np.logaddexp(of_other, np.logaddexp.reduce(of_values.reshape(50, -1), 1))
        best = np.maximum(of_other, of_values.reshape(50, -1).max(1))
        assert answer(logits, fields).probability == pytest.approx(np.exp(best - total), rel=1e-3)


def test_fields_are_labelled_in_the_order_of_the_text() -> None:
    assert Spec.parse("M:SS", label=["SS", "M"]).fields == Spec.parse("M:SS", label="all").fields


def test_one_field_in_a_list_is_exported_and_imported(tmp_path: Path) -> None:
    definition = parse_definition(compose("game=lol_gold1", "game.label=[Z]", *SMALL), 0)
    export(ensure_dataset(definition, tmp_path, quiet=True), "imagefolder", tmp_path / "out", quiet=True)
    again = import_folder(tmp_path / "out", tmp_path / "data", spec=definition.game.parse_spec())
    assert again.splits["val"].labels.shape == (22,)


def test_a_prediction_can_be_copied_and_pickled() -> None:
    for found in (Prediction("5", 0.5), Prediction("5:1", 0.5, {"X": ("5", 0.6)})):
        for again in (copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
            assert (again, again.fields) == (found, found.fields)
        assert found._replace(value="6").value == "6"


def test_a_curriculum_of_rare_values_has_images_in_every_epoch() -> None:
    fields = LabelFields.single(["a", "b", "c", "d"])
    labels = torch.tensor([3] * 400 + [0])
    recipe = validate(Recipe, {**compose_run("game=lol_gold1", "fold=4")["recipe"], "epochs": 40, "images": None})
    for seed in range(4):
        schedule = Schedule.build(recipe, labels=lambda _: labels, fields=fields, fold=2, stack=2, seed=seed)
        assert min(schedule.image_counts) > 0


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("game.label=Z", "recipe.field_weights={Z: 2}"), "this one has a single field"),
        (("game.label=text", "recipe.field_weights={W: 2}"), "the fields of the label are X, Y, Z"),
        (("game.label=text", "recipe.field_weights={Z: .inf}"), "field_weights"),
    ],
)
def test_wrong_field_weights_are_refused(tmp_path: Path, overrides: tuple[str, ...], words: str) -> None:
    with pytest.raises(UserError, match=words):
        run(compose_run("game=lol_gold1", *overrides, *SMALL, f"runs={tmp_path}", "recipe.images=1000"))
    assert list(tmp_path.iterdir()) == []


def test_weights_of_fields_change_the_loss() -> None:
    fields = Spec.parse("X:Y", label="text").fields
    logits, labels = torch.zeros(8, 22), torch.zeros(8, 2, dtype=torch.int64)
    logits[:, 0] = 20  # X is right, Y is not
    x, y = (float(cross_entropy(logits, labels, fields, weights=of)) for of in ((1, 0.5), (0.5, 1)))
    assert y == pytest.approx(2 * x, rel=1e-4)


def test_live_crops_of_an_epoch_have_its_labels() -> None:
    renderer = Renderer.from_definition(define())
    source = LiveSource(renderer, 124, torch.device("cpu"))
    first, second = source.labels_of(0), source.labels_of(1)
    assert not torch.equal(torch.as_tensor(first), torch.as_tensor(second))
    crops = renderer.render("train", range(124, 248))
    assert np.array_equal(np.asarray(second), crops.labels)
    batches = [torch.arange(60), torch.arange(60, 124)]
    assert np.array_equal(torch.cat(list(source.batches(1, batches))).numpy(), crops.images)


def test_shards_have_the_labels_of_the_whole(dataset: Dataset, tmp_path: Path) -> None:
    for index in range(3):
        ensure_dataset(define(), tmp_path, shard=Shard(index, 3), quiet=True)
    shards = open_shards(open_storage(tmp_path), "lol_time", dataset.hash, "make them", exact=True)
    assert shards.fields == dataset.fields
    for name, split in dataset.splits.items():
        assert np.array_equal(shards.load_labels(name), split.labels)
        assert np.array_equal(shards.load(name).images, split.images)
    config = compose_run(
        "game=lol_time", "game.label=text", "game.spec='MM.SS'", *SMALL, "data=shards", f"path={tmp_path}"
    )
    with pytest.raises(UserError, match="have the fields of game=lol_time in another text"):
        run({**config, "runs": str(tmp_path / "runs")})
    source = ShardSource(shards, torch.device("cpu"), seed=0)
    assert np.array_equal(torch.as_tensor(source.labels_of(3)), dataset.splits["train"].labels)
    labels = next(tmp_path.glob("lol_time/*shard-1-of-3/train.labels.npy"))
    content = bytearray(labels.read_bytes())
    content[-8] ^= 1
    labels.write_bytes(content)
    damaged = open_shards(open_storage(tmp_path), "lol_time", dataset.hash, "make them", exact=True)
    with pytest.raises(UserError, match="does not have the bytes"):
        damaged.load_labels("train")


def test_a_preview_has_a_row_for_each_class_of_each_field() -> None:
    renderer = Renderer.from_definition(define())
    shown = SplitCrops("train", renderer.render("train", range(124)))
    rows = dict(shown.of_classes(renderer.fields))
    assert len(rows) == 61 + 60 + 1
    assert len(rows["other"]) == 2
    assert sum(len(numbers) for name, numbers in rows.items() if name.startswith("S=")) == 122
    for name in ("M=30", "S=05"):
        assert all(name[2:] in shown.crops.texts[number] for number in rows[name])


def test_recombined_crops_of_real_ones_have_the_labels_of_their_texts() -> None:
    spec = Spec.parse("M:SS", label="text", fields={"M": "0..3", "S": "00..59"})
    game = define("game.label=text").game
    renderer = Renderer(replace(game, spec="M:SS", label="text", fields={"M": "0..3", "S": "00..59"}, size=(20, 48)))
    texts = [f"0:{second:02}" for second in range(60)]
    rng, sample = np.random.default_rng(0), renderer.render("train", [0]).samples
    canvas = np.full((20, 48, 3), 40, np.uint8)
    drawn = [renderer.draw_text(fix(spec.items, {"M": "0", "S": text[2:]}, rng), sample, canvas) for text in texts]
    images = np.stack([image for image in drawn if image is not None])
    labels = np.array([spec.labels_of(text) for text in texts], np.int64)
    crops = RealCrops(images, labels, tuple(texts), np.arange(60.0) / 10)
    made, of_texts = Recombiner(crops, spec).make_texts(40, rng)
    assert len(made) == len(of_texts) > 10
    assert of_texts.shape[1] == 2
    assert (of_texts[:, 0] == 0).all()  # the minutes never changed, so they have no place of their own
    assert len(set(of_texts[:, 1].tolist())) > 10
