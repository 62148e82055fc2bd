"""The command `python -m textgen.cut source=… regions=…`: crops of footage; see docs/reference/cut.md."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Annotated, Any

import hydra
from omegaconf import DictConfig
from pydantic import ConfigDict, Field, StrictBool
from pydantic.dataclasses import dataclass

from textgen.common import hydra_app
from textgen.common.progress import progress_bar
from textgen.common.validation import Positive, UserPath, validate
from textgen.cut.crops import Choice, cut_crops, warn

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Settings:
    """The settings of conf/cut.yaml."""

    source: str
    regions: dict[str, Any] | str
    out: UserPath
    overwrite: StrictBool
    every: Positive
    start: Seconds | None
    end: Seconds | None
    rate: Annotated[float, Field(gt=0, le=1000)] | None
    changes: StrictBool
    change: Annotated[float, Field(gt=0, le=255)]
    max_crops: Positive
    max_bytes: Positive

    def choice(self) -> Choice:
        """The settings that say which crops are kept."""
        return Choice(
            self.start,
            self.end,
            self.every,
            self.rate,
            self.changes,
            self.change,
            self.max_crops,
            self.max_bytes,
        )


@hydra.main(version_base="1.3", config_path=hydra_app.CONFIG_PATH, config_name="cut")
@hydra_app.command
def _main(config: DictConfig) -> None:
    s = validate(Settings, hydra_app.to_plain(config))
    began = time.perf_counter()
    with ExitStack() as stack:

        def progress(total: int | None) -> Callable[[int], object]:
            update: Callable[[int], object] = stack.enter_context(progress_bar(total, "cut", unit=" frames")).update
            return update

        cut = cut_crops(s.source, s.regions, s.out, s.choice(), overwrite=s.overwrite, progress=progress)
    seconds = time.perf_counter() - began
    warn(cut.problem)
    print(
        f"{s.out}: {cut.crops:,} crops from {cut.frames:,} frames, {cut.first_time:.2f} to {cut.last_time:.2f} s; "
        f"{cut.frames / seconds:,.0f} frames/s"
    )


def main() -> None:
    """The console script."""
    hydra_app.run(_main, "cut")
