"""report.html of a run."""

from pathlib import Path
from typing import Any

from train.report.page import write_report

EPOCH = {"classes": 3, "train_loss": 1.0, "train_accuracy": 0.5, "val_loss": 1.0, "val_accuracy": 0.5}


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
        **{"per_class_accuracy": accuracies, "settings": {"recipe.lr": 1e-3, "teacher": None}},
        **changes,
    }
    history = [{"epoch": n, "best": n <= 2, "images_per_second": 9.0, **EPOCH} for n in range(1, 61)]
    write_report(result, history, {"curves": b"\x89PNG"}, folder)
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
    assert "<td>recipe.lr</td><td>0.001</td>" in page
    assert "<td>teacher</td>" not in page
    assert "All test images are classified correctly." in write(tmp_path, {"easy": 1.0})
