"""Engines that run a trained network on crops: PyTorch, ONNX Runtime, OpenVINO, TensorRT, and foldtext's own code.

All take the same crops, uint8 (n, H, W, 3), and compute everything up to the probabilities: normalisation, folding, the
network, unfolding, softmax (`train.inference.classifier.CropClassifier`).
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from textgen.spec.field_scores import choose
from textgen.spec.label_fields import LabelFields
from train.common.answers import LEAST, log_probabilities
from train.data.sources import as_tensor
from train.folding.arithmetic import Form
from train.inference.classifier import INPUT, OUTPUTS, build_classifier, export_onnx
from train.inference.cpu.fused import FusedCPU
from train.inference.network import CropArray, Network
from train.inference.onnx_file import Session
from train.inference.quantize import quantize_onnx
from train.inference.winograd import with_winograd

Engine = Literal["eager", "winograd", "compile", "onnxruntime", "openvino", "tensorrt", "fused"]
Precision = Literal["fp32", "fp16", "bf16", "int8", "int16"]
EXTRAS: dict[Engine, str] = {"onnxruntime": "export", "openvino": "openvino", "tensorrt": "export", "fused": "triton"}

# The number formats of each engine, on a CPU and on a GPU.
PRECISIONS: dict[Engine, dict[str, tuple[Precision, ...]]] = {
    "eager": {"cpu": ("fp32", "bf16"), "cuda": ("fp32", "fp16", "bf16")},
    "winograd": {"cpu": ("fp32",), "cuda": ("fp32",)},  # PyTorch, see train.inference.winograd
    "compile": {"cpu": ("fp32", "bf16"), "cuda": ("fp32", "fp16", "bf16")},
    "onnxruntime": {"cpu": ("fp32", "int8"), "cuda": ("fp32",)},
    "openvino": {"cpu": ("fp32", "bf16", "int8"), "cuda": ()},
    "tensorrt": {"cpu": (), "cuda": ("fp32", "fp16")},
    "fused": {"cpu": ("fp32", "int16", "int8"), "cuda": ("fp32", "fp16")},
}
TYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Runner:
    """A network in an engine. `place` copies crops to the device; `run` computes and waits for the result.

    `probabilities` (n, classes), from the result of `run`, add up to 1 for each of the `fields`.
    """

    place: Callable[[CropArray], Any]
    run: Callable[[Any], Any]
    probabilities: Callable[[Any], NDArray[np.float32]]
    fields: LabelFields | None = None  # None: one field

    def labels(self, crops: CropArray) -> NDArray[np.int64]:
        """The labels of each crop, (n,), or (n, m) of m fields."""
        probabilities = self.probabilities(self.run(self.place(crops)))
        if self.fields is None or self.fields.is_single:
            labels: NDArray[np.int64] = probabilities.argmax(1)
            return labels
        return choose(np.log(np.maximum(probabilities, LEAST)), self.fields)


def reason_missing(engine: Engine, device: torch.device) -> str | None:
    """Why an engine cannot be used on this machine and device, or None."""
    if not PRECISIONS[engine].get(device.type):
        return f"it does not run on {device.type}"
    if engine == "compile" and device.type == "cpu":
        from torch._inductor import cpp_builder, exc  # noqa: PLC0415, a slow import

        try:
            cpp_builder.get_cpp_compiler()
        except exc.InvalidCxxCompiler:
            return "there is no C++ compiler, which torch.compile needs on a CPU: install g++"
    needed: dict[str, tuple[str, ...]] = {
        "onnxruntime": ("onnx", "onnxscript", "onnxruntime"),
        "openvino": ("onnx", "onnxscript", "openvino"),
    }
    needed |= {"tensorrt": needed["onnxruntime"]} | ({"fused": ("triton",)} if device.type == "cuda" else {})
    if absent := [name for name in needed.get(engine, ()) if importlib.util.find_spec(name) is None]:
        return f"{', '.join(absent)} not installed: pip install 'foldtext[{EXTRAS[engine]}]'"
    if device.type == "cuda" and engine in ("onnxruntime", "tensorrt"):
        provider = PROVIDERS[engine]
        if provider not in importlib.import_module("onnxruntime").get_available_providers():
            return f"this ONNX Runtime has no {provider}: pip install onnxruntime-gpu"
    return None


PROVIDERS = {"onnxruntime": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}


class Engines:
    """Prepares networks for engines on one device, with `threads` threads; integers need `calibration` crops.

    PyTorch uses the threads that the process has set. An ONNX file that several engines read is exported once.
    """

    def __init__(self, device: torch.device, *, threads: int = 1, calibration: CropArray | None = None):
        self._device, self._threads, self._calibration = device, threads, calibration
        self._export_onnx, self._export_int8 = cache(export_onnx), cache(self._quantize)

    def prepare(self, engine: Engine, precision: Precision, network: Network, form: Form) -> Runner:
        """Prepare `network` in one form for an engine and a precision.

        `fused` runs slots as their narrow network, whatever the form. Raises `UserError` for a network that the engine
        cannot run, `ValueError` for a precision that it does not have, and for integers without calibration.
        """
        return replace(self._prepare(engine, precision, network, form), fields=network.fields)

    def _prepare(self, engine: Engine, precision: Precision, network: Network, form: Form) -> Runner:
        device, threads = self._device, self._threads
        if precision not in PRECISIONS[engine].get(device.type, ()):
            raise ValueError(f"{engine} has no {precision} on {device.type}")
        if precision.startswith("int") and self._calibration is None:
            raise ValueError(f"{precision} needs calibration crops")
        if engine in ("eager", "winograd", "compile"):
            module: nn.Module = build_classifier(network, form)
            if engine == "winograd":
                module = with_winograd(module)
            return _torch_runner(module, precision, device, compiled=engine == "compile")
        if engine == "fused":
            return _fused_runner(network, precision, device, threads, self._calibration)
        file = self._export_int8(network, form) if precision == "int8" else self._export_onnx(network, form)
        if engine == "openvino":
            return _openvino_runner(file, precision, threads)
        if device.type == "cpu":
            return Runner(lambda crops: crops, Session(file, threads), lambda outputs: outputs[1])
        return _onnxruntime_gpu_runner(file, PROVIDERS[engine], precision, device)

    def _quantize(self, network: Network, form: Form) -> bytes:
        assert self._calibration is not None
        return quantize_onnx(self._export_onnx(network, form), self._calibration, "minmax")


class _InPrecision(nn.Module):
    """`net` with weights and activations of a `type`; inputs and outputs are float32.

    Autocast would convert the weights again in every call, and a FoldedCNN has more of them.
    """

    def __init__(self, net: nn.Module, type: torch.dtype):
        super().__init__()
        self.net, self.type_ = net.to(type), type

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x.to(self.type_)).float()  # type: ignore[no-any-return]


def _torch_runner(module: nn.Module, precision: Precision, device: torch.device, *, compiled: bool) -> Runner:
    module = deepcopy(module).to(device)  # the caller's network stays on its device
    if precision != "fp32":
        module.net = _InPrecision(module.get_submodule("net"), TYPES[precision])
    call: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]] = module
    if compiled:  # for each shape anew; with CUDA graphs on a GPU
        mode = "reduce-overhead" if device.type == "cuda" else None
        # All networks and batch sizes share the code object of `forward`; beyond the limit PyTorch stops compiling.
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 10_000)
        torch._dynamo.config.accumulated_recompile_limit = torch._dynamo.config.recompile_limit
        call = torch.compile(module, dynamic=False, fullgraph=True, mode=mode)

    @torch.inference_mode()
    def run(crops: torch.Tensor) -> torch.Tensor:
        _, probabilities = call(crops)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return probabilities

    return Runner(lambda crops: as_tensor(crops).to(device), run, lambda outputs: outputs.float().cpu().numpy())


def _openvino_runner(file: bytes, precision: Precision, threads: int) -> Runner:
    openvino = importlib.import_module("openvino")
    core = openvino.Core()
    config = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
    }
    model = core.compile_model(core.read_model(file, b""), "CPU", config)
    request = model.create_infer_request()
    of_no_crops = {1: np.empty((0, model.outputs[1].partial_shape[1].get_length()), np.float32)}

    def run(crops: CropArray) -> Any:
        if not len(crops):
            return of_no_crops  # the request would give the outputs of its last call again
        return request.infer([crops], share_inputs=True, share_outputs=True)

    return Runner(lambda crops: crops, run, lambda outputs: np.array(outputs[1]))


def _onnxruntime_gpu_runner(file: bytes, provider: str, precision: Precision, device: torch.device) -> Runner:
    """With crops and outputs on the GPU, as in PyTorch."""
    ort = importlib.import_module("onnxruntime")
    options = {"device_id": device.index or 0}
    if provider == PROVIDERS["tensorrt"]:
        options["trt_fp16_enable"] = precision == "fp16"
    session = ort.InferenceSession(file, providers=[(provider, options), "CPUExecutionProvider"])
    binding = session.io_binding()

    def place(crops: CropArray) -> Any:
        value = ort.OrtValue.ortvalue_from_numpy(crops, "cuda", device.index or 0)
        binding.bind_ortvalue_input(INPUT, value)
        binding.bind_output(OUTPUTS[1], "cuda", device.index or 0)
        return value  # the binding does not keep it alive

    def run(crops: Any) -> Any:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        return binding

    return Runner(place, run, lambda outputs: outputs.copy_outputs_to_cpu()[0])


def _fused_runner(
    network: Network, precision: Precision, device: torch.device, threads: int, calibration: CropArray | None
) -> Runner:
    if device.type == "cuda":
        module = importlib.import_module("train.inference.gpu.fused")
        on_gpu = module.FusedNetwork(network, precision=precision, device=device)

        def run_on_gpu(crops: torch.Tensor) -> torch.Tensor:
            logits = on_gpu(crops)
            probabilities = torch.cat([logits[:, of].softmax(1) for of in network.fields.slices], 1)
            torch.cuda.synchronize(device)
            return probabilities

        return Runner(lambda crops: as_tensor(crops).to(device), run_on_gpu, lambda outputs: outputs.cpu().numpy())
    assert precision in ("fp32", "int16", "int8")
    on_cpu = FusedCPU(network, precision=precision, calibration=calibration, threads=threads)
    return Runner(lambda crops: crops, lambda crops: _probabilities(on_cpu(crops), network), lambda outputs: outputs)


def _probabilities(logits: NDArray[np.float32], network: Network) -> NDArray[np.float32]:
    """Those of each field's classes."""
    if network.fields.is_single:
        return _softmax(logits)
    probabilities: NDArray[np.float32] = np.exp(log_probabilities(logits, network.fields))
    return probabilities


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    exponentials: NDArray[np.float32] = np.exp(logits - logits.max(1, keepdims=True))
    exponentials /= exponentials.sum(1, keepdims=True)
    return exponentials
