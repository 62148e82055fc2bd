"""The report of the lint: rendering the crops, running the checks, and formatting the results as text."""

from __future__ import annotations

import textwrap
import time
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from textgen.lint.checks import FAIL, OK, WARN, Check, run_checks
from textgen.render.renderer import SPLITS, Renderer

MAX_CROPS, MAX_BYTES = 60_000, 160 << 20  # per split
MAX_CROPS_FURTHER_SPLITS = 4000  # per split other than train
MAX_ROWS = 5  # of a table in the text
LINE_LENGTH, INDENT = 120, " " * 26
BLOCKS = " ▁▂▃▄▅▆▇█"  # bars of a histogram


@dataclass(frozen=True)
class Report:
    """The results of all checks of a game: `crops` counts them by split."""

    game: str
    crops: dict[str, int]
    seconds: float
    checks: list[Check]

    @property
    def failed(self) -> bool:
        return any(check.status == FAIL for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain dicts, lists, strings and numbers."""
        return {**asdict(self), "failed": self.failed}

    def text(self) -> str:
        """Format the report: one entry per check, and the first rows of the tables of checks that are not ok."""
        counts = ", ".join(f"{count} {split}" for split, count in self.crops.items())
        lines = [f"{self.game}: crops {counts}; {self.seconds:.0f} s"]
        for check in self.checks:
            head = f"{check.status:4}  {check.name:18}  "
            lines.append(textwrap.fill(check.detail, LINE_LENGTH, initial_indent=head, subsequent_indent=INDENT))
            if check.histogram:
                lines.append(INDENT + _format_histogram(check.histogram))
            for row in check.table[: MAX_ROWS if check.status != OK else 0]:
                cells = (
                    f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()
                )
                lines.append(INDENT + ", ".join(cells))
        statuses = Counter(check.status for check in self.checks)
        lines.append(f"{statuses[FAIL]} of {len(self.checks)} checks failed, {statuses[WARN]} warn")
        return "\n".join(lines)


def _format_histogram(histogram: dict[str, list[float]]) -> str:
    edges, counts = histogram["edges"], histogram["counts"]
    bars = "".join(BLOCKS[round(8 * count / max(*counts, 1))] for count in counts)
    return f"{edges[0]:.0f} {bars} {edges[-1]:.0f}"


def lint(renderer: Renderer, each: int = 200) -> Report:
    """Render `each` crops of every class of train, and up to 4000 crops of each further split, and check them.

    Of several fields it is every class of the largest one, and what is said of classes is about the first field. At
    most 60 000 crops or 160 MB are rendered per split.
    """
    start, classes = time.perf_counter(), renderer.period
    limit = min(MAX_CROPS, MAX_BYTES // (3 * renderer.game.size[0] * renderer.game.size[1]))
    each = max(min(each, limit // classes), 1)
    crops = {}
    for split in renderer.splits:
        count = each if split == SPLITS[0] else max(min(each, MAX_CROPS_FURTHER_SPLITS // classes), 1)
        crops[split] = renderer.render(split, range(count * classes))
    checks = run_checks(renderer, crops)
    counts = {split: len(part.labels) for split, part in crops.items()}
    return Report(renderer.game.name, counts, time.perf_counter() - start, checks)
