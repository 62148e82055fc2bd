"""The settings of a curriculum (I, Δ, E), paper §4.2."""

from __future__ import annotations

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from textgen.common.validation import Positive


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Curriculum:
    """Training begins with `initial` classes (I); every `every` epochs (E) of a run of `of` epochs, `step` more (Δ)
    join.

    None stands for the paper's choice: I = max(f, ⌊C/10⌋), Δ = max(1, ⌊C/10⌋). A run of another length than `of` scales
    the schedule: classes join at the same fractions of the run. `order` is the order in which classes join:
    "alphabetical" by label as in the published code, "random" by seed, or a list of all labels. Of a label of several
    fields, the classes are those of `field`, None: the first.
    """

    initial: Positive | None = None
    step: Positive | None = None
    every: Positive = 60
    of: Positive = 1500
    order: str | tuple[str, ...] = "alphabetical"
    field: str | None = None
