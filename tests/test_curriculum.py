"""The curriculum of the paper, epoch by epoch."""

import pytest

from textgen.errors import UserError
from train.curriculum import Curriculum, classes_in, order_of

CLASSES = {"V1": 11, "V2": 22, "V3": 15, "V4": 27, "V5": 111, "V6": 62}


@pytest.mark.parametrize("classes", CLASSES.values(), ids=CLASSES)
@pytest.mark.parametrize("f", [2, 3, 4])
def test_every_epoch_of_the_paper_follows_the_formula(classes: int, f: int) -> None:
    initial, step = max(f, classes // 10), classes // 10
    for epoch in range(1500):
        expected = min(classes, initial + step * (epoch // 60))
        assert classes_in(Curriculum(), epoch=epoch, epochs=1500, classes=classes, fold=f) == expected


def test_footnote_7() -> None:
    special = Curriculum(initial=4, step=3, every=120, of=3000)
    counts = [classes_in(special, epoch=e, epochs=3000, classes=62, fold=4) for e in range(3000)]
    assert counts[0] == counts[119] == 4
    assert counts[120] == 7
    assert counts.index(62) == 20 * 120


@pytest.mark.parametrize("epochs", [2, 3, 10, 100])
def test_a_shorter_run_keeps_the_shape_and_ends_with_every_class(epochs: int) -> None:
    counts = [classes_in(Curriculum(), epoch=e, epochs=epochs, classes=27, fold=4) for e in range(epochs)]
    assert counts[0] == 4
    assert counts == sorted(counts)
    assert counts[-1] == 27


def test_without_a_curriculum_every_class_is_in() -> None:
    assert classes_in(None, epoch=0, epochs=1500, classes=27, fold=4) == 27


def test_orders_of_the_classes() -> None:
    classes = ["0", "1", "2", "10", "other"]
    assert [classes[i] for i in order_of(Curriculum(), classes, 0)] == ["0", "1", "10", "2", "other"]
    shuffled = order_of(Curriculum(order="random"), classes, 7)
    assert sorted(shuffled) == [0, 1, 2, 3, 4]
    assert shuffled == order_of(Curriculum(order="random"), classes, 7)
    assert any(shuffled != order_of(Curriculum(order="random"), classes, seed) for seed in range(5))
    given = ["other", "10", "2", "1", "0"]
    assert [classes[i] for i in order_of(Curriculum(order=given), classes, 0)] == given


@pytest.mark.parametrize("order", ["backwards", ["0", "1"], ["0", "0", "1", "2", "10"]])
def test_an_order_that_is_not_of_all_classes_is_refused(order: str | list[str]) -> None:
    with pytest.raises(UserError, match=r"recipe\.curriculum\.order"):
        order_of(Curriculum(order=order), ["0", "1", "2", "10", "other"], 0)
