"""The contents of the page's sections, as the templates in partials/ take them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from textgen.common.html_templates import Table
from textgen.kernels import tables
from textgen.lint.checks import Check
from textgen.preview.crop_rows import (
    format_range,
    group_by_background,
    group_by_class,
    group_by_font,
    group_by_style,
)
from textgen.preview.crop_strips import Crop, CropStrips, format_contrast
from textgen.preview.histogram import Histogram, build_histogram
from textgen.preview.samples import PageData, SplitCrops
from textgen.render.renderer import SPLITS

EXTREMES = 36  # crops that narrowly passed or failed
MAX_FACES = 200  # rows of the table of tries without a picture
CHECK_ROWS = 20  # of a table of a check


class Section(NamedTuple):
    """A section of the page: its HTML id, its heading, the template that shows it, and what the template takes."""

    id: str
    title: str
    template: str
    content: Any


class Card(NamedTuple):
    """A crop with its text and contrast below."""

    crop: Crop
    text: str
    contrast: str


class Chart(NamedTuple):
    """A histogram with a caption. `threshold` is the least value that passes."""

    title: str
    summary: str
    histogram: Histogram
    threshold: float | None


@dataclass(frozen=True)
class About:
    """What the game and the command are, beside what `PageData` holds."""

    fields: str
    backgrounds: list[str]
    effects: str  # of the degradation
    images: Table  # by split


@dataclass(frozen=True)
class Legibility:
    """Contrasts and heights of the crops with text."""

    count: int
    charts: list[Chart]
    lowest: list[Card]


@dataclass(frozen=True)
class Refused:
    """The refused first tries: all by reason, crops of low contrast, and those of which there is no picture."""

    count: int
    reasons: Table
    narrowly: list[Card]
    others: list[Card]  # of those with a lower contrast
    others_count: int
    not_drawn_reasons: list[str]
    not_drawn: Table
    not_drawn_count: int


@dataclass(frozen=True)
class CheckResult:
    """A check of `textgen.lint` with its figure, histogram and table."""

    check: Check
    figure: str
    histogram: Histogram | None
    table: Table | None


def build_sections(data: PageData, strips: CropStrips) -> list[Section]:
    """All sections that have contents, in the order of the page."""
    sections = [Section("about", "The game", "partials/about.html", _describe_game(data))]
    if len(data.shown.crops.labels):
        rows = "partials/crop_rows.html"
        sections += [
            Section("classes", "By class", rows, [group_by_class(data, strips)]),
            Section("fonts", "By font", rows, [group_by_font(data, strips)]),
            Section("backgrounds", "By background", rows, [group_by_background(data, strips)]),
        ]
        if by_style := group_by_style(data, strips):
            sections.append(Section("style", "By style", rows, by_style))
        if data.shown.with_text.any():
            legibility = _describe_legibility(data, strips)
            sections.append(Section("contrast", "Legibility", "partials/legibility.html", legibility))
    refused = _describe_refused(data, strips)
    sections.append(Section("refused", "Refused draws", "partials/refused.html", refused))
    if data.report is not None:
        checks = [_describe_check(check) for check in data.report.checks]
        sections.append(Section("checks", "Checks", "partials/checks.html", checks))
    return sections


def _describe_game(data: PageData) -> About:
    game, renderer = data.definition.game, data.renderer
    fields = (f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in (game.fields or {}).items())
    effects = (name for name, value in vars(data.definition.augment).items() if value and name[0] != "_")
    images = {split: getattr(game.images, split if split in SPLITS else SPLITS[2]) for split in renderer.splits}
    return About(
        fields="; ".join(fields),
        backgrounds=[f"{background.source} (weight {background.weight:g})" for background in game.backgrounds],
        effects=", ".join(effects),
        images=Table(
            ("split", "images a class", "images"),
            [(split, f"{n:,}", f"{n * renderer.period:,}") for split, n in images.items()],
            (1, 2),
        ),
    )


def _describe_legibility(data: PageData, strips: CropStrips) -> Legibility:
    with_text = np.flatnonzero(data.shown.with_text)
    samples = data.shown.crops.samples[with_text]
    contrast, threshold = samples["contrast"], data.definition.game.text.contrast
    failed = data.refused.crops.samples
    too_low = failed["contrast"][failed["status"] == tables.LOW_CONTRAST]
    most = max(float(contrast.max()), threshold, 1.0)
    # About 30 bins; the threshold is an edge of two of them.
    width = threshold / np.ceil(threshold / (most / 30)) if threshold else most / 30
    edges = np.arange(0, most + width, width)
    heights = samples["bottom"] - samples["top"]
    step = 1 + (int(heights.max()) - int(heights.min())) // 40
    height_edges = np.arange(int(heights.min()), int(heights.max()) + step + 1, step) - 0.5
    lowest = with_text[np.argsort(contrast, kind="stable")][:EXTREMES]
    return Legibility(
        count=len(samples),
        charts=[
            _build_chart("Contrast, in levels of luma", contrast, edges, too_low, threshold),
            _build_chart("Height of the ink, in pixels", heights, height_edges),
        ],
        lowest=_build_cards(data.shown, lowest, strips),
    )


def _build_chart(
    title: str,
    passed: NDArray[Any],
    edges: NDArray[Any],
    refused: NDArray[Any] | None = None,
    threshold: float | None = None,
) -> Chart:
    if refused is None:
        refused = np.zeros(0)
    summary = f"minimum {passed.min():.3g}, median {np.median(passed):.3g}, maximum {passed.max():.3g}"
    label = f"{title}: {summary}"
    if threshold is not None:
        label += f"; {len(refused)} refused below {threshold:g}"
    counts, refused_counts = np.histogram(passed, edges)[0], np.histogram(refused, edges)[0]
    return Chart(title, summary, build_histogram(label, edges, counts, refused_counts, threshold), threshold)


def _describe_refused(data: PageData, strips: CropStrips) -> Refused:
    crops = data.refused.crops
    samples = crops.samples
    remedies = {reason: tables.REMEDIES[status] for status, reason in tables.REJECT_REASONS.items()}
    reasons = [
        (reason, f"{n:,}", f"{n / data.tried:.1%}", remedies[reason]) for reason, n in crops.rejects.most_common()
    ]
    low = np.flatnonzero(samples["status"] == tables.LOW_CONTRAST)
    low = low[np.argsort(-samples["contrast"][low], kind="stable")]
    others = low[EXTREMES:]
    spread = np.linspace(0, len(others) - 1, min(len(others), EXTREMES)).astype(int)
    not_drawn = _list_not_drawn(data)
    return Refused(
        count=len(samples),
        reasons=Table(("reason", "tries", "share", "what helps"), reasons, (1, 2)),
        narrowly=_build_cards(data.refused, low[:EXTREMES], strips),
        others=_build_cards(data.refused, others[spread], strips),
        others_count=len(others),
        not_drawn_reasons=list(dict.fromkeys(reason for reason, *_ in not_drawn)),
        not_drawn=Table(
            ("reason", "face", "height of the digits", "tries", "texts such as"), not_drawn[:MAX_FACES], (3,)
        ),
        not_drawn_count=len(not_drawn),
    )


def _list_not_drawn(data: PageData) -> list[tuple[str, str, str, str, str]]:
    """The tries that were refused before they were drawn, by reason and font face, the most frequent first."""
    crops, renderer = data.refused.crops, data.renderer
    samples = crops.samples
    found = []
    for status in (tables.TOO_LARGE, tables.TOO_SMALL):
        for number, face in enumerate(renderer.faces):
            tries = np.flatnonzero((samples["status"] == status) & (samples["face"] == number))
            if len(tries):
                heights = format_range(renderer.levels.heights[np.sort(samples["height"][tries])])
                texts = list(dict.fromkeys(crops.texts[row] for row in tries.tolist()))[:5]
                found.append((len(tries), tables.REJECT_REASONS[status], face.name, heights, " · ".join(texts)))
    found.sort(key=lambda group: -group[0])
    return [(reason, face, heights, f"{count:,}", texts) for count, reason, face, heights, texts in found]


def _describe_check(check: Check) -> CheckResult:
    histogram, table = None, None
    if check.histogram:
        edges, counts = (np.array(check.histogram[key]) for key in ("edges", "counts"))
        histogram = build_histogram(check.name, edges, counts)
    if check.table:
        keys = list(dict.fromkeys(key for row in check.table for key in row))
        rows = [[_format_cell(row.get(key, "")) for key in keys] for row in check.table[:CHECK_ROWS]]
        numeric = [n for n, key in enumerate(keys) if isinstance(check.table[0].get(key), int | float)]
        table = Table(keys, rows, numeric)
    return CheckResult(check, _format_cell(check.figure), histogram, table)


def _format_cell(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _build_cards(shown: SplitCrops, rows: Iterable[int], strips: CropStrips) -> list[Card]:
    crops = shown.crops
    return [
        Card(strips.add(shown, row), crops.texts[row], format_contrast(crops.samples["contrast"][row]))
        for row in (int(row) for row in rows)
    ]
