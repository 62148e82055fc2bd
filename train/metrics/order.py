"""Order agreement: how far a prediction depends on the image's place in its stack."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from tqdm import tqdm

from train.metrics.predict import predict_stacks


def order_agreement(net: nn.Module, images: Tensor, stacks: Tensor, predictions: Tensor) -> Tensor:
    """For each image, in how many of the f! orders of its stack it is predicted as in the first: (n,), 1 to f!.

    `predictions` are those of the first order, `predict(net, images, stacks).argmax(1)`.
    """
    n, f = len(images), stacks.shape[1]
    agreeing = torch.zeros(n, dtype=torch.long)
    scored = (torch.arange(stacks.numel()) < n).view(-1, f)  # not the repeats that fill up the last stack
    orders = tqdm(list(itertools.permutations(range(f))), desc="orders", leave=False, disable=None)
    for order in map(list, orders):
        moved, counted = stacks[:, order], scored[:, order].flatten()
        predicted = predict_stacks(net, images, moved).argmax(1)[counted]
        indices = moved.flatten()[counted]
        agreeing[indices] += predicted == predictions[indices]
    return agreeing
