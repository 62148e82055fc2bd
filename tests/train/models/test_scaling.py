"""EfficientNet's scaling and aligned widths: networks by arithmetic, and trained, saved and loaded again."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import composed
from torch import nn
from torch.nn import functional

from textgen.common.errors import UserError
from textgen.dataset.build import ensure_dataset
from textgen.schema.definition import parse_definition
from train.config.settings import Settings
from train.folding.arithmetic import fold, unfold
from train.folding.slots import assemble_slots
from train.inference.network import load
from train.models.architecture import resolve_architecture
from train.models.notation import Align, build, parse, size_layers
from train.models.resize import ResizeImages
from train.models.scaling import prepend_resize, scale_network
from train.runs.run import run

V = "3x3 strides 2,1,2"
V1, V4 = "C32 M B M C8 M F", "C32 M B M B M C8 M F"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def config_of(data_dir: Path, runs: Path, *overrides: str) -> dict[str, Any]:
    small = ("game.images.train=12", "game.images.val=2", "game.images.test=3", "data=files", "augment=off")
    one = ("workers=1", "threads=1", "groupings=1", "epochs=1")
    return composed("game=apex_count", *small, *one, f"data_dir={data_dir}", f"runs={runs}", *overrides)


def test_the_text_s_scaling_is_rounded_to_the_nearest_and_keeps_the_last_convolution() -> None:
    assert scale_network("efficientnet", V1, V, (22, 52)) == ("C27 M C27 C27 C27 M C7 M F", V, (19, 45))
    arch, pool, size = scale_network("efficientnet", V4, V, (22, 30))
    assert (arch, pool, size) == ("C27 M C27 C27 C27 M C27 C27 M C7 M F", V, (19, 26))
    assert scale_network("efficientnet", "C16 C16 M F128 F", "2x2 stride 2", (50, 50))[0] == "C13 C13 M F107 F"
    assert scale_network("efficientnet", "C1 F", V, (2, 2)) == ("C1 F", V, (2, 2))


def test_the_published_code_s_scaling_drops_the_last_convolution_and_turns_the_images() -> None:
    dropped = "3x3 strides 2,1,1"
    assert scale_network("reference", V1, V, (22, 52)) == ("C29 M C29 C29 C29 M F", dropped, (45, 19))
    assert scale_network("reference", V4, V, (22, 30)) == ("C29 M C29 C29 C29 M C29 C29 C29 M F", dropped, (26, 19))
    assert scale_network("reference", "C8 F", V, (10, 9)) == ("C7 F", V, (7, 8))  # one convolution stays
    kept = [
        layer.stride for layer in parse(*scale_network("reference", V1, V, (22, 52))[:2]) if hasattr(layer, "stride")
    ]
    assert kept == [2, 1]


def test_a_convolution_between_two_pools_goes_with_its_pool() -> None:
    narrow = " ".join(["C9 M"] * 6)
    arch, _, _ = scale_network("efficientnet", f"{narrow} F", "2x2 stride 1", (30, 30))
    assert arch == " ".join(["C8 M"] * 5) + " F"
    assert scale_network("efficientnet", prepend_resize(V1, (19, 25)), V, (40, 40)) == scale_network(
        "efficientnet", V1, V, (19, 25)
    )


@pytest.mark.parametrize("after", [(19, 26), (45, 9), (22, 30)])
def test_resizing_is_antialiased_bilinear_for_every_image_of_a_stack(after: tuple[int, int]) -> None:
    torch.manual_seed(0)
    layer, images = ResizeImages((22, 30), after), torch.rand(8, 3, 22, 30)
    expected = functional.interpolate(images, after, mode="bilinear", antialias=True)
    assert torch.allclose(layer(images), expected, atol=1e-6)
    assert torch.equal(layer(fold(images, 4)), fold(layer(images), 4))
    assert not layer.state_dict()  # the notation says it all


@pytest.mark.parametrize("arch", ["C8 R9x9 F", "R0x9 C8 F", "C8/0 F", "C8/8* F", "F/8"])
def test_a_wrong_word_of_the_notation_is_named(arch: str) -> None:
    wrong = next(word for word in arch.split() if word not in ("C8", "F"))
    with pytest.raises(UserError, match=wrong.replace("*", r"\*")):
        parse(arch, V)


def test_a_resize_makes_the_sizes_and_says_which_are_too_small() -> None:
    plan = size_layers(parse(f"R19x26 {V4}", V), size=(22, 30), classes=27)
    assert [plan[0].output, plan[1].input, plan[1].output] == [(3, 19, 26), (3, 19, 26), (32, 19, 26)]
    with pytest.raises(UserError, match="8×9 are too small"):
        build(parse(f"R8x9 {V4}", V), size=(22, 30), classes=27)


@pytest.mark.parametrize(
    ("to", "expected"), [("nearest", [48, 56, 64, 16]), ("up", [48, 56, 64, 16]), ("down", [40, 48, 64, 16])]
)
def test_widths_of_folded_networks_are_multiples(to: str, expected: list[int]) -> None:
    """32 channels are 45, 55 and 64 wide for folds of 2, 3 and 4; 8 are 16 for 4."""
    sign = {"nearest": "", "up": "+", "down": "-"}[to]
    layers = parse(f"C32/8{sign} M C8/8{sign} M F", "2x2 stride 2")
    found = [size_layers(layers, size=(16, 16), classes=5, fold=f) for f in (2, 3, 4)]
    assert [plan[0].output[0] for plan in found] + [found[-1][2].output[0]] == expected
    assert [plan[-1].output[0] for plan in found] == [10, 15, 20]  # a row of logits an image, as ever


def test_rounding_is_to_one_multiple_at_least() -> None:
    assert [Align(8, "down")(width) for width in (1, 7, 8, 15, 16)] == [8, 8, 8, 8, 16]
    assert [Align(8, "up")(width) for width in (1, 8, 9)] == [8, 8, 16]
    assert [Align(8)(width) for width in (3, 11, 12, 13, 20)] == [8, 8, 16, 16, 24]
    assert [Align()(width) for width in (1, 45)] == [1, 45]


@pytest.mark.parametrize("f", [2, 3, 4])
@pytest.mark.parametrize("to", ["", "+", "-"])
def test_slots_fill_aligned_networks(f: int, to: str) -> None:
    torch.manual_seed(0)
    layers = parse(f"C10/8{to} M C5/8{to} M F7/8{to} F", "2x2 stride 2")
    narrow = build(layers, size=(12, 12), classes=3, slot_of=f)
    folded = build(layers, size=(12, 12), classes=3, fold=f)
    for layer in narrow:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            assert layer.bias is not None
            nn.init.normal_(layer.weight)
            nn.init.normal_(layer.bias)
    assemble_slots(narrow, folded, f)
    images = torch.randn(2 * f, 3, 12, 12)
    assert torch.allclose(unfold(folded(fold(images, f)), f), narrow(images), atol=1e-4)


@pytest.mark.parametrize(
    ("overrides", "arch"),
    [
        (("scaling=reference",), "R21x16 C29 M C29 C29 C29 M F"),
        (
            ("align=16", "align_to=up", "fold=3"),
            "C32/16+ M C32/16+ C32/16+ C32/16+ M C8/16+ M F",
        ),
    ],
)
def test_a_run_trains_and_its_network_is_loaded_as_it_was(
    data_dir: Path, tmp_path: Path, overrides: tuple[str, ...], arch: str
) -> None:
    config = config_of(data_dir, tmp_path, *overrides)
    result = run(config)
    network = load(next(tmp_path.glob("apex_count_f*")))
    assert network.arch == result["arch"] == arch
    assert network.size == (19, 25)  # crops are as ever
    multiple = result["align"] or 1
    widths = [layer.out_channels for layer in network.net if isinstance(layer, nn.Conv2d)]
    assert all(width % multiple == 0 for width in widths)
    assert sum(weight.numel() for weight in network.net.parameters()) == result["parameters"]
    test = ensure_dataset(parse_definition(config, 0), data_dir).splits["test"]
    labels = network.classify(np.array(test.images))
    right = sum(network.classes[at] == label for at, label in zip(test.labels, labels, strict=True))
    if result["fold"] == 1:
        assert right / len(labels) == pytest.approx(result["accuracy"])
    assert run(config)["identity"] == result["identity"]  # found again


def test_settings_at_their_default_leave_the_network_and_the_name_as_they_were() -> None:
    settings = Settings.from_config(composed("game=apex_count"))
    assert resolve_architecture(settings, V1, (19, 25)) == (V1, V)
    assert settings.variant == ""
    other = Settings.from_config(
        composed("game=apex_count", "scaling=reference", "align=16", "align_to=up", "width=0.5")
    )
    arch, pool = resolve_architecture(other, V1, (19, 25))
    assert arch == "R21x16 C14/16+ M C14/16+ C14/16+ C14/16+ M F"
    assert pool == "3x3 strides 2,1,1"
    assert other.variant == "_w0.5_reference_a16up"


def test_slots_of_a_scaled_and_aligned_network_train_on_and_not_those_of_another(
    data_dir: Path, tmp_path: Path
) -> None:
    settings = ("scaling=efficientnet", "align=8", "fold=2")
    begun = run(config_of(data_dir, tmp_path, *settings))
    assert begun["order_agreement"] == 1
    start = next(tmp_path.glob("apex_count_f2_efficientnet_a8_*"))
    further = run(config_of(data_dir, tmp_path, *settings, "recipe=finetune", f"start={start}"))
    assert further["arch"] == begun["arch"] == "R17x22 C27/8 M C27/8 C27/8 C27/8 M C7/8 M F"
    with pytest.raises(UserError, match="this run is C32 M B M C8 M F"):
        run(config_of(data_dir, tmp_path, "fold=2", "recipe=finetune", f"start={start}"))
