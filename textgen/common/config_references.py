"""Bounds on ${…} in configurations: references to references can stand for billions of characters, as aliases can.

OmegaConf has no such bounds. Its methods are therefore replaced while foldtext composes a configuration, and are as
they were afterwards, since a program that imports foldtext may use OmegaConf itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from omegaconf.base import Container
from omegaconf.errors import InterpolationResolutionError

MAX_STEPS = 2000  # references that are followed; each takes up to a millisecond
MAX_SIZE = 16 << 20  # characters and values that all of them stand for


class _Budget(threading.local):
    """What references have stood for since `restart`, in this thread."""

    def __init__(self) -> None:
        self.depth = 0  # of values that are being resolved
        self.is_shared = False  # by all values of a configuration
        self.restart()

    def restart(self) -> None:
        self._steps = self._size = 0
        self._sizes: dict[int, tuple[Any, int]] = {}  # by identity, with what keeps the identity from being used again

    def take(self, found: Any) -> None:
        """Count what a reference has found. Raises `InterpolationResolutionError` beyond the bounds."""
        self._steps += 1
        self._size += self._measure(found)
        if self._steps > MAX_STEPS:
            raise InterpolationResolutionError(f"more than {MAX_STEPS:,} interpolations are followed: make them fewer")
        if self._size > MAX_SIZE:
            raise InterpolationResolutionError(
                f"interpolations stand for more than {MAX_SIZE:,} characters and values: make them fewer"
            )

    def _measure(self, found: Any) -> int:
        value = found._value() if hasattr(found, "_value") else found
        if isinstance(value, str | bytes):
            return len(value)
        if not isinstance(value, dict | list | tuple):
            return 1
        if id(value) not in self._sizes:
            inner = value.values() if isinstance(value, dict) else value
            self._sizes[id(value)] = value, 1 + sum(map(self._measure, inner))
        return self._sizes[id(value)][1]


_budget = _Budget()
_lock = threading.Lock()
_users = 0  # of the bounds
_originals: dict[str, Callable[..., Any]] = {}


@contextmanager
def limit_references() -> Iterator[None]:
    """Bound what each value that OmegaConf resolves stands for."""
    _bound()
    try:
        yield
    finally:
        _unbound()


@contextmanager
def limit_configuration() -> Iterator[None]:
    """Bound what all values that are resolved here stand for together: those of one configuration."""
    with limit_references():
        before, _budget.is_shared = _budget.is_shared, True
        _budget.restart()
        try:
            yield
        finally:
            _budget.is_shared = before


def bound_process() -> None:
    """As `limit_references`, to the end of the process: for one that runs the jobs of a multirun."""
    if not _users:
        _bound()


def _bound() -> None:
    global _users  # noqa: PLW0603, the methods are those of the process
    with _lock:
        _users += 1
        if _users == 1:
            for name in ("_resolve_node_interpolation", "_evaluate_custom_resolver"):
                _replace(name, _counted)
            _replace("_resolve_interpolation_from_parse_tree", _begun)


def _unbound() -> None:
    global _users  # noqa: PLW0603
    with _lock:
        _users -= 1
        if not _users:
            for name, original in _originals.items():
                setattr(Container, name, original)


def _replace(name: str, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    _originals[name] = getattr(Container, name)
    setattr(Container, name, wrap(_originals[name]))


def _counted(original: Callable[..., Any]) -> Callable[..., Any]:
    """Count what a reference finds."""

    def counted(*args: Any, **kwargs: Any) -> Any:
        found = original(*args, **kwargs)
        _budget.take(found)
        return found

    return counted


def _begun(original: Callable[..., Any]) -> Callable[..., Any]:
    """Begin to count with a value, unless it belongs to another one or to a configuration."""

    def begun(*args: Any, **kwargs: Any) -> Any:
        if not _budget.depth and not _budget.is_shared:
            _budget.restart()
        _budget.depth += 1
        try:
            return original(*args, **kwargs)
        finally:
            _budget.depth -= 1

    return begun
