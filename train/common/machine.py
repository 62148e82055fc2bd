"""The device and threads that a command uses, and the versions and commit that its result records."""

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
from train.common.parallel import ALONE, Group

LIBRARIES = ("foldtext", "torch", "numpy", "pillow", "albumentations")


def select_device(name: str, group: Group = ALONE) -> torch.device:
    """The device of the setting `device`; "auto" is CUDA if available, otherwise the CPU. Raises `UserError`.

    The processes of a `group` have a GPU each.
    """
    if not re.fullmatch(r"auto|cpu|mps|cuda(:[0-9]+)?", name):
        raise UserError(f"device={name} is no device: give auto, cpu, cuda, cuda:1 or mps")
    if not group.alone:
        return _select_own_device(name, group)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device={name} cannot be used: {str(error).splitlines()[0]}; try device=cpu") from None


def _select_own_device(name: str, group: Group) -> torch.device:
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if name not in ("auto", "cuda"):
        raise UserError(
            f"device={name} is one device, and torchrun has started {group.size} processes: give device=cuda, of which"
            " each takes its own, or device=cpu"
        )
    if (count := torch.cuda.device_count()) < group.local_size:
        raise UserError(
            f"{group.local_size} processes need a GPU each, and this machine has {count}: give torchrun a smaller"
            " --nproc-per-node, or device=cpu"
        )
    torch.cuda.set_device(group.local_rank)
    return torch.device("cuda", group.local_rank)


def device_name(device: torch.device) -> str:
    """A description: the name of the GPU, or the processor with its vectors and the number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    count, vectors = torch.get_num_threads(), torch.backends.cpu.get_cpu_capability()
    return f"{device.type}, {count} thread{'s' * (count > 1)}, {processor()}, {vectors}"


def processor() -> str:
    """The model name of the processor where the system reports it, otherwise its architecture."""
    with suppress(OSError):
        if model := re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE):
            return model[1]
    return platform.processor() or platform.machine()


@contextmanager
def torch_threads(count: int | None, *, rendering: bool = False) -> Iterator[None]:
    """Within the context PyTorch uses `count` threads; None: as many as before, minus one during `rendering` of crops.

    PyTorch's threads synchronise at every operation, so that one which shares its core with another process delays all
    of them: on two cores, two threads are slower than one while crops are rendered.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count or max(before - rendering, 1))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def keep_freed_memory() -> None:
    """Let malloc keep the memory of freed tensors, as the next training step needs as much again.

    By default glibc returns large blocks to the system, which must fill every page with zeros when it is allocated
    again: one to two thousand pages in each step. With this setting the process keeps the memory of its largest step.
    A user's own settings of malloc are respected.
    """
    user_settings = {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"} & os.environ.keys()
    if sys.platform == "linux" and not user_settings and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD, at its maximum
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD


def versions() -> dict[str, str]:
    """The versions of Python and of the libraries that affect a result."""
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in LIBRARIES}


def commit() -> str | None:
    """The commit of the checkout that holds this code, with a + if it has changes; None outside a checkout."""
    folder = Path(__file__).resolve().parent
    git = ["git", "-C", os.fspath(folder)]
    try:
        subprocess.run([*git, "ls-files", "--error-unmatch", __file__], capture_output=True, check=True, timeout=10)
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True)
        changes = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return head.stdout.strip() + ("+" if changes.stdout.strip() else "")
