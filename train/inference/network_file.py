"""The safetensors file of a trained network, read without PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from textgen.common.bounded_text import parse_json
from textgen.common.digests import check_digest
from textgen.common.errors import UserError
from textgen.spec.label_fields import LabelFields
from train.config.advice import TRAIN_AGAIN
from train.config.fields import MAX_COMPUTED_FOLD
from train.folding.own_module import OwnModule
from train.models.notation import Conv, Layer, Linear, SizedLayer, parse, size_layers

Parameters = Mapping[str, NDArray[Any]]

# Bounds of what a file may claim.
MAX_SIDE = 1 << 14  # pixels
MAX_CLASSES = 100_000
MAX_NOTATION = 10_000  # characters
MAX_MODULE_BYTES = 4 << 30  # of the file of a network that is code


@dataclass(frozen=True)
class NetworkFile:
    """A network as it is stored: the notation that it is built from, and its weights by name. `size` is (H, W).

    `classes` are the names of an image's logits; `label`, of several fields, says how they are divided.

    `arch` and `pool` are "" where the notation cannot express it: then it is built from `own`.
    """

    arch: str
    pool: str
    size: tuple[int, int]
    classes: tuple[str, ...]
    fold: int
    weights: Parameters
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

    def size_layers(self, slot_of: int = 1) -> tuple[SizedLayer, ...]:
        """The layers with their sizes, or those of the narrow network that fills one of `slot_of` slots."""
        fold = 1 if slot_of > 1 else self.fold
        return size_layers(self.layers, size=self.size, classes=len(self.classes), fold=fold, slot_of=slot_of)


def parse_layers(arch: str, pool: str) -> tuple[Layer, ...]:
    """The layers of a network in the notation. Raises `UserError` for `arch` "", a network that is none of it."""
    if not arch:
        raise UserError("the notation cannot express this network: run it with another engine")
    return parse(arch, pool)


def weights_path(path: Path) -> Path:
    """The path of the safetensors file: `path` itself, or that of a run's folder."""
    return path / "model.safetensors" if path.is_dir() else path


def read_network_file(path: str | Path) -> NetworkFile:
    """Read a `model.safetensors`, or that of a run's folder. Raises `UserError` for a missing or damaged file."""
    path = weights_path(Path(path))
    check_digest(path, TRAIN_AGAIN)
    try:
        with safe_open(path, framework="np") as file:
            notation = _read_notation(file)
            _check_amount(path, file, notation)
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a mapping
        size, classes = tuple(notation["size"]), tuple(notation["classes"])
        own = OwnModule(str(notation["module"]), dict(notation["arguments"])) if "module" in notation else None
        label = LabelFields.parse(notation["label"]) if "label" in notation else None
        network = NetworkFile(notation["arch"], notation["pool"], size, classes, notation["fold"], weights, own, label)
    except OSError as error:
        raise UserError(f"network {path} cannot be read: {error.strerror or error}") from None
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"network {path} is no model.safetensors of foldtext, or is damaged: {error}") from None
    return network


def _read_notation(file: Any) -> dict[str, Any]:
    """What the file says of its network, checked as far as it is used before its weights are. Raises `ValueError`."""
    notation = parse_json(file.metadata()["network"].encode())
    sides, classes, fold = notation["size"], notation["classes"], notation["fold"]
    if len(sides) != 2 or not all(isinstance(side, int) and 1 <= side <= MAX_SIDE for side in sides):
        raise ValueError(f"size is {str(sides)[:40]}: two whole numbers from 1 to {MAX_SIDE}")
    if not isinstance(classes, list) or len(classes) > MAX_CLASSES or not all(isinstance(one, str) for one in classes):
        raise ValueError(f"classes are no list of at most {MAX_CLASSES:,} texts")
    if "label" in notation and list(LabelFields.parse(notation["label"]).classes) != classes:
        raise ValueError("its classes are not those of its fields")
    if not isinstance(fold, int) or not 1 <= fold <= MAX_COMPUTED_FOLD:
        raise ValueError(f"fold is {str(fold)[:40]}: a whole number from 1 to {MAX_COMPUTED_FOLD}")
    if len(str(notation["arch"])) > MAX_NOTATION or len(str(notation["pool"])) > MAX_NOTATION:
        raise ValueError(f"arch and pool have more than {MAX_NOTATION:,} characters")
    return dict(notation)


def _check_amount(path: Path, file: Any, notation: Mapping[str, Any]) -> None:
    """Raise `ValueError` unless the weights have the shapes of the layers, before they are read."""
    if "module" in notation:  # which shapes it has, only its code tells
        if path.stat().st_size > MAX_MODULE_BYTES:
            raise ValueError(f"it is larger than {MAX_MODULE_BYTES >> 30} GB")
        return
    size, classes = tuple(notation["size"]), tuple(notation["classes"])
    shapes = {name: _Shape(tuple(file.get_slice(name).get_shape())) for name in file.keys()}  # noqa: SIM118
    weights: Any = shapes
    check_weights(NetworkFile(notation["arch"], notation["pool"], size, classes, notation["fold"], weights))


@dataclass(frozen=True)
class _Shape:
    shape: tuple[int, ...]


def check_weights(network: NetworkFile) -> None:
    """Raise `ValueError` unless the weights are those of the layers, with their shapes."""
    needed: dict[str, tuple[int, ...]] = {}
    for sized in network.size_layers():
        (c, h, w), outputs = sized.input, sized.output[0]
        if isinstance(sized.layer, Conv | Linear):
            shape = (outputs, c, 3, 3) if isinstance(sized.layer, Conv) else (outputs, c * h * w)
            needed |= {f"{sized.name}.weight": shape, f"{sized.name}.bias": (outputs,)}
    found = {name: tuple(weight.shape) for name, weight in network.weights.items()}
    if found != needed:
        differs = sorted(name for name in {*found, *needed} if found.get(name) != needed.get(name))
        raise ValueError(f"{differs[0]} is {found.get(differs[0])}, and should be {needed.get(differs[0])}")


def slot_parameters(network: NetworkFile) -> Parameters | None:
    """The weights of the narrow network of one slot, see `train.inference.grouped.slot_network`.

    None for fold=1, and for weights that are not copies of one narrow network.
    """
    f, weights = network.fold, network.weights
    if f == 1 or network.own:
        return None
    try:
        narrow = network.size_layers(slot_of=f)
    except UserError:
        return None
    found: dict[str, NDArray[Any]] = {}
    for sized in narrow:
        if not isinstance(sized.layer, Conv | Linear):
            continue
        weight, bias = weights[f"{sized.name}.weight"], weights[f"{sized.name}.bias"]
        o, (c, h, w) = sized.output[0], sized.input
        i = c if isinstance(sized.layer, Conv) else c * h * w
        own, own_bias = weight[:o, :i], bias[:o]
        whole, whole_bias = np.zeros_like(weight), np.zeros_like(bias)
        if f * o > weight.shape[0] or f * i > weight.shape[1]:
            return None
        for j in range(f):
            whole[j * o : (j + 1) * o, j * i : (j + 1) * i] = own
            whole_bias[j * o : (j + 1) * o] = own_bias
        if not (np.array_equal(whole, weight) and np.array_equal(whole_bias, bias)):
            return None
        found |= {f"{sized.name}.weight": own, f"{sized.name}.bias": own_bias}
    return found
