"""`python -m textgen.frames task=… source=… labels=…`: the data set of a video task; see docs/reference/frames.md."""

from __future__ import annotations

from typing import Any

import hydra
from omegaconf import DictConfig
from pydantic import ConfigDict, StrictBool
from pydantic.dataclasses import dataclass

from textgen.common import hydra_app
from textgen.common.errors import UserError
from textgen.common.validation import UserPath, validate
from textgen.frames.build import ensure_frames
from textgen.frames.settings import FrameTask


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Settings:
    """The settings of conf/frames.yaml besides the task."""

    source: UserPath
    labels: UserPath
    out: UserPath
    rebuild: StrictBool


@hydra.main(version_base="1.3", config_path=hydra_app.CONFIG_PATH, config_name="frames")
@hydra_app.command
def _main(config: DictConfig) -> None:
    c: dict[str, Any] = hydra_app.to_plain(config)
    task = c.pop("task")
    s = validate(Settings, c)
    if task.get("kind") != "video":
        raise UserError(f"task: {task.get('kind')!r} is no video: give task=video, coral, night, roundabout or taipei")
    print(ensure_frames(validate(FrameTask, task, "task"), s.source, s.labels, s.out, rebuild=s.rebuild).path)


def main() -> None:
    """The console script."""
    hydra_app.run(_main, "frames")
