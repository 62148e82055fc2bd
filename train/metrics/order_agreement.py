"""Order agreement: how often an image's prediction stays the same when the images of its stack are reordered."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from tqdm import tqdm

from textgen.spec.label_fields import LabelFields
from train.common.answers import same
from train.metrics.predict import predict_answers, predict_stacks


def order_agreement(net: nn.Module, images: Tensor, stacks: Tensor, predictions: Tensor, fields: LabelFields) -> Tensor:
    """Count, for each image, the orders of its stack in which its prediction is that of the first order: (n,), 1…f!.

    `stacks` (s, f) are the images in the first order; `predictions` (n,), or (n, m), are the answers for
    `predict(net, images, stacks)`. Of several fields, all have to be the same.
    """
    n, f = len(images), stacks.shape[1]
    agreeing = torch.zeros(n, dtype=torch.long)
    scored = (torch.arange(stacks.numel()) < n).view(-1, f)  # (s*f,) -> (s, f): False for repeats in the last stack
    orders = tqdm(list(itertools.permutations(range(f))), desc="orders", leave=False, disable=None)
    for order in map(list, orders):
        reordered, is_scored = stacks[:, order], scored[:, order].flatten()  # (s, f) and (s*f,)
        predicted = predict_answers(predict_stacks(net, images, reordered), fields)[is_scored]  # (n,), or (n, m)
        indices = reordered.flatten()[is_scored]  # (n,)
        agreeing[indices] += same(predicted, predictions[indices])
    return agreeing
