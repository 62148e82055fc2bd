"""Peak rates of devices, from their makers' data sheets, and those of this machine, measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

ELEMENT = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1}  # bytes
SIDE, COPIED, TRIALS = 1536, 128 << 20, 7  # of what is measured: matrices, bytes, times


# Channels in 16 bytes, which tensor cores want whole (NVIDIA, Matrix Multiplication Background User's Guide).
TENSOR_CORES = {"fp16": 8, "bf16": 8, "int8": 16}
VECTOR_BITS = {"AVX512": 512, "AVX2": 256}  # by torch.backends.cpu.get_cpu_capability(); oneDNN has a vector a block


@dataclass(frozen=True)
class Device:
    """Operations a second (two a multiply-add) by precision, bytes a second, and where both are from.

    `tiles` has the number of channels that the device computes at a time, by precision: those of a layer are filled up
    to a multiple of it (§H of the paper).
    """

    name: str
    peak: Mapping[str, float]
    bandwidth: float
    source: str
    tiles: Mapping[str, int] = field(default_factory=dict)

    def tile(self, precision: str) -> int:
        """1 where nothing is filled up."""
        return self.tiles.get(precision, 1)

    def ratio(self, precision: str) -> float | None:
        """Operations a byte that a kernel needs to be bound by arithmetic (the right side of Eq. 1)."""
        return self.peak[precision] / self.bandwidth if precision in self.peak else None


DEVICES = {
    "v100": Device("V100 SXM2", {"fp32": 15.7e12, "fp16": 125e12}, 900e9, "NVIDIA's data sheet", TENSOR_CORES),
    "t4": Device("T4", {"fp32": 8.1e12, "fp16": 65e12, "int8": 130e12}, 320e9, "NVIDIA's data sheet", TENSOR_CORES),
    "a100": Device(
        "A100 SXM4 40 GB",
        {"fp32": 19.5e12, "fp16": 312e12, "bf16": 312e12, "int8": 624e12},
        1555e9,
        "NVIDIA's data sheet, without sparsity",
        TENSOR_CORES,
    ),
    "h100": Device(
        "H100 SXM5",
        {"fp32": 67e12, "fp16": 989e12, "bf16": 989e12, "int8": 1979e12},
        3350e9,
        "NVIDIA's data sheet, without sparsity",
        TENSOR_CORES,
    ),
    # The paper's 1350 for it counts multiply-adds a byte (Jouppi et al., 2017); in operations it is twice as much. Its
    # matrix unit is 256×256.
    "tpu_v1": Device("TPUv1", {"int8": 92e12}, 34e9, "Jouppi et al., 2017", {"int8": 256}),
}


def measure_this_machine() -> Device:
    """This machine's processor with PyTorch's threads, in float32: the best rate of a product of large matrices, and
    of a copy, of which every byte is read and written."""
    a, b = torch.rand(SIDE, SIDE), torch.rand(SIDE, SIDE)
    product = torch.empty(SIDE, SIDE)
    source = torch.zeros(COPIED, dtype=torch.uint8)
    target = torch.ones(COPIED, dtype=torch.uint8)
    threads = torch.get_num_threads()
    return Device(
        f"this CPU, {threads} thread{'s' * (threads > 1)}",
        {"fp32": 2 * SIDE**3 / _best(lambda: torch.mm(a, b, out=product))},
        2 * COPIED / _best(lambda: target.copy_(source)),
        "measured now: a product of matrices, a copy",
        {"fp32": VECTOR_BITS.get(torch.backends.cpu.get_cpu_capability(), 128) // 32},
    )


def _best(work: Callable[[], object]) -> float:
    """Seconds of the fastest of several times."""
    times = []
    for _ in range(TRIALS):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return min(times)
