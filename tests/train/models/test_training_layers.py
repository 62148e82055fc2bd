"""Training-only layers: the network without them computes the same."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from train.models.notation import build, initialise, parse
from train.models.training_layers import (
    AuxiliaryHead,
    CharacterLinear,
    PositiveBatchNorm,
    reparameterise,
    shared_characters,
)

V = "3x3 strides 2,1,2"
CLASSES = ("7", "17", "18", "none")


@pytest.mark.parametrize("pool_first", [False, True])
def test_a_network_without_its_training_only_layers_computes_the_same(pool_first: bool) -> None:
    torch.manual_seed(0)
    layers = parse("C8 M C8 C8 M F16 F", V)
    shares = shared_characters(CLASSES)
    trained = build(layers, size=(21, 24), classes=4, norm=True, dropout=0.3, pool_first=pool_first, shares=shares)
    x = torch.randn(64, 3, 21, 24)
    for module in trained.modules():
        if isinstance(module, PositiveBatchNorm):
            nn.init.normal_(module.weight)  # negative ones too
            nn.init.normal_(module.bias)
    for _ in range(20):
        trained(x)  # the norms see data
    for parameter in trained.get_submodule("linear2").parameters():
        nn.init.normal_(parameter)
    plain, again = (build(layers, size=(21, 24), classes=4) for _ in range(2))
    reparameterise(trained, plain)
    assert torch.allclose(plain(x), trained.eval()(x), atol=1e-4)
    reparameterise(AuxiliaryHead(trained, deepcopy(trained)), again)
    assert torch.equal(again(x), plain(x))


def test_classes_share_characters_at_their_place_from_the_end_and_their_length() -> None:
    shares = shared_characters(CLASSES)
    assert shares is not None
    assert shares.tolist() == [[1, 0, 0], [1, 1, 1], [0, 1, 1], [0, 0, 0]]  # 7 last, 1 before it, two characters
    assert shared_characters(["full", "x"]) is None  # nothing in common
    assert shared_characters(["ab", "ab "]) is None
    assert shared_characters(["1a", "2a"]) is None  # what all have tells nothing


def test_classes_with_the_same_shared_weights_start_with_equal_logits_and_can_be_trained_apart() -> None:
    torch.manual_seed(0)
    layer = CharacterLinear(5, torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    x = torch.randn(8, 5)
    before = layer(x)
    assert torch.equal(before[:, 0], before[:, 1])
    assert not torch.equal(before[:, 0], before[:, 2])
    nn.functional.cross_entropy(before, torch.tensor([0, 1] * 4)).backward()
    assert layer.weight.grad is not None
    assert not torch.equal(layer.weight.grad[0], layer.weight.grad[1])
    initialise(layer, "reference")
    assert not layer.weight.any()
    assert layer.shared.weight.std() < 0.02
    weight, bias = CharacterLinear.combine_weights(layer)
    before = layer(x)
    assert torch.equal(nn.functional.linear(x, weight, bias), before)


def test_a_second_end_leaves_the_first_as_it_is_and_teaches_what_both_share() -> None:
    torch.manual_seed(0)
    layers = parse("C8 M C8 C4 M F", V)
    net, wider = (build(layers, size=(21, 24), classes=3, widen_last=times) for times in (1, 4))
    both = AuxiliaryHead(net, wider)
    x = torch.randn(2, 3, 21, 24)
    first, second = both(x)
    assert torch.equal(first, net(x))
    assert second.shape == first.shape
    second.sum().backward()
    with_gradient = {name for name, parameter in both.named_parameters() if parameter.grad is not None}
    shared = {f"net.{layer}.{kind}" for layer in ("conv1", "conv2") for kind in ("weight", "bias")}
    assert with_gradient == shared | {
        f"wider.{layer}.{kind}" for layer in ("conv3", "linear1") for kind in ("weight", "bias")
    }


@pytest.mark.parametrize("arch", ["F8 F", "C8 M F"])
def test_two_ends_need_something_to_share(arch: str) -> None:
    net = build(parse(arch, V), size=(9, 9), classes=3)
    with pytest.raises(ValueError, match="two or more convolutions"):
        AuxiliaryHead(net, net)


def test_shares_are_for_single_images() -> None:
    with pytest.raises(ValueError, match="stacks of 2"):
        build(parse("C8 M F", V), size=(9, 9), classes=4, fold=2, shares=shared_characters(CLASSES))
