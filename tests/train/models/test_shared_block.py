"""Training on stacks: a block that all slots share, free weights beside it, and what becomes of both."""

from itertools import permutations

import pytest
import torch
from torch import Tensor, nn

from textgen.common.errors import UserError
from textgen.spec.label_fields import LabelFields
from train import compose
from train.config.recipe import Recipe, fit_recipe
from train.folding.arithmetic import fold, unfold
from train.folding.slots import assemble_slots
from train.models.notation import build, parse
from train.models.training_layers import AuxiliaryHead, SharedBlock, reparameterise, shared_characters
from train.runs.checks import check_slots
from train.trainer.network_variants import TrainingNetworks
from train.trainer.optimizers import build_optimizers, join_slots, split_slots

LAYERS, SIZE, CLASSES = parse("C8 M C8 M C7 F20 F", "3x3 strides 2,1,2"), (24, 30), ("1", "2", "12", "21", "other")


def recipe(f: int, *settings: str) -> Recipe:
    return fit_recipe(compose("game=sot_time", f"fold={f}", *settings)["recipe"], game="x", fold=f, train_images=64)


def networks(f: int, *settings: str, start: nn.Module | None = None) -> TrainingNetworks:
    torch.manual_seed(0)
    cpu = torch.device("cpu")
    of = recipe(f, *settings)
    return TrainingNetworks.build(
        LAYERS, size=SIZE, fields=LabelFields.single(CLASSES), f=f, recipe=of, device=cpu, start=start
    )


def stacks(f: int, count: int = 8) -> Tensor:
    return fold(torch.randn(count * f, 3, *SIZE, generator=torch.Generator().manual_seed(1)), f)


def shake(net: nn.Module, size: float = 0.1) -> None:
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(size * torch.randn_like(weight))


@pytest.mark.parametrize("f", [2, 3, 4])
def test_the_plain_network_computes_what_the_trained_one_does(f: int) -> None:
    nets = networks(f)
    shake(nets.trained)
    x = stacks(f)
    for _ in range(3):
        nets.trained(x)  # statistics of the norms
    nets.trained.eval()
    logits, auxiliary = nets.trained(x)
    nets.fuse()
    assert logits.shape == auxiliary.shape == (8, f * len(CLASSES))
    torch.testing.assert_close(nets.plain(x), logits, rtol=1e-4, atol=1e-4)
    plain = build(LAYERS, size=SIZE, classes=len(CLASSES), fold=f)
    assert [name for name, _ in nets.folded.named_parameters()] == [name for name, _ in plain.named_parameters()]


@pytest.mark.parametrize("f", [2, 3, 4])
def test_without_steps_of_free_weights_all_slots_are_one_network(f: int) -> None:
    """But for channels that they do not fill, which no other reads then."""
    nets = networks(f, "recipe.free_lr=0")
    optimizers = build_optimizers(nets.trained, recipe(f, "recipe.free_lr=0"))
    labels = torch.arange(8 * f) % len(CLASSES)
    for _ in range(3):
        nets.trained.zero_grad()
        sum(nn.functional.cross_entropy(unfold(head, f), labels) for head in nets.trained(stacks(f))).backward()
        for optimizer in optimizers.values():
            optimizer.step()
    nets.fuse()
    images = torch.randn(f, 3, *SIZE)
    expected = unfold(nets.plain(fold(images, f)), f)
    for order in permutations(range(f)):
        found = unfold(nets.plain(fold(images[list(order)], f)), f)
        torch.testing.assert_close(found, expected[list(order)], rtol=1e-4, atol=1e-5)


def test_free_weights_join_slots_and_take_steps_as_much_shorter() -> None:
    def change(free_lr: float) -> dict[str, Tensor]:
        nets = networks(4, f"recipe.free_lr={free_lr}", "recipe.muon_weight_decay=1e-9")
        before = {name: weight.clone() for name, weight in nets.trained.named_parameters()}
        optimizers = build_optimizers(nets.trained, recipe(4, f"recipe.free_lr={free_lr}"))
        nn.functional.cross_entropy(unfold(nets.trained(stacks(4))[0], 4), torch.arange(32) % 5).backward()
        for optimizer in optimizers.values():
            optimizer.step()
        return {name: weight.detach() - before[name] for name, weight in nets.trained.named_parameters()}

    short, long = change(0.1), change(1.0)
    weight = "net.conv2.weight"
    assert weight in short  # between slots too:
    assert short[weight][:4, 4:8].any()
    torch.testing.assert_close(short[weight], 0.1 * long[weight])
    torch.testing.assert_close(short["net.conv2.block.weight"], long["net.conv2.block.weight"], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("f", [2, 3, 4])
def test_slots_in_shared_blocks_are_the_assembled_network(f: int) -> None:
    """The shared block alone is what `assemble_slots` makes of one narrow network."""
    torch.manual_seed(2)
    trained = build(LAYERS, size=SIZE, classes=5, fold=f, shared_block=True)
    narrow, folded = (build(LAYERS, size=SIZE, classes=5, **{key: f}) for key in ("slot_of", "fold"))
    with torch.no_grad():
        for name, weight in narrow.named_parameters():
            layer, _, kind = name.rpartition(".")
            weight.copy_(trained.get_parameter(f"{layer}.block.{kind}"))
    assemble_slots(narrow, folded, f)
    torch.testing.assert_close(trained(stacks(f)), folded(stacks(f)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("f", [2, 3, 4])
def test_training_goes_on_from_any_network(f: int) -> None:
    torch.manual_seed(3)
    start = build(LAYERS, size=SIZE, classes=len(CLASSES), fold=f)
    nets = networks(f, "recipe=finetune", start=start)
    nets.fuse()
    torch.testing.assert_close(nets.plain(stacks(f)), start(stacks(f)), rtol=1e-4, atol=1e-5)
    block = nets.trained.get_submodule("conv2")
    assert isinstance(block, SharedBlock)
    o, i = block.block.weight.shape[:2]
    means = sum(start.get_parameter("conv2.weight")[j * o : (j + 1) * o, j * i : (j + 1) * i] for j in range(f)) / f
    torch.testing.assert_close(block.block.weight, means)


@pytest.mark.parametrize(("f", "shape"), [(2, (45, 22, 3, 3)), (3, (13, 55, 3, 3)), (4, (64, 12, 3, 3)), (1, (5, 7))])
def test_blocks_of_slots_are_joined_as_they_were_split(f: int, shape: tuple[int, ...]) -> None:
    weight = torch.randn(shape)
    blocks = split_slots(weight, f)
    torch.testing.assert_close(join_slots(blocks, shape), weight)
    o, i = shape[0] // f, shape[1] // f
    assert blocks.shape[1:3] == (o, i)
    torch.testing.assert_close(blocks[1 if f > 1 else 0][:, :], weight[:o, i : 2 * i] if f > 1 else weight)


@pytest.mark.parametrize("f", [2, 3, 4])
def test_every_weight_learns_channels_that_the_slots_do_not_fill_too(f: int) -> None:
    nets, of = networks(f), recipe(f, "recipe.free_lr=1")
    before = {name: weight.clone() for name, weight in nets.trained.named_parameters()}
    optimizers = build_optimizers(nets.trained, of)
    labels = torch.arange(8 * f) % len(CLASSES)
    for _ in range(3):  # a layer learns of unfilled channels once the next one uses them
        nets.trained.zero_grad()
        nn.functional.cross_entropy(unfold(nets.trained(stacks(f))[0], f), labels).backward()
        for optimizer in optimizers.values():
            optimizer.step()
    for name, weight in nets.trained.named_parameters():
        if name.startswith("net.conv") and weight.ndim > 1 and "block" not in name:
            rows = (weight != before[name]).flatten(1).any(1)
            assert rows.all(), name


def test_aids_of_single_images_work_for_each_slot() -> None:
    nets = networks(4)
    assert isinstance(nets.trained, AuxiliaryHead)
    last = nets.trained.net.get_submodule("linear2")
    assert isinstance(last, SharedBlock)
    shares = shared_characters(CLASSES)
    assert shares is not None
    assert last.block.get_buffer("shares").equal(shares)


def test_blocks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        SharedBlock(nn.Conv2d(3, 4, 3), 3, 9, 10)
    with pytest.raises(ValueError, match="shared blocks"):
        build(LAYERS, size=SIZE, classes=5, fold=2, shares=torch.ones(5, 1))


def test_an_average_of_a_network_with_shared_blocks_is_merged_too() -> None:
    nets = networks(2, "recipe.ema_decay=0.5")
    shake(nets.trained)
    nets.update_average()
    nets.fuse()
    assert nets.averaged is not None
    plain = build(LAYERS, size=SIZE, classes=len(CLASSES), fold=2)
    reparameterise(nets.averaged.module, plain)
    torch.testing.assert_close(plain(stacks(2)), nets.plain(stacks(2)))


def test_too_few_channels_for_the_slots_are_refused_in_one_line() -> None:
    with pytest.raises(UserError, match=r"conv1 has 2 channels, too few for 6 slots.*recipe\.shared_block=false"):
        check_slots(parse("C1 C8 F", "3x3 stride 2"), SIZE, 5, 6)
    check_slots(parse("C3 C8 F", "3x3 stride 2"), SIZE, 5, 6)
