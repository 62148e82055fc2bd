"""Networks that are trained on whole stacks: what joins the slots, and what the order of a stack changes."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from train.folding.arithmetic import fold, folded_width, unfold
from train.folding.slots import assemble_slots
from train.models.notation import build, initialise, parse
from train.trainer.cross_slot import CrossSlotLearningRate
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


def reads_its_own_image_alone(net: nn.Module) -> bool:
    """Whether no answer depends on the other images of the stack."""
    images = torch.rand(F, 3, *SIZE, requires_grad=True)
    logits = unfold(net(fold(images, F)), F)
    for j in range(F):
        (gradient,) = torch.autograd.grad(logits[j].sum(), images, retain_graph=True)
        if any(gradient[i].any() for i in range(F) if i != j):
            return False
    return True


def answers_of(net: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda x: unfold(net(fold(x, F)), F)


def stepped(net: nn.Module, factor: float, steps: int = 3) -> nn.Module:
    between = CrossSlotLearningRate(net, LAYERS, SIZE, CLASSES, F, factor)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    generator = torch.Generator().manual_seed(2)
    for _ in range(steps):
        images = torch.rand(4 * F, 3, *SIZE, generator=generator)
        net.zero_grad()
        unfold(net(fold(images, F)), F).square().mean().backward()
        with between:
            optimizer.step()
    return net


def test_with_factor_0_slots_stay_apart_and_go_ways_of_their_own() -> None:
    net = stepped(slots(), 0.0)
    assert reads_its_own_image_alone(net)
    weight = net.get_parameter("conv2.weight")
    rows = folded_width(8, F) // F
    assert not torch.equal(weight[:rows, :rows], weight[rows : 2 * rows, rows : 2 * rows])
    assert not reads_its_own_image_alone(stepped(slots(), 0.1))


def test_a_factor_makes_steps_between_slots_as_much_shorter_and_no_others() -> None:
    before, slow, fast = (
        dict(net.named_parameters()) for net in (slots(), stepped(slots(), 0.1, 1), stepped(slots(), 1, 1))
    )
    for name, old in before.items():
        if old.ndim > 1:
            between = (old == 0) & (fast[name] != 0)
            assert between.any()
            assert torch.allclose(slow[name][between], 0.1 * fast[name][between], atol=1e-7)
            assert torch.equal(slow[name][old != 0], fast[name][old != 0])


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0])
def test_weights_between_slots_begin_as_much_smaller(factor: float) -> None:
    net, before = folded(), dict(folded().named_parameters())
    CrossSlotLearningRate(net, LAYERS, SIZE, CLASSES, F, factor).scale()
    changed = net.get_parameter("conv2.weight") / before["conv2.weight"]
    assert sorted({round(value, 3) for value in changed.flatten().tolist()}) == sorted({factor, 1.0})
    assert reads_its_own_image_alone(net) == (factor == 0)


def test_slots_are_consistent_and_a_network_that_depends_on_the_order_is_not() -> None:
    x = torch.rand(4 * F, 3, *SIZE)
    for net, consistent in ((slots(), True), (folded(), False)):
        logits = unfold(net(fold(x, F)), F)
        value = order_consistency_loss(answers_of(net), x, logits, F).item()
        assert (value < 1e-6) == consistent
        assert value < math.log(2)


def test_training_for_consistency_makes_answers_consistent() -> None:
    net, x = folded(), torch.rand(16 * F, 3, *SIZE)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    values = []
    for _ in range(30):
        loss = order_consistency_loss(answers_of(net), x, answers_of(net)(x), F)
        values.append(loss.item())
        net.zero_grad()
        loss.backward()
        optimizer.step()
    assert values[-1] < 0.3 * values[0]
