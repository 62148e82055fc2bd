"""Grouped layers and the narrow network compute what the dense FoldedCNN of slots computes."""

import pytest
import torch
from conftest import load as config_of
from torch import Tensor, nn

from textgen.common.validation import validate
from textgen.schema.game import Game
from train.cost.intensity import network_cost
from train.folding.arithmetic import fold, unfold
from train.folding.slots import assemble_slots
from train.inference.grouped import grouped_network, narrow_network, slot_network
from train.inference.network import Network
from train.models.notation import build, initialise, parse

V, N = "3x3 strides 2,1,2", "2x2 stride 2"


def network_of(arch: str, pool: str, size: tuple[int, int], classes: int, f: int, *, slots: bool = True) -> Network:
    """Random weights, biases too, as slots."""
    torch.manual_seed(f)
    layers = parse(arch, pool)
    one = build(layers, size=size, classes=classes, slot_of=f)
    net = build(layers, size=size, classes=classes, fold=f)
    for each in (one, net):
        initialise(each, "torch")
    if slots:
        assemble_slots(one, net, f)
    return Network(net.eval(), arch, pool, size, tuple(map(str, range(classes))), f)


def of_game(name: str, f: int) -> Network:
    game = validate(Game, config_of("game", name))
    return network_of(game.arch, V, game.size, len(game.classes), f)


@torch.no_grad()
def outputs(network: Network, count: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Logits for each image of `count` stacks: dense, grouped, narrow."""
    images = torch.rand(count * network.fold, 3, *network.size) * 2 - 1
    stacks = fold(images, network.fold)
    dense, wide = (unfold(net(stacks.clone()), network.fold) for net in (network.net, grouped_network(network)))
    return dense, wide, narrow_network(network)(images.clone())


@pytest.mark.parametrize("f", [1, 2, 3, 4])
def test_every_form_computes_the_same_for_every_game(game_name: str, f: int) -> None:
    dense, wide, single = outputs(of_game(game_name, f))
    assert dense.std() > 0.01
    torch.testing.assert_close(wide, dense, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(single, dense, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("f", [2, 3])
def test_fully_connected_layers_within_the_network(f: int) -> None:
    dense, wide, single = outputs(network_of("C8 C16 M F24 F10 F", N, (10, 14), 5, f))
    torch.testing.assert_close(wide, dense)
    torch.testing.assert_close(single, dense)


@pytest.mark.parametrize("f", [1, 2, 3, 4])
def test_convolutions_have_f_groups_and_only_the_weights_of_the_slots(f: int) -> None:
    network = of_game("sot_time", f)
    convolutions = [layer for layer in grouped_network(network) if isinstance(layer, nn.Conv2d)]
    assert [layer.groups for layer in convolutions] == [f] * 8
    layers = parse(network.arch, network.pool)
    cost = network_cost(layers, size=network.size, classes=len(network.classes), fold=f, form="grouped")
    assert [layer.weight.numel() for layer in convolutions] == [layer.weights for layer in cost.layers[:-1]]
    assert [name for name, _ in grouped_network(network).named_children()] == [
        n for n, _ in network.net.named_children()
    ]


def test_slots_are_detected() -> None:
    slots = network_of("C8 M F", N, (10, 14), 5, 3)
    found = slot_network(slots)
    assert found is not None
    assert all(torch.equal(*both) for both in zip(found.parameters(), narrow_network(slots).parameters(), strict=True))
    assert slot_network(network_of("C8 M F", N, (10, 14), 5, 3, slots=False)) is None
    assert slot_network(network_of("C8 M F", N, (10, 14), 5, 1)) is None


def test_weights_without_slots_are_refused() -> None:
    dense = network_of("C8 C8 M F", N, (10, 14), 5, 4, slots=False)
    one_off = network_of("C8 C8 M F", N, (10, 14), 5, 4)
    with torch.no_grad():
        one_off.net.get_parameter("linear1.bias")[-1] += 1
    for network in (dense, one_off):
        for form in (grouped_network, narrow_network):
            with pytest.raises(ValueError, match="is not 4 copies of one narrow network"):
                form(network)


def test_the_given_network_is_unchanged() -> None:
    network = of_game("lol_gold1", 4)
    before = {name: tensor.clone() for name, tensor in network.net.state_dict().items()}
    grouped_network(network).get_parameter("conv1.weight").zero_()
    assert all(torch.equal(before[name], tensor) for name, tensor in network.net.state_dict().items())
