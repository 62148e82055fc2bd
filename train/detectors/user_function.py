"""`detector=my.module:function`: a function, or an object that can be called, of the user's own."""

from __future__ import annotations

import importlib
import inspect
import math
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from textgen.common.array_types import U8
from textgen.common.cli import FILE_ERRORS
from textgen.common.errors import UserError
from train.detectors.detection import Detection

DOTTED = re.compile(r"([^\W\d]\w*(?:\.[^\W\d]\w*)*):([^\W\d]\w*(?:\.[^\W\d]\w*)*)")
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
        self._function = _import(text)

    def __call__(self, frames: Sequence[U8]) -> list[list[Detection]]:
        """The objects in each frame, RGB uint8 (H, W, 3). Raises `UserError` for a result of another form."""
        results = _call(self.name, self._function, list(frames))
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


def _import(text: str) -> Callable[..., Any]:
    match = DOTTED.fullmatch(text)
    if match is None:
        raise UserError(f"detector={text}: write my.module:function")
    module_name, name = match.groups()
    if str(Path.cwd()) not in sys.path and "" not in sys.path:
        sys.path.append(str(Path.cwd()))  # where the user's files are, as with python -m
    try:
        found: Any = _call(text, importlib.import_module, module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # something that the module itself imports
        raise UserError(
            f"detector={text}: there is no module {error.name} in {Path.cwd()}, PYTHONPATH or the environment"
        ) from None
    for part in name.split("."):
        if not hasattr(found, part):
            raise UserError(f"detector={text}: {module_name} has no {part}; give my.module:function")
        found = getattr(found, part)
    if not callable(found):
        raise UserError(f"detector={text} is {_shorten(found)}: give a function of frames, or a class that has one")
    if inspect.isclass(found) or _takes_nothing(found):
        found = _call(text, found)
        if not callable(found):
            raise UserError(f"detector={text} gave {_shorten(found)}, which cannot be called with frames")
    function: Callable[..., Any] = found
    return function


def _takes_nothing(function: Callable[..., Any]) -> bool:
    """Whether a function needs no arguments, so that it takes no frames."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    takes = [each for each in parameters if each.kind is not each.KEYWORD_ONLY and each.kind is not each.VAR_KEYWORD]
    return all(each.default is not each.empty for each in takes)


def _call(text: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call the user's code. Errors that a command tells in one line become others, which keep their traceback."""
    try:
        return function(*arguments)
    except (*FILE_ERRORS, BrokenPipeError, UserError) as error:
        raise RuntimeError(f"detector={text} failed: {type(error).__name__}: {error}") from error


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
