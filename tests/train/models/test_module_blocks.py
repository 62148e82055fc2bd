"""Shared blocks in modules that the notation cannot express: what slots share, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from textgen.common.errors import UserError
from train import compose
from train.config.recipe import Recipe, fit_recipe
from train.folding.arithmetic import fold, unfold
from train.folding.fold_model import fold_model, slot_model
from train.folding.own_module import OwnModule
from train.models.resnet import resnet18
from train.models.training_layers import SharedBlock, combine_shared, share_blocks
from train.trainer.network_variants import TrainingNetworks
from train.trainer.optimizers import build_optimizers

SIZE = (3, 16, 16)


class Depthwise(nn.Module):
    """Convolutions of every kind, one without a bias, and a tensor outside of layers."""

    def __init__(self) -> None:
        super().__init__()
        self.full = nn.Conv2d(3, 24, 3, padding="same")
        self.depthwise = nn.Conv2d(24, 48, 3, stride=2, padding=2, dilation=2, groups=24, bias=False)
        self.norm = nn.BatchNorm2d(48)
        self.point = nn.Conv2d(48, 40, 1)
        self.scale = nn.Parameter(torch.full((40, 1, 1), 0.5))
        self.linear = nn.Linear(40 * 9, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.depthwise(self.full(x))))
        x = functional.adaptive_avg_pool2d(torch.relu(self.point(x)) * self.scale, 3)
        return self.linear(torch.flatten(x, 1))  # type: ignore[no-any-return]


def small_resnet() -> nn.Module:
    return resnet18(10, width=5)  # ⌊5·√2⌋ = 7 and ⌊5·√3⌋ = 8: channels that slots do not fill


def stacks(f: int, count: int = 6) -> tuple[Tensor, Tensor]:
    images = torch.randn(count * f, *SIZE, generator=torch.Generator().manual_seed(1))
    return images, fold(images, f)


def shared(create: Callable[[], nn.Module], f: int) -> tuple[nn.Module, nn.Module, nn.Module]:
    """The folded network, that of one slot, and the one that is trained."""
    torch.manual_seed(0)
    folded, narrow = fold_model(create(), f, SIZE), slot_model(create(), f, SIZE)
    return folded, narrow, share_blocks(folded, narrow, f)


def recipe(f: int, *settings: str) -> Recipe:
    config = compose("game=sot_time", f"fold={f}", *settings)["recipe"]
    return fit_recipe(config, game="x", fold=f, train_images=64, module=True)


def shake(net: nn.Module) -> None:
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(0.1 * torch.randn_like(weight))


@pytest.mark.parametrize("f", [2, 3, 4])
@pytest.mark.parametrize("create", [small_resnet, Depthwise])
def test_training_begins_with_f_copies_of_the_network_of_a_slot(create: Callable[[], nn.Module], f: int) -> None:
    """Each image of a stack gets the logits that it gets alone, though no layer is block-diagonal by construction."""
    _, narrow, trained = shared(create, f)
    images, x = stacks(f)
    torch.testing.assert_close(unfold(trained.eval()(x), f), narrow.eval()(images), rtol=1e-4, atol=1e-5)
    layers = [layer for layer in trained.modules() if isinstance(layer, SharedBlock)]
    expected = [layer for layer in create().modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert len(layers) == len(expected)


@pytest.mark.parametrize("f", [2, 3, 4])
@pytest.mark.parametrize("create", [small_resnet, Depthwise])
def test_the_plain_network_computes_what_the_trained_one_does(create: Callable[[], nn.Module], f: int) -> None:
    folded, _, trained = shared(create, f)
    _, x = stacks(f)
    shake(trained)
    trained.train()(x)  # statistics of the norms
    combine_shared(trained, folded)
    torch.testing.assert_close(folded.eval()(x), trained.eval()(x), rtol=1e-4, atol=1e-4)
    sizes = {name: tensor.shape for name, tensor in fold_model(create(), f, SIZE).state_dict().items()}
    assert {name: tensor.shape for name, tensor in folded.state_dict().items()} == sizes


@pytest.mark.parametrize("average", [0.0, 0.5])
@pytest.mark.parametrize("f", [2, 4])
def test_a_module_is_trained_averaged_and_continued(f: int, average: float) -> None:
    own = OwnModule("resnet18", {"width": 5})
    classes, cpu = tuple("0123456789"), torch.device("cpu")
    start = own.build(size=SIZE[1:], classes=10, fold=f)
    _, x = stacks(f)
    start.train()(x)
    of = recipe(f, "recipe=finetune", f"recipe.ema_decay={average}")
    nets = TrainingNetworks.build(own, size=SIZE[1:], classes=classes, f=f, recipe=of, device=cpu, start=start)
    assert any(isinstance(layer, SharedBlock) for layer in nets.trained.modules())
    nets.fuse()
    torch.testing.assert_close(nets.plain.eval()(x), start.eval()(x), rtol=1e-4, atol=1e-4)

    nets.trained.train()(x).square().mean().backward()
    for optimizer in build_optimizers(nets.trained, of).values():
        optimizer.step()
    nets.update_average()
    nets.fuse()
    result = nets.trained if nets.averaged is None else nets.averaged.module
    torch.testing.assert_close(nets.assemble().eval()(x), result.eval()(x), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(nets.assemble()(x), start(x), rtol=1e-4, atol=1e-4)


class Branches(nn.Module):
    """Two convolutions whose outputs go through `join` to the last layer."""

    def __init__(self, join: Callable[[Tensor, Tensor], Tensor], features: int) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(3, 8, 3, padding=1)
        self.join = join
        self.linear = nn.Linear(features, 5)

    def forward(self, x: Tensor) -> Tensor:
        joined = self.join(self.a(x), self.b(x))
        return self.linear(torch.flatten(functional.adaptive_avg_pool2d(joined, 1), 1))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("join", "features", "says"),
    [
        (lambda a, b: torch.cat([a, b], 1), 16, "cat reorders channels"),
        (lambda a, b: (a + b).chunk(2, 1)[0], 4, "chunk reorders channels"),
        (lambda a, b: nn.functional.relu(a + b)[:, : a.shape[1] // 2], 4, "getitem takes some of the channels"),
    ],
)
def test_a_network_that_reorders_channels_has_no_slots(
    join: Callable[[Tensor, Tensor], Tensor], features: int, says: str
) -> None:
    with pytest.raises(UserError, match=says):
        slot_model(Branches(join, features), 4, SIZE)


def test_operations_on_each_channel_leave_slots_alone() -> None:
    narrow = slot_model(Branches(lambda a, b: (a * torch.softmax(b, 1))[..., ::2], 8), 4, SIZE)
    assert {name: tuple(weight.shape) for name, weight in narrow.named_parameters() if weight.ndim > 1} == {
        **dict.fromkeys(("a.weight", "b.weight"), (4, 3, 3, 3)),
        "linear.weight": (5, 4),
    }


def test_layers_that_slots_cannot_share_stay() -> None:
    """Groups lie across slots, and so does what all images of a stack pass through."""
    create = lambda: nn.Sequential(  # noqa: E731
        nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=2), nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5),
    )  # fmt: skip
    _, _, trained = shared(create, 4)
    kinds = [type(layer).__name__ for name, layer in trained.named_children() if name in "0125"]
    assert kinds == ["SharedBlock", "Conv2d", "Conv2d", "SharedBlock"]


def test_recipes_have_shared_blocks_for_stacks_of_modules() -> None:
    assert (recipe(4).shared_block, recipe(4).free_lr) == (True, 0.001)
    assert not recipe(1).shared_block
    assert not recipe(4, "recipe=paper").shared_block
    assert not recipe(4, "recipe.shared_block=false").shared_block
