"""The processes that torchrun starts: the first runs the command, the others train the networks that it trains.

The others know nothing of the command. They wait for a training to be announced (`train.common.parallel.announced`),
prepare what it needs from its configuration, and compute their share of every batch. So data sets are there, and
settings are known to be right, before they begin; sweeps, seeds and teachers need nothing more.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from itertools import count
from typing import Any, NoReturn

import yaml

from textgen.common.errors import UserError
from train.common import parallel
from train.common.parallel import Group, OtherEnded
from train.folding.own_module import permit
from train.runs.run import train_share


def start(main: Callable[[], object]) -> NoReturn:
    """Join the other processes; in the first one call `main`, the command, and exit as it does, in all of them."""
    group = parallel.join()
    if not group.first:
        sys.exit(_serve(group))
    code: Any = 1
    try:
        main()
        code = 0
    except SystemExit as ended:
        code = ended.code
        raise
    finally:
        parallel.end(group, code if isinstance(code, int) else int(code is not None))
    sys.exit(0)


def _serve(group: Group) -> int:
    """Train what the first process announces, until it ends. Returns its exit code."""
    for number in count():
        job = group.read(f"job/{number}")
        if not job:
            break
        try:
            with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
                _train(yaml.safe_load(job), group)
        except OtherEnded:
            raise
        except (Exception, KeyboardInterrupt) as error:
            # What stops all processes, such as Ctrl-C or a loss that is no number, is told by the first one alone.
            if group.read(f"outcome/{number}", parallel.PATIENCE) != "failed":
                return _fail(group, error)
    return int(group.read("ended", 0) or 1)


def _train(job: Mapping[str, Any], group: Group) -> None:
    for name in job["modules"]:
        permit(name)  # as the command of the first process did
    train_share(job["config"], job["identity"], job["teacher"], job["train_images"], group)


def _fail(group: Group, error: BaseException) -> int:
    """Say what is wrong in this process alone. Returns its exit code."""
    code = 2 if isinstance(error, UserError) else 130 if isinstance(error, KeyboardInterrupt) else 1
    if isinstance(error, UserError):
        print(f"error: process {group.rank} of {group.size}: {error.summary}", file=sys.stderr, flush=True)
    elif code == 1:
        traceback.print_exception(error)
    group.post("failed", str(code))
    return code
