"""A network as one GPU kernel in Triton: uint8 images in, logits out, without intermediate results in device memory.

docs/explanation/gpu_kernel.md describes where the activations lie. Importing this module raises `UserError` if triton
is not installed.
"""

from __future__ import annotations

import re
import subprocess
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from textgen.common.errors import UserError
from train.inference.gpu.plan import KernelPlan, build_kernel_plan, pack_parameters
from train.inference.grouped import slot_network
from train.inference.network import Network
from train.models.notation import size_layers

try:
    import triton

    from train.inference.gpu.layers import run_network
except ImportError:
    raise UserError("the fused kernel needs triton: pip install 'foldtext[triton]', on Linux") from None

Precision = Literal["fp16", "fp32"]
TYPES = {"fp16": torch.float16, "fp32": torch.float32}
TENSOR_CORES = 80  # Triton uses them from this compute capability on
PROGRAMS = 2  # at most, for each multiprocessor: as many as its registers allow
OPTIONS = {"num_warps": 4, "num_stages": 3, "enable_fp_fusion": True}


class FusedNetwork:
    """`network` as one kernel launch: uint8 images (n, H, W, 3) -> float32 logits (n, classes), for any n.

    Consecutive images share a stack, and the last stack is completed with copies of the last image, as in
    `Network.classify`. Activations and weights have `precision`, sums and logits are float32. A network of slots runs
    as its narrow network on single images: the same logits with fewer operations, and `fold` is 1.

    `device` is a GPU, or the CPU with TRITON_INTERPRET=1, where Triton interprets the kernel, slowly. Raises
    `UserError` for other devices and for networks with other layers than their arch.
    """

    def __init__(self, network: Network, precision: Precision = "fp16", device: str | torch.device = "cuda") -> None:
        if precision not in TYPES:
            raise UserError(f"precision={precision}: the fused kernel computes in fp16 or fp32")
        self.device = torch.device(device)
        if self.device.type != ("cpu" if triton.knobs.runtime.interpret else "cuda"):
            raise UserError(f"device={device}: the fused kernel runs on cuda, or on cpu with TRITON_INTERPRET=1")
        capability = (
            10 * torch.cuda.get_device_capability(self.device)[0] if self.device.type == "cuda" else TENSOR_CORES
        )
        self.plan, weights, biases = _prepare(network, precision, capability)
        self.weights, self.biases = weights.to(self.device), biases.to(self.device)

    @property
    def fold(self) -> int:
        """Images in a stack of the kernel: those of the network, or 1 for slots."""
        return self.plan.fold

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Compute the logits. Raises `ValueError` for images of another size or type."""
        plan, n = self.plan, len(images)
        if images.dtype != torch.uint8 or images.shape[1:] != (plan.height, plan.width, 3):
            given = f"{images.dtype} {tuple(images.shape)}"
            raise ValueError(f"crops are uint8 (n, {plan.height}, {plan.width}, 3), not {given}")
        images = images.to(self.device).contiguous()
        logits = torch.empty(n, plan.classes, device=self.device)
        if n:
            programs = min(ceil(n / plan.fold), self._max_programs())
            scratch = torch.empty(programs, plan.scratch, dtype=self.weights.dtype, device=self.device)
            with torch.cuda.device_of(images):  # type: ignore[no-untyped-call]
                run_network[(programs,)](images, self.weights, self.biases, scratch, logits, n, plan, **OPTIONS)
        return logits

    def _max_programs(self) -> int:
        """As many as the device runs at once and whose scratch memory fits into its L2 cache together."""
        if self.device.type == "cpu":
            return PROGRAMS
        device = torch.cuda.get_device_properties(self.device)
        in_cache = device.L2_cache_size // (self.plan.scratch * self.weights.element_size())
        return max(device.multi_processor_count, min(PROGRAMS * device.multi_processor_count, in_cache))


class Resources(NamedTuple):
    """Resources of a kernel: registers and stack bytes (spilled registers) for each thread, bytes of shared memory and
    of scratch memory for each program."""

    registers: int
    stack: int
    shared: int
    scratch: int


def resources(network: Network, precision: Precision = "fp16", capability: int = 90) -> Resources:
    """Compile the kernel for a compute capability (90: H100, 80: A100, 75: T4, 70: V100), without a GPU, and report
    its resources."""
    plan, weights, _ = _prepare(network, precision, capability)
    kernel = _compile_kernel(plan, precision, capability)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(kernel.asm["cubin"])
        command = [triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage", path]
        usage = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    registers, stack = (int(found) for found in re.findall(r"REG:(\d+) STACK:(\d+)", usage)[0])
    return Resources(registers, stack, kernel.metadata.shared, plan.scratch * weights.element_size())


def _compile_kernel(plan: KernelPlan, precision: Precision, capability: int) -> Any:
    floats = f"*{precision}"
    pointers = {"images": "*u8", "weights": floats, "biases": "*fp32", "scratch": floats, "logits": "*fp32"}
    source = triton.compiler.ASTSource(
        run_network,
        {**pointers, "n": "i32", "PLAN": "constexpr"},
        {"PLAN": plan},
        {(at,): [["tt.divisibility", 16]] for at in range(len(pointers))},  # torch's allocations are aligned
    )
    target = triton.backends.compiler.GPUTarget("cuda", capability, 32)
    return triton.compile(source, target=target, options=OPTIONS)


def _prepare(network: Network, precision: Precision, capability: int) -> tuple[KernelPlan, Tensor, Tensor]:
    """The plan, the weights and the biases; for slots, of the narrow network."""
    layers, fold = network.layers, network.fold
    shape: dict[str, Any] = {"size": network.size, "classes": len(network.classes)}
    sized = size_layers(layers, **shape, fold=fold)
    weights, biases = pack_parameters(sized, network.net)  # checks `network.net`
    if (slot := slot_network(network)) is not None:
        sized, fold = size_layers(layers, **shape, slot_of=fold), 1
        weights, biases = pack_parameters(sized, slot)
    tensor_cores = precision == "fp16" and capability >= TENSOR_CORES
    return build_kernel_plan(sized, fold, tensor_cores=tensor_cores), weights.to(TYPES[precision]), biases
