"""The figures of a run, as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.ticker import MaxNLocator, PercentFormatter

from train.common.figures import BLUE, GREEN, ORANGE, render_png
from train.metrics.evaluate import Evaluation


def curves(history: Sequence[dict[str, Any]], best_epoch: int) -> bytes:
    """Loss and accuracy of training and validation by epoch, with the number of classes and the best epoch."""
    epochs = [line["epoch"] for line in history]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for split, own in (("train", BLUE), ("val", ORANGE)):
        left.plot(epochs, [line[f"{split}_loss"] for line in history], color=own, label=split)
        right.plot(epochs, [line[f"{split}_accuracy"] for line in history], color=own, label=split)
    right.axvline(best_epoch, color="tab:gray", linestyle=":", label=f"best epoch: {best_epoch or 'the start'}")
    if len({line["classes"] for line in history}) > 1:
        classes = left.twinx()
        classes.step(epochs, [line["classes"] for line in history], color=GREEN, alpha=0.5, where="mid")
        classes.set_ylabel("classes", color=GREEN)
        left.set_zorder(classes.get_zorder() + 1)  # the legend above the line of classes
        left.patch.set_visible(False)
    left.set(xlabel="epoch", ylabel="cross entropy")
    right.set(xlabel="epoch", ylabel="accuracy", ylim=(None, 1))
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    right.yaxis.set_major_formatter(PercentFormatter(1))
    left.legend()
    right.legend()
    return render_png(figure)


def confusion(evaluation: Evaluation, classes: Sequence[str]) -> bytes:
    """True class by predicted class, as the share of the true class; the diagonal is left out of the colour scale."""
    shares = (evaluation.confusion / evaluation.confusion.sum(1, keepdim=True).clamp(min=1)).numpy()
    mistakes = np.where(np.eye(len(classes), dtype=bool), np.nan, shares)
    side = min(4 + 0.16 * len(classes), 16)
    figure, axes = plt.subplots(figsize=(side + 1, side), layout="constrained")
    highest = max(float(np.nanmax(mistakes, initial=0)), 0.01)
    picture = axes.imshow(mistakes, cmap="Reds", vmin=0, vmax=highest)
    every = max(len(classes) // 40, 1)
    ticks = range(0, len(classes), every)
    axes.set_xticks(ticks, [classes[i] for i in ticks], rotation=90, fontsize=7, parse_math=False)
    axes.set_yticks(ticks, [classes[i] for i in ticks], fontsize=7, parse_math=False)
    axes.set(xlabel="predicted", ylabel="true", title=f"accuracy {evaluation.accuracy:.2%}; mistakes by class")
    figure.colorbar(picture, format=PercentFormatter(1), shrink=0.7, label="of the true class's images")
    return render_png(figure)


def orders(evaluation: Evaluation) -> bytes:
    """In how many of the f! orders of its stack each image is predicted as in the first."""
    assert evaluation.orders is not None
    shares = np.bincount(evaluation.orders_agreeing.numpy(), minlength=evaluation.orders + 1)[1:]
    shares = shares / shares.sum()
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    axes.bar(range(1, evaluation.orders + 1), shares, color=BLUE)
    axes.set_yscale("symlog", linthresh=1e-3)
    axes.set_ylim(0, 1.5)
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")  # down to a tenth of one, and 0
    axes.set(
        xlabel=f"orders of {evaluation.orders} that agree with the first",
        ylabel="share of the images",
        title=f"order agreement {evaluation.order_agreement:.2%}; all agree on {evaluation.order_all_agree:.2%}",
    )
    return render_png(figure)


def mistakes(
    evaluation: Evaluation, images: np.ndarray, labels: np.ndarray, classes: Sequence[str], most: int = 48
) -> bytes:
    """The wrong predictions that the network is surest of: the crop, true class → predicted class, confidence.

    `images` are uint8 (n, H, W, 3).
    """
    predictions, confidence = evaluation.predictions.numpy(), evaluation.confidence.numpy()
    wrong = np.flatnonzero(predictions != labels)
    surest = wrong[np.argsort(-confidence[wrong], kind="stable")][:most]
    columns, inches = 8, 1.5  # of a column
    rows = max(-(-len(surest) // columns), 1)
    _, high, wide, _ = images.shape
    gap = max(wide // 16, 1)
    line = round(0.2 / inches * (wide + gap))  # of text over a crop, in its pixels
    cell_high, cell_wide = high + line + gap, wide + gap
    sheet = np.full((rows * cell_high, columns * cell_wide, 3), 255, np.uint8)  # one picture: axes are slow to draw
    inches_high = inches * cell_high / cell_wide * rows
    figure = plt.figure(figsize=(columns * inches, inches_high + 0.3))
    axes = figure.add_axes((0, 0, 1, inches_high / (inches_high + 0.3)))
    for at, i in enumerate(surest):
        top, left = at // columns * cell_high + line, at % columns * cell_wide + gap // 2
        sheet[top : top + high, left : left + wide] = images[i]
        caption = f"{classes[labels[i]]} → {classes[predictions[i]]}  {confidence[i]:.0%}"
        axes.text(left + wide / 2, top - 0.25 * line, caption, fontsize=8, ha="center", parse_math=False)
    axes.imshow(sheet, interpolation="nearest", aspect="auto")
    axes.axis("off")
    figure.suptitle(f"{len(wrong)} mistakes of {len(labels)}; the surest of them", fontsize=9, y=0.99)
    return render_png(figure)
