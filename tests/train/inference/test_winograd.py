"""Winograd's F(2×2, 3×3) against the direct convolution."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from train.cost.intensity import convolution
from train.folding.slots import assemble_slots
from train.inference.winograd import WinogradConv, with_winograd
from train.models.notation import build, parse

FIVE = "C32 M B M C8 M F"


@given(
    h=st.integers(1, 9),
    w=st.integers(1, 9),
    groups=st.integers(1, 3),
    c=st.integers(1, 5),
    o=st.integers(1, 5),
    bias=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_it_equals_the_direct_convolution(h, w, groups, c, o, bias):
    torch.manual_seed(0)
    conv = nn.Conv2d(c * groups, o * groups, 3, padding=1, groups=groups, bias=bias)
    x = torch.randn(2, c * groups, h, w)
    torch.testing.assert_close(WinogradConv(conv)(x), conv(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("f", [1, 3, 4])
def test_a_folded_network_computes_the_same(f):
    torch.manual_seed(0)
    layers = parse(FIVE, "3x3 strides 2,1,2")
    net = build(layers, size=(22, 52), classes=11, fold=f).eval()
    if f == 4:
        assemble_slots(build(layers, size=(22, 52), classes=11, slot_of=f), net, f)
    x = torch.rand(3, 3 * f, 22, 52) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(with_winograd(net)(x), net(x), rtol=1e-4, atol=1e-5)
    assert any(isinstance(layer, nn.Conv2d) for layer in net.modules()), "the given network stays"


def test_its_multiplications_are_those_of_the_cost_table():
    conv = WinogradConv(nn.Conv2d(6, 10, 3, padding=1, bias=False))
    with FlopCounterMode(display=False) as counted:
        conv(torch.zeros(1, 6, 8, 11))
    cost = convolution("conv1", 6, 10, (8, 11))
    tiles = 4 * 6
    assert counted.get_total_flops() == cost.winograd - tiles * (32 * 6 + 24 * 10) == 2 * 16 * tiles * 60


def test_other_convolutions_are_left_unchanged():
    with pytest.raises(ValueError, match="stride 1 and padding 1"):
        WinogradConv(nn.Conv2d(3, 4, 3, padding=1, stride=2))
    with pytest.raises(ValueError, match="by zeros"):
        WinogradConv(nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"))
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.Conv2d(4, 4, 3, padding=1)))
    changed = with_winograd(net)
    assert isinstance(changed[0], nn.Conv2d)
    assert isinstance(changed[1][0], WinogradConv)
