"""Peak rates of devices from their data sheets, and the measured rates of this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

from train.inference.cpu.peak import measure_peaks

ELEMENT = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1}  # bytes of a number
COPIED = 128 << 20  # bytes that are copied
TRIALS = 7

# Channels in 16 bytes, of which tensor cores need a multiple (NVIDIA, Matrix Multiplication Background User's Guide).
TENSOR_CORES = {"fp16": 8, "bf16": 8, "int8": 16}
VECTOR_BITS = {"AVX512": 512, "AVX2": 256}  # oneDNN computes blocks of one vector


@dataclass(frozen=True)
class Device:
    """Operations a second by precision (a multiply-add is two), bytes a second, and the source of both.

    `tiles` is the number of channels that the device computes at a time, by precision: the channels of a layer are
    padded to a multiple of it (§H of the paper).
    """

    name: str
    peak: Mapping[str, float]
    bandwidth: float
    source: str
    tiles: Mapping[str, int] = field(default_factory=dict)

    def tile(self, precision: str) -> int:
        """Channels in a tile; 1 where nothing is padded."""
        return self.tiles.get(precision, 1)

    def ratio(self, precision: str) -> float | None:
        """Operations a byte above which a kernel is bound by arithmetic (the right side of Eq. 1)."""
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
    # The paper's ratio of 1350 counts multiply-adds a byte (Jouppi et al., 2017), which are two operations each. The
    # matrix unit is 256×256.
    "tpu_v1": Device("TPUv1", {"int8": 92e12}, 34e9, "Jouppi et al., 2017", {"int8": 256}),
}


def measure_this_machine() -> Device:
    """Measure this machine's processor with PyTorch's threads, in float32.

    The rates are the best ones of multiply-adds in registers, and of a copy, which reads and writes every byte.
    """
    source = torch.zeros(COPIED, dtype=torch.uint8)
    target = torch.ones(COPIED, dtype=torch.uint8)
    threads = torch.get_num_threads()
    return Device(
        f"this CPU, {threads} thread{'s' * (threads > 1)}",
        {"fp32": measure_peaks(threads)["fp32"]},
        2 * COPIED / _fastest_seconds(lambda: target.copy_(source)),
        "measured now: multiply-adds in registers, a copy",
        {"fp32": VECTOR_BITS.get(torch.backends.cpu.get_cpu_capability(), 128) // 32},
    )


def _fastest_seconds(run: Callable[[], object]) -> float:
    """Seconds of the fastest of TRIALS calls."""
    times = []
    for _ in range(TRIALS):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return min(times)
