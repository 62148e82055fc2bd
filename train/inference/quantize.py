"""Post-training static quantisation of an ONNX file: eight bits for activations, seven for weights, by onnxruntime.

Convolutions, pools and fully connected layers compute with integers between QuantizeLinear and DequantizeLinear nodes
(QDQ format); normalisation and softmax stay in floats. Weights have a scale for each channel. They use seven bits, as
processors without VNNI add products of eight bits in 16 bits, which would overflow.
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from train.inference.network import CropArray
from train.inference.onnx_file import require, silence_exporters

Calibration = Literal["minmax", "percentile"]
PERCENTILE = 99.99  # per cent of an activation's values that its range covers
BATCH = 100  # calibration crops in a batch
QUANTISED = ("Conv", "Gemm", "MaxPool")


def quantize_onnx(data: bytes, crops: CropArray, calibration: Calibration) -> bytes:
    """The ONNX file `data`, a classifier of crops, with integer layers and without metadata.

    The ranges of activations are measured on `whole_batches(crops)`, stacked in the given order: from the smallest to
    the largest value with "minmax", or such that they cover 99.99 % of the values with "percentile". Raises `UserError`
    without the extra "export".
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
            extra_options={"CalibStridedMinMax": 1, "CalibPercentile": PERCENTILE},  # one batch in memory at a time
        )
        result = onnx.load(out)
    del result.metadata_props[:]
    return bytes(result.SerializeToString())


def whole_batches(crops: CropArray) -> CropArray:
    """The crops without an incomplete last batch: onnxruntime needs calibration batches of one length."""
    batch = min(BATCH, len(crops))
    return crops[: len(crops) // batch * batch]


def mean_divergence(probabilities: NDArray[np.float32], approximation: NDArray[np.float32]) -> float:
    """The mean Kullback-Leibler divergence KL(probabilities ‖ approximation), both (n, classes)."""
    p, q = (np.maximum(each.astype(np.float64), 1e-9) for each in (probabilities, approximation))
    return float((p * np.log(p / q)).sum(1).mean())


class _Batches:
    """The calibration data reader that quantize_static needs."""

    def __init__(self, name: str, crops: CropArray):
        crops = whole_batches(crops)
        self._batches = [{name: crops[at : at + BATCH]} for at in range(0, len(crops), BATCH)]
        self._rest: Iterator[Mapping[str, CropArray]] = iter(self._batches)

    def __len__(self) -> int:
        return len(self._batches)

    def set_range(self, start_index: int, end_index: int) -> None:
        self._rest = iter(self._batches[start_index:end_index])

    def get_next(self) -> Mapping[str, CropArray] | None:
        return next(self._rest, None)
