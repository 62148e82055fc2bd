"""Train FoldedCNNs on crops of game text, evaluate, export and run them.

The names of `__all__` are imported when they are first used, so that `import train` takes no time and loads no PyTorch.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from train.folding.fold_model import fold_model
    from train.inference.network import Network, load

__all__ = ["Network", "fold_model", "load"]
_MODULES = {
    "Network": "train.inference.network",
    "fold_model": "train.folding.fold_model",
    "load": "train.inference.network",
}

# OpenMP's threads spin while they wait for each other: where another process wants a core, a step on a CPU takes many
# times as long. If they sleep at once, it takes twice as long where none does. So they spin shortly (docs/training.md).
# Both are read once, when torch is loaded. The first is for every OpenMP; GCC's, PyTorch's on Linux, goes by the other.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'train' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
