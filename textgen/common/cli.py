"""What every entry point does with an error: one line and exit code 2 for what the user can mend. And with a report."""

from __future__ import annotations

import difflib
import functools
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NoReturn

import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

import conf
from textgen.common.atomic import mendable, whole_file
from textgen.common.errors import UserError

# Hydra's own flags, those that take a value first.
VALUED = (
    *("--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp", "--package", "-p", "--cfg", "-c"),
    *("--info", "-i", "--experimental-rerun"),
)
FLAGS = ("--multirun", "-m", "--run", "-r", "--resolve", "--hydra-help", "--version", "--shell-completion", "-sc")
FILE_ERRORS = (PermissionError, FileNotFoundError, NotADirectoryError, FileExistsError)


def run(main: Callable[[], object], config: str | None = None) -> NoReturn:
    """Call `main` and exit: 0 done, 2 a user's mistake in one line, 130 interrupted, else a traceback.

    `config` is the file of conf/ of a Hydra `main`. Its --help is that file; flags may stand anywhere. Errors of Hydra
    and OmegaConf are mistakes in overrides or YAML files.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises its errors instead of printing them and exiting with 1
    try:
        if config is not None:
            if {"--help", "-h"} & {*sys.argv[1:]}:
                print(_help(config))
                sys.exit(0)
            sys.argv[1:] = _flags_first(sys.argv[1:])
        main()
    except UserError as error:
        _fail(error.summary)
    except MissingConfigException as error:
        _fail(_missing(error))
    except yaml.YAMLError as error:
        _fail(f"{error}; in YAML # begins a comment, so that colours need quotes, and tabs are not allowed")
    except (HydraException, OmegaConfBaseException) as error:
        _fail(_override(error))
    except FILE_ERRORS as error:
        _unusable(error)
    except BrokenPipeError:
        _enough()
    except KeyboardInterrupt as error:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends already
        print(str(error) or "interrupted", file=sys.stderr)
        sys.exit(130)
    sys.exit(0)


def task(function: Callable[[DictConfig], None]) -> Callable[[DictConfig], None]:
    """For what `@hydra.main` decorates: Hydra adds a line of its own to every exception but SystemExit.

    In a multirun every job that fails is named at once, and its exception goes to Hydra, which raises the first one
    after all jobs: an exit would end those that come after.
    """

    @functools.wraps(function)
    def wrapped(config: DictConfig) -> None:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            try:
                return function(config)
            except Exception as error:
                _job_failed(error, HydraConfig.get().overrides.task)
                raise
        try:
            function(config)
        except UserError as error:
            _fail(error.summary)
        except OmegaConfBaseException as error:
            _fail(str(error))
        except FILE_ERRORS as error:
            _unusable(error)
        except BrokenPipeError:
            _enough()

    return wrapped


def _job_failed(error: Exception, overrides: Sequence[str]) -> None:
    """Say on stderr which job of a multirun has failed, and why; of a bug of ours with its traceback."""
    if not isinstance(error, (UserError, OmegaConfBaseException, *FILE_ERRORS)):
        traceback.print_exc()
    message = error.summary if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    print(f"failed: {' '.join(overrides)}: {' '.join(message.split())}", file=sys.stderr)


@contextmanager
def report(
    out: Path | None, plots: Path | None, elsewhere: str, *, overwrite: bool = False
) -> Iterator[Callable[[str, Callable[[Path], object]], None]]:
    """Gives a function that tells a report: its text is printed, or written to the file `out`, and what it is given
    draws the pictures in the folder `plots`, if there is one.

    Raises `UserError` before any work for places that cannot be written, and for a file that is there, which stays but
    for `overwrite`; `elsewhere` ends the advice "choose …".
    """
    if out is not None and os.path.lexists(out) and not overwrite:
        raise UserError(f"out={out} exists: choose {elsewhere}, or replace it with overwrite=true")
    if plots is not None:
        if plots.exists() and not plots.is_dir():
            raise UserError(f"plots={plots} is no folder: choose {elsewhere}")
        with mendable(plots, elsewhere):
            plots.mkdir(parents=True, exist_ok=True)
    with nullcontext() if out is None else whole_file(out, elsewhere) as write:

        def tell(text: str, draw: Callable[[Path], object]) -> None:
            text = text.rstrip("\n")
            if write is None:
                print(text, flush=True)
            else:
                write(f"{text}\n".encode())
                print(f"the report is in {out}", file=sys.stderr)
            if plots is not None:
                draw(plots)
                print(f"the pictures are in {plots}", file=sys.stderr)  # stdout may be JSON

        yield tell


def check_choice(group: str, config: Mapping[str, Any]) -> None:
    """Of a group that may be left out, Hydra takes a misspelt file for none: raise `UserError` for it.

    With ++game.images.train=100 the group is there all the same, and holds nothing else.
    """
    choice = HydraConfig.get().runtime.choices.get(group)
    if choice is not None and (group not in config or ("/" not in choice and choice not in options_of(group))):
        raise UserError(no_option(group, str(choice), options_of(group)))


def sweeps() -> bool:
    """Whether the command asks for a multirun; known before Hydra is."""
    return bool({"-m", "--multirun"} & {*sys.argv[1:]})


def options_of(group: str) -> list[str]:
    """The files of a config group."""
    return list(GlobalHydra.instance().config_loader().get_group_options(group))


def _enough() -> NoReturn:
    """Whoever read the output has closed it, as `… | head` does; the rest goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(0)


def _help(config: str) -> str:
    """conf/<config>.yaml as it is, with a comment for every setting, and the files of its groups."""
    folder = Path(conf.__file__).parent
    head, _, rest = (folder / f"{config}.yaml").read_text(encoding="utf-8").partition("\ndefaults:\n")
    defaults, _, settings = rest.partition("\n\n")
    groups = re.findall(r"^  - (?:optional )?(\w+):", defaults, re.MULTILINE)
    lines = [f"{group}: {', '.join(sorted(path.stem for path in (folder / group).glob('*.yaml')))}" for group in groups]
    told = [
        head.removeprefix("# "),
        "\n".join(lines),
        settings.partition("\nhydra:")[0].strip("\n"),
        "Settings are given as key=value; a list takes quotes, 'fold=[1,4]'.\n"
        + "A group's are given as game.size=[20,40], and files of your own lie in <folder>/game/ …, with"
        " --config-dir=<folder>.\n"
        * bool(groups)
        + "--cfg job prints all settings as they are composed, --hydra-help tells of Hydra's own flags.",
    ]
    return "\n\n".join(part for part in told if part)


def _flags_first(arguments: Sequence[str]) -> list[str]:
    """Hydra takes settings in one piece alone: flags go before them."""
    flags, settings, rest = [], [], iter(arguments)
    for argument in rest:
        name, _, value = argument.partition("=")
        if not argument.startswith("-"):
            settings.append(argument)
        elif name in VALUED:
            flags += [argument] if value else [argument, *[next(rest, "")]]
        elif argument in FLAGS:
            flags.append(argument)
        else:
            _fail(f"there is no option {argument}: settings have no dashes, such as fold=4; --help lists them")
    return flags + settings


def _unusable(error: OSError) -> NoReturn:
    """A file or folder that cannot be what the user took it for."""
    if error.filename is None:
        raise error
    _fail(f"cannot use {error.filename}: {error.strerror}; choose another folder")


def _fail(message: str) -> NoReturn:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


def _override(error: Exception) -> str:
    """Hydra only proposes a +, which is right for a key that a game's file leaves out and wrong for a misspelt one."""
    message = str(error)
    match = re.match(r"Could not override '([^']+)'\.\s+To append to your config use (\S+)", message)
    if not match:
        return _unread(message)
    if match[1].startswith("game.") and (unknown := _unknown_game(sys.argv[1:])):
        return unknown
    one_game = any(re.fullmatch(r"game=[\w./-]+", argument) for argument in sys.argv)
    if match[1].startswith("game.") and sweeps() and not one_game:
        return f"{match[1]}: in a sweep over games a setting of theirs takes ++: +{match[2]}"
    near = _near(error.__cause__)
    told = f"no setting {match[1]!r} here: " + (f"did you mean {near}?" if near else "check its spelling")
    if match[1].startswith(("game.", "augment.") if near else ("game.", "augment.", "recipe.")):
        told += f" (a key that a file leaves out takes a +: {match[2]})"
    return told


def _unread(message: str) -> str:
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
        names = [argument.partition("=")[0] for argument in sys.argv[1:]]
        if misspelt := difflib.get_close_matches(match[1], names, 1):
            return f"no setting {misspelt[0]!r} here: did you mean {match[1]}?"
        if known := message.partition("Available options:")[2].split():
            return f"which {match[1]}? give {match[1]}=…, one of {', '.join(known)}"
    return message


def _near(error: BaseException | None) -> str | None:
    """The key that is most like the one that OmegaConf did not find, of those beside it."""
    if not isinstance(error, OmegaConfBaseException) or not isinstance(error.parent_node, DictConfig):
        return None
    known = [str(key) for key in error.parent_node if key != "hydra"]
    if error.parent_node._get_parent() is None:  # a group that is left out is no key
        known += [path.name for path in Path(conf.__file__).parent.iterdir() if path.is_dir()]
    found = difflib.get_close_matches(str(error.key), known, 1)
    return ".".join(filter(None, [str(error.parent_node._get_full_key(None)), *found])) if found else None


def _unknown_game(arguments: Sequence[str]) -> str | None:
    """Hydra finds a key of the game wrong before it finds that there is no such game: the message for that."""
    folders = [Path(conf.__file__).parent]
    for at, argument in enumerate(arguments):
        name, _, value = argument.partition("=")
        if name in ("--config-dir", "-cd"):
            folders.append(Path(value or "".join(arguments[at + 1 : at + 2])))
    known = sorted({path.stem for folder in folders for path in (folder / "game").glob("*.yaml")})
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name == "game" and re.fullmatch(r"[\w.-]+", value) and value not in known:
            return no_option("game", value, known)
    return None


def _missing(error: MissingConfigException) -> str:
    """`game=sot_tmie` -> there is no such game, did you mean sot_time?"""
    group, _, name = str(error.missing_cfg_file or "").rpartition("/")
    return no_option(group, name, error.options) if error.options else str(error)


def no_option(group: str, name: str, options: Sequence[str]) -> str:
    """The message for a file that a config group does not have."""
    near = difflib.get_close_matches(name, options, 1)
    hint = (
        f"did you mean {near[0]}?"
        if near
        else f"your own stands in <folder>/{group}/{name}.yaml with --config-dir=<folder>"
    )
    return f"there is no {group} {name!r}; known are {', '.join(options)}; {hint}"
