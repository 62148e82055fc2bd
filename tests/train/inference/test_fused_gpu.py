"""The fused kernel against eager PyTorch, interpreted on the CPU, and compiled for GPUs without one."""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from conftest import GAMES, load
from torch import Tensor, nn

from textgen.common.errors import UserError
from textgen.common.validation import validate
from textgen.schema.game import Game
from train.cost.intensity import network_cost
from train.folding.slots import assemble_slots
from train.inference.gpu.plan import build_kernel_plan
from train.inference.network import Network
from train.inference.network import load as load_network
from train.metrics.predict import predict
from train.models.notation import build, parse, size_layers

pytest.importorskip("triton", reason="the fused kernel is written in Triton, which exists for Linux only")

V, N = "3x3 strides 2,1,2", "2x2 stride 2"


def random_network(
    arch: str, pool: str, size: tuple[int, int], classes: int, fold: int, slots: bool = False
) -> Network:
    torch.manual_seed(0)
    layers = parse(arch, pool)
    net = build(layers, size=size, classes=classes, fold=fold)
    if slots:
        assemble_slots(build(layers, size=size, classes=classes, slot_of=fold), net, fold)
    return Network(net.eval(), arch, pool, size, tuple(map(str, range(classes))), fold)


def of_game(name: str, fold: int) -> Network:
    game = validate(Game, load("game", name))
    return random_network(game.arch, V, game.size, len(game.classes), fold)


def images_of(network: Network, n: int) -> Tensor:
    return torch.randint(0, 256, (n, *network.size, 3), dtype=torch.uint8)


def eager(network: Network, images: Tensor) -> Tensor:
    n = len(images)
    stacks = torch.arange(n + -n % network.fold).clamp(max=n - 1).view(-1, network.fold)
    return predict(network.net, images, stacks)


def fused(path: Path, images: Tensor, precision: str, device: str = "cpu") -> tuple[Tensor, int]:
    """Logits and images in a stack; called in a separate process."""
    torch.set_num_threads(1)
    from train.inference.gpu.fused import FusedNetwork  # noqa: PLC0415, triton looks at TRITON_INTERPRET here

    run = FusedNetwork(load_network(path), precision, device)  # type: ignore[arg-type]
    return run(images), run.fold


Fused = Callable[..., tuple[Tensor, int]]


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fused]:
    """`fused` in a process with Triton's interpreter; its exceptions are raised here."""
    path = tmp_path_factory.mktemp("fused") / "model.safetensors"
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TRITON_INTERPRET", "1")
            pool.submit(os.getpid).result()  # starts the process, with this environment

        def call(network: Network, images: Tensor, precision: str = "fp32", **more: str) -> tuple[Tensor, int]:
            path.write_bytes(network.to_bytes())
            return pool.submit(fused, path, images, precision, **more).result()

        yield call


def check(interpreted: Fused, network: Network, n: int, precision: str = "fp32") -> None:
    images = images_of(network, n)
    logits, fold = interpreted(network, images, precision)
    expected = eager(network, images)
    assert logits.dtype == torch.float32
    assert logits.shape == (n, len(network.classes))
    assert (logits - expected).abs().max() < (1e-4 if precision == "fp32" else 5e-3) * expected.abs().max()
    assert fold == network.fold


def test_a_network_of_a_game(interpreted: Fused) -> None:
    check(interpreted, of_game("apex_count", 4), 1)


@pytest.mark.slow
@pytest.mark.parametrize("fold", [1, 2, 3, 4])
def test_networks_of_every_game(interpreted: Fused, game_name: str, fold: int) -> None:
    check(interpreted, of_game(game_name, fold), 2 * fold + 1)


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["3x3 strides 2,1,2 padded", "3x3 stride 1"])
def test_networks_with_other_pools(interpreted: Fused, pool: str) -> None:
    check(interpreted, random_network("C32 M B M C8 M F", pool, (19, 25), 5, 2), 3)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("n", [1, 3, 8])
def test_incomplete_stacks_and_more_stacks_than_programs(interpreted: Fused, n: int, precision: str) -> None:
    check(interpreted, random_network("C8 M C8 M F", V, (11, 13), 5, 3), n, precision)


@pytest.mark.parametrize(
    ("arch", "pool", "fold"),
    [
        ("C80 M C8 F20 F7 F", N, 1),  # more channels than a tile has
        ("M C8 M M F", "2x2 stride 1", 2),  # pools by themselves
        ("C8 M C8 M F", "3x3 strides 2,1,2 padded", 4),
        ("F9 F", N, 6),  # 18 channels and no convolution
    ],
)
def test_layers_in_any_order(interpreted: Fused, arch: str, pool: str, fold: int) -> None:
    check(interpreted, random_network(arch, pool, (7, 10), 3, fold), 2)


def test_a_pool_in_strips(interpreted: Fused) -> None:
    network = random_network("C400 M F", "4x4 stride 4", (9, 13), 3, 1)
    plan = build_kernel_plan(size_layers(parse(network.arch, network.pool), size=network.size, classes=3), 1)
    assert [step.strips for step in plan.steps] == [2, 1]
    check(interpreted, network, 1)


def test_slots_run_as_their_narrow_network(interpreted: Fused) -> None:
    network = random_network("C8 M C8 M F", V, (11, 13), 5, 4, slots=True)
    images = images_of(network, 6)
    logits, fold = interpreted(network, images)
    assert fold == 1
    torch.testing.assert_close(logits, eager(network, images), rtol=1e-4, atol=1e-5)


def test_wrong_images_settings_and_networks_are_refused(interpreted: Fused) -> None:
    network = random_network("C8 M F", N, (8, 9), 3, 2)
    assert interpreted(network, images_of(network, 0))[0].shape == (0, 3)
    for wrong in (torch.zeros(2, 9, 8, 3, dtype=torch.uint8), torch.zeros(2, 8, 9, 3), images_of(network, 2)[0]):
        with pytest.raises(ValueError, match=r"crops are uint8 \(n, 8, 9, 3\), not"):
            interpreted(network, wrong)
    with pytest.raises(UserError, match=r"device=cuda: .* TRITON_INTERPRET"):
        interpreted(network, images_of(network, 2), device="cuda")
    with pytest.raises(UserError, match="precision=int8"):
        interpreted(network, images_of(network, 2), "int8")
    resized = random_network("R8x9 C8 M F", N, (16, 18), 3, 1)
    with pytest.raises(UserError, match="the fused kernel has no R8x9"):
        interpreted(resized, images_of(resized, 1))


@pytest.fixture(scope="module")
def kernels() -> ModuleType:
    """The kernels for compilation, not interpreted."""
    from train.inference.gpu import fused  # noqa: PLC0415

    return fused


def test_networks_in_training_are_refused_by_name(kernels: ModuleType) -> None:
    given: dict[str, Any] = {"size": (8, 9), "classes": 3}
    network = random_network("C8 M F", N, (8, 9), 3, 1)
    normed = build(parse("C8 M F", N), **given, norm=True)
    with pytest.raises(UserError, match="the fused kernel has no PositiveBatchNorm"):
        kernels.resources(Network(normed, *vars_of(network)))
    wide = build(parse("C16 M F", N), **given)
    with pytest.raises(UserError, match=r"conv1 with weights \(8, 3, 3, 3\) and a bias, not \(16, 3, 3, 3\), a bias"):
        kernels.resources(Network(wide, *vars_of(network)))
    with pytest.raises(UserError, match="has no Softmax"):
        kernels.resources(Network(nn.Sequential(network.net, nn.Softmax(1)), *vars_of(network)))
    with pytest.raises(UserError, match=r"device=cpu: .* TRITON_INTERPRET"):
        kernels.FusedNetwork(network, device="cpu")


def vars_of(network: Network) -> tuple[Any, ...]:
    return network.arch, network.pool, network.size, network.classes, network.fold


def test_it_compiles_for_an_h100(kernels: ModuleType) -> None:
    network = random_network("C32 M C32 M F", V, (22, 52), 11, 4)
    found = kernels.resources(network, "fp16", 90)
    assert found.stack == 0  # nothing is spilled
    assert found.registers * 128 * kernels.PROGRAMS <= 65536
    assert found.shared * kernels.PROGRAMS <= 227 * 1024


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "capability"), [("fp16", 70), ("fp16", 75), ("fp16", 80), ("fp16", 90), ("fp32", 90)]
)
@pytest.mark.parametrize("name", ["lol_gold1", "sot_time"])
def test_it_compiles_for_gpus(kernels: ModuleType, name: str, precision: str, capability: int) -> None:
    found = kernels.resources(of_game(name, 4), precision, capability)
    print(name, precision, capability, found)
    assert found.stack == 0
    assert found.registers * 128 * kernels.PROGRAMS <= 65536


def test_maps_of_a_step_do_not_overlap() -> None:
    for name in GAMES:
        game = validate(Game, load("game", name))
        for fold in (1, 2, 3, 4):
            layers = size_layers(parse(game.arch, V), size=game.size, classes=len(game.classes), fold=fold)
            plan = build_kernel_plan(layers, fold)
            for step in plan.steps[:-1]:
                conv, pool = step.convolution, step.pooling
                assert conv is not None
                used = [
                    (conv.source, conv.height * conv.width * conv.c_in),
                    (conv.target, conv.rows * conv.width * conv.c_out),
                ]
                if pool is not None:
                    assert conv.target == pool.source
                    used.append((pool.target, pool.out_height * pool.out_width * pool.channels))
                ends = [0, *(end for start, size in sorted(used) for end in (start, start + size)), plan.scratch]
                assert ends == sorted(ends)
                assert all(start % 16 == 0 for start, _ in used)


@pytest.mark.parametrize(
    ("name", "fold", "intensity"),
    [("lol_gold1", 1, 4791), ("lol_gold1", 4, 5362), ("sot_time", 1, 6930), ("sot_time", 4, 7478)],
)
def test_intensity_of_the_documentation(name: str, fold: int, intensity: int) -> None:
    """docs/explanation/gpu_kernel.md: operations for an image divided by the bytes of its pixels and logits."""
    game = validate(Game, load("game", name))
    classes = len(game.classes)
    cost = network_cost(parse(game.arch, V), size=game.size, classes=classes, fold=fold, form="dense")
    assert round(cost.operations() / (3 * game.size[0] * game.size[1] + 4 * classes)) == intensity
