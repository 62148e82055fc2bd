"""Networks that the notation cannot express: ResNet-18, and PyTorch modules of the user's own, by a dotted name.

A dotted name is code. It is imported if the command line names it (`network=my.module:Net`, see `permit`), and never
because a file says so.
"""

from __future__ import annotations

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
DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
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
        from torch import nn  # noqa: PLC0415

        from train.folding.fold_model import fold_model  # noqa: PLC0415

        net = self._load()(classes, **self.arguments)
        if not isinstance(net, nn.Module):
            raise UserError(f"network={self.name} gives {type(net).__name__}: it has to give a torch.nn.Module")
        return net if fold == 1 else fold_model(net, fold, (3, *size))

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


def import_dotted(name: str, option: str) -> Callable[..., Any]:
    """What "my.module:thing" names, imported as Python finds it from the current folder. Raises `UserError`.

    What goes wrong within the module is the user's, with its traceback.
    """
    if not DOTTED.fullmatch(name):
        raise UserError(f"{option}={name}: write a module and a name in it, such as my.module:Net")
    module, _, attribute = name.partition(":")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)  # as python -m has it, and a console script has not
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # a module that the user's own module imports
        raise UserError(
            f"{option}={name}: there is no module {error.name}; give its folder as PYTHONPATH, or run this there"
        ) from None
    if not callable(found):
        raise UserError(f"{option}={name}: module {module} has no class or function {attribute}")
    return found  # type: ignore[no-any-return]
