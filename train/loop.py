"""Training, top-down: one network, one recipe, epoch after epoch, the best by validation kept."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from train.curriculum import classes_in, order_of
from train.data import Source, Split, to_input
from train.evaluate import accuracy
from train.fold import assemble_slots, fold, unfold
from train.models.notation import Layer, build, initialise
from train.recipe import Recipe

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
    "sgd": lambda parameters, **settings: torch.optim.SGD(parameters, momentum=0.9, nesterov=True, **settings),
}


@dataclass
class Trained:
    """The best network by validation, folded and whole, and how it came about.

    `history` has a mapping an epoch; `seconds` is all of it, `images_per_second` the rate within training epochs alone.
    """

    net: nn.Module
    history: list[dict[str, Any]]
    best_epoch: int
    seconds: float
    images_per_second: float


def train(
    source: Source,
    val: Split,
    *,
    layers: tuple[Layer, ...],
    classes: tuple[str, ...],
    f: int,
    recipe: Recipe,
    seed: int,
    metrics: Path,
    keep: Callable[[nn.Module], None],
    quiet: bool = False,
) -> Trained:
    """Train a FoldedCNN on stacks of `f` images of `source` that are drawn anew each epoch (f=1: the original network).

    A line an epoch goes to the JSONL file `metrics`; `keep` is called with the whole network whenever validation has
    improved. "Best" counts only once every class of a curriculum is in; a run that ends before that keeps its last.
    """
    epochs = recipe.epochs
    assert epochs is not None
    labels, size = source.labels, source.size
    device = labels.device
    torch.manual_seed(seed)
    shuffle = torch.Generator().manual_seed(seed)  # on the CPU: the same order on every device

    folded = build(layers, size=size, classes=len(classes), fold=f)
    # With slots a narrow network learns from single images, and f copies of it make the folded one.
    slots = recipe.slots and f > 1
    stack = 1 if slots else f
    net = build(layers, size=size, classes=len(classes), slot_of=f) if slots else folded
    initialise(net, recipe.init)
    # channels_last halves the time of a step on a CPU.
    net, folded = (n.to(device).to(memory_format=torch.channels_last) for n in (net, folded))  # type: ignore[call-overload]

    optimizer = OPTIMIZERS[recipe.optimizer](net.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    loss_of = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
    curriculum = recipe.curriculum if f > 1 and not slots else None
    class_order = order_of(curriculum, classes, seed) if curriculum else list(range(len(classes)))
    rank = torch.empty(len(classes), dtype=torch.long)
    rank[torch.tensor(class_order)] = torch.arange(len(classes))
    ranks = rank[labels.cpu()]  # (n,): an image is in when more classes than this are
    class_counts = [
        classes_in(curriculum, epoch=epoch, epochs=epochs, classes=len(classes), fold=f) for epoch in range(epochs)
    ]
    images_in = (torch.bincount(ranks, minlength=len(classes)).cumsum(0) // stack * stack).tolist()

    history: list[dict[str, Any]] = []
    metrics.unlink(missing_ok=True)
    best, best_epoch, started = (-1.0, 0.0), 0, time.perf_counter()
    total = sum(images_in[count - 1] for count in class_counts)
    bar = tqdm(total=total, desc=f"training f={f}", unit=" images", unit_scale=True, disable=quiet)
    for epoch, in_now in enumerate(class_counts):
        net.train()
        epoch_started = time.perf_counter()
        pool = (ranks < in_now).nonzero().squeeze(1)
        order = pool[torch.randperm(len(pool), generator=shuffle)]
        order = order[: images_in[in_now - 1]]  # images that follow each other share a stack
        batches = torch.split(order, recipe.batch)

        loss_sum, right = torch.zeros((), device=device), torch.zeros((), device=device)
        for step, (batch, images) in enumerate(zip(batches, source.batches(epoch, batches), strict=True)):
            for group in optimizer.param_groups:
                group["lr"] = recipe.lr * _lr_factor(recipe, (epoch + step / len(batches)) / epochs)
            x, y = to_input(images), labels[batch.to(device)]  # (b*f, 3, H, W), (b*f,)
            logits = unfold(net(fold(x, stack)), stack)  # (b*f, classes)
            loss = loss_of(logits, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss_sum += loss.detach() * len(batch)  # stays on the device: reading it would wait for every step
            right += (logits.detach().argmax(1) == y).sum()
            bar.update(len(batch))

        train_loss = loss_sum.item() / len(order)  # the one wait for the device in an epoch
        train_seconds = time.perf_counter() - epoch_started
        val_accuracy, val_loss = accuracy(net, stack, val, seed)
        everything_in = in_now == len(classes)
        improved = everything_in and (val_accuracy, -val_loss) > best
        line = {
            "epoch": epoch + 1,
            "classes": in_now,
            "lr": optimizer.param_groups[0]["lr"],
            "train_loss": train_loss,
            "train_accuracy": right.item() / len(order),
            "val_loss": val_loss,
            "val_accuracy": val_accuracy,
            "best": improved,
            "images_per_second": len(order) / train_seconds,
            "train_seconds": train_seconds,
            "seconds": time.perf_counter() - started,
        }
        history.append(line)
        with metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if improved or (epoch + 1 == epochs and best_epoch == 0):
            best, best_epoch = (val_accuracy, -val_loss), epoch + 1
            if slots:
                assemble_slots(net, folded, f)
            best_state = {name: value.clone() for name, value in folded.state_dict().items()}
            keep(folded)
        bar.set_postfix(epoch=f"{epoch + 1}/{epochs}", classes=in_now, val=f"{val_accuracy:.1%}")

    bar.close()
    folded.load_state_dict(best_state)
    seconds = time.perf_counter() - started
    in_epochs = sum(line["train_seconds"] for line in history)
    return Trained(folded, history, best_epoch, seconds, total / in_epochs)


def _lr_factor(recipe: Recipe, progress: float) -> float:
    """What the learning rate is multiplied by at `progress` in 0…1 of the run."""
    if recipe.schedule == "constant":
        return 1.0
    if progress < recipe.warmup:
        return max(progress / recipe.warmup, 0.01)
    return 0.5 * (1 + math.cos(math.pi * (progress - recipe.warmup) / (1 - recipe.warmup)))
