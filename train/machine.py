"""What a training runs on: the device, and the versions and commit that a result names."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path

import torch

from textgen.errors import UserError

CORES = torch.get_num_threads()  # before anyone changes it; OMP_NUM_THREADS has been heeded
LIBRARIES = ("foldtext", "torch", "numpy", "pillow", "albumentations")


def device_of(name: str) -> torch.device:
    """The device that a user names; "auto" takes CUDA where there is one. Raises `UserError`."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:[0-9]+)?", name):
        raise UserError(f"device={name} is none: give auto, cpu, cuda, cuda:1 or mps")
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device={name} cannot be used: {str(error).splitlines()[0]}; try device=cpu") from None


def name_of(device: torch.device) -> str:
    """For a person: the GPU, or the processor's kind and the threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads, {platform.machine()}"


def threads_of(*, rendering: bool) -> int:
    """PyTorch's threads: one a core, less one where crops are rendered meanwhile. They wait for each other at every
    operation, so that one which must share its core holds up all: on two cores, two are slower than one then."""
    return max(CORES - rendering, 1)


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
