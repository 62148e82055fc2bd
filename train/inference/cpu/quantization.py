"""Integer weights and activations of the CPU code: scales without saturated sums, and each layer in integers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from train.inference.cpu.program import Precision

INT8_MAXIMUM = 127  # of an int8 activation
INT16_MAXIMUM = 32767  # of an int16 activation
HEADROOM = 2  # int16 activations may exceed the largest value of the calibration crops by this factor
SUM_LIMIT = 2**31 - 2**25  # sums of products stay below it, so that bias and rounding fit into an int32 too
WEIGHT_MAXIMUM = {2: 32767, 1: 64}  # by bytes of a weight; four int8 products, 4·64·127, stay below 2**15
SHIFTS = range(25)  # bits by which a sum may be shifted


@dataclass(frozen=True)
class Scale:
    """The value of the integer 1 of an activation, and the largest integer."""

    unit: float
    maximum: int


INPUT_SCALE = Scale(1 / 255, 255)  # the input is 2x - 255, for -1…1


class QuantizedLayer(NamedTuple):
    """Integer weights and biases; sums are shifted by `shift` bits or, where that is None, multiplied by `factors`."""

    weight: NDArray[Any]
    bias: NDArray[np.int32]
    shift: int | None
    factors: NDArray[np.float32] | None


def choose_scales(
    precision: Precision, next_weights: Sequence[NDArray[Any]], largest_outputs: Sequence[float]
) -> list[Scale]:
    """A scale for the output of each ReLU; `next_weights` are the weights of the layers that read those outputs.

    In int16 an activation is as large as possible while the weights of the next layer keep an eighth of their full
    range: activations and weights share the bits of a sum.
    """
    if precision == "int8":
        return [Scale((value or 1.0) / INT8_MAXIMUM, INT8_MAXIMUM) for value in largest_outputs]
    scales = []
    for weight, value in zip(next_weights, largest_outputs, strict=False):
        flat = np.abs(weight).reshape(len(weight), -1)
        # The sum of an output's weights, in multiples of its largest weight.
        relative_sum = (flat.sum(1) / np.maximum(flat.max(1), 1e-30)).max()
        maximum = INT16_MAXIMUM
        while maximum > 255 and (
            max(relative_sum, 1.0) * maximum**2 > 8 * SUM_LIMIT or flat.shape[1] * maximum > SUM_LIMIT
        ):
            maximum //= 2
        scales.append(Scale((value or 1.0) * HEADROOM / maximum, maximum))
    return scales


def quantize_layer(
    weight: NDArray[Any], bias: NDArray[Any], scale_in: Scale, scale_out: Scale, element: int
) -> QuantizedLayer:
    """A layer in integers, with `element` bytes a weight.

    Each output has the smallest unit of weights with which no sum can overflow 32 bits, rounding included. A shift is
    faster than factors, and is used in int16 where the largest of these units is small enough for it.
    """
    flat = np.abs(weight).reshape(len(weight), -1)
    rounding = flat.shape[1] / 2 * scale_in.maximum
    largest_sum = flat.sum(1) * scale_in.maximum + np.abs(bias) / scale_in.unit
    units = np.maximum(flat.max(1) / WEIGHT_MAXIMUM[element], largest_sum / (SUM_LIMIT - rounding))
    units = np.where(units > 0, units, 1.0)
    shift = None
    if element == 2 and scale_out.maximum:
        bits = int(np.floor(np.log2(scale_out.unit / (scale_in.unit * units.max()))))
        if bits in SHIFTS:
            shift, units = bits, np.full_like(units, scale_out.unit / scale_in.unit / 2.0**bits)
    half = 0 if shift in (None, 0) else 1 << (shift - 1)  # a shift rounds down
    integers = np.rint(weight / units[:, None, None]).astype({1: np.int8, 2: np.int16}[element])
    biases = np.rint(bias / (scale_in.unit * units) + half).astype(np.int32)
    factors = None if shift is not None else (scale_in.unit * units / scale_out.unit).astype(np.float32)
    return QuantizedLayer(integers, biases, shift, factors)
