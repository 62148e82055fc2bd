"""The table of a folder of runs."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import composed

from textgen.common.errors import UserError
from textgen.spec.label_fields import LabelFields
from train.config.recipe import compared_recipe, fit_recipe
from train.report.formats import format_csv, format_markdown
from train.report.result import hash_settings
from train.report.tables import COLUMNS, collect_tables
from train.trainer.schedule import Schedule


def put(folder: Path, name: str, **changes: Any) -> None:
    result = {
        **{"game": "sot_time", "fold": 1, "width": 1.0, "seed": 0, "accuracy": 0.98, "test_images": 2700},
        **{"recipe": "default", "recipe_hash": "r1", "dataset_hash": "d1", "data": "files", "order_agreement": 0.999},
        **changes,
    }
    (folder / name).mkdir(parents=True)
    (folder / name / "config.yaml").touch()
    (folder / name / "result.json").write_text(json.dumps(result))


def test_one_row_has_original_drop_and_the_paper_s_numbers(tmp_path: Path) -> None:
    put(tmp_path, "a")
    put(tmp_path, "b", fold=4, accuracy=0.97, slots=False)
    put(tmp_path, "c", width=0.5, accuracy=0.965)
    (table,), unfinished = collect_tables(tmp_path)
    original, folded, control = (table.cells(row) for row in table.rows)
    game, of_original = "sot_time (V4)", ["1", "1", "single images", "1", "", "98.00", "97.40 to 98.46"]
    assert original == [game, *of_original, "", "", "96.52", "", "", ""]
    of_folded = ["4", "1", "trained on stacks", "1", "", "97.00", "96.29 to 97.58", "1.00", "1.50"]
    assert folded == [game, *of_folded, "94.41", "2.11", "1.61", "99.90"]
    assert control[3] == "single images, narrow network (control of fold=4)"
    assert control[8:13] == ["1.50", "1.75", "", "", ""]
    assert unfinished == []


def test_copies_of_a_narrow_network_are_never_without_that_word(tmp_path: Path) -> None:
    put(tmp_path, "a", recipe_hash="r2", recipe="slots")
    put(tmp_path, "b", recipe_hash="r2", recipe="slots", fold=4, accuracy=0.97, slots=True)
    put(tmp_path, "c", fold=4, accuracy=0.96, slots=False)
    put(tmp_path, "d")
    tables, unfinished = collect_tables(tmp_path)
    text = format_markdown(tables, unfinished)
    (copies,) = (line for line in text.splitlines() if line.startswith("| sot_time (V4) | 4 ") and "97.00" in line)
    (stacks,) = (line for line in text.splitlines() if line.startswith("| sot_time (V4) | 4 ") and "96.00" in line)
    assert "| copies of a narrow network |" in copies
    assert "| trained on stacks |" in stacks
    assert "## recipe=slots" in text
    agreements = {row.method: table.cells(row)[-1] for table in tables for row in table.rows}
    copies_agree = {"copies of a narrow network": "by construction"}
    assert agreements == {"single images": "", **copies_agree, "trained on stacks": "99.90"}


def test_live_epochs_of_another_length_stand_in_one_table(tmp_path: Path) -> None:
    put(tmp_path, "a", data="live", train_images=8000)
    put(tmp_path, "b", data="live", train_images=32000, width=0.5)
    (table,), _ = collect_tables(tmp_path)
    assert len(table.rows) == 2


def test_seeds_become_mean_and_standard_deviation(tmp_path: Path) -> None:
    for seed, accuracy in enumerate((0.97, 0.98, 0.99)):
        put(tmp_path, str(seed), seed=seed, accuracy=accuracy)
    ((table,), _) = collect_tables(tmp_path)
    assert table.cells(table.rows[0])[4:8] == ["3", "", "98.00", "± 1.00"]


@pytest.mark.parametrize(
    "other",
    [
        {"recipe_hash": "r2", "recipe": "paper"},
        {"dataset_hash": "d2"},
        {"original_arch": "C8 M F"},
        {"train_images": 5},
    ],
)
def test_other_recipes_and_data_are_tables_of_their_own_and_it_is_said(tmp_path: Path, other: dict[str, Any]) -> None:
    put(tmp_path, "a")
    put(tmp_path, "b", fold=4, **other)
    tables, _ = collect_tables(tmp_path)
    assert [len(table.rows) for table in tables] == [1, 1]
    assert "those in different tables not" in format_markdown(tables, [])
    assert tables[0].title != tables[1].title
    assert all(table.cells(table.rows[0])[8] == "" for table in tables)


def test_what_tells_two_recipes_of_one_name_apart_stands_above_them(tmp_path: Path) -> None:
    settings = {"recipe.name": "default", "recipe.batch": 128, "recipe.characters": True, "epochs": None}
    put(tmp_path, "a", settings=settings)
    put(tmp_path, "b", settings={**settings, "recipe.batch": 64, "recipe.characters": False}, recipe_hash="r2")
    put(tmp_path, "c", settings={**settings, "epochs": 5}, recipe_hash="r3", recipe="other")
    put(tmp_path, "d", settings={**settings, "epochs": 6}, recipe_hash="r4", recipe="other")
    put(tmp_path, "older", recipe_hash="r5")
    assert [table.title for table in collect_tables(tmp_path)[0]] == [
        "recipe=default (r1), data=files, recipe.batch=128, recipe.characters=true",
        "recipe=default (r2), data=files, recipe.batch=64, recipe.characters=false",
        "recipe=other (r3), data=files, epochs=5",
        "recipe=other (r4), data=files, epochs=6",
        "recipe=default (r5), data=files",
    ]


def test_a_single_table_says_in_what_its_runs_are_not_their_recipe(tmp_path: Path) -> None:
    settings = {f"recipe.{key}": of for key, of in compared_recipe(composed("recipe=paper")["recipe"]).items()}
    usual = {"epochs": None, "batch": None, "autocast": False, "groupings": 5, "teacher": None, "start": None}
    put(tmp_path, "a", recipe="paper", settings={**settings, **usual})
    assert collect_tables(tmp_path)[0][0].title == "recipe=paper, data=files"
    put(tmp_path / "short", "a", recipe="paper", settings={**settings, **usual, "epochs": 2, "recipe.lr": 1e-3})
    assert collect_tables(tmp_path / "short")[0][0].title == "recipe=paper, data=files, recipe.lr=0.001, epochs=2"
    finetune = {f"recipe.{key}": of for key, of in compared_recipe(composed("recipe=finetune")["recipe"]).items()}
    put(tmp_path / "further", "a", recipe="finetune", settings={**finetune, **usual, "start": "abcd1234"})
    assert collect_tables(tmp_path / "further")[0][0].title == "recipe=finetune, data=files, start=abcd1234"


def settings_of(recipe: str, **changes: Any) -> dict[str, Any]:
    values = {f"recipe.{key}": value for key, value in composed(f"recipe={recipe}")["recipe"].items() if key != "data"}
    return {**values, **changes}


DROP = COLUMNS.index("drop")


@pytest.mark.parametrize(
    ("recipe", "changes", "short"),
    [
        ("slots", {"fold": 1, "epochs": 4}, False),  # 300 000 images in epochs of 60 000 are 5
        ("slots", {"fold": 1, "epochs": 2}, True),
        ("slots", {"fold": 4, "epochs": 20}, False),
        ("slots", {"fold": 4, "epochs": 5}, True),
        ("slots", {"fold": 1, "width": 0.5, "epochs": 5}, True),
        ("default", {"fold": 4, "epochs": 8}, False),  # 500 000 images, on stacks
        ("default", {"fold": 4, "epochs": 3}, True),
        ("slots", {"fold": 1, "epochs": 4, "images_seen": 60_000}, True),
        ("paper", {"fold": 4, "epochs": 15}, True),
        ("paper", {"fold": 4, "epochs": 1400, "settings": settings_of("paper", epochs=1400)}, False),
        ("mine", {"fold": 4, "epochs": 1}, False),  # of which nobody knows the length
    ],
)
def test_a_run_is_short_that_saw_less_than_half_of_what_its_recipe_asks_for(
    tmp_path: Path, recipe: str, changes: dict[str, Any], short: bool
) -> None:
    usual = {"settings": settings_of(recipe) if recipe != "mine" else {}, "recipe": recipe, "train_images": 60_000}
    put(tmp_path, "a", **{**usual, **changes})
    ((table,), _) = collect_tables(tmp_path)
    assert table.rows[0].is_short == short
    assert ("No drop, as less than half" in format_markdown([table], [])) == short


def test_no_drop_stands_between_runs_of_which_one_is_short(tmp_path: Path) -> None:
    usual = {"settings": settings_of("default"), "train_images": 60_000, "test_images": 2700}
    put(tmp_path / "short", "a", **usual, fold=1, epochs=1, accuracy=0.33)
    put(tmp_path / "short", "b", **usual, fold=4, epochs=20, accuracy=0.99)
    ((table,), _) = collect_tables(tmp_path / "short")
    assert [table.cells(row)[DROP] for row in table.rows] == ["", ""]
    assert [table.cells(row)[COLUMNS.index("images seen")] for row in table.rows] == ["60000", "1200000"]
    text = format_markdown([table], [])
    assert "asks for: sot_time fold=1 (60000 of 480000)." in text
    assert "Networks of one game saw different numbers of images: sot_time 60000, 1200000." in text
    put(tmp_path / "full", "a", **usual, fold=1, epochs=20)
    put(tmp_path / "full", "b", **usual, fold=4, epochs=20, accuracy=0.97)
    ((table,), _) = collect_tables(tmp_path / "full")
    assert [table.cells(row)[DROP] for row in table.rows] == ["", "1.00"]
    text = format_markdown([table], [])
    assert "No drop" not in text
    assert "different numbers" not in text


@pytest.mark.parametrize(("share", "short"), [(0.6, False), (0.4, True)])
def test_the_fewer_classes_of_a_curriculum_make_no_run_short(tmp_path: Path, share: float, short: bool) -> None:
    epochs, classes, per_class = round(1500 * share), 60, 100
    fitted = fit_recipe(
        composed("recipe=paper")["recipe"], game="sot_time", fold=4, train_images=classes * per_class, epochs=epochs
    )
    labels = torch.arange(classes).repeat_interleave(per_class)
    names = tuple(f"{number:02d}" for number in range(classes))
    schedule = Schedule.build(
        fitted, labels=lambda epoch: labels, fields=LabelFields.single(names), fold=4, stack=4, seed=0
    )
    seen = {"images_seen": schedule.images_before(epochs), "train_images": len(labels), "classes": classes}
    assert seen["images_seen"] < 0.5 * 1500 * len(labels)
    put(tmp_path, "a", recipe="paper", settings=settings_of("paper", epochs=epochs), fold=4, epochs=epochs, **seen)
    assert collect_tables(tmp_path)[0][0].rows[0].is_short == short


def test_runs_that_saw_no_image_have_a_zero(tmp_path: Path) -> None:
    put(tmp_path, "a", images_seen=0)
    (table,), _ = collect_tables(tmp_path)
    assert table.cells(table.rows[0])[COLUMNS.index("images seen")] == "0"


def test_a_network_of_the_user_s_own_is_named_and_not_compared_with_the_paper(tmp_path: Path) -> None:
    put(tmp_path, "a", **{"model.arch": "C8 M F"})
    (table,), _ = collect_tables(tmp_path)
    assert table.title.endswith("model.arch=C8 M F")
    assert table.cells(table.rows[0])[8] == ""


def test_no_run_hides_another_of_the_same_seed(tmp_path: Path) -> None:
    put(tmp_path, "a")
    put(tmp_path, "b", accuracy=0.5)
    tables, _ = collect_tables(tmp_path)
    assert [table.rows[0].accuracy for table in tables] == [0.98, 0.5]


def test_a_table_says_that_its_runs_are_of_different_code_libraries_or_machines(tmp_path: Path) -> None:
    same = {"commit": "aaa", "device": "cpu, 1 thread", "versions": {"torch": "2.13.0"}}
    put(tmp_path, "a", **same)
    put(tmp_path, "b", seed=1, **same)
    assert "different" not in format_markdown(collect_tables(tmp_path)[0], [])
    put(tmp_path, "c", seed=2, commit="bbb+", device="cuda", versions={"torch": "2.4.0"})
    text = format_markdown(collect_tables(tmp_path)[0], [])
    assert "Runs of different code, by commit: aaa; bbb+." in text
    assert "Runs of different versions: torch 2.13.0; torch 2.4.0." in text
    assert "Runs of different devices: cpu, 1 thread; cuda." in text


def test_games_differ_in_their_data_and_stand_in_one_table(tmp_path: Path) -> None:
    put(tmp_path, "a")
    put(tmp_path, "b", game="mine", dataset_hash="d2")
    (table,), _ = collect_tables(tmp_path)
    assert [row.game for row in table.rows] == ["sot_time", "mine"]
    assert format_csv([table]).count("\n") == 3


def test_labels_of_a_game_have_rows_of_their_own(tmp_path: Path) -> None:
    fields = {"fields": {"M": {"classes": 62, "accuracy": 0.9}, "S": {"classes": 61, "accuracy": 0.9}}}
    put(tmp_path, "a", game="lol_time", label="M")
    put(tmp_path, "b", game="lol_time", label="text", dataset_hash="d2", **fields)
    put(tmp_path, "c", game="lol_time", label="S", dataset_hash="d3")
    put(tmp_path, "d", game="mine", label="S", dataset_hash="d4")
    put(tmp_path, "e", game="mine", label="all", dataset_hash="d5", **fields)
    (table,), _ = collect_tables(tmp_path)
    cells = [table.cells(row) for row in table.rows]
    assert [row[0] for row in cells] == ["lol_time (V6)", "lol_time S", "lol_time text", "mine", "mine all"]
    assert [bool(row[10]) for row in cells] == [True, False, False, False, False]  # the paper's accuracy


def test_a_title_has_no_settings_of_a_run_that_gave_none(tmp_path: Path) -> None:
    recipe = composed("game=sot_time")["recipe"]
    recipe["curriculum"].pop("field")  # newer than most runs, and left out where it is not used
    recipe.pop("field_weights")
    put(tmp_path, "a", settings={f"recipe.{key}": value for key, value in recipe.items()})
    (table,), _ = collect_tables(tmp_path)
    assert table.title == "recipe=default, data=files"


def test_unfinished_runs_are_named_and_damaged_ones_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no finished run"):
        collect_tables(tmp_path)
    put(tmp_path, "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b/config.yaml").touch()
    tables, unfinished = collect_tables(tmp_path)
    assert unfinished == [str(tmp_path / "b")]
    assert f"Unfinished, in none of the tables: {tmp_path / 'b'}" in format_markdown(tables, unfinished)
    (tmp_path / "a/result.json").write_text("{")
    with pytest.raises(UserError, match="run it again"):
        collect_tables(tmp_path)
    (tmp_path / "a/result.json").write_text("{}")
    with pytest.raises(UserError, match="of another version, it lacks game"):
        collect_tables(tmp_path)


def test_the_command_writes_three_files_and_names_a_mistake(tmp_path: Path) -> None:
    put(tmp_path, "a")
    put(tmp_path, "b", fold=4, accuracy=0.97)
    command = [sys.executable, "-m", "train.report"]
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, check=True)
    assert (tmp_path / "table.md").read_text() == done.stdout[:-1]
    assert (tmp_path / "table.png").read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "table.csv").read_text().startswith("table,game,fold")
    wrong = subprocess.run([*command, str(tmp_path / "none")], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert wrong.stderr.count("\n") == 1


def test_runs_with_old_names_of_settings_stand_in_the_table_of_new_ones(tmp_path: Path) -> None:
    new = {"recipe.ema_decay": 0.0, "recipe.lr": 0.1}
    old = {"recipe.average": 0.0, "recipe.lr": 0.1}
    put(tmp_path, "a", seed=0, settings=new, recipe_hash=hash_settings(new))
    put(tmp_path, "b", seed=1, settings=old, recipe_hash=hash_settings(old))
    (table,), _ = collect_tables(tmp_path)
    assert [len(row.runs) for row in table.rows] == [2]


def test_runs_with_and_without_real_crops_stand_in_tables_of_their_own(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"recipe.lr": 0.1}
    mixed = {**settings, "real_share": 0.6}
    put(tmp_path, "a", seed=0, settings=settings, recipe_hash=hash_settings(settings), real=None)
    for seed, crops in ((1, "c1"), (2, "c1"), (3, "c2")):
        about = {"settings": mixed, "recipe_hash": hash_settings(mixed), "real": {"crops": crops}}
        put(tmp_path, f"b{seed}", seed=seed, **about)
    tables, unfinished = collect_tables(tmp_path)
    assert sorted(len(row.runs) for table in tables for row in table.rows) == [1, 1, 2]
    text = format_markdown(tables, unfinished)
    assert text.count("real_share=0.6") == 2
    assert "real crops c2" in text
