"""The pictures of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from train.evaluate import Evaluation


def curves(history: Sequence[dict[str, Any]], best_epoch: int, path: Path) -> None:
    """Loss and accuracy of training and validation by epoch, with the classes that were in and the best epoch."""
    epochs = [line["epoch"] for line in history]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for split, color in (("train", "tab:blue"), ("val", "tab:orange")):
        left.plot(epochs, [line[f"{split}_loss"] for line in history], color=color, label=split)
        right.plot(epochs, [line[f"{split}_accuracy"] for line in history], color=color, label=split)
    right.axvline(best_epoch, color="tab:gray", linestyle=":", label=f"best epoch: {best_epoch}")
    if len({line["classes"] for line in history}) > 1:
        classes = left.twinx()
        classes.step(epochs, [line["classes"] for line in history], color="tab:green", alpha=0.5, where="mid")
        classes.set_ylabel("classes in", color="tab:green")
    left.set(xlabel="epoch", ylabel="cross entropy")
    right.set(xlabel="epoch", ylabel="accuracy", ylim=(None, 1))
    right.yaxis.set_major_formatter(PercentFormatter(1))
    left.legend()
    right.legend()
    _save(figure, path)


def confusion(evaluation: Evaluation, classes: Sequence[str], path: Path) -> None:
    """True class by predicted class, as the share of the true class; the diagonal is left out of the colour scale."""
    shares = (evaluation.confusion / evaluation.confusion.sum(1, keepdim=True).clamp(min=1)).numpy()
    mistakes = np.where(np.eye(len(classes), dtype=bool), np.nan, shares)
    side = min(4 + 0.16 * len(classes), 16)
    figure, axes = plt.subplots(figsize=(side + 1, side), layout="constrained")
    highest = max(float(np.nanmax(mistakes, initial=0)), 0.01)
    picture = axes.imshow(mistakes, cmap="Reds", vmin=0, vmax=highest)
    every = max(len(classes) // 40, 1)
    ticks = range(0, len(classes), every)
    axes.set_xticks(ticks, [classes[i] for i in ticks], rotation=90, fontsize=7)
    axes.set_yticks(ticks, [classes[i] for i in ticks], fontsize=7)
    axes.set(xlabel="predicted", ylabel="true", title=f"accuracy {evaluation.accuracy:.2%}; mistakes by class")
    figure.colorbar(picture, format=PercentFormatter(1), shrink=0.7)
    _save(figure, path)


def orders(evaluation: Evaluation, path: Path) -> None:
    """In how many of the f! orders of its stack each image is predicted as in the first."""
    assert evaluation.orders is not None
    shares = np.bincount(evaluation.orders_agreeing.numpy(), minlength=evaluation.orders + 1)[1:]
    shares = shares / shares.sum()
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    axes.bar(range(1, evaluation.orders + 1), shares)
    axes.set_yscale("symlog", linthresh=1e-3)
    axes.set_ylim(0, 1.5)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set(
        xlabel=f"orders of {evaluation.orders} that agree with the first",
        ylabel="share of the images",
        title=f"order agreement {evaluation.order_agreement:.2%}; all agree on {evaluation.order_all_agree:.2%}",
    )
    _save(figure, path)


def mistakes(
    evaluation: Evaluation, images: np.ndarray, labels: np.ndarray, classes: Sequence[str], path: Path, most: int = 48
) -> None:
    """The wrong predictions that the network is surest of: the crop, true class → predicted class, confidence.

    `images` are uint8 (n, H, W, 3).
    """
    predictions, confidence = evaluation.predictions.numpy(), evaluation.confidence.numpy()
    wrong = np.flatnonzero(predictions != labels)
    wrong = wrong[np.argsort(-confidence[wrong], kind="stable")][:most]
    columns = 8
    rows = max(-(-len(wrong) // columns), 1)
    figure, axes = plt.subplots(rows, columns, figsize=(columns * 1.5, rows * 1.2), squeeze=False, layout="constrained")
    for axis in axes.flat:
        axis.axis("off")
    for axis, i in zip(axes.flat, wrong, strict=False):
        axis.imshow(images[i], interpolation="nearest")
        axis.set_title(f"{classes[labels[i]]} → {classes[predictions[i]]}  {confidence[i]:.0%}", fontsize=8)
    figure.suptitle(f"{(predictions != labels).sum()} mistakes of {len(labels)}; the surest of them", fontsize=9)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=90)
    plt.close(figure)
