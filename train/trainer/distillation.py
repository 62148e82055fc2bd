"""Distillation: a network for single images learns from a teacher's logits for the same view of each image."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from textgen.spec.label_fields import LabelFields
from train.common.parallel import ALONE, Group
from train.config.recipe import Distill
from train.data.sources import DeviceSplit, Source
from train.metrics.losses import mean_over_fields
from train.metrics.predict import predict


class Distiller:
    """The logits of a teacher. For a data set whose images stay the same they are computed once."""

    def __init__(
        self, teacher: nn.Module, settings: Distill, source: Source, fields: LabelFields, group: Group = ALONE
    ):
        self._teacher, self._settings, self._fields = teacher.eval(), settings, fields
        self._known: Tensor | None = None
        if isinstance(source, DeviceSplit):
            alone = torch.arange(len(source.labels))[:, None]  # (n, 1): stacks of one
            self._known = predict(teacher, source.images, alone, group).to(source.labels.device)  # (n, classes)

    def logits(self, x: Tensor, batch: Tensor) -> Tensor:
        """The teacher's logits (b, k) for the images `x` (b, 3, H, W), whose indices in the source are `batch` (b,)."""
        if self._known is not None:
            return self._known[batch.to(x.device)]
        with torch.no_grad():
            logits: Tensor = self._teacher(x)
        return logits

    def loss(self, of_labels: Tensor, logits: Tensor, of_teacher: Tensor) -> Tensor:
        """The loss of `logits` (b, k), given that of the labels: see `train.config.recipe.Distill`."""
        s = self._settings
        if s.loss == "mse":
            difference = mean_over_fields(functional.mse_loss, self._fields, logits, of_teacher)
        else:
            difference = mean_over_fields(self._divergence, self._fields, logits, of_teacher)
        return s.weight * difference + (1 - s.weight) * of_labels

    def _divergence(self, logits: Tensor, of_teacher: Tensor) -> Tensor:
        temperature = self._settings.temperature
        learned, taught = ((side / temperature).log_softmax(1) for side in (logits, of_teacher))
        return temperature**2 * functional.kl_div(learned, taught, log_target=True, reduction="batchmean")
