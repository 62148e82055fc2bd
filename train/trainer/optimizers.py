"""The optimisers of a recipe: PyTorch's, and Muon for the convolutions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from train.config.recipe import Recipe
from train.models.training_layers import SharedBlock, free_weights

KINDS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
    "sgd": lambda parameters, **settings: torch.optim.SGD(parameters, momentum=0.9, nesterov=True, **settings),
}


def build_optimizers(net: nn.Module, recipe: Recipe) -> dict[str, torch.optim.Optimizer]:
    """By name: "main" with `recipe.lr`, and for "muon" also "muon" with `recipe.muon_lr` for the convolutions.

    With "muon" the main optimiser, for all other weights, is AdamW. The free weights of shared blocks have groups of
    their own, with `recipe.free_lr` times the learning rate. Every parameter group keeps its learning rate as
    `initial_lr`, which a schedule multiplies.
    """
    blocks = [module for module in net.modules() if isinstance(module, SharedBlock)]
    f = blocks[0].f if blocks else 1
    free = {id(weight) for weight in free_weights(net)}
    muon = {id(weight) for weight in net.parameters() if recipe.optimizer == "muon" and weight.ndim == 4}

    def groups(of_muon: bool, lr: float, **of_free: Any) -> list[dict[str, Any]]:
        parameters = [weight for weight in net.parameters() if (id(weight) in muon) == of_muon]
        shared = {"params": [weight for weight in parameters if id(weight) not in free], "lr": lr}
        own = {"params": [weight for weight in parameters if id(weight) in free], "lr": lr * recipe.free_lr, **of_free}
        return [group for group in (shared, own) if group["params"]]

    kind = "adamw" if recipe.optimizer == "muon" else recipe.optimizer
    device = next(net.parameters()).device.type
    fused = {"fused": True} if kind in ("adam", "adamw") and device in ("cpu", "cuda") else {}
    optimizers = {"main": KINDS[kind](groups(False, recipe.lr), weight_decay=recipe.weight_decay, **fused)}
    if muon:
        assert recipe.muon_lr is not None
        assert recipe.muon_weight_decay is not None
        optimizers["muon"] = Muon(
            groups(True, recipe.muon_lr, slots=f), lr=recipe.muon_lr, weight_decay=recipe.muon_weight_decay
        )
    for group in chain.from_iterable(optimizer.param_groups for optimizer in optimizers.values()):
        group["initial_lr"] = group["lr"]
    return optimizers


class Muon(torch.optim.Optimizer):
    """Momentum whose step for each weight is orthogonalised: all its singular values become about 1 (Jordan, 2024).

    A weight (o, …) is treated as the matrix (o, product of the rest). In a group with `slots` = f it is treated as f×f
    matrices, one for each pair of slots (`split_slots`): a single one would make the steps of a block depend on the
    gradients of all others. PyTorch's own Muon takes matrices only and computes in bfloat16, which is slow on CPUs;
    this one computes in float32. `weight_decay` is decoupled.
    """

    def __init__(
        self, parameters: Iterable[Any], lr: float, momentum: float = 0.95, weight_decay: float = 0.0, slots: int = 1
    ):
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "slots": slots}
        super().__init__(parameters, defaults)

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
                blocks = split_slots(ahead, group["slots"])  # (blocks, o, i, …)
                matrices = blocks.flatten(2)  # (blocks, o, the rest)
                rows, columns = matrices.shape[1:]
                steps = orthogonalize(matrices).view_as(blocks) * max(1, rows / columns) ** 0.5
                step = join_slots(steps, weight.shape)
                weight.mul_(1 - group["lr"] * group["weight_decay"]).sub_(step, alpha=group["lr"])


def split_slots(weight: Tensor, f: int) -> Tensor:
    """The blocks (p·q, o, i, …) of a weight (O, I, …), with o = ⌊O/f⌋ outputs and i = ⌊I/f⌋ inputs each.

    Block n leads from slot n mod q to slot ⌊n/q⌋. Where f does not divide O or I, p or q is larger than f, and the last
    blocks are filled up with zeros.
    """
    (outputs, inputs), rest = weight.shape[:2], weight.shape[2:]
    o, i = max(outputs // f, 1), max(inputs // f, 1)
    unfilled = (0, 0) * len(rest) + (0, -inputs % i, 0, -outputs % o)
    p, q = -(-outputs // o), -(-inputs // i)
    grid = functional.pad(weight, unfilled).reshape(p, o, q, i, *rest)
    return grid.transpose(1, 2).flatten(0, 1)


def join_slots(blocks: Tensor, shape: Sequence[int]) -> Tensor:
    """The weight of `shape` (O, I, …) whose blocks are `blocks`, the inverse of `split_slots`."""
    (outputs, inputs), (o, i), rest = shape[:2], blocks.shape[1:3], blocks.shape[3:]
    p, q = -(-outputs // o), -(-inputs // i)
    grid = blocks.reshape(p, q, o, i, *rest).transpose(1, 2)  # (p, o, q, i, …)
    return grid.reshape(p * o, q * i, *rest)[:outputs, :inputs]


def orthogonalize(matrix: Tensor, steps: int = 5) -> Tensor:
    """Approximately U·Vᵀ of each `matrix` (…, rows, columns) = U·S·Vᵀ: singular values end between 0.68 and 1.14,
    unless they were near zero.

    Newton-Schulz iterations with Jordan's coefficients, which trade exactness for speed: x → 3.4445 x - 4.775 x³ +
    2.0315 x⁵ for every singular value x.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    wide = matrix.shape[-2] <= matrix.shape[-1]
    x: Tensor = matrix if wide else matrix.mT  # for the smaller square
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x if wide else x.mT
