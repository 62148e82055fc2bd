"""Train FoldedCNNs on crops of game text and measure what they are worth."""

import ctypes
import os
import sys

# OpenMP's threads spin while they wait for each other. Where another process wants a core, that makes a step on a CPU
# ten times slower (docs/training.md), so they sleep instead. It is read once, when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _keep_memory() -> None:
    """Have malloc keep what tensors give back, as the next step needs as much again.

    By default glibc returns large blocks to the system, and every page that comes again is first filled with zeros:
    one to two thousand pages in a step, about a tenth of its time. A process keeps the memory of its largest step.
    """
    if sys.platform == "linux" and not any(name.startswith("MALLOC_") for name in os.environ):
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD, at its maximum
            mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD


_keep_memory()
