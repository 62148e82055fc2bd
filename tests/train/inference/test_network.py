"""Saving and loading networks; other files are refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from textgen.common.errors import UserError
from train.inference.engines import Engine, Engines, Precision, reason_missing
from train.inference.network import Network, load
from train.models.notation import build, initialise, parse

ARCH, POOL = "C8 M F", "3x3 stride 2"


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    net = build(parse(ARCH, POOL), size=(9, 12), classes=3, fold=4)
    initialise(net, "torch")
    return Network(net, ARCH, POOL, (9, 12), ("a", "b", "other"), 4)


@pytest.mark.parametrize("n", [0, 1, 3, 4, 5, 13])
def test_a_loaded_network_classifies_any_number_of_crops_as_the_saved_one(
    network: Network, tmp_path: Path, n: int
) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(network.to_bytes())
    loaded = load(path)
    assert load(tmp_path).classes == loaded.classes  # a run's folder
    assert (loaded.classes, loaded.size, loaded.fold) == (network.classes, network.size, network.fold)
    crops = torch.randint(0, 256, (n, 9, 12, 3), dtype=torch.uint8)
    labels = loaded.classify(crops)
    assert len(labels) == n
    assert labels == network.classify(crops)


def test_crops_of_another_shape_are_refused_with_both_shapes(network: Network) -> None:
    with pytest.raises(ValueError, match=r"\(n, 9, 12, 3\), not torch.uint8 \(2, 12, 9, 3\)"):
        network.classify(torch.zeros(2, 12, 9, 3, dtype=torch.uint8))


@pytest.fixture
def crops() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (1100, 9, 12, 3), np.uint8)  # more than two batches


@pytest.mark.filterwarnings("error")
def test_crops_are_classified_in_whatever_they_come(network: Network, crops: np.ndarray, tmp_path: Path) -> None:
    labels = network.classify(torch.from_numpy(crops))
    assert len(set(labels)) > 1
    np.save(tmp_path / "crops.npy", crops)
    mapped = np.load(tmp_path / "crops.npy", mmap_mode="r")
    for given in (crops, mapped, np.asfortranarray(crops), list(crops), tuple(mapped), [*torch.from_numpy(crops)]):
        assert network.classify(given) == labels
    assert network.classify(crop for crop in crops) == labels
    assert network.classify([Image.fromarray(crop) for crop in crops]) == labels
    assert network.classify(crops[::-1][::-1]) == labels
    assert network.classify(mapped[::-1]) == network.classify(crops[::-1].copy())


@pytest.mark.parametrize("none", [[], (), iter([]), np.zeros((0, 9, 12, 3), np.uint8)])
def test_no_crops_have_no_labels(network: Network, none: Any) -> None:
    assert network.classify(none) == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (np.zeros((9, 12, 3), np.uint8), r"one crop give crop\[None\]"),
        (torch.zeros(9, 12, 3, dtype=torch.uint8), r"one crop give crop\[None\]"),
        (np.zeros((2, 9, 12, 3)), "float64"),
        ([np.zeros((9, 12, 3), np.uint8), np.zeros((9, 11, 3), np.uint8)], r"\(9, 12, 3\) and uint8 \(9, 11, 3\)"),
        ([np.zeros((9, 12, 3), np.uint8), np.zeros((9, 12, 3))], "uint8 .* and float64"),
        (np.zeros((2, 3, 9, 12), np.uint8), r"\(2, 3, 9, 12\)"),
        (np.zeros(0), "float64"),
        (None, "NoneType"),
        ("crops", "str"),
        ({"crops": 1}, "dict"),
        ([None], "object"),
        (torch.tensor(3), "int64"),
    ],
)
def test_other_things_than_crops_are_refused_in_one_line(network: Network, given: Any, words: str) -> None:
    with pytest.raises(ValueError, match=rf"^crops are uint8 \(n, 9, 12, 3\), not .*{words}"):
        network.classify(given)


ENGINES: list[tuple[Engine, Precision]] = [
    *(("eager", "fp32"), ("winograd", "fp32"), ("onnxruntime", "fp32"), ("onnxruntime", "int8")),
    *(("openvino", "fp32"), ("fused", "fp32"), ("fused", "int8")),
]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("engine", "precision"), ENGINES)
def test_engines_take_read_only_crops_and_none(
    network: Network, crops: np.ndarray, engine: Engine, precision: Precision
) -> None:
    if reason_missing(engine, torch.device("cpu")):
        return  # an extra that is not installed
    crops.flags.writeable = False
    engines = Engines(torch.device("cpu"), calibration=crops[:200])
    runner = engines.prepare(engine, precision, network, "dense")
    labels = runner.labels(crops)
    if precision == "fp32":
        assert [network.classes[label] for label in labels] == network.classify(crops)
    none = runner.probabilities(runner.run(runner.place(crops[:0])))
    assert (none.shape, none.dtype) == ((0, 3), np.float32)


def test_other_and_damaged_files_are_refused_by_name(network: Network, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(UserError, match="cannot be read"):
        load(path)
    whole = network.to_bytes()
    for content in (b"", whole[: len(whole) // 2], whole[:100], b"not a network"):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"model\.safetensors"):
            load(path)
    save_file({"0.weight": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="damaged"):
        load(path)
