"""How a command of `train` starts: what has to happen before PyTorch is imported, which takes seconds."""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

ADDRESS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
TRAINING = ("train.main", "train.adapt.main")  # commands that can train in several processes


def start(module: str) -> None:
    """Prepare the process, import `module` and call its `main`, which torchrun may do in several processes."""
    try:
        check_textgen()
    except ImportError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    set_openmp_waiting()
    interruptible = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # and not ignored, as under nohup
    if interruptible:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while PyTorch is imported ends the process at once
    main = import_module(module).main
    if interruptible:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not launched():
        main()
    elif module in TRAINING:
        import_module("train.runs.worker").start(main)
    else:
        if os.environ["RANK"] == "0":
            command = module.removesuffix(".main")
            print(f"error: torchrun is for training: start python -m {command} without it", file=sys.stderr)
        sys.exit(2)


def launched() -> bool:
    """Whether the environment is that of one of several processes, as torchrun sets it."""
    return all(name in os.environ for name in ADDRESS) and int(os.environ["WORLD_SIZE"]) > 1


def check_textgen() -> None:
    """Raise `ImportError` if a file of the user's own is imported as textgen, which lies beside train."""
    own = Path(__file__).resolve().parents[2] / "textgen" / "__init__.py"
    spec = find_spec("textgen")
    if spec is not None and spec.origin is not None and Path(spec.origin).resolve() != own:
        hint = "rename it, or use the command foldtext in place of python -m"
        raise ImportError(f"{spec.origin} is in the way of foldtext's package textgen: {hint}")


def set_openmp_waiting() -> None:
    """Let OpenMP's threads spin for a short time only while they wait for each other, unless the user says otherwise.

    Threads that spin slow a step on a CPU down many times where another process wants a core; threads that sleep at
    once halve the speed where none does (docs/reference/training.md). Both variables are read once, when PyTorch is
    loaded: the first by every OpenMP, the second by GCC's, which PyTorch uses on Linux.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
