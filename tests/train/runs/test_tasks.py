"""Runs of tasks: frames of a video, CIFAR, and modules of the user's own, as real commands and as functions."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from cifar_copies import CLASSES, Sample, write_python
from conftest import Ended, Run
from torch import nn

from textgen.common.errors import UserError
from train.config.compose import compose
from train.config.recipe import fit_recipe
from train.data.augmented import AugmentedSource
from train.data.sources import DeviceSplit
from train.folding.own_module import BUILT_IN, OwnModule, import_dotted
from train.inference.network import Network, load
from train.metrics.predict import predict
from train.runs.finished_runs import load_run_data
from train.runs.run import run
from train.trainer.schedule import learning_rate_factor

sys.path.append(str(Path(__file__).parents[2] / "textgen" / "frames"))
from coded_clips import coded, rows_of, write_table
from videos import write_video

MODULE = """
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self, classes, width=4):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, width, 3, 4, 1), nn.BatchNorm2d(width)
        self.last = nn.Linear(width * 64, classes)
    def forward(self, x):
        return self.last(self.norm(self.conv(x)).relu().flatten(1))
def no_images(classes):
    return nn.Linear(3, classes)
class NoNumbers(Net):
    def forward(self, x):
        return super().forward(x) * float("nan")
def few(classes):
    return Net(classes - 1)
class Constant(Net):
    def forward(self, x):
        return super().forward(x) * 0 + (torch.arange(self.last.out_features) == 1)
class JoinedLater(Net):
    def __init__(self, classes):
        super().__init__(classes)
        self.last = nn.Linear(512, classes)
    def forward(self, x):
        x = self.norm(self.conv(x)).relu()
        return self.last(torch.cat((x, -x), 1).flatten(1))
def number(classes):
    return classes
not_callable = 3
"""


@pytest.fixture
def program(here: Path) -> Run:
    """Runs python -m <module> with settings, in the folder of the test."""

    def start(*command: str) -> Ended:
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
        ended = subprocess.run(
            [sys.executable, "-m", *command], cwd=here, env=environment, capture_output=True, text=True, check=False
        )
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    return start


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ownnets.py").write_text(MODULE)
    return tmp_path


@pytest.fixture
def cifar(here: Path) -> Path:
    return write_cifar(here)


def write_cifar(folder: Path) -> Path:
    """A CIFAR-10 of 400 training images and 40 test images, whose classes are brightnesses."""
    rng = np.random.default_rng(0)
    splits = {}
    for split, count in (("train", 400), ("test", 40)):
        labels = np.arange(count) % 10
        images = (25 * labels[:, None, None, None] + rng.integers(0, 12, (count, 32, 32, 3))).astype(np.uint8)
        splits[split] = Sample(images, labels)
    return write_python(folder / "cifar-10-batches-py", "cifar10", [splits["train"]], splits["test"])


# ---- Videos.


def test_a_video_task_trains_and_its_run_finds_its_frames_again(here: Path, program: Run) -> None:
    frames = [coded(4095 if index % 6 < 3 else 0) for index in range(240)]
    write_video(here / "clip.mp4", frames)
    write_table(here / "labels.csv", rows_of(index for index in range(240) if index % 6 < 3))
    given = ["task=video", "source=clip.mp4", "labels=labels.csv", "recipe=paper", "epochs=12", "threads=1"]
    ended = program("train", *given, "fold=2", "out=run", "task.subtract_mean=true")
    assert ended.code == 0, ended.err
    assert "synthetic" not in ended.out
    result = json.loads((here / "run" / "result.json").read_text())
    assert (result["data"], result["game"], result["test_images"]) == ("video", "video", 30)
    assert result["arch"] == "C16 C16 M F128 F"  # N1's, which the task names
    assert result["accuracy"] > 0.9
    assert (here / "run" / "mean.png").exists()
    network = load(here / "run")
    assert network.classes == ("absent", "present")
    data = load_run_data(here / "run", network)
    assert data.stored_test.texts[:] == [str(index) for index in range(210, 240)]
    evaluated = program("train.evaluate", "run=run", "orders=false")
    assert evaluated.code == 0, evaluated.err
    assert f"{result['accuracy']:.2%}" in evaluated.out
    (here / "clip.mp4").unlink()  # as on a machine that has the data set alone
    moved = next((here / "data" / "video").glob("[0-9a-f]*"))
    assert load_run_data(here / "run", network, path=moved).hash == data.hash
    sweep = program(
        "train", "-m", "task=video", "task.subtract_mean=true", f"path={moved}", "fold=1,2", "epochs=1", "threads=1"
    )
    assert (sweep.code, sweep.out.count("test accuracy")) == (0, 2), sweep.err
    other = program("train", "task=video", "task.object=car", f"path={moved}", "epochs=1")
    assert 'was built with task.object="person"' in other.err
    again = program(
        "train",
        "task=video",
        "task.subtract_mean=true",
        f"path={moved}",
        "recipe=paper",
        "epochs=1",
        "threads=1",
        "out=run2",
    )
    assert again.code == 0, again.err


def test_what_does_not_belong_to_a_task_is_refused(here: Path) -> None:
    def refused(*given: str) -> str:
        with pytest.raises(UserError) as error:
            run(compose(*given))
        return error.value.summary

    assert "task=video needs source=… and labels=…" in refused("task=video", "source=a.mp4")
    assert "two kinds of images" in refused("task=video", "game=sot_time", "source=a.mp4", "labels=b.csv")
    assert "two kinds of images" in refused("task=cifar10", "data=live", "path=a")
    assert "two kinds of images" in refused("task=cifar10", "real=a", "path=a")
    assert "task=cifar10 needs path=…" in refused("task=cifar10", "source=a")
    assert "source=a.mp4 is for a task on video" in refused("game=sot_time", "source=a.mp4")
    assert "task.split: there is no chunk 9" in refused("task=coral", "task.split.train=[9]", "source=a", "labels=b")
    assert "chunk 7 is given twice" in refused("task=coral", "task.split.train=[7]", "source=a", "labels=b")


def test_recipe_paper_has_noscopes_settings_and_the_codes_for_cifar() -> None:
    paper = compose("task=coral", "recipe=paper")["recipe"]
    video = fit_recipe(paper, game="mine", kind="video", fold=4, train_images=1000)
    assert (video.optimizer, video.lr, video.dropout, video.batch, video.epochs) == ("rmsprop", 6.6e-4, 0.25, 128, 50)
    folder = fit_recipe(paper, game="night", kind="folder", fold=1, train_images=1000)
    assert (folder.optimizer, folder.curriculum) == ("rmsprop", None)
    assert fit_recipe(paper, game="night", kind="game", fold=2, train_images=1000).optimizer == "adam"
    cifar = {name: fit_recipe(paper, game=name, kind="cifar", fold=4, train_images=45_000, module=True)
             for name in ("cifar10", "cifar100")}  # fmt: skip
    for each in cifar.values():
        assert (each.optimizer, each.lr, each.batch, each.epochs) == ("adam", 1e-4, 32, 1500)
        rates = [learning_rate_factor(each, epoch / 1500) for epoch in (0, 199, 200, 399, 400, 1499)]
        assert rates == [1, 1, 0.5, 0.5, 0.25, 0.5**7]
    assert cifar["cifar10"].distill is not None
    assert cifar["cifar10"].distill.loss == "mse"
    assert cifar["cifar100"].distill is None


# ---- CIFAR, and modules.


def test_a_module_trains_on_cifar_folded_with_its_teacher(cifar: Path, program: Run) -> None:
    given = [f"path={cifar}", "task.validation=100", "task.flip=false", "task.shift=1", "network=ownnets:Net"]
    ended = program(
        "train", "task=cifar10", *given, "recipe=paper", "epochs=8", "recipe.lr=1e-2", "fold=2", "threads=1"
    )
    assert ended.code == 0, ended.err
    runs = {path.name.split("_")[1]: path for path in Path("runs").iterdir() if path.is_dir()}
    assert {*runs} == {"f1", "f2"}  # the teacher, and the FoldedCNN
    for name, fold in (("f1", 1), ("f2", 2)):
        result = json.loads((runs[name] / "result.json").read_text())
        assert (result["arch"], result["fold"]) == ("ownnets:Net", fold)
        assert result["val_accuracy"] > {"f1": 0.3, "f2": 0.12}[name]  # a tenth by chance
        losses = [json.loads(line)["train_loss"] for line in (runs[name] / "metrics.jsonl").read_text().splitlines()]
        assert losses[-1] < losses[0]


def test_a_file_cannot_have_a_module_imported(cifar: Path, program: Run) -> None:
    marker = cifar.parent / "imported"
    (cifar.parent / "hostile.py").write_text(f"open({str(marker)!r}, 'w').close()\nfrom ownnets import Net\n")
    (cifar.parent / "mine" / "task").mkdir(parents=True)
    file = "defaults: [cifar10, _self_]\nnetwork: 'hostile:Net'\n"
    (cifar.parent / "mine" / "task" / "theirs.yaml").write_text(file)
    ended = program("train", "--config-dir=mine", "task=theirs", f"path={cifar}", "epochs=1")
    assert (ended.code, "task.network=hostile:Net: it is one of coral" in ended.err) == (2, True)
    (cifar.parent / "mine" / "task" / "theirs.yaml").write_text(
        "# @package _global_\ndefaults: [cifar10@task, _self_]\n"
        "network: {name: a, module: 'hostile:Net', arguments: {}}\n"
    )
    ended = program("train", "--config-dir=mine", "task=theirs", f"path={cifar}", "task.validation=100", "epochs=1")
    assert (ended.code, "add network=hostile:Net if you trust it" in ended.err) == (2, True)
    net = import_dotted("ownnets:Net", "network")(10)
    network = Network(net, "", "", (32, 32), tuple(CLASSES["cifar10"]), 1, OwnModule("hostile:Net"))
    (cifar.parent / "model.safetensors").write_bytes(network.to_bytes())
    with pytest.raises(UserError, match="add network=hostile:Net if you trust it"):
        load(cifar.parent / "model.safetensors")
    given = ["task=cifar10", f"path={cifar}", "task.validation=100", "epochs=1", "teacher=model.safetensors"]
    ended = program("train", *given, "network=ownnets:Net")
    assert (ended.code, "hostile:Net" in ended.err) == (2, True)
    assert not marker.exists()
    with_name = program("train", *given, "network=hostile:Net", "threads=1")
    assert with_name.code == 0, with_name.err
    assert marker.exists()


def test_runs_of_a_module_are_evaluated_exported_and_read_with_if_named(cifar: Path, program: Run) -> None:
    given = ["task=cifar10", f"path={cifar}", "task.validation=100", "network=ownnets:Net", "epochs=1", "out=run"]
    assert program("train", *given, "fold=2", "threads=1").code == 0
    for command in ("train.evaluate", "train.export"):
        without = program(command, "run=run")
        assert (without.code, "add network=ownnets:Net" in without.err) == (2, True)
        named = program(command, "run=run", "network=ownnets:Net")
        assert named.code == 0, named.err
    assert "is what runs hold themselves" in program("train.evaluate", "run=run", "network=coral").err
    cost = program("train.cost", "network=ownnets:Net", "network.size=[32,32]", "network.classes=10", "format=json")
    assert json.loads(cost.out)["networks"][0]["layers"][0]["channels"] == [3, 4]


@pytest.mark.slow
def test_a_changed_module_is_another_network(cifar: Path, program: Run) -> None:
    given = ["task=cifar10", f"path={cifar}", "task.validation=100", "network=ownnets:Net", "epochs=1", "threads=1"]
    assert "done before" not in program("train", *given).out
    assert "done before" in program("train", *given).out
    changed = (cifar.parent / "ownnets.py").read_text().replace("width=4", "width=6")
    (cifar.parent / "ownnets.py").write_text(changed)
    ended = program("train", *given)
    assert (ended.code, "done before" in ended.out) == (0, False), ended.err
    wider = program("train", *given, "+network.arguments.width=5")
    assert (wider.code, len(list(Path("runs").glob("cifar10*")))) == (0, 3), wider.err
    ended = program("train", *given, "+network.arguments.depth=5")
    assert "cannot be called so" in ended.err
    ended = program("train", *given, "recipe.norm=true")
    assert "recipe.norm is for networks of the notation" in ended.err
    small = program("train", *[s for s in given if "network" not in s], "+network.arguments.width=2")
    assert (small.code, "width" in (sorted(Path("runs").glob("cifar10*"))[0] / "config.yaml").read_text()) == (0, True)


def test_settings_of_the_network_of_a_task_are_heard(here: Path) -> None:
    config = compose("task=coral", "model.pool=2x2 stride 1")
    assert (config["model"]["arch"], config["model"]["pool"]) == ("C16 C16 M F128 F", "2x2 stride 1")
    with pytest.raises(UserError, match="model=padded is for games"):
        compose("task=coral", "model=padded")
    with pytest.raises(UserError, match="network=nothere: it is one of coral"):
        compose("task=coral", "task.network=nothere")
    assert compose("task=coral", "task.network=taipei")["model"]["arch"] == "C64 C64 M F32 F"
    assert compose("task=coral", "network=taipei")["model"]["arch"] == "C64 C64 M F32 F"


def test_a_file_that_claims_a_huge_resnet_takes_no_memory(here: Path) -> None:
    net = OwnModule("resnet18", {"width": 4}).build(size=(32, 32), classes=10)
    lying = OwnModule("resnet18", {"width": 100_000})
    network = Network(net, "", "", (32, 32), tuple("0123456789"), 1, lying)
    (here / "model.safetensors").write_bytes(network.to_bytes())
    with pytest.raises(UserError, match="has another size than resnet18"):
        load(here)


def test_modules_that_are_none_are_refused(cifar: Path) -> None:
    def refused(name: str, *more: str) -> str:
        given = ["task=cifar10", f"path={cifar}", "task.validation=100", "epochs=1", f"network={name}", *more]
        with pytest.raises(UserError) as error:
            run(compose(*given))
        return error.value.summary

    assert "does not take images (b, 3, 32, 32)" in refused("ownnets:no_images")
    assert "gives (9,) for a stack of 1" in refused("ownnets:few")
    assert "it has to give a torch.nn.Module" in refused("ownnets:number")
    assert "has no class or function absent" in refused("ownnets:absent")
    assert "has no class or function not_callable" in refused("ownnets:not_callable")
    assert "there is no module nowhere" in refused("nowhere.at.all:Net")
    assert "the loss of epoch 1 is nan: give a lower recipe.lr" in refused("ownnets:NoNumbers")
    assert "recipe.slots is for networks of the notation" in refused("ownnets:Net", "recipe=slots", "fold=2")
    assert "width=0.5 is for networks of the notation" in refused("ownnets:Net", "width=0.5")
    assert "model.arch=C8 F is for networks of the notation" in refused("ownnets:Net", "model.arch='C8 F'")


def test_an_error_within_the_users_module_is_theirs(here: Path) -> None:
    (here / "raises.py").write_text("import nothing_of_this_name\n")
    with pytest.raises(ModuleNotFoundError, match="nothing_of_this_name"):
        import_dotted("raises:Net", "network")


def test_a_network_of_a_module_survives_its_file(here: Path) -> None:
    for fold in (1, 3):
        own = OwnModule("resnet18", {"width": 4})
        net = own.build(size=(32, 32), classes=10, fold=fold).eval()
        network = Network(net, "", "", (32, 32), tuple("0123456789"), fold, own)
        (here / "model.safetensors").write_bytes(network.to_bytes())
        back = load(here)
        assert back.own == own
        x = torch.randn(2, 3 * fold, 32, 32)
        assert torch.allclose(back.net(x), net(x), atol=1e-5)
    assert {*BUILT_IN} == {"resnet18"}
    bare = Network(nn.Linear(1, 1), "", "", (1, 1), ("a",), 1)
    with pytest.raises(ValueError, match="nothing that it could be loaded with"):
        bare.to_bytes()


def test_a_network_that_gives_all_images_one_class_is_told(cifar: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["task=cifar10", f"path={cifar}", "task.validation=100", "epochs=1", "threads=1"]
    run(compose(*given, "network=ownnets:Constant"))
    assert "all test images get the class 'automobile': the network has learned nothing" in capsys.readouterr().err
    run(compose(*given, "network=ownnets:Net", "epochs=8", "recipe=paper", "recipe.lr=1e-2"))
    assert "learned nothing" not in capsys.readouterr().err


def test_a_module_whose_slots_can_share_no_weights_is_told(cifar: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["task=cifar10", f"path={cifar}", "task.validation=100", "epochs=1", "threads=1", "fold=2"]
    run(compose(*given, "network=ownnets:JoinedLater"))
    told = "network=ownnets:JoinedLater is trained without recipe.shared_block"
    assert told in capsys.readouterr().err
    run(compose(*given, "network=ownnets:JoinedLater", "recipe.shared_block=false"))
    run(compose(*given, "network=ownnets:Net"))
    assert "shared_block" not in capsys.readouterr().err


def test_a_module_is_trained_without_the_dropout_of_the_paper_s_recipe() -> None:
    paper = compose("task=coral", "recipe=paper")["recipe"]
    assert fit_recipe(paper, game="coral", kind="video", fold=1, train_images=1000).dropout == 0.25
    assert fit_recipe(paper, game="coral", kind="video", fold=1, train_images=1000, module=True).dropout == 0


# ---- Augmentation.


def test_images_are_mirrored_and_moved_and_an_epoch_repeats() -> None:
    images = torch.randint(1, 256, (64, 6, 8, 3), dtype=torch.uint8)
    split = DeviceSplit(images, torch.arange(64))
    source = AugmentedSource(split, flip=True, shift=2, seed=0)
    batches = list(torch.randperm(64).split(16))
    of_epochs = [torch.cat(list(source.batches(epoch, batches))) for epoch in (0, 0, 1)]
    assert torch.equal(of_epochs[0], of_epochs[1])
    assert not torch.equal(of_epochs[0], of_epochs[2])
    order, mirrored = torch.cat(batches), 0
    for moved, original in zip(of_epochs[0], images[order], strict=True):
        padded = [torch.nn.functional.pad(each, (0, 0, 2, 2, 2, 2)) for each in (original, original.flip(1))]
        found = [
            [torch.equal(moved, each[y : y + 6, x : x + 8]) for y in range(5) for x in range(5)] for each in padded
        ]
        assert sum(map(sum, found)) == 1
        mirrored += any(found[1])
    assert 20 < mirrored < 44
    plain = AugmentedSource(split, flip=False, shift=0, seed=0)
    assert torch.equal(torch.cat(list(plain.batches(0, batches))), images[order])
    stacks = torch.arange(4).view(2, 2)
    assert predict(nn.Sequential(nn.Flatten(), nn.LazyLinear(4)), images, stacks).shape == (4, 2)
