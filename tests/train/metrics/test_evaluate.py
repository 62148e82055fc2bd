"""The evaluator: every image scored once, padding masked, order agreement as defined."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from textgen.common.confidence import wilson_interval
from textgen.spec.label_fields import LabelFields
from train.data.sources import DeviceSplit, to_input
from train.folding.arithmetic import fold, unfold
from train.metrics.evaluate import evaluate
from train.metrics.order_agreement import order_agreement
from train.metrics.predict import predict, random_stacks
from train.models.notation import build, initialise, parse


class ByPixel(nn.Module):
    """A FoldedCNN that reads the class off one pixel of each image, and in slot `wrong` is always one off."""

    def __init__(self, f: int, classes: int, wrong: int | None = None):
        super().__init__()
        self.f, self.classes, self.wrong = f, classes, wrong

    def forward(self, x: Tensor) -> Tensor:
        level = (x[:, 0 :: x.shape[1] // self.f, 0, 0] + 1) * 255 / 2  # (b, f)
        label = level.round().long()
        if self.wrong is not None:
            label[:, self.wrong] = (label[:, self.wrong] + 1) % self.classes
        return nn.functional.one_hot(label, self.classes).float().flatten(1)  # (b, f*k)


def labelled(n: int, classes: int) -> DeviceSplit:
    """Images whose first pixel is their class."""
    labels = torch.arange(n) % classes
    images = torch.zeros(n, 4, 4, 3, dtype=torch.uint8)
    images[:, 0, 0, 0] = labels.to(torch.uint8)
    return DeviceSplit(images, labels)


@given(n=st.integers(1, 50), f=st.integers(1, 6), seed=st.integers(0, 99))
def test_a_grouping_holds_every_image_and_pads_with_repeats(n: int, f: int, seed: int) -> None:
    stacks = random_stacks(n, f, torch.Generator().manual_seed(seed))
    assert stacks.shape == (math.ceil(n / f), f)
    assert sorted(stacks.flatten()[:n].tolist()) == list(range(n))
    assert stacks.max() < n


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 30), f=st.integers(1, 5), seed=st.integers(0, 9))
def test_predictions_come_back_in_the_order_of_the_images(n: int, f: int, seed: int) -> None:
    data = labelled(n, 7)
    stacks = random_stacks(n, f, torch.Generator().manual_seed(seed))
    assert torch.equal(predict(ByPixel(f, 7), data.images, stacks).argmax(1), data.labels)


@pytest.mark.parametrize("f", [1, 2, 3, 4])
@pytest.mark.parametrize("n", [24, 25])
def test_a_perfect_network_is_perfect_in_every_figure(f: int, n: int) -> None:
    result = evaluate(ByPixel(f, 5), f, labelled(n, 5), fields=LabelFields.single("01234"), groupings=3, seed=0)
    assert result.accuracy == 1
    assert result.per_class_accuracy == [1] * 5
    assert int(result.confusion.sum()) == n * (3 if f > 1 else 1)
    assert len(result.accuracy_groupings) == (3 if f > 1 else 1)
    if f == 1:
        assert result.order_agreement is None
    else:
        assert (result.order_agreement, result.order_all_agree, result.orders) == (1, 1, math.factorial(f))


@pytest.mark.parametrize("f", [2, 3, 4])
def test_a_slot_that_errs_shows_in_accuracy_and_in_order_agreement(f: int) -> None:
    n = 12 * f
    result = evaluate(
        ByPixel(f, 5, wrong=0), f, labelled(n, 5), fields=LabelFields.single("01234"), groupings=2, seed=0
    )
    assert result.accuracy == pytest.approx(1 - 1 / f)
    # In 1/f of the orders an image stands in the wrong slot. Of f, one image stood there at first: it agrees with
    # 1/f of the orders; the others agree with all but 1/f.
    expected = (1 / f) * (1 / f) + (1 - 1 / f) * (1 - 1 / f)
    assert result.order_agreement == pytest.approx(expected)
    assert result.order_all_agree == 0


@pytest.mark.parametrize("n", [12, 13])
def test_order_agreement_equals_a_count_by_hand(n: int) -> None:
    torch.manual_seed(1)
    f = 3
    net = build(parse("C8 M F", "3x3 stride 2"), size=(9, 9), classes=4, fold=f)
    initialise(net, "torch")
    images = torch.randint(0, 256, (n, 9, 9, 3), dtype=torch.uint8)
    stacks = random_stacks(n, f, torch.Generator().manual_seed(3))
    predictions = predict(net, images, stacks).argmax(1)
    agreeing = torch.zeros(n, dtype=torch.long)
    net.eval()
    for place, stack in enumerate(stacks.tolist()):
        for order in itertools.permutations(range(f)):
            logits = unfold(net(fold(to_input(images[[stack[j] for j in order]]), f)), f)
            for row, j in enumerate(order):
                if place * f + j < n:  # not the repeats at the end
                    agreeing[stack[j]] += int(logits[row].argmax() == predictions[stack[j]])
    counted = order_agreement(net, images, stacks, predictions, LabelFields.single("0123"))
    assert torch.equal(counted, agreeing)
    assert counted.min() >= 1
    assert counted.float().mean() < math.factorial(f)  # an untrained network does depend on the order


def test_wilson_against_published_values() -> None:
    # Newcombe (1998), Statistics in Medicine 17, Table I, method 3.
    for right, n, low, high in [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611)]:
        assert wilson_interval(right / n, n) == pytest.approx((low, high), abs=1e-4)
