"""A network of the notation as machine code for this processor: the whole of it for one image after the other."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from math import prod
from threading import Lock
from typing import Any, get_args

import llvmlite.binding as llvm
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from textgen.common.errors import UserError
from train.data.sources import to_input
from train.folding.arithmetic import fold
from train.inference.cpu.codegen import BLOCK, Buffer, Dot, MaxPool, Plan, Precision, Target, generate, packed
from train.inference.grouped import slot_network
from train.inference.network import Network
from train.models.notation import Conv, Linear, Pool, SizedLayer, size_layers

INT8 = 127  # the largest activation that calibration saw, and at all
ROOM = 2  # in int16 activations may become so many times as large as calibration saw
SUM = 2**31 - 2**25  # what no sum of products reaches, and no bias with its half
WEIGHT = {2: 32767, 1: 64}  # the largest weight, by bytes: of bytes four products, 4·64·127, stay below 2**15
SHIFTS = range(25)
LARGEST = 32767


class FusedCPU:
    """Crops in, logits out, by code that is compiled for one network and this processor.

    `int16` and `int8` compute with integers, whose sums are exact. In int16 activations and weights share what 32 bits
    leave: some 12 each for a convolution, and less for a fully connected layer of many inputs. In int8 both have seven,
    but in the first layer, which is as in int16.
    `calibration`, crops uint8 (n, H, W, 3) as they come in use, tells how large activations become; `fp32` needs none.
    A FoldedCNN of slots runs as its narrow network, image by image. `threads` share a call's images.
    Raises `UserError` for a network without convolutions, a precision that there is not and no thread, `ValueError` for
    integers without calibration.
    """

    def __init__(
        self,
        network: Network,
        *,
        precision: Precision = "fp32",
        calibration: NDArray[np.uint8] | None = None,
        threads: int = 1,
        target: Target | None = None,
    ):
        if precision not in (known := get_args(Precision)):
            raise UserError(f"precision={precision}: on a CPU the fused code computes in {', '.join(known)}")
        if threads < 1:
            raise UserError(f"threads={threads}: they share the images of a call, give 1 or more")
        self._shape, self._classes = (*network.size, 3), len(network.classes)
        slot = slot_network(network)
        net, self._stack = (network.net, network.fold) if slot is None else (slot, 1)
        steps = size_layers(
            network.layers,
            size=network.size,
            classes=self._classes,
            fold=self._stack,
            slot_of=1 if slot is None else network.fold,
        )
        target = target or host()
        largest: list[float] = []
        if precision != "fp32":
            if calibration is None or len(calibration) < self._stack:
                raise ValueError(f"{precision} needs calibration crops, {self._stack} or more")
            largest = _largest(net, self._checked(calibration), self._stack)
        plan, constants = _planned(steps, net.state_dict(), precision, largest, self._stack, target)
        self._plan, self._constants = plan, _aligned(len(constants))
        self._constants[:] = np.frombuffer(constants, np.uint8)
        self._engine = _compiled(generate(plan, target))
        kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, *[ctypes.c_void_p] * 3)
        self._run = kind(self._engine.get_function_address("run"))
        self._memories = [_aligned(plan.bytes) for _ in range(threads)]
        self._workers = ThreadPoolExecutor(threads)  # which start when they are first needed
        self._busy = Lock()  # of the memories

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 (n, H, W, 3) -> float32 (n, classes), for any n; images that follow each other share a stack."""
        images = self._checked(images)
        n, stack = len(images), self._stack
        if n % stack:
            images = np.concatenate([images, np.repeat(images[-1:], -n % stack, axis=0)])
        logits = np.empty((len(images), self._classes), np.float32)
        stacks = len(images) // stack
        share = -(-stacks // len(self._memories) // BLOCK) * BLOCK or BLOCK
        parts = [(memory, at * share, min((at + 1) * share, stacks)) for at, memory in enumerate(self._memories)]
        with self._busy:
            if len(parts) == 1:
                self._part(images, logits, *parts[0])
            else:
                list(self._workers.map(lambda part: self._part(images, logits, *part), parts))
        return logits[:n]

    def _part(
        self, images: NDArray[np.uint8], logits: NDArray[np.float32], memory: NDArray[np.uint8], begin: int, end: int
    ) -> None:
        """Stacks `begin` to `end`; without Python's lock."""
        if begin < end:
            data = images.ctypes.data + begin * self._stack * prod(self._shape)
            into = logits.ctypes.data + begin * self._stack * self._classes * 4
            self._run(data, end - begin, into, memory.ctypes.data, self._constants.ctypes.data)

    def _checked(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if images.dtype != np.uint8 or images.shape[1:] != self._shape:
            raise ValueError(
                f"crops are uint8 (n, {', '.join(map(str, self._shape))}), not {images.dtype} {images.shape}"
            )
        return np.ascontiguousarray(images)


def host() -> Target:
    """This processor's vectors."""
    return target_of(llvm.get_host_cpu_features())


def target_of(features: Mapping[str, bool]) -> Target:
    """The vectors of a processor of such features, as LLVM calls them. Of x86's registers one is left to LLVM, which
    else keeps some sums in memory."""
    if features.get("avx512bw"):
        vnni = "llvm.x86.avx512.vpdpbusd.512" if features.get("avx512vnni") else None
        return Target(16, 31, "llvm.x86.avx512.pmaddw.d.512", "llvm.x86.avx512.pmaddubs.w.512", vnni)
    if features.get("avx2"):
        vnni = "llvm.x86.avx512.vpdpbusd.256" if features.get("avxvnni") else None  # called so there too
        return Target(8, 15, "llvm.x86.avx2.pmadd.wd", "llvm.x86.avx2.pmadd.ub.sw", vnni)
    return Target(4, 16)


@torch.no_grad()
def _largest(net: nn.Module, images: NDArray[np.uint8], stack: int) -> list[float]:
    """The largest output of each ReLU, in their order."""
    largest: list[float] = []
    whole = len(images) // stack * stack
    for part in torch.split(torch.from_numpy(images[:whole]), 64 * stack):
        x, found = fold(to_input(part), stack), []
        for layer in net.children():
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                found.append(x.max().item())
        largest = found if not largest else [max(pair) for pair in zip(largest, found, strict=True)]
    return largest


def _planned(
    steps: Sequence[SizedLayer],
    weights: dict[str, torch.Tensor],
    precision: Precision,
    seen: Sequence[float],
    stack: int,
    target: Target,
) -> tuple[Plan, bytes]:
    """The plan and its constants. `seen` are the largest outputs of each ReLU, for integers."""
    if not isinstance(steps[0].layer, Conv):
        raise UserError("this network does not begin with a convolution: run it with another engine")
    size, used = {"fp32": 4, "int16": 2, "int8": 1}[precision], 0

    def buffer(shape: tuple[int, int, int], border: int, element: int) -> Buffer:
        nonlocal used
        made = Buffer(shape, border, used, element)
        used = (used + made.bytes + 4 * target.lanes * 4 + 63) // 64 * 64  # vectors are stored beyond the end
        return made

    c, h, w = steps[0].input
    source = start = buffer((h, w, c), 1, max(size, 2))  # 2x - 255 has nine bits
    spatial: list[Dot | MaxPool] = []
    flat: list[Dot] = []
    constants = bytearray()
    rows_of = {
        step.name: _as_rows(weights[f"{step.name}.weight"].double().numpy(), step.input)
        for step in steps
        if not isinstance(step.layer, Pool)
    }
    scales = iter([_Scale(1 / 255, 255), *_scales(precision, [*rows_of.values()][1:], seen)])  # the input is 2x - 255
    scale = next(scales)
    features: Buffer | None = None
    for at, step in enumerate(steps):
        c, h, w = step.output
        following = steps[at + 1].layer if at + 1 < len(steps) else None
        if isinstance(step.layer, Linear):
            assert features is not None
            last = following is None
            into = buffer((1, BLOCK, c), 0, 4 if last else size)
        elif isinstance(following, Linear):
            features = buffer((1, BLOCK, c * h * w), 0, size)
            into = Buffer((h, w, c), 0, features.offset, size)
        elif isinstance(following, Pool):
            into = buffer((_met(h, following), _met(w, following), c), following.padding, size)
        else:
            into = buffer((h, w, c), 1, size)
        if isinstance(step.layer, Pool):
            spatial.append(MaxPool(source, into, step.layer.kernel, step.layer.stride))
        else:
            rows, bias = rows_of[step.name], weights[f"{step.name}.bias"].double().numpy()
            relu = following is not None
            dot = Dot(source, into, rows.shape[1], rows.shape[2], relu, len(constants))
            factors: NDArray[np.float32] | None = None
            if precision == "fp32":
                rows, bias = (rows * scale.unit).astype(np.float32), bias.astype(np.float32)
                scale = _Scale(1.0, 0)
            else:
                scale_out = next(scales) if relu else _Scale(1.0, 0)
                rows, bias, shift, factors = _integers(rows, bias, scale, scale_out, source.element)
                dot = replace(dot, shift=shift, largest=scale_out.largest)
                scale = scale_out
            constants += packed(dot, target, rows, bias, factors)
            (flat if isinstance(step.layer, Linear) else spatial).append(dot)
        if features is not None and not isinstance(step.layer, Linear):
            into = features
        source = into
    assert features is not None  # `parse` wants a last fully connected layer
    return Plan(precision, stack, start, tuple(spatial), features, tuple(flat), used), bytes(constants)


def _met(side: int, pool: Pool) -> int:
    """How many rows or columns of so many a pool's windows meet; a stride may leave the last ones out."""
    return min(side, (side + 2 * pool.padding - pool.kernel) // pool.stride * pool.stride + pool.kernel - pool.padding)


def _as_rows(weight: NDArray[Any], shape: tuple[int, int, int]) -> NDArray[Any]:
    """(outputs, rows, run), with channels as the last of a pixel: of a convolution (o, c, 3, 3), or (o, c·h·w)."""
    if weight.ndim == 4:
        return weight.transpose(0, 2, 3, 1).reshape(len(weight), weight.shape[2], -1)
    return weight.reshape(len(weight), *shape).transpose(0, 2, 3, 1).reshape(len(weight), 1, -1)


@dataclass(frozen=True)
class _Scale:
    """What the integer 1 of an activation is worth, and its largest integer."""

    unit: float
    largest: int


def _scales(precision: Precision, readers: Sequence[NDArray[Any]], seen: Sequence[float]) -> list[_Scale]:
    """Of the output of each ReLU, whose `readers` are the weights of the layer that takes it.

    In int16 it is as large as leaves weights of an eighth of its size: the fewer bits one has, the more has the other.
    """
    if precision == "int8":
        return [_Scale((value or 1.0) / INT8, INT8) for value in seen]
    found = []
    for weight, value in zip(readers, seen, strict=False):
        flat = np.abs(weight).reshape(len(weight), -1)
        share = (flat.sum(1) / np.maximum(flat.max(1), 1e-30)).max()  # so many of the largest weights are all of them
        largest = LARGEST
        while largest > 255 and (max(share, 1.0) * largest**2 > 8 * SUM or flat.shape[1] * largest > SUM):
            largest //= 2
        found.append(_Scale((value or 1.0) * ROOM / largest, largest))
    return found


def _integers(
    weight: NDArray[Any], bias: NDArray[Any], scale: _Scale, scale_out: _Scale, element: int
) -> tuple[NDArray[Any], NDArray[np.int32], int | None, NDArray[np.float32] | None]:
    """Weights and biases as integers, `element` bytes a weight, and what makes the sums those of the next layer, behind
    ReLU: a shift by so many bits, or factors for each output.

    Each output has the finest unit of weights with which no sum leaves 32 bits, rounding and all. A shift is quicker
    and serves where the coarsest of them is fine enough: in two bytes, which have bits to spare.
    """
    flat = np.abs(weight).reshape(len(weight), -1)
    rounding = flat.shape[1] / 2 * scale.largest
    needed = flat.sum(1) * scale.largest + np.abs(bias) / scale.unit
    fine = np.maximum(flat.max(1) / WEIGHT[element], needed / (SUM - rounding))
    fine = np.where(fine > 0, fine, 1.0)
    shift = None
    if element == 2 and scale_out.largest:
        bits = int(np.floor(np.log2(scale_out.unit / (scale.unit * fine.max()))))
        if bits in SHIFTS:
            shift, fine = bits, np.full_like(fine, scale_out.unit / scale.unit / 2.0**bits)
    half = 0 if shift in (None, 0) else 1 << (shift - 1)
    whole = np.rint(weight / fine[:, None, None]).astype({1: np.int8, 2: np.int16}[element])
    biases = np.rint(bias / (scale.unit * fine) + half).astype(np.int32)
    return whole, biases, shift, None if shift is not None else (scale.unit * fine / scale_out.unit).astype(np.float32)


def _aligned(count: int) -> NDArray[np.uint8]:
    """So many zero bytes from the beginning of a cache line."""
    memory = np.zeros(count + 64, np.uint8)
    return memory[-memory.ctypes.data % 64 :][:count]


def optimised(assembly: str, machine: llvm.TargetMachine) -> llvm.ModuleRef:
    """LLVM's own work on the code, for one kind of processor."""
    module = llvm.parse_assembly(assembly)
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = True
    passes = llvm.create_pass_builder(machine, options)
    passes.getModulePassManager().run(module, passes)
    return module


def _compiled(assembly: str) -> llvm.ExecutionEngine:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3, jit=True
    )
    engine = llvm.create_mcjit_compiler(optimised(assembly, machine), machine)
    engine.finalize_object()
    return engine
