"""Detectors as small ONNX models: what they give does not depend on the frame, or depends on it in a simple way."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]
SIZE = (64, 96)  # height and width of the models' input
ANCHORS = (8 * 12) + (4 * 6) + (2 * 3)  # of a grid of strides 8, 16 and 32


def write_model(
    path: Path,
    outputs: Mapping[str, Array],
    *,
    shape: Sequence[Any] = (1, 3, *SIZE),
    kind: int = TensorProto.FLOAT,
    metadata: Mapping[str, str] | None = None,
    extra_inputs: Sequence[Any] = (),
) -> Path:
    """A model that gives `outputs`, whatever the frame is. The pixels are summed up and counted as zero."""
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMin", ["pixels"], ["least"], keepdims=0),
        helper.make_node("Mul", ["least", "zero"], ["nothing"]),
    ]
    weights = [numpy_helper.from_array(np.array(0, np.float32), "zero")]
    infos = []
    for name, value in outputs.items():
        weights.append(numpy_helper.from_array(value, f"{name}_value"))
        nodes.append(helper.make_node("CastLike", ["nothing", f"{name}_value"], [f"{name}_nothing"]))
        nodes.append(helper.make_node("Add", [f"{name}_value", f"{name}_nothing"], [name]))
        infos.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape))
    inputs = [helper.make_tensor_value_info("images", kind, shape), *extra_inputs]
    return save(path, nodes, inputs, infos, weights, metadata or {})


def write_echo(path: Path, shape: Sequence[Any], metadata: Mapping[str, str] | None = None) -> Path:
    """A model (1, n, 6) with one box, whose score is the mean of the input's first channel, red, in NCHW.

    The box is that of the whole input, by the input's own shape: it tells which size the input had.
    """
    zero, one = np.zeros(1, np.float32), np.array([1], np.int64)
    weights = [
        numpy_helper.from_array(zero, "zero"),
        *(numpy_helper.from_array(np.array([at], np.int64), f"at{at}") for at in range(4)),
        numpy_helper.from_array(np.array([1, 1, 6], np.int64), "result_shape"),
        numpy_helper.from_array(one, "one"),
    ]
    nodes = [
        helper.make_node("Shape", ["images"], ["shape"]),
        helper.make_node("Gather", ["shape", "at2"], ["height"]),
        helper.make_node("Gather", ["shape", "at3"], ["width"]),
        helper.make_node("Cast", ["height"], ["down"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["width"], ["across"], to=TensorProto.FLOAT),
        helper.make_node("Gather", ["images", "at0"], ["red"], axis=1),
        helper.make_node("ReduceMean", ["red"], ["mean"], keepdims=0),
        helper.make_node("Reshape", ["mean", "one"], ["score"]),
        helper.make_node("Concat", ["zero", "zero", "across", "down", "score", "zero"], ["flat"], axis=0),
        helper.make_node("Reshape", ["flat", "result_shape"], ["output0"]),
    ]
    inputs = [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)]
    outputs = [helper.make_tensor_value_info("output0", TensorProto.FLOAT, (1, 1, 6))]
    return save(path, nodes, inputs, outputs, weights, metadata or {})


def save(
    path: Path, nodes: Sequence[Any], inputs: Any, outputs: Any, weights: Sequence[Any], metadata: Mapping[str, str]
) -> Path:
    graph = helper.make_graph(nodes, "detector", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def boxes_to_centres(boxes: Array) -> Array:
    """Corners (n, 4) as centres and sizes."""
    corners = np.asarray(boxes, np.float32)
    return np.concatenate([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], 1)
