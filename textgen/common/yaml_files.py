"""Read YAML files of unknown origin within bounds.

A YAML file of a few hundred bytes can stand for billions of values: an alias, `*name`, repeats all that `&name` marks.
Files are therefore checked event by event, with aliases counted for what they repeat, before they are loaded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from textgen.common.errors import UserError

MAX_BYTES = 2 << 20  # of a file
MAX_VALUES = 250_000  # keys and values, with aliases written out; a field of a game may have 100,000 values
MAX_CHARACTERS = 8 << 20  # of all keys and values, with aliases written out
MAX_DEPTH = 64  # of lists and mappings within each other
MAX_DIGITS = 400  # of a number
SLOW_CHARACTERS = 64 << 10  # of a text that is no YAML: of a longer one, the parser in C tells it, in less time
MAX_REFERENCES = 1000  # ${…}, with aliases written out
MAX_REFERENCE_CHARACTERS = 2000  # of a text with ${…}: their grammar is read slowly
_NUMBER = re.compile(r"[-+.0-9][-+.:_0-9a-zA-Z]*")
_PLAIN_TAGS = (None, "!", "tag:yaml.org,2002:str")
CheckKey = Callable[[str, int], None]  # takes a key and how deep it is: 1 for those of the file


def read_yaml(path: Path, check_key: CheckKey | None = None) -> str:
    """The text of a YAML file within the bounds. Raises `UserError` as `check_yaml` does, `OSError`, and
    `UnicodeDecodeError` for a file that is not UTF-8."""
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise UserError(f"{path} has more than {MAX_BYTES >> 20} MiB, which no YAML file needs here: shorten it")
    text = data.decode("utf-8")
    check_yaml(text, str(path), check_key)
    return text


def load_yaml(path: Path) -> Any:
    """The content of a YAML file, as `yaml.safe_load` gives it, within the bounds.

    Raises `UserError` as `read_yaml` does and for values that cannot be read, such as the date 2026-13-01,
    `yaml.YAMLError`, `OSError` and `UnicodeDecodeError`.
    """
    text = read_yaml(path)
    try:
        return yaml.safe_load(text)
    except UnicodeError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        raise UserError(f"{path} holds a value that cannot be read: {error}; write texts in quotes") from None


def check_yaml(text: str, name: str, check_key: CheckKey | None = None) -> None:
    """Check the size of what a YAML text stands for, and its keys with `check_key`, which raises `UserError`.

    Raises `UserError`, which begins with `name`, for a text that stands for more than this module's bounds, for tags,
    such as !!python/object, for a value that holds itself, and for absurdly long numbers. Text that is no YAML passes
    unless it is long: loading it gives the better message.
    """
    # The parser in C is quicker. Where aliases may be, the one that loads the file decides what they are.
    loaders: list[Any] = [yaml.CSafeLoader] if yaml.__with_libyaml__ else []
    if not loaders or ("*" in text and "&" in text):
        loaders.append(yaml.SafeLoader)
    for loader in loaders:
        try:
            _check(yaml.parse(text, loader), name, check_key)
        except yaml.YAMLError as error:
            if len(text) > SLOW_CHARACTERS:
                raise UserError(f"{name} is no YAML: {' '.join(str(error).split())}") from None


class _Size:
    """What a part of a text stands for, aliases written out."""

    __slots__ = ("characters", "depth", "references", "values")

    def __init__(self) -> None:
        self.values = self.characters = self.references = self.depth = 0

    def add(self, other: _Size) -> None:
        self.values += other.values
        self.characters += other.characters
        self.references += other.references
        self.depth = max(self.depth, other.depth)


class _Open:
    """A list or mapping that has begun: its anchor, its size so far, and whether a key is next."""

    __slots__ = ("anchor", "is_key_next", "is_mapping", "size")

    def __init__(self, anchor: str | None, *, is_mapping: bool) -> None:
        self.anchor, self.size = anchor, _Size()
        self.is_mapping = self.is_key_next = is_mapping


def _check(events: Iterator[yaml.Event], name: str, check_key: CheckKey | None) -> None:
    whole = _Size()
    opened: list[_Open] = []
    known: dict[str, _Size] = {}
    for event in events:
        size = _Size()
        anchor = getattr(event, "anchor", None)
        if isinstance(event, yaml.ScalarEvent):
            _check_scalar(event, name)
            size.values, size.characters, size.references = 1, len(event.value), event.value.count("${")
            if check_key and opened and opened[-1].is_key_next:
                check_key(event.value, len(opened))
        elif isinstance(event, yaml.AliasEvent):
            if anchor in [each.anchor for each in opened]:
                raise UserError(f"{name} holds &{anchor}, which holds itself: write it out, without *{anchor}")
            size = known.get(str(anchor), size)
        elif isinstance(event, yaml.CollectionStartEvent):
            _check_tag(event.tag, name)
            opened.append(_Open(anchor, is_mapping=isinstance(event, yaml.MappingStartEvent)))
            _check_bounds(_Size(), len(opened), name)
            continue
        elif isinstance(event, yaml.CollectionEndEvent):
            ended = opened.pop()
            anchor, size = ended.anchor, ended.size
            size.values, size.depth = size.values + 1, size.depth + 1
        else:
            continue
        if anchor is not None and not isinstance(event, yaml.AliasEvent):
            known[anchor] = size
        around = whole
        if opened:
            around = opened[-1].size
            opened[-1].is_key_next = opened[-1].is_mapping and not opened[-1].is_key_next
        around.add(size)
        _check_bounds(around, len(opened) + size.depth, name)


def _check_bounds(size: _Size, depth: int, name: str) -> None:
    problem = None
    if depth > MAX_DEPTH:
        problem = f"lists and mappings within each other more than {MAX_DEPTH} deep"
    elif size.values > MAX_VALUES:
        problem = f"more than {MAX_VALUES:,} values, with its aliases (*name) written out"
    elif size.characters > MAX_CHARACTERS:
        problem = f"more than {MAX_CHARACTERS:,} characters, with its aliases (*name) written out"
    elif size.references > MAX_REFERENCES:
        problem = f"more than {MAX_REFERENCES:,} references ${{…}}"
    if problem:
        raise UserError(f"{name} holds {problem}: make it smaller")


def _check_scalar(event: yaml.ScalarEvent, name: str) -> None:
    _check_tag(event.tag, name)
    if event.implicit[0] and len(event.value) > MAX_DIGITS and _NUMBER.fullmatch(event.value):
        raise UserError(f"{name} holds a number of {len(event.value):,} characters: shorten it, or quote it as a text")
    if "${" in event.value and len(event.value) > MAX_REFERENCE_CHARACTERS:
        raise UserError(
            f"{name} holds a text with ${{…}} of {len(event.value):,} characters: shorten it to"
            f" {MAX_REFERENCE_CHARACTERS:,}"
        )


def _check_tag(tag: str | None, name: str) -> None:
    if tag not in _PLAIN_TAGS:
        shown = str(tag).replace("tag:yaml.org,2002:", "!!")[:80]
        raise UserError(f"{name} holds the tag {shown}: write plain values, lists and mappings, without tags")
