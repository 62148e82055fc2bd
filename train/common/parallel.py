"""Several processes that train one network: those that torchrun starts, and what they exchange.

torchrun tells each process its number and theirs through the environment. Tensors are exchanged by `torch.distributed`:
gloo for those on a CPU, NCCL for those on a GPU. Messages from the first process to the others, `train.runs.worker`,
stand in torchrun's store of keys and values: a process that waits for one can be interrupted, and learns when the first
one has ended.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from typing import Any

import torch
from torch import Tensor, distributed

from textgen.common.errors import UserError
from train.common.environment import ADDRESS, launched

FOREVER = timedelta(days=365)  # others wait while one process builds a data set; torchrun ends them if that one fails
POLL = 0.02  # seconds between two looks for a message
PATIENCE = 5.0  # seconds to wait for the reason why another process has ended


class OtherEnded(SystemExit):
    """Another process has ended, so that this one has to, with `code`. What was wrong was said there."""


@dataclass(frozen=True)
class Group:
    """The processes of a training. `rank` counts from 0, the first, which alone writes files and prints.

    All processes call the same methods in the same order. `local_rank` and `local_size` are rank and number within a
    machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    store: Any = None

    @property
    def first(self) -> bool:
        return self.rank == 0

    @property
    def alone(self) -> bool:
        return self.size == 1

    def sum(self, tensor: Tensor) -> Tensor:
        """Replace `tensor`, contiguous, by the sum of all processes' tensors; all get the same bits."""
        if not self.alone:
            with self._exchange():
                distributed.all_reduce(tensor)
        return tensor

    def gather(self, tensor: Tensor) -> Tensor:
        """The tensors of all processes, which have one shape, as one with a first axis more, (size, …)."""
        if self.alone:
            return tensor[None]
        gathered = tensor.new_empty(self.size, *tensor.shape)
        with self._exchange():
            distributed.all_gather(list(gathered.unbind()), tensor.contiguous())
        return gathered

    def any(self, flag: bool) -> bool:
        """Whether `flag` is set in any process."""
        return flag if self.alone else bool(self.sum(torch.tensor(int(flag))))

    def of_first(self, data: bytes) -> bytes:
        """The first process's `data`."""
        if self.alone:
            return data
        with self._exchange():
            length = torch.tensor(len(data))
            distributed.broadcast(length, 0)
            content = torch.empty(int(length), dtype=torch.uint8)
            if self.first and data:
                content.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
            distributed.broadcast(content, 0)
        return content.numpy().tobytes()

    def post(self, key: str, text: str) -> None:
        """Leave a message for `read`."""
        self.store.set(key, text)

    def read(self, key: str, seconds: float | None = None) -> str | None:
        """The message at `key`; None if there is none within `seconds` (None: waits for it), or for ever more."""
        until = None if seconds is None else time.monotonic() + seconds
        try:
            while not self.store.check([key]):
                if until is not None and time.monotonic() > until:
                    return None
                time.sleep(POLL)
            return bytes(self.store.get(key)).decode()
        except RuntimeError:  # its server has ended
            return None

    @contextmanager
    def _exchange(self) -> Iterator[None]:
        """Raise `OtherEnded` where another process has ended in the middle of an exchange."""
        try:
            yield
        except RuntimeError as error:
            if self.first:
                code = self.read("failed", PATIENCE)
                if code is None:
                    reason = " ".join(str(error).split())
                    print(f"error: another process of this training has ended ({reason})", file=sys.stderr)
            else:
                code = self.read("ended", PATIENCE)
            raise OtherEnded(int(code or 1)) from None


ALONE = Group()
_current = ALONE
_numbers = count()  # of the jobs that were announced


def current() -> Group:
    """The processes of this training; of a command that was started without torchrun, this one.

    Raises `UserError` in a process that has torchrun's environment and is none of those that joined.
    """
    if _current.alone and launched():
        raise UserError(
            "torchrun is for the command train alone, torchrun … -m train …, and without hydra/launcher=…, whose jobs"
            " have processes of their own"
        )
    return _current


def join() -> Group:
    """Make the group of the processes that torchrun has started, once in a process. Waits for all of them.

    PyTorch then uses a share of the machine's cores: torchrun sets one thread for each process, unless the user does.
    """
    global _current  # noqa: PLW0603
    if not launched():
        return ALONE
    if not distributed.is_available():
        raise UserError("this PyTorch has no torch.distributed, which several processes need: train without torchrun")
    from torch.distributed.distributed_c10d import PrefixStore  # noqa: PLC0415, not in every PyTorch
    from torch.distributed.rendezvous import rendezvous  # noqa: PLC0415

    rank, size, local_rank, local_size = (int(os.environ[name]) for name in ADDRESS[:4])
    store, _, _ = next(rendezvous("env://", rank, size, timeout=FOREVER))
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and distributed.is_nccl_available() else "gloo"
    distributed.init_process_group(
        backend, store=PrefixStore("group", store), rank=rank, world_size=size, timeout=FOREVER
    )
    if os.environ.get("OMP_NUM_THREADS", "1") == "1":
        torch.set_num_threads(max(_cores() // local_size, 1))
    _current = Group(rank, size, local_rank, local_size, PrefixStore("messages", store))
    return _current


@contextmanager
def announced(group: Group, job: str) -> Iterator[None]:
    """Within it the other processes do what the first one does, `job`, which `train.runs.worker` reads."""
    if group.alone:
        yield
        return
    number, outcome = next(_numbers), "failed"
    group.post(f"job/{number}", job)
    try:
        yield
        outcome = "done"
    finally:
        group.post(f"outcome/{number}", outcome)


def end(group: Group, code: int) -> None:
    """Let the other processes end, with the exit code of the first one, which calls this."""
    group.post("ended", str(code))
    group.post(f"job/{next(_numbers)}", "")
    leave()


def leave() -> None:
    """Undo `join`."""
    global _current  # noqa: PLW0603
    _current = ALONE
    if distributed.is_initialized():
        distributed.destroy_process_group()


def _cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
