"""pyarrow, which reads and writes Parquet files and need not be installed."""

from __future__ import annotations

import importlib
from typing import Any

from textgen.common.errors import UserError


def import_pyarrow(what: str = "Parquet") -> tuple[Any, Any]:
    """The modules pyarrow and pyarrow.parquet. Raises `UserError`, which says `what` needs them."""
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise UserError(f"{what} needs pyarrow: pip install 'foldtext[formats]'") from None


def reading_errors() -> tuple[type[Exception], ...]:
    """What pyarrow raises for damaged files. `UserError` is a `ValueError` as well: let it through before."""
    return import_pyarrow()[0].ArrowException, OSError, ValueError, OverflowError, KeyError
