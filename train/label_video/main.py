"""`python -m train.label_video source=… detector=…`: a label table of a video; see docs/reference/label_video.md."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from textgen.common import hydra_app
from textgen.common.validation import validate
from train.label_video.run import label_video
from train.label_video.settings import Settings


@hydra.main(version_base="1.3", config_path=hydra_app.CONFIG_PATH, config_name="label_video")
@hydra_app.command
def _main(config: DictConfig) -> None:
    print(label_video(validate(Settings, hydra_app.to_plain(config))), flush=True)


def main() -> None:
    """The console script."""
    hydra_app.run(_main, "label_video")
