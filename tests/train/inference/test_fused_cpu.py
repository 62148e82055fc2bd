"""The machine code against PyTorch: all kinds of layers and vectors, floats and integers."""

import platform
from dataclasses import replace

import llvmlite.binding as llvm
import numpy as np
import pytest
import torch
from torch import nn

from textgen.common.errors import UserError
from train.data.sources import to_input
from train.folding.arithmetic import fold, unfold
from train.folding.slots import assemble_slots
from train.inference.cpu.codegen import generate_ir
from train.inference.cpu.fused import FusedCPU, host_target, optimise_ir, target_from_features
from train.inference.cpu.program import Target
from train.inference.cpu.quantization import HEADROOM
from train.inference.network import Network
from train.models.notation import build, parse

POOL = "3x3 strides 2,1,2"
FIVE, EIGHT = "C32 M B M C8 M F", "C32 M B M B M C8 M F"
PLAIN = Target(4, 16)  # 128-bit vectors without special instructions


def network(arch, pool, size, classes, f, *, slots=False, seed=0):
    torch.manual_seed(seed)
    layers = parse(arch, pool)
    net = build(layers, size=size, classes=classes, fold=f).eval()
    if slots:
        assemble_slots(build(layers, size=size, classes=classes, slot_of=f), net, f)
    return Network(net, arch, pool, size, tuple(map(str, range(classes))), f)


def crops(n, size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *size, 3), dtype=np.uint8)


@torch.no_grad()
def expected(network, images, clip=None):
    """Logits by PyTorch; `clip` limits the output of each ReLU."""
    f, n = network.fold, len(images)
    images = np.concatenate([images, np.repeat(images[-1:], -n % f, axis=0)])
    x, limits = fold(to_input(torch.from_numpy(images)), f), iter(clip or ())
    for layer in network.net.children():
        x = layer(x)
        if isinstance(layer, nn.ReLU) and clip:
            x = x.clamp(max=next(limits))
    return unfold(x, f).numpy()[:n]


def relative_error(found, wanted):
    return np.abs(found - wanted).max() / np.abs(wanted).max()


@pytest.mark.parametrize(
    ("arch", "pool", "size", "classes", "f", "n"),
    [
        (FIVE, POOL, (22, 52), 11, 1, 3),
        (FIVE, POOL, (22, 52), 11, 4, 6),
        (FIVE, POOL, (19, 25), 22, 3, 100),
        (EIGHT, POOL, (22, 30), 27, 2, 5),
        (FIVE, POOL, (22, 52), 111, 2, 1),
        (FIVE, "3x3 stride 1 padded", (15, 35), 62, 3, 4),
        ("C16 C16 M F128 F", "2x2 stride 2", (50, 50), 2, 2, 60),
        ("C7 M C5 C3 F9 F", "2x2 stride 2 padded", (9, 11), 3, 1, 30),
        ("C1 F", POOL, (1, 1), 1, 1, 2),
    ],
)
def test_float32_is_what_pytorch_computes(arch, pool, size, classes, f, n):
    net = network(arch, pool, size, classes, f)
    images = crops(n, size)
    found = FusedCPU(net)(images)
    assert found.shape == (n, classes)
    assert relative_error(found, expected(net, images)) < 1e-5


@pytest.mark.parametrize(("f", "precision", "within"), [(1, "int16", 5e-3), (2, "int16", 5e-3), (4, "int8", 0.1)])
def test_integers_are_close_and_slots_are_one_network(f, precision, within):
    net = network(FIVE, POOL, (19, 25), 22, f, slots=f > 1)
    images = crops(49, (19, 25))
    fused = FusedCPU(net, precision=precision, calibration=crops(40, (19, 25), 1))
    assert relative_error(fused(images), expected(net, images)) < within
    order = np.random.default_rng(0).permutation(len(images))
    np.testing.assert_array_equal(fused(images[order]), fused(images)[order])


@pytest.mark.parametrize("precision", ["int16", "int8"])
def test_activations_beyond_the_calibrated_range_are_clipped_without_overflow(precision):
    net = network(FIVE, POOL, (19, 25), 22, 1)
    for name, parameter in net.net.named_parameters():
        if name.endswith("bias"):
            parameter.data.zero_()
    grey = np.full((2, 19, 25, 3), 128, np.uint8) + crops(2, (19, 25)) // 64
    images, largest, x = crops(20, (19, 25)), [], to_input(torch.from_numpy(grey))
    with torch.no_grad():
        for layer in net.net.children():
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                largest.append(x.max().item() * (HEADROOM if precision == "int16" else 1))
    found = FusedCPU(net, precision=precision, calibration=grey)(images)
    wanted = expected(net, images, clip=largest)
    assert relative_error(wanted, expected(net, images)) > 0.1, "nothing was cut off"
    assert relative_error(found, wanted) < {"int16": 2e-2, "int8": 0.1}[precision]


@pytest.mark.parametrize(
    ("arch", "pool", "size"),
    [
        ("C16 C16 M F128 F", "2x2 stride 2", (50, 50)),
        ("C64 C64 M F32 F", "2x2 stride 2", (50, 50)),
        ("C8 F64 F", POOL, (40, 40)),
    ],
)
def test_int16_is_close_for_layers_of_ten_thousands_of_inputs_too(arch, pool, size):
    net, images = network(arch, pool, size, 2, 1), crops(40, size)
    fused = FusedCPU(net, precision="int16", calibration=crops(20, size, 1))
    assert relative_error(fused(images), expected(net, images)) < 2e-2


@torch.no_grad()
def test_no_sum_overflows_with_the_brightest_crops_and_a_large_layer():
    """Weights of one sign, whose rounding errors add up, and the largest activations."""
    net = network("C16 F", POOL, (50, 50), 3, 1)
    layers = dict(net.net.named_children())
    for name in ("conv1", "linear1"):
        layers[name].weight.abs_()
        layers[name].bias.abs_()
    dark, bright = np.full((2, 50, 50, 3), 120, np.uint8), np.full((2, 50, 50, 3), 255, np.uint8)
    largest = layers["relu1"](layers["conv1"](to_input(torch.from_numpy(dark)))).max().item() * HEADROOM
    found = FusedCPU(net, precision="int16", calibration=dark)(bright)
    assert relative_error(found, expected(net, bright, clip=[largest])) < 2e-2
    assert (found > 0).all()


@torch.no_grad()
def test_a_layer_that_is_dead_on_the_calibration_crops_is_not_dead_later():
    net = network("C8 C8 M F", POOL, (12, 16), 5, 1)
    layers = dict(net.net.named_children())
    dark, images = np.zeros((3, 12, 16, 3), np.uint8), crops(20, (12, 16))
    layers["conv1"].weight.abs_()
    layers["conv1"].bias.fill_(0.0)  # for black crops, -1 everywhere, every output is 0
    found = FusedCPU(net, precision="int16", calibration=dark)(images)
    seen = layers["conv2"].bias.max().item()  # the second layer's largest output
    assert relative_error(found, expected(net, images, clip=[HEADROOM, seen * HEADROOM])) < 2e-2


@torch.no_grad()
def test_int8_equals_the_same_computation_in_pytorch():
    """A convolution in int16, one in int8 and a linear layer in int8, recomputed with integers in PyTorch."""
    net = network("C5 C6 F", POOL, (4, 6), 3, 1)
    images, calibration = crops(30, (4, 6)), crops(50, (4, 6), 1)
    found = FusedCPU(net, precision="int8", calibration=calibration)(images)
    layers = dict(net.net.named_children())
    largest, x = [], to_input(torch.from_numpy(calibration))
    for layer in layers.values():
        x = layer(x)
        if isinstance(layer, nn.ReLU):
            largest.append(x.max().item())
    first, second = (value / 127 for value in largest)
    x = layers["relu1"](layers["conv1"](to_input(torch.from_numpy(images)).double().float()))
    x = (x / first).round().clamp(max=127).double()  # int16 is nearly as exact as float32
    for layer, unit, into in ((layers["conv2"], first, second), (layers["linear1"], second, None)):
        fine = layer.weight.abs().flatten(1).amax(1).double() / 64
        whole = (layer.weight.double() / fine.view(-1, *[1] * (layer.weight.ndim - 1))).round()
        bias = (layer.bias.double() / (unit * fine)).round()
        assert whole.abs().max() == 64
        if into is None:
            logits = nn.functional.linear(x.flatten(1), whole, bias) * (unit * fine)
        else:
            sums = nn.functional.conv2d(x, whole, bias, padding=1) * (unit * fine / into).view(-1, 1, 1)
            x = (sums + 0.5).floor().clamp(0, 127)
    assert relative_error(found, logits.numpy()) < 2e-2
    assert np.median(np.abs(found - logits.numpy())) < 1e-5, "in most images every number is rounded alike"


@pytest.mark.slow
def test_every_kind_of_vector_computes_the_same_integers():
    net = network("C20 M C9 M F", POOL, (12, 16), 5, 2)
    images, calibration = crops(51, (12, 16)), crops(8, (12, 16), 1)
    own = {host_target(), replace(host_target(), dpbusd=None), Target(16, 31)}
    for precision, targets in (("int16", {*own, Target(8, 12)}), ("int8", own)):
        plain = FusedCPU(net, precision=precision, calibration=calibration, target=PLAIN)(images)
        for target in targets:
            other = FusedCPU(net, precision=precision, calibration=calibration, target=target)(images)
            np.testing.assert_array_equal(plain, other)
    plain = FusedCPU(net, target=PLAIN)(images)
    assert relative_error(plain, expected(net, images)) < 1e-5


def test_threads_share_a_call_and_change_nothing():
    net = network("C8 M F", POOL, (12, 16), 5, 3)
    images = crops(301, (12, 16))
    one, three = FusedCPU(net), FusedCPU(net, threads=3)
    for n in (301, 100, 2, 1, 0):
        np.testing.assert_array_equal(one(images[:n]), three(images[:n]))


def test_a_view_of_a_larger_array_is_accepted():
    net = network("C8 M F", POOL, (12, 16), 5, 1)
    frames = crops(4, (30, 40))
    view = frames[:, 5:17, 3:19]
    assert relative_error(FusedCPU(net)(view), expected(net, np.ascontiguousarray(view))) < 1e-5


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the processors are of x86")
@pytest.mark.parametrize(
    ("cpu", "features", "vnni"),
    [
        ("haswell", ["avx2"], False),
        ("alderlake", ["avx2", "avxvnni"], True),
        ("skylake-avx512", ["avx2", "avx512bw"], False),
        ("icelake-server", ["avx2", "avx512bw", "avx512vnni"], True),
    ],
)
def test_vnni_instructions_are_used_where_the_processor_has_them(cpu, features, vnni):
    net = network("C16 M C16 F", POOL, (12, 16), 5, 1)
    machine = llvm.Target.from_default_triple().create_target_machine(cpu=cpu, opt=3)
    for precision, usual, with_vnni in (("int16", "vpmaddwd", "vpdpwssd"), ("int8", "vpmaddubsw", "vpdpbusd")):
        program = FusedCPU(net, precision=precision, calibration=crops(2, (12, 16)))._program
        code = optimise_ir(generate_ir(program, target_from_features(dict.fromkeys(features, True))), machine)
        found = machine.emit_assembly(code)
        assert (with_vnni in found) == vnni
        assert usual in found or vnni


def test_unsupported_networks_and_settings_are_named():
    size = (12, 16)
    with pytest.raises(UserError, match="does not begin with a convolution"):
        FusedCPU(network("M C8 F", "2x2 stride 2", size, 5, 1))
    net = network("C8 M F", POOL, size, 5, 3)
    with pytest.raises(UserError, match=r"precision=fp16: .* computes in fp32, int16, int8"):
        FusedCPU(net, precision="fp16")
    with pytest.raises(UserError, match=r"threads=0: .* give 1 or more"):
        FusedCPU(net, threads=0)
    with pytest.raises(ValueError, match="int16 needs calibration crops, 3 or more"):
        FusedCPU(net, precision="int16", calibration=crops(2, size))
    fused = FusedCPU(net)
    with pytest.raises(ValueError, match=r"crops are uint8 \(n, 12, 16, 3\), not float32"):
        fused(crops(2, size).astype(np.float32))
    with pytest.raises(ValueError, match=r"not uint8 \(2, 16, 12, 3\)"):
        fused(crops(2, (16, 12)))
