"""The plot of a cascade: throughput and errors by the threshold below which frames are forwarded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, PercentFormatter

from textgen.common.atomic import write_atomic
from train.cascade.networks import LabelledFrames
from train.cascade.thresholds import F64, FORWARDED, Thresholds
from train.common.figures import BLACK, BLUE, OTHER_PLACE, render_png

PLOT = "cascade.png"
POINTS = 400  # of a curve
LEAST = 1e-7  # 1 - t of the most cautious threshold that is drawn: probabilities in float32 are no finer
COLORS = {"original": BLACK}


class Line(NamedTuple):
    """A network of the plot: its test frames, fitted thresholds, and T_s in seconds a frame."""

    name: str
    frames: LabelledFrames
    thresholds: Thresholds
    seconds: float


def sweep(frames: LabelledFrames, doubts: F64) -> tuple[F64, F64]:
    """For thresholds t = 1 - `doubts`, (k,): the share of frames that is forwarded because max(p, 1 - p) < t, and the
    share of all that the network answers wrongly. Frames that the reference answers count as right."""
    p = frames.probabilities
    doubt = np.minimum(p, 1 - p)
    order = np.sort(doubt)
    wrong = np.sort(doubt[(p >= 0.5) != frames.truth])
    n = len(p)
    forwarded = 1 - np.searchsorted(order, doubts, "right") / n
    return forwarded, np.searchsorted(wrong, doubts, "right") / n


def write_plot(lines: Sequence[Line], general: float, folder: Path) -> None:
    """Write cascade.png: `general` is T_g, the reference's seconds a frame. Raises `UserError`."""
    write_atomic(folder / PLOT, draw_plot(lines, general), OTHER_PLACE)


def draw_plot(lines: Sequence[Line], general: float) -> bytes:
    """Above, frames a second, 1 / (T_s + u·T_g); below, the share of wrong answers. Both by t, as PNG.

    The fitted thresholds are two, not one: their point stands at the t that forwards as many frames.
    """
    surest = min(float(np.minimum(line.frames.probabilities, 1 - line.frames.probabilities).min()) for line in lines)
    least = min(max(surest / 2, LEAST), 0.05)
    doubts = np.geomspace(0.5, least, POINTS)
    figure, (above, below) = plt.subplots(2, 1, sharex=True, figsize=(8, 6.5), layout="constrained")
    for line in lines:
        color = COLORS.get(line.name, BLUE)
        forwarded, wrong = sweep(line.frames, doubts)
        above.plot(doubts, 1 / (line.seconds + forwarded * general), color=color, label=line.name)
        below.plot(doubts, wrong, color=color, label=line.name)
        decisions = line.thresholds.decide(line.frames.probabilities)
        u = float((decisions == FORWARDED).mean())
        error = float(((decisions != FORWARDED) & (decisions != line.frames.truth)).mean())
        at = doubts[int(np.abs(forwarded - u).argmin())]
        point = {"color": color, "marker": "o", "linestyle": "", "markersize": 8, "zorder": 3, "clip_on": False}
        fitted = f"{line.name}, fitted: {u:.1%} forwarded"
        above.plot([at], [1 / (line.seconds + u * general)], label=fitted, **point)
        below.plot([at], [error], **point)
    above.axhline(1 / general, color="tab:gray", linestyle=":", label="reference alone")
    between = (0.4, 0.3, 0.2, 0.05) if least > 5e-3 else ()
    ticks = [0.5, *between, *(10.0**-n for n in range(1, 8) if 10.0**-n >= least)]
    below.set_xscale("log")
    below.set_xticks(ticks, [f"{1 - tick:.7g}" for tick in ticks], fontsize=8)
    below.minorticks_off()
    below.set(xlim=(0.5, least), xlabel="threshold t: a frame is forwarded when max(p, 1 - p) < t", ylim=(0, None))
    below.set_ylabel("wrong answers, of all frames")
    below.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    above.set(yscale="log", ylabel="frames a second, networks only")
    above.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    above.yaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:,.6g}"))
    above.yaxis.set_minor_formatter(NullFormatter())
    for axes in (above, below):
        axes.grid(alpha=0.2)
    above.legend(fontsize=8)
    count = len(lines[0].frames.probabilities)
    title = f"on {count:,} test frames, where what is forwarded counts as right; dots: the two fitted thresholds"
    above.set_title(title, fontsize=9)
    return render_png(figure)
