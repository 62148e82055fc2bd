"""What every Hydra command shares: help, errors in one line, and the configuration as plain values.

Only the commands' main modules, this one, `hydra_arguments` and `hydra_errors` know Hydra.
"""

from __future__ import annotations

import functools
import os
import re
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import hydra._internal.core_plugins.file_config_source as hydra_files
from hydra import compose, initialize_config_dir
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from textgen.common import cli, config_references
from textgen.common.config_files import check_content, check_file
from textgen.common.data_folders import CONF
from textgen.common.errors import UserError
from textgen.common.hydra_arguments import prepare
from textgen.common.hydra_errors import as_user_error, describe_reference

CONFIG_PATH = str(CONF)  # for @hydra.main


_composing = threading.RLock()  # Hydra composes for one at a time


class FileConfigSource(hydra_files.FileConfigSource):
    """Hydra's reader of configuration files, which checks a file before and after it loads it.

    It has the name of the one that it replaces: so Hydra keeps it when it registers its own.
    """

    def load_config(self, config_path: str) -> ConfigResult:
        path = self._normalize_file_name(config_path)
        file = Path(os.path.realpath(os.path.join(self.path, path)))
        if not file.is_file() or file.is_relative_to(CONF):
            return super().load_config(config_path)
        check_file(file)
        with file.open(encoding="utf-8") as opened:
            header = opened.read(512)  # as Hydra reads it
        try:
            self._get_header_dict(header)
        except ValueError as error:
            raise UserError(f"{file}: {error}: its first lines hold # @package and one name, or no # @") from None
        result = super().load_config(config_path)
        content = OmegaConf.to_container(result.config, resolve=False)
        check_content(file, Path(os.path.normpath(path)).parent.parts, result.header["package"], content)
        return result

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A process that runs jobs of a multirun gets the reader from the one that started it, and these bounds."""
        self.__dict__.update(state)
        config_references.bound_process()


@contextmanager
def _bounds() -> Iterator[None]:
    """Check the files that Hydra reads and what references stand for: here, and not where others use Hydra."""
    types = SourcesRegistry.instance().types
    before = types.get("file", hydra_files.FileConfigSource)
    types["file"] = FileConfigSource
    try:
        with config_references.limit_references():
            yield
    finally:
        types["file"] = before


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
        sys.argv[1:] = prepare(sys.argv[1:], config, renamed or {})
        with _bounds(), _user_errors(config, sys.argv[1:], renamed or {}):
            if "--resolve" in sys.argv[1:]:  # with --cfg, which prints all values of a configuration
                with config_references.limit_configuration():
                    main()
            else:
                main()

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
        except BrokenPipeError:
            cli.close_output()
        except OSError as error:
            cli.fail_for_file(error)

    return wrapped


def to_plain(config: DictConfig) -> dict[str, Any]:
    """A composed configuration as plain dicts and lists, interpolations resolved.

    Raises `UserError` for a setting of the command that is left open, ???. Within a group, such as a game, ??? is text.
    """
    try:
        if missing := sorted(str(key) for key in config if OmegaConf.is_missing(config, key)):
            raise UserError(f"{', '.join(missing)} has no value: give it as {missing[0]}=…")
        with config_references.limit_configuration():
            container = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise UserError(describe_reference(error)) from None
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def compose_config(config: str, *overrides: str, renamed: Mapping[str, str] | None = None) -> dict[str, Any]:
    """conf/<config>.yaml with `overrides`, such as "game=sot_time", as plain values, also within a command.

    `renamed` is that of `run`. Raises `UserError`.

    >>> compose_config("train", "game=sot_time", "fold=4")["fold"]
    4
    """
    given = prepare(overrides, config, renamed or {})
    with (
        _composing,
        _bounds(),
        _user_errors(config, given, renamed or {}),
        _without_running_command(),
        initialize_config_dir(CONFIG_PATH, version_base="1.3"),
    ):
        return to_plain(compose(config, given))


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


@contextmanager
def _without_running_command() -> Iterator[None]:
    """Put aside the command that Hydra runs, since Hydra composes for one at a time."""
    known = GlobalHydra.instance()
    command, known.hydra = known.hydra, None
    try:
        yield
    finally:
        GlobalHydra.instance().hydra = command  # composing leaves another instance behind


@contextmanager
def _user_errors(config: str, arguments: Sequence[str], renamed: Mapping[str, str]) -> Iterator[None]:
    """Raise errors of composing a configuration as `UserError`, where they are the user's."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        told = as_user_error(error, config, arguments, renamed)
        if told is None:
            raise
        raise told from None


def _print_failed_job(error: Exception, overrides: Sequence[str]) -> None:
    """Say on stderr which job of a multirun has failed, and why; a bug of ours with its traceback."""
    if not (isinstance(error, UserError) or cli.is_file_error(error)):
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
