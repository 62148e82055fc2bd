"""Saving and loading networks; other files are refused."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from textgen.common.errors import UserError
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
