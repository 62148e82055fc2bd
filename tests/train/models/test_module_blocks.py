"""Shared blocks in modules that the notation cannot express: what slots share, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from textgen.common.errors import UserError
from textgen.spec.label_fields import LabelFields
from train import compose
from train.config.recipe import Recipe, fit_recipe
from train.folding.arithmetic import fold, unfold
from train.folding.fold_model import fold_model, slot_model
from train.folding.own_module import OwnModule
from train.models.resnet import resnet18
from train.models.shared_modules import combine_shared, share_blocks
from train.models.training_layers import SharedBlock
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
    return folded, narrow, share_blocks(folded, narrow, f, SIZE)


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
def test_training_can_begin_with_a_trained_network_of_a_slot(f: int) -> None:
    torch.manual_seed(0)
    images, x = stacks(f)
    for create in (small_resnet, Depthwise):
        folded, narrow = fold_model(create(), f, SIZE), slot_model(create(), f, SIZE)
        shake(narrow)
        narrow.train()(images)  # statistics of norms, also other ones in the folded network:
        folded.train()(x)
        trained = share_blocks(folded, narrow, f, SIZE)
        torch.testing.assert_close(unfold(trained.eval()(x), f), narrow.eval()(images), rtol=1e-3, atol=1e-4)


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
    nets = TrainingNetworks.build(
        own, size=SIZE[1:], fields=LabelFields.single(classes), f=f, recipe=of, device=cpu, start=start
    )
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


class Between(nn.Module):
    """A convolution, `operation`, and the last layer, which takes `features`."""

    def __init__(self, operation: Callable[[Tensor], Tensor], features: int, inner: nn.Module | None = None) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 16, 3, padding=1), nn.Linear(features, 5)
        self.inner, self.operation = inner or nn.Identity(), operation

    def forward(self, x: Tensor) -> Tensor:
        x = self.operation(self.inner(self.first(x)))
        return self.last(torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1))  # type: ignore[no-any-return]


def between(operation: Callable[[Tensor], Tensor], features: int = 16) -> Callable[[], nn.Module]:
    return lambda: Between(operation, features)


def inside(create: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: Between(torch.relu, 16, create())


@pytest.mark.parametrize("f", [2, 3, 4])
@pytest.mark.parametrize(
    "create",
    [
        between(lambda x: x[..., ::2]),
        between(lambda x: x.transpose(2, 3)),
        between(lambda x: torch.cat([x, x], 2)),
        between(lambda x: (x.flatten(2) * x.flatten(2).softmax(2)).view(-1, 16, 16, 16)),
        inside(lambda: nn.PReLU(16)),
        inside(lambda: nn.Sequential(nn.Conv2d(16, 10, 1), nn.Conv2d(10, 16, 3, padding=1, bias=False))),
    ],
)
def test_operations_on_each_channel_leave_slots_alone(create: Callable[[], nn.Module], f: int) -> None:
    _, narrow, trained = shared(create, f)
    images, x = stacks(f)
    torch.testing.assert_close(unfold(trained.eval()(x), f), narrow.eval()(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "create",
    [
        between(lambda x: torch.softmax(x, 1)),
        between(lambda x: x * torch.sigmoid(x.mean(1, keepdim=True))),
        inside(lambda: nn.GroupNorm(1, 16)),
        inside(lambda: nn.Linear(16, 16)),  # of the positions in a row
    ],
)
def test_what_mixes_all_images_alike_is_no_obstacle(create: Callable[[], nn.Module]) -> None:
    _, _, trained = shared(create, 4)
    assert isinstance(trained.get_submodule("first"), SharedBlock)
    images = torch.randn(4, *SIZE)
    expected = unfold(trained.eval()(fold(images, 4)), 4)
    torch.testing.assert_close(unfold(trained(fold(images.flip(0), 4)), 4), expected.flip(0), rtol=1e-4, atol=1e-5)


def split_in_half(x: Tensor) -> Tensor:
    half = x.chunk(2, 1)
    return half[0] * torch.sigmoid(half[1])


@pytest.mark.parametrize(
    ("create", "says"),
    [
        (between(lambda x: torch.cat([x, -x], 1), 32), "an operation moves or mixes channels, as torch.cat does"),
        (between(split_in_half, 8), "an operation moves or mixes channels"),
        (between(lambda x: functional.pad(x, (0, 0, 0, 0, 0, x.shape[1])), 32), "an operation moves or mixes channels"),
        (inside(lambda: nn.LocalResponseNorm(5, alpha=1.0)), "an operation moves or mixes channels"),
        (inside(lambda: nn.Conv2d(16, 16, 3, groups=2)), "as inner cannot be shared"),
        (inside(lambda: nn.Conv2d(16, 16, 3, padding=1, padding_mode="reflect")), "as inner cannot be shared"),
        (inside(lambda: nn.ConvTranspose2d(16, 16, 2)), "as inner cannot be shared"),
        (inside(lambda: nn.Sequential(nn.Conv2d(16, 1, 1), nn.Conv2d(1, 16, 1))), r"as inner\.0, inner\.1 cannot"),
    ],
)
def test_slots_that_are_not_alike_are_refused(create: Callable[[], nn.Module], says: str) -> None:
    with pytest.raises(UserError, match=f"the images of a stack would not be treated alike, as.*{says[3:]}"):
        shared(create, 4)


def test_weights_that_are_read_out_of_their_layer_stay_in_it() -> None:
    class Reads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(3, 16), nn.Linear(16, 5)
            nn.init.zeros_(self.first.bias)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.first(x.mean((2, 3))) * self.first.bias)  # type: ignore[no-any-return]

    _, _, trained = shared(Reads, 4)
    kinds = [type(layer).__name__ for name, layer in trained.named_children() if name in ("first", "last")]
    assert sorted(kinds) == ["Linear", "SharedBlock"]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_type_of_the_weights_stays(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    folded, narrow = (of(Depthwise().to(dtype), 2, SIZE) for of in (fold_model, slot_model))
    trained = share_blocks(folded, narrow, 2, SIZE)
    assert {weight.dtype for weight in trained.parameters()} == {dtype}
    assert trained(stacks(2)[1].to(dtype)).dtype == dtype


def test_other_networks_are_refused() -> None:
    folded, narrow = fold_model(Depthwise(), 4, SIZE), slot_model(Depthwise(), 4, SIZE)
    with pytest.raises(UserError, match="give the networks of fold_model"):
        share_blocks(nn.Sequential(folded), narrow, 4, SIZE)
    with pytest.raises(UserError, match=r"give the networks of fold_model|does not take stacks of f=2 images"):
        share_blocks(folded, narrow, 2, SIZE)
    with pytest.raises(UserError, match=r"narrow has no layer full"):
        share_blocks(folded, slot_model(small_resnet(), 4, SIZE), 4, SIZE)
    with pytest.raises(UserError, match="would not be treated alike"):
        share_blocks(folded, slot_model(Depthwise(), 1, SIZE), 4, SIZE)


def test_recipes_have_shared_blocks_for_stacks_of_modules() -> None:
    assert (recipe(4).shared_block, recipe(4).free_lr) == (True, 0.001)
    assert not recipe(1).shared_block
    assert not recipe(4, "recipe=paper").shared_block
    assert not recipe(4, "recipe.shared_block=false").shared_block
