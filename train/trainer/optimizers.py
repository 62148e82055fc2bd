"""The optimisers of a recipe: PyTorch's, and Muon for the convolutions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from train.config.recipe import Recipe

KINDS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
    "sgd": lambda parameters, **settings: torch.optim.SGD(parameters, momentum=0.9, nesterov=True, **settings),
}


def build_optimizers(net: nn.Module, recipe: Recipe) -> dict[str, torch.optim.Optimizer]:
    """By name: "main" with `recipe.lr`, and for "muon" also "muon" with `recipe.muon_lr` for the convolutions.

    With "muon" the main optimiser, for all other weights, is AdamW. Every parameter group keeps its learning rate as
    `initial_lr`, which a schedule multiplies.
    """
    kind = "adamw" if recipe.optimizer == "muon" else recipe.optimizer
    device = next(net.parameters()).device.type
    fused = {"fused": True} if kind in ("adam", "adamw") and device in ("cpu", "cuda") else {}
    convolutions = [p for p in net.parameters() if recipe.optimizer == "muon" and p.ndim == 4]
    rest = [p for p in net.parameters() if not (recipe.optimizer == "muon" and p.ndim == 4)]
    optimizers = {"main": KINDS[kind](rest, lr=recipe.lr, weight_decay=recipe.weight_decay, **fused)}
    if convolutions:
        assert recipe.muon_lr is not None
        assert recipe.muon_weight_decay is not None
        optimizers["muon"] = Muon(convolutions, lr=recipe.muon_lr, weight_decay=recipe.muon_weight_decay)
    for group in chain.from_iterable(optimizer.param_groups for optimizer in optimizers.values()):
        group["initial_lr"] = group["lr"]
    return optimizers


class Muon(torch.optim.Optimizer):
    """Momentum whose step for each weight is orthogonalised: all its singular values become about 1 (Jordan, 2024).

    A weight (o, …) is treated as the matrix (o, product of the rest). PyTorch's own Muon takes matrices only and
    computes in bfloat16, which is slow on CPUs; this one computes in float32. `weight_decay` is decoupled.
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.0):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step; `closure` is ignored."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                mean = state["momentum"].lerp_(weight.grad, 1 - group["momentum"])
                ahead = weight.grad.lerp(mean, group["momentum"])  # Nesterov's
                matrix = ahead.flatten(1)  # (o, the rest)
                rows, columns = matrix.shape
                step = orthogonalize(matrix).view_as(weight) * max(1, rows / columns) ** 0.5
                weight.mul_(1 - group["lr"] * group["weight_decay"]).sub_(step, alpha=group["lr"])


def orthogonalize(matrix: Tensor, steps: int = 5) -> Tensor:
    """Approximately U·Vᵀ, where `matrix` = U·S·Vᵀ: singular values end between 0.68 and 1.14, unless they were near
    zero.

    Newton-Schulz iterations with Jordan's coefficients, which trade exactness for speed: x → 3.4445 x - 4.775 x³ +
    2.0315 x⁵ for every singular value x.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x: Tensor = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T  # for the smaller square
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x if matrix.shape[0] <= matrix.shape[1] else x.T
