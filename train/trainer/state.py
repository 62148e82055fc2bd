"""The state of one training: networks, optimisers, progress, and how all of it is saved and resumed."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from textgen.spec.label_fields import LabelFields
from train.common.parallel import ALONE, Group
from train.config.recipe import Recipe
from train.data.sources import DeviceSplit, Source
from train.folding.arithmetic import fold, unfold
from train.folding.own_module import OwnModule
from train.metrics.losses import cross_entropy
from train.models.notation import Layer
from train.trainer import checkpoint
from train.trainer.distillation import Distiller
from train.trainer.network_variants import TrainingNetworks
from train.trainer.optimizers import build_optimizers
from train.trainer.order_consistency import order_consistency_loss
from train.trainer.schedule import Schedule
from train.trainer.shares import Share, WholeBatch


@dataclass(frozen=True)
class TrainingSetup:
    """What is trained: a `network`, layers or a module, that reads the `fields` of stacks of `fold` images of `source`,
    validated on `val`.

    `teacher` is a network for single images from whose logits the network learns as well; `start` is a network for
    stacks of `fold` images with whose weights training begins. With `later_if_equal`, of epochs with the same
    validation accuracy the last is the best, not that with the lowest loss: a few hundred real crops are soon read
    without mistake, and their loss says little about others.
    """

    source: Source
    val: DeviceSplit
    network: tuple[Layer, ...] | OwnModule
    fields: LabelFields
    fold: int
    recipe: Recipe
    seed: int
    teacher: nn.Module | None = None
    start: nn.Module | None = None
    later_if_equal: bool = False


@dataclass(frozen=True)
class Output:
    """Where a training writes: `folder` for metrics.jsonl and checkpoints, `keep` for the best network, `log` for
    epochs.

    `identity` names the run: only a checkpoint with the same one is resumed. `commit` is that of the code.
    """

    folder: Path
    identity: str
    keep: Callable[[nn.Module], None]
    log: Callable[[dict[str, Any]], None] = lambda line: None
    commit: str | None = None
    save_every: float = 20.0  # seconds
    quiet: bool = False


@dataclass(frozen=True)
class Computation:
    """How a training is computed: `compile` is torch.compile, with CUDA graphs on a GPU; `autocast` computes
    convolutions in bfloat16."""

    compile: bool = False
    autocast: bool = False


FULL_PRECISION = Computation()  # neither, which is what results are reported with


@dataclass
class Progress:
    """How far a training is: `step` of `epoch`, both from 0, and the sums over the epoch's images so far."""

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    correct: float = 0.0
    train_seconds: float = 0.0
    seconds: float = 0.0
    best: tuple[float, float] = (-1.0, 0.0)  # validation accuracy and negative validation loss
    best_epoch: int = 0  # from 1; 0: none yet, or the network that training began with
    history: list[dict[str, Any]] = field(default_factory=list)
    commits: list[str] = field(default_factory=list)
    processes: list[int] = field(default_factory=list)  # how many trained it; more than one entry after resuming


@dataclass
class TrainingState:
    """Everything that changes during a training, and what the training needs."""

    setup: TrainingSetup
    output: Output
    computation: Computation
    networks: TrainingNetworks
    forward: Callable[[Tensor], Any]
    optimizers: dict[str, torch.optim.Optimizer]
    distiller: Distiller | None
    schedule: Schedule
    group: Group = ALONE
    progress: Progress = field(default_factory=Progress)
    best: dict[str, Tensor] | None = None  # weights of the folded network
    clock: Callable[[], float] = time.perf_counter

    @classmethod
    def build(
        cls, setup: TrainingSetup, output: Output, computation: Computation, group: Group = ALONE
    ) -> TrainingState:
        """At the beginning of epoch 0, with weights drawn from torch's generator or those of `setup.start`."""
        p, recipe, device = setup, setup.recipe, setup.source.labels.device
        size, f = p.source.size, p.fold
        networks = TrainingNetworks.build(
            p.network, size=size, fields=p.fields, f=f, recipe=recipe, device=device, start=p.start
        )
        net = networks.trained
        optimizers = build_optimizers(net, recipe)
        mode = "reduce-overhead" if device.type == "cuda" else None
        forward = torch.compile(net, mode=mode) if computation.compile else net
        distiller = None
        if p.teacher and recipe.distill:
            distiller = Distiller(p.teacher, recipe.distill, p.source, p.fields, group)
        schedule = Schedule.build(
            recipe,
            labels=p.source.labels_of,
            fields=p.fields,
            fold=f,
            stack=networks.stack,
            seed=p.seed,
            windows=p.source.windows,
        )
        return cls(p, output, computation, networks, forward, optimizers, distiller, schedule, group)

    def __post_init__(self) -> None:
        self._begun = self._saved_at = self.clock()
        self._seconds_before = 0.0

    @property
    def device(self) -> torch.device:
        return self.setup.source.labels.device

    def losses(self, x: Tensor, y: Tensor, batch: Tensor, share: Share) -> tuple[Tensor, Tensor, Tensor]:
        """`_losses` of a `share` of a batch."""
        if self.group.alone:
            return self._losses(x, y, batch)
        with WholeBatch(share):
            return self._losses(x, y, batch)

    def _losses(self, x: Tensor, y: Tensor, batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (b·f, k), their loss, and that loss with the auxiliary head's added, which is what is minimised.

        `x` (b·f, 3, H, W) are images that follow each other in stacks, `y` (b·f,), or (b·f, m), their labels,
        `batch` (b·f,) their indices in the source.
        """
        recipe = self.setup.recipe
        logits, *auxiliary = self._logits(x)
        of_teacher = self.distiller.logits(x, batch) if self.distiller else None
        loss = self._loss(logits, y, of_teacher)
        if recipe.order_consistency:
            stack = self.networks.stack
            consistency = order_consistency_loss(
                lambda images: self._logits(images)[0], x, logits, stack, self.setup.fields
            )
            loss = loss + recipe.order_consistency * consistency
        total = loss
        for head in auxiliary:
            total = total + recipe.auxiliary * self._loss(head, y, of_teacher)
        return logits, loss, total

    def _logits(self, x: Tensor) -> list[Tensor]:
        """(b·f, 3, H, W) -> (b·f, classes) of the network, and of its auxiliary head if it has one."""
        stack = self.networks.stack
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.computation.autocast):
            heads = self.forward(fold(x, stack))
            return [unfold(head, stack).float() for head in (heads if isinstance(heads, tuple) else (heads,))]

    def _loss(self, logits: Tensor, y: Tensor, of_teacher: Tensor | None) -> Tensor:
        recipe, fields = self.setup.recipe, self.setup.fields
        given = recipe.field_weights
        weights = [given.get(name, 1.0) for name in fields.names] if given else None
        loss = cross_entropy(logits, y, fields, weights=weights, label_smoothing=recipe.label_smoothing)
        return loss if self.distiller is None or of_teacher is None else self.distiller.loss(loss, logits, of_teacher)

    def keep_best(self, validation: tuple[float, float], epoch: int) -> None:
        """Keep the plain network's weights as the best so far, with its validation accuracy and loss."""
        accuracy, loss = validation
        self.progress.best, self.progress.best_epoch = (accuracy, -loss), epoch
        folded = self.networks.assemble()
        self.output.keep(folded)
        self.best = {name: value.clone() for name, value in folded.state_dict().items()}

    def best_weights(self) -> dict[str, Tensor]:
        """Those of the best network; there is one after the last epoch."""
        assert self.best is not None
        return self.best

    def seconds(self) -> float:
        """Since the training began, without the time between a stop and its resumption."""
        return self._seconds_before + self.clock() - self._begun

    def save_is_due(self) -> bool:
        return self.clock() - self._saved_at > self.output.save_every

    def save(self) -> None:
        """Write the complete state to the folder. It is the same in all processes, and the first one writes it."""
        self._saved_at = self.clock()
        if not self.group.first:
            return
        self.progress.seconds = self.seconds()
        rng = {"rng": torch.get_rng_state()}
        if self.device.type == "cuda":
            rng["rng_cuda"] = torch.cuda.get_rng_state(self.device)
        parts = {name: part.state_dict() for name, part in self._parts().items()}
        identity, progress = self.output.identity, asdict(self.progress)
        state = {"identity": identity, "progress": progress, "best": self.best, **rng, **parts}
        checkpoint.save(self.output.folder, state)
        self._saved_at = self.clock()

    def resume(self) -> bool:
        """Go back to the state that was saved last; False if there is none."""
        saved = self._load()
        if saved:
            self.progress, self.best = Progress(**saved["progress"]), saved["best"]
            for name, part in self._parts().items():
                part.load_state_dict(saved[name])
            torch.set_rng_state(saved["rng"])
            if self.device.type == "cuda":
                torch.cuda.set_rng_state(saved["rng_cuda"], self.device)
        commit, commits = self.output.commit, self.progress.commits
        if commit is not None and commit not in commits:
            commits.append(commit)
        if self.group.size not in self.progress.processes:
            self.progress.processes.append(self.group.size)
        self._seconds_before, self._begun, self._saved_at = self.progress.seconds, self.clock(), self.clock()
        return saved is not None

    def _load(self) -> dict[str, Any] | None:
        """The saved state; the first process reads it. Without one, all processes begin with its weights."""
        saved = checkpoint.load(self.output.folder, self.output.identity) if self.group.first else None
        if self.group.alone:
            return saved
        networks = {name: part for name, part in self._parts().items() if isinstance(part, nn.Module)}
        state: dict[str, Any] = saved or {name: net.state_dict() for name, net in networks.items()}
        buffer = io.BytesIO()
        torch.save(state if self.group.first else {}, buffer)
        state = torch.load(io.BytesIO(self.group.of_first(buffer.getvalue())), map_location="cpu", weights_only=True)
        if "progress" in state:
            return state
        for name, net in networks.items():
            net.load_state_dict(state[name])
        return None

    def _parts(self) -> dict[str, Any]:
        """What has a state dict of its own."""
        averaged = {"averaged": self.networks.averaged} if self.networks.averaged is not None else {}
        return {"net": self.networks.trained, **self.optimizers, **averaged}
