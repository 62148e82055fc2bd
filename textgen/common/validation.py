"""Validate plain mappings, as loaded from YAML, into dataclasses, with errors that name the key."""

from __future__ import annotations

import dataclasses
import difflib
import re
import typing
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, StrictInt, TypeAdapter, ValidationError

from textgen.common.errors import UserError

T = TypeVar("T")


def _check_path(given: Any) -> Any:
    if given == "":
        raise ValueError("it is empty: give a path")
    return given


def _as_path(given: Path | str) -> Path | str:
    return given if "://" in str(given) else Path(given).expanduser()


UserPath = Annotated[Path, BeforeValidator(_check_path), AfterValidator(Path.expanduser)]  # ~ is expanded
PathOrUrl = Annotated[Path | str, BeforeValidator(_check_path), AfterValidator(_as_path)]  # URLs stay texts
Positive = Annotated[StrictInt, Field(ge=1)]
Seed = Annotated[StrictInt, Field(ge=0, lt=2**63)]

SHAPES = {  # YAML's terms for types of pydantic errors
    "tuple_type": "it is a list: write [a, b]",
    "dataclass_type": "it is a mapping: write {key: value}, or {} for the defaults",
    "path_type": "it is a path: give one, in quotes within quotes if it looks like a number or a word such as true",
    "mapping_type": "it is a mapping: write {key: value}",
}


def validate(cls: type[T], config: Any, where: str = "") -> T:
    """Validate `config` as the dataclass `cls`. Raises `UserError` with the key, its value and what is expected."""
    try:
        return TypeAdapter(cls).validate_python(config)
    except UnicodeEncodeError as error:  # raised by pydantic for "\ud800" in YAML
        surrogate = error.object[error.start]
        raise UserError(f"{where or 'a setting'} holds {surrogate!r}, half a character: remove it") from None
    except ValidationError as error:
        # A misspelt key comes first: the correct key is then also missing, but that message would not say why.
        first, *others = sorted(error.errors(), key=lambda e: e["type"] != "unexpected_keyword_argument")
        path = _path(first["loc"])
        for other in others:  # for a key of several types, the type whose error lies deepest
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
    """The keys of a pydantic location, without its names of types."""
    return [str(part) for part in loc if not str(part).startswith(("function-", "tuple[", "mapping[", "dict["))]


def _fields_at(cls: Any, path: list[str]) -> list[str]:
    """The field names of the dataclass at `path` inside `cls`."""
    for name in path:
        hint = typing.get_type_hints(cls).get(name)
        if hint is None:  # a number in a list, or a key of a mapping
            continue
        inner = [hint, *_type_arguments(hint)]
        cls = next((t for t in inner if dataclasses.is_dataclass(t)), cls)
    return [field.name for field in dataclasses.fields(cls)]


def _type_arguments(hint: Any) -> list[Any]:
    found = []
    for argument in typing.get_args(hint):
        found += [argument, *_type_arguments(argument)]
    return found
