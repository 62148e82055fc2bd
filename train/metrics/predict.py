"""Logits of stacked images, in the order of the images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from train.data.sources import to_input
from train.folding.arithmetic import fold, unfold

BATCH = 512  # images a forward pass


def random_stacks(n: int, f: int, generator: torch.Generator) -> Tensor:
    """A random grouping of `n` images: indices (⌈n/f⌉, f), each image once, the last stack filled up with repeats.

    >>> random_stacks(5, 2, torch.Generator().manual_seed(0)).shape
    torch.Size([3, 2])
    """
    order = torch.randperm(n, generator=generator)
    return order.repeat(f)[: n + -n % f].view(-1, f)  # (s*f,) -> (s, f)


def predict(net: nn.Module, images: Tensor, stacks: Tensor) -> Tensor:
    """Logits on the CPU, (n, classes), in the order of `images`, each image scored where it stands in `stacks` (s, f).

    Padding, the repeats at the end of the last stack, is not scored.
    """
    n = len(images)
    logits = predict_stacks(net, images, stacks)[:n]
    out = torch.empty_like(logits)
    out[stacks.flatten()[:n]] = logits
    return out


@torch.inference_mode()
def predict_stacks(net: nn.Module, images: Tensor, stacks: Tensor) -> Tensor:
    """Logits on the CPU, (s·f, classes), image by image as they stand in `stacks` (s, f)."""
    net.eval()
    f = stacks.shape[1]
    indices = stacks.flatten().to(images.device)  # images of a stack follow each other
    batches = torch.split(indices, max(BATCH // f, 1) * f)
    return torch.cat([unfold(net(fold(to_input(images[batch]), f)), f) for batch in batches]).float().cpu()
