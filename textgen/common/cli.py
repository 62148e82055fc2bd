"""What every command does with errors, and with the report that it writes.

Exit codes: 0, finished; 1, a failed check of the lint, or a traceback; 2, an error that the user can mend, in one line;
130, interrupted.
"""

from __future__ import annotations

import difflib
import errno
import functools
import importlib.metadata
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import NoReturn

from textgen.common.atomic import USER_ERRNOS, atomic_file, os_errors_as_user_errors
from textgen.common.errors import UserError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
FILE_ERRNOS = {*USER_ERRNOS, errno.EACCES, errno.EPERM}


def run(main: Callable[[], object]) -> NoReturn:
    """Call `main` and exit with the code that this module's docstring lists."""
    try:
        main()
    except UserError as error:
        fail(error.summary)
    except BrokenPipeError:
        close_output()
    except OSError as error:
        fail_for_file(error)
    except KeyboardInterrupt as error:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one would end in a traceback
        print(str(error) or "interrupted", file=sys.stderr)
        sys.exit(130)
    sys.exit(0)


def version() -> str:
    """The version of foldtext, as --version prints it."""
    try:
        return f"foldtext {importlib.metadata.version('foldtext')}"
    except importlib.metadata.PackageNotFoundError:
        return "foldtext, not installed: a checkout"


def fail(message: str) -> NoReturn:
    """Print one line and exit with 2."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


def is_file_error(error: BaseException) -> bool:
    """Whether a file or folder cannot be used: a full or read-only disk, a missing permission, an impossible path.

    An error without a file's name is a bug, unless the disk is full: writing to an open file names none.
    """
    if not isinstance(error, OSError) or error.errno not in FILE_ERRNOS:
        return False
    return error.filename is not None or error.errno in FULL


def fail_for_file(error: OSError) -> NoReturn:
    """Exit for an error of a file, as `is_file_error` knows them; another one is raised again."""
    if not is_file_error(error):
        raise error
    if error.filename is None:
        fail(f"cannot write: {error.strerror}; make room, or choose another folder")
    fail(f"cannot use {error.filename}: {error.strerror}; choose another folder")


def close_output() -> NoReturn:
    """Whoever read the output has closed it, as `… | head` does: discard the rest and exit with 0."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(0)


def no_option(group: str, name: str, options: Sequence[str]) -> str:
    """The message for a name that a config group does not have."""
    if not name:
        return f"which {group}? give {group}=…, one of {', '.join(options)}"
    near = difflib.get_close_matches(name, options, 1)
    own = f"put a file of your own at <folder>/{group}/{name}.yaml and give --config-dir=<folder>"
    hint = f"did you mean {near[0]}?" if near else own
    if name.lower() in ("false", "no", "none", "null", "true"):
        hint = "give off for none" if "off" in options else "give one of these names"
    return f"there is no {group} {name!r}; known are {', '.join(options)}; {hint}"


@functools.cache
def print_renamed(old: str, new: str) -> None:
    """Print, once in a process, that a setting has another name now."""
    print(f"{old} is called {new} now; the old name will be removed", file=sys.stderr)


@contextmanager
def open_report(
    out: Path | None, plots: Path | None, advice: str, *, overwrite: bool = False
) -> Iterator[Callable[[str, Callable[[Path], object]], None]]:
    """Gives a function `write(text, draw)`: the text is printed, or written to the file `out`, and `draw` is called
    with the folder `plots`, if there is one.

    Raises `UserError` before any work for places that cannot be written, and for an existing file, unless `overwrite`;
    `advice` ends the sentence "choose …".
    """
    if out is not None and os.path.lexists(out) and not overwrite:
        raise UserError(f"out={out} exists: choose {advice}, or replace it with overwrite=true")
    if plots is not None:
        if plots.exists() and not plots.is_dir():
            raise UserError(f"plots={plots} is no folder: choose {advice}")
        with os_errors_as_user_errors(plots, advice):
            plots.mkdir(parents=True, exist_ok=True)
    with nullcontext() if out is None else atomic_file(out, advice) as write_file:

        def write(text: str, draw: Callable[[Path], object]) -> None:
            text = text.rstrip("\n")
            if write_file is None:
                print(text, flush=True)
            else:
                write_file(f"{text}\n".encode())
                print(f"the report is in {out}", file=sys.stderr)
            if plots is not None:
                draw(plots)
                print(f"the pictures are in {plots}", file=sys.stderr)  # stdout may be JSON

        yield write
