"""The group `task`: what is learned where no game draws the images. The dataclasses behind conf/task/*.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StrictBool, StrictInt
from pydantic.dataclasses import dataclass

from textgen.common.errors import UserError
from textgen.common.validation import validate
from textgen.dataset.cifar_files import CLASSES, SIDE
from textgen.frames.settings import FrameTask


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class CifarTask:
    """CIFAR-10 or CIFAR-100 (paper, §5.4): `validation` of the training images are for validation.

    Training images are mirrored at random with `flip`, and moved by up to `shift` pixels along both axes, as usual on
    CIFAR (He et al., 2016).
    """

    name: Literal["cifar10", "cifar100"]
    validation: Annotated[StrictInt, Field(ge=1)]
    flip: StrictBool
    shift: Annotated[StrictInt, Field(ge=0, le=16)]
    kind: Literal["cifar"] = "cifar"
    network: str = "resnet18"

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the images."""
        return SIDE, SIDE

    @property
    def classes(self) -> tuple[str, ...]:
        """The usual names of the classes; a copy may have others."""
        return CLASSES[self.name]


KINDS: dict[str, type[FrameTask] | type[CifarTask]] = {"video": FrameTask, "cifar": CifarTask}
Task = FrameTask | CifarTask


def parse_task(config: Mapping[str, Any]) -> Task | None:
    """The task in a composed configuration of conf/train.yaml; None if it has none. Raises `UserError`."""
    given = config.get("task")
    if given is None:
        return None
    kind = given.get("kind") if isinstance(given, Mapping) else None
    if kind not in KINDS:
        raise UserError(f"task.kind is {kind!r}: it is one of {', '.join(KINDS)}; begin a file with defaults: [video]")
    return validate(KINDS[kind], given, "task")
