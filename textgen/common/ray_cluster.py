"""Ray, which runs work on several machines and need not be installed."""

from __future__ import annotations

import importlib
import logging
import os
from typing import Any

from textgen.common.errors import UserError


def connect(address: str | None) -> Any:
    """The module `ray`, connected to the cluster at `address`, "auto" or host:port.

    With None, to that of the variable RAY_ADDRESS; without one Ray is started on this machine, for this process. Raises
    `UserError` if Ray is not installed, or nothing answers at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray reports its use to its makers otherwise
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # jobs without a GPU of their own may see all
    try:
        ray = importlib.import_module("ray")
    except ImportError:
        raise UserError("Ray is not installed: pip install 'foldtext[ray]'") from None
    if ray.is_initialized():
        return ray
    existing = address or os.environ.get("RAY_ADDRESS")
    try:
        # An existing cluster refuses settings of its own start, such as the size of its object store.
        own: dict[str, Any] = {} if existing else {"include_dashboard": False}
        ray.init(address=existing or "local", log_to_driver=False, logging_level=logging.WARNING, **own)
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"no Ray cluster answers at {existing or 'this machine'} ({reason}): give the address that ray start --head"
            " has printed; a cluster with a token needs RAY_AUTH_MODE=token; without an address Ray is started on this"
            " machine"
        ) from None
    return ray
