"""A network of the notation as machine code for this processor, which runs all layers for one image after the other."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from math import prod
from threading import Lock
from typing import get_args

import llvmlite.binding as llvm
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from textgen.common.errors import UserError
from train.data.sources import as_tensor, to_input
from train.folding.arithmetic import fold
from train.inference.cpu.codegen import generate_ir
from train.inference.cpu.lowering import build_program
from train.inference.cpu.program import BLOCK, Precision, Target
from train.inference.grouped import slot_network
from train.inference.network import CropArray, Network
from train.models.notation import size_layers


class FusedCPU:
    """Crops -> logits, by machine code that is compiled for one network and this processor.

    `int16` and `int8` compute with integers, whose sums are exact. In int16 activations and weights share the 32 bits
    of a sum: about 12 bits each in a convolution, fewer in a fully connected layer of many inputs. In int8 both have
    seven bits, except in the first layer, which is as in int16.

    `calibration`, crops uint8 (n, H, W, 3) as the network will read, determines the range of activations; `fp32` needs
    none. A FoldedCNN of slots runs as its narrow network, image by image. `threads` share the images of a call.
    Raises `UserError` for a network that does not begin with a convolution, an unknown precision, and less than one
    thread; `ValueError` for integers without calibration.
    """

    def __init__(
        self,
        network: Network,
        *,
        precision: Precision = "fp32",
        calibration: CropArray | None = None,
        threads: int = 1,
        target: Target | None = None,
    ):
        if precision not in (known := get_args(Precision)):
            raise UserError(f"precision={precision}: on a CPU the fused code computes in {', '.join(known)}")
        if threads < 1:
            raise UserError(f"threads={threads}: at least one is needed, give 1 or more")
        self._shape, self._classes = (*network.size, 3), len(network.classes)
        slot = slot_network(network)
        net, self._stack = (network.net, network.fold) if slot is None else (slot, 1)
        layers = size_layers(
            network.layers,
            size=network.size,
            classes=self._classes,
            fold=self._stack,
            slot_of=1 if slot is None else network.fold,
        )
        target = target or host_target()
        largest: list[float] = []
        if precision != "fp32":
            if calibration is None or len(calibration) < self._stack:
                raise ValueError(f"{precision} needs calibration crops, {self._stack} or more")
            largest = _measure_largest_outputs(net, self._check_crops(calibration), self._stack)
        self._program, constants = build_program(layers, net.state_dict(), precision, largest, self._stack, target)
        self._constants = _allocate_aligned(len(constants))
        self._constants[:] = np.frombuffer(constants, np.uint8)
        self._engine = compile_ir(generate_ir(self._program, target))
        signature = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, *[ctypes.c_void_p] * 3)
        self._run = signature(self._engine.get_function_address("run"))
        self._memories = [_allocate_aligned(self._program.bytes) for _ in range(threads)]
        self._workers = ThreadPoolExecutor(threads)  # its threads start at the first call that needs them
        self._lock = Lock()  # of the memories

    def __call__(self, images: CropArray) -> NDArray[np.float32]:
        """uint8 (n, H, W, 3) -> float32 (n, classes), for any n; consecutive images share a stack."""
        images = self._check_crops(images)
        n, stack = len(images), self._stack
        if n % stack:
            images = np.concatenate([images, np.repeat(images[-1:], -n % stack, axis=0)])
        logits = np.empty((len(images), self._classes), np.float32)
        stacks = len(images) // stack
        share = -(-stacks // len(self._memories) // BLOCK) * BLOCK or BLOCK
        parts = [(memory, at * share, min((at + 1) * share, stacks)) for at, memory in enumerate(self._memories)]
        with self._lock:
            if len(parts) == 1:
                self._run_stacks(images, logits, *parts[0])
            else:
                list(self._workers.map(lambda part: self._run_stacks(images, logits, *part), parts))
        return logits[:n]

    def _run_stacks(
        self, images: CropArray, logits: NDArray[np.float32], memory: NDArray[np.uint8], begin: int, end: int
    ) -> None:
        """Stacks `begin` to `end` - 1; ctypes releases the interpreter's lock."""
        if begin < end:
            first_image = images.ctypes.data + begin * self._stack * prod(self._shape)
            first_logit = logits.ctypes.data + begin * self._stack * self._classes * 4
            self._run(first_image, end - begin, first_logit, memory.ctypes.data, self._constants.ctypes.data)

    def _check_crops(self, images: CropArray) -> CropArray:
        if images.dtype != np.uint8 or images.shape[1:] != self._shape:
            raise ValueError(
                f"crops are uint8 (n, {', '.join(map(str, self._shape))}), not {images.dtype} {images.shape}"
            )
        return np.ascontiguousarray(images)


def host_target() -> Target:
    """The vectors of this processor."""
    return target_from_features(llvm.get_host_cpu_features())


def target_from_features(features: Mapping[str, bool]) -> Target:
    """The vectors of a processor with these features, named as LLVM does.

    On x86 one register is left to LLVM, which would otherwise keep some of the sums in memory.
    """
    if features.get("avx512bw"):
        vnni = "llvm.x86.avx512.vpdpbusd.512" if features.get("avx512vnni") else None
        return Target(16, 31, "llvm.x86.avx512.pmaddw.d.512", "llvm.x86.avx512.pmaddubs.w.512", vnni)
    if features.get("avx2"):
        vnni = "llvm.x86.avx512.vpdpbusd.256" if features.get("avxvnni") else None  # LLVM's name for AVX-VNNI too
        return Target(8, 15, "llvm.x86.avx2.pmadd.wd", "llvm.x86.avx2.pmadd.ub.sw", vnni)
    return Target(4, 16)


@torch.no_grad()
def _measure_largest_outputs(net: nn.Module, images: CropArray, stack: int) -> list[float]:
    """The largest output of each ReLU on these images, in the order of the layers."""
    largest: list[float] = []
    complete = len(images) // stack * stack
    for part in torch.split(as_tensor(images[:complete]), 64 * stack):
        x, found = fold(to_input(part), stack), []
        for layer in net.children():
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                found.append(x.max().item())
        largest = found if not largest else [max(pair) for pair in zip(largest, found, strict=True)]
    return largest


def _allocate_aligned(count: int) -> NDArray[np.uint8]:
    """`count` zero bytes, beginning at a cache line."""
    memory = np.zeros(count + 64, np.uint8)
    return memory[-memory.ctypes.data % 64 :][:count]


def optimise_ir(assembly: str, machine: llvm.TargetMachine) -> llvm.ModuleRef:
    """The IR after LLVM's optimisation for one kind of processor."""
    module = llvm.parse_assembly(assembly)
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = True
    passes = llvm.create_pass_builder(machine, options)
    passes.getModulePassManager().run(module, passes)
    return module


def compile_ir(assembly: str) -> llvm.ExecutionEngine:
    """Machine code for this processor, which lives as long as the engine."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3, jit=True
    )
    engine = llvm.create_mcjit_compiler(optimise_ir(assembly, machine), machine)
    engine.finalize_object()
    return engine
