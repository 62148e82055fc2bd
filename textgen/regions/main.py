"""The command `python -m textgen.regions source=…`: a page to draw regions on; see docs/reference/regions.md."""

from __future__ import annotations

from typing import Annotated, Any

import hydra
from omegaconf import DictConfig
from pydantic import ConfigDict, Field, StrictInt
from pydantic.dataclasses import dataclass

from textgen.common import hydra_app
from textgen.common.atomic import OTHER_OUT, atomic_file
from textgen.common.validation import UserPath, validate
from textgen.footage.regions import load_regions
from textgen.footage.samples import sample_frames
from textgen.regions.page import render_page

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Settings:
    """The settings of conf/regions.yaml."""

    source: str
    out: UserPath
    frames: Annotated[StrictInt, Field(ge=1, le=100)]
    start: Seconds | None
    end: Seconds | None
    regions: dict[str, Any] | str | None


@hydra.main(version_base="1.3", config_path=hydra_app.CONFIG_PATH, config_name="regions")
@hydra_app.command
def _main(config: DictConfig) -> None:
    s = validate(Settings, hydra_app.to_plain(config))
    with atomic_file(s.out, OTHER_OUT) as write:
        frames = sample_frames(s.source, s.frames, start=s.start, end=s.end)
        regions = () if s.regions is None else load_regions(s.regions, frames[0].size)
        write(render_page(s.source, frames, regions).encode("utf-8", "xmlcharrefreplace"))
    print(f"{s.out}: {len(frames)} frames of {s.source}; open it in a browser and draw the regions")


def main() -> None:
    """The console script."""
    hydra_app.run(_main, "regions")
