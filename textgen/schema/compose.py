"""The configuration of `python -m textgen`, for programs that draw crops or build data sets themselves."""

from __future__ import annotations

from typing import Any

from textgen.common.hydra_app import compose_config


def compose(*overrides: str) -> dict[str, Any]:
    """conf/textgen.yaml with `overrides`, written as on the command line, as plain dicts and lists. Raises `UserError`.

    >>> compose("game=sot_time", "augment=light")["game"]["spec"]
    'N'
    """
    return compose_config("textgen", *overrides)
