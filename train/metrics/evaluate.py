"""How good a FoldedCNN is: accuracy over random groupings, and how far it depends on the order within a stack."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from train.data.sources import Split, to_input
from train.folding.arithmetic import fold, unfold

BATCH = 512  # images a forward pass


@dataclass
class Evaluation:
    """All figures are fractions in 0…1.

    `accuracy` is the mean of `accuracy_groupings`, one a random grouping of the test set into stacks;
    `accuracy_ci95` is Wilson's interval for it with the number of test images, the chance that lies in the test set.
    `order_agreement`: how often an image's prediction in one of the f! orders of its stack equals that in the first
    order, averaged over images and all f! orders; `order_all_agree`: the share of images on which all f! agree. Both
    are None for f=1. The tensors are of the first grouping: `predictions` (n,), the `confidence` in them (n,), and how
    many orders agree with the first for each image, `orders_agreeing` (n,).
    """

    accuracy: float
    accuracy_ci95: tuple[float, float]
    accuracy_groupings: list[float]
    per_class_accuracy: list[float | None]  # None for a class without test images
    confusion: Tensor  # (classes, classes), true by predicted, of all groupings
    predictions: Tensor
    confidence: Tensor
    order_agreement: float | None = None
    order_all_agree: float | None = None
    orders: int | None = None
    orders_agreeing: Tensor = field(default_factory=lambda: torch.empty(0))


def evaluate(
    net: nn.Module, f: int, split: Split, *, classes: int, groupings: int, seed: int, orders: bool = True
) -> Evaluation:
    """Score every image of `split` exactly once in each of `groupings` random groupings into stacks of `f`.

    Without `orders` the order agreement, f! passes more, is left out.
    """
    n = len(split.labels)
    generator = torch.Generator().manual_seed(seed)
    labels = split.labels.cpu()
    confusion = torch.zeros(classes, classes, dtype=torch.long)
    accuracies = []
    for number in range(groupings if f > 1 else 1):  # f=1 has one grouping: every image alone
        stacks = group(n, f, generator)
        logits = predict(net, split.images, stacks)
        predictions = logits.argmax(1)
        accuracies.append((predictions == labels).float().mean().item())
        confusion += torch.bincount(labels * classes + predictions, minlength=classes**2).view(classes, classes)
        if number == 0:
            first = stacks, predictions, logits.softmax(1).amax(1)
    mean = sum(accuracies) / len(accuracies)
    result = Evaluation(
        accuracy=mean,
        accuracy_ci95=wilson(mean, n),
        accuracy_groupings=accuracies,
        per_class_accuracy=[
            right / seen if seen else None
            for right, seen in zip(confusion.diag().tolist(), confusion.sum(1).tolist(), strict=True)
        ],
        confusion=confusion,
        predictions=first[1],
        confidence=first[2],
    )
    if f > 1 and orders:
        agreeing = order_agreement(net, split.images, first[0], first[1])
        result.orders = math.factorial(f)
        result.orders_agreeing = agreeing
        result.order_agreement = agreeing.float().mean().item() / result.orders
        result.order_all_agree = (agreeing == result.orders).float().mean().item()
    return result


def accuracy(net: nn.Module, f: int, split: Split, seed: int) -> tuple[float, float]:
    """Accuracy and mean cross entropy over one random grouping, the same one for the same seed."""
    stacks = group(len(split.labels), f, torch.Generator().manual_seed(seed))
    logits, labels = predict(net, split.images, stacks), split.labels.cpu()
    right = (logits.argmax(1) == labels).float().mean().item()
    return right, functional.cross_entropy(logits, labels).item()


def group(n: int, f: int, generator: torch.Generator) -> Tensor:
    """A random grouping of `n` images: indices (⌈n/f⌉, f), each image once, the last stack filled up with repeats.

    >>> group(5, 2, torch.Generator().manual_seed(0)).shape
    torch.Size([3, 2])
    """
    order = torch.randperm(n, generator=generator)
    return order.repeat(f)[: n + -n % f].view(-1, f)  # (s*f,) -> (s, f)


def predict(net: nn.Module, images: Tensor, stacks: Tensor) -> Tensor:
    """Logits on the CPU, (n, classes), in the order of `images`, each image scored where it stands in `stacks` (s, f).

    Padding, the repeats at the end of the last stack, is not scored.
    """
    n = len(images)
    logits = logits_of_stacks(net, images, stacks)[:n]
    out = torch.empty_like(logits)
    out[stacks.flatten()[:n]] = logits
    return out


@torch.inference_mode()
def logits_of_stacks(net: nn.Module, images: Tensor, stacks: Tensor) -> Tensor:
    """Logits on the CPU, (s·f, classes), image by image as they stand in `stacks` (s, f)."""
    net.eval()
    f = stacks.shape[1]
    indices = stacks.flatten().to(images.device)  # images of a stack follow each other
    batches = torch.split(indices, max(BATCH // f, 1) * f)
    return torch.cat([unfold(net(fold(to_input(images[batch]), f)), f) for batch in batches]).float().cpu()


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
        predicted = logits_of_stacks(net, images, moved).argmax(1)[counted]
        indices = moved.flatten()[counted]
        agreeing[indices] += predicted == predictions[indices]
    return agreeing


def wilson(share: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval for a share of `n` trials.

    >>> [round(bound, 3) for bound in wilson(0.95, 2700)]
    [0.941, 0.958]
    """
    z = 1.959964
    center = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(center - half, 0.0), min(center + half, 1.0)
