"""The dataclasses behind the groups `model` and `network`."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from textgen.common.validation import Positive


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Model:
    """The group `model`: an architecture in the paper's notation, see `train.models.notation`."""

    arch: str | None  # None: the game's
    pool: str


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class NetworkSettings:
    """The group `network`: the sizes of a network that belongs to no game.

    `size` is (H, W) of its images, `classes` the number of classes. `module` names a network that the notation cannot
    express; None: the one that `model.arch` gives.
    """

    name: str
    size: tuple[Positive, Positive]
    classes: Positive
    module: Literal["resnet18"] | None = None
