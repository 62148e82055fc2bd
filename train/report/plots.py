"""The figures of a run, as PNG files; None instead where there is nothing to see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from textgen.spec.label_fields import LabelFields
from train.common.answers import same
from train.common.figures import BLUE, GREEN, ORANGE, render_png
from train.metrics.evaluate import Evaluation
from train.report.confusions import confused_classes, confusion_shares, count_mistakes
from train.report.names import fit_name, fonts_for

FEW_EPOCHS = 20  # up to so many are marked: a line of one point alone would not show
MATRIX_CLASSES = 30  # of the confusion matrix, so that every class has a label
NUMBERED_CLASSES = 12  # up to so many, the cells hold numbers
LABEL_SIZE = 8  # points
LEFT_TO_RIGHT = "\u200e"  # beside a name in a right-to-left script, what follows keeps its place
PAGE_WIDTH = 8.7  # inches of a figure at most: the page then shows it at its size


def evaluation_figures(
    evaluation: Evaluation, images: np.ndarray, labels: np.ndarray, fields: LabelFields
) -> dict[str, bytes | None]:
    """The figures of an evaluation by their names in `page.PICTURES`, for images uint8 (n, H, W, 3), labels (n,)."""
    return {
        "confusion": confusion(evaluation, fields.classes),
        "mistakes": mistakes(evaluation, images, labels, fields),
        "orders": orders(evaluation) if evaluation.orders else None,
    }


def curves(history: Sequence[dict[str, Any]], best_epoch: int) -> bytes:
    """Loss and accuracy of training and validation by epoch, with the number of classes and the best epoch."""
    return render_png(draw_curves(history, best_epoch))


def draw_curves(history: Sequence[dict[str, Any]], best_epoch: int) -> Figure:
    """The figure of `curves`: two axes, and a third with the number of classes where that changes."""
    epochs = [line["epoch"] for line in history]
    figure, (left, right) = plt.subplots(1, 2, figsize=(PAGE_WIDTH, 3.6), layout="constrained")
    for split, own in (("train", BLUE), ("val", ORANGE)):
        style = {"color": own, "label": split, "marker": "o" if len(epochs) <= FEW_EPOCHS else "", "markersize": 4}
        left.plot(epochs, [line[f"{split}_loss"] for line in history], **style)
        right.plot(epochs, [line[f"{split}_accuracy"] for line in history], **style, clip_on=False)
    right.axvline(best_epoch, color="tab:gray", linestyle=":", label=f"best epoch: {best_epoch or 'the start'}")
    if len({line["classes"] for line in history}) > 1:
        classes = left.twinx()
        classes.step(epochs, [line["classes"] for line in history], color=GREEN, alpha=0.5, where="mid")
        classes.set_ylabel("classes", color=GREEN)
        classes.yaxis.set_major_locator(MaxNLocator(integer=True))
        left.set_zorder(classes.get_zorder() + 1)  # the legend above the line of classes
        left.patch.set_visible(False)
    left.set(xlabel="epoch", ylabel="cross entropy")
    right.set(xlabel="epoch", ylabel="accuracy", ylim=(None, 1))
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if len(epochs) == 1:
            axes.set_xlim(epochs[0] - 1, epochs[0] + 1)
    right.yaxis.set_major_formatter(PercentFormatter(1))
    left.legend()
    right.legend()
    return figure


def confusion(evaluation: Evaluation, classes: Sequence[str]) -> bytes | None:
    """True class by predicted class, as the share of the true class; None without mistakes.

    Of more than `MATRIX_CLASSES` classes, those of the most frequent confusions.
    """
    if not len(count_mistakes(evaluation)[0]):
        return None
    many = len(classes) > MATRIX_CLASSES
    shown = confused_classes(evaluation, MATRIX_CLASSES) if many else list(range(len(classes)))
    with fonts_for("".join(classes[n] for n in shown)):
        return render_png(draw_confusion(evaluation, classes, shown))


def draw_confusion(evaluation: Evaluation, classes: Sequence[str], shown: Sequence[int]) -> Figure:
    """The confusion matrix of the classes `shown`; the diagonal is left out of the colour scale."""
    shares = confusion_shares(evaluation, shown)
    mistakes = np.where(np.eye(len(shown), dtype=bool), np.nan, shares)
    side = max(2.5, 0.5 * len(shown) if len(shown) <= NUMBERED_CLASSES else 0.2 * len(shown))
    figure, axes = plt.subplots(figsize=(side + 2.5, side + 1.5), layout="constrained")
    highest = max(float(np.nanmax(mistakes, initial=0)), 0.01)
    picture = axes.imshow(mistakes, cmap="Reds", vmin=0, vmax=highest)
    if len(shown) <= NUMBERED_CLASSES:
        for (row, column), share in np.ndenumerate(shares):
            if share:
                dark = row != column and share > 0.6 * highest
                color = "white" if dark else "black"
                axes.text(column, row, f"{100 * share:.1f}", ha="center", va="center", fontsize=LABEL_SIZE, color=color)
    names = [fit_name(classes[n], 1.2, LABEL_SIZE) for n in shown]
    axes.set_xticks(range(len(shown)), names, rotation=90, fontsize=LABEL_SIZE)
    axes.set_yticks(range(len(shown)), names, fontsize=LABEL_SIZE)
    axes.set(xlabel="predicted", ylabel="true")
    figure.suptitle(_title_confusion(evaluation, shares, shown, len(classes)), fontsize=9)
    figure.colorbar(picture, format=PercentFormatter(1), shrink=0.8, label="of the true class's images")
    return figure


def _title_confusion(evaluation: Evaluation, shares: np.ndarray, shown: Sequence[int], classes: int) -> str:
    if len(shown) == classes:
        return f"accuracy {evaluation.accuracy:.2%}\nper cent of the true class's images"
    true, predicted, images = count_mistakes(evaluation)
    inside = images[np.isin(true, shown) & np.isin(predicted, shown)].sum() / images.sum()
    return (
        f"accuracy {evaluation.accuracy:.2%}; {len(shown)} of {classes} classes,\n"
        f"those of the most frequent confusions, with {inside:.0%} of all mistakes"
    )


def orders(evaluation: Evaluation) -> bytes | None:
    """In how many of the f! orders of its stack each image is predicted as in the first; None where all agree."""
    assert evaluation.orders is not None
    if evaluation.order_all_agree == 1:
        return None
    shares = np.bincount(evaluation.orders_agreeing.numpy(), minlength=evaluation.orders + 1)[1:]
    shares = shares / shares.sum()
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    axes.bar(range(1, evaluation.orders + 1), shares, color=BLUE)
    axes.set_yscale("symlog", linthresh=1e-3)
    axes.set_ylim(0, 1.5)
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")  # down to a tenth of one, and 0
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(0.4, evaluation.orders + 0.6)
    axes.set(
        xlabel=f"orders of {evaluation.orders} that agree with the first",
        ylabel="share of the images",
        title=f"order agreement {evaluation.order_agreement:.2%}; all agree on {evaluation.order_all_agree:.2%}",
    )
    return render_png(figure)


def mistakes(
    evaluation: Evaluation, images: np.ndarray, labels: np.ndarray, fields: LabelFields, most: int = 48
) -> bytes | None:
    """The wrong predictions that the network is surest of: the crop, true class → predicted class, confidence.

    `images` are uint8 (n, H, W, 3). None without mistakes.
    """
    predictions, confidence = evaluation.predictions.numpy(), evaluation.confidence.numpy()
    wrong = np.flatnonzero(~same(predictions, labels))
    if not len(wrong):
        return None
    surest = wrong[np.argsort(-confidence[wrong], kind="stable")][:most]
    title = f"{len(wrong)} mistake{'s' * (len(wrong) > 1)} in {len(labels)} images"
    title += f"; the {len(surest)} surest" * (len(wrong) > len(surest))
    names = [(fields.name_of(labels[i].tolist()), fields.name_of(predictions[i].tolist())) for i in surest]
    with fonts_for("".join(name for pair in names for name in pair)):
        figure = draw_mistakes(images[surest], names, [f"{confidence[i]:.0%}" for i in surest])
        figure.suptitle(title, fontsize=9, x=0.01, ha="left", y=1 - 0.05 / figure.get_figheight(), va="top")
        return render_png(figure)


def draw_mistakes(images: np.ndarray, names: Sequence[tuple[str, str]], confidence: Sequence[str]) -> Figure:
    """Crops uint8 (n, H, W, 3) in cells with true → predicted class above, in two lines where one is too narrow."""
    count, high, wide, _ = images.shape
    crop = min(max(1.4, 0.3 * wide / high), 3.9), 1.5  # at most, in inches
    scale = min(crop[0] / wide, crop[1] / high)  # inches of a pixel
    inches = max(scale * wide, 1.4) + 0.1  # of a cell
    columns = int(PAGE_WIDTH / inches)
    captions = _caption(names, confidence, inches - 0.1)
    line = 0.06 + 0.15 * (1 + captions[0].count("\n"))  # of the caption, in inches
    cell_high, cell_wide = high + round((line + 0.06) / scale), round(inches / scale)
    rows, columns = -(-count // columns), min(columns, count)
    sheet = np.full((rows * cell_high, columns * cell_wide, 3), 255, np.uint8)  # one picture: axes are slow to draw
    width, height, head = columns * inches, rows * cell_high * scale, 0.35
    figure = plt.figure(figsize=(max(width, 3.2), height + head))
    axes = figure.add_axes((0, 0, width / max(width, 3.2), height / (height + head)))
    for at, image in enumerate(images):
        top, left = at // columns * cell_high + round(line / scale), at % columns * cell_wide
        inset = (cell_wide - wide) // 2
        sheet[top : top + high, left + inset : left + inset + wide] = image
        place = left + cell_wide / 2, top - 0.04 / scale
        axes.text(*place, captions[at], fontsize=LABEL_SIZE, ha="center", va="bottom", linespacing=1)
    axes.imshow(sheet, interpolation="nearest", aspect="auto")
    axes.axis("off")
    return figure


def _caption(names: Sequence[tuple[str, str]], confidence: Sequence[str], width: float) -> list[str]:
    """The captions of mistakes, all in one line if they fit in `width`, in inches, otherwise all in two."""
    both = [*zip(names, confidence, strict=True)]
    lines = [f"{true} → {predicted}  {sure}" for (true, predicted), sure in both]
    if all(fit_name(line, width, LABEL_SIZE) == line for line in lines):
        return [
            f"{LEFT_TO_RIGHT}{true}{LEFT_TO_RIGHT} → {predicted}{LEFT_TO_RIGHT}  {sure}"
            for (true, predicted), sure in both
        ]
    short = [
        (*(fit_name(name, width - 0.6 * n, LABEL_SIZE) for n, name in enumerate(pair)), sure) for pair, sure in both
    ]
    return [f"{true}\n{LEFT_TO_RIGHT}→ {predicted}{LEFT_TO_RIGHT}  {sure}" for true, predicted, sure in short]
