"""The paper's notation and the networks that it builds."""

import pytest
import torch
from torch import nn

from textgen.common.errors import UserError
from train.models.notation import Conv, Linear, Pool, build, initialise, parse, size_layers

V = "3x3 strides 2,1,2"


def test_the_architectures_of_the_paper() -> None:
    five = parse("C32 M B M C8 M F", V)
    assert [layer for layer in five if isinstance(layer, Conv)] == [Conv(32)] * 4 + [Conv(8)]
    assert [layer for layer in five if isinstance(layer, Pool)] == [Pool(3, 2, 0), Pool(3, 1, 0), Pool(3, 2, 0)]
    eight = parse("C32 M B M B M C8 M F", V)
    assert sum(isinstance(layer, Conv) for layer in eight) == 8  # Table 1
    assert [layer.stride for layer in eight if isinstance(layer, Pool)] == [2, 1, 1, 2]
    n3 = parse("C32 C32 M C64 C64 M F32 F", "2x2 stride 2")
    assert n3[-2:] == (Linear(32), Linear(None))
    assert n3[2] == Pool(2, 2, 0)


def test_pools_of_the_other_readings() -> None:
    assert parse("C8 M F", "3x3 stride 1")[1] == Pool(3, 1, 0)
    assert parse("C8 M M M F", "3x3 strides 2,1,2 padded")[1:4] == (Pool(3, 2, 1), Pool(3, 1, 1), Pool(3, 2, 1))


@pytest.mark.parametrize(
    ("arch", "pool", "word"),
    [
        ("C32 X F", V, "'X'"),
        ("C0 F", V, "'C0'"),
        ("C32 M", V, "one bare F ends it"),
        ("F C32 F", V, "convolutions and pools come first"),
        ("F32 M F", V, "convolutions and pools come first"),
        ("", V, "one bare F"),
        ("C32 F F", V, "one bare F"),
        ("C32 M F", "3x2 stride 1", "3x2 stride 1"),
        ("C32 M F", "big", "'big'"),
    ],
)
def test_a_wrong_word_is_named(arch: str, pool: str, word: str) -> None:
    with pytest.raises(UserError, match=word):
        parse(arch, pool)


def test_images_too_small_for_the_pools_are_refused() -> None:
    with pytest.raises(UserError, match="8×8 are too small"):
        build(parse("C32 M B M B M C8 M F", V), size=(8, 8), classes=3)


def test_reference_init_is_xavier_with_small_linear_weights_and_no_biases() -> None:
    torch.manual_seed(0)
    net = build(parse("C32 M B M C8 M F", V), size=(22, 52), classes=11)
    initialise(net, "reference")
    for layer in net:
        if isinstance(layer, nn.Conv2d):
            bound = 2**0.5 * (6 / (9 * (layer.in_channels + layer.out_channels))) ** 0.5
            assert 0.9 * bound < layer.weight.abs().max() <= bound
        if isinstance(layer, nn.Linear):
            assert 0.008 < layer.weight.std() < 0.012
        if isinstance(layer, nn.Conv2d | nn.Linear):
            assert not layer.bias.any()


@pytest.mark.parametrize(("fold", "parameters"), [(1, 33_867), (4, 150_268)])
def test_parameters_of_v1_are_pinned(fold: int, parameters: int) -> None:
    net = build(parse("C32 M B M C8 M F", V), size=(22, 52), classes=11, fold=fold)
    assert sum(p.numel() for p in net.parameters()) == parameters


@pytest.mark.parametrize("pool", [V, "3x3 strides 2,1,2 padded", "2x2 stride 2"])
def test_norm_and_relu_after_a_pool_compute_the_same_and_have_the_same_gradient(pool: str) -> None:
    torch.manual_seed(0)
    layers = parse("C8 M C8 C8 M F16 F", pool)
    norm_first, pool_first = (build(layers, size=(21, 24), classes=3, pool_first=flag) for flag in (False, True))
    assert [name for name, _ in pool_first.named_children()][:3] == ["conv1", "pool1", "relu1"]
    pool_first.load_state_dict(norm_first.state_dict())
    x = torch.randn(5, 3, 21, 24)
    outputs = [net(x) for net in (norm_first, pool_first)]
    assert torch.equal(*outputs)
    for output in outputs:
        output.square().sum().backward()
    for one, other in zip(norm_first.parameters(), pool_first.parameters(), strict=True):
        assert one.grad is not None
        assert torch.equal(one.grad, other.grad)


@pytest.mark.parametrize("shape", [{"fold": 3}, {"slot_of": 3}, {"widen_last": 4}, {"fold": 2, "norm": True}])
def test_sizes_by_arithmetic_are_those_of_the_network_that_is_built(shape: dict[str, int]) -> None:
    layers, size = parse("C8 M C8 C4 M F16 F", V), (21, 24)
    net = build(layers, size=size, classes=3, **shape)  # type: ignore[arg-type]
    plan = size_layers(layers, size=size, classes=3, **{key: value for key, value in shape.items() if key != "norm"})
    outputs, x = {}, torch.zeros(1, plan[0].input[0], *size)
    for name, layer in net.named_children():
        x = layer(x)
        outputs[name] = (*x.shape[1:], 1, 1)[:3]
    assert {at.name: at.output for at in plan} == {at.name: outputs[at.name] for at in plan}
    assert [at.name for at in plan] == [name for name in outputs if name[:4] in ("conv", "pool", "line")]
