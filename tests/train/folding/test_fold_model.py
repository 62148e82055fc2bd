"""`fold_model` on networks of many kinds: widths, shapes, gradients, and errors that name the layer."""

from __future__ import annotations

import doctest
from collections.abc import Callable
from copy import deepcopy
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import load
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from textgen.common.errors import UserError
from textgen.common.validation import validate
from textgen.schema.game import Game
from train.folding.arithmetic import fold, folded_width, unfold
from train.folding.fold_model import fold_model
from train.models.notation import build, parse
from train.models.resnet import resnet18

DOCS = Path(__file__).parents[3] / "docs" / "how-to" / "fold_model.md"
FOLDS = [1, 2, 3, 4]
SIZE = (3, 16, 16)


def shapes(net: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}


def check(net: nn.Module, f: int, size: tuple[int, int, int] = SIZE) -> nn.Module:
    """Fold `net`, check what holds for every folded network, and return it."""
    before = deepcopy(net.state_dict())
    folded = fold_model(net, f, size=size)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert not {p.data_ptr() for p in net.parameters()} & {p.data_ptr() for p in folded.parameters()}
    assert {name for name, _ in net.named_parameters()} == {name for name, _ in folded.named_parameters()}
    images = torch.randn(2 * f, *size)
    k = net.eval()(images).shape[1]
    logits = folded.eval()(fold(images, f))
    assert unfold(logits, f).shape == (2 * f, k)
    assert torch.isfinite(logits).all()
    folded.train()
    for _ in range(3):  # a path through a ReLU may be dead for one batch
        folded(torch.randn(8, f * size[0], *size[1:])).square().sum().backward()
    untouched = [name for name, p in folded.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not untouched
    if f == 1:
        assert shapes(folded) == shapes(net)
        folded.load_state_dict(net.state_dict())
        torch.testing.assert_close(folded.eval()(images), net(images))  # and it computes the same
    return folded


def refused(net: nn.Module, *words: str, size: tuple[int, int, int] | None = SIZE, f: int = 2) -> None:
    with pytest.raises(UserError) as caught:
        fold_model(net, f, size=size)
    assert all(word in str(caught.value) for word in words), str(caught.value)


class Of(nn.Module):
    """A network whose forward pass is a function of its layers and images."""

    def __init__(self, forward: Callable[[Any, Tensor], Tensor], **layers: Any):
        super().__init__()
        self._forward = forward
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self._forward(self, x)


def head(channels: int, classes: int = 5) -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


# ---- Networks that fold.


@pytest.mark.parametrize("f", FOLDS)
def test_networks_of_the_notation_fold_as_it_builds_them(f: int) -> None:
    games = [validate(Game, load("game", name)) for name in ("lol_gold1", "sot_time", "lol_time")]
    nets = [(game.arch, "3x3 strides 2,1,2", game.size, len(game.classes)) for game in games]
    nets += [("C16 C16 M F128 F", "2x2 stride 2", (50, 50), 2), ("C1 M C2 M F1 F", "2x2 stride 2", (12, 9), 3)]
    for arch, pool, size, classes in nets:
        sizes: dict[str, Any] = {"size": size, "classes": classes}
        for training in ({}, {"norm": True, "dropout": 0.25}):
            net, expected = (build(parse(arch, pool), fold=fold, **sizes, **training) for fold in (1, f))
            assert shapes(fold_model(net, f, size=(3, *size))) == shapes(expected)


@pytest.mark.parametrize("f", FOLDS)
def test_resnet18(f: int) -> None:
    folded = check(resnet18(10, width=8), f, (3, 32, 32))
    named = dict(folded.named_modules())
    assert named["conv1"].weight.shape == (folded_width(8, f), 3 * f, 3, 3)
    assert named["stage4.1.conv2"].out_channels == named["stage4.1.norm2"].num_features == folded_width(64, f)
    assert named["stage4.1.norm2"].running_var.shape == (folded_width(64, f),)
    assert (named["linear"].in_features, named["linear"].out_features) == (folded_width(64, f), 10 * f)
    assert named["stage2.0.shortcut.0"].stride == (2, 2)


class Inverted(nn.Module):
    """MobileNetV2's block, with a squeeze-and-excite step as in V3."""

    def __init__(self, c_in: int, c_out: int, stride: int, expand: int):
        super().__init__()
        c = expand * c_in
        self.residual = stride == 1 and c_in == c_out
        self.expand = nn.Sequential(nn.Conv2d(c_in, c, 1, bias=False), nn.BatchNorm2d(c), nn.ReLU6())
        self.deep = nn.Sequential(
            nn.Conv2d(c, c, 3, stride, 1, groups=c, bias=False), nn.BatchNorm2d(c), nn.Hardswish()
        )
        self.squeeze, self.excite = nn.Linear(c, c // 4), nn.Linear(c // 4, c)
        self.project = nn.Sequential(nn.Conv2d(c, c_out, 1, bias=False), nn.BatchNorm2d(c_out))

    def forward(self, x: Tensor) -> Tensor:
        y = self.deep(self.expand(x))
        b, c, _, _ = y.size()
        gate = torch.sigmoid(self.excite(F.relu(self.squeeze(y.mean((2, 3)))))).view(b, c, 1, 1)
        y = self.project(y * gate)
        return x + y if self.residual else y


@pytest.mark.parametrize("f", FOLDS)
def test_mobilenet(f: int) -> None:
    blocks = [Inverted(8, 8, 1, 4), Inverted(8, 12, 2, 6), Inverted(12, 12, 1, 6)]
    net = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), *blocks, nn.Conv2d(12, 40, 1), head(40))
    folded = check(net, f)
    deep = folded.get_submodule("2.deep.0")
    assert deep.groups == deep.in_channels == deep.out_channels == folded_width(48, f)
    assert deep.weight.shape == (folded_width(48, f), 1, 3, 3)


@pytest.mark.parametrize("f", FOLDS)
def test_lenet_with_sizes_in_its_code(f: int) -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), (2, 2)).view(-1, 16 * 5 * 5)
        return self.fc3(F.relu(self.fc2(F.dropout(F.relu(self.fc1(x)), 0.4, self.training))))

    layers = {"conv1": nn.Conv2d(3, 6, 5), "conv2": nn.Conv2d(6, 16, 5)}
    layers |= {"fc1": nn.Linear(400, 120), "fc2": nn.Linear(120, 84), "fc3": nn.Linear(84, 10)}  # type: ignore[dict-item]
    net = Of(forward, **layers)
    folded = check(net, f, (3, 32, 32))
    assert folded.get_submodule("fc1").in_features == 25 * folded_width(16, f)
    assert shapes(fold_model(net, f)) == shapes(folded)  # 32×32 is found
    images = torch.randn(4, 3 * f, 32, 32)
    folded.train()
    assert not torch.equal(folded(images), folded(images))  # dropout follows train and eval
    folded.eval()
    assert torch.equal(folded(images), folded(images))


@pytest.mark.parametrize("f", FOLDS)
@pytest.mark.parametrize(
    "net",
    [
        # joined branches, then a layer that takes both
        Of(
            lambda self, x: self.head(self.c(torch.cat([self.a(x), F.relu(self.b(x))], 1))),
            a=nn.Conv2d(3, 6, 1),
            b=nn.Conv2d(3, 10, 3, padding=1),
            c=nn.Conv2d(16, 9, 3),
            head=head(9),
        ),
        # the images themselves joined to what is wide
        Of(
            lambda self, x: self.head(self.c(torch.cat([x, self.a(x)], dim=1))),
            a=nn.Conv2d(3, 6, 1),
            c=nn.Conv2d(9, 9, 3),
            head=head(9),
        ),
        # a fully convolutional network: the last layer is a convolution
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.GELU(), nn.Conv2d(8, 5, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        # without a convolution
        nn.Sequential(nn.Flatten(), nn.Linear(768, 20), nn.PReLU(20), nn.BatchNorm1d(20), nn.Linear(20, 4)),
        # norms, a channel's own slope, a transposed convolution
        nn.Sequential(
            *(nn.Conv2d(3, 8, 3, 2), nn.GroupNorm(4, 8), nn.PReLU(8), nn.ConvTranspose2d(8, 6, 2, 2)),
            *(nn.InstanceNorm2d(6, affine=True), nn.Tanh(), nn.PReLU(), nn.GroupNorm(6, 6), head(6)),
        ),
        # groups, and a depthwise layer with two outputs a channel
        nn.Sequential(
            *(nn.Conv2d(3, 6, 3, groups=3), nn.ReLU(), nn.Conv2d(6, 12, 3, groups=2), nn.Conv2d(12, 8, 1, groups=4)),
            *(nn.Conv2d(8, 16, 3, groups=8), nn.Conv2d(16, 6, 1), head(6)),
        ),
        # gates of one channel, over channels and over places
        Of(
            lambda self, x: self.head(
                self.b(y := self.a(x)).sigmoid() * y * torch.sigmoid(self.c(y.mean(1, keepdim=True)))
            ),
            a=nn.Conv2d(3, 8, 3),
            b=nn.Conv2d(8, 1, 1),
            c=nn.Conv2d(1, 1, 7, padding=3),
            head=head(8),
        ),
        # ConvNeXt's block: depthwise, channels last, layer scale
        Of(
            lambda self, x: self.head(
                (y := self.stem(x)) + self.gamma * self.d(self.norm(self.c(y).permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
            ),
            stem=nn.Conv2d(3, 8, 4, 4),
            c=nn.Conv2d(8, 8, 3, padding=1, groups=8),
            norm=nn.LayerNorm(8),
            d=nn.Sequential(nn.Linear(8, 32), nn.GELU(), nn.Linear(32, 8)),
            gamma=nn.Parameter(torch.full((8, 1, 1), 1e-6)),
            head=head(8),
        ),
        # one number, and images that the network itself normalises
        Of(
            lambda self, x: self.scale * self.net((x - self.mean) / 2),
            net=nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 14 * 14, 3)),
            mean=nn.Parameter(torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1)),
            scale=nn.Parameter(torch.tensor(2.0)),
        ),
        # ShuffleNet's shuffle
        Of(
            lambda self, x: self.head(
                self.b((y := self.a(x)).view(y.shape[0], 2, y.shape[1] // 2, 16, 16).transpose(1, 2).reshape(y.shape))
            ),
            a=nn.Conv2d(3, 8, 1),
            b=nn.Conv2d(8, 12, 3, groups=2),
            head=head(12),
        ),
    ],
)
def test_parts_that_networks_are_made_of(net: nn.Module, f: int) -> None:
    check(net, f)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(1, 6).map(lambda n: 4 * n), min_size=1, max_size=4),
    st.lists(st.sampled_from(["norm", "pool", "residual", "depthwise", "groups", "cat", "scale"]), max_size=5),
    st.lists(st.integers(1, 30), max_size=2),
    st.integers(1, 4),
    st.booleans(),
)
def test_random_networks(channels: list[int], parts: list[str], features: list[int], f: int, flat: bool) -> None:
    class Residual(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return F.relu(x + super().forward(x))

    class Joined(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([x, super().forward(x)], 1)

    class Scale(nn.Module):
        def __init__(self, c: int):
            super().__init__()
            self.gamma = nn.Parameter(torch.ones(1, c, 1, 1))

        def forward(self, x: Tensor) -> Tensor:
            return x.mul(self.gamma)

    net, side, expected = nn.Sequential(), 12, []
    for c_in, c in pairwise([3, *channels]):
        net.append(nn.Conv2d(c_in, c, 3, padding=1)).append(nn.LeakyReLU())
        expected.append(c)
    c = channels[-1]
    for part in parts:
        if part == "pool":
            net.append(nn.MaxPool2d(3, 1))
            side -= 2
        elif part == "cat":
            net.append(Joined(nn.Conv2d(c, 4, 1))).append(nn.Conv2d(c + 4, c, 1))
        else:
            net.append(
                {
                    "norm": nn.BatchNorm2d,
                    "residual": lambda c: Residual(nn.Conv2d(c, 7, 1), nn.ReLU(), nn.Conv2d(7, c, 1)),
                    "depthwise": lambda c: nn.Conv2d(c, c, 3, padding=1, groups=c),
                    "groups": lambda c: nn.Conv2d(c, c, 3, padding=1, groups=2),
                    "scale": Scale,
                }[part](c)
            )
    net.append(nn.Flatten() if flat else nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    for before, after in pairwise([c * (side**2 if flat else 1), *features, 3]):
        net.append(nn.Linear(before, after))
    if side < 1:
        return
    folded = check(net, f, (3, 12, 12))
    convolutions = [layer for layer in folded.modules() if isinstance(layer, nn.Conv2d)]
    found = [layer.out_channels for layer in convolutions[: len(channels)]]
    if "groups" not in parts:
        assert found == [folded_width(c, f) for c in expected]
    assert all(abs(a - folded_width(c, f)) <= 1 for a, c in zip(found, expected, strict=True))  # a multiple of 2
    last = folded.get_submodule(str(len(net) - 1))
    assert last.out_features == 3 * f
    assert convolutions[0].in_channels == 3 * f


def test_groups_round_to_the_nearest_multiple() -> None:
    net = nn.Sequential(nn.Conv2d(3, 32, 1), nn.Conv2d(32, 64, 3, groups=16), nn.GroupNorm(32, 64), head(64))
    convolutions = [layer for layer in fold_model(net, 2).modules() if isinstance(layer, nn.Conv2d)]
    # 45 of 32·√2 to a multiple of 16, 90 of 64·√2 to one of 32
    assert [(layer.in_channels, layer.out_channels, layer.groups) for layer in convolutions] == [
        (6, 48, 1),
        (48, 96, 16),
    ]


def test_a_layer_of_the_users_own_class_stays_of_it() -> None:
    class Standardised(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
            return F.conv2d(x, weight, self.bias, self.stride, self.padding)

    folded = check(nn.Sequential(Standardised(3, 8, 3), head(8)), 2)
    assert type(folded.get_submodule("0")) is Standardised


def test_tensors_of_the_users_own() -> None:
    net = Of(lambda self, x: self.head(self.c(x - self.mean) * self.gamma), c=nn.Conv2d(3, 8, 1), head=head(8))
    net.register_buffer("mean", torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1))
    net.gamma = nn.Parameter(torch.full((8, 1, 1), 0.5))
    folded = fold_model(net, 2, SIZE)
    assert folded.get_buffer("mean").flatten().tolist() == [1, 2, 3, 1, 2, 3]
    assert folded.get_parameter("gamma").shape == (11, 1, 1)
    assert (folded.get_parameter("gamma") == 0.5).all()
    nn.init.normal_(net.gamma)
    refused(net, "gamma", "untrained")


def test_dtype_is_kept_and_weights_are_fresh() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), head(8)).double()
    with torch.no_grad():
        for tensor in net.state_dict().values():
            tensor.fill_(9)
    folded = fold_model(net, 1, SIZE)
    assert {p.dtype for p in folded.parameters()} == {torch.float64}
    assert not any((tensor == 9).any() for tensor in folded.state_dict().values())
    assert folded.get_buffer("1.running_var").eq(1).all()


def test_a_folded_network_learns() -> None:
    """Which quarter of an image is bright."""
    torch.manual_seed(0)
    f, n = 2, 256
    classes = torch.randint(0, 4, (n,))
    images = 0.1 * torch.randn(n, 1, 8, 8)
    for image, label in zip(images, classes.tolist(), strict=True):
        image[:, 4 * (label // 2) :, 4 * (label % 2) :][:, :4, :4] += 1
    net = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(4), nn.Flatten(), nn.Linear(32, 4))
    folded = fold_model(net, f, (1, 8, 8))
    optimizer = torch.optim.Adam(folded.parameters(), 1e-2)
    for _ in range(60):
        order = torch.randperm(n)
        loss = F.cross_entropy(unfold(folded(fold(images[order], f)), f), classes[order])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (unfold(folded(fold(images, f)), f).argmax(1) == classes).float().mean() > 0.95


# ---- Networks that cannot be folded, and their errors.


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y = x.flatten(2).transpose(1, 2)
        return self.attn(y, y, y)[0].transpose(1, 2).reshape(x.shape)


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class Shrunk(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, :4]


def test_what_cannot_be_folded_is_named() -> None:
    stem = nn.Conv2d(3, 8, 3)
    stages = nn.Sequential(nn.Sequential(Attention()))
    refused(nn.Sequential(stem, stages, head(8)), "1.0.0.attn: MultiheadAttention cannot be folded: it has weights")
    refused(nn.Sequential(stem, Branching(), head(8)), "1: Branching cannot be traced by torch.fx", "control flow")
    refused(nn.Sequential(stem, Shrunk(), head(4)), "1: getitem cannot be folded", "part of the channels")
    refused(nn.Sequential(stem, head(8), nn.LogSoftmax(1)), "2: LogSoftmax cannot be folded", "mix the images")
    refused(
        Of(lambda self, x: F.softmax(self.net(x), 1), net=head(3)), "forward: softmax", "let the network give logits"
    )
    spectral = nn.utils.parametrizations.spectral_norm(nn.Conv2d(3, 8, 3))
    refused(nn.Sequential(spectral, head(8)), "0: ParametrizedConv2d", "parametrizations.weight.original")
    shuffled = Of(
        lambda self, x: self.h(self.c(x).view(-1, 2, 4, 16, 16).flatten(1, 2)), c=nn.Conv2d(3, 8, 1), h=head(8)
    )
    refused(shuffled, "forward: view cannot be folded", "8")
    refused(nn.Sequential(nn.Conv2d(3, 6, 3), nn.Unflatten(1, (2, 3)), nn.Flatten(1, 2), head(6)), "1: Unflatten")
    refused(Of(lambda self, x: self.h(self.c(x).mT), c=nn.Conv2d(3, 8, 3), h=head(8)), "getattr cannot be folded")
    refused(
        Of(lambda self, x: self.h(F.conv2d(x, self.w)), w=nn.Parameter(torch.ones(8, 3, 1, 1)), h=head(8)), "conv2d"
    )
    for norm in (nn.GroupNorm(1, 3), nn.LayerNorm([3, 16, 16])):
        refused(nn.Sequential(norm, stem, head(8)), "0: ", "before the first layer it would mix the images")
    grey = Of(
        lambda self, x: self.h(self.c(self.n(x).mean(1, keepdim=True))),
        **{"n": nn.BatchNorm2d(3), "c": nn.Conv2d(1, 8, 3), "h": head(8)},
    )
    refused(grey, "mean cannot be folded", "it would combine the images of a stack")
    joined = Of(lambda self, x: torch.cat([self.a(x), self.b(x)], 1), a=head(3, 2), b=head(3, 3))
    refused(joined, "cat cannot be folded", "mix the images")
    dense = Of(
        lambda self, x: self.h(torch.cat([self.a(x), self.b(x)], 1) + self.c(x)),
        **{name: nn.Conv2d(3, c, 1) for name, c in (("a", 7), ("b", 7), ("c", 14))},
        h=head(14),
    )
    refused(dense, "forward: add cannot be folded", "7×18×16×16 and 7×19×16×16")


def test_what_is_no_network_of_images_is_refused() -> None:
    refused(nn.Conv2d(3, 8, 3), "the network gives a tensor of 7×8×14×14", "logits (b, k)")
    refused(nn.Sequential(nn.Flatten()), "no linear layer before its output")
    for f in (0, 1.5, "2", None):
        refused(head(3), f"f={f!r}: it counts the images of a stack", f=f)
    for size in ((22, 30), (1, 3, 22, 30), (3, 0, 30), (3, 22.5, 30), 22):
        refused(head(3), f"size={size}: give (C, H, W)", size=size)
    for net in (nn.Conv2d, None, "resnet18"):
        refused(net, f"net is {net!r}: give a torch.nn.Module")
    refused(head(4), "2: Linear does not run on images of 3×16×16")
    refused(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), "give size=(C, H, W)", size=None)
    refused(nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(18, 2)), "no usual size", size=None)
    refused(nn.Sequential(nn.LazyConv2d(8, 3), head(8)), "0.weight", "run the network once")
    refused(nn.Bilinear(3, 3, 2), "input1, input2")

    def forward(self: Any, x: Tensor) -> Tensor:
        y = self.c(x)
        return self.h(y.relu() if self.training else y)

    refused(Of(forward, c=nn.Conv2d(3, 8, 1), h=head(8)), "training")


def test_an_optional_second_input_has_its_default() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = head(3)

        def forward(self, x: Tensor, mask: Tensor | None = None, scale: float = 2.0) -> Tensor:
            return self.head(x * scale if mask is None else x * mask)

    check(Masked(), 2)


def test_the_example_of_the_page() -> None:
    result = doctest.testfile(str(DOCS), module_relative=False)
    assert result.attempted > 3
    assert result.failed == 0


class OverChannels(nn.Module):
    """Grey images, logits around their mean, or shares of one, written by hand."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where
        self.conv = nn.Conv2d(1 if where == "grey" else 3, 8, 3, padding=1)
        self.last = nn.Linear(8 * 6 * 6, 5)

    def forward(self, x: Tensor) -> Tensor:
        if self.where == "grey":
            x = x.mean(1, keepdim=True)
        if self.where == "brightest":
            x = x - x.max(1, keepdim=True)[0]
        x = self.last(torch.relu(self.conv(x)).flatten(1))
        if self.where == "centred":
            x = x - x.mean(1, keepdim=True)
        if self.where == "shares":
            x = x.exp() / x.exp().sum(1, keepdim=True)
        return x


@pytest.mark.parametrize("where", ["grey", "brightest", "centred", "shares"])
def test_what_would_join_the_images_of_a_stack_is_refused(where: str) -> None:
    with pytest.raises(UserError, match=r"cannot be folded: .* images of a stack"):
        fold_model(OverChannels(where), 4, size=(3, 6, 6))


def test_sums_over_places_stay_apart() -> None:
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 5, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x - x.mean((2, 3), keepdim=True)).mean((2, 3))

    folded = fold_model(Pooled(), 3, size=(3, 6, 6))
    assert folded(torch.zeros(2, 9, 6, 6)).shape == (2, 15)
