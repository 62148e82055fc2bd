"""Errors of Hydra, OmegaConf and YAML as one line that says how to mend them."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig
from omegaconf.errors import GrammarParseError, OmegaConfBaseException

from textgen.common import cli
from textgen.common.data_folders import CONF
from textgen.common.errors import UserError
from textgen.common.hydra_arguments import GROUPS, PATHS, find_choices, find_config_folders, quote

HYDRA_ERRORS = (HydraException, OmegaConfBaseException, yaml.YAMLError)
OPTIONAL_KEYS = ("game.", "augment.")  # groups whose files may leave keys out


def as_user_error(
    error: Exception, config: str, arguments: Sequence[str], renamed: Mapping[str, str]
) -> UserError | None:
    """The user's error behind one that was raised while a command with prepared `arguments` was composed.

    None if it is not the user's.
    """
    message = None
    if isinstance(error, MissingConfigException):
        message = _missing_file(error)
    elif isinstance(error, yaml.reader.ReaderError):
        message = (
            f"{error.name} holds U+{error.character:04X}, which no YAML file may hold: remove it, or save it as UTF-8"
        )
    elif isinstance(error, yaml.YAMLError):
        message = f"{error}; in YAML # begins a comment, so that colours need quotes, and tabs are not allowed"
    elif isinstance(error, OSError) and (match := re.fullmatch(r"Invalid loaded object type: (\w+)", str(error))):
        chosen = ", ".join(f"{group}={name}" for group, name in find_choices(arguments).items())
        message = f"a file of {chosen} holds a single {match[1]}: write lines of the form key: value"
    elif isinstance(error, UnicodeDecodeError) and (file := _find_undecodable(error, arguments)):
        message = f"{file} is no text in UTF-8: save it as UTF-8"
    elif isinstance(error, HydraException) and str(error):
        message = _wrong_override(str(error), config, arguments, renamed)
    elif isinstance(error, OmegaConfBaseException):
        message = describe_reference(error)
    elif isinstance(error, HydraException) and isinstance(error.__cause__, OmegaConfBaseException):
        message = describe_reference(error.__cause__)
    elif isinstance(error, ValueError) and str(error).startswith("Config group override"):  # of a sweep in a file
        message = f"{error}: a group takes the name of one of its files, in quotes if it is a number"
    return None if message is None else UserError(message)


def describe_reference(error: OmegaConfBaseException) -> str:
    r"""The message for a ${…} that cannot be resolved. Texts that hold it write \${."""
    problem = str(error).partition("\n")[0]
    if isinstance(error, GrammarParseError):
        problem = f"a ${{…}} that cannot be read ({problem})"
    elif "nterpolation" not in problem:
        return str(error)
    where = f"{error.full_key}: " if error.full_key else ""
    return (
        f"{where}{problem}: ${{…}} stands for another setting; for the text itself write \\${{…}}, in YAML within "
        "single quotes"
    )


def _find_undecodable(error: UnicodeDecodeError, arguments: Sequence[str]) -> Path | None:
    """The YAML file of the user's that holds the bytes of an error that does not name it."""
    files = [file for folder in find_config_folders(arguments) for file in sorted(Path(folder).rglob("*.yaml"))]
    chosen = find_choices(arguments).values()
    candidates = sorted(files, key=lambda file: file.stem not in chosen)
    return next((file for file in candidates if file.is_file() and error.object in file.read_bytes()), None)


def _missing_file(error: MissingConfigException) -> str:
    """`game=sot_tmie` -> there is no such game, did you mean sot_time?"""
    group, _, name = str(error.missing_cfg_file or "").rpartition("/")
    if group == "hydra/launcher" and name.startswith("submitit_"):
        return f"hydra/launcher={name} is not installed: pip install 'foldtext[slurm]'"
    return cli.no_option(group, name, error.options) if error.options else str(error)


def _wrong_override(message: str, config: str, arguments: Sequence[str], renamed: Mapping[str, str]) -> str:
    """Hydra only proposes a +, which is right for a key that a game's file leaves out and wrong for a misspelt one."""
    match = re.match(r"Could not override '([^']+)'\.\s+To append to your config use (.+)", message)
    if not match:
        return _unusable(message, arguments)
    key, appended = match.groups()
    sweep = {"-m", "--multirun"} & {*arguments}
    if key.startswith("game.") and sweep and "game" not in find_choices(arguments):
        return f"{key}: in a sweep over games a setting of theirs takes ++: +{appended}"
    near = _nearest_setting(key, config, arguments)
    if near == key:
        return f"{key} has no such keys: check their spelling (a key that a file leaves out takes a +: {appended})"
    if near is None:  # perhaps an old name, misspelt
        near = next((renamed[old] for old in difflib.get_close_matches(key, renamed, 1)), None)
    text = f"no setting {key!r} here: " + (f"did you mean {near}?" if near else "check its spelling")
    if key.startswith(OPTIONAL_KEYS) or (key.startswith("recipe.") and not near):
        text += f" (a key that a file leaves out takes a +: {appended})"
    return text


def _nearest_setting(key: str, config: str, arguments: Sequence[str]) -> str | None:
    """The setting of the composed configuration that is most like `key`, among those with the same parent.

    None if there is none, or if the configuration cannot be composed. Raises `UserError` for a choice that a group does
    not have, such as a game: then its keys are missing, too.
    """
    choices = find_choices(arguments)
    folders = ",".join(quote(f"file://{Path(folder).resolve()}") for folder in find_config_folders(arguments))
    search = f"hydra.searchpath=[{folders}]"
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            loader = GlobalHydra.instance().config_loader()
            for group, name in choices.items():
                known = list(loader.get_group_options(group, config_name=config, overrides=[search]))
                if "/" not in name and name not in known:
                    raise UserError(cli.no_option(group, name, known))
            settings: Any = compose(config, [*(f"{group}={quote(name)}" for group, name in choices.items()), search])
    except HYDRA_ERRORS:
        return None
    *parents, last = key.split(".")
    path: list[str] = []
    for parent in parents:
        if not isinstance(settings, DictConfig) or parent not in settings:
            last = parent
            break
        settings, path = settings[parent], [*path, parent]
    if not isinstance(settings, DictConfig):
        return None
    names = [str(name) for name in settings] + ([] if path else [*GROUPS])
    found = difflib.get_close_matches(last, names, 1)
    return ".".join([*path, *found]) if found else None


def _unusable(message: str, arguments: Sequence[str]) -> str:
    """What Hydra could not use, or did not find."""
    if match := re.match(r"Ambiguous value for argument '(\w[\w.]*)=(.*?)'", message):
        key, value = match.groups()
        if key in GROUPS:  # whose lists Hydra merges into one
            return f"{key}={value}: {key} takes one name; several runs take -m"
        text = f"a text with commas takes quotes within quotes: {shlex.quote(f'{key}={quote(value)}')}"
        if key in PATHS:
            return f"{key}={value}: {text}"
        return f"{key}={value}: a list takes brackets and quotes, '{key}=[{value}]', and several runs take -m; {text}"
    if match := re.match(r"You must specify '([^']+)'", message):
        names = [argument.partition("=")[0] for argument in arguments]
        if misspelt := difflib.get_close_matches(match[1], names, 1):
            return f"no setting {misspelt[0]!r} here: did you mean {match[1]}?"
        if known := message.partition("Available options:")[2].split():
            return f"which {match[1]}? give {match[1]}=…, one of {', '.join(known)}"
    return message.partition("\nSee https")[0]
