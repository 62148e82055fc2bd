"""The configuration of `python -m train`, for programs that call `train.run` themselves."""

from __future__ import annotations

from typing import Any

from textgen.common.hydra_app import compose_config
from train.config.renamed_settings import RENAMED


def compose(*overrides: str) -> dict[str, Any]:
    """conf/train.yaml with `overrides`, written as on the command line, as plain dicts and lists. Raises `UserError`.

    >>> config = compose("game=sot_time", "fold=4")
    >>> config["fold"], config["game"]["spec"]
    (4, 'N')
    """
    return compose_config("train", *overrides, renamed=RENAMED)
