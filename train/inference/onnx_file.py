"""Export a module as an ONNX file, and run an ONNX file in onnxruntime.

onnx, onnxscript and onnxruntime are optional: functions that need one of them call `require` first.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from textgen.common.errors import UserError

OPSET = 20
OPSETS = range(15, 28)  # to which `with_opset` converts what `to_onnx` makes of a classifier


def require(*libraries: str) -> None:
    """Raise `UserError` unless all of `libraries` can be imported."""
    for name in libraries:
        try:
            importlib.import_module(name)
        except ImportError:
            raise UserError(f"{name} is not installed: pip install 'foldtext[export]'") from None


def to_onnx(
    module: nn.Module,
    example: Tensor,
    *,
    input_name: str = "stacks",
    output_names: Sequence[str] = ("logits",),
) -> bytes:
    """Export `module`, in evaluation mode, for inputs (n, …) like `example` with any n, 0 included.

    `output_names` has a name for each output of the module. Raises `UserError` without the extra "export", `ValueError`
    for an example with n < 2 and for a module in which n becomes a constant.
    """
    require("onnx", "onnxscript")
    if len(example) < 2:
        raise ValueError(f"example has a length of {len(example)}: 0 and 1 are exported as constants, give 2 or more")
    with silence_exporters():
        program = torch.onnx.export(
            module.eval(),
            (example,),
            input_names=[input_name],
            output_names=list(output_names),
            dynamic_shapes=({0: torch.export.Dim("n")},),
            opset_version=OPSET,
            external_data=False,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    if not model.graph.input[0].type.tensor_type.shape.dim[0].dim_param:
        raise ValueError(f"the module makes the length of {input_name} a constant: use shape[0] without len() or int()")
    _remove_sources(model)
    return bytes(model.SerializeToString())


def with_opset(data: bytes, opset: int) -> bytes:
    """The ONNX file `data` for runtimes that know operators up to `opset`, one of OPSETS.

    The version of the file format is the oldest that has the opset. Raises `UserError` where the installed onnx cannot
    convert it.
    """
    require("onnx")
    onnx, converter = importlib.import_module("onnx"), importlib.import_module("onnx.version_converter")
    model = onnx.load_model_from_string(data)
    try:
        model = converter.convert_version(model, opset)
        model.ir_version = onnx.helper.find_min_ir_version_for(model.opset_import)
    except (RuntimeError, ValueError) as error:
        reason = f"onnx {onnx.__version__} cannot convert to it ({str(error).rpartition(': ')[2]})"
        raise UserError(f"opset={opset}: {reason}: give another") from None
    return bytes(model.SerializeToString())


@contextlib.contextmanager
def silence_exporters() -> Iterator[None]:
    """Keep the exporter and the quantiser, which report every rewriting, from printing anything but errors."""
    before = logging.root.manager.disable
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)


def with_metadata(data: bytes, metadata: Mapping[str, str]) -> bytes:
    """The ONNX file `data` with `metadata` as its metadata_props."""
    require("onnx")
    model = importlib.import_module("onnx").load_model_from_string(data)
    del model.metadata_props[:]
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    return bytes(model.SerializeToString())


class Session:
    """An ONNX file in onnxruntime, on the CPU with `threads` threads (None: one for each core).

    Raises `UserError` without onnxruntime, and for an opset that it does not know.
    """

    def __init__(self, data: bytes, threads: int | None = None):
        require("onnxruntime")
        ort = importlib.import_module("onnxruntime")
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.log_severity_level = 3  # errors only
        errors = ort.capi.onnxruntime_pybind11_state
        try:
            self._session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except (errors.Fail, errors.InvalidGraph, errors.NotImplemented) as error:  # an opset beyond its own
            raise UserError(
                f"onnxruntime {ort.__version__} cannot run this file, give a lower opset: {error}"
            ) from None
        (self._input,) = (each.name for each in self._session.get_inputs())

    def __call__(self, batch: NDArray[Any]) -> list[NDArray[Any]]:
        """Run the network on a batch; the outputs in the order of the file."""
        outputs: list[NDArray[Any]] = self._session.run(None, {self._input: np.ascontiguousarray(batch)})
        return outputs


def _remove_sources(model: Any) -> None:
    """Remove the source lines, with the paths of this machine, that the exporter stores in each node."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    for function in model.functions:
        for part in (function, *function.node):
            part.ClearField("doc_string")
            part.ClearField("metadata_props")
