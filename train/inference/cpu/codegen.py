"""A network as one function of machine code: the generator, for any processor that LLVM knows.

A library runs a network layer by layer over the whole batch, and chooses for each a kernel that has to suit layers of
any size. Here a network's sizes are constants of the code, and an image goes through all its convolutions while they
lie in the core's own cache; fully connected layers take a block of images, as their weights are then read once for all.

Convolutions and fully connected layers are one operation, out[x] = Σ_r Σ_k input[r, x·pixel + k] · weight[r, k]. Of a
convolution r counts the rows of the kernel and k runs over three pixels that lie behind each other with all their
channels; of a fully connected layer there is one row, k runs over the features and x over the images of a block. So no
layer copies its input into columns. A vector has output channels in its lanes, a number of the input is broadcast to
them, and the sums of P pixels × V vectors stay in registers. Activations lie as (H, W, C), in a frame of zeros where
the next layer pads.

In int16 two products are added before they meet the sum, which is int32: x86's `pmaddwd`, 32 multiply-adds a cycle with
256 bits where float32 has 16. LLVM makes one `vpdpwssd` of it and the addition where the processor has that. In int8
four products are added in int16, as numbers have seven bits: two `pmaddubsw`, then a `pmaddwd` with ones; with VNNI two
`vpdpbusd`, of the same integers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

Precision = Literal["fp32", "int16", "int8"]
BLOCK = 24  # stacks, whose features wait for the fully connected layers
SHORT = 6  # steps of a loop that is written out
I8, I16, I32, I64, F32 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()


@dataclass(frozen=True)
class Target:
    """The vectors of a processor: 32-bit lanes of one, and registers that hold one."""

    lanes: int
    registers: int
    # Its sums of products, as LLVM calls them: of two int16, of two uint8 with int8, and of four of these with a sum of
    # int32. None: in plain steps.
    madd: str | None = None
    maddubs: str | None = None
    dpbusd: str | None = None


@dataclass(frozen=True)
class Buffer:
    """Activations (H, W, C) in a frame of `border` zeros, or features, (1, n, C) of n stacks.

    `offset` is where it begins in a thread's memory, in bytes, and `element` the bytes of one number.
    """

    size: tuple[int, int, int]
    border: int
    offset: int
    element: int

    @property
    def pixel(self) -> int:
        """Bytes from a pixel to the next."""
        return self.size[2] * self.element

    @property
    def row(self) -> int:
        """Bytes from a row to the next."""
        return (self.size[1] + 2 * self.border) * self.pixel

    @property
    def inside(self) -> int:
        """The place of the first number that is not of the frame."""
        return self.offset + self.border * (self.row + self.pixel)

    @property
    def bytes(self) -> int:
        return (self.size[0] + 2 * self.border) * self.row


@dataclass(frozen=True)
class Dot:
    """A convolution or a fully connected layer; its constants lie at `constants`, see `packed`.

    Of integers, sums are shifted by `shift` bits, or with None multiplied by a scale an output; behind ReLU they are
    cut off at `largest`.
    """

    source: Buffer
    target: Buffer
    rows: int  # of the kernel: 3; of a fully connected layer 1
    run: int  # numbers behind each other that a row of the kernel meets
    relu: bool
    constants: int
    shift: int | None = None
    largest: int = 0

    @property
    def outputs(self) -> int:
        return self.target.size[2]

    @property
    def group(self) -> int:
        """Numbers of the input that are multiplied and added at once: those of 32 bits."""
        return 4 // self.source.element

    @property
    def steps(self) -> int:
        """Groups of a row of the kernel; of four bytes an even number, as two are added first."""
        steps = -(-self.run // self.group)
        return steps + steps % 2 if self.group == 4 else steps


@dataclass(frozen=True)
class MaxPool:
    """The largest of a square window."""

    source: Buffer
    target: Buffer
    kernel: int
    stride: int


@dataclass(frozen=True)
class Plan:
    """A network for stacks of `stack` images, as the generator takes it.

    `spatial` steps run for one stack after the other; the last of them writes to `features`, which the first of the
    `flat` steps reads, for BLOCK stacks at once. `logits` are float32.
    """

    precision: Precision
    stack: int
    input: Buffer
    spatial: tuple[Dot | MaxPool, ...]
    features: Buffer
    flat: tuple[Dot, ...]
    bytes: int  # of a thread's memory

    @property
    def logits(self) -> Buffer:
        return self.flat[-1].target


def tiles(width: int, vectors: int, registers: int) -> tuple[int, list[int]]:
    """Pixels, and vectors of outputs in each group, whose sums `_dot` has in registers at once.

    Two vectors or so for each broadcast number, beside which there is room for the weights, the number and a product;
    as many pixels as are left room for, and few of them computed twice.

    >>> tiles(25, 2, 15), tiles(23, 1, 15)
    ((5, [2]), (8, [1]))
    """
    groups = -(-vectors // (3 if vectors == 3 else 2))
    share = [vectors // groups + (at < vectors % groups) for at in range(groups)]
    most = max(min((registers - share[0] - 3) // share[0], width), 1)
    # A pixel costs as much as its share of the weights' loads, that all pixels of a block have together.
    return min(range(1, most + 1), key=lambda p: (-(-width // p) * (p + 1), -p)), share


def packed(dot: Dot, target: Target, weight: NDArray[Any], bias: NDArray[Any], scale: NDArray[Any] | None) -> bytes:
    """The constants of a layer: biases, scales (of integers without a shift), weights as they are read.

    weight (outputs, rows, run), float32, int16 or int8; bias (outputs,); scale (outputs,), what sums are multiplied by.
    """
    lanes, group, steps = target.lanes, dot.group, dot.steps
    vectors = -(-dot.outputs // lanes)
    filled = np.zeros((vectors * lanes, dot.rows, steps * group), weight.dtype)
    filled[: dot.outputs, :, : dot.run] = weight
    _, share = tiles(dot.target.size[1], vectors, target.registers)
    parts = [_padded(bias, vectors * lanes)] + ([] if scale is None else [_padded(scale, vectors * lanes)])
    first = 0
    for count in share:
        some = filled[first * lanes : (first + count) * lanes]
        some = some.reshape(count, lanes, dot.rows, steps, group).transpose(
            2, 3, 0, 1, 4
        )  # (r, k, vector, lane, group)
        parts.append(np.ascontiguousarray(some))
        first += count
    return b"".join(part.tobytes() for part in parts)


def _padded(values: NDArray[Any], length: int) -> NDArray[Any]:
    return np.concatenate([values, np.zeros(length - len(values), values.dtype)])


def generate(plan: Plan, target: Target) -> str:
    """LLVM's assembly of `run(images, stacks, logits, memory, constants)`: uint8 (stacks·stack, H, W, 3) in, float32
    (stacks, C) out; `memory` are `plan.bytes` zeros that nobody else uses meanwhile."""
    return str(_Writer(plan, target).module)


class _Writer:
    """The function while it is written."""

    def __init__(self, plan: Plan, target: Target):
        self.plan, self.target = plan, target
        self.integer = plan.precision != "fp32"
        self.module = ir.Module("network")
        pointer = I8.as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, I64, pointer, pointer, pointer])
        function = ir.Function(self.module, kind, "run")
        images, stacks, logits, self.memory, self.constants = function.args
        for argument in (images, logits, self.memory, self.constants):
            argument.add_attribute("noalias")
        self.function = function
        self.entry = ir.IRBuilder(function.append_basic_block("entry"))
        self.b = ir.IRBuilder(body := function.append_basic_block("body"))
        self._run(images, stacks, logits)
        self.b.ret_void()
        self.entry.branch(body)

    def _run(self, images: ir.Value, stacks: ir.Value, logits: ir.Value) -> None:
        plan, b = self.plan, self.b
        h, w, c = plan.input.size
        with self._loop(stacks, BLOCK) as begin:
            left = b.sub(stacks, begin)
            count = b.select(b.icmp_signed("<", left, I64(BLOCK)), left, I64(BLOCK))
            with self._loop(count) as i:
                image = b.gep(images, [self._times(b.add(begin, i), h * w * c)])
                self._widen(image)
                for step in plan.spatial:
                    last = step is plan.spatial[-1]
                    moved = self._times(i, plan.features.pixel) if last else I64(0)
                    if isinstance(step, Dot):
                        self._dot(step, moved)
                    else:
                        self._max_pool(step, moved)
            for dot in plan.flat:
                self._dot(dot, I64(0))
            wanted = b.gep(logits, [self._times(begin, plan.logits.pixel)])
            with self._loop(self._times(count, plan.logits.size[2])) as i:
                value = b.load(self._at(self.memory, b.add(self._times(i, 4), I64(plan.logits.inside)), F32), align=4)
                b.store(value, self._at(wanted, self._times(i, 4), F32), align=4)

    def _widen(self, image: ir.Value) -> None:
        """Images uint8 side by side in one stack, as 2x - 255: the normalisation, but for a factor of the weights."""
        b, into, stack = self.b, self.plan.input, self.plan.stack
        h, w, _ = into.size
        with self._loop(h) as y, self._loop(w if stack > 1 else w * 3) as x:
            for j in range(stack):
                for c in range(3 if stack > 1 else 1):
                    width = 3 if stack > 1 else 1
                    at = b.add(self._times(y, w * 3), b.add(self._times(x, width), I64(j * h * w * 3 + c)))
                    value = b.load(b.gep(image, [at]))
                    doubled = b.sub(b.shl(b.zext(value, I32), I32(1)), I32(255))
                    number = b.trunc(doubled, I16) if self.integer else b.sitofp(doubled, F32)
                    step = into.pixel if stack > 1 else into.element
                    to = b.add(self._times(y, into.row), self._times(x, step))
                    to = b.add(to, I64(into.inside + (j * 3 + c) * into.element))
                    b.store(number, self._at(self.memory, to, number.type), align=into.element)

    def _dot(self, dot: Dot, moved: ir.Value) -> None:
        """`moved` bytes behind its place lies the target. Groups of outputs are written from the last to the first, and
        pixels from the left: what a vector has too much, zeros, is then written over, or lies in the frame."""
        b, lanes = self.b, self.target.lanes
        h, w, outputs = dot.target.size
        vectors = -(-outputs // lanes)
        pixels, share = tiles(w, vectors, self.target.registers)
        steps = dot.steps
        head = dot.constants + vectors * lanes * 4 * (2 if self.integer and dot.shift is None else 1)
        begins = [head + sum(share[:at]) * lanes * dot.rows * steps * 4 for at in range(len(share))]
        before = dot.source.offset if dot.rows > 1 else dot.source.inside
        with self._loop(h) as y, self._loop(-(-w // pixels)) as block:
            first = self._times(block, pixels)
            if w % pixels:
                first = b.select(b.icmp_signed("<", first, I64(w - pixels)), first, I64(w - pixels))
            source = b.add(self._times(y, dot.source.row), self._times(first, dot.source.pixel))
            source = b.gep(self.memory, [b.add(source, I64(before))])
            target = b.add(self._times(y, dot.target.row), self._times(first, dot.target.pixel))
            target = b.gep(self.memory, [b.add(b.add(target, I64(dot.target.inside)), moved)])
            for at in reversed(range(len(share))):
                done = sum(share[:at])
                constants = dot.constants + done * lanes * 4
                sums = self._sums(dot, source, constants, begins[at], pixels, share[at])
                for p in range(pixels):
                    for v in range(share[at]):
                        scales = constants + (vectors + v) * lanes * 4
                        result = self._finish(b.load(sums[p][v]), dot, scales)
                        to = p * dot.target.pixel + (done + v) * lanes * dot.target.element
                        b.store(result, self._at(target, to, result.type), align=dot.target.element)

    def _sums(
        self, dot: Dot, source: ir.Value, biases: int, weights: int, pixels: int, vectors: int
    ) -> list[list[ir.Value]]:
        """The sums of P pixels × V vectors, as variables that LLVM keeps in registers."""
        b, lanes, steps = self.b, self.target.lanes, dot.steps
        kind = ir.VectorType(I32 if self.integer else F32, lanes)
        sums = [[self.entry.alloca(kind) for _ in range(vectors)] for _ in range(pixels)]
        for v in range(vectors):
            bias = self._load(self.constants, biases + v * lanes * 4, kind)
            for p in range(pixels):
                b.store(bias, sums[p][v])
        together = 2 if dot.group == 4 else 1  # steps
        unrolled = steps if steps <= SHORT else 2 if self.integer and steps % 2 == 0 else 1
        for r in range(dot.rows):
            with self._loop(steps, unrolled) as k:
                data = b.gep(source, [self._times(k, 4)])
                constant = b.gep(self.constants, [self._times(k, vectors * lanes * 4)])
                for u in range(0, unrolled, together):
                    which = range(u, u + together)
                    places = [weights + (r * steps + each) * vectors * lanes * 4 for each in which]
                    weight = [
                        [self._load(constant, place + v * lanes * 4, self._numbers(dot)) for place in places]
                        for v in range(vectors)
                    ]
                    for p in range(pixels):
                        start = r * dot.source.row + p * dot.source.pixel
                        values = [self._broadcast(dot, data, start + 4 * each) for each in which]
                        for v in range(vectors):
                            total = self._multiply_add(dot, values, weight[v], b.load(sums[p][v]))
                            b.store(total, sums[p][v])
        return sums

    def _numbers(self, dot: Dot) -> ir.VectorType:
        """As many as a vector holds."""
        of = {1: F32, 2: I16, 4: I8}[dot.group]
        return ir.VectorType(of, dot.group * self.target.lanes)

    def _broadcast(self, dot: Dot, base: ir.Value, offset: int) -> ir.Value:
        """A number of the input, or a group, in every lane."""
        b, lanes = self.b, self.target.lanes
        value = self._load(base, offset, I32 if self.integer else F32)
        kind = ir.VectorType(value.type, lanes)
        undefined = ir.Constant(kind, ir.Undefined)
        one = b.insert_element(undefined, value, I32(0))
        all_ = b.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(I32, lanes), [0] * lanes))
        return b.bitcast(all_, self._numbers(dot)) if self.integer else all_

    def _multiply_add(self, dot: Dot, values: list[ir.Value], weights: list[ir.Value], total: ir.Value) -> ir.Value:
        """`total` and the products, of two steps of four bytes or one step of others."""
        b, lanes, target = self.b, self.target.lanes, self.target
        if not self.integer:
            return self._call(f"llvm.fmuladd.v{lanes}f32", total.type, [*values, *weights, total])
        if dot.group == 2 and target.madd:
            return b.add(total, self._call(target.madd, total.type, [*values, *weights]))
        if dot.group == 4 and target.dpbusd:
            for value, weight in zip(values, weights, strict=True):
                total = self._call(target.dpbusd, total.type, [total, value, weight])
            return total
        if dot.group == 4 and target.madd and target.maddubs:
            pairs = ir.VectorType(I16, 2 * lanes)
            first, second = (self._call(target.maddubs, pairs, list(of)) for of in zip(values, weights, strict=True))
            ones = self._all(pairs, 1)
            return b.add(total, self._call(target.madd, total.type, [b.add(first, second), ones]))
        wide = ir.VectorType(I32, dot.group * lanes)
        for value, weight in zip(values, weights, strict=True):
            extended = b.zext(value, wide) if dot.group == 4 else b.sext(value, wide)
            products = b.mul(extended, b.sext(weight, wide))
            for at in range(dot.group):
                mask = ir.Constant(ir.VectorType(I32, lanes), list(range(at, dot.group * lanes, dot.group)))
                total = b.add(total, b.shuffle_vector(products, ir.Constant(wide, ir.Undefined), mask))
        return total

    def _call(self, name: str, result: ir.Type, arguments: list[ir.Value]) -> ir.Value:
        """One of LLVM's own functions."""
        kind = ir.FunctionType(result, [argument.type for argument in arguments])
        return self.b.call(self.module.globals.get(name) or ir.Function(self.module, kind, name), arguments)

    def _finish(self, total: ir.Value, dot: Dot, scales: int) -> ir.Value:
        """What is stored: behind ReLU, and of integers in the units of the next layer."""
        b, kind = self.b, total.type
        if not self.integer:
            return self._largest(total, self._all(kind, 0.0)) if dot.relu else total
        if dot.shift is None:
            floats = ir.VectorType(F32, kind.count)
            scaled = b.fmul(b.sitofp(total, floats), self._load(self.constants, scales, floats))
            if not dot.relu:
                return scaled
            scaled = self._largest(b.fadd(scaled, self._all(floats, 0.5)), self._all(floats, 0.0))
            most: ir.Constant = self._all(floats, dot.largest)
            whole = b.fptosi(b.select(b.fcmp_ordered("<", scaled, most), scaled, most), kind)
        else:
            shifted = self._largest(b.ashr(total, self._all(kind, dot.shift)), self._all(kind, 0))
            most = self._all(kind, dot.largest)
            whole = b.select(b.icmp_signed("<", shifted, most), shifted, most)
        return b.trunc(whole, ir.VectorType(I8 if dot.target.element == 1 else I16, kind.count))

    def _max_pool(self, pool: MaxPool, moved: ir.Value) -> None:
        b = self.b
        h, w, channels = pool.target.size
        with self._loop(h) as y, self._loop(w) as x:
            source = b.add(
                self._times(y, pool.stride * pool.source.row), self._times(x, pool.stride * pool.source.pixel)
            )
            source = b.gep(self.memory, [b.add(source, I64(pool.source.offset))])
            target = b.add(self._times(y, pool.target.row), self._times(x, pool.target.pixel))
            target = b.gep(self.memory, [b.add(b.add(target, I64(pool.target.inside)), moved)])
            done = 0
            while done < channels:
                count = min(16, 1 << ((channels - done).bit_length() - 1))
                kind = ir.VectorType({1: I8, 2: I16, 4: F32}[pool.source.element], count)
                best = None
                for r in range(pool.kernel):
                    for k in range(pool.kernel):
                        at = r * pool.source.row + k * pool.source.pixel + done * pool.source.element
                        value = self._load(source, at, kind)
                        best = value if best is None else self._largest(best, value)
                b.store(best, self._at(target, done * pool.target.element, kind), align=pool.target.element)
                done += count

    def _largest(self, a: ir.Value, b: ir.Value) -> ir.Value:
        integer = isinstance(a.type.element, ir.IntType)
        less = self.b.icmp_signed("<", a, b) if integer else self.b.fcmp_ordered("<", a, b)
        return self.b.select(less, b, a)

    @contextmanager
    def _loop(self, end: int | ir.Value, step: int = 1) -> Iterator[ir.Value]:
        """for i in range(0, end, step)."""
        counter = self.entry.alloca(I64)
        self.b.store(I64(0), counter)
        head, body, after = (self.function.append_basic_block() for _ in range(3))
        self.b.branch(head)
        self.b.position_at_end(head)
        i = self.b.load(counter)
        self.b.cbranch(self.b.icmp_signed("<", i, I64(end) if isinstance(end, int) else end), body, after)
        self.b.position_at_end(body)
        yield i
        self.b.store(self.b.add(i, I64(step)), counter)
        self.b.branch(head)
        self.b.position_at_end(after)

    def _at(self, base: ir.Value, offset: ir.Value | int, kind: Any) -> ir.Value:
        """A pointer to `kind`, so many bytes behind `base`."""
        offset = I64(offset) if isinstance(offset, int) else offset
        return self.b.bitcast(self.b.gep(base, [offset]), kind.as_pointer())

    def _load(self, base: ir.Value, offset: ir.Value | int, kind: Any) -> ir.Value:
        """From any place, aligned or not, for the numbers of a kernel's row begin anywhere."""
        return self.b.load(self._at(base, offset, kind), align=1)

    def _times(self, i: ir.Value, factor: int) -> ir.Value:
        return self.b.mul(i, I64(factor))

    def _all(self, kind: ir.VectorType, value: float) -> ir.Constant:
        return ir.Constant(kind, [value] * kind.count)
