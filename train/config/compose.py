"""The configuration of `python -m train`, for programs that call `train.run` themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from textgen.common.data_folders import CONF
from textgen.common.errors import UserError
from textgen.common.hydra_app import compose_config
from textgen.common.hydra_arguments import prepare
from train.config.networks import permit_network
from train.config.renamed_settings import RENAMED


def compose(*overrides: str) -> dict[str, Any]:
    """conf/train.yaml with `overrides`, written as on the command line, as plain dicts and lists. Raises `UserError`.

    A module that one of them names, network=my.module:Net, may be imported from then on.

    >>> config = compose("game=sot_time", "fold=4")
    >>> config["fold"], config["game"]["spec"]
    (4, 'N')
    """
    config = compose_config("train", *overrides, renamed=RENAMED)
    permit_network(config, prepare(overrides, "train", {}))
    return with_network(config, overrides)


def with_network(config: Mapping[str, Any], given: Sequence[str]) -> dict[str, Any]:
    """`config` with the network that its task names, a file of conf/network, if it says nothing else of a network.

    Of the settings `given` in the command those of `model` have priority. Raises `UserError` for a name that is no file
    of foldtext's: a module is named by the command alone.
    """
    task, model, network = config.get("task"), config.get("model"), config.get("network")
    named = task.get("network") if isinstance(task, Mapping) else None
    chosen = isinstance(network, Mapping) and "name" in network
    if named is None or chosen or not isinstance(model, Mapping) or model.get("arch"):
        return {**config}
    known = sorted(path.stem for path in (CONF / "network").glob("*.yaml") if path.stem != "own")
    if named not in known:
        raise UserError(
            f"task.network={named}: it is one of {', '.join(known)}; another one is given as network=…, a file or"
            " my.module:Net"
        )
    if pools := next((setting for setting in given if setting.startswith("model=")), None):
        raise UserError(f"{pools} is for games: of network={named} give model.pool=… or model.arch=…")
    of_model = [setting for setting in given if setting.startswith("model.")]
    found = compose_config("train", f"network={named}", *of_model, renamed=RENAMED)
    return {**config, "network": {**found["network"], **(network or {})}, "model": found["model"]}
