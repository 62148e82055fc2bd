"""The figures of a run: something shows in each of them, and no label covers another, however classes are called."""

import io
import itertools
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from torch import nn

from textgen.spec.label_fields import LabelFields
from train.data.sources import DeviceSplit
from train.metrics.evaluate import Evaluation, evaluate
from train.report import page, plots
from train.report.confusions import confused_classes, confusion_shares, frequent_confusions
from train.report.names import fit_name, visible_name

NAMES = [
    *("0", "a_b", "$x_1$", r"\alpha", "<b>", "%", "甲乙丙丁", "مرحبا", "👍🏽", "नमस्ते", " ", " a ", "a\u200b", "W" * 60),
    *("A very long name that goes on and on, 1", "A very long name that goes on and on, 2"),
]


class Says(nn.Module):
    """Predicts for each image the class that red and green of its first pixel hold."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        low, high = ((x[:, :2, 0, 0] + 1) * 255 / 2).round().long().unbind(1)
        return nn.functional.one_hot(low + 256 * high, self.classes).float()


def evaluated(labels: Sequence[int], said: Sequence[int], classes: int) -> tuple[Evaluation, np.ndarray, np.ndarray]:
    """The evaluation of a network that says `said`, with its images and labels."""
    images = np.zeros((len(said), 12, 30, 3), np.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = np.array(said) % 256, np.array(said) // 256
    split = DeviceSplit(torch.from_numpy(images), torch.tensor(labels))
    fields = LabelFields.single(map(str, range(classes)))
    return evaluate(Says(classes), 1, split, fields=fields, groupings=1, seed=0), images, np.array(labels)


def epoch(number: int) -> dict[str, Any]:
    return {"epoch": number, "classes": 3, "train_loss": 1, "val_loss": 2, "train_accuracy": 0.5, "val_accuracy": 1.0}


def overlapping(figure: Figure) -> list[tuple[str, str]]:
    """The pairs of texts of a figure that overlap, and texts that leave it, with themselves."""
    figure.canvas.draw()
    texts = [
        each for each in figure.findobj() if isinstance(each, Text) and each.get_text().strip() and each.get_visible()
    ]
    boxes = {text: text.get_window_extent() for text in texts}
    whole = figure.bbox.padded(1)
    found = [
        (a.get_text(), b.get_text())
        for a, b in itertools.combinations(texts, 2)
        if boxes[a].padded(-1.5).overlaps(boxes[b].padded(-1.5))
    ]
    outside = [t for t in texts if not (whole.contains(*boxes[t].min) and whole.contains(*boxes[t].max))]
    plt.close(figure)
    return found + [(text.get_text(), text.get_text()) for text in outside]


@pytest.mark.parametrize("epochs", [1, 3])
def test_every_epoch_of_a_short_run_is_marked_and_ticks_are_whole(epochs: int) -> None:
    figure = plots.draw_curves([epoch(n + 1) for n in range(epochs)], 1)
    figure.canvas.draw()
    for axes in figure.axes:
        lines = [line for line in axes.lines if line.get_label() in ("train", "val")]
        assert [(line.get_marker(), np.size(line.get_xdata())) for line in lines] == [("o", epochs)] * 2
        low, high = axes.get_xlim()
        shown = [tick for tick in axes.get_xticks() if low <= tick <= high]
        assert 1 in shown
        assert all(tick == int(tick) for tick in shown)
    plt.close(figure)


@pytest.mark.parametrize("classes", [NAMES, NAMES[:2], NAMES * 2, [f"{n // 60}:{n % 60:02}" for n in range(3600)]])
def test_no_label_of_the_confusion_matrix_covers_another(classes: Sequence[str]) -> None:
    count = len(classes)
    said = [(n + 1) % count if n % 3 else n for n in range(count)]
    evaluation, *_ = evaluated(range(count), said, count)
    shown = confused_classes(evaluation, plots.MATRIX_CLASSES) if count > plots.MATRIX_CLASSES else range(count)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a glyph that is missing
        assert overlapping(plots.draw_confusion(evaluation, classes, shown)) == []
        assert plots.confusion(evaluation, classes)


def test_a_matrix_of_many_classes_shows_those_of_the_most_frequent_confusions_and_says_so() -> None:
    labels = [*range(112), *[7] * 30, *[50] * 20]
    evaluation, _, of = evaluated(labels, [*range(1, 112), 0, *[8] * 30, *[90] * 20], 112)
    shown = confused_classes(evaluation, 30)
    assert {7, 8, 50, 90} <= set(shown)
    assert len(shown) <= 30
    assert confusion_shares(evaluation, shown)[shown.index(7), shown.index(8)] == 1
    figure = plots.draw_confusion(evaluation, [str(n) for n in range(112)], shown)
    assert f"{len(shown)} of 112 classes" in figure.get_suptitle()
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == [str(n) for n in shown]
    plt.close(figure)
    first, second, *_ = frequent_confusions(
        evaluation, of, LabelFields.single(map(str, range(evaluation.confusion.shape[0]))), most=20, crops=3
    )
    assert (first.true, first.predicted, first.share, len(first.crops)) == (7, 8, 1, 3)
    assert (second.true, second.predicted, second.share) == (50, 90, 20 / 21)


def test_ten_thousand_classes_take_no_dense_matrix() -> None:
    evaluation, images, labels = evaluated(range(10_000), [0, *range(9999)], 10_000)
    assert evaluation.confusion.is_sparse
    assert evaluation.confusion.values().sum() == 10_000
    assert evaluation.per_class_accuracy[:2] == [1, 0]
    assert plots.confusion(evaluation, [str(n) for n in range(10_000)])
    assert (
        len(page.tabulate_confusions(evaluation, images, labels, LabelFields.single(map(str, range(10_000)))))
        == page.CONFUSIONS
    )


@pytest.mark.parametrize("size", [(20, 50), (64, 20), (18, 260), (200, 300)])
def test_no_caption_of_a_mistake_covers_another(size: tuple[int, int]) -> None:
    names = list(itertools.product(NAMES, NAMES[:3]))
    images = np.full((len(names), *size, 3), 99, np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert overlapping(plots.draw_mistakes(images, names, ["100%"] * len(names))) == []
        assert overlapping(plots.draw_mistakes(images[:1], names[-1:], ["9%"])) == []


def test_crops_of_mistakes_keep_their_proportions() -> None:
    evaluation, images, labels = evaluated([0, 1, 1], [1, 0, 1], 2)
    images[labels != 2] = (255, 0, 0)
    drawn = plots.mistakes(evaluation, images, labels, LabelFields.single("ab"))
    assert drawn
    red = (np.asarray(Image.open(io.BytesIO(drawn)).convert("RGB")) == (255, 0, 0)).all(2)
    rows, columns = red.any(1).sum(), red.any(0).sum()
    assert columns / 2 / rows == pytest.approx(30 / 12, rel=0.05)  # two crops, side by side


def test_nothing_is_drawn_where_there_is_nothing_to_see() -> None:
    evaluation, images, labels = evaluated([0, 1], [0, 1], 2)
    assert plots.confusion(evaluation, ["a", "b"]) is None
    assert plots.mistakes(evaluation, images, labels, LabelFields.single("ab")) is None
    evaluation.orders, evaluation.order_all_agree, evaluation.orders_agreeing = 2, 1.0, torch.tensor([2, 2])
    assert plots.orders(evaluation) is None
    evaluation.order_all_agree, evaluation.order_agreement, evaluation.orders_agreeing = 0.5, 0.75, torch.tensor([2, 1])
    assert plots.orders(evaluation)


def test_names_differ_after_they_are_cut() -> None:
    first, second = (fit_name(name, 1.0, 8) for name in NAMES[-2:])
    assert first != second
    assert "…" in first
    assert visible_name("\u3000") == "U+3000"
    assert visible_name("a\u3164b\u2800\u034f") == "aU+3164bU+2800U+034F"  # a letter, a symbol and a mark
    assert fit_name("ok", 1.0, 8) == "ok"
