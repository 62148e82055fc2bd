"""The colours of all figures, and a figure as PNG."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import matplotlib

matplotlib.use("agg")  # files only: no display is needed

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

DPI = 110
OTHER_PLACE = "another place with out=… or plots=…"  # advice of commands with these settings, see `open_report`

# Colours that are distinct with any colour vision: Okabe and Ito, Color Universal Design, 2008.
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILLION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"


# Of a network in the reports of `train.cost` and `train.bench`: by its name or, if it is not listed, by its form.
COLORS = {
    **{"original": BLACK, "EfficientNet": PURPLE, "EfficientNet, reference": ORANGE, "dense": BLUE},
    **{"grouped": GREEN, "narrow": VERMILLION},
}


def choose_color(network: Mapping[str, Any]) -> str:
    """The colour of a network or row of a report of `train.cost` or `train.bench`, the same in every figure."""
    name = network["network"].removesuffix(f", align={network.get('align')}")
    return COLORS[name if name in COLORS else network["form"]]


def render_png(figure: Figure) -> bytes:
    """The figure as PNG; closes the figure."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=DPI)
    plt.close(figure)
    return data.getvalue()
