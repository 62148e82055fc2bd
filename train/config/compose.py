"""The configuration of `python -m train`, for programs that call `train.run` themselves."""

from __future__ import annotations

from collections.abc import Mapping
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


def with_network(config: Mapping[str, Any]) -> dict[str, Any]:
    """`config` with the network that its task names, a file of conf/network, if it says nothing else of a network.

    Raises `UserError` for a name that is no file.
    """
    task, model = config.get("task"), config.get("model")
    named = task.get("network") if isinstance(task, Mapping) else None
    if named is None or "network" in config or not isinstance(model, Mapping) or model.get("arch"):
        return {**config}
    chosen = compose(f"network={named}")
    return {**config, "network": chosen["network"], "model": chosen["model"]}
