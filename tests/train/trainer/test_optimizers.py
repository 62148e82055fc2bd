"""Muon: its step is orthogonal, and it trains the convolutions alone."""

import pytest
import torch
from conftest import composed
from torch import nn

from train.config.recipe import Recipe, fit_recipe
from train.models.notation import build, parse
from train.trainer.optimizers import Muon, build_optimizers, orthogonalize


def recipe(*overrides: str) -> Recipe:
    return fit_recipe(composed("game=sot_time", *overrides)["recipe"], game="sot_time", fold=1, train_images=1)


@pytest.mark.parametrize("shape", [(16, 144), (144, 16), (4, 144), (32, 27)])
def test_orthogonal_keeps_directions_and_makes_singular_values_about_one(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    inner = u.T @ orthogonalize(matrix) @ v.T  # diagonal, in the directions of the matrix
    assert torch.allclose(inner, inner.diag().diag(), atol=1e-3)
    assert inner.diag().min() > 0.67
    assert inner.diag().max() < 1.15
    assert torch.isfinite(orthogonalize(torch.zeros(shape))).all()


def test_a_step_does_not_depend_on_the_size_of_the_gradient_and_lowers_the_loss() -> None:
    ends = []
    for scale in (1.0, 1000.0):
        torch.manual_seed(0)
        conv, x = nn.Conv2d(3, 4, 3, bias=False), torch.randn(8, 3, 6, 6)
        optimizer = Muon(conv.parameters(), lr=0.1)
        losses = []
        for _ in range(10):
            loss = scale * (conv(x) - 1).square().mean()
            losses.append(loss.item())
            conv.zero_grad()
            loss.backward()
            optimizer.step()
        assert losses[-1] < losses[0]
        ends.append(conv.weight.detach().clone())
    assert torch.allclose(*ends, atol=1e-3)


def test_muon_has_the_convolutions_and_adamw_the_rest() -> None:
    net = build(parse("C8 M C8 F16 F", "3x3 stride 2"), size=(9, 9), classes=3, norm=True)
    optimizers = build_optimizers(net, recipe("recipe.muon_lr=0.03", "recipe.muon_weight_decay=0.2"))
    groups = {name: optimizer.param_groups[0] for name, optimizer in optimizers.items()}
    assert {name: type(optimizer) for name, optimizer in optimizers.items()} == {
        "main": torch.optim.AdamW,
        "muon": Muon,
    }
    assert [p.ndim for p in groups["muon"]["params"]] == [4, 4]
    assert sum(len(group["params"]) for group in groups.values()) == len(list(net.parameters()))
    assert {name: (group["initial_lr"], group["weight_decay"]) for name, group in groups.items()} == {
        "main": (1e-2, 1e-4),
        "muon": (0.03, 0.2),
    }


def test_the_decay_of_muon_draws_a_weight_to_zero_by_its_rate() -> None:
    weight = nn.Parameter(torch.ones(2, 1, 1, 1))
    weight.grad = torch.zeros_like(weight)
    Muon([weight], lr=0.1, weight_decay=0.5).step()
    assert torch.equal(weight.detach(), torch.full((2, 1, 1, 1), 1 - 0.1 * 0.5))


def test_a_network_without_convolutions_has_nothing_for_muon() -> None:
    net = build(parse("F8 F", "3x3 stride 2"), size=(9, 9), classes=3)
    assert list(build_optimizers(net, recipe())) == ["main"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("adam", torch.optim.Adam),
        ("adamw", torch.optim.AdamW),
        ("rmsprop", torch.optim.RMSprop),
        ("sgd", torch.optim.SGD),
    ],
)
def test_the_other_optimisers_have_all(name: str, kind: type) -> None:
    net = build(parse("C8 F", "3x3 stride 2"), size=(9, 9), classes=3)
    optimizers = build_optimizers(net, recipe(f"recipe.optimizer={name}"))
    assert {name: type(optimizer) for name, optimizer in optimizers.items()} == {"main": kind}
    assert len(optimizers["main"].param_groups[0]["params"]) == len(list(net.parameters()))
