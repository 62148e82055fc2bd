"""Post-training static quantisation of an ONNX file: eight bits for activations, seven for weights, by onnxruntime.

Convolutions, pools and fully connected layers compute with integers, scales standing beside them as QuantizeLinear and
DequantizeLinear; what turns crops into input and logits into probabilities stays as it is. Weights have a scale a
channel. They use seven bits, as processors without VNNI add products of eight bits in sixteen, which overflows.
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from train.inference.onnx_file import require, silence_exporters

Calibration = Literal["minmax", "percentile"]
PERCENTILE = 99.99  # of an activation's values that are within its range
BATCH = 100  # crops that are calibrated with at once
QUANTISED = ("Conv", "Gemm", "MaxPool")


def quantize_onnx(data: bytes, crops: NDArray[np.uint8], calibration: Calibration) -> bytes:
    """The ONNX file `data`, which takes crops uint8 (n, H, W, 3), with integer layers; its metadata is left out.

    The ranges of activations are those on `crops`, in the order and the stacks that they have there: with "minmax" from
    the smallest value to the largest, with "percentile" what holds 99.99 % of them. Those are used that
    `whole_batches` leaves. Raises `UserError` without the extra "export".
    """
    require("onnx", "onnxruntime")
    onnx, quantization = importlib.import_module("onnx"), importlib.import_module("onnxruntime.quantization")
    model = onnx.load_model_from_string(data)
    methods = {"minmax": "MinMax", "percentile": "Percentile"}
    with tempfile.TemporaryDirectory() as folder, silence_exporters():
        out = Path(folder) / "int8.onnx"
        quantization.quantize_static(
            model,
            out,
            _Batches(model.graph.input[0].name, crops),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTISED),
            per_channel=True,
            reduce_range=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod[methods[calibration]],
            extra_options={"CalibStridedMinMax": 1, "CalibPercentile": PERCENTILE},  # a batch in memory at a time
        )
        result = onnx.load(out)
    del result.metadata_props[:]
    return bytes(result.SerializeToString())


def whole_batches(crops: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Those that are calibrated with. A last batch that is not full goes: batches of several lengths make no array."""
    per = min(BATCH, len(crops))
    return crops[: len(crops) // per * per]


def mean_divergence(probabilities: NDArray[np.float32], of: NDArray[np.float32]) -> float:
    """What `of` loses by standing for `probabilities`, both (n, classes): the mean Kullback-Leibler divergence."""
    p, q = (np.maximum(each.astype(np.float64), 1e-9) for each in (probabilities, of))
    return float((p * np.log(p / q)).sum(1).mean())


class _Batches:
    """Crops as quantize_static reads them."""

    def __init__(self, name: str, crops: NDArray[np.uint8]):
        crops = whole_batches(crops)
        self._batches = [{name: crops[at : at + BATCH]} for at in range(0, len(crops), BATCH)]
        self._rest: Iterator[Mapping[str, NDArray[np.uint8]]] = iter(self._batches)

    def __len__(self) -> int:
        return len(self._batches)

    def set_range(self, start_index: int, end_index: int) -> None:
        self._rest = iter(self._batches[start_index:end_index])

    def get_next(self) -> Mapping[str, NDArray[np.uint8]] | None:
        return next(self._rest, None)
