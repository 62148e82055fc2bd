"""The computed cost of networks against the figures of the paper, and against networks that are built."""

import csv
import io
import json
import subprocess
import sys
from math import inf, prod
from pathlib import Path

import pytest
import torch
from conftest import load
from PIL import Image, ImageColor
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from textgen.common.errors import UserError
from textgen.common.validation import validate
from textgen.schema.game import Game
from train.common.figures import choose_color
from train.cost import plots
from train.cost.devices import DEVICES, measure_this_machine
from train.cost.intensity import NetworkCost, convolution, intensity, linear, network_cost
from train.cost.report import BATCHES, Report, build_report
from train.cost.settings import Settings
from train.cost.table import format_csv, format_text
from train.cost.tiles import padded_operations, whole_tiles
from train.models.notation import build, parse
from train.models.scaling import Scaling, prepend_resize, scale_network

V, N = "3x3 strides 2,1,2", "2x2 stride 2"
IDS = {"V1": "lol_gold1", "V2": "apex_count", "V3": "sot_coin", "V4": "sot_time"}


def of_game(name: str, fold: int = 1, form: str = "dense") -> NetworkCost:
    game = validate(Game, load("game", name))
    return network_cost(parse(game.arch, V), size=game.size, classes=len(game.classes), fold=fold, form=form)  # type: ignore[arg-type]


def of_coral(fold: int = 1) -> NetworkCost:
    return network_cost(parse("C16 C16 M F128 F", N), size=(50, 50), classes=2, fold=fold, form="dense")


def test_table_6() -> None:
    original, folded = convolution("", 32, 32, (11, 26)), convolution("", 64, 64, (11, 26))
    assert 1024 * original.activations / 1e6 == pytest.approx(18.74, abs=0.005)
    assert 256 * folded.activations / 1e6 == pytest.approx(9.37, abs=0.005)
    assert [round(layer.weights / 1e6, 2) for layer in (original, folded)] == [0.01, 0.04]
    assert 1024 * original.operations / 1e6 == pytest.approx(5398.07, abs=0.005)
    assert 256 * folded.operations == 1024 * original.operations
    assert original.traffic(1024, 2) / 1e6 == pytest.approx(37.51, abs=0.01)
    assert folded.traffic(256, 2) / 1e6 == pytest.approx(18.82, abs=0.005)
    assert original.intensity(1024, 2) == pytest.approx(143.93, abs=0.02)
    assert folded.intensity(256, 2) == pytest.approx(286.87, abs=0.02)


@pytest.mark.parametrize(
    ("task", "fold", "ratio"), [("V1", 4, 2.16), ("V2", 4, 2.15), ("V3", 4, 2.16), ("V4", 3, 1.78), ("V4", 4, 2.10)]
)
def test_intensities_of_table_5(task: str, fold: int, ratio: float) -> None:
    folded, original = (of_game(IDS[task], f).intensity(inf, 2) for f in (fold, 1))
    assert round(folded / original, 2) == ratio


def test_intensities_of_the_originals_are_those_of_the_text() -> None:
    """88 to 102 at large batch sizes (§2.2); V1 has 87.04."""
    found = {task: of_game(game).intensity(1024, 2) for task, game in IDS.items()}
    assert {task: round(value) for task, value in found.items()} == {"V1": 87, "V2": 88, "V3": 88, "V4": 102}


def test_traffic_of_figure_4() -> None:
    """At 1024 images, folding N1 by 4 saves 66.7 M elements of activations and adds 3.9 M of weights (§3)."""
    (before, weights), (after, more) = (of_coral(f).traffic(1024, 1) for f in (1, 4))
    assert (before - after) / 1e6 == pytest.approx(66.7, abs=0.05)
    assert (more - weights) / 1e6 == pytest.approx(3.9, abs=0.05)


@pytest.mark.parametrize(("channels", "groups"), [(32, 4), (64, 4)])
def test_group_convolutions_of_table_7(channels: int, groups: int) -> None:
    original = convolution("", channels, channels, (50, 50), groups=groups)
    plain = convolution("", channels, channels, (50, 50))
    folded = convolution("", 2 * channels, 2 * channels, (50, 50), groups=groups)
    assert original.intensity(inf, 2) == pytest.approx(plain.intensity(inf, 2) / groups)
    assert folded.intensity(256, 2) / original.intensity(1024, 2) == pytest.approx(2, abs=0.01)
    with pytest.raises(ValueError, match="3 groups"):
        convolution("", 32, 32, (50, 50), groups=3)


def test_eq_5_gives_the_batch_above_which_folding_saves_traffic() -> None:
    original, folded = convolution("", 32, 32, (10, 14)), convolution("", 64, 64, (10, 14))
    least = original.least_images(4)
    for images in (8, 12, 40, 400):
        saves = folded.traffic(images / 4, 2) < original.traffic(images, 2)
        assert saves == (images > least)
    assert 0 < linear("", 10, 10).least_images(4) < inf


@pytest.mark.parametrize("form", ["dense", "grouped", "narrow"])
@pytest.mark.parametrize("fold", [1, 2, 3, 4])
def test_operations_and_weights_equal_those_of_the_built_network(form: str, fold: int) -> None:
    game = validate(Game, load("game", "sot_time"))
    layers, classes = parse(game.arch, V), len(game.classes)
    cost = of_game("sot_time", fold, form)
    shape = {"fold": fold} if form == "dense" else {"slot_of": fold}
    net = build(layers, size=game.size, classes=classes, **shape)  # type: ignore[arg-type]
    copies = fold if form == "grouped" else 1
    weights = [layer.weight.numel() for layer in net if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert [layer.weights for layer in cost.layers] == [copies * count for count in weights]
    with FlopCounterMode(display=False) as counted:
        net(torch.zeros(1, shape.get("fold", 1) * 3, *game.size))
    assert sum(layer.operations for layer in cost.layers) == copies * counted.get_total_flops()


def test_slots_cost_as_much_as_group_convolutions_of_the_folded_widths() -> None:
    dense, slots, control = (of_game("lol_gold1", 4, form) for form in ("dense", "grouped", "narrow"))
    assert [layer.channels for layer in slots.layers] == [layer.channels for layer in dense.layers]
    assert slots.operations() == control.operations()
    assert sum(layer.weights for layer in slots.layers) == 4 * sum(layer.weights for layer in control.layers)
    assert slots.operations() == pytest.approx(of_game("lol_gold1").operations() / 4, rel=0.3)


def test_winograd_has_16_multiplications_instead_of_36() -> None:
    large = convolution("", 256, 256, (32, 32))
    assert large.operations / large.winograd == pytest.approx(2.25, rel=0.05)
    assert linear("", 8, 8).winograd == linear("", 8, 8).operations


def test_the_roofline_is_the_slower_of_arithmetic_and_memory() -> None:
    cost = of_game("lol_gold1", 4)
    operations, traffic = cost.operations() * 1024, sum(cost.traffic(1024, 2))
    assert cost.seconds(1024, 2, peak=1e12, bandwidth=1e30) == pytest.approx(operations / 1e12)
    assert cost.seconds(1024, 2, peak=1e30, bandwidth=1e9) == pytest.approx(traffic / 1e9)
    assert cost.seconds(1023, 2, 1e12, 1e30) == pytest.approx(operations / 1e12)  # the last stack is filled up
    assert intensity(cost.layers, 256, 2) == pytest.approx(operations / traffic)


def test_devices_have_the_ratios_of_the_paper() -> None:
    assert [round(DEVICES[name].ratio("fp16") or 0) for name in ("v100", "t4")] == [139, 203]
    assert (DEVICES["tpu_v1"].ratio("int8") or 0) / 2 == pytest.approx(1350, rel=0.01)  # multiply-adds
    measured = measure_this_machine()
    assert (measured.ratio("fp32") or 0) > 0
    assert measured.ratio("int8") is None


def settings(**changes: object) -> Settings:
    base = {"model": {"arch": None, "pool": V}, "fold": [4], "forms": ["dense", "grouped", "narrow"], "scaling": []}
    base |= {"align": None, "align_to": "nearest", "batch": 1024, "tile": None}
    rest = {"precision": "fp16", "device": "v100", "format": "text", "out": None, "overwrite": False, "plots": None}
    return validate(Settings, {**base, **rest, **changes})


def report(**changes: object) -> Report:
    return build_report(settings(**changes), validate(Game, load("game", "sot_time")))


def test_the_report_compares_networks_with_the_original() -> None:
    result = report(fold=[1, 3], batch=1024)
    original, folded, slots, control = result.to_dict()["networks"]
    assert (original["network"], original["intensity_ratio"]) == ("original", 1)
    assert [folded["images"], slots["images"], control["images"]] == [1026, 1026, 1024]  # stacks of 3
    assert folded["layers"][0]["eq5_holds"]
    assert slots["layers"][0]["eq5_holds"] is None
    text = format_text(result.to_dict(), result.device)
    assert "fold=3" in text
    assert "needs 139 operations a byte" in text
    rows = list(csv.DictReader(io.StringIO(format_csv(result.to_dict()))))
    assert len(rows) == 4 * (9 + 1)
    assert float(rows[9]["intensity"]) == original["intensity"]


@pytest.mark.parametrize("images", [1, 6, 1024])
def test_values_for_an_image_include_the_padding_of_the_last_stack(images: int) -> None:
    for network in report(fold=[3, 4], batch=images).to_dict()["networks"]:
        for key in ("operations", "padded_operations", "activation_bytes"):
            assert network[key] == pytest.approx(sum(layer[key] for layer in network["layers"]))
        filled = network["images"] / images
        alone = report(fold=[3, 4], batch=12).to_dict()["networks"]
        whole = next(other for other in alone if other["network"] == network["network"])
        assert network["operations"] == pytest.approx(whole["operations"] * filled)
        assert network["activation_bytes"] == pytest.approx(whole["activation_bytes"] * filled)
        traffic = network["activation_bytes"] + network["weight_bytes"]
        assert network["intensity"] == pytest.approx(network["operations"] / traffic)


def test_a_device_without_a_rate_gives_no_bound() -> None:
    result = report(device="v100", precision="int8")
    about = result.to_dict()
    assert about["networks"][0]["images_per_second_bound"] is None
    text = format_text(about, result.device)
    assert "has no rate for int8, give precision=fp32 or fp16" in text
    assert "images/s" not in text
    assert [point["utilization"] for point in about["networks"][0]["batches"]] == [None] * len(BATCHES)
    assert report(precision=None).precision == "fp16"
    assert report(precision=None, device="tpu_v1").precision == "int8"


def test_plots_show_every_network_in_its_colour() -> None:
    result = report(scaling=["efficientnet", "reference"])
    about = result.to_dict()
    colors = {choose_color(network) for network in about["networks"]}
    assert len(colors) == len(about["networks"]) == 6
    for picture in (plots.draw_roofline(about, result.device), plots.draw_batches(about)):
        seen = Image.open(io.BytesIO(picture)).convert("RGB").getcolors(2**24) or []
        assert {ImageColor.getrgb(each) for each in colors} <= {rgb for _, rgb in seen}


def test_either_game_or_network_is_required() -> None:
    network = {"name": "coral", "size": [50, 50], "classes": 2}
    with pytest.raises(UserError, match="of which network"):
        build_report(settings(), None)
    with pytest.raises(UserError, match="greater than or equal to 1"):
        settings(fold=[0])
    with pytest.raises(UserError, match="not both"):
        report(network=network)
    with pytest.raises(UserError, match=r"give model\.arch"):
        build_report(settings(network=network), None)
    result = build_report(settings(network=network, model={"arch": "C16 C16 M F128 F", "pool": N}), None)
    assert result.networks[0].cost == of_coral()


def test_the_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "train.cost"]
    out, plots = tmp_path / "cost.json", tmp_path / "plots"
    given = ["network=roundabout", "fold=[2]", "align=8", "format=json", f"out={out}", f"plots={plots}"]
    done = subprocess.run([*command, *given], check=True, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("", f"the report is in {out}\nthe pictures are in {plots}\n")
    about = json.loads(out.read_text())
    assert about["task"] == "roundabout"
    assert [network["network"] for network in about["networks"]] == [
        *("original", "fold=2", "fold=2, align=8", "fold=2, grouped", "fold=2, grouped, align=8"),
        *("fold=2, narrow (control)", "fold=2, narrow (control), align=8", "EfficientNet", "EfficientNet, reference"),
    ]
    pictures = ("roofline.png", "traffic.png", "batches.png")
    assert [(plots / name).read_bytes()[:4] for name in pictures] == [b"\x89PNG"] * 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cost.json", "plots"]


@pytest.mark.slow
def test_the_command_tells_a_mistake_in_one_line(tmp_path: Path) -> None:
    out = tmp_path / "cost.json"
    out.write_text("mine")
    for wrong, message in (
        ("network=corl", "did you mean coral"),
        (
            f"out={out}",
            f"out={out} exists: choose another place with out=… or plots=…, or replace it with overwrite=true",
        ),
    ):
        command = [sys.executable, "-m", "train.cost", "network=coral", wrong]
        failed = subprocess.run(command, capture_output=True, text=True, check=False)
        assert failed.returncode == 2
        assert message in failed.stderr
        assert failed.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["cost.json"]
    assert out.read_text() == "mine"


def test_one_value_is_a_list_of_one() -> None:
    one = settings(fold=4, scaling="efficientnet")
    assert one == settings(fold=[4], scaling=["efficientnet"])
    assert settings(fold=[2, 4]).fold == (2, 4)
    with pytest.raises(UserError, match=r"scaling\.0: there is no 'efficientne'; did you mean efficientnet"):
        settings(scaling="efficientne")


def of_efficientnet(how: Scaling, name: str) -> NetworkCost:
    game = validate(Game, load("game", name))
    arch, pool, size = scale_network(how, game.arch, V, game.size)
    layers = parse(prepend_resize(arch, size), pool)
    return network_cost(layers, size=game.size, classes=len(game.classes), fold=1, form="dense")


def ratios_of_efficientnet(how: Scaling, images: float) -> list[tuple[float, float]]:
    """Intensity of the scaled V1 to V4 to that of the original, and the original's operations to the scaled one's."""
    pairs = [(of_efficientnet(how, name), of_game(name)) for name in IDS.values()]
    return [
        (round(one.intensity(images, 2) / other.intensity(images, 2), 2), other.operations() / one.operations())
        for one, other in pairs
    ]


@pytest.mark.parametrize("images", [1024, inf])
def test_efficientnet_of_table_5_is_that_of_the_published_code(images: float) -> None:
    found = ratios_of_efficientnet("reference", images)
    assert [intensity for intensity, _ in found] == [0.91, 0.88, 0.87, 0.91]
    assert [round(cheaper, 2) for _, cheaper in found] == [1.60, 1.90, 1.95, 1.62]  # "roughly 2×"


def test_efficientnet_of_the_text_has_less_intensity_and_half_the_operations() -> None:
    found = ratios_of_efficientnet("efficientnet", 1024)
    assert [intensity for intensity, _ in found] == [0.87, 0.84, 0.86, 0.82]
    assert [round(cheaper, 2) for _, cheaper in found] == [1.75, 1.84, 1.76, 2.08]


def test_resnet_18_has_the_intensity_of_the_text() -> None:
    """Intensity 430, and 24 % of the layers are memory-bound on a V100 (§5.4)."""
    network = {"name": "resnet18", "size": [32, 32], "classes": 10, "module": "resnet18"}
    result = build_report(settings(network=network, scaling=["efficientnet"]), None).to_dict()
    original, folded = result["networks"]
    assert round(original["intensity"]) == 430
    memory = [layer["bound_by"] == "memory" for layer in original["layers"]]
    assert (sum(memory), len(memory)) == (5, 21)  # 24 %
    assert original["memory_bound_share"] == 5 / 21
    (line,) = [line for line in format_text(result, DEVICES["v100"]).splitlines() if "images/s at most" in line]
    assert line.split("  ")[-1] == "layers bound by memory"
    assert sum(line.endswith("5 of 21, 24%") for line in format_text(result, DEVICES["v100"]).splitlines()) == 1
    assert folded["intensity_limit_ratio"] == pytest.approx(2, abs=0.01)
    assert [layer["channels"][1] for layer in folded["layers"][:2]] == [128, 128]
    with pytest.raises(UserError, match="align=8 is for networks of the notation"):
        build_report(settings(network=network, align=8), None)


@pytest.mark.parametrize("task", IDS)
def test_figure_3_intensity_and_utilization_plateau_below_what_a_v100_needs(task: str) -> None:
    result = build_report(settings(fold=[1]), validate(Game, load("game", IDS[task])))
    points = result.to_dict()["networks"][0]["batches"]
    assert [point["images"] for point in points] == [2**n for n in range(13)]
    for key in ("intensity", "utilization"):
        values = [point[key] for point in points]
        assert values == sorted(values)
        assert values[-1] < 1.005 * values[8]  # from 256 images to 4096
        assert values[0] < 0.8 * values[-1]
    assert points[-1]["intensity"] < (DEVICES["v100"].ratio("fp16") or 0)
    assert 0.17 < points[-1]["utilization"] < 0.75  # measured in the paper: 17 %


def test_channels_are_padded_to_tiles() -> None:
    layer = convolution("", 45, 45, (10, 14))
    assert padded_operations(layer, 8) == convolution("", 48, 48, (10, 14)).operations
    assert padded_operations(layer, 1) == layer.operations
    assert [whole_tiles(layer, tile) for tile in (1, 3, 8)] == [True, True, False]
    grouped = convolution("", 60, 40, (10, 14), groups=4)  # groups of 15 and 10
    assert padded_operations(grouped, 8, 4) == convolution("", 64, 64, (10, 14), groups=4).operations
    assert [whole_tiles(grouped, tile, 4) for tile in (5, 10)] == [True, False]
    assert padded_operations(linear("", 9, 1), 8) == linear("", 16, 8).operations


def test_tiles_of_64_channels_explain_n4() -> None:
    """§H: at f=2 padding 90 channels to 128 costs more than folding gains; f=3 and f=4 gain."""
    network = {"name": "taipei", "size": [50, 50], "classes": 2}
    model = {"arch": "C64 C64 M F32 F", "pool": N}
    asked = {"network": network, "model": model, "fold": [2, 3, 4], "forms": ["dense"]}
    rows = build_report(settings(tile=64, **asked), None).to_dict()["networks"]
    first = rows[0]["images_per_second_padded"]
    f2, f3, f4 = (row["images_per_second_padded"] / first for row in rows[1:])
    assert f2 < 1 < f3 < f4  # measured: 0.90, 1.07 and 1.41
    assert [row["layers"][1]["whole_tiles"] for row in rows] == [True, False, False, True]
    assert all(row["images_per_second_bound"] > rows[0]["images_per_second_bound"] for row in rows[1:])


def test_the_aligned_original_follows_the_original() -> None:
    result = report(fold=[1, 4], forms=["dense"], align=16)
    assert [row.name for row in result.networks] == ["original", "original, align=16", "fold=4"]
    before, after, _ = result.to_dict()["networks"]
    assert after["operations"] > before["operations"]
    assert choose_color(after) == choose_color(before)


def test_aligned_networks_follow_those_that_are_not_aligned() -> None:
    result = report(fold=[2, 4], forms=["dense"], align=8)
    assert [row.name for row in result.networks] == [*("original", "fold=2", "fold=2, align=8", "fold=4")]
    _, unaligned, rounded, _ = result.to_dict()["networks"]
    assert unaligned["operations"] < rounded["operations"] < rounded["padded_operations"]
    assert [layer["layer"] for layer in rounded["layers"] if not layer["whole_tiles"]] == ["conv1", "linear1"]
    inner = [
        [layer["padded_operations"] == layer["operations"] for layer in network["layers"][1:-1]]
        for network in (unaligned, rounded)
    ]
    assert not any(inner[0])
    assert all(inner[1])
    text = format_text(result.to_dict(), result.device)
    assert "45→45*" in text
    assert "* channels are no multiple of 8" in text
    plain = format_text(report(precision="fp32").to_dict(), result.device)  # no tensor cores, no tiles
    assert "filled up" not in plain
    assert "*" not in plain


def test_tiles_of_devices() -> None:
    assert [DEVICES["v100"].tile(precision) for precision in ("fp16", "fp32")] == [8, 1]
    assert [DEVICES["a100"].tile("int8"), DEVICES["tpu_v1"].tile("int8")] == [16, 256]
    assert measure_this_machine().tile("fp32") in (4, 8, 16)
    assert report(tile=32).tile == 32


def test_sizes_are_those_of_the_activations() -> None:
    cost = of_game("lol_time", 4)
    first = cost.layers[0]
    assert first.inputs == prod((12, 15, 35))
    assert first.outputs == prod((64, 15, 35))
