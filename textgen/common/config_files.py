"""What a configuration file of the user's may hold: settings, within the bounds of `yaml_files`, and no code.

Hydra makes objects of what its own settings name (`_target_`): callbacks, launchers, sweepers and log handlers. Files
come from strangers, so all this is for foldtext's own files and for the command line. A stranger's may plan a sweep.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from textgen.common.data_folders import CONF
from textgen.common.errors import UserError
from textgen.common.yaml_files import read_yaml

ON_COMMAND_LINE = "which belongs to the command line"
GLOBAL_GROUPS = ("experiment", "network", "recipe", "task")  # whose files may have # @package _global_
CHOICES = ("hydra/sweeper", "hydra/sweeper/sampler")  # of Hydra's own groups, those that `defaults` may choose from
WORDS = ("direction", "study_name")  # settings of a sweeper that may be texts: others name code and databases
CODE_SETTINGS = ("detector", "reference")  # besides network, those that can name a module
MAX_CHARACTERS_OF_HYDRA = 64 << 10  # of a file with the key hydra
CODE = "which foldtext does not run from a file: remove it"


def check_file(file: Path) -> None:
    """Check a file of the user's before Hydra loads it: its size and its keys.

    Raises `UserError` and `UnicodeDecodeError`. Short files that are no YAML pass: loading gives the better message.
    """
    length = file.stat().st_size

    def check_key(key: str, depth: int) -> None:
        if key == "_target_":
            raise UserError(f"{file} names code (_target_), {CODE}")
        if depth == 1 and key.partition(".")[0] == "hydra" and length > MAX_CHARACTERS_OF_HYDRA:
            raise UserError(f"{file} has hydra: and more than 64 KiB: put hydra: into a shorter file")

    read_yaml(file, check_key)


def check_content(file: Path, group: tuple[str, ...], package: str | None, content: Any) -> None:
    """Check what Hydra has loaded from a file of the user's, before it uses it. Raises `UserError`.

    `group` is where Hydra looked for the file, ("game",), `package` is what it found in the header, and `content` has
    plain values, with ${…} as it is written.
    """
    _check_package(file, group, package)
    for key in _keys(content):
        if key == "_target_":  # also by an alias
            raise UserError(f"{file} names code (_target_), {CODE}")
    if isinstance(content, Mapping):
        _check_hydra(file, content)
        _check_defaults(file, group, content.get("defaults"))


def _check_package(file: Path, group: tuple[str, ...], package: str | None) -> None:
    if "hydra" in group:
        raise UserError(f"{file} changes how Hydra works, {ON_COMMAND_LINE}: files of your own are not in hydra/")
    if package is None or package == ".".join(group):
        return
    if "hydra" in package or not group or group[0] not in GLOBAL_GROUPS:
        raise UserError(
            f"{file} has the package {package}, which is for files of {', '.join(GLOBAL_GROUPS)}: remove this line"
        )


def _keys(content: Any) -> Iterator[Any]:
    """All keys within plain values."""
    waiting = [content]
    while waiting:
        item = waiting.pop()
        if isinstance(item, Mapping):
            yield from item
            waiting += item.values()
        elif isinstance(item, list | tuple):
            waiting += item


def _check_hydra(file: Path, content: Mapping[Any, Any]) -> None:
    """The settings of Hydra in a file: those that plan a sweep."""
    for key, settings in content.items():
        if not isinstance(key, str) or key.partition(".")[0] != "hydra":
            continue
        if key != "hydra" or not isinstance(settings, Mapping) or not {*settings} <= {"mode", "sweeper"}:
            within = settings if key == "hydra" and isinstance(settings, Mapping) else {}
            names = [f"hydra.{name}" for name in within] or [key]
            other = [name for name in names if name not in ("hydra.mode", "hydra.sweeper")]
            raise UserError(
                f"{file} has {', '.join(other)}, {ON_COMMAND_LINE}: under hydra: a file may have mode, sweeper.params"
                " and numbers of the sweeper"
            )
        if settings.get("mode") not in (None, "RUN", "MULTIRUN"):
            raise UserError(f"{file}: hydra.mode is RUN or MULTIRUN")
        sweeper = settings.get("sweeper")
        if sweeper is not None and not isinstance(sweeper, Mapping):
            raise UserError(f"{file}: hydra.sweeper has settings: write lines of the form key: value")
        for name, value in (sweeper or {}).items():
            if name == "params":
                _check_params(file, value)
            else:
                _check_sweeper(file, f"hydra.sweeper.{name}", name, value)


def _check_sweeper(file: Path, where: str, name: Any, value: Any) -> None:
    """A setting of a sweeper, such as n_trials, or settings within it."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _check_sweeper(file, f"{where}.{key}", key, inner)
        return
    texts = [text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)]
    is_plain = not isinstance(value, list) or all(isinstance(item, str | int | float) for item in value)
    is_word = name in WORDS and all(re.fullmatch(r"[\w -]*", text) for text in texts)
    if not is_plain or not isinstance(name, str) or name.startswith(("_", "(")) or (texts and not is_word):
        raise UserError(
            f"{file} has {where}, {ON_COMMAND_LINE}: a file may have sweeper.params, numbers, and texts without ${{…}}"
            f" of {' and '.join(WORDS)}"
        )


def _check_params(file: Path, params: Any) -> None:
    """The settings that a sweep tries: none of Hydra's, and none that names a module."""
    if params is not None and not isinstance(params, Mapping):
        raise UserError(f"{file}: hydra.sweeper.params has settings: write lines of the form key: value")
    for key, value in (params or {}).items():
        match = re.fullmatch(r"\+{0,2}([A-Za-z_]\w*)[\w.]*", key) if isinstance(key, str) else None
        if (
            match is None
            or match[1] in ("hydra", *CODE_SETTINGS)
            or (match[1] == "network" and not _is_ours(key, value))
        ):
            raise UserError(f"{file} has {key} in hydra.sweeper.params, {ON_COMMAND_LINE}: leave it out of the file")
        if "${" in str(value):
            raise UserError(f"{file} holds {str(value)[:40]!r}: settings of Hydra in a file are written without ${{…}}")


def _is_ours(key: str, value: Any) -> bool:
    """Whether a setting of the group network chooses among foldtext's own files, or names no module."""
    names = {path.stem for path in (CONF / "network").glob("*.yaml")} - {"own"}
    if key == "network":
        return {name.strip() for name in str(value).split(",")} <= names
    return key.lstrip("+").startswith("network.") and key.lstrip("+") != "network.module" and "{" not in str(value)


def _check_defaults(file: Path, group: tuple[str, ...], defaults: Any) -> None:
    """The files that a file chooses: none of Hydra's but sweepers, and none that is put elsewhere."""
    for entry in defaults if isinstance(defaults, list) else ():
        pairs = entry.items() if isinstance(entry, Mapping) else [(entry, None)]
        for key, choice in pairs:
            if not isinstance(key, str):
                continue
            wanted, _, package = (key.split() or [""])[-1].partition("@")  # after optional and override
            steps = wanted.strip("/").split("/")
            if wanted.lstrip("/") in CHOICES and not package and re.fullmatch(r"\w+", str(choice)):
                continue
            names = [key, *map(str, choice if isinstance(choice, list) else [choice])]
            is_of_top = len(steps) == 1 and not isinstance(entry, Mapping)  # a file beside the groups
            is_wide = wanted.startswith("/") and (is_of_top or steps[0] in GLOBAL_GROUPS)
            if (
                "hydra" in steps
                or any(word in package for word in ("hydra", "_global_", "_group_", ":"))
                or any(".." in name for name in names)
                or "${" in key
                or (is_wide and group and group[0] not in GLOBAL_GROUPS)
            ):
                raise UserError(
                    f"{file}: its defaults hold {key!r}, which changes how Hydra works or other settings,"
                    f" {ON_COMMAND_LINE}: leave it out"
                )
