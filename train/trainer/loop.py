"""Training, top-down: one network, one recipe, epoch after epoch; the best epoch by validation accuracy is kept."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import nn

from textgen.common.atomic import os_errors_as_user_errors, write_atomic
from textgen.common.errors import UserError
from textgen.common.progress import progress_bar
from train.common.parallel import ALONE, Group
from train.config.advice import OTHER_RUNS_FOLDER
from train.data.sources import to_input
from train.metrics.evaluate import accuracy_and_loss
from train.metrics.losses import right_in_all
from train.trainer.interrupts import delayed_interrupts
from train.trainer.schedule import learning_rate_factor
from train.trainer.shares import Share
from train.trainer.state import FULL_PRECISION, Computation, Output, TrainingSetup, TrainingState


@dataclass
class Trained:
    """The best network by validation, folded, and how it was trained.

    `history` has a mapping an epoch. `best_epoch` counts from 1; 0 is the network that training began with.
    `val_accuracy` is that of the best network. `seconds` is the whole time, `images` the number of images seen in all
    epochs, `images_per_second` the rate within them. `commits` are those of the code that trained, more than one where
    a run was resumed with other code, and `processes` the numbers of processes, likewise. `every_class_in` says whether
    the last epoch had all classes of the curriculum.
    """

    net: nn.Module
    history: list[dict[str, Any]]
    best_epoch: int
    val_accuracy: float
    seconds: float
    images: int
    images_per_second: float
    commits: list[str]
    processes: list[int]
    every_class_in: bool


def train(
    setup: TrainingSetup, output: Output, computation: Computation = FULL_PRECISION, group: Group = ALONE
) -> Trained:
    """Train a FoldedCNN on stacks of images that are grouped at random each epoch (fold=1: the original network).

    A line an epoch goes to metrics.jsonl and to `output.log`; `output.keep` is called with the folded network whenever
    validation has improved, and at the end with the one that is returned. An epoch can be the best only if every class
    of the curriculum takes part in it; a run that ends before that keeps its last epoch. With `setup.start` that
    network is epoch 0, which is kept if no epoch is better.

    The complete state is saved every `output.save_every` seconds, and a training with the same identity resumes from
    there; on a CPU with the same number of threads it ends with the same bits. Ctrl-C saves before `KeyboardInterrupt`.
    Raises `UserError` for a loss that is no number.

    All processes of `group` call this with the same setup. Each computes a share of every batch
    (`train.trainer.shares`), their states stay the same, and only the first one writes into the folder.
    """
    epochs = setup.recipe.epochs
    assert epochs is not None
    torch.manual_seed(setup.seed)
    state = TrainingState.build(setup, output, computation, group)
    if state.resume():
        if not output.quiet:
            at = state.progress
            print(f"resuming at epoch {at.epoch + 1} of {epochs}, step {at.step}, in {output.folder}", file=sys.stderr)
    elif setup.start is not None:
        state.keep_best(_validation(state), epoch=0)
    metrics = output.folder / "metrics.jsonl"
    if group.first:
        write_atomic(metrics, b"".join(_json_line(line) for line in state.progress.history), OTHER_RUNS_FOLDER)

    total = state.schedule.images_before(epochs)
    done = state.schedule.images_before(state.progress.epoch) + state.progress.step * setup.recipe.batch
    bar = progress_bar(total, f"training f={setup.fold}", done=done, quiet=output.quiet)
    with bar, delayed_interrupts(group) as interrupted:
        while state.progress.epoch < epochs:
            figures = _train_epoch(state, epochs, bar.update, interrupted)
            line = _end_epoch(state, epochs, figures)
            if group.first:
                with os_errors_as_user_errors(metrics, OTHER_RUNS_FOLDER), metrics.open("ab") as file:
                    file.write(_json_line(line))
            output.log(line)
            shown = f"{line['val_accuracy']:.1%}"
            bar.set_postfix(epoch=f"{line['epoch']}/{epochs}", classes=line["classes"], val=shown, refresh=False)
            if interrupted():
                state.save()
                raise KeyboardInterrupt(_stopped(state, epochs))

    net = state.networks.folded
    net.load_state_dict(state.best_weights())
    output.keep(net)  # again: `keep` may since have been called for an epoch that a kill undid
    at = state.progress
    seconds = sum(line["train_seconds"] for line in at.history)
    last_line = at.history[-1]
    last = last_line["seconds"]
    whole = last_line["classes"] == state.schedule.all_classes
    rate = total / seconds
    return Trained(net, at.history, at.best_epoch, at.best[0], last, total, rate, at.commits, at.processes, whole)


def _train_epoch(
    state: TrainingState, epochs: int, images_done: Callable[[int], object], interrupted: Callable[[], bool]
) -> dict[str, float]:
    """The rest of the current epoch, step by step. Returns its figures. Saves now and then, and where interrupted."""
    at, recipe, source, stack = state.progress, state.setup.recipe, state.setup.source, state.networks.stack
    net = state.networks.trained
    device, labels, fields = state.device, source.labels_of(at.epoch), state.setup.fields
    batches = state.schedule.batches(at.epoch, recipe.batch, stack)
    images_of_epoch = state.schedule.images(at.epoch)
    shares = {size: Share.of_batch(size, stack, state.group) for size in set(batches.sizes)}
    rows = () if state.group.alone else ([shares[size].rows for size in batches.sizes[at.step :]],)
    loss_sum, correct = torch.tensor(at.loss_sum, device=device), torch.tensor(at.correct, device=device)
    begun = state.clock() - at.train_seconds
    net.train()
    for images in source.batches(at.epoch, batches[at.step :], *rows):
        share = shares[batches.sizes[at.step]]
        batch = batches[at.step][share.rows]  # (b*f,)
        y = labels[batch.to(device)].long()  # (b*f,), or (b*f, m)
        factor = learning_rate_factor(recipe, (at.epoch + at.step / len(batches)) / epochs)
        for group in chain.from_iterable(optimizer.param_groups for optimizer in state.optimizers.values()):
            group["lr"] = factor * group["initial_lr"]
        logits, loss, total_loss = state.losses(to_input(images), y, batch, share)
        net.zero_grad()
        right = right_in_all(logits.detach(), y, fields).sum()
        of_batch = share.backward(net, total_loss, (loss.detach() * len(batch), right))
        loss_sum += of_batch[0]  # stays on the device: reading it would synchronise every step
        correct += of_batch[1]
        for optimizer in state.optimizers.values():
            optimizer.step()
        state.networks.update_average()
        images_done(share.batch)
        at.step += 1
        stop = interrupted()
        if stop or state.save_is_due():
            at.loss_sum, at.correct, at.train_seconds = loss_sum.item(), correct.item(), state.clock() - begun
            state.save()
        if stop:
            raise KeyboardInterrupt(_stopped(state, epochs))
    if at.step < len(batches):
        raise RuntimeError(f"epoch {at.epoch + 1} ended after {at.step} of {len(batches)} batches")
    train_loss = loss_sum.item() / images_of_epoch  # the one synchronisation of an epoch
    seconds = state.clock() - begun
    return {
        "lr": state.optimizers["main"].param_groups[0]["lr"],
        "train_loss": train_loss,
        "train_accuracy": correct.item() / images_of_epoch,
        "images_per_second": images_of_epoch / seconds,
        "train_seconds": seconds,
    }


def _end_epoch(state: TrainingState, epochs: int, figures: dict[str, float]) -> dict[str, Any]:
    """Validate the epoch, keep it if it is the best, and move on to the next. Returns the epoch's line of metrics."""
    at, all_classes = state.progress, state.schedule.all_classes
    if not math.isfinite(figures["train_loss"]):
        raise UserError(
            f"the loss of epoch {at.epoch + 1} is {figures['train_loss']}: give a lower recipe.lr or recipe.muon_lr,"
            " and look whether the network gives numbers"
        )
    count = state.schedule.class_counts[at.epoch]
    state.networks.fuse()
    accuracy, loss = validation = _validation(state)
    better = (accuracy, -loss) > at.best or (state.setup.later_if_equal and accuracy == at.best[0])
    improved = count == all_classes and better
    line = {
        "epoch": at.epoch + 1,
        "classes": count,
        "lr": figures["lr"],
        "train_loss": figures["train_loss"],
        "train_accuracy": figures["train_accuracy"],
        "val_loss": loss,
        "val_accuracy": accuracy,
        "best": improved,
        "images_per_second": figures["images_per_second"],
        "train_seconds": figures["train_seconds"],
        "seconds": state.seconds(),
    }
    at.history.append(line)
    if improved or (at.epoch + 1 == epochs and state.best is None):
        state.keep_best(validation, epoch=at.epoch + 1)
    at.epoch, at.step, at.loss_sum, at.correct, at.train_seconds = at.epoch + 1, 0, 0.0, 0.0, 0.0
    return line


def _validation(state: TrainingState) -> tuple[float, float]:
    """Validation accuracy and loss of the plain network."""
    p = state.setup
    return accuracy_and_loss(state.networks.plain, state.networks.stack, p.val, p.seed, p.fields, state.group)


def _stopped(state: TrainingState, epochs: int) -> str:
    return f"stopped in epoch {min(state.progress.epoch + 1, epochs)} of {epochs}, kept in {state.output.folder}"


def _json_line(line: dict[str, Any]) -> bytes:
    return json.dumps(line).encode() + b"\n"
