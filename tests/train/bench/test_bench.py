"""train.bench: all installed engines on the same crops, in separate processes."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from conftest import ROOT
from PIL import Image, ImageColor

from textgen.common.errors import UserError
from textgen.common.validation import validate
from train.bench import table
from train.bench.plots import MARKERS, write_plots
from train.bench.report import build_report
from train.bench.settings import Settings
from train.common.figures import choose_color
from train.config.networks import Model
from train.inference.classifier import build_classifier
from train.inference.cpu.peak import has_matrix_units
from train.inference.engines import PRECISIONS, Engine, Engines, _torch_runner, reason_missing
from train.inference.network import Network
from train.models.notation import build, parse

SMALL = {
    "model": Model("C16 M C8 F", "2x2 stride 2"),
    "runs": (),
    "fold": (3,),
    "slots": True,
    "scaled": False,
    "forms": ("dense", "grouped", "narrow"),
    "engines": ("eager", "winograd", "onnxruntime", "openvino", "tensorrt", "fused"),
    "precisions": None,
    "batch": (1, 32),
    "trials": 2,
    "seconds": 0.001,
    "calibration_crops": 64,
    "device": "cpu",
    "threads": 1,
    "pin": True,
    "seed": 0,
    "data_dir": None,
    "path": None,
    "format": "text",
    "out": None,
    "overwrite": False,
    "plots": None,
    "network": {"name": "tiny", "size": (12, 20), "classes": 7},
}


@pytest.fixture(scope="module")
def report():
    """All forms, in the engines that are quick to prepare."""
    engines = ("eager", "winograd", "fused")
    return json.loads(json.dumps(build_report(Settings(**SMALL | {"scaled": True, "engines": engines}), None)))


@pytest.fixture(scope="module")
def report_of_every_engine():
    """Measured in a separate process, as the libraries of some engines interfere with pytest's capture."""
    code = (
        "import json, sys; from train.bench.report import build_report; from train.bench.settings import Settings\n"
        "print(json.dumps(build_report(Settings(**json.load(sys.stdin)), None)))"
    )
    given = SMALL | {"scaled": True, "model": {"arch": SMALL["model"].arch, "pool": SMALL["model"].pool}}
    done = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(given), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_every_engine_gives_the_labels_of_pytorch(report_of_every_engine):
    report = report_of_every_engine
    for row in report["rows"]:
        assert row["labels_as_pytorch"] >= (0.8 if row["precision"].startswith("int") else 1), row
    kinds = {(row["engine"], row["precision"]) for row in report["rows"]}
    assert kinds == {(e, p) for e in SMALL["engines"] for p in PRECISIONS[e]["cpu"] if p != "bf16"}
    assert report["notes"] == ["tensorrt is missing: it does not run on cpu"] + [
        f"fused {precision}, EfficientNet: this network does not begin with a convolution: run it with another engine"
        for precision in ("fp32", "int8", "int16")
    ]


def test_rows_count_processed_images_and_compare_with_the_fastest_original(report):
    rows = report["rows"]
    assert {row["images"] for row in rows if row["batch"] == 32 and row["form"] != "narrow" and row["fold"] == 3} == {
        30
    }
    assert {row["images"] for row in rows if row["batch"] == 1 and row["form"] != "narrow" and row["fold"] == 3} == {3}
    assert {row["images"] for row in rows if row["batch"] == 32 and row["form"] == "narrow"} == {32}
    for batch in (1, 32):
        of_batch = [row for row in rows if row["batch"] == batch]
        floats = [row for row in of_batch if row["network"] == "original" and row["precision"] == "fp32"]
        assert max(row["times_original"] for row in floats) == 1
    for row in rows:
        of = {(other["network"], other["engine"], other["precision"], other["batch"]): other for other in rows}
        same = of["original", row["engine"], row["precision"], row["batch"]]
        assert row["times_same_engine"] * same["images_per_second"] == pytest.approx(row["images_per_second"])
        assert row["quartile_low"] <= row["images_per_second"] <= row["quartile_high"]
        if row["precision"] == "int8" and row["engine"] != "fused" and has_matrix_units():
            assert row["utilization"] is None, "a library may use the matrix units"
        else:
            expected = row["images_per_second"] * row["operations"] / report["peaks"][row["precision"]]
            assert row["utilization"] == pytest.approx(expected)
        assert row["accuracy"] is None, "random weights have no accuracy"


def test_a_batch_smaller_than_a_stack_becomes_one_stack_and_omissions_are_noted():
    given = {"batch": (1,), "forms": ("dense",), "engines": ("eager", "fused"), "precisions": ("fp32",)}
    report = build_report(Settings(**SMALL | given), None)
    assert [(row["network"], row["engine"], row["images"]) for row in report["rows"]] == [
        *(("original", "eager", 1), ("original", "fused", 1), ("fold=3", "eager", 3))
    ]
    assert report["notes"] == ["fused fp32, fold=3: it runs slots only in the form narrow"]


def test_free_weights_have_only_the_dense_form_also_in_fused():
    given = {"slots": False, "engines": ("eager", "fused"), "precisions": ("fp32", "bf16"), "batch": (6,), "trials": 1}
    report = build_report(Settings(**SMALL | given), None)
    assert {(row["network"], row["engine"], row["precision"]) for row in report["rows"]} == {
        (network, *engine)
        for network in ("original", "fold=3")
        for engine in (("eager", "fp32"), ("eager", "bf16"), ("fused", "fp32"))
    }
    assert all(row["labels_as_pytorch"] > (0.9 if row["precision"] == "bf16" else 0.999) for row in report["rows"])
    assert report["notes"] == ["fused has no bf16 here, but fp32, int16, int8"]


def test_the_network_stays_on_its_device():
    layers = parse("C8 M F", "2x2 stride 2")
    network = Network(build(layers, size=(8, 8), classes=5), "C8 M F", "2x2 stride 2", (8, 8), tuple("abcde"), 1)
    _torch_runner(build_classifier(network, "dense"), "fp32", torch.device("meta"), compiled=False)
    assert {parameter.device.type for parameter in network.net.parameters()} == {"cpu"}


def test_tables(report):
    rows = list(csv.DictReader(io.StringIO(table.format_csv(report))))
    assert [float(row["images_per_second"]) for row in rows] == [row["images_per_second"] for row in report["rows"]]
    text = table.format_text(report)
    assert text.count("EfficientNet") >= 2
    assert "weights and crops are random" in text
    assert "operations a second at most, measured: fp32 " in text
    assert "of peak" in text


def test_plots_show_every_form_in_its_colour(report, tmp_path):
    write_plots(report, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["batches.png"], "random weights have no accuracy"
    rows = [row | {"accuracy": 0.99 + 0.001 * row["fold"]} for row in report["rows"]]
    write_plots(report | {"runs": ["a", "b"], "rows": rows}, tmp_path)
    shown = {choose_color(row): row["network"] for row in rows}
    assert len(shown) == 5, "original, dense, grouped, narrow, EfficientNet"
    for name in ("batches.png", "accuracy.png"):
        colors = {rgb for _, rgb in Image.open(tmp_path / name).convert("RGB").getcolors(2**24)}
        assert {ImageColor.getrgb(each) for each in shown} <= colors, name


def test_every_engine_has_a_marker_of_its_own():
    assert set(MARKERS) == set(get_args(Engine))
    assert len({*MARKERS.values()}) == len(MARKERS)


def test_reasons_for_unavailable_engines():
    cuda = torch.device("cuda")
    assert reason_missing("tensorrt", torch.device("cpu")) == "it does not run on cpu"
    assert reason_missing("openvino", cuda) == "it does not run on cuda"
    assert "onnxruntime-gpu" in reason_missing("onnxruntime", cuda)
    assert reason_missing("onnxruntime", torch.device("cpu")) is None


def test_a_missing_library_is_named():
    code = (
        "import sys, torch; sys.modules['openvino'] = None; import importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'openvino' else find(name, *rest)\n"
        "from train.inference.engines import reason_missing; print(reason_missing('openvino', torch.device('cpu')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "openvino not installed: pip install 'foldtext[openvino]'"


@pytest.mark.slow
def test_the_compiled_network_gives_the_same_labels():
    assert reason_missing("compile", torch.device("cpu")) is None
    layers = parse("C8 M F", "2x2 stride 2")
    net = build(layers, size=(8, 8), classes=5, fold=2).requires_grad_(False).eval()
    network = Network(net, "C8 M F", "2x2 stride 2", (8, 8), tuple("abcde"), 2)
    crops = np.random.default_rng(0).integers(0, 256, (31, 8, 8, 3), np.uint8)
    engines = Engines(torch.device("cpu"))
    run = {name: engines.prepare(name, "fp32", network, "dense") for name in ("eager", "compile")}
    for n in (31, 8):  # two sizes, each compiled separately
        np.testing.assert_array_equal(run["eager"].labels(crops[:n]), run["compile"].labels(crops[:n]))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2


@pytest.mark.slow
def test_resnet18_is_folded_densely():
    network = {"name": "resnet18", "size": (16, 16), "classes": 4, "module": "resnet18"}
    changed = {"network": network, "model": Model(None, "2x2 stride 2"), "fold": (2,), "batch": (3,), "trials": 1}
    report = build_report(Settings(**SMALL | changed | {"engines": ("eager", "fused"), "precisions": ("fp32",)}), None)
    rows = {row["network"]: row for row in report["rows"]}
    assert set(rows) == {"original", "fold=2"}
    assert [row["images"] for row in rows.values()] == [3, 2]
    assert all(row["labels_as_pytorch"] == 1 for row in rows.values())
    assert rows["fold=2"]["operations"] == pytest.approx(rows["original"]["operations"], rel=0.02)
    assert report["notes"] == [
        f"fused fp32, {name}: the notation cannot express this network: run it with another engine" for name in rows
    ]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"network": None}, "of which network"),
        ({"engines": ("tensorrt",)}, "nothing is left to measure: tensorrt is missing"),
        ({"device": "mps"}, "device=mps"),
        ({"model": Model(None, "2x2 stride 2")}, "has no architecture: give model.arch=…"),
        ({"runs": ("somewhere",)}, "leave out game=…, network=…, model=… and fold=…"),
        ({"data_dir": Path("data")}, "data_dir=data is the place of the crops of runs=…"),
    ],
)
def test_wrong_settings_are_named(changed, message):
    with pytest.raises(UserError, match=message):
        build_report(Settings(**SMALL | changed), None)


def test_the_command(tmp_path):
    command = [sys.executable, "-m", "train.bench", "game=apex_count", "model.arch=C8 M F", "fold=2", "batch=8"]
    command += ["engines=[eager,fused]", "precisions=[fp32,bf16]", "trials=1", "seconds=0.001", "format=json"]
    done = subprocess.run(
        [*command, "out=a.json", "plots=p"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "a.json").read_text())
    assert {row["network"] for row in report["rows"]} == {
        "original",
        "fold=2",
        "fold=2, grouped",
        "fold=2, narrow (control)",
    }
    assert report["notes"] == ["fused has no bf16 here, but fp32, int16, int8"]
    assert (tmp_path / "p" / "batches.png").stat().st_size > 5000
    assert done.stderr.splitlines()[-1] == "the pictures are in p"


@pytest.mark.slow
def test_the_command_tells_a_mistake_in_one_line(tmp_path):
    command = [sys.executable, "-m", "train.bench", "game=apex_count", "model.arch=C8 M F", "fold=2"]
    (tmp_path / "there").write_text("mine")
    (tmp_path / "of_runs" / "a_f1").mkdir(parents=True)
    (tmp_path / "of_runs" / "a_f1" / "result.json").write_text("{}")
    own = ["~game", "model.arch=null", "fold=null"]
    for wrong, message in (
        (["runs=of_runs", *own], "of_runs holds no result.json: it is a folder of runs, give one of them: a_f1"),
        (["out=there"], "out=there exists"),
        (["runs=of_runs", "~game", "fold=null"], "leave out model=…"),
    ):
        done = subprocess.run([*command, *wrong], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert message in done.stderr
        assert done.stderr.count("\n") == 1
    assert (tmp_path / "there").read_text() == "mine"


def test_one_value_is_a_list_of_one():
    given = {"fold": 3, "batch": 32, "runs": "a", "engines": "fused", "precisions": "int8", "forms": "dense"}
    listed = {key: [value] for key, value in given.items()}
    assert validate(Settings, SMALL | given) == validate(Settings, SMALL | listed)
