"""Plain mappings, as YAML gives them, validated into dataclasses, with errors that name the key."""

from __future__ import annotations

import dataclasses
import difflib
import re
import typing
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, Field, StrictInt, TypeAdapter, ValidationError

from textgen.common.errors import UserError

T = TypeVar("T")


UserPath = Annotated[Path, AfterValidator(Path.expanduser)]  # with ~ for the user's home
Positive = Annotated[StrictInt, Field(ge=1)]
Seed = Annotated[StrictInt, Field(ge=0, lt=2**63)]

SHAPES = {  # what YAML calls what pydantic expects
    "tuple_type": "it is a list: write [a, b]",
    "dataclass_type": "it is a mapping: write {key: value}, or {} for what is usual",
    "mapping_type": "it is a mapping: write {key: value}",
}


def validate(cls: type[T], config: Any, where: str = "") -> T:
    """`config` as the dataclass `cls`, or a `UserError` that names the key, what it got and what would be right."""
    try:
        return TypeAdapter(cls).validate_python(config)
    except UnicodeEncodeError as error:  # pydantic's own, of "\ud800" in YAML
        half = error.object[error.start]
        raise UserError(f"{where or 'a setting'} holds {half!r}, half a character: remove it") from None
    except ValidationError as error:
        # A misspelt key first: the right one is then missing too, but that would not say why.
        first, *others = sorted(error.errors(), key=lambda e: e["type"] != "unexpected_keyword_argument")
        path = _path(first["loc"])
        for other in others:  # of the kinds of value that a key can have, the one that was understood the furthest
            if len(_path(other["loc"])) > len(path) and _path(other["loc"])[: len(path)] == path:
                first, path = other, _path(other["loc"])
        key = ".".join([where, *path] if where else path)
        if first["type"] in ("unexpected_keyword_argument", "missing_argument", "missing"):
            siblings = _fields_at(cls, path[:-1])
            near = difflib.get_close_matches(path[-1], siblings, 1)
            if first["type"].startswith("missing"):
                raise UserError(f"{key} is missing: it has no default, set it in the YAML file") from None
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(siblings)}"
            raise UserError(f"{key} is no setting; {hint}") from None
        given = first["input"]
        if given is None:
            raise UserError(
                f'{key} has no value: give one; in YAML # begins a comment, so that colours need quotes: "#ffffff"'
            ) from None
        known = re.findall("'([^']+)'", first["msg"]) if first["type"] == "literal_error" else []
        if near := difflib.get_close_matches(str(given), known, 1):
            raise UserError(f"{key}: there is no {given!r}; did you mean {near[0]}?") from None
        shown = f" (given: {given!r})" if isinstance(given, str | int | float | bool | list | tuple) else ""
        message = SHAPES.get(first["type"]) or first["msg"].removeprefix("Value error, ")
        raise UserError(f"{key}: {message}{shown}") from None


def _path(loc: tuple[int | str, ...]) -> list[str]:
    """Keys alone, without pydantic's names of the kinds of value that it tried."""
    return [str(part) for part in loc if not str(part).startswith(("function-", "tuple[", "mapping[", "dict["))]


def _fields_at(cls: Any, path: list[str]) -> list[str]:
    """The names of the settings of the dataclass that `path` leads to from `cls`."""
    for name in path:
        if name.isdigit():
            continue
        hint = typing.get_type_hints(cls)[name]
        inner = [hint, *_type_arguments(hint)]
        cls = next((t for t in inner if dataclasses.is_dataclass(t)), cls)
    return [field.name for field in dataclasses.fields(cls)]


def _type_arguments(hint: Any) -> list[Any]:
    found = []
    for argument in typing.get_args(hint):
        found += [argument, *_type_arguments(argument)]
    return found
