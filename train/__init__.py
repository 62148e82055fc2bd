"""Train FoldedCNNs on crops of game text, evaluate, export and run them.

The names of `__all__` are imported when they are first used: `import train` itself loads no PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from train.config.compose import compose
    from train.folding.fold_model import fold_model
    from train.inference.network import Network, load
    from train.predict.predictor import Predictor
    from train.runs.run import run

__all__ = ["Network", "Predictor", "compose", "fold_model", "load", "run"]

if not TYPE_CHECKING:  # so that a type checker knows the names above and no others
    _MODULES = {
        "Network": "train.inference.network",
        "Predictor": "train.predict.predictor",
        "compose": "train.config.compose",
        "fold_model": "train.folding.fold_model",
        "load": "train.inference.network",
        "run": "train.runs.run",
    }

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        import_module("train.common.environment").check_textgen()
        globals()[name] = value = getattr(import_module(_MODULES[name]), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
