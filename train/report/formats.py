"""Tables of runs as Markdown, as CSV and as a figure."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from itertools import cycle
from textwrap import fill
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from train.common.figures import BLUE, GREEN, ORANGE, PURPLE, SKY, render_png
from train.report.names import fit_name, fonts_for
from train.report.paper_numbers import ACCURACY, IDS
from train.report.tables import COLUMNS, Table, differences, lengths, missing_drops

LEGEND_CHARACTERS = 60  # of a line of the legend, for each panel above
TABLE_OFFSET, MAX_OFFSET = 0.1, 0.25  # of a fold, between the points of two tables, and from the fold of all of them


def format_markdown(tables: Sequence[Table], unfinished: Sequence[str]) -> str:
    """All tables, what the columns mean, and the runs that are not finished."""
    parts = []
    if len(tables) > 1:
        parts.append(
            "Networks in one table have the same recipe and data and may be compared, those in different tables not.\n"
        )
    for table in tables:
        lines = [f"## {table.title}\n", f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
        lines += [f"| {' | '.join(table.cells(row))} |" for row in table.rows]
        lines += [f"\n{line}" for line in (*missing_drops(table), *lengths(table), *differences(table))]
        parts.append("\n".join(lines) + "\n")
    parts.append(
        "Accuracies in per cent; drops in points from the original of the same game and table, errors × in multiples of"
        " its errors. Images seen count each image of a stack. One seed has Wilson's 95 % interval for the number of"
        " test images, several have the standard deviation of their accuracies, which lacks the uncertainty of the test"
        " images. Order agreement: how often a prediction stays the same when the images of a stack change places, in"
        " per cent. Copies of a narrow network, trained on single images, are not the paper's method: its numbers are"
        " of FoldedCNNs trained on stacks, and of its own crops. So accuracies do not compare, and drops only where the"
        " originals err about as often.\n"
    )
    if unfinished:
        parts.append(f"Unfinished, in none of the tables: {', '.join(unfinished)}.\n")
    return "\n".join(parts)


def format_csv(tables: Sequence[Table]) -> str:
    """A row a network, with the title of its table."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["table", *COLUMNS])
    for table in tables:
        writer.writerows([table.title, *table.cells(row)] for row in table.rows)
    return text.getvalue()


def draw_figure(tables: Sequence[Table]) -> bytes:
    """Accuracy by fold as a PNG file, a panel a game: a line a table, with squares for copies of a narrow network, a
    cross for a control, and the paper's line dashed."""
    games = list(dict.fromkeys(row.game for table in tables for row in table.rows))
    with fonts_for("".join([*games, *(table.title for table in tables)])):
        return render_png(_draw_games(games, tables))


def _draw_games(games: Sequence[str], tables: Sequence[Table]) -> Figure:
    columns = min(len(games), 3)
    rows = -(-len(games) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(4 * columns, 2.8 * rows), squeeze=False, layout="constrained")
    for axis in axes.flat[len(games) :]:
        axis.axis("off")
    for axis, game in zip(axes.flat, games, strict=False):
        _draw_game(axis, game, tables)
    handles = {label: line for axis in axes.flat for line, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    labels = [fill(label, LEGEND_CHARACTERS * columns) for label in handles]
    lines = sum(label.count("\n") + 1 for label in labels)
    figure.set_figheight(2.8 * rows + 0.12 * lines + 0.05 * len(labels))  # inches; the legend takes none of the panels
    figure.legend(handles.values(), labels, fontsize=7, loc="outside lower center")
    return figure


def _draw_game(axis: Axes, game: str, tables: Sequence[Table]) -> None:
    offset = min(TABLE_OFFSET, 2 * MAX_OFFSET / max(len(tables) - 1, 1))
    for number, (table, color) in enumerate(zip(tables, cycle((BLUE, ORANGE, GREEN, PURPLE, SKY)))):
        aside = offset * (number - (len(tables) - 1) / 2)  # points of equal accuracy stay visible
        rows = [row for row in table.rows if row.game == game]
        folded = [row for row in rows if row.width == 1]
        copies = any(row.is_copies for row in folded)
        style: dict[str, Any] = {"color": color, "marker": "s" if copies else "o"}
        if folded:
            places = [row.fold + aside for row in folded], [100 * row.accuracy for row in folded]
            axis.plot(*places, **style, label=table.title + ": copies of a narrow network" * copies)
        if short := [row for row in folded if row.is_short]:
            places = [row.fold + aside for row in short], [100 * row.accuracy for row in short]
            axis.plot(*places, **style, linestyle="", markerfacecolor="white", label="hollow: too short a training")
        controls = [row for row in rows if row.width < 1 and row.fold == 1]
        if controls:
            folds = [1 / row.width**2 + aside for row in controls]  # of the fold whose slots are as wide
            accuracies = [100 * row.accuracy for row in controls]
            axis.plot(folds, accuracies, "x", color=color, label="cross: narrow network, the control of a fold")
    if game in ACCURACY:
        axis.plot(range(1, 5), ACCURACY[game], "--", color="tab:gray", label="the paper, own crops")
    axis.set(xlabel="fold", ylabel="accuracy, %")
    axis.set_title(f"{game} ({IDS[game]})" if game in IDS else fit_name(game, 3, 12))
    most = max([4, *(row.fold for table in tables for row in table.rows)])
    axis.set_xlim(0.7, most + 0.3)
    axis.set_xticks(range(1, most + 1))
    axis.ticklabel_format(useOffset=False)
    axis.margins(y=0.15)
    low, high = axis.get_ylim()
    high = min(high, 100.2)
    axis.set_ylim(min(low, high - 1), high)  # at least one point, so that noise does not look like a cliff
