"""report.html of a run."""

from pathlib import Path
from typing import Any

from conftest import composed

from train.config.recipe import Recipe, fit_recipe
from train.report.page import write_report

EPOCH = {"classes": 3, "train_loss": 1.0, "train_accuracy": 0.5, "val_loss": 1.0, "val_accuracy": 0.5}


def recipe(fold: int) -> Recipe:
    return fit_recipe(composed()["recipe"], game="mine", fold=fold, train_images=5000)


def write(folder: Path, accuracies: dict[str, float | None], **changes: Any) -> str:
    result = {
        **{"game": "mine", "fold": 1, "width": 1.0, "accuracy": 0.5, "accuracy_ci95": [0.4, 0.6], "test_images": 30},
        **{
            "epochs": 60,
            "epochs_to_best": 2,
            "every_class_in": True,
            "train_seconds": 1.0,
            "tests": {},
            "slots": False,
        },
        **{"per_class_accuracy": accuracies, "accuracy_groupings": [0.5]},
        **{"settings": {"recipe.lr": 1e-3, "recipe.slots": True, "recipe.images": 9, "teacher": None, "groupings": 5}},
        **changes,
    }
    history = [{"epoch": n, "best": n <= 2, "images_per_second": 9.0, **EPOCH} for n in range(1, 61)]
    write_report(result, history, {"curves": b"\x89PNG"}, folder, recipe=recipe(result["fold"]))
    return (folder / "report.html").read_text(encoding="utf-8")


def test_names_are_escaped_and_pictures_embedded(tmp_path: Path) -> None:
    page = write(tmp_path, {"</td><script>": 0.25}, game="<b>mine")
    assert "<script" not in page
    assert "<b>" not in page
    assert '<td>&lt;/td&gt;&lt;script&gt;</td><td class="number">25.0%</td>' in page
    assert page.count('src="data:image/png;base64,') == page.count("src=") == 1


def test_tables_show_the_hardest_classes_the_best_epochs_and_the_settings(tmp_path: Path) -> None:
    page = write(tmp_path, {"easy": 1.0, "hard": 0.1, "harder": 0.0, "untested": None})
    assert page.index("<td>harder</td>") < page.index("<td>hard</td>")
    assert "<td>easy</td>" not in page
    assert "<td>untested</td>" not in page
    assert page.count("<td>best so far</td>") == page.count("<td>kept</td>") == 1
    assert '<td class="number">60</td>' in page
    assert '<td class="number">3</td><td class="number">3</td>' not in page  # an early epoch that was not the best
    assert "<td>recipe.lr</td><td>0.01</td><td>0.001</td>" in page  # as used, as given
    assert "<td>groupings</td><td>5</td>" in page
    assert "<td>teacher</td>" not in page
    assert "All test images are classified correctly." in write(tmp_path, {"easy": 1.0})


def test_each_setting_stands_there_once_with_the_value_that_was_used(tmp_path: Path) -> None:
    page = write(tmp_path, {"a": 0.5})
    assert "<td>recipe.slots</td><td>false</td><td>true</td>" in page
    assert "<td>slots</td>" not in page
    assert "<td>recipe.images</td><td>not used</td>" in page


def test_a_sentence_stands_where_a_figure_would_show_nothing(tmp_path: Path) -> None:
    page = write(tmp_path, {"a": 1.0}, accuracy=1.0, accuracy_ci95=[0.9, 1.0])
    assert page.count("<p>None: all test images are classified correctly.</p>") == 2  # confusions and mistakes
    assert "Order agreement" not in page  # fold=1
    orders = {"fold": 4, "orders": 24, "order_agreement": 1.0, "order_all_agree": 1.0}
    page = write(tmp_path, {"a": 0.5}, **orders)
    assert "<p>All 24 orders of every stack give the same predictions.</p>" in page
    page = write(tmp_path, {"a": 0.5}, **orders, slots=True)
    assert "the same predictions, by construction: each slot is a network of its own.</p>" in page
    assert "None in the first grouping." in page
