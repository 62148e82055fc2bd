"""The loss that makes predictions independent of the order within a stack."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from textgen.spec.label_fields import LabelFields
from train.folding.arithmetic import fold, unfold
from train.folding.slots import assemble_slots
from train.models.notation import build, initialise, parse
from train.trainer.order_consistency import order_consistency_loss

LAYERS, SIZE, CLASSES, F = parse("C8 M C8 F", "3x3 stride 2"), (9, 9), 5, 3


def folded() -> nn.Module:
    torch.manual_seed(0)
    net = build(LAYERS, size=SIZE, classes=CLASSES, fold=F)
    initialise(net, "torch")
    return net


def slots() -> nn.Module:
    torch.manual_seed(1)
    narrow = build(LAYERS, size=SIZE, classes=CLASSES, slot_of=F)
    initialise(narrow, "torch")
    net = build(LAYERS, size=SIZE, classes=CLASSES, fold=F)
    assemble_slots(narrow, net, F)
    return net


def answers_of(net: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda x: unfold(net(fold(x, F)), F)


def test_slots_are_consistent_and_a_network_that_depends_on_the_order_is_not() -> None:
    x = torch.rand(4 * F, 3, *SIZE)
    for net, consistent in ((slots(), True), (folded(), False)):
        logits = unfold(net(fold(x, F)), F)
        value = order_consistency_loss(
            answers_of(net), x, logits, F, LabelFields.single(map(str, range(CLASSES)))
        ).item()
        assert (value < 1e-6) == consistent
        assert value < math.log(2)


def test_training_for_consistency_makes_answers_consistent() -> None:
    net, x = folded(), torch.rand(16 * F, 3, *SIZE)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    values = []
    for _ in range(30):
        loss = order_consistency_loss(
            answers_of(net), x, answers_of(net)(x), F, LabelFields.single(map(str, range(CLASSES)))
        )
        values.append(loss.item())
        net.zero_grad()
        loss.backward()
        optimizer.step()
    assert values[-1] < 0.3 * values[0]
