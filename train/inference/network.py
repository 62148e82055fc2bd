"""A trained network: classify crops, save it as a safetensors file, and load it again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor, nn

from textgen.common.errors import UserError
from textgen.spec.label_fields import LabelFields
from train.data.sources import as_tensor
from train.folding.own_module import BUILT_IN, OwnModule
from train.inference.network_file import NetworkFile, parse_layers, read_network_file, weights_path
from train.metrics.predict import BATCH, predict, predict_answers
from train.models.notation import Layer, build

__all__ = ["CropArray", "Network", "load", "weights_path"]

CropArray = NDArray[np.uint8]  # (n, H, W, 3) in RGB


@dataclass(frozen=True)
class Network:
    """A FoldedCNN with the notation that it was built from.

    `net` maps stacks (b, fold·3, H, W) to logits (b, fold·classes), see `train.data.sources.to_input` and
    `train.folding.arithmetic`; `size` is (H, W). `arch` and `pool` are "" for a network that the notation cannot
    express; `own` says what that is built from, and without it, it cannot be saved. `classes` are the
    names of an image's logits; `label`, of several fields, says how they are divided.
    """

    net: nn.Module
    arch: str
    pool: str
    size: tuple[int, int]
    classes: tuple[str, ...]
    fold: int
    own: OwnModule | None = None
    label: LabelFields | None = None

    @property
    def fields(self) -> LabelFields:
        """The fields that the network answers for, with their classes."""
        return self.label or LabelFields.single(self.classes)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers in the notation. Raises `UserError` for a network that the notation cannot express."""
        return parse_layers(self.arch, self.pool)

    def classify(self, images: Tensor | CropArray | Iterable[CropArray | Tensor]) -> list[str]:
        """The class of each crop, uint8 (n, H, W, 3) in RGB, for any n, 0 too; consecutive crops share a stack.

        Of several fields it is the text that they make up, see `LabelFields.join`.

        `images` may also be a list or another iterable of n crops (H, W, 3). Raises `ValueError` for crops of another
        size or type.
        """
        fields = self.fields
        return [fields.name_of(labels) for labels in self.find_labels(images).tolist()]

    def find_labels(self, images: Tensor | CropArray | Iterable[CropArray | Tensor]) -> NDArray[np.int64]:
        """`classify`, as the numbers of classes, int64 (n,), or (n, m) of m fields."""
        crops = self._check_crops(images)
        step = max(BATCH // self.fold, 1) * self.fold  # whole stacks
        parts = [self._classify_batch(crops[at : at + step]) for at in range(0, len(crops), step)]
        return np.concatenate(parts) if parts else np.empty((0, *self.fields.shape), np.int64)

    def _check_crops(self, images: object) -> Tensor | CropArray:
        needed = f"crops are uint8 (n, {self.size[0]}, {self.size[1]}, 3)"
        if not isinstance(images, Tensor | np.ndarray):
            if not isinstance(images, Iterable) or isinstance(images, str | bytes | Mapping):
                raise ValueError(f"{needed}, not {type(images).__name__}")
            crops = [crop.numpy(force=True) if isinstance(crop, Tensor) else np.asarray(crop) for crop in images]
            if not crops:
                return np.empty((0, *self.size, 3), np.uint8)
            kinds = list(dict.fromkeys((str(crop.dtype), crop.shape) for crop in crops))
            if len(kinds) > 1:
                given = " and ".join(f"{dtype} {shape}" for dtype, shape in kinds[:2])
                raise ValueError(f"{needed}, not crops of {given}")
            images = np.stack(crops)
        if images.dtype not in (torch.uint8, np.dtype(np.uint8)) or tuple(images.shape[1:]) != (*self.size, 3):
            one = "; for one crop give crop[None]" if tuple(images.shape) == (*self.size, 3) else ""
            raise ValueError(f"{needed}, not {images.dtype} {tuple(images.shape)}{one}")
        return images

    def _classify_batch(self, crops: Tensor | CropArray) -> NDArray[np.int64]:
        images = crops if isinstance(crops, Tensor) else as_tensor(crops)
        n = len(images)
        stacks = torch.arange(n + -n % self.fold).clamp(max=n - 1).view(-1, self.fold)  # (n,) -> (s, f), padded
        return predict_answers(predict(self.net, images, stacks), self.fields).numpy()

    def to_bytes(self) -> bytes:
        """The safetensors file: weights, and the notation, or the name of the module, as metadata."""
        if not self.arch and self.own is None:
            raise ValueError("a network without a notation and a module has nothing that it could be loaded with")
        weights = {name: tensor.cpu().contiguous() for name, tensor in self.net.state_dict().items()}
        notation: dict[str, Any] = {"arch": self.arch, "pool": self.pool, "size": self.size}
        notation |= {"classes": self.classes, "fold": self.fold}
        if self.label is not None and not self.label.is_plain:
            notation["label"] = self.label.describe()
        if self.own:
            notation |= {"module": self.own.name, "arguments": dict(self.own.arguments)}
        return save(weights, {"network": json.dumps(notation)})


def load(path: str | Path) -> Network:
    """Load a `model.safetensors`, or that of a run's folder.

    Raises `UserError` for a missing or damaged file, and for a network that is code (`train.folding.own_module`) which
    the command has not named.
    """
    file = read_network_file(path)
    sizes: dict[str, Any] = {"size": file.size, "classes": len(file.classes), "fold": file.fold}
    if file.own and file.own.name in BUILT_IN:
        _check_shapes(path, file, sizes)
    net = file.own.build(**sizes) if file.own else build(file.layers, **sizes)
    try:
        net.load_state_dict({name: torch.from_numpy(weight) for name, weight in file.weights.items()})
    except RuntimeError as error:  # of another version of the user's module
        raise UserError(f"network {path} does not fit its module: {' '.join(str(error).split())}") from None
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Network(net.eval(), file.arch, file.pool, file.size, file.classes, file.fold, file.own, file.label)


def _check_shapes(path: str | Path, file: NetworkFile, sizes: dict[str, Any]) -> None:
    """Raise `UserError` unless the weights have the shapes of the network that the file claims to be.

    They are compared before any memory is taken: a file may claim any width.
    """
    assert file.own is not None
    try:
        with torch.device("meta"):
            net = file.own.build(**sizes)
    except (RuntimeError, ValueError, TypeError, OverflowError) as error:
        raise UserError(f"network {path} is damaged: {' '.join(str(error).split())}") from None
    needed = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    found = {name: tuple(weight.shape) for name, weight in file.weights.items()}
    if needed != found:
        differs = sorted(name for name in {*found, *needed} if found.get(name) != needed.get(name))
        raise UserError(f"network {path} is damaged: {differs[0]} has another size than {file.own.describe()}")
