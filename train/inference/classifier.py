"""A trained network as one module from crops to labels, with padding, folding and normalisation, and its export."""

from __future__ import annotations

import io
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from textgen.common.errors import UserError
from textgen.spec.label_fields import LabelFields
from train.data.sources import to_input
from train.folding.arithmetic import Form, fold, unfold
from train.inference.grouped import grouped_network, narrow_network, slot_network
from train.inference.network import Network
from train.inference.onnx_file import silence_exporters, to_onnx

INPUT, OUTPUTS = "crops", ("labels", "probabilities")  # names in an ONNX file


class CropClassifier(nn.Module):
    """Crops uint8 (n, H, W, 3) in RGB -> labels int64 (n,) and probabilities float32 (n, classes), for any n, 0 too.

    With several fields labels are (n, m), "other" in all or in none (`textgen.spec.field_scores.choose`), and the
    probabilities of each field's classes, which follow each other, add up to 1.
    `net` maps stacks (s, f·3, H, W) to logits (s, f·classes). Consecutive images share a stack, and the last stack is
    completed with copies of the last image, as in `Network.classify`.
    """

    def __init__(self, net: nn.Module, f: int, fields: LabelFields | None = None):
        super().__init__()
        self.net, self.f, self.fields = net, f, fields

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        n, f = crops.shape[0], self.f  # len() would make n a constant of the exported graph
        if f > 1:
            padded = (n + f - 1) // f * f
            crops = crops[torch.arange(padded, device=crops.device).clamp(max=n - 1)]  # (n, …) -> (s·f, …)
        logits = unfold(self.net(fold(to_input(crops), f)), f)[:n]  # (s·f, classes) -> (n, classes)
        if self.fields is None or self.fields.is_single:
            return logits.argmax(1), logits.softmax(1)
        parts = [logits[:, of].log_softmax(1) for of in self.fields.slices]
        probabilities = torch.cat(parts, 1).exp()
        if not self.fields.has_other:
            return torch.stack([part.argmax(1) for part in parts], 1), probabilities
        best = [part[:, :-1].max(1) for part in parts]
        other = torch.stack([part[:, -1] for part in parts]).sum(0)
        is_other = other > torch.stack([of.values for of in best]).sum(0)  # (n,)
        columns = [
            torch.where(is_other, size - 1, of.indices) for of, size in zip(best, self.fields.sizes, strict=True)
        ]
        return torch.stack(columns, 1), probabilities


def build_classifier(network: Network, form: Form) -> CropClassifier:
    """`network` as a `CropClassifier` in evaluation mode, on the CPU.

    "dense" is the network as it was trained, "grouped" has f groups in each layer, "narrow" takes single images, see
    `train.inference.grouped`. Raises `ValueError` for the latter two if the weights are no slots.
    """
    if form == "dense":
        return CropClassifier(network.net, network.fold, network.fields).eval()
    if form == "grouped":
        return CropClassifier(grouped_network(network), network.fold, network.fields).eval()
    return CropClassifier(narrow_network(network), 1, network.fields).eval()


def available_forms(network: Network) -> tuple[Form, ...]:
    """The forms in which `network` can run: all three if its weights are slots and fold > 1, otherwise only "dense"."""
    return ("dense",) if slot_network(network) is None else ("dense", "grouped", "narrow")


def example_crops(network: Network) -> Tensor:
    """Crops to trace a `CropClassifier` with: two complete stacks and an incomplete one."""
    return torch.zeros(2 * network.fold + 1, *network.size, 3, dtype=torch.uint8)


def export_onnx(network: Network, form: Form) -> bytes:
    """The ONNX file of `network` in one form. Raises `UserError` without the extra "export"."""
    return to_onnx(build_classifier(network, form), example_crops(network), input_name=INPUT, output_names=OUTPUTS)


def export_program(module: CropClassifier, example: Tensor, files: Mapping[str, str]) -> bytes:
    """The .pt2 file of `module` for inputs (n, …) with any n, 0 included; `torch.export.load` reads it.

    `example` holds at least two stacks; `files` are texts, by name, that are stored in the archive too. Raises
    `UserError` for a module of the user's own that works only for some n.
    """
    with silence_exporters():
        try:
            program = torch.export.export(
                module,
                (example,),
                dynamic_shapes=({0: torch.export.Dim("n")},),
                prefer_deferred_runtime_asserts_over_guards=True,
            )
        except torch._dynamo.exc.UserError as error:
            reason = str(error).strip().partition("\n")[0]
            raise UserError(
                f"torch.export cannot write this network for any number of crops: {reason}: give format=onnx"
            ) from None
        # Tracing adds assertions against zero stacks and one, whose tensors have other strides. The operations are
        # correct for both, so the assertions are removed.
        graph = program.graph_module.graph
        for node in list(graph.nodes):
            if node.target is torch.ops.aten._assert_scalar.default:
                graph.erase_node(node)
        graph.eliminate_dead_code()
        program.graph_module.recompile()
        file = io.BytesIO()
        torch.export.save(program, file, extra_files=dict(files))
    return file.getvalue()
