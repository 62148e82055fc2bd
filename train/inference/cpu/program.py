"""A network as the code generator takes it: buffers, layers, and constants packed for a processor's vectors.

Convolutions and fully connected layers are one operation, out[x] = Σ_r Σ_k input[r, x·pixel + k] · weight[r, k]. In a
convolution r counts the rows of the kernel, and k runs over three consecutive pixels with all their channels. A fully
connected layer has one row, k runs over its features, and x over the images of a block. So no layer copies its input
into columns (im2col).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Precision = Literal["fp32", "int16", "int8"]
BLOCK = 24  # stacks whose features are collected before the fully connected layers run


@dataclass(frozen=True)
class Target:
    """The vectors of a processor: how many 32-bit lanes a vector has, and how many registers hold one."""

    lanes: int
    registers: int
    # LLVM's names of the instructions that sum products: of two int16; of two uint8·int8; of four uint8·int8, added to
    # an int32. None: without such an instruction.
    madd: str | None = None
    maddubs: str | None = None
    dpbusd: str | None = None


@dataclass(frozen=True)
class Buffer:
    """Activations (H, W, C) with a border of `border` zeros, or the features of n stacks, (1, n, C).

    `offset` is where the buffer begins in a thread's memory, in bytes; `element` is the size of one number in bytes.
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
    def interior(self) -> int:
        """Offset of the first number within the border, in bytes."""
        return self.offset + self.border * (self.row + self.pixel)

    @property
    def bytes(self) -> int:
        return (self.size[0] + 2 * self.border) * self.row


@dataclass(frozen=True)
class Dot:
    """A convolution or a fully connected layer, whose constants begin at byte `constants`, see `pack_constants`.

    Sums of integers are scaled for the next layer: by a shift of `shift` bits, or where that is None by a factor for
    each output. ReLU also limits them to `maximum`.
    """

    source: Buffer
    target: Buffer
    kernel_rows: int  # 3, or 1 of a fully connected layer
    row_length: int  # consecutive input values that one row of the kernel covers
    relu: bool
    constants: int
    shift: int | None = None
    maximum: int = 0

    @property
    def outputs(self) -> int:
        return self.target.size[2]

    @property
    def group(self) -> int:
        """Input values that are multiplied and added at once: those of 32 bits."""
        return 4 // self.source.element

    @property
    def steps(self) -> int:
        """Groups in a row of the kernel. Even for groups of four, as the code adds two of those first."""
        steps = -(-self.row_length // self.group)
        return steps + steps % 2 if self.group == 4 else steps


@dataclass(frozen=True)
class MaxPool:
    """A max pool with a square window."""

    source: Buffer
    target: Buffer
    kernel: int
    stride: int


@dataclass(frozen=True)
class CpuProgram:
    """A network for stacks of `stack` images.

    The `spatial` layers run for one stack at a time; the last of them writes to `features`, from which the
    `fully_connected` layers run for BLOCK stacks at once. `logits` are float32.
    """

    precision: Precision
    stack: int
    input: Buffer
    spatial: tuple[Dot | MaxPool, ...]
    features: Buffer
    fully_connected: tuple[Dot, ...]
    bytes: int  # of a thread's memory

    @property
    def logits(self) -> Buffer:
        return self.fully_connected[-1].target


def choose_tile(width: int, vectors: int, registers: int) -> tuple[int, list[int]]:
    """How many sums stay in registers at once: pixels, and vectors of outputs in each group of outputs.

    A group has about two vectors, so that each broadcast input value is used twice, and registers remain for the
    weights, the input value and a product. The rest of the registers determines the pixels, with few of a row of
    `width` computed twice.

    >>> choose_tile(25, 2, 15), choose_tile(23, 1, 15)
    ((5, [2]), (8, [1]))
    """
    groups = -(-vectors // (3 if vectors == 3 else 2))
    group_sizes = [vectors // groups + (at < vectors % groups) for at in range(groups)]
    most = max(min((registers - group_sizes[0] - 3) // group_sizes[0], width), 1)
    # A tile costs its pixels and the loads of the weights, which cost about as much as one pixel.
    return min(range(1, most + 1), key=lambda p: (-(-width // p) * (p + 1), -p)), group_sizes


def pack_constants(
    dot: Dot, target: Target, weight: NDArray[Any], bias: NDArray[Any], scale: NDArray[Any] | None
) -> bytes:
    """The constants of a layer as the code reads them: biases, factors (integers without a shift), weights.

    weight (outputs, kernel_rows, row_length) in float32, int16 or int8; bias (outputs,); scale (outputs,), by which
    sums are multiplied.
    """
    lanes, group, steps = target.lanes, dot.group, dot.steps
    vectors = -(-dot.outputs // lanes)
    padded = np.zeros((vectors * lanes, dot.kernel_rows, steps * group), weight.dtype)
    padded[: dot.outputs, :, : dot.row_length] = weight
    _, group_sizes = choose_tile(dot.target.size[1], vectors, target.registers)
    parts = [_pad_zeros(bias, vectors * lanes)] + ([] if scale is None else [_pad_zeros(scale, vectors * lanes)])
    first = 0
    for count in group_sizes:
        weights = padded[first * lanes : (first + count) * lanes]
        weights = weights.reshape(count, lanes, dot.kernel_rows, steps, group)
        weights = weights.transpose(2, 3, 0, 1, 4)  # (row, step, vector, lane, group)
        parts.append(np.ascontiguousarray(weights))
        first += count
    return b"".join(part.tobytes() for part in parts)


def _pad_zeros(values: NDArray[Any], length: int) -> NDArray[Any]:
    return np.concatenate([values, np.zeros(length - len(values), values.dtype)])
