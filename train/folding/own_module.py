"""Networks that the notation cannot express: ResNet-18, and PyTorch modules of the user's own, by a dotted name.

A dotted name is code. It is imported if the command line names it (`network=my.module:Net`, see `permit`), and never
because a file says so.
"""

from __future__ import annotations

import hashlib
import importlib
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textgen.common.errors import UserError

if TYPE_CHECKING:  # PyTorch is imported where networks are built
    from torch import nn

BUILT_IN = {"resnet18": "train.models.resnet:resnet18"}
DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_permitted: set[str] = set(BUILT_IN)  # the names that the command line has given


@dataclass(frozen=True)
class OwnModule:
    """A network that is a class or function: `name` is "resnet18" or "my.module:Net", called as
    `Net(classes, **arguments)`.

    The result maps images (b, 3, H, W) to logits (b, classes).
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def describe(self) -> str:
        """As a call."""
        return f"{self.name}({', '.join(['classes', *(f'{key}={value!r}' for key, value in self.arguments.items())])})"

    def build(self, *, size: tuple[int, int], classes: int, fold: int = 1) -> nn.Module:
        """Build the network for stacks of `fold` images of `size` (H, W), (b, fold·3, H, W) -> (b, fold·classes).

        For fold=1 it is what the class or function gives, otherwise that, folded. Raises `UserError` for a name that
        cannot be imported or that the command line has not given, and for a network that cannot be folded.
        """
        from train.folding.fold_model import fold_model  # noqa: PLC0415

        net = self._create(classes)
        return net if fold == 1 else fold_model(net, fold, (3, *size))

    def build_slot(self, *, size: tuple[int, int], classes: int, fold: int) -> nn.Module:
        """The narrow network of one of `fold` slots, (b, 3, H, W) -> (b, classes) (`slot_model`).

        Raises `UserError` as `build` does, also where so narrow a network cannot be built.
        """
        from train.folding.fold_model import slot_model  # noqa: PLC0415

        return slot_model(self._create(classes), fold, (3, *size))

    def _create(self, classes: int) -> nn.Module:
        """The network for single images, as the class or function gives it."""
        from torch import nn  # noqa: PLC0415

        create = self._load()
        try:
            net = create(classes, **self.arguments)
        except TypeError as error:
            if error.__traceback__ is not None and error.__traceback__.tb_next is not None:
                raise  # within the user's code
            raise UserError(f"network={self.describe()} cannot be called so: {error}") from None
        if not isinstance(net, nn.Module):
            raise UserError(f"network={self.name} gives {type(net).__name__}: it has to give a torch.nn.Module")
        return net

    def digest(self) -> str | None:
        """The SHA-256 of the file that the class or function is written in, so that a changed one is another network.

        None for built-in networks and for modules without a file. Raises `UserError` as `build` does.
        """
        module = sys.modules.get(self._load().__module__)
        file = getattr(module, "__file__", None)
        return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file and self.name not in BUILT_IN else None

    def _load(self) -> Callable[..., Any]:
        if self.name not in _permitted:
            raise UserError(
                f"this network is code, {self.name}, which is run only if the command names it: add"
                f" network={self.name} if you trust it"
            )
        return import_dotted(BUILT_IN.get(self.name, self.name), "network")


def permit(name: str) -> None:
    """Let networks of this dotted name be imported: to be called for what the command line names, and nothing else."""
    _permitted.add(name)


def permitted() -> list[str]:
    """The names that may be imported."""
    return sorted(_permitted)


def import_dotted(name: str, option: str) -> Callable[..., Any]:
    """What "my.module:thing" or "my.module:Class.thing" names, imported as Python finds it from the current folder.

    `option` is the setting, for messages. Raises `UserError`. What goes wrong within the module is the user's, with its
    traceback.
    """
    if not DOTTED.fullmatch(name):
        raise UserError(f"{option}={name}: write a module and a name in it, such as my.module:thing")
    module, _, attributes = name.partition(":")
    here = str(Path.cwd())
    if not {here, ""} & {*sys.path}:
        sys.path.insert(0, here)  # as python -m has it, and a console script has not
    try:
        found = call_users_code(f"{option}={name}", importlib.import_module, module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # a module that the user's own module imports
        raise UserError(
            f"{option}={name}: there is no module {error.name} in {here}, PYTHONPATH or the environment"
        ) from None
    for attribute in attributes.split("."):
        found = getattr(found, attribute, None)
    if not callable(found):
        raise UserError(f"{option}={name}: module {module} has no class or function {attributes}")
    return found  # type: ignore[no-any-return]


def call_users_code(what: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of the user's. Errors that a command tells in one line become others, with their traceback."""
    try:
        return function(*arguments)
    except (OSError, UserError) as error:
        raise RuntimeError(f"{what} failed: {type(error).__name__}: {error}") from error
