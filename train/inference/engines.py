"""Engines that run a trained network on crops: PyTorch, ONNX Runtime, OpenVINO, TensorRT, and foldtext's own code.

All take the same crops, uint8 (n, H, W, 3), and do all that is between them and probabilities: normalisation, folding,
the network, unfolding, softmax (`train.inference.reader.CropClassifier`).
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from train.folding.arithmetic import Form
from train.inference.cpu.fused import FusedCPU
from train.inference.network import Network
from train.inference.onnx_file import Session
from train.inference.quantize import quantize_onnx
from train.inference.reader import INPUT, OUTPUTS, build_classifier, export_onnx
from train.inference.winograd import with_winograd

Engine = Literal["eager", "winograd", "compile", "onnxruntime", "openvino", "tensorrt", "fused"]
Precision = Literal["fp32", "fp16", "bf16", "int8", "int16"]
Crops = NDArray[np.uint8]
EXTRAS: dict[Engine, str] = {"onnxruntime": "export", "openvino": "openvino", "tensorrt": "export", "fused": "triton"}

# What an engine computes with, on a CPU and on a GPU.
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
    """A network in an engine. `place` brings crops to where they are needed, `run` computes and waits for the end."""

    place: Callable[[Crops], Any]
    run: Callable[[Any], Any]
    probabilities: Callable[[Any], NDArray[np.float32]]  # (n, classes), of what `run` gives

    def labels(self, crops: Crops) -> NDArray[np.int64]:
        """(n,) numbers of classes."""
        labels: NDArray[np.int64] = self.probabilities(self.run(self.place(crops))).argmax(1)
        return labels


def reason_missing(engine: Engine, device: torch.device) -> str | None:
    """Why an engine cannot be used here, or None."""
    if not PRECISIONS[engine].get(device.type):
        return f"it does not run on {device.type}"
    if engine == "compile" and device.type == "cpu":
        from torch._inductor import cpp_builder, exc  # noqa: PLC0415, takes a second

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
    """Networks made ready for engines on one device, all with the same threads; integers need `calibration` crops.

    PyTorch's threads are the process's own. What several engines read, a file, is written once.
    """

    def __init__(self, device: torch.device, *, threads: int = 1, calibration: Crops | None = None):
        self._device, self._threads, self._calibration = device, threads, calibration
        self._file, self._integers = cache(export_onnx), cache(self._quantised)

    def prepare(self, engine: Engine, precision: Precision, network: Network, form: Form) -> Runner:
        """`network` in one form, engine and precision; `fused` on a CPU runs slots as their narrow network whatever the
        form. Raises `UserError` for a network that the engine cannot run, `ValueError` for a precision that it has not
        and for integers without calibration."""
        device, threads = self._device, self._threads
        if precision not in PRECISIONS[engine].get(device.type, ()):
            raise ValueError(f"{engine} has no {precision} on {device.type}")
        if precision.startswith("int") and self._calibration is None:
            raise ValueError(f"{precision} needs calibration crops")
        if engine in ("eager", "winograd", "compile"):
            module: nn.Module = build_classifier(network, form)
            if engine == "winograd":
                module = with_winograd(module)
            return _torch(module, precision, device, compiled=engine == "compile")
        if engine == "fused":
            return _fused(network, precision, device, threads, self._calibration)
        file = self._integers(network, form) if precision == "int8" else self._file(network, form)
        if engine == "openvino":
            return _openvino(file, precision, threads)
        if device.type == "cpu":
            return Runner(lambda crops: crops, Session(file, threads), lambda outputs: outputs[1])
        return _onnxruntime_gpu(file, PROVIDERS[engine], precision, device)

    def _quantised(self, network: Network, form: Form) -> bytes:
        assert self._calibration is not None
        return quantize_onnx(self._file(network, form), self._calibration, "minmax")


def _torch(module: nn.Module, precision: Precision, device: torch.device, *, compiled: bool) -> Runner:
    module = deepcopy(module).to(device)  # the network may be the caller's own
    call: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]] = module
    if compiled:  # with CUDA graphs on a GPU; one shape after the other
        mode = "reduce-overhead" if device.type == "cuda" else None
        # Networks and sizes share the code of one forward pass, and beyond a limit they would run as they are.
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 10_000)
        torch._dynamo.config.accumulated_recompile_limit = torch._dynamo.config.recompile_limit
        call = torch.compile(module, dynamic=False, fullgraph=True, mode=mode)
    low = precision != "fp32"

    @torch.inference_mode()
    def run(crops: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device.type, TYPES[precision], enabled=low):
            _, probabilities = call(crops)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return probabilities

    return Runner(lambda crops: torch.from_numpy(crops).to(device), run, lambda outputs: outputs.float().cpu().numpy())


def _openvino(file: bytes, precision: Precision, threads: int) -> Runner:
    openvino = importlib.import_module("openvino")
    core = openvino.Core()
    config = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
    }
    model = core.compile_model(core.read_model(file, b""), "CPU", config)
    request = model.create_infer_request()

    def run(crops: Crops) -> Any:
        return request.infer([crops], share_inputs=True, share_outputs=True)

    return Runner(lambda crops: crops, run, lambda outputs: np.array(outputs[1]))


def _onnxruntime_gpu(file: bytes, provider: str, precision: Precision, device: torch.device) -> Runner:
    """Crops and outputs stay on the GPU, as PyTorch's do."""
    ort = importlib.import_module("onnxruntime")
    options = {"device_id": device.index or 0}
    if provider == PROVIDERS["tensorrt"]:
        options["trt_fp16_enable"] = precision == "fp16"
    session = ort.InferenceSession(file, providers=[(provider, options), "CPUExecutionProvider"])
    binding = session.io_binding()

    def place(crops: Crops) -> Any:
        value = ort.OrtValue.ortvalue_from_numpy(crops, "cuda", device.index or 0)
        binding.bind_ortvalue_input(INPUT, value)
        binding.bind_output(OUTPUTS[1], "cuda", device.index or 0)
        return value  # the binding does not keep it alive

    def run(crops: Any) -> Any:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        return binding

    return Runner(place, run, lambda outputs: outputs.copy_outputs_to_cpu()[0])


def _fused(
    network: Network, precision: Precision, device: torch.device, threads: int, calibration: Crops | None
) -> Runner:
    if device.type == "cuda":
        fused_triton = importlib.import_module("train.inference.gpu.fused")
        on_gpu = fused_triton.FusedNetwork(network, precision=precision, device=device)

        def run_there(crops: torch.Tensor) -> torch.Tensor:
            probabilities = on_gpu(crops).softmax(1)
            torch.cuda.synchronize(device)
            return probabilities  # type: ignore[no-any-return]

        return Runner(
            lambda crops: torch.from_numpy(crops).to(device), run_there, lambda outputs: outputs.cpu().numpy()
        )
    assert precision in ("fp32", "int16", "int8")
    on_cpu = FusedCPU(network, precision=precision, calibration=calibration, threads=threads)
    return Runner(lambda crops: crops, lambda crops: _softmax(on_cpu(crops)), lambda outputs: outputs)


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    raised: NDArray[np.float32] = np.exp(logits - logits.max(1, keepdims=True))
    raised /= raised.sum(1, keepdims=True)
    return raised
