"""The peak rates of this processor: multiply-adds of generated code in registers, as many as it can do at once."""

from __future__ import annotations

import ctypes
import itertools
import os
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import NamedTuple, get_args

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir

from train.inference.cpu.compiled import compile_ir, host_target
from train.inference.cpu.multiply_add import multiply_add
from train.inference.cpu.program import Precision, Target

I64, I32, F32 = ir.IntType(64), ir.IntType(32), ir.FloatType()
UNROLLED = 4  # times that each sum is added to in a round of the loop
TRIALS, SECONDS = 20, 0.005  # the fastest trial counts; short ones are seldom interrupted
WEIGHTS = 64  # bytes of the largest vector


class PeakLoop(NamedTuple):
    """One loop: its operations in a round, a multiplication and an addition counting as two, and its sums."""

    operations: int
    sums: int


def describe_loop(precision: Precision, target: Target) -> PeakLoop:
    """Three quarters of the registers hold sums, which do not depend on each other: more than any latency needs."""
    sums = target.registers * 3 // 4
    products = {"fp32": 1, "int16": 2, "int8": 8}[precision] * target.lanes  # of one `multiply_add`
    return PeakLoop(2 * products * sums * UNROLLED, sums)


def generate_peak_ir(target: Target) -> str:
    """LLVM IR of a function `precision(rounds, weights, sums)` for each precision; `weights` and `sums` hold zeros.

    A sum is added to by the instructions of the networks' code, and is a factor of its own products, so that none of
    them can be moved out of the loop. With weights of zero it stays as it is. `vpdpbusd` comes twice and changes the
    sum in between: there the factor is the next sum, as a copy would cost a register.
    """
    module = ir.Module("peak")
    for precision in get_args(Precision):
        _write_loop(module, precision, target)
    return str(module)


def _write_loop(module: ir.Module, precision: Precision, target: Target) -> None:
    byte = ir.IntType(8).as_pointer()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [I64, byte, byte]), precision)
    rounds, weights_at, sums_at = function.args
    entry, body, after = (function.append_basic_block() for _ in range(3))
    b = ir.IRBuilder(entry)
    total = ir.VectorType(F32 if precision == "fp32" else I32, target.lanes)
    element = {"fp32": F32, "int16": ir.IntType(16), "int8": ir.IntType(8)}[precision]
    factor = ir.VectorType(element, target.lanes * 4 // {"fp32": 4, "int16": 2, "int8": 1}[precision])

    def place(base: ir.Value, number: int, kind: ir.Type) -> ir.Value:
        return b.bitcast(b.gep(base, [I64(number * WEIGHTS)]), kind.as_pointer())

    weights = [b.load(place(weights_at, at, factor), align=1) for at in range(2 if precision == "int8" else 1)]
    places = [place(sums_at, at, total) for at in range(describe_loop(precision, target).sums)]
    starts = [b.load(at, align=1) for at in places]
    b.branch(body)
    b.position_at_end(body)
    counter, sums = b.phi(I64), [b.phi(total) for _ in starts]
    counter.add_incoming(I64(0), entry)
    added: list[ir.Value] = list(sums)
    for _ in range(UNROLLED):
        for at, each in enumerate(added):
            of = (at + 1) % len(added) if precision == "int8" and target.dpbusd else at
            value = b.bitcast(added[of], factor)
            added[at] = multiply_add(b, target, [value] * len(weights), weights, each)
    following = b.add(counter, I64(1))
    counter.add_incoming(following, body)
    for phi, start, end in zip(sums, starts, added, strict=True):
        phi.add_incoming(start, entry)
        phi.add_incoming(end, body)
    b.cbranch(b.icmp_signed("<", following, rounds), body, after)
    b.position_at_end(after)
    for at, end in zip(places, added, strict=True):
        b.store(end, at, align=1)
    b.ret_void()


def measure_peaks(threads: int) -> dict[Precision, float]:
    """Operations a second of `threads` threads in each precision of the networks' code, a multiply-add being two.

    Each thread stays on a core of its own, where the system supports it: it might put two of them on one.
    """
    cores = itertools.cycle(sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [])

    def stay_on_next_core() -> None:
        for core in itertools.islice(cores, 1):
            os.sched_setaffinity(0, [core])  # of this thread

    with ThreadPoolExecutor(threads, initializer=stay_on_next_core) as workers:
        return {precision: _measure(precision, threads, workers) for precision in get_args(Precision)}


def _measure(precision: Precision, threads: int, workers: ThreadPoolExecutor) -> float:
    target = host_target()
    signature = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p)
    run = signature(_compiled_loops().get_function_address(precision))
    memories = [np.zeros((2 + target.registers) * WEIGHTS, np.uint8) for _ in range(threads)]

    def seconds(rounds: int) -> float:
        started = time.perf_counter()
        # ctypes releases the interpreter's lock
        list(workers.map(lambda m: run(rounds, m.ctypes.data, m.ctypes.data + 2 * WEIGHTS), memories))
        return time.perf_counter() - started

    rounds = 1000
    while (elapsed := min(seconds(rounds) for _ in range(3))) < SECONDS / 2:  # one alone may be interrupted
        rounds *= 2
    rounds = int(rounds * SECONDS / elapsed)
    fastest = min(seconds(rounds) for _ in range(TRIALS))
    return describe_loop(precision, target).operations * rounds * threads / fastest


@cache
def _compiled_loops() -> llvm.ExecutionEngine:
    return compile_ir(generate_peak_ir(host_target()))


def has_matrix_units() -> bool:
    """Whether the processor multiplies matrices of int8 and bfloat16 (AMX), as libraries do and foldtext's code not."""
    features = llvm.get_host_cpu_features()
    return bool(features.get("amx-int8") or features.get("amx-bf16"))
