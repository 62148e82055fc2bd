"""What every Hydra command shares: help, renamed settings, errors in one line, and the configuration as plain values.

Only the commands' main modules and this one know Hydra.
"""

from __future__ import annotations

import difflib
import functools
import os
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from textgen.common import cli
from textgen.common.data_folders import CONF
from textgen.common.errors import UserError

CONFIG_PATH = str(CONF)  # for @hydra.main
# Hydra's own flags, those that take a value first.
FLAGS_WITH_VALUE = (
    *("--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp", "--package", "-p", "--cfg", "-c"),
    *("--info", "-i", "--experimental-rerun"),
)
FLAGS = ("--multirun", "-m", "--run", "-r", "--resolve", "--hydra-help", "--shell-completion", "-sc")
OPTIONAL_KEYS = ("game.", "augment.")  # groups whose files may leave keys out


HYDRA_ERRORS = (HydraException, OmegaConfBaseException, yaml.YAMLError)


def run(main: Callable[[], object], config: str, renamed: Mapping[str, str] | None = None) -> NoReturn:
    """Run a command that `@hydra.main` made, of conf/<config>.yaml, and exit as `textgen.common.cli.run` does.

    Its --help is that file; flags may stand anywhere. `renamed` maps old names of settings to today's: the old ones are
    still accepted, with one line that gives the new one. Errors of Hydra and OmegaConf are the user's.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises its errors instead of printing them and exiting with 1

    def call() -> None:
        if {"--help", "-h"} & {*sys.argv[1:]}:
            print(_help(config))
            return
        if "--version" in sys.argv[1:]:
            print(cli.version())
            return
        sys.argv[1:] = _flags_first(with_new_names(sys.argv[1:], renamed or {}))
        try:
            main()
        except HYDRA_ERRORS as error:
            raise _as_user_error(error, config, sys.argv[1:], renamed or {}) from None

    cli.run(call)


def command(function: Callable[[DictConfig], object]) -> Callable[[DictConfig], object]:
    """For what `@hydra.main` decorates: Hydra adds a line of its own to every exception but SystemExit.

    What `function` returns is the job's value: sweepers that optimise need it.

    In a multirun every job that fails is named at once, and its exception goes to Hydra, which raises the first one
    after all jobs: an exit would end those that come after.
    """

    @functools.wraps(function)
    def wrapped(config: DictConfig) -> object:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            try:
                return function(config)
            except Exception as error:
                _print_failed_job(error, HydraConfig.get().overrides.task)
                raise
        try:
            return function(config)
        except UserError as error:
            cli.fail(error.summary)
        except OmegaConfBaseException as error:
            cli.fail(str(error))
        except cli.FILE_ERRORS as error:
            cli.fail_for_file(error)
        except BrokenPipeError:
            cli.close_output()

    return wrapped


def to_plain(config: DictConfig) -> dict[str, Any]:
    """A composed configuration as plain dicts and lists, interpolations resolved. Raises `UserError` for a value that
    is left open."""
    if missing := OmegaConf.missing_keys(config):
        raise UserError(f"{', '.join(sorted(missing))} has no value: give it as {sorted(missing)[0]}=…")
    container = OmegaConf.to_container(config, resolve=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def compose_config(config: str, *overrides: str, renamed: Mapping[str, str] | None = None) -> dict[str, Any]:
    """conf/<config>.yaml with `overrides`, such as "game=sot_time", as plain values, for use outside a command.

    `renamed` is that of `run`. Raises `UserError`.

    >>> compose_config("train", "game=sot_time", "fold=4")["fold"]
    4
    """
    given = with_new_names(overrides, renamed or {})
    try:
        with initialize_config_dir(CONFIG_PATH, version_base="1.3"):
            return to_plain(compose(config, given))
    except HYDRA_ERRORS as error:
        raise _as_user_error(error, config, given, renamed or {}) from None


def given_settings() -> list[str]:
    """The settings of this command, key=value each, without Hydra's own."""
    return list(HydraConfig.get().overrides.task)


def check_choice(group: str, config: Mapping[str, Any]) -> None:
    """Of a group that may be left out, Hydra takes a misspelt file for none: raise `UserError` for it.

    With ++game.images.train=100 the group is there all the same, and holds nothing else.
    """
    choice = HydraConfig.get().runtime.choices.get(group)
    if choice is not None and (group not in config or ("/" not in choice and choice not in group_options(group))):
        raise UserError(cli.no_option(group, str(choice), group_options(group)))


def group_options(group: str) -> list[str]:
    """The files of a config group, the user's own among them."""
    return list(GlobalHydra.instance().config_loader().get_group_options(group))


def is_multirun() -> bool:
    """Whether the command asks for several runs; known before Hydra is."""
    return bool({"-m", "--multirun"} & {*sys.argv[1:]})


def _print_failed_job(error: Exception, overrides: Sequence[str]) -> None:
    """Say on stderr which job of a multirun has failed, and why; a bug of ours with its traceback."""
    if not isinstance(error, (UserError, OmegaConfBaseException, *cli.FILE_ERRORS)):
        traceback.print_exc()
    message = error.summary if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    print(f"failed: {' '.join(overrides)}: {' '.join(message.split())}", file=sys.stderr)


def _help(config: str) -> str:
    """conf/<config>.yaml as it is, with a comment for every setting, and the files of its groups."""
    head, _, rest = (CONF / f"{config}.yaml").read_text(encoding="utf-8").partition("\ndefaults:\n")
    defaults, _, settings = rest.partition("\n\n")
    groups = re.findall(r"^  - (?:optional )?(\w+):", defaults, re.MULTILINE)
    lines = [f"{group}: {', '.join(sorted(path.stem for path in (CONF / group).glob('*.yaml')))}" for group in groups]
    parts = [
        head.removeprefix("# "),
        "\n".join(lines),
        settings.partition("\nhydra:")[0].strip("\n"),
        "Settings are given as key=value; a list takes quotes, 'fold=[1,4]'.\n"
        + "A group's are given as game.size=[20,40], and files of your own lie in <folder>/game/ …, with"
        " --config-dir=<folder>.\n"
        * bool(groups)
        + "--cfg job prints all settings as they are composed, --hydra-help Hydra's own flags.",
    ]
    return "\n\n".join(part for part in parts if part)


def with_new_names(arguments: Sequence[str], renamed: Mapping[str, str]) -> list[str]:
    """Settings with today's names: recipe.average=0.9 -> recipe.ema_decay=0.9. Prints a line for each."""
    current = []
    for argument in arguments:
        match = re.match(r"([+~]*)([\w.]+)(?==|$)", argument)
        if match and match[2] in renamed:
            cli.print_renamed(match[2], renamed[match[2]])
            argument = f"{match[1]}{renamed[match[2]]}{argument[match.end() :]}"  # noqa: PLW2901
        current.append(argument)
    return current


def _flags_first(arguments: Sequence[str]) -> list[str]:
    """Hydra takes settings only without flags between them: flags go first."""
    flags, settings, rest = [], [], iter(arguments)
    for argument in rest:
        name, _, value = argument.partition("=")
        if not argument.startswith("-"):
            settings.append(argument)
        elif name in FLAGS_WITH_VALUE:
            flags += [argument] if value else [argument, *[next(rest, "")]]
        elif name in FLAGS:
            flags.append(argument)
        else:
            raise UserError(
                f"there is no option {argument}: settings have no dashes, such as fold=4; --help lists them"
            )
    return flags + settings


def _as_user_error(error: Exception, config: str, arguments: Sequence[str], renamed: Mapping[str, str]) -> UserError:
    """An error of Hydra, OmegaConf or YAML as one line that says how to mend it."""
    if isinstance(error, MissingConfigException):
        return UserError(_missing_file(error))
    if isinstance(error, yaml.YAMLError):
        return UserError(f"{error}; in YAML # begins a comment, so that colours need quotes, and tabs are not allowed")
    return UserError(_wrong_override(str(error), config, arguments, renamed))


def _missing_file(error: MissingConfigException) -> str:
    """`game=sot_tmie` -> there is no such game, did you mean sot_time?"""
    group, _, name = str(error.missing_cfg_file or "").rpartition("/")
    return cli.no_option(group, name, error.options) if error.options else str(error)


def _wrong_override(message: str, config: str, arguments: Sequence[str], renamed: Mapping[str, str]) -> str:
    """Hydra only proposes a +, which is right for a key that a game's file leaves out and wrong for a misspelt one."""
    match = re.match(r"Could not override '([^']+)'\.\s+To append to your config use (\S+)", message)
    if not match:
        return _unreadable(message, arguments)
    key, appended = match.groups()
    one_game = any(re.fullmatch(r"game=[\w./-]+", argument) for argument in arguments)
    if key.startswith("game.") and is_multirun() and not one_game:
        return f"{key}: in a sweep over games a setting of theirs takes ++: +{appended}"
    near = _nearest_setting(key, config, arguments)
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
    groups = [path.name for path in CONF.iterdir() if path.is_dir()]
    choices = [given for given in arguments if re.fullmatch(rf"({'|'.join(groups)})=[\w./-]+", given)]
    folders = ",".join(_quoted(f"file://{Path(folder).resolve()}") for folder in _config_folders(arguments))
    search = f"hydra.searchpath=[{folders}]"
    try:
        with initialize_config_dir(CONFIG_PATH, version_base="1.3"):
            loader = GlobalHydra.instance().config_loader()
            for group, _, name in (choice.partition("=") for choice in choices):
                known = list(loader.get_group_options(group, config_name=config, overrides=[search]))
                if "/" not in name and name not in known:
                    raise UserError(cli.no_option(group, name, known))
            settings: Any = compose(config, [*choices, search])
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
    names = [str(name) for name in settings] + (groups if not path else [])
    found = difflib.get_close_matches(last, names, 1)
    return ".".join([*path, *found]) if found else None


def _quoted(text: str) -> str:
    """A text in quotes, as Hydra's overrides take it."""
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", text)  # backslashes count only before a quote
    return "'" + re.sub(r"(\\+)$", r"\1\1", escaped) + "'"


def _config_folders(arguments: Sequence[str]) -> list[str]:
    """The folders of --config-dir."""
    folders = []
    for at, argument in enumerate(arguments):
        name, _, value = argument.partition("=")
        if name in ("--config-dir", "-cd"):
            folders.append(value or "".join(arguments[at + 1 : at + 2]))
    return folders


def _unreadable(message: str, arguments: Sequence[str]) -> str:
    """What Hydra could not read, or did not find."""
    if "LexerNoViableAlt" in message:
        given = [*message.split(), ""][1]
        why = "a list has no spaces, and special characters, such as ~, take quotes within quotes: \"key='~/x'\""
        if "…" in given:
            why = "… stands for a name of your own, such as that of a run's folder"
        return f"cannot read {given!r}: {why}"
    if match := re.match(r"Error parsing override '(.*)'\s+missing EQUAL", message):
        return f"{match[1]!r} is no setting: write key=value, such as game=sot_time"
    if match := re.match(r"Ambiguous value for argument '(\w[\w.]*)=(.*?)'", message):
        key, value = match.groups()
        return f"{key}={value}: a list takes brackets and quotes, '{key}=[{value}]', and several runs take -m"
    if match := re.match(r"You must specify '([^']+)'", message):
        names = [argument.partition("=")[0] for argument in arguments]
        if misspelt := difflib.get_close_matches(match[1], names, 1):
            return f"no setting {misspelt[0]!r} here: did you mean {match[1]}?"
        if known := message.partition("Available options:")[2].split():
            return f"which {match[1]}? give {match[1]}=…, one of {', '.join(known)}"
    return message
