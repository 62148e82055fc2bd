"""What a training runs on: the device, and the versions and commit that a result names."""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from textgen.common.errors import UserError

LIBRARIES = ("foldtext", "torch", "numpy", "pillow", "albumentations")


def select_device(name: str) -> torch.device:
    """The device that a user names; "auto" takes CUDA where there is one. Raises `UserError`."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:[0-9]+)?", name):
        raise UserError(f"device={name} is none: give auto, cpu, cuda, cuda:1 or mps")
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device={name} cannot be used: {str(error).splitlines()[0]}; try device=cpu") from None


def device_name(device: torch.device) -> str:
    """For a person: the GPU, or the processor, its vectors and the threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    count, vectors = torch.get_num_threads(), torch.backends.cpu.get_cpu_capability()
    return f"{device.type}, {count} thread{'s' * (count > 1)}, {processor()}, {vectors}"


def processor() -> str:
    """Its maker's name, where the system tells, or else its kind."""
    with suppress(OSError):
        if model := re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE):
            return model[1]
    return platform.processor() or platform.machine()


@contextmanager
def torch_threads(wanted: int | None, *, rendering: bool = False) -> Iterator[None]:
    """Within it PyTorch has so many threads; None: as many as it had, less one where crops are rendered meanwhile.

    They wait for each other at every operation, so that one which must share its core holds up all: on two cores, two
    are slower than one beside rendering.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(wanted or max(before - rendering, 1))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def keep_freed_memory() -> None:
    """Have malloc keep what tensors give back, as the next step of a training needs as much again.

    By default glibc returns large blocks to the system, and every page that comes again is first filled with zeros: one
    to two thousand pages a step. The process then keeps the memory of its largest step. A user's own settings stand.
    """
    own = {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"} & os.environ.keys()
    if sys.platform == "linux" and not own and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD, at its maximum
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD


def versions() -> dict[str, str]:
    """Of Python and of the libraries that can change a result."""
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in LIBRARIES}


def commit() -> str | None:
    """The commit of a checkout that this code lies in, with a + where it has changes; None elsewhere."""
    folder = Path(__file__).resolve().parent
    git = ["git", "-C", os.fspath(folder)]
    try:
        subprocess.run([*git, "ls-files", "--error-unmatch", __file__], capture_output=True, check=True, timeout=10)
        hash_ = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True)
        dirty = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return hash_.stdout.strip() + ("+" if dirty.stdout.strip() else "")
