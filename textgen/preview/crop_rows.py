"""Crops by class, font, background and style: rows of crops within a budget of pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from textgen.kernels import tables
from textgen.preview.crop_strips import Crop, CropStrips
from textgen.preview.samples import PageData, SplitCrops
from textgen.render.renderer import SPLITS, TEST_BACKGROUNDS, TEST_FONTS

# Pixels of the crops by class, and of those of each other section. A pixel takes about 2.9 bytes of the page.
CLASS_PIXELS, OTHER_PIXELS = 640_000, 300_000
MAX_ROWS, MAX_PER_ROW = 200, 40
STYLE_PER_ROW = 16
EVEN_ROWS = (1, 2, 3, 4, 6, 8, 10, 12, 16, 18, 20, 24, 30, 36, 40)  # numbers of crops that fill lines evenly


@dataclass
class Group:
    """Crops that have something in common, by their numbers in `crops`."""

    name: str
    crops: SplitCrops
    numbers: Sequence[int]
    note: str = ""
    held_out: bool = False
    pictures: Sequence[str] = ()  # names of the pictures of a background


@dataclass(frozen=True)
class Row:
    """The crops of a group that a page shows. `label` is for screen readers."""

    group: Group
    crops: list[Crop]
    label: str


@dataclass(frozen=True)
class CropRows:
    """Rows of crops, and the notes on what was left out."""

    rows: list[Row]
    notes: list[str]
    per_row: int  # crops of the longest row
    short: bool  # the names are short
    name_width: str  # as CSS
    title: str = ""


def group_by_class(data: PageData, strips: CropStrips) -> CropRows:
    """A row a class; of a label of several fields, a row for each class of each field."""
    of_classes = data.shown.of_classes(data.renderer.fields)
    groups = [Group(name, data.shown, numbers) for name, numbers in of_classes]
    return _fill_rows(groups, strips, CLASS_PIXELS, "classes", data.each)


def group_by_font(data: PageData, strips: CropStrips) -> CropRows:
    """A row a font face, with crops of test_fonts where the shown split has none of a face."""
    held_out = data.renderer.held_out_faces if data.definition.holdout.fonts else frozenset[int]()
    splits = [data.shown, *(crops for crops in data.held_out if crops.split == TEST_FONTS)]
    groups = []
    for number, face in enumerate(data.renderer.faces):
        found = [np.flatnonzero((each.crops.samples["face"] == number) & each.with_text).tolist() for each in splits]
        which = next((n for n, numbers in enumerate(found) if numbers), 0)
        if found[which] or data.shown.split in SPLITS:
            note = _format_refused_share(data, "face", number, tuple(tables.REJECT_REASONS)) if which == 0 else ""
            groups.append(Group(face.name, splits[which], found[which], note, number in held_out))
    return _fill_rows(groups, strips, OTHER_PIXELS, "faces", data.each)


def group_by_background(data: PageData, strips: CropStrips) -> CropRows:
    """A row a background source, and another for its held-out canvases."""
    splits = [data.shown, *(crops for crops in data.held_out if crops.split == TEST_BACKGROUNDS)]
    groups = [
        group
        for crops in splits
        for number in range(len(data.canvases))
        if (group := _group_of_background(data, crops, number)) is not None
    ]
    return _fill_rows(groups, strips, OTHER_PIXELS, "sources", data.each)


def _group_of_background(data: PageData, shown: SplitCrops, number: int) -> Group | None:
    """The crops on one background source, or None if the split does not use it."""
    source, names = data.renderer.backgrounds.sources[number], data.canvases[number]
    held_out = data.renderer.held_out_canvases[number] if data.definition.holdout.backgrounds else frozenset[int]()
    only_held_out = shown.split == TEST_BACKGROUNDS
    canvases = [n for n in range(len(names)) if (n in held_out) == only_held_out]
    numbers = np.flatnonzero(shown.crops.samples["source"] == number).tolist()
    if not canvases or (only_held_out and not numbers):
        return None
    kind = "pictures" if source.paths else "canvases"
    note = f"{len(canvases)} of {len(names)} {kind}" if held_out else f"{len(canvases)} {kind}"
    if shown is data.shown and (share := _format_refused_share(data, "source", number, (tables.LOW_CONTRAST,))):
        note += f", {share}"
    pictures = [names[n] for n in canvases] if source.paths else ()
    return Group(source.background.source, shown, numbers, note, only_held_out, pictures)


def group_by_style(data: PageData, strips: CropStrips) -> list[CropRows]:
    """Rows for every property of the style that varies."""
    levels, samples = data.renderer.levels, data.shown.crops.samples
    bins = np.array_split(np.arange(len(levels.heights)), min(len(levels.heights), 6))
    strokes = enumerate(levels.strokes)
    attempts = samples["attempt"]
    properties: dict[str, list[tuple[str, NDArray[np.bool_]]]] = {
        "Height of the digits": [
            (format_range(levels.heights[part], "pixels"), np.isin(samples["height"], part)) for part in bins
        ],
        "Outline": [(f"{width:g} pixels" if width else "none", samples["stroke"] == n) for n, width in strokes],
        "Slant": [(f"{slant:g}°", samples["slant"] == n) for n, slant in enumerate(levels.slants)],
        "Neighbour": [
            ("none", samples["side"] == tables.NO_SIDE),
            *((side, samples["side"] == n) for n, side in enumerate(tables.SIDES)),
        ],
        "Number of tries": [("1", attempts == 0), ("2", attempts == 1), ("3 or more", attempts > 1)],
    }
    sections = []
    for title, choices in properties.items():
        found = [(name, np.flatnonzero(chosen & data.shown.with_text).tolist()) for name, chosen in choices]
        total = sum(len(numbers) for _, numbers in found)
        groups = [Group(name, data.shown, n, f"{len(n) / total:.0%}") for name, n in found if n]
        if len(groups) > 1:
            per_row = min(data.each, STYLE_PER_ROW)
            sections.append(_fill_rows(groups, strips, OTHER_PIXELS // 4, "rows", per_row, title))
    return sections


def format_range(values: NDArray[np.floating], unit: str = "") -> str:
    """The range of sorted values.

    >>> format_range(np.array([8.0, 9.5]), "pixels"), format_range(np.array([8.0]))
    ('8 to 9.5 pixels', '8')
    """
    low, high = float(values[0]), float(values[-1])
    return f"{low:g} {unit}".strip() if low == high else f"{low:g} to {high:g} {unit}".strip()


def _format_refused_share(data: PageData, attribute: str, value: int, reasons: Sequence[int]) -> str:
    """The share of the first tries with this value of an attribute that was refused for one of `reasons`."""
    samples, failed = data.shown.crops.samples, data.refused.crops.samples
    passed = int(((samples[attribute] == value) & (samples["attempt"] == 0)).sum())
    refused = int(((failed[attribute] == value) & np.isin(failed["status"], reasons)).sum())
    return f"{refused / (passed + refused):.0%} refused" if passed + refused else ""


def _fill_rows(
    groups: Sequence[Group], strips: CropStrips, pixels: int, kind: str, each: int, title: str = ""
) -> CropRows:
    """Groups as rows of at most `each` crops, with at most about `pixels` in all; evenly spread groups if too many."""
    area = strips.height * strips.width
    shown = min(len(groups), MAX_ROWS, max(1, pixels // area))
    chosen = [groups[i] for i in np.linspace(0, len(groups) - 1, shown).astype(int).tolist()]
    fit = max(1, min(each, MAX_PER_ROW, pixels // (area * max(shown, 1))))
    if fit < each:
        fit = max(number for number in EVEN_ROWS if number <= fit)
    notes = []
    if shown < len(groups):
        notes.append(f"{shown} of {len(groups)} {kind}, evenly spread")
    if fit < each:
        notes.append(f"{fit} crops a row, to keep the page small")
    if strips.shrink > 1:
        notes.append(f"crops at 1/{strips.shrink} of their size")
    longest = max((len(group.name) for group in chosen), default=0)
    short = longest <= 8 and not any(group.note or group.held_out for group in chosen)
    return CropRows(
        rows=[_fill_row(group, strips, fit) for group in chosen],
        notes=notes,
        per_row=max((min(fit, len(group.numbers)) for group in chosen), default=0),
        short=short,
        name_width=f"{max(longest, 2) + 1}ch" if short else "12rem",
        title=title,
    )


def _fill_row(group: Group, strips: CropStrips, fit: int) -> Row:
    numbers = group.numbers[:fit]
    texts = ", ".join(group.crops.crops.texts[number] or "no text" for number in numbers)
    crops = [strips.add(group.crops, number) for number in numbers]
    return Row(group, crops, f"{group.name}: {len(crops)} crops, {texts}")
