"""Labelled crops of game text from a short spec.

The names of `__all__` are imported when they are first used, so that `import textgen` is fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from textgen.common.errors import SpecError, UserError
    from textgen.common.pictures import read_picture
    from textgen.dataset.build import ensure_dataset
    from textgen.dataset.import_folder import import_folder
    from textgen.dataset.store import open_dataset
    from textgen.render.renderer import Renderer
    from textgen.schema.compose import compose
    from textgen.schema.definition import parse_definition
    from textgen.spec.parser import Spec

__all__ = [
    "Renderer",
    "Spec",
    "SpecError",
    "UserError",
    "compose",
    "ensure_dataset",
    "import_folder",
    "open_dataset",
    "parse_definition",
    "read_picture",
]

if not TYPE_CHECKING:  # so that a type checker knows the names above and no others
    _MODULES = {
        "Renderer": "textgen.render.renderer",
        "Spec": "textgen.spec.parser",
        "SpecError": "textgen.common.errors",
        "UserError": "textgen.common.errors",
        "compose": "textgen.schema.compose",
        "ensure_dataset": "textgen.dataset.build",
        "import_folder": "textgen.dataset.import_folder",
        "open_dataset": "textgen.dataset.store",
        "parse_definition": "textgen.schema.definition",
        "read_picture": "textgen.common.pictures",
    }

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value = getattr(import_module(_MODULES[name]), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
