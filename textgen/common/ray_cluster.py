"""Ray, which runs work on several machines and need not be installed."""

from __future__ import annotations

import importlib
import logging
import os
import re
import socket
from pathlib import Path
from typing import Any

from textgen.common.errors import UserError

ANSWER_SECONDS = 10.0  # for a cluster to accept a connection


def connect(address: str | None) -> Any:
    """The module `ray`, connected to the cluster at `address`, "auto" or host:port.

    With None, to that of the variable RAY_ADDRESS; without one Ray is started on this machine, for this process. Raises
    `UserError` if Ray is not installed, or nothing answers at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray reports its use to its makers otherwise
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # jobs that ask for no GPU see all of them
    existing = address or os.environ.get("RAY_ADDRESS")
    if existing and _has_token():
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # `ray start --head` uses a token that it finds, clients do not
    try:
        ray = importlib.import_module("ray")
    except ImportError:
        raise UserError("Ray is not installed: pip install 'foldtext[ray]'") from None
    if ray.is_initialized():
        return ray
    try:
        _check_answer(existing)
        # An existing cluster refuses settings of its own start, such as the size of its object store.
        own: dict[str, Any] = {} if existing else {"include_dashboard": False}
        ray.init(address=existing or "local", log_to_driver=False, logging_level=logging.WARNING, **own)
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"no Ray cluster answers at {existing or 'this machine'} ({reason}): give the address that ray start --head"
            " has printed, and the cluster's token as RAY_AUTH_TOKEN; without an address Ray is started on this machine"
        ) from None
    return ray


def count_places(ray: Any, cpus: float, gpus: float) -> int:
    """How many workers of `cpus` cores and `gpus` GPUs the nodes of the cluster have room for, if nothing else runs.

    Raises `UserError` for workers that no node has room for: Ray would wait without a word.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    needed = {name: amount for name, amount in (("CPU", cpus), ("GPU", gpus)) if amount}
    places = sum(min(int(node.get(name, 0) / amount) for name, amount in needed.items()) for node in nodes)
    if not places:
        largest = ", ".join(f"{node.get('CPU', 0):g} cores and {node.get('GPU', 0):g} GPUs" for node in nodes)
        raise UserError(f"no node has {cpus:g} cores and {gpus:g} GPUs for a job: the nodes have {largest}")
    return places


def _check_answer(address: str | None) -> None:
    """Raise `OSError` if nothing listens at host:port: Ray itself would try for minutes."""
    match = re.fullmatch(r"(?:ray://)?\[?([^\[\]]+)\]?:(\d{1,5})", address or "")
    if match:
        socket.create_connection((match[1], int(match[2])), timeout=ANSWER_SECONDS).close()


def _has_token() -> bool:
    """Whether there is a token where Ray looks for one."""
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", Path.home() / ".ray" / "auth_token"))
    return "RAY_AUTH_TOKEN" in os.environ or path.is_file()
