"""The samples that a preview draws: crops of the shown split, refused first tries, and crops with held-out assets."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from textgen.common.errors import UserError
from textgen.lint.report import Report
from textgen.render.renderer import TEST_BACKGROUNDS, TEST_FONTS, RenderedCrops, Renderer
from textgen.schema.definition import DatasetDefinition
from textgen.spec.label_fields import LabelFields
from textgen.spec.values import OTHER

SAMPLES = 2000  # drawn at least, for the shares of fonts, backgrounds and styles
HELD_OUT_SAMPLES = 300  # drawn at most, of each test set of held-out assets
MAX_BYTES = 256 << 20  # of these crops in memory; `each` may ask for more


class SplitCrops(NamedTuple):
    """Crops of one split."""

    split: str
    crops: RenderedCrops

    @property
    def with_text(self) -> NDArray[np.bool_]:
        """Which crops show text: bool (n,)."""
        shown: NDArray[np.bool_] = self.crops.samples["right"] > self.crops.samples["left"]
        return shown

    def of_classes(self, fields: LabelFields) -> list[tuple[str, list[int]]]:
        """The names of all classes, each with the numbers of its crops; of several fields "M=30", and "other" once."""
        labels = self.crops.labels.reshape(len(self.crops.labels), len(fields.fields))
        found = []
        for column, field in enumerate(fields.fields):
            for number, name in enumerate(field.classes):
                if name != OTHER or column == len(fields.fields) - 1:
                    shown = name if fields.is_single or name == OTHER else f"{field.name}={name}"
                    found.append((shown, np.flatnonzero(labels[:, column] == number).tolist()))
        return found


@dataclass(frozen=True)
class PageData:
    """Everything that a page shows.

    `refused` are the first tries of samples of the shown split that failed. `error` says why crops or checks are
    missing.
    """

    definition: DatasetDefinition
    renderer: Renderer
    shown: SplitCrops
    refused: SplitCrops
    held_out: list[SplitCrops]  # of the test sets of held-out assets
    tried: int  # samples of the shown split
    each: int  # crops a class
    zoom: int
    command: str
    settings: str  # the definition, in YAML
    report: Report | None = None
    error: str = ""

    @cached_property
    def canvases(self) -> list[list[str]]:
        """Names of all canvases by source."""
        return self.renderer.backgrounds.canvas_names()


def collect_page_data(
    definition: DatasetDefinition, renderer: Renderer, split: str, each: int, zoom: int, command: str, settings: str
) -> PageData:
    """Draw the samples of a page: at least `each` crops of every class of a split.

    Where a text cannot be drawn, the result has an `error` and only refused tries.
    """
    height, width = definition.game.size
    classes = renderer.period
    least = min(SAMPLES, MAX_BYTES // (3 * height * width))
    count = max(each, -(-least // classes)) * classes
    error = ""
    try:
        crops = renderer.render(split, range(count))
        refused = renderer.first_rejects(split, crops.samples["index"][crops.samples["attempt"] > 0].tolist())
    except UserError as caught:
        error, count = caught.summary, min(count, least)
        crops, refused = renderer.render(split, []), renderer.first_rejects(split, range(count))
    held_out = []
    for name in (TEST_FONTS, TEST_BACKGROUNDS) if not error else ():
        if name in renderer.splits and name != split:
            held_out.append(SplitCrops(name, renderer.render(name, range(min(HELD_OUT_SAMPLES, least)))))
    return PageData(
        definition=definition,
        renderer=renderer,
        shown=SplitCrops(split, crops),
        refused=SplitCrops(split, refused),
        held_out=held_out,
        tried=count,
        each=each,
        zoom=zoom,
        command=command,
        settings=settings,
        error=error,
    )
