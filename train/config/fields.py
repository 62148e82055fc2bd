"""Types of settings that several commands share."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator

T = TypeVar("T")

MAX_FOLD = 6  # of a network that is trained: the evaluator goes through all f! orders
MAX_COMPUTED_FOLD = 64  # of a network whose cost is computed, or which is timed with random weights

Rounding = Literal["nearest", "up", "down"]
Scaling = Literal["efficientnet", "reference"]  # EfficientNet's compound scaling, see `train.models.scaling`


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str | int | float) else value


OneOrMore = Annotated[tuple[T, ...], BeforeValidator(_as_list)]  # fold=4 is fold=[4]
