"""The curriculum of the paper, epoch by epoch."""

import pytest
import torch
from conftest import composed

from textgen.common.errors import UserError
from textgen.schema.definition import parse_definition
from train.config.curriculum import Curriculum
from train.config.recipe import fit_recipe
from train.trainer.curriculum import class_count, class_order, class_ranks, epoch_order

CLASSES = {"V1": 11, "V2": 22, "V3": 15, "V4": 27, "V5": 111, "V6": 62}


@pytest.mark.parametrize("classes", CLASSES.values(), ids=CLASSES)
@pytest.mark.parametrize("f", [2, 3, 4])
def test_every_epoch_of_the_paper_follows_the_formula(classes: int, f: int) -> None:
    initial, step = max(f, classes // 10), classes // 10
    for epoch in range(1500):
        expected = min(classes, initial + step * (epoch // 60))
        assert class_count(Curriculum(), epoch=epoch, epochs=1500, classes=classes, fold=f) == expected


@pytest.mark.parametrize("f", [2, 3, 4])
def test_the_classes_of_every_epoch_are_the_first_ones_of_the_alphabet(game_name: str, f: int) -> None:
    config = composed(f"game={game_name}", "recipe=paper")
    classes = parse_definition(config, 0).game.classes
    labels = torch.arange(len(classes)).repeat(3)  # three images a class
    recipe = fit_recipe(config["recipe"], game=game_name, fold=f, train_images=len(labels))
    assert recipe.epochs
    assert recipe.curriculum
    ranks = class_ranks(class_order(recipe.curriculum, classes, 0))[labels]
    first, step, every = max(f, len(classes) // 10), len(classes) // 10, 60
    if (game_name, f) == ("lol_time", 4):  # footnote 7
        first, step, every = 4, 3, 120
    for epoch in range(recipe.epochs):
        count = class_count(recipe.curriculum, epoch=epoch, epochs=recipe.epochs, classes=len(classes), fold=f)
        seen = {classes[label] for label in labels[epoch_order(ranks, count, 0, epoch)].tolist()}
        assert seen == set(sorted(classes)[: first + step * (epoch // every)])


def test_footnote_7() -> None:
    special = Curriculum(initial=4, step=3, every=120, of=3000)
    counts = [class_count(special, epoch=e, epochs=3000, classes=62, fold=4) for e in range(3000)]
    assert counts[0] == counts[119] == 4
    assert counts[120] == 7
    assert counts.index(62) == 20 * 120


@pytest.mark.parametrize("epochs", [2, 3, 10, 100])
def test_a_shorter_run_keeps_the_shape_and_ends_with_every_class(epochs: int) -> None:
    counts = [class_count(Curriculum(), epoch=e, epochs=epochs, classes=27, fold=4) for e in range(epochs)]
    assert counts[0] == 4
    assert counts == sorted(counts)
    assert counts[-1] == 27


def test_without_a_curriculum_every_class_is_in() -> None:
    assert class_count(None, epoch=0, epochs=1500, classes=27, fold=4) == 27


def test_orders_of_the_classes() -> None:
    classes = ["0", "1", "2", "10", "other"]
    assert [classes[i] for i in class_order(Curriculum(), classes, 0)] == ["0", "1", "10", "2", "other"]
    shuffled = class_order(Curriculum(order="random"), classes, 7)
    assert sorted(shuffled) == [0, 1, 2, 3, 4]
    assert shuffled == class_order(Curriculum(order="random"), classes, 7)
    assert any(shuffled != class_order(Curriculum(order="random"), classes, seed) for seed in range(5))
    given = ["other", "10", "2", "1", "0"]
    assert [classes[i] for i in class_order(Curriculum(order=given), classes, 0)] == given


@pytest.mark.parametrize("order", ["backwards", ["0", "1"], ["0", "0", "1", "2", "10"]])
def test_an_order_that_is_not_of_all_classes_is_refused(order: str | list[str]) -> None:
    with pytest.raises(UserError, match=r"recipe\.curriculum\.order"):
        class_order(Curriculum(order=order), ["0", "1", "2", "10", "other"], 0)
