"""Machine code for a network, generated as LLVM IR, for any processor that LLVM supports.

A library runs a network layer by layer over a whole batch, with kernels that must suit layers of any size. Here the
sizes of one network are constants of the code. A stack passes through all convolutions while its activations lie in the
core's own cache; fully connected layers run for a block of stacks, so that their weights are read once for all of it.

The lanes of a vector hold output channels, an input value is broadcast to all of them, and the sums of P pixels × V
vectors stay in registers. Activations lie as (H, W, C), with a border of zeros where the next layer pads.

int16: two products are added before they are added to the sum, an int32. That is x86's `pmaddwd`: 32 multiply-adds a
cycle with 256-bit vectors, where float32 has 16. LLVM joins it and the addition to one `vpdpwssd` where the processor
has that. int8: four products are added in int16, which is exact as values have seven bits, by two `pmaddubsw` and a
`pmaddwd` with ones; with VNNI by two `vpdpbusd`, with the same results.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir

from train.inference.cpu.multiply_add import multiply_add
from train.inference.cpu.program import BLOCK, CpuProgram, Dot, MaxPool, Target, choose_tile

MAX_UNROLLED = 6  # steps of a loop that is unrolled as a whole
I8, I16, I32, I64, F32 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()


def generate_ir(program: CpuProgram, target: Target) -> str:
    """LLVM IR of `run(images, stacks, logits, memory, constants)`: uint8 (stacks·stack, H, W, 3) -> float32 (stacks,
    C).

    `memory` holds `program.bytes` zeros, and belongs to one call at a time.
    """
    return str(_Writer(program, target).module)


class _Writer:
    """Writes the function `run`, with one method for each kind of layer."""

    def __init__(self, program: CpuProgram, target: Target):
        self.program, self.target = program, target
        self.integer = program.precision != "fp32"
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
        self._write_run(images, stacks, logits)
        self.b.ret_void()
        self.entry.branch(body)

    def _write_run(self, images: ir.Value, stacks: ir.Value, logits: ir.Value) -> None:
        program, b = self.program, self.b
        h, w, c = program.input.size
        with self._loop(stacks, BLOCK) as begin:
            remaining = b.sub(stacks, begin)
            count = b.select(b.icmp_signed("<", remaining, I64(BLOCK)), remaining, I64(BLOCK))
            with self._loop(count) as i:
                image = b.gep(images, [self._times(b.add(begin, i), h * w * c)])
                self._write_input(image)
                for step in program.spatial:
                    last = step is program.spatial[-1]  # it writes to the features of stack i
                    target_shift = self._times(i, program.features.pixel) if last else I64(0)
                    if isinstance(step, Dot):
                        self._write_dot(step, target_shift)
                    else:
                        self._write_max_pool(step, target_shift)
            for dot in program.fully_connected:
                self._write_dot(dot, I64(0))
            destination = b.gep(logits, [self._times(begin, program.logits.pixel)])
            with self._loop(self._times(count, program.logits.size[2])) as i:
                value = b.load(
                    self._at(self.memory, b.add(self._times(i, 4), I64(program.logits.interior)), F32), align=4
                )
                b.store(value, self._at(destination, self._times(i, 4), F32), align=4)

    def _write_input(self, image: ir.Value) -> None:
        """Copy the images of a stack into its channels as 2x - 255. The weights of the first layer include the factor
        1/255 of the normalisation."""
        b, target, stack = self.b, self.program.input, self.program.stack
        h, w, _ = target.size
        with self._loop(h) as y, self._loop(w if stack > 1 else w * 3) as x:
            for j in range(stack):
                for c in range(3 if stack > 1 else 1):
                    width = 3 if stack > 1 else 1
                    at = b.add(self._times(y, w * 3), b.add(self._times(x, width), I64(j * h * w * 3 + c)))
                    value = b.load(b.gep(image, [at]))
                    doubled = b.sub(b.shl(b.zext(value, I32), I32(1)), I32(255))
                    number = b.trunc(doubled, I16) if self.integer else b.sitofp(doubled, F32)
                    step = target.pixel if stack > 1 else target.element
                    to = b.add(self._times(y, target.row), self._times(x, step))
                    to = b.add(to, I64(target.interior + (j * 3 + c) * target.element))
                    b.store(number, self._at(self.memory, to, number.type), align=target.element)

    def _write_dot(self, dot: Dot, target_shift: ir.Value) -> None:
        """A convolution or a fully connected layer, which writes `target_shift` bytes after the start of its target.

        Groups of outputs are written from the last to the first, and pixels from left to right. The last vector of a
        pixel may end in zeros that belong to no output: they are overwritten, or lie in the border.
        """
        b, lanes = self.b, self.target.lanes
        h, w, outputs = dot.target.size
        vectors = -(-outputs // lanes)
        pixels, group_sizes = choose_tile(w, vectors, self.target.registers)
        steps = dot.steps
        weights = dot.constants + vectors * lanes * 4 * (2 if self.integer and dot.shift is None else 1)
        begins = [
            weights + sum(group_sizes[:at]) * lanes * dot.kernel_rows * steps * 4 for at in range(len(group_sizes))
        ]
        start = dot.source.offset if dot.kernel_rows > 1 else dot.source.interior
        with self._loop(h) as y, self._loop(-(-w // pixels)) as block:
            first = self._times(block, pixels)
            if w % pixels:
                first = b.select(b.icmp_signed("<", first, I64(w - pixels)), first, I64(w - pixels))
            source = b.add(self._times(y, dot.source.row), self._times(first, dot.source.pixel))
            source = b.gep(self.memory, [b.add(source, I64(start))])
            target = b.add(self._times(y, dot.target.row), self._times(first, dot.target.pixel))
            target = b.gep(self.memory, [b.add(b.add(target, I64(dot.target.interior)), target_shift)])
            for at in reversed(range(len(group_sizes))):
                done = sum(group_sizes[:at])
                constants = dot.constants + done * lanes * 4
                sums = self._write_sums(dot, source, constants, begins[at], pixels, group_sizes[at])
                for p in range(pixels):
                    for v in range(group_sizes[at]):
                        scales = constants + (vectors + v) * lanes * 4
                        result = self._finish(b.load(sums[p][v]), dot, scales)
                        to = p * dot.target.pixel + (done + v) * lanes * dot.target.element
                        b.store(result, self._at(target, to, result.type), align=dot.target.element)

    def _write_sums(
        self, dot: Dot, source: ir.Value, biases: int, weights: int, pixels: int, vectors: int
    ) -> list[list[ir.Value]]:
        """The sums of P pixels × V vectors, in variables that LLVM keeps in registers."""
        b, lanes, steps = self.b, self.target.lanes, dot.steps
        kind = ir.VectorType(I32 if self.integer else F32, lanes)
        sums = [[self.entry.alloca(kind) for _ in range(vectors)] for _ in range(pixels)]
        for v in range(vectors):
            bias = self._load(self.constants, biases + v * lanes * 4, kind)
            for p in range(pixels):
                b.store(bias, sums[p][v])
        steps_at_once = 2 if dot.group == 4 else 1
        unrolled = steps if steps <= MAX_UNROLLED else 2 if self.integer and steps % 2 == 0 else 1
        for r in range(dot.kernel_rows):
            with self._loop(steps, unrolled) as k:
                data = b.gep(source, [self._times(k, 4)])
                constant = b.gep(self.constants, [self._times(k, vectors * lanes * 4)])
                for u in range(0, unrolled, steps_at_once):
                    group_steps = range(u, u + steps_at_once)
                    places = [weights + (r * steps + each) * vectors * lanes * 4 for each in group_steps]
                    weight = [
                        [self._load(constant, place + v * lanes * 4, self._vector_type(dot)) for place in places]
                        for v in range(vectors)
                    ]
                    for p in range(pixels):
                        start = r * dot.source.row + p * dot.source.pixel
                        values = [self._broadcast(dot, data, start + 4 * each) for each in group_steps]
                        for v in range(vectors):
                            total = multiply_add(b, self.target, values, weight[v], b.load(sums[p][v]))
                            b.store(total, sums[p][v])
        return sums

    def _vector_type(self, dot: Dot) -> ir.VectorType:
        """A vector of the layer's input values or weights."""
        element = {1: F32, 2: I16, 4: I8}[dot.group]
        return ir.VectorType(element, dot.group * self.target.lanes)

    def _broadcast(self, dot: Dot, base: ir.Value, offset: int) -> ir.Value:
        """One input value, or one group of them, in every lane."""
        b, lanes = self.b, self.target.lanes
        value = self._load(base, offset, I32 if self.integer else F32)
        kind = ir.VectorType(value.type, lanes)
        undefined = ir.Constant(kind, ir.Undefined)
        first = b.insert_element(undefined, value, I32(0))
        repeated = b.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(I32, lanes), [0] * lanes))
        return b.bitcast(repeated, self._vector_type(dot)) if self.integer else repeated

    def _finish(self, total: ir.Value, dot: Dot, scales: int) -> ir.Value:
        """The values to store: after ReLU, integers in the units of the next layer."""
        b, kind = self.b, total.type
        if not self.integer:
            return self._maximum(total, self._splat(kind, 0.0)) if dot.relu else total
        if dot.shift is None:
            floats = ir.VectorType(F32, kind.count)
            scaled = b.fmul(b.sitofp(total, floats), self._load(self.constants, scales, floats))
            if not dot.relu:
                return scaled
            scaled = self._maximum(b.fadd(scaled, self._splat(floats, 0.5)), self._splat(floats, 0.0))
            limit: ir.Constant = self._splat(floats, dot.maximum)
            integers = b.fptosi(b.select(b.fcmp_ordered("<", scaled, limit), scaled, limit), kind)
        else:
            shifted = self._maximum(b.ashr(total, self._splat(kind, dot.shift)), self._splat(kind, 0))
            limit = self._splat(kind, dot.maximum)
            integers = b.select(b.icmp_signed("<", shifted, limit), shifted, limit)
        return b.trunc(integers, ir.VectorType(I8 if dot.target.element == 1 else I16, kind.count))

    def _write_max_pool(self, pool: MaxPool, target_shift: ir.Value) -> None:
        b = self.b
        h, w, channels = pool.target.size
        with self._loop(h) as y, self._loop(w) as x:
            source = b.add(
                self._times(y, pool.stride * pool.source.row), self._times(x, pool.stride * pool.source.pixel)
            )
            source = b.gep(self.memory, [b.add(source, I64(pool.source.offset))])
            target = b.add(self._times(y, pool.target.row), self._times(x, pool.target.pixel))
            target = b.gep(self.memory, [b.add(b.add(target, I64(pool.target.interior)), target_shift)])
            done = 0
            while done < channels:
                count = min(16, 1 << ((channels - done).bit_length() - 1))
                kind = ir.VectorType({1: I8, 2: I16, 4: F32}[pool.source.element], count)
                largest = None
                for r in range(pool.kernel):
                    for k in range(pool.kernel):
                        at = r * pool.source.row + k * pool.source.pixel + done * pool.source.element
                        value = self._load(source, at, kind)
                        largest = value if largest is None else self._maximum(largest, value)
                b.store(largest, self._at(target, done * pool.target.element, kind), align=pool.target.element)
                done += count

    def _maximum(self, a: ir.Value, b: ir.Value) -> ir.Value:
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
        """A pointer to `kind`, `offset` bytes after `base`."""
        offset = I64(offset) if isinstance(offset, int) else offset
        return self.b.bitcast(self.b.gep(base, [offset]), kind.as_pointer())

    def _load(self, base: ir.Value, offset: ir.Value | int, kind: Any) -> ir.Value:
        """Load from any address: the input values of a kernel row are not aligned."""
        return self.b.load(self._at(base, offset, kind), align=1)

    def _times(self, i: ir.Value, factor: int) -> ir.Value:
        return self.b.mul(i, I64(factor))

    def _splat(self, kind: ir.VectorType, value: float) -> ir.Constant:
        return ir.Constant(kind, [value] * kind.count)
