"""Bounds on ${…} in configurations: references to references can stand for billions of characters, as aliases can."""

from __future__ import annotations

from typing import Any

from omegaconf.base import Container
from omegaconf.errors import InterpolationResolutionError

MAX_STEPS = 2000  # references that are followed; each takes up to a millisecond
MAX_SIZE = 16 << 20  # characters and values that all of them stand for


class _Budget:
    """What references have stood for since `restart`."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self._steps = self._size = 0
        self._sizes: dict[int, tuple[Any, int]] = {}  # by identity, with what keeps the identity from being used again

    def take(self, found: Any) -> None:
        """Count what a reference has found. Raises `InterpolationResolutionError` beyond the bounds."""
        self._steps += 1
        self._size += self._measure(found)
        if self._steps > MAX_STEPS or self._size > MAX_SIZE:
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
restart = _budget.restart


def limit_references() -> None:
    """Count all references of OmegaConf from now on; `restart` begins anew, for another configuration."""
    for name in ("_resolve_node_interpolation", "_evaluate_custom_resolver"):
        original = getattr(Container, name)
        if hasattr(original, "counted"):
            continue

        def counted(self: Container, *args: Any, _original: Any = original, **kwargs: Any) -> Any:
            found = _original(self, *args, **kwargs)
            _budget.take(found)
            return found

        counted.counted = True  # type: ignore[attr-defined]
        setattr(Container, name, counted)
