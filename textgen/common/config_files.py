"""What a configuration file of the user's may hold: settings, within the bounds of `yaml_files`, and no code.

Hydra can make objects of what a file names (`_target_`), for its callbacks, launchers and log handlers. Files come from
strangers, so this is for foldtext's own files and for the command line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from textgen.common.data_folders import CONF
from textgen.common.errors import UserError
from textgen.common.yaml_files import read_yaml

CODE = "which foldtext runs only if the command names it: remove it from the file"
GLOBAL_GROUPS = ("experiment", "network", "recipe", "task")  # whose files may have # @package _global_
HYDRA_GROUPS = ("launcher", "sweeper")  # of Hydra's own settings, which files may choose and set
_HEADER = re.compile(r"^\s*#\s*@package\s+(\S+)", re.MULTILINE)


def check_file(file: Path, folder: Path) -> None:
    """Check a file of the folder of configurations `folder`, before Hydra loads it.

    Raises `UserError` for one beyond the bounds, one that is not foldtext's own and names code or changes how Hydra
    works, and `UnicodeDecodeError`. Files that are no YAML pass: loading them gives the better message.
    """
    text = read_yaml(file)
    if file.is_relative_to(CONF):
        return
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError):
        return  # loading it raises the same
    group = file.parent.relative_to(folder.resolve()).parts if file.is_relative_to(folder.resolve()) else ()
    package = match[1] if (match := _HEADER.search(text[:512])) else ""
    _check_package(file, group, package)
    _check_values(file, content, is_of_hydra=group[:1] == ("hydra",))
    if isinstance(content, Mapping):
        _check_hydra(file, content)
        _check_defaults(file, content.get("defaults"))


def _check_package(file: Path, group: tuple[str, ...], package: str) -> None:
    if "hydra" in package or (package.startswith("_global_") and (not group or group[0] not in GLOBAL_GROUPS)):
        allowed = ", ".join(GLOBAL_GROUPS)
        raise UserError(f"{file} has the package {package}, which is for files of {allowed}: remove this line")
    if group[:1] == ("hydra",) and group[1:2] not in [(name,) for name in HYDRA_GROUPS]:
        raise UserError(f"{file} changes how Hydra works: of its groups, files may be in {' and '.join(HYDRA_GROUPS)}")


def _check_values(file: Path, content: Any, *, is_of_hydra: bool) -> None:
    """Refuse what Hydra would call, and references in its settings, which could hide it."""
    for text in _walk(content):
        if "_target_" in text or text == "()":
            raise UserError(f"{file} names code ({text[:40]}), {CODE}")
        if is_of_hydra and "${" in text:
            raise UserError(f"{file} holds {text[:40]!r}: settings of Hydra in a file are written without ${{…}}")


def _walk(content: Any) -> Iterator[str]:
    """All texts in plain values, keys included; what aliases repeat is within the bounds."""
    waiting = [content]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, Mapping):
            waiting += item
            waiting += item.values()
        elif isinstance(item, list | tuple):
            waiting += item


def _check_hydra(file: Path, content: Mapping[Any, Any]) -> None:
    """The settings of Hydra in a file: those of a sweep."""
    for key in content:
        if not isinstance(key, str) or key.partition(".")[0] != "hydra":
            continue
        settings = content[key]
        if key != "hydra" or not isinstance(settings, Mapping) or not {*settings} <= {*HYDRA_GROUPS, "mode"}:
            known = ", ".join((*HYDRA_GROUPS, "mode"))
            raise UserError(f"{file} changes how Hydra works: under hydra: a file may have {known}")
        _check_values(file, settings, is_of_hydra=True)


def _check_defaults(file: Path, defaults: Any) -> None:
    """The files that a file chooses: none may be put where Hydra's settings are, or at the top."""
    for entry in defaults if isinstance(defaults, list) else ():
        for text in (
            [entry] if isinstance(entry, str) else [str(key) for key in entry] if isinstance(entry, dict) else ()
        ):
            group, _, package = text.rpartition(" ")[2].partition("@")
            wanted = group.lstrip("/").partition("/")
            of_hydra = wanted[0] == "hydra" and wanted[2] not in HYDRA_GROUPS
            if of_hydra or "hydra" in package or "_global_" in package:
                raise UserError(f"{file}: its defaults hold {text!r}, which changes how Hydra works: leave it out")
