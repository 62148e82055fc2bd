"""Exported files predict what PyTorch predicts, also without foldtext; errors are reported in one line."""

import io
import json
import random
import subprocess
import sys
import venv
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import yaml
from conftest import ROOT, composed
from PIL import Image
from torch import Tensor, nn

from textgen.common.errors import UserError
from textgen.common.validation import validate
from textgen.dataset.build import ensure_dataset
from textgen.export.formats import export as export_data
from textgen.schema.definition import parse_definition
from train.export.deploy import CALIBRATIONS, export, format_summary
from train.export.runners import Predictions, check_same_labels
from train.export.settings import Settings
from train.folding.arithmetic import Form
from train.folding.slots import assemble_slots
from train.inference.classifier import available_forms, build_classifier, export_program
from train.inference.network import Network, load
from train.inference.onnx_file import OPSETS, Session, require, to_onnx, with_metadata, with_opset
from train.inference.quantize import mean_divergence, quantize_onnx
from train.models.notation import build, initialise, parse
from train.runs.run import run

ARCH, POOL = "C8 C6 M F10 F", "2x2 stride 2"
SIZE = (9, 12)
SMALL = [
    *("game=lol_gold1", "game.images.train=20", "game.images.val=4", "game.images.test=5", "augment=off"),
    *(
        "recipe.images=2000",
        "recipe.min_epochs=1",
        "recipe.ema_decay=0",
        "model.arch=C8 M C8 M F",
        "groupings=1",
        "workers=1",
        "threads=1",
    ),
]
READ_CROPS = ROOT / "docs" / "how-to" / "read_crops.py"


def network_of(f: int, *, slots: bool = True) -> Network:
    torch.manual_seed(f)
    layers = parse(ARCH, POOL)
    one = build(layers, size=SIZE, classes=3, slot_of=f)
    net = build(layers, size=SIZE, classes=3, fold=f)
    for each in (one, net):
        initialise(each, "torch")
    if slots:
        assemble_slots(one, net, f)
    return Network(net.eval(), ARCH, POOL, SIZE, ("a", "b", "other"), f)


def crops_of(n: int, size: tuple[int, int] = SIZE) -> Tensor:
    return torch.randint(0, 256, (n, *size, 3), dtype=torch.uint8)


@cache
def onnx_of(f: int, form: Form) -> bytes:
    names = ("labels", "probabilities")
    module = build_classifier(network_of(f), form)
    return to_onnx(module, crops_of(2 * f + 1), input_name="crops", output_names=names)


def metadata_of(data: bytes) -> dict[str, str]:
    return {prop.key: prop.value for prop in onnx.load_model_from_string(data).metadata_props}


def settings(run_: Path, **changes: object) -> Settings:
    """conf/deploy.yaml with changes."""
    usual = yaml.safe_load((ROOT / "conf" / "deploy.yaml").read_text())
    own = {key: value for key, value in usual.items() if key not in ("defaults", "hydra")}
    return validate(Settings, {**own, "run": str(run_), "threads": 1, "calibration_crops": 150, **changes})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run with slots, fold=2; its data set is built anew by the first export."""
    at = tmp_path_factory.mktemp("small")
    run(composed(*SMALL, "fold=2", "recipe=slots", f"data_dir={at / 'data'}", f"out={at / 'run'}"))
    return at / "run"


@pytest.fixture(scope="module")
def exported(folder: Path) -> tuple[Path, dict[str, Any]]:
    """Its ONNX file in the fastest form, and the report."""
    s = settings(folder)
    return s.file, export(s)


@pytest.fixture(scope="module")
def pictures(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A folder of PNGs, an odd number of the run's test crops, and PyTorch's classes for them."""
    config = yaml.safe_load((folder / "config.yaml").read_text())
    game = {**config["game"], "images": {**config["game"]["images"], "train": 0}}
    dataset = ensure_dataset(parse_definition({**config, "game": game}, 0), folder.parent / "data")
    crops = np.array(dataset.splits["test"].images[:31])
    at = tmp_path_factory.mktemp("crops")
    for number, crop in enumerate(crops):
        Image.fromarray(crop).save(at / f"{number:04}.png")
    return at, load(folder).classify(crops)


@pytest.mark.parametrize("form", ["dense", "grouped", "narrow"])
@pytest.mark.parametrize("f", [1, 2, 3, 4])
def test_a_classifier_predicts_the_classes_of_classify(f: int, form: Form) -> None:
    network = network_of(f)
    module = build_classifier(network, form)
    for n in range(3 * f + 1):
        crops = crops_of(n)
        labels, probabilities = module(crops)
        assert [network.classes[label] for label in labels.tolist()] == network.classify(crops)
        assert (labels.dtype, labels.shape, probabilities.dtype) == (torch.int64, (n,), torch.float32)
        torch.testing.assert_close(probabilities.sum(1), torch.ones(n))


@pytest.mark.parametrize(("f", "form"), [(1, "dense"), (2, "dense"), (3, "grouped")])
def test_onnx_and_pt2_predict_as_pytorch_for_any_number_of_crops(f: int, form: Form) -> None:
    network = network_of(f)
    module, example = build_classifier(network, form), crops_of(2 * f + 1)
    content = to_onnx(module, example, input_name="crops", output_names=("labels", "probabilities"))
    program = torch.export.load(io.BytesIO(export_program(module, example, {"about": "b"}))).module()
    assert metadata_of(with_metadata(content, {"a": "ä"})) == {"a": "ä"}
    assert str(ROOT).encode() not in content  # no paths of the machine that it was made on
    session = Session(content, threads=1)
    for n in {0, 1, f, 3 * f, *random.Random(f).sample(range(3 * f), 3)}:
        crops = crops_of(n)
        labels, probabilities = session(crops.numpy())
        with torch.inference_mode():
            expected, program_labels = module(crops), program(crops)
        assert [network.classes[label] for label in labels] == network.classify(crops)
        assert labels.tolist() == program_labels[0].tolist()
        assert (labels.dtype.name, probabilities.dtype.name) == ("int64", "float32")
        assert probabilities.shape == (n, 3)
        np.testing.assert_allclose(probabilities, expected[1].numpy(), atol=1e-5)
        torch.testing.assert_close(program_labels[1], expected[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "opset", [OPSETS[0], OPSETS[-1], *(pytest.param(opset, marks=pytest.mark.slow) for opset in OPSETS[1:-1])]
)
def test_a_file_of_every_opset_predicts_the_same(opset: int) -> None:
    crops = crops_of(7).numpy()
    for f, form in ((2, "dense"), (2, "grouped"), (2, "narrow"), (1, "dense")):
        floats = with_opset(onnx_of(f, form), opset)
        model = onnx.load_model_from_string(floats)
        onnx.checker.check_model(model, full_check=True)
        assert [(each.domain, each.version) for each in model.opset_import] == [("", opset)]
        assert model.ir_version == onnx.helper.find_min_ir_version_for(model.opset_import)
        before, after = Session(onnx_of(f, form), 1), Session(floats, 1)
        for n in (0, 1, 7):
            for of_default, of_opset in zip(before(crops[:n]), after(crops[:n]), strict=True):
                np.testing.assert_allclose(of_opset, of_default, atol=1e-6)
    integers = quantize_onnx(with_opset(onnx_of(2, "narrow"), opset), crops_of(100).numpy(), "minmax")
    assert onnx.load_model_from_string(integers).opset_import[0].version == opset
    np.testing.assert_allclose(Session(integers, 1)(crops)[1], Session(onnx_of(2, "narrow"), 1)(crops)[1], atol=0.05)


def test_an_opset_that_cannot_be_made_is_refused_in_one_line() -> None:
    with pytest.raises(UserError, match=r"opset=14: onnx \S+ cannot convert to it .*: give another"):
        with_opset(onnx_of(2, "dense"), 14)
    model = onnx.load_model_from_string(onnx_of(2, "narrow"))
    model.opset_import[0].version = 99
    with pytest.raises(UserError, match=r"onnxruntime \S+ cannot run this file, give a lower opset: "):
        Session(model.SerializeToString())


def test_a_network_on_stacks_is_exported_too() -> None:
    network = network_of(2)
    session = Session(to_onnx(network.net, torch.zeros(2, 6, *SIZE)), threads=1)
    stacks = torch.rand(5, 6, *SIZE)
    np.testing.assert_allclose(session(stacks.numpy())[0], network.net(stacks.clone()).detach().numpy(), atol=1e-5)


def test_an_example_of_one_image_is_refused() -> None:
    with pytest.raises(ValueError, match="give 2 or more"):
        to_onnx(nn.ReLU(), torch.zeros(1))


def test_only_slots_have_several_forms() -> None:
    assert available_forms(network_of(3)) == ("dense", "grouped", "narrow")
    assert available_forms(network_of(1)) == available_forms(network_of(3, slots=False)) == ("dense",)
    with pytest.raises(ValueError, match="is not 3 copies"):
        build_classifier(network_of(3, slots=False), "grouped")


def test_an_export_describes_itself_and_its_measurements(folder: Path, exported: tuple[Path, dict[str, Any]]) -> None:
    file, about = exported
    network, result = load(folder), json.loads((folder / "result.json").read_text())
    assert about["accuracy"] == pytest.approx(result["accuracy"], abs=0.02)  # there in random stacks
    assert about["labels_differ"] == 0
    assert about["largest_difference"] < 1e-4
    rates = about["images_per_second"]
    assert about["form"] == max(rates, key=rates.get)
    assert set(rates) == {"dense", "grouped", "narrow"}
    metadata = metadata_of(file.read_bytes())
    assert tuple(json.loads(metadata["classes"])) == network.classes
    assert (metadata["game"], json.loads(metadata["size"]), metadata["fold"]) == ("lol_gold1", list(network.size), "2")
    assert json.loads((folder / "model.onnx.json").read_text()) == json.loads(json.dumps(about))
    model = onnx.load_model_from_string(file.read_bytes())
    onnx.checker.check_model(model, full_check=True)
    assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [output.name for output in model.graph.output] == ["labels", "probabilities"]
    assert f"{about['form']} is taken" in format_summary(about, file)


def test_int8_has_integer_layers_and_reports_its_own_accuracy(folder: Path) -> None:
    s = settings(folder, int8=True, form="narrow", calibration="auto")
    about = export(s)
    content = s.file.read_bytes()
    model = onnx.load_model_from_string(content)
    weights = [onnx.numpy_helper.to_array(each) for each in model.graph.initializer if each.data_type == 3]
    layers = [each for each in weights if each.ndim > 1]
    assert len(layers) == 3
    assert all(int(np.abs(each.astype(int)).max()) in (63, 64) for each in layers)  # seven bits
    assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    int8 = about["int8"]
    fields = (ROOT / "docs/how-to/export.md").read_text(encoding="utf-8").partition("### The JSON report")[2]
    assert [field for field in (*about, *int8) if f"`{field}`" not in fields.partition("\n## ")[0]] == []
    assert set(about["images_per_second"]) == {"dense", "grouped", "narrow", "narrow int8"}
    assert about["bytes"]["int8"] == len(content)
    assert len(about["bytes"]) == 2
    summary = format_summary(about, s.file)
    for figure in (*about["bytes"].values(), *int8["images_per_second"].values(), f"form, {int8['floats_form']}:"):
        assert str(figure) in summary
    assert int8["calibration_crops"] == 100  # of 150, in whole batches
    assert json.loads(metadata_of(content)["int8"]) == int8
    assert set(int8["divergence"]) == {"minmax", "percentile"}
    assert int8["calibration"] == min(int8["divergence"], key=int8["divergence"].get)
    assert int8["labels_differ"] <= 0.1 * about["test_images"]
    assert int8["accuracy"] == pytest.approx(about["accuracy"], abs=0.1)
    for n in (0, 1, 5):
        labels, probabilities = Session(content, threads=1)(crops_of(n, load(folder).size).numpy())
        assert (labels.shape, probabilities.shape) == ((n,), (n, len(about["classes"])))


def test_quantising_folded_stacks_changes_probabilities_little() -> None:
    content = onnx_of(2, "dense")
    crops = crops_of(201).numpy()
    before = Session(content, 1)(crops)[1]
    for calibration in CALIBRATIONS:
        after = Session(quantize_onnx(content, crops, calibration), 1)(crops)[1]
        assert 0 < mean_divergence(before, after) < 1e-3
        assert 0 < np.abs(before - after).max() < 0.05


def test_divergence_is_zero_for_what_is_the_same() -> None:
    p, q = np.array([[0.5, 0.5]], np.float32), np.array([[0.25, 0.75]], np.float32)
    assert mean_divergence(p, p) == 0
    assert mean_divergence(p, q) == pytest.approx(0.5 * np.log(2) + 0.5 * np.log(2 / 3))


def test_a_file_that_predicts_another_label_is_refused() -> None:
    right = Predictions(np.arange(5), np.eye(5, dtype=np.float32))
    check_same_labels(right, right)
    wrong = replace(right, labels=np.array([0, 1, 2, 4, 4]))
    with pytest.raises(UserError, match="1 of 5 test crops, the first is number 3"):
        check_same_labels(wrong, right)


WITHOUT = (
    "import runpy, sys\nfor name in ('torch', 'onnx', 'train', 'cv2', 'numba', 'pydantic'): sys.modules[name] = None\n"
    "del sys.argv[0]\nrunpy.run_path(sys.argv[0], run_name='__main__')"
)


def read_crops(*command: str | Path) -> list[str]:
    ended = subprocess.run([*map(str, command)], capture_output=True, text=True, check=True)
    return [line.split("\t")[1] for line in ended.stdout.splitlines()]


def test_the_script_reads_pictures_without_torch(
    exported: tuple[Path, dict[str, Any]], pictures: tuple[Path, list[str]]
) -> None:
    crops, labels = pictures
    assert len(set(labels)) > 3
    assert read_crops(sys.executable, "-c", WITHOUT, READ_CROPS, exported[0], crops) == labels


@pytest.mark.slow
def test_the_script_reads_pictures_in_an_environment_of_its_own(
    exported: tuple[Path, dict[str, Any]], pictures: tuple[Path, list[str]], tmp_path: Path
) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "onnxruntime", "numpy", "pillow"], check=True)
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", ROOT], check=True)
    assert subprocess.run([python, "-c", "import torch"], capture_output=True, check=False).returncode == 1
    crops, labels = pictures
    assert read_crops(python, READ_CROPS, exported[0], crops) == labels


def test_crops_of_a_folder_are_found_in_the_given_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = composed(*SMALL)
    crops, data_dir = tmp_path / "crops", f"data_dir={tmp_path / 'data'}"
    export_data(ensure_dataset(parse_definition(config, 0), tmp_path / "data"), "imagefolder", crops, quiet=True)
    own = ["data=folder", f"path={crops}", "fold=1", "model.arch=C4 M F"]
    same = ["augment=off", "recipe.images=null", "recipe.epochs=2", "groupings=1", "threads=1"]
    run(composed(*same, *own, data_dir, f"out={tmp_path / 'run'}"))
    assert export(settings(tmp_path / "run", format="torch"))["test_images"]
    assert "was tested on data set" not in capsys.readouterr().err
    moved = crops.rename(tmp_path / "moved")
    with pytest.raises(UserError, match="crops"):
        export(settings(tmp_path / "run", format="torch", overwrite=True))
    about = export(settings(tmp_path / "run", format="torch", overwrite=True, path=str(moved)))
    assert "was tested on data set" in capsys.readouterr().err
    assert (about["form"], about["images_per_second"]) == ("dense", None)
    assert (tmp_path / "run" / "model.pt2").is_file()


def damaged(folder: Path, to: Path, name: str, content: bytes | None) -> Path:
    """A copy of a run with one file that is damaged or missing."""
    to.mkdir()
    for file in ("result.json", "config.yaml", "model.safetensors"):
        if file != name:
            (to / file).write_bytes((folder / file).read_bytes())
        elif content is not None:
            (to / file).write_bytes(content)
    return to


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("result.json", None, r"no result\.json"),
        ("result.json", b'{"game": ', r"result\.json is damaged"),
        ("config.yaml", None, r"config\.yaml cannot be read"),
        ("config.yaml", b"game: [", r"config\.yaml is damaged"),
        ("config.yaml", b"- a", "is not the configuration of a run"),
        ("config.yaml", b"\xff", r"config\.yaml is damaged"),
        ("model.safetensors", None, "cannot be read"),
        ("model.safetensors", b"not a network", "no model.safetensors of foldtext"),
    ],
)
def test_an_incomplete_run_is_refused_and_nothing_is_written(
    folder: Path, tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    broken = damaged(folder, tmp_path / "run", name, content)
    before = sorted(path.name for path in broken.iterdir())
    with pytest.raises(UserError, match=message):
        export(settings(broken))
    assert sorted(path.name for path in broken.iterdir()) == before


def test_wrong_settings_are_reported_before_any_work(folder: Path, tmp_path: Path) -> None:
    there = tmp_path / "there.onnx"
    there.write_bytes(b"mine")
    for changes, message in (
        ({"run": str(tmp_path / "none")}, "is no folder"),
        (
            {"run": str(folder.parent), "out": str(tmp_path / "a.onnx")},
            "it is a folder of runs, give one of them: run$",
        ),
        ({"out": str(there)}, "exists: choose another place .* overwrite=true"),
        ({"out": str(tmp_path / "result.json")}, r"ends in \.onnx"),
        ({"out": str(tmp_path / "none" / "a.onnx")}, "cannot write"),
        ({"int8": True, "format": "torch", "out": None}, "only for format=onnx"),
        ({"opset": 17, "format": "torch", "out": None}, "opset=17 is for format=onnx"),
        ({"calibration": "minmax"}, "calibration=minmax is for int8=true"),
        ({"path": str(tmp_path), "out": str(tmp_path / "a.onnx")}, "is for runs with data=folder"),
    ):
        with pytest.raises(UserError, match=message):
            export(settings(folder, **changes))
    assert there.read_bytes() == b"mine"
    assert [path.name for path in tmp_path.iterdir()] == ["there.onnx"]


def test_missing_libraries_are_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UserError, match=r"pip install 'foldtext\[export\]'"):
        export(settings(folder, overwrite=True))
    require("onnx")


def test_the_command(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "small.pt2"
    given = [f"run={folder}", f"out={out}", "format=torch", "form=grouped", "threads=1"]
    ended = subprocess.run([sys.executable, "-m", "train.export", *given], capture_output=True, text=True, check=True)
    first, last = ended.stdout.splitlines()
    assert first.startswith("lol_gold1 fold=2, grouped: test accuracy ")
    assert last == f"see {out}"
    files = {"foldtext.json": ""}
    torch.export.load(out, extra_files=files)
    assert json.loads(files["foldtext.json"])["classes"] == list(load(folder).classes)
