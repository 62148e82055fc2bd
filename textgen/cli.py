"""What every entry point does with an error: one line and exit code 2 for what the user can mend. And with a report."""

from __future__ import annotations

import difflib
import functools
import os
import re
import sys
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
from textgen.atomic import mendable, whole_file
from textgen.errors import UserError


def run(main: Callable[[], object], *, game: bool = True) -> NoReturn:
    """Call a Hydra `main` and exit: 0 done, 2 a user's mistake in one line, 130 interrupted, else a traceback.

    Errors of Hydra and OmegaConf are mistakes in overrides or YAML files. `game` says whether there is that option.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises its errors instead of printing them and exiting with 1
    if game and {"--help", "-h"} & set(sys.argv) and not any(argument.startswith("game=") for argument in sys.argv):
        sys.argv.append("game=sot_time")  # Hydra composes a whole configuration to show its help
    try:
        main()
    except UserError as error:
        _fail(error.summary)
    except MissingConfigException as error:
        _fail(_missing(error))
    except yaml.YAMLError as error:
        _fail(f"{error}; in YAML # begins a comment, so that colours need quotes, and tabs are not allowed")
    except (HydraException, OmegaConfBaseException) as error:
        _fail(_override(error))
    except (PermissionError, FileNotFoundError, NotADirectoryError, FileExistsError) as error:
        if error.filename is None:
            raise
        _fail(f"cannot use {error.filename}: {error.strerror}; choose another folder")
    except BrokenPipeError:
        _enough()
    except KeyboardInterrupt as error:
        print(str(error) or "interrupted", file=sys.stderr)
        sys.exit(130)
    sys.exit(0)


def task(function: Callable[[DictConfig], None]) -> Callable[[DictConfig], None]:
    """For what `@hydra.main` decorates: Hydra adds a line of its own to every exception but SystemExit.

    In a multirun that line, which names the job, is wanted, and an exit would end the jobs that come after.
    """

    @functools.wraps(function)
    def wrapped(config: DictConfig) -> None:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            return function(config)
        try:
            function(config)
        except UserError as error:
            _fail(error.summary)
        except OmegaConfBaseException as error:
            _fail(str(error))
        except BrokenPipeError:
            _enough()

    return wrapped


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
            if plots is not None:
                draw(plots)
                print(f"the pictures are in {plots}", file=sys.stderr)  # stdout may be JSON

        yield tell


def check_choice(group: str, config: Mapping[str, Any]) -> None:
    """Of a group that may be left out, Hydra takes a misspelt file for none: raise `UserError` for it."""
    choice = HydraConfig.get().runtime.choices.get(group)
    if choice is not None and group not in config:
        raise UserError(no_option(group, str(choice), options_of(group)))


def options_of(group: str) -> list[str]:
    """The files of a config group."""
    return list(GlobalHydra.instance().config_loader().get_group_options(group))


def _enough() -> NoReturn:
    """Whoever read the output has closed it, as `… | head` does; the rest goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(0)


def _fail(message: str) -> NoReturn:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


def _override(error: Exception) -> str:
    """Hydra only proposes a +, which is right for a key that a game's file leaves out and wrong for a misspelt one."""
    message = str(error)
    if "LexerNoViableAlt" in message:
        given = message.split()[1] if len(message.split()) > 1 else ""
        quoting = "a list has no spaces, and special characters, such as ~, take quotes within quotes"
        return f"cannot read {given!r}: {quoting}: \"key='~/x'\""
    if match := re.match(r"You must specify '([^']+)'", message):
        names = [argument.partition("=")[0] for argument in sys.argv[1:]]
        misspelt = difflib.get_close_matches(match[1], names, 1)
        return f"no setting {misspelt[0]!r} here: did you mean {match[1]}?" if misspelt else message
    match = re.match(r"Could not override '([^']+)'\.\s+To append to your config use (\S+)", message)
    if not match:
        return message
    if match[1].startswith("game.") and (unknown := _unknown_game(sys.argv[1:])):
        return unknown
    near = _near(error.__cause__)
    told = f"no setting {match[1]!r} here: " + (f"did you mean {near}?" if near else "check its spelling")
    if match[1].startswith(("game.", "augment.", "recipe.")):
        told += f" (a key that a file leaves out takes a +: {match[2]})"
    return told


def _near(error: BaseException | None) -> str | None:
    """The key that is most like the one that OmegaConf did not find, of those beside it."""
    if not isinstance(error, OmegaConfBaseException) or not isinstance(error.parent_node, DictConfig):
        return None
    known = [str(key) for key in error.parent_node if key != "hydra"]
    if error.parent_node._get_parent() is None:  # a group that is left out is no key
        known += [path.name for path in Path(conf.__file__).parent.iterdir() if path.is_dir()]
    return next(iter(difflib.get_close_matches(str(error.key), known, 1)), None)


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
