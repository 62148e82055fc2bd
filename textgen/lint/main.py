"""`python -m textgen.lint game=…`: what is wrong with a game before it is trained, on one page.

The checks are those of `textgen.lint.checks`; docs/lint.md says what each means.
"""

from __future__ import annotations

import json
import sys
import textwrap
import time
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

import hydra
from omegaconf import DictConfig
from pydantic import ConfigDict, Field, StrictBool
from pydantic import dataclasses as checked

from textgen.common import cli, hydra_app
from textgen.common.atomic import OTHER_OUT
from textgen.common.validation import Seed, UserPath, validate
from textgen.lint.checks import FAIL, OK, WARN, Check, judge
from textgen.render.renderer import SPLITS, Renderer
from textgen.schema.definition import command_settings, parse_definition

MAX_CROPS, MAX_BYTES = 60_000, 160 << 20  # of a split
OTHER_SPLITS = 4000  # crops of each further split
ROWS = 5  # of a table in the text
INDENT = " " * 26


@dataclass(frozen=True)
class Report:
    """All checks of a game."""

    game: str
    crops: dict[str, int]
    seconds: float
    checks: list[Check]

    @property
    def failed(self) -> bool:
        return any(check.status == FAIL for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers."""
        return {**asdict(self), "failed": self.failed}

    def text(self) -> str:
        """One page: a line a check, and the worst of the tables of those that are not ok."""
        counts = ", ".join(f"{count} {split}" for split, count in self.crops.items())
        lines = [f"{self.game}: crops {counts}; {self.seconds:.0f} s"]
        for check in self.checks:
            head = f"{check.status:4}  {check.name:18}  "
            lines.append(textwrap.fill(check.detail, 120, initial_indent=head, subsequent_indent=INDENT))
            if check.histogram:
                counted = check.histogram["counts"]
                bars = "".join(" ▁▂▃▄▅▆▇█"[round(8 * count / max(*counted, 1))] for count in counted)
                low, high = check.histogram["edges"][0], check.histogram["edges"][-1]
                lines.append(f"{INDENT}{low:.0f} {bars} {high:.0f}")
            for row in check.table[: ROWS if check.status != OK else 0]:
                cells = (
                    f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()
                )
                lines.append(INDENT + ", ".join(cells))
        bad = Counter(check.status for check in self.checks)
        lines.append(f"{bad[FAIL]} of {len(self.checks)} checks failed, {bad[WARN]} warn")
        return "\n".join(lines)


def lint(renderer: Renderer, each: int = 200) -> Report:
    """Render `each` crops of every class of train, up to 4000 of each further split, and check them.

    Fewer where they would be more than 60 000 or 160 MB.
    """
    start, classes = time.perf_counter(), len(renderer.classes)
    most = min(MAX_CROPS, MAX_BYTES // (3 * renderer.game.size[0] * renderer.game.size[1]))
    each = max(min(each, most // classes), 1)
    crops = {}
    for split in renderer.splits:
        count = each if split == SPLITS[0] else max(min(each, OTHER_SPLITS // classes), 1)
        crops[split] = renderer.render(split, range(count * classes))
    checks = judge(renderer, crops)
    counts = {split: len(some.labels) for split, some in crops.items()}
    return Report(renderer.game.name, counts, time.perf_counter() - start, checks)


@checked.dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Settings:
    """The settings of conf/lint.yaml outside the data set's definition."""

    each: Annotated[int, Field(ge=1, le=100_000)]
    format: Literal["text", "json"]
    out: UserPath | None
    overwrite: StrictBool
    seed: Seed


@hydra.main(version_base="1.3", config_path="pkg://conf", config_name="lint")
@hydra_app.command
def _main(config: DictConfig) -> None:
    c = hydra_app.to_plain(config)
    s = validate(Settings, command_settings(c))
    with cli.open_report(s.out, None, OTHER_OUT, overwrite=s.overwrite) as write:
        report = lint(Renderer.of(parse_definition(c, s.seed)), s.each)
        text = json.dumps(report.to_dict(), indent=1) if s.format == "json" else report.text()
        write(text, lambda folder: None)  # there are no pictures
    if report.failed:
        sys.exit(1)


def main() -> None:
    """The console script."""
    hydra_app.run(_main, "lint")
