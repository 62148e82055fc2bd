"""Random groupings of images into stacks, and the logits of stacked images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from textgen.spec.field_scores import choose
from textgen.spec.label_fields import LabelFields
from train.common.answers import log_probabilities
from train.common.parallel import ALONE, Group
from train.data.sources import to_input
from train.folding.arithmetic import fold, unfold

BATCH = 512  # images per forward pass, rounded down to whole stacks


def random_stacks(n: int, f: int, generator: torch.Generator) -> Tensor:
    """Draw a random grouping of `n` images: indices (⌈n/f⌉, f), each image once, the last stack filled with repeats.

    >>> random_stacks(5, 2, torch.Generator().manual_seed(0)).shape
    torch.Size([3, 2])
    """
    order = torch.randperm(n, generator=generator)  # (n,)
    return order.repeat(f)[: n + -n % f].view(-1, f)  # (s*f,) -> (s, f)


def predict(net: nn.Module, images: Tensor, stacks: Tensor, group: Group = ALONE) -> Tensor:
    """Logits on the CPU, (n, classes), in the order of `images`, from one pass over `stacks` (s, f).

    `stacks` is a grouping as `random_stacks` draws it; the repeats at the end of the last stack are not scored. The
    processes of `group`, which all call this, divide the stacks among them, and all get all logits.
    """
    n = len(images)
    if group.alone:
        stacked_logits = predict_stacks(net, images, stacks)[:n]  # in the order of the stacks
    else:
        each = -(-len(stacks) // group.size)  # the last processes begin again with the first stacks
        share = torch.arange(group.rank * each, (group.rank + 1) * each) % len(stacks)
        stacked_logits = group.gather(predict_stacks(net, images, stacks[share])).flatten(0, 1)[:n]
    logits = torch.empty_like(stacked_logits)
    logits[stacks.flatten()[:n]] = stacked_logits
    return logits


def predict_answers(logits: Tensor, fields: LabelFields) -> Tensor:
    """The answers for logits (n, k) on the CPU, int64 (n,), or (n, m) for several fields."""
    if fields.is_single:
        return logits.argmax(1)
    return torch.from_numpy(choose(log_probabilities(logits.numpy(), fields), fields))


@torch.inference_mode()
def predict_stacks(net: nn.Module, images: Tensor, stacks: Tensor) -> Tensor:
    """Logits on the CPU, (s·f, classes), in the order of the stacked images, `stacks` (s, f)."""
    net.eval()
    f = stacks.shape[1]
    indices = stacks.flatten().to(images.device)  # (s, f) -> (s*f,): the images of a stack are consecutive
    batches = torch.split(indices, max(BATCH // f, 1) * f)
    return torch.cat([unfold(net(fold(to_input(images[batch]), f)), f) for batch in batches]).float().cpu()
