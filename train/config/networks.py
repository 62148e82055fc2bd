"""The groups `model` and `network` of conf/."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from textgen.common.errors import UserError
from textgen.common.validation import Positive, validate
from train.folding.own_module import BUILT_IN, DOTTED, OwnModule, permit


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Model:
    """The group `model`: an architecture in the paper's notation, see `train.models.notation`."""

    arch: str | None  # None: the game's
    pool: str


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class NetworkSettings:
    """The group `network`: a network that belongs to no game.

    `size` is (H, W) of its images and `classes` the number of classes where no task gives them, in train.cost and
    train.bench. `module` names a network that the notation cannot express, "resnet18" or a dotted name, and `arguments`
    are passed to it; None: the network that `model.arch` gives.
    """

    name: str
    size: tuple[Positive, Positive] | None = None
    classes: Positive | None = None
    module: str | None = None
    arguments: Mapping[str, Any] = Field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.module is not None and self.module not in BUILT_IN and not DOTTED.fullmatch(self.module):
            raise ValueError("module: give a module and a class or function in it, such as network=my.module:Net")
        if self.arguments and self.module is None:
            raise ValueError("arguments: they are for a network with a module")

    @property
    def own_name(self) -> str:
        """The name in messages and tables: of a module of the user's own, that."""
        return self.module if self.module and self.module not in BUILT_IN else self.name

    @property
    def own(self) -> OwnModule | None:
        """The network, where the notation cannot express it."""
        return OwnModule(self.module, dict(self.arguments)) if self.module else None

    def sizes(self) -> tuple[tuple[int, int], int]:
        """`size` and `classes`. Raises `UserError` if they are not given."""
        if self.size is None or self.classes is None:
            raise UserError(f"network={self.module or self.name}: give network.size=[H,W] and network.classes=… too")
        return self.size, self.classes


def permit_network(config: Mapping[str, Any], given: Sequence[str]) -> None:
    """Permit the module of the group `network`, if one of the settings `given` in the command chose it.

    A module that only a file names, such as that of a task or a run, is not permitted. Raises `UserError`.
    """
    chosen = {setting.lstrip("+").partition("=")[0] for setting in given}
    if chosen & {"network", "network.module"} and isinstance(config.get("network"), Mapping):
        module = config["network"].get("module")
        if isinstance(module, str):
            permit(module)


def take_network(config: dict[str, Any], given: Sequence[str]) -> None:
    """Take the group `network` out of the settings of a command about runs, and permit its module.

    Raises `UserError` for a network of the notation, which runs hold themselves.
    """
    permit_network(config, given)
    if "network" in config:
        network = validate(NetworkSettings, config.pop("network"), "network")
        if network.module is None:
            raise UserError(f"network={network.name} is what runs hold themselves: leave it out")
