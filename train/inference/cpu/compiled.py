"""A network of the notation as machine code for this processor, without PyTorch, which takes 180 MB of memory."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import prod
from threading import Lock
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from numpy.typing import NDArray

from textgen.common.errors import UserError
from train.inference.cpu.codegen import generate_ir
from train.inference.cpu.lowering import build_program
from train.inference.cpu.program import BLOCK, Precision, Target
from train.models.notation import Layer, size_layers

Crops = NDArray[np.uint8]  # (n, H, W, 3) in RGB


class CompiledNetwork:
    """Crops -> logits, by machine code that is compiled for one network and this processor.

    `parameters` are the weights of `layers` by name, such as "conv1.weight", in the network for stacks of `fold` crops
    of `size` (H, W), or in the narrow one of `slot_of` slots. `largest_outputs` is the largest output of each ReLU,
    which integers need. `threads` share the crops of a call. Raises `UserError` for a network that does not begin with
    a convolution, and for less than one thread.
    """

    def __init__(
        self,
        layers: tuple[Layer, ...],
        parameters: Mapping[str, NDArray[Any]],
        *,
        size: tuple[int, int],
        classes: int,
        fold: int = 1,
        slot_of: int = 1,
        precision: Precision = "fp32",
        largest_outputs: Sequence[float] = (),
        threads: int = 1,
        target: Target | None = None,
    ):
        if threads < 1:
            raise UserError(f"threads={threads}: at least one is needed, give 1 or more")
        self._shape, self._classes, self._stack = (*size, 3), classes, fold
        sized = size_layers(layers, size=size, classes=classes, fold=fold, slot_of=slot_of)
        target = target or host_target()
        self._program, constants = build_program(sized, parameters, precision, largest_outputs, fold, target)
        self._constants = _allocate_aligned(len(constants))
        self._constants[:] = np.frombuffer(constants, np.uint8)
        self._engine = compile_ir(generate_ir(self._program, target))
        signature = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, *[ctypes.c_void_p] * 3)
        self._run = signature(self._engine.get_function_address("run"))
        self._memories = [_allocate_aligned(self._program.bytes) for _ in range(threads)]
        self._workers = ThreadPoolExecutor(threads)  # its threads start at the first call that needs them
        self._lock = Lock()  # of the memories

    def __call__(self, images: Crops) -> NDArray[np.float32]:
        """uint8 (n, H, W, 3) -> float32 (n, classes), for any n; consecutive images share a stack."""
        images = check_crops(images, self._shape)
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
        self, images: Crops, logits: NDArray[np.float32], memory: NDArray[np.uint8], begin: int, end: int
    ) -> None:
        """Stacks `begin` to `end` - 1; ctypes releases the interpreter's lock."""
        if begin < end:
            first_image = images.ctypes.data + begin * self._stack * prod(self._shape)
            first_logit = logits.ctypes.data + begin * self._stack * self._classes * 4
            self._run(first_image, end - begin, first_logit, memory.ctypes.data, self._constants.ctypes.data)


def check_crops(images: Crops, shape: tuple[int, ...]) -> Crops:
    """`images` in contiguous memory. Raises `ValueError` unless they are uint8 (n, *shape)."""
    if images.dtype != np.uint8 or images.shape[1:] != shape:
        raise ValueError(f"crops are uint8 (n, {', '.join(map(str, shape))}), not {images.dtype} {images.shape}")
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
