"""train.evaluate: a trained network on its own test sets, fresh crops, real crops and data sets."""

import csv
import json
import re
import shutil
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT, composed

from textgen.common.errors import UserError
from textgen.common.hydra_app import compose_config
from textgen.common.validation import validate
from textgen.dataset.build import ensure_dataset
from textgen.export.formats import export
from textgen.render.renderer import Renderer
from textgen.schema.definition import DatasetDefinition, parse_definition
from textgen.spec.label_fields import LabelFields
from train.evaluate.crops import LabelledCrops, render_fresh_crops
from train.evaluate.measure import evaluate_run
from train.evaluate.report import FILES, choose_crops, write_evaluation
from train.evaluate.settings import Settings
from train.report.result import method
from train.runs.finished_runs import load_run_definition
from train.runs.run import run

GAME = ["game=apex_count", "game.images.train=6", "game.images.val=2", "game.images.test=5", "augment=off", "workers=1"]
SHORT = ["model.arch=C8 M C8 M F", "epochs=1", "groupings=2", "threads=1"]
STACKS = ["fold=2", "recipe.slots=false", "recipe.curriculum=null"]
KINDS = {
    "single": ["fold=1", "split.holdout_fonts=0.25", "split.holdout_backgrounds=0.25"],
    "slots": ["fold=2", "recipe=slots"],
    "stacks": [*STACKS, "seed=3"],
}
MEASURED = (
    *("test_images", "accuracy", "accuracy_ci95", "accuracy_groupings", "per_class_accuracy", "tests"),
    *("order_agreement", "order_all_agree", "orders"),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of every kind in runs/, a folder of crops and its data sets."""
    folder = tmp_path_factory.mktemp("evaluate")
    data = f"data_dir={folder / 'data'}"
    for name, kind in KINDS.items():
        run(composed(*GAME, *SHORT, data, *kind, f"out={folder / 'runs' / name}"))
    export(dataset(folder), "imagefolder", folder / "crops", quiet=True)
    run(composed("data=folder", *STACKS, *SHORT, data, f"path={folder / 'crops'}", f"out={folder / 'runs/folder'}"))
    return folder


def dataset(folder: Path) -> Any:
    return ensure_dataset(parse_definition(composed(*GAME), 0), folder / "data")


def settings(*given: str) -> Settings:
    """conf/evaluate.yaml with changes."""
    return validate(Settings, compose_config("evaluate", "threads=1", *given))


def evaluation(place: Path, *given: str) -> tuple[dict[str, Any], list[dict[str, str]], str]:
    """evaluation.json, the rows of predictions.csv and the summary."""
    out = place / "out"
    shutil.rmtree(out, ignore_errors=True)
    summary = write_evaluation(settings(*given, f"out={out}"))
    with (out / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = [*csv.DictReader(file)]
    return json.loads((out / "evaluation.json").read_text(encoding="utf-8")), rows, summary


def definition_of(place: Path, kind: str) -> DatasetDefinition:
    definition = load_run_definition(place / "runs" / kind)
    assert definition is not None
    return definition


@pytest.mark.parametrize(
    ("kind", "described"),
    [
        ("single", "apex_count fold=1, single images: test accuracy"),
        ("slots", "apex_count fold=2, copies of a narrow network: test accuracy"),
        ("stacks", "apex_count fold=2, trained on stacks: test accuracy"),
        ("folder", "crops fold=2, trained on stacks: test accuracy"),
    ],
)
def test_the_own_test_sets_give_the_figures_of_the_run(place: Path, kind: str, described: str) -> None:
    result = json.loads((place / "runs" / kind / "result.json").read_text(encoding="utf-8"))
    record, rows, summary = evaluation(place, f"run={place / 'runs' / kind}")
    assert {key: record.get(key) for key in MEASURED} == {key: result.get(key) for key in MEASURED}
    assert len(rows) == result["test_images"]
    assert record["test"]["dataset_hash"] == result["dataset_hash"]
    assert summary.startswith(described)
    assert ("by construction" in summary) == (kind == "slots")
    assert ("on test_fonts: " in summary) == (kind == "single")
    page = (place / "out/report.html").read_text(encoding="utf-8")
    assert f"{result['accuracy']:.2%}" in page
    assert "Epochs" not in page


def test_the_reference_lists_every_setting_key_and_column(place: Path) -> None:
    record, rows, _ = evaluation(place, f"run={place / 'runs/stacks'}")
    page = (ROOT / "docs/reference/evaluate.md").read_text(encoding="utf-8")
    sections = {section.splitlines()[0]: section for section in page.split("## ")}

    def listed(section: str) -> list[str]:
        firsts = [row.split("|")[1] for row in sections[section].splitlines() if row.startswith("| `")]
        return sorted(name for first in firsts for name in re.findall("`([^`]+)`", first))

    assert listed("`evaluation.json`") == sorted(record)
    assert listed("Settings") == sorted(["network", *Settings.__dataclass_fields__])  # a group, beside the settings
    assert all(f"`{column}`" in sections["Files"] for column in rows[0])


def test_figures_follow_from_the_predictions(place: Path) -> None:
    record, rows, _ = evaluation(place, f"run={place / 'runs/stacks'}", "crops=100", "groupings=3", "seed=5")
    assert (record["seed"], record["groupings"], len(rows)) == (5, 3, 110)  # whole multiples of 22 classes
    assert [row["image"] for row in rows] == [*map(str, range(110))]
    right = [int(row["groupings_right"]) for row in rows]
    assert sum(right) / 3 / 110 == pytest.approx(record["accuracy"])
    first = sum(row["true"] == row["predicted"] for row in rows) / 110
    assert first == pytest.approx(record["accuracy_groupings"][0])
    agreeing = [int(row["orders_agreeing"]) for row in rows]
    assert sum(agreeing) / 2 / 110 == pytest.approx(record["order_agreement"])
    assert record["balanced_accuracy"] == pytest.approx(statistics.mean(record["per_class_accuracy"].values()))


def test_fresh_crops_are_test_crops_of_another_seed(place: Path) -> None:
    definition = definition_of(place, "stacks")
    fresh = render_fresh_crops(definition, 60, seed=7)
    drawn = Renderer(definition.game, 7, definition.augment).render("test", range(66))
    assert (fresh.images.numpy() == drawn.images).all()
    assert (fresh.labels.numpy() == drawn.labels).all()
    own = dataset(place).splits["test"].images
    assert not (fresh.images[:22].numpy() == own[:22]).all(axis=(1, 2, 3)).any()
    record, _, summary = evaluation(place, f"run={place / 'runs/stacks'}", "crops=60")
    assert record["test"] == {**record["test"], "data_seed": 1, "split": "test"}
    assert summary.splitlines()[-2] == "tested on fresh crops of apex_count, data_seed=1, split test"


def test_fresh_crops_hold_out_what_the_run_held_out(place: Path) -> None:
    """The share of the fonts that another seed would hold out is another one."""
    definition = definition_of(place, "single")
    game, augment, holdout = definition.game, definition.augment, definition.holdout
    own, other = (Renderer(game, seed, augment, holdout) for seed in (0, 4))
    kept = Renderer(game, 4, augment, holdout, holdout_seed=0)
    assert kept.held_out_faces == own.held_out_faces != other.held_out_faces
    assert kept.held_out_canvases == own.held_out_canvases
    fresh = render_fresh_crops(definition, 44, seed=4, split="test_fonts")
    assert (fresh.images.numpy() == kept.render("test_fonts", range(44)).images).all()


def test_several_runs_are_evaluated_on_the_same_crops(place: Path) -> None:
    crops = {"test": render_fresh_crops(definition_of(place, "slots"), 220, seed=1)}
    measured = {kind: evaluate_run(place / "runs" / kind, crops) for kind in KINDS}
    assert len({each.record["test"]["xxh3"] for each in measured.values()}) == 1
    for each in measured.values():
        share = each.evaluation.groupings_right.double().mean().item() / each.record["groupings"]
        assert share == pytest.approx(each.record["accuracy"])
    again = evaluate_run(place / "runs/stacks", crops, orders=False)
    assert again.record["accuracy"] == measured["stacks"].record["accuracy"]
    assert "orders" not in again.record


def test_real_crops_may_lack_classes(place: Path, tmp_path: Path) -> None:
    chosen = sorted((place / "crops/test").iterdir())[3:6]
    for folder in chosen:
        shutil.copytree(folder, tmp_path / "real" / folder.name)
    record, rows, summary = evaluation(place, f"run={place / 'runs/slots'}", f"real={tmp_path / 'real'}")
    assert {name for name, share in record["per_class_accuracy"].items() if share is not None} == {"3", "4", "5"}
    assert (record["tested_classes"], record["classes"], record["test_images"]) == (3, 22, 15)
    assert all((tmp_path / "real" / row["file"]).is_file() for row in rows)
    assert all(row["file"].split("/")[0].endswith(row["true"]) for row in rows)
    assert "mean over the 3 of 22 classes that have test images: " in summary
    assert "without any: 0, 1, 2, 6, 7" in summary
    assert summary.splitlines()[-2] == f"tested on real crops in {tmp_path / 'real'}"


def test_a_data_set_is_tested_by_split(place: Path) -> None:
    folder, stacks = dataset(place).path, place / "runs/stacks"
    result = json.loads((stacks / "result.json").read_text(encoding="utf-8"))
    given = f"run={stacks}", f"dataset={folder}"
    measured = evaluate_run(stacks, choose_crops(settings(*given)))
    assert measured.record["accuracy_groupings"] == result["accuracy_groupings"]
    assert len(choose_crops(settings(*given, "split=train"))["test"].labels) == 6 * 22
    of_val = choose_crops(settings(given[0], "split=val"))
    assert [(name, of.about["split"], len(of.labels)) for name, of in of_val.items()] == [("test", "val", 2 * 22)]


def test_a_folder_is_replaced_only_if_asked_and_if_it_holds_nothing_else(place: Path, tmp_path: Path) -> None:
    given = f"run={place / 'runs/stacks'}", f"out={tmp_path / 'out'}"
    assert write_evaluation(settings(*given)).endswith("evaluation.json and predictions.csv")
    assert {path.name for path in (tmp_path / "out").iterdir()} <= FILES
    with pytest.raises(UserError, match="holds an evaluation: choose another place with out=…, or replace it"):
        write_evaluation(settings(*given))
    write_evaluation(settings(*given, "overwrite=true", "orders=false"))
    assert not (tmp_path / "out/orders.png").exists()
    (tmp_path / "out/notes.txt").touch()
    with pytest.raises(UserError, match="holds other things than an evaluation"):
        write_evaluation(settings(*given, "overwrite=true"))
    with pytest.raises(UserError, match="holds other things than an evaluation"):
        write_evaluation(settings(given[0], f"out={place / 'runs/stacks'}", "overwrite=true"))


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        ("stacks", ["crops=100", "data_seed=0"], "data_seed=0 is that of the run's own crops"),
        ("stacks", ["data_seed=1"], "data_seed=1 is for fresh crops: give crops="),
        ("stacks", ["crops=100", "real=crops"], "crops=100 and real=crops are several test sets"),
        ("stacks", ["crops=100", "split=test_fonts"], "split=test_fonts: fresh crops of apex_count are of train, val"),
        ("stacks", ["split=test_fonts"], "stacks has test, val"),
        ("stacks", ["crops=100", "path=crops"], "path=crops is the place of the run's own crops"),
        ("stacks", ["real=nowhere"], "real=nowhere is no folder"),
        ("stacks", ["real=crops", "split=val"], "has no splits"),
        ("stacks", ["dataset=crops"], "it is not a data set"),
        ("stacks", ["overwrite=true"], "overwrite=true is for out="),
        ("folder", ["crops=100"], "was trained on a folder without a game"),
        ("nothing", [], "is no folder"),
    ],
)
def test_wrong_settings_are_refused_and_nothing_is_written(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, given: list[str], message: str
) -> None:
    monkeypatch.chdir(place)
    out = [] if "overwrite=true" in given else [f"out={tmp_path / 'out'}"]
    with pytest.raises(UserError, match=message):
        write_evaluation(settings(f"run=runs/{kind}", *given, *out))
    assert not any(tmp_path.iterdir())


def test_crops_of_other_classes_or_another_size_are_refused(place: Path) -> None:
    classes = definition_of(place, "stacks").game.classes

    def crops(names: tuple[str, ...], size: tuple[int, int]) -> dict[str, LabelledCrops]:
        images = torch.zeros((4, *size, 3), dtype=torch.uint8)
        return {
            "test": LabelledCrops(
                images, torch.zeros(4, dtype=torch.long), LabelFields.single(names), {"kind": "data set"}
            )
        }

    with pytest.raises(UserError, match=r"have 9×9 pixels and 22 classes; .*stacks needs 19×25 and its 22 classes"):
        evaluate_run(place / "runs/stacks", crops(classes, (9, 9)))
    with pytest.raises(UserError, match="'20' where they have '21'"):
        evaluate_run(place / "runs/stacks", crops((*classes[:20], "21", *classes[21:]), (19, 25)))


def test_the_kind_of_older_runs_follows_from_fold_and_slots() -> None:
    assert method({"fold": 1, "slots": False}) == "single images"
    assert method({"fold": 4, "slots": True}) == "copies of a narrow network"
    assert method({"fold": 4, "slots": False}) == "trained on stacks"
    assert method({"fold": 4, "slots": False, "method": "else"}) == "else"


def test_the_number_of_fresh_crops_is_limited(place: Path) -> None:
    with pytest.raises(UserError, match="crops: Input should be less than or equal to 1000000"):
        settings("run=runs/x", "crops=1000001")
    definition = definition_of(place, "stacks")
    assert len(render_fresh_crops(definition, 1, seed=1).labels) == 22
    assert np.bincount(render_fresh_crops(definition, 33, seed=1).labels.numpy()).tolist() in ([1] * 22, [2] * 22)
