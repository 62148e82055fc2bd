"""Training, top-down: one network, one recipe, epoch after epoch, the best by validation kept."""

from __future__ import annotations

import json
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from textgen.common.atomic import mendable, write_whole
from textgen.common.progress import bar
from train.config.curriculum import classes_in, epoch_order, order_of, ranks_of
from train.config.recipe import Recipe
from train.data.sources import Source, Split, to_input
from train.folding.arithmetic import fold, unfold
from train.metrics.evaluate import accuracy
from train.models.notation import Layer
from train.trainer import checkpoint
from train.trainer.cross_slot import BetweenSlots, inconsistency
from train.trainer.distillation import Taught
from train.trainer.optimizers import optimizers_of
from train.trainer.variants import Forms


@dataclass
class Trained:
    """The best network by validation, folded and whole, and how it came about.

    `history` has a mapping an epoch; `seconds` is all of it, `images_per_second` the rate within training epochs alone.
    `commits` are those of the code that trained, more than one where the run went on with another.
    """

    net: nn.Module
    history: list[dict[str, Any]]
    best_epoch: int
    seconds: float
    images_per_second: float
    commits: list[str]


@dataclass(frozen=True)
class Speed:
    """How a training is computed, and nothing of what: `compile` is torch.compile, with CUDA graphs on a GPU;
    `autocast` computes convolutions in bfloat16."""

    compile: bool = False
    autocast: bool = False


@dataclass
class Progress:
    """Where a training stands: `step` of `epoch`, both from 0, with what has come together since the epoch's begin."""

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    right: float = 0.0
    train_seconds: float = 0.0
    seconds: float = 0.0
    best: tuple[float, float] = (-1.0, 0.0)  # accuracy and negative loss of validation
    best_epoch: int = 0  # from 1; 0 while there is none, or where a run's start is better than all
    history: list[dict[str, Any]] = field(default_factory=list)
    commits: list[str] = field(default_factory=list)


def train(
    source: Source,
    val: Split,
    *,
    layers: tuple[Layer, ...],
    classes: tuple[str, ...],
    f: int,
    recipe: Recipe,
    seed: int,
    folder: Path,
    identity: str,
    keep: Callable[[nn.Module], None],
    teacher: nn.Module | None = None,
    start: nn.Module | None = None,
    speed: Speed = Speed(),
    log: Callable[[dict[str, Any]], None] = lambda line: None,
    commit: str | None = None,
    save_every: float = 20.0,
    quiet: bool = False,
) -> Trained:
    """Train a FoldedCNN on stacks of `f` images of `source` that are drawn anew each epoch (f=1: the original network).

    A line an epoch goes to metrics.jsonl in `folder` and to `log`; `keep` is called with the whole network whenever
    validation has improved, and at the end with the one that is returned. `commit` is that of this code. "Best" counts
    only once every class of a curriculum is in; a run that ends before that keeps its last. `teacher` is a network for
    single images (f=1), in whose logits the network is trained; `start` one for stacks of `f`, with whose weights it
    begins: epoch 0, which is kept if no epoch is better.

    The complete state goes to `folder` every `save_every` seconds, and a training with the same `identity` goes on from
    there; on a CPU with the same number of threads it ends with the same bits. Ctrl-C saves before `KeyboardInterrupt`.
    """
    epochs = recipe.epochs
    assert epochs is not None
    size, device = source.size, source.labels.device
    torch.manual_seed(seed)

    forms = Forms.of(layers, size=size, classes=classes, f=f, recipe=recipe, device=device, start=start)
    net, stack = forms.trained, forms.stack
    optimizers = optimizers_of(net, recipe)
    between: BetweenSlots | AbstractContextManager[None] = nullcontext()
    if recipe.between_slots < 1:
        between = BetweenSlots(net, layers, size, len(classes), f, recipe.between_slots)
        if start is None:
            between.scale()
    forward = torch.compile(net, mode="reduce-overhead" if device.type == "cuda" else None) if speed.compile else net
    taught = Taught(teacher, recipe.distill, source) if teacher and recipe.distill else None

    class_order = order_of(recipe.curriculum, classes, seed) if recipe.curriculum else list(range(len(classes)))
    ranks = ranks_of(class_order)[source.labels.cpu()]  # (n,): an image is in when more classes than this are
    class_counts = [
        classes_in(recipe.curriculum, epoch=epoch, epochs=epochs, classes=len(classes), fold=f)
        for epoch in range(epochs)
    ]
    images_in = (torch.bincount(ranks, minlength=len(classes)).cumsum(0) // stack * stack).tolist()

    at, best_state = Progress(), None
    state: dict[str, Any] = {"net": net, **optimizers}
    if forms.averaged is not None:
        state["averaged"] = forms.averaged
    if saved := checkpoint.load(folder, identity):
        at, best_state = Progress(**saved["progress"]), saved["best"]
        for name, part in state.items():
            part.load_state_dict(saved[name])
        torch.set_rng_state(saved["rng"])
        if device.type == "cuda":
            torch.cuda.set_rng_state(saved["rng_cuda"], device)
        if not quiet:
            print(f"going on at epoch {at.epoch + 1} of {epochs}, step {at.step}, in {folder}", file=sys.stderr)
    elif start is not None:
        forms.settle()
        val_accuracy, val_loss = accuracy(forms.plain, stack, val, seed)
        at.best = val_accuracy, -val_loss
        best_state = _kept(forms, keep)
    if commit is not None and commit not in at.commits:
        at.commits.append(commit)
    metrics = folder / "metrics.jsonl"
    write_whole(metrics, b"".join(_line(line) for line in at.history), checkpoint.ELSEWHERE)

    def answers(x: Tensor) -> list[Tensor]:  # images that follow each other in stacks, (b*f, 3, H, W) -> (b*f, classes)
        with torch.autocast(device.type, torch.bfloat16, enabled=speed.autocast):
            ends = forward(fold(x, stack))
            return [unfold(end, stack).float() for end in (ends if isinstance(ends, tuple) else (ends,))]

    def answer(x: Tensor) -> Tensor:
        return answers(x)[0]

    def loss_of(logits: Tensor, y: Tensor, of_teacher: Tensor | None) -> Tensor:
        loss = functional.cross_entropy(logits, y, label_smoothing=recipe.label_smoothing)
        return loss if taught is None or of_teacher is None else taught.loss(loss, logits, of_teacher)

    def seconds() -> float:
        return seconds_before + clock() - begun

    clock = time.perf_counter
    begun, seconds_before, saved_at = clock(), at.seconds, clock()

    def save(loss_sum: float = 0.0, right: float = 0.0, train_seconds: float = 0.0) -> None:
        nonlocal saved_at
        at.loss_sum, at.right, at.train_seconds, at.seconds = loss_sum, right, train_seconds, seconds()
        rng = {"rng": torch.get_rng_state()}
        if device.type == "cuda":
            rng["rng_cuda"] = torch.cuda.get_rng_state(device)
        parts = {name: part.state_dict() for name, part in state.items()}
        checkpoint.save(folder, {"identity": identity, "progress": asdict(at), "best": best_state, **rng, **parts})
        saved_at = clock()

    total = sum(images_in[count - 1] for count in class_counts)
    before = sum(images_in[count - 1] for count in class_counts[: at.epoch]) + at.step * recipe.batch
    with bar(total, f"training f={f}", done=before, quiet=quiet) as shown, _interrupts() as interrupted:
        while at.epoch < epochs:
            in_now = class_counts[at.epoch]
            order = epoch_order(ranks, in_now, seed, at.epoch)[: images_in[in_now - 1]]
            batches = _batches(order, recipe.batch, stack)
            targets = _batches(source.labels[order.to(device)], recipe.batch, stack)
            loss_sum = torch.tensor(at.loss_sum, device=device)
            right = torch.tensor(at.right, device=device)
            epoch_begun = clock() - at.train_seconds
            net.train()
            for images in source.batches(at.epoch, batches[at.step :]):
                batch, y = batches[at.step], targets[at.step]  # (b*f,)
                factor = _lr_factor(recipe, (at.epoch + at.step / len(batches)) / epochs)
                for group in chain.from_iterable(optimizer.param_groups for optimizer in optimizers.values()):
                    group["lr"] = factor * group["initial_lr"]
                x = to_input(images)  # (b*f, 3, H, W)
                logits, *auxiliary = answers(x)
                of_teacher = taught.logits(x, batch) if taught else None
                loss = loss_of(logits, y, of_teacher)
                if recipe.consistency:
                    loss = loss + recipe.consistency * inconsistency(answer, x, logits, stack)
                loss_sum += loss.detach() * len(batch)  # stays on the device: reading it would wait for every step
                for end in auxiliary:
                    loss = loss + recipe.auxiliary * loss_of(end, y, of_teacher)
                net.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                with between:
                    for optimizer in optimizers.values():
                        optimizer.step()
                forms.step()
                right += (logits.detach().argmax(1) == y).sum()
                shown.update(len(batch))
                at.step += 1
                if interrupted() or clock() - saved_at > save_every:
                    save(loss_sum.item(), right.item(), clock() - epoch_begun)
                if interrupted():
                    raise KeyboardInterrupt(_stopped(at, epochs, folder))

            train_loss = loss_sum.item() / len(order)  # the one wait for the device in an epoch
            train_seconds = clock() - epoch_begun
            forms.settle()
            val_accuracy, val_loss = accuracy(forms.plain, stack, val, seed)
            improved = in_now == len(classes) and (val_accuracy, -val_loss) > at.best
            line = {
                "epoch": at.epoch + 1,
                "classes": in_now,
                "lr": optimizers["usual"].param_groups[0]["lr"],
                "train_loss": train_loss,
                "train_accuracy": right.item() / len(order),
                "val_loss": val_loss,
                "val_accuracy": val_accuracy,
                "best": improved,
                "images_per_second": len(order) / train_seconds,
                "train_seconds": train_seconds,
                "seconds": seconds(),
            }
            at.history.append(line)
            with mendable(metrics, checkpoint.ELSEWHERE), metrics.open("ab") as file:
                file.write(_line(line))
            log(line)
            if improved or (at.epoch + 1 == epochs and best_state is None):
                at.best, at.best_epoch = (val_accuracy, -val_loss), at.epoch + 1
                best_state = _kept(forms, keep)
            shown.set_postfix(
                epoch=f"{at.epoch + 1}/{epochs}", classes=in_now, val=f"{val_accuracy:.1%}", refresh=False
            )
            at.epoch, at.step, at.loss_sum, at.right, at.train_seconds = at.epoch + 1, 0, 0.0, 0.0, 0.0
            if interrupted():
                save()
                raise KeyboardInterrupt(_stopped(at, epochs, folder))

    assert best_state is not None
    forms.folded.load_state_dict(best_state)
    keep(forms.folded)  # again: an epoch that a kill undid may have been kept since
    in_epochs = sum(line["train_seconds"] for line in at.history)
    return Trained(forms.folded, at.history, at.best_epoch, at.history[-1]["seconds"], total / in_epochs, at.commits)


def _batches(order: Tensor, batch: int, stack: int) -> tuple[Tensor, ...]:
    """`order` (n,) in parts of `batch` images, of which those that follow each other share a stack.

    What is left over is the last part; where that is one stack, it joins the part before, as a norm has no variance of
    one, and no step should be taken on it alone.
    """
    parts = torch.split(order, batch)
    if len(parts) > 1 and len(parts[-1]) == stack:
        return *parts[:-2], torch.cat(parts[-2:])
    return parts


def _kept(forms: Forms, keep: Callable[[nn.Module], None]) -> dict[str, Tensor]:
    """The whole network's weights as they are now, also given to `keep`."""
    folded = forms.assemble()
    keep(folded)
    return {name: value.clone() for name, value in folded.state_dict().items()}


def _lr_factor(recipe: Recipe, progress: float) -> float:
    """What the learning rate is multiplied by at `progress` in 0…1 of the run."""
    if recipe.schedule == "constant":
        return 1.0
    if progress < recipe.warmup:
        return max(progress / recipe.warmup, 0.01)
    return 0.5 * (1 + math.cos(math.pi * (progress - recipe.warmup) / (1 - recipe.warmup)))


def _stopped(at: Progress, epochs: int, folder: Path) -> str:
    return f"stopped in epoch {min(at.epoch + 1, epochs)} of {epochs}, kept in {folder}"


def _line(line: dict[str, Any]) -> bytes:
    return json.dumps(line).encode() + b"\n"


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Within it a first Ctrl-C (or SIGTERM) is only noted, so that no step is cut in two; a second one interrupts."""
    noted = False

    def note(number: int, frame: object) -> None:
        nonlocal noted
        if noted:
            raise KeyboardInterrupt
        noted = True

    if threading.current_thread() is not threading.main_thread():  # there are no signals elsewhere
        yield lambda: False
        return
    handlers = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: noted
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
