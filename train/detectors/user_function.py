"""`detector=my.module:function`: a function, or an object that can be called, of the user's own."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

from textgen.common.array_types import U8
from textgen.common.errors import UserError
from train.detectors.detection import Detection
from train.folding.own_module import call_users_code, import_dotted

WANTED = "a list with, for each frame, a list of (object_name, confidence, xmin, ymin, xmax, ymax)"


class UserDetector:
    """The detector `text`, "my.module:name". Its module is imported: it is code, which only the user may name.

    The name is a function of frames, or a class or a function without required parameters that gives one. Objects below
    `confidence` are left out. Raises `UserError` if there is no such name; what the user's code raises passes with its
    traceback.
    """

    objects: tuple[str, ...] | None = None

    def __init__(self, text: str, confidence: float = 0.0):
        self.name, self._confidence = text, confidence
        self._function = _load(text)

    def __call__(self, frames: Sequence[U8]) -> list[list[Detection]]:
        """The objects in each frame, RGB uint8 (H, W, 3). Raises `UserError` for a result of another form."""
        results = call_users_code(f"detector={self.name}", self._function, list(frames))
        try:
            results = [list(each) for each in results]
        except TypeError:
            raise UserError(f"detector={self.name} gave {_shorten(results)}; it has to give {WANTED}") from None
        if len(results) != len(frames):
            raise UserError(f"detector={self.name} gave {len(results)} lists for {len(frames)} frames: give {WANTED}")
        found = [[self._check(row) for row in each] for each in results]
        return [[each for each in one if each.confidence >= self._confidence] for one in found]

    def _check(self, row: Any) -> Detection:
        try:
            name, confidence, *box = row
            found = Detection(name, float(confidence), *map(float, box))
        except (TypeError, ValueError):
            raise UserError(f"detector={self.name} gave {_shorten(row)}; it has to give {WANTED}") from None
        if not isinstance(name, str) or not name.strip() or not name.isprintable():
            raise UserError(f"detector={self.name} gave the name {_shorten(name)}: give a text in one line")
        if not 0 <= found.confidence <= 1:
            raise UserError(f"detector={self.name} gave the confidence {found.confidence}: give one from 0 to 1")
        if not all(map(math.isfinite, found[2:])) or found.xmin > found.xmax or found.ymin > found.ymax:
            raise UserError(
                f"detector={self.name} gave the box {list(found[2:])}: give xmin, ymin, xmax, ymax in pixels"
            )
        return found


def _load(text: str) -> Callable[..., Any]:
    found = import_dotted(text, "detector")
    if not inspect.isclass(found) and not _takes_nothing(found):
        return found
    function = call_users_code(f"detector={text}", found)
    if not callable(function):
        raise UserError(f"detector={text} gave {_shorten(function)}, which cannot be called with frames")
    return function  # type: ignore[no-any-return]


def _takes_nothing(function: Callable[..., Any]) -> bool:
    """Whether a function needs no arguments, so that it takes no frames."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    takes = [each for each in parameters if each.kind is not each.KEYWORD_ONLY and each.kind is not each.VAR_KEYWORD]
    return all(each.default is not each.empty for each in takes)


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
