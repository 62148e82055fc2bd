"""Costs of modules against those of the notation, PyTorch's own counter, and the paper's ResNet-18."""

from __future__ import annotations

from dataclasses import replace
from math import inf, prod

import pytest
import torch
from conftest import load
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from textgen.common.errors import UserError
from textgen.common.validation import validate
from textgen.schema.game import Game
from train.cost.devices import DEVICES
from train.cost.intensity import intensity, network_cost
from train.cost.modules import module_costs
from train.models.notation import build, parse
from train.models.resnet import resnet18

N = {"coral": ("C16 C16 M F128 F", (50, 50), 2), "roundabout": ("C32 C32 M C64 C64 M F32 F", (50, 50), 2)}
V = ("lol_gold1", "apex_count", "sot_coin", "sot_time", "lol_gold2", "lol_time")


@pytest.mark.parametrize("fold", [1, 2, 3, 4])
def test_networks_of_the_notation_have_the_costs_of_network_cost(fold: int) -> None:
    games = [validate(Game, load("game", name)) for name in V]
    nets = [(game.arch, "3x3 strides 2,1,2", game.size, len(game.classes)) for game in games]
    nets += [(arch, "2x2 stride 2", size, classes) for arch, size, classes in N.values()]
    for arch, pool, size, classes in nets:
        layers = parse(arch, pool)
        expected = network_cost(layers, size=size, classes=classes, fold=fold, form="dense").layers
        net = build(layers, size=size, classes=classes, fold=fold, norm=True)
        assert module_costs(net, (3 * fold, *size)) == expected
        narrow = network_cost(layers, size=size, classes=classes, fold=fold, form="narrow").layers
        assert module_costs(build(layers, size=size, classes=classes, slot_of=fold), (3, *size)) == narrow


def test_resnet18_has_the_figures_of_the_paper() -> None:
    """Intensity 430, and 24 % of the layers below the 139 that a V100 needs (§5.4)."""
    layers = module_costs(resnet18(10), (3, 32, 32))
    assert round(intensity(layers, 1024, 2)) == 430
    below = [layer.intensity(1024, 2) < (DEVICES["v100"].ratio("fp16") or 0) for layer in layers]
    assert (sum(below), len(below)) == (5, 21)
    assert layers[-1].size == (1, 1)
    strided = next(layer for layer in layers if layer.name == "stage2.0.conv1")
    assert (strided.inputs, strided.outputs, strided.size) == (64 * 32 * 32, 128 * 16 * 16, (16, 16))
    assert strided.winograd == strided.operations
    assert layers[0].winograd < layers[0].operations


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 3),
    st.sampled_from([1, 3, (1, 5), (4, 2)]),
    st.sampled_from([1, 2, (2, 1)]),
    st.integers(0, 2),
    st.sampled_from([1, 2, 4]),
    st.booleans(),
)
def test_operations_are_those_that_pytorch_counts(
    c: int, kernel: int | tuple[int, int], stride: int | tuple[int, int], padding: int, groups: int, back: bool
) -> None:
    kind = nn.ConvTranspose2d if back else nn.Conv2d
    convolution = kind(4 * c, 8, kernel, stride, padding, groups=groups)
    net = nn.Sequential(
        convolution, nn.Flatten(2), nn.Linear(convolution(torch.zeros(1, 4 * c, 11, 9))[0, 0].numel(), 5)
    )
    layers = module_costs(net, (4 * c, 11, 9))
    images = torch.zeros(1, 4 * c, 11, 9)
    with FlopCounterMode(display=False) as counted:
        net(images)
    assert sum(layer.operations for layer in layers) == counted.get_total_flops()
    assert [layer.weights for layer in layers] == [net[0].weight.numel(), net[2].weight.numel()]
    assert [layer.inputs for layer in layers] == [images.numel(), net[0](images).numel()]
    assert [layer.outputs for layer in layers] == [net[0](images).numel(), net(images).numel()]
    assert layers[0].channels == (4 * c, 8)
    assert prod(layers[1].size) == 8  # places of a linear layer


def test_the_module_is_unchanged_and_only_shapes_are_computed() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(6, 2)).train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    first, second = module_costs(net, (3, 10**6, 8))  # 24 MB of images, 10 times that of activations
    assert (first.outputs, second.outputs) == (8 * (10**6 - 2) * 6, 8 * (10**6 - 2) * 2)
    assert net.training
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert not any(module._forward_hooks for module in net.modules())


def test_a_layer_that_runs_twice_counts_twice() -> None:
    layer = nn.Conv2d(4, 4, 3, padding=1)
    once, again, third = module_costs(nn.Sequential(layer, layer, nn.Conv2d(4, 4, 3, padding=1)), (4, 8, 8))
    assert once == again == replace(third, name="0")
    assert intensity([once, again], inf, 2) == once.intensity(inf, 2)


def test_modules_that_cannot_be_counted_are_refused() -> None:
    with pytest.raises(UserError, match=r"^0: Conv1d is not counted"):
        module_costs(nn.Sequential(nn.Conv1d(3, 8, 3)), (3, 8, 8))
    with pytest.raises(UserError, match="Sequential does not run on a stack of 3×8×8"):
        module_costs(nn.Sequential(nn.Conv2d(4, 8, 3)), (3, 8, 8))
