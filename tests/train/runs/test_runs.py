"""Training as a user runs it, small: a few epochs on real crops."""

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import GAMES, composed
from PIL import Image
from safetensors.torch import load_file

from textgen.common.errors import UserError
from textgen.dataset.build import ensure_dataset
from textgen.export.formats import export
from textgen.render.renderer import Renderer
from textgen.schema.definition import parse_definition
from textgen.spec.label_fields import LabelFields
from train.common.machine import torch_threads
from train.config.recipe import Recipe, fit_recipe, without_overridden
from train.config.settings import Settings
from train.data import sources
from train.data.order import EpochBatches, batch_sizes
from train.data.sources import LiveSource, Source, to_device
from train.inference.network import load
from train.metrics.evaluate import evaluate
from train.models.notation import build, parse
from train.runs.checks import may_hold_a_run
from train.runs.run import run
from train.trainer import checkpoint, loggers, loop
from train.trainer.schedule import learning_rate_factor
from train.trainer.state import Output, TrainingSetup

SLOW = pytest.mark.slow  # of some of a test's cases
SMALL = [
    *("game.images.train=24", "game.images.val=4", "game.images.test=5"),
    *("workers=1", "augment=off", "groupings=2", "threads=1"),
]


@pytest.fixture(scope="module", autouse=True)
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all tests of this file, so that each small data set is rendered once."""
    folder = tmp_path_factory.mktemp("data")
    SMALL.append(f"data_dir={folder}")
    return folder


def train(out: Path, *overrides: str) -> dict[str, Any]:
    """A run in the folder `run`, begun anew, with further runs, as of a teacher, beside it."""
    return run(composed(*SMALL, "fresh=true", f"runs={out}", f"out={out / 'run'}", *overrides))


def metrics(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "run/metrics.jsonl").read_text().splitlines()]


EVERY_CONFIG = [
    *(f"game={game}" for game in GAMES),
    *(f"augment={path.stem}" for path in sorted(Path("conf/augment").glob("*.yaml"))),
    *(f"model={path.stem}" for path in sorted(Path("conf/model").glob("*.yaml"))),
    *(f"recipe={path.stem}" for path in sorted(Path("conf/recipe").glob("*.yaml"))),
]


@pytest.mark.parametrize("choice", EVERY_CONFIG)
def test_every_config_composes_and_validates(choice: str) -> None:
    config = composed("game=sot_time", choice)
    settings, definition = Settings.from_config(config), parse_definition(config, 0)
    layers = parse(settings.model.arch or definition.game.arch, settings.model.pool)
    for fold in (1, 2, 3, 4):
        chosen = fit_recipe(config["recipe"], game=definition.game.name, fold=fold, train_images=1000)
        assert chosen.epochs
        assert chosen.batch % fold == 0
        build(layers, size=definition.game.size, classes=len(definition.game.classes), fold=fold)


def test_five_epochs_lower_the_loss_and_leave_all_that_a_run_leaves(tmp_path: Path) -> None:
    result = train(tmp_path, "game=sot_time", "fold=2", "epochs=5", "batch=32", "recipe.slots=false", "recipe.lr=1e-3")
    losses = [line["train_loss"] for line in metrics(tmp_path)]
    assert len(losses) == 5
    assert losses[-1] < losses[0]
    left = {path.name for path in (tmp_path / "run").iterdir()}
    pictures = {"curves.png", "confusion.png", "orders.png", "mistakes.png"}
    files = {"config.yaml", "metrics.jsonl", "model.safetensors", "result.json", "report.html", "digests.json"}
    assert left == {".lock", *files, *pictures}
    assert result == json.loads((tmp_path / "run/result.json").read_text())
    assert result["test_images"] == 27 * 5
    assert result["accuracy"] == pytest.approx(sum(result["accuracy_groupings"]) / 2)
    assert result["accuracy_ci95"][0] < result["accuracy"] < result["accuracy_ci95"][1]
    assert list(result["per_class_accuracy"]) == [*map(str, range(26)), "other"]
    assert result["orders"] == 2
    page = (tmp_path / "run/report.html").read_text()
    assert page.count('<div class="wide figure">') == 4
    assert f"{result['accuracy']:.2%}" in page
    assert 'src="http' not in page


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["default", "paper"])
@pytest.mark.parametrize("fold", [1, 2, 3, 4])
@pytest.mark.parametrize("game", GAMES)
def test_every_game_runs_to_the_end_at_every_fold(tmp_path: Path, game: str, fold: int, recipe: str) -> None:
    result = train(tmp_path, f"game={game}", f"fold={fold}", f"recipe={recipe}", "epochs=2", "augment=light")
    assert result["every_class_in"] or recipe == "paper"  # two epochs end before some of its curricula do
    assert ("order_agreement" in result) == (fold > 1)


def test_the_saved_weights_are_the_evaluated_network_and_slots_agree_in_every_order(tmp_path: Path) -> None:
    result = train(tmp_path, "game=apex_count", "fold=4", "epochs=2", "recipe=slots")
    assert result["slots"]
    assert result["order_agreement"] == result["order_all_agree"] == 1
    config = composed(*SMALL, "game=apex_count")
    dataset = ensure_dataset(parse_definition(config, 0), Path(config["data_dir"]))
    weights = load_file(tmp_path / "run/model.safetensors")
    net = build(parse("C32 M B M C8 M F", "3x3 strides 2,1,2"), size=(19, 25), classes=22, fold=4)
    net.load_state_dict(weights)
    assert sum(p.numel() for p in net.parameters()) == result["parameters"]
    test = to_device(dataset.splits["test"], torch.device("cpu"))
    again = evaluate(net, 4, test, fields=LabelFields.single(map(str, range(22))), groupings=2, seed=0)
    assert again.accuracy_groupings == result["accuracy_groupings"]


def test_the_best_epoch_is_kept_and_not_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted = iter([(0.2, 1.0), (0.6, 0.5), (0.6, 0.6), (0.4, 0.1)])
    monkeypatch.setattr(loop, "accuracy_and_loss", lambda *_: next(scripted))
    result = train(tmp_path, "game=apex_count", "epochs=4")
    assert result["epochs_to_best"] == 2
    assert [line["best"] for line in metrics(tmp_path)] == [True, True, False, False]


@pytest.mark.parametrize("chunk", [1, 100, 2048])
def test_live_crops_are_those_of_the_files_in_the_first_epoch_and_new_ones_after(
    monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(sources, "CHUNK", chunk)
    config = composed(*SMALL, "game=apex_count", "augment=light")
    dataset, renderer = (
        ensure_dataset(parse_definition(config, 0), Path(config["data_dir"])),
        Renderer.from_definition(parse_definition(config, 0)),
    )
    live = LiveSource(renderer, 24 * 22, torch.device("cpu"))
    order = torch.randperm(24 * 22, generator=torch.Generator().manual_seed(0))
    batches = torch.split(order, 50)
    first, second = (list(live.batches(epoch, batches)) for epoch in (0, 1))
    assert [len(images) for images in first] == [len(batch) for batch in batches]
    stored = to_device(dataset.splits["train"], torch.device("cpu"))
    for images, batch in zip(first, batches, strict=True):
        assert torch.equal(images, stored.images[batch])
        assert torch.equal(live.labels[batch], stored.labels[batch])
    fresh = renderer.render("train", (order + 24 * 22).numpy())
    assert torch.equal(torch.cat(second), torch.from_numpy(fresh.images))
    assert torch.equal(live.labels[order], torch.from_numpy(fresh.labels))


def test_a_live_run_is_tested_on_the_files_and_repeats_exactly(tmp_path: Path) -> None:
    runs = [train(tmp_path, "game=apex_count", "fold=2", "epochs=2", "data=live", "seed=3") for _ in range(2)]
    assert runs[0]["accuracy_groupings"] == runs[1]["accuracy_groupings"]
    assert runs[0]["data"] == "live"
    assert all(line["train_loss"] > 0 for line in metrics(tmp_path))
    config = composed(*SMALL, "game=apex_count")
    files = ensure_dataset(parse_definition(config, 0), Path(config["data_dir"]))
    without = {**config, "game": {**config["game"], "images": {**config["game"]["images"], "train": 0}}}
    tested = ensure_dataset(parse_definition(without, 0), Path(config["data_dir"]))
    assert tested.hash == runs[0]["dataset_hash"]
    for split in ("val", "test"):
        assert (tested.splits[split].images == files.splits[split].images).all()
    assert len(tested.splits["train"].labels) == 0


def test_held_out_assets_and_real_crops_are_further_test_sets(tmp_path: Path) -> None:
    config = composed(*SMALL, "game=apex_count")
    export(
        ensure_dataset(parse_definition(config, 0), Path(config["data_dir"])),
        "imagefolder",
        tmp_path / "crops",
        quiet=True,
    )
    holdout = ("split.holdout_fonts=0.25", "split.holdout_backgrounds=0.25")
    result = train(
        tmp_path, "game=apex_count", "epochs=1", *holdout, f"real={tmp_path / 'crops' / 'test'}", "real_share=0"
    )
    assert list(result["tests"]) == ["test_fonts", "test_backgrounds", "real"]
    for about in result["tests"].values():
        assert about["images"] == 22 * 5
        assert about["accuracy_ci95"][0] <= about["accuracy"] <= about["accuracy_ci95"][1]


def test_crops_of_another_class_make_another_run(tmp_path: Path) -> None:
    (tmp_path / "real/7").mkdir(parents=True)
    Image.fromarray(np.zeros((19, 25, 3), np.uint8)).save(tmp_path / "real/7/crop.png")
    few = (
        "game=apex_count",
        "epochs=1",
        "game.images.train=2",
        f"runs={tmp_path}",
        f"real={tmp_path / 'real'}",
        "real_share=0",
    )
    first = run(composed(*SMALL, *few))
    (tmp_path / "real/7").rename(tmp_path / "real/1")  # it was none
    assert run(composed(*SMALL, *few))["identity"] != first["identity"]


@pytest.mark.slow
def test_a_folder_of_crops_trains_as_the_data_set_it_came_from(tmp_path: Path) -> None:
    config = composed(*SMALL, "game=apex_count")
    export(
        ensure_dataset(parse_definition(config, 0), Path(config["data_dir"])),
        "imagefolder",
        tmp_path / "crops",
        quiet=True,
    )
    expected = train(tmp_path, "game=apex_count", "fold=2", "epochs=2", "data=files")
    own = SMALL[SMALL.index("workers=1") :]
    folder = ("data=folder", f"path={tmp_path / 'crops'}", f"runs={tmp_path}")
    for game, name in (((), "crops"), (("game=apex_count",), "apex_count")):
        result = run(composed(*own, *game, "fold=2", "epochs=2", *folder))
        assert result["accuracy_groupings"] == expected["accuracy_groupings"]
        assert list(result["per_class_accuracy"]) == list(expected["per_class_accuracy"])
        assert result["game"] == name


def test_a_flat_folder_is_trained_on_and_the_classes_that_val_lacks_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crops = tmp_path / "日本"
    texts = {"train": ["5", "7", "5", "7"], "val": ["5", "5"], "test": ["7"], "real": ["8"]}
    for number, (split, shown) in enumerate(texts.items()):
        folder = tmp_path if split == "real" else crops
        (folder / split).mkdir(parents=True)
        lines = [f"{index}.png {text}\n" for index, text in enumerate(shown)]
        (folder / split / "labels.txt").write_text("".join(lines))
        for index in range(len(shown)):
            pixels = np.random.default_rng([number, index]).integers(0, 256, (12, 20, 3), np.uint8)
            Image.fromarray(pixels).save(folder / split / f"{index}.png")
    few = ["epochs=1", "batch=4", "threads=1", "recipe.norm=false", f"data_dir={tmp_path}", f"out={tmp_path / 'run'}"]
    result = run(composed(*few, "data=folder", f"path='{crops}'", f"real='{crops / 'val'}'", "real_share=0"))
    said = capsys.readouterr().err
    assert f"val of {crops} has no images of 1 of the 2 classes: '7'\n" in said
    assert f"test of {crops} has no images of 1 of the 2 classes: '5'\n" in said
    assert result["per_class_accuracy"] == {"5": None, "7": result["accuracy"]}
    assert result["tests"]["real"]["images"] == 2
    (val,) = (json.loads(line)["val_accuracy"] for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines())
    assert val in (0, 0.5, 1)  # of the two images that there are
    with pytest.raises(UserError, match=r"the text '8' in line 1 of .*real/labels.txt is not one of the classes"):
        run(composed(*few, "data=folder", f"path='{crops}'", f"real={tmp_path / 'real'}", "real_share=0"))


def test_the_same_seed_gives_the_same_network(tmp_path: Path) -> None:
    settings = ("game=apex_count", "fold=2", "epochs=1", "recipe.slots=false")
    weights = []
    for seed in (3, 3, 4):
        train(tmp_path, *settings, f"seed={seed}", "game.images.train=6")
        weights.append(load_file(tmp_path / "run/model.safetensors"))
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not all(torch.equal(weights[0][name], weights[2][name]) for name in weights[0])


def test_the_paper_s_recipe_grows_its_classes_and_keeps_the_best_only_when_all_are_in(tmp_path: Path) -> None:
    result = train(tmp_path, "game=apex_count", "fold=4", "recipe=paper", "epochs=5")
    lines = metrics(tmp_path)
    assert [line["classes"] for line in lines] == [4, 14, 22, 22, 22]  # 5, 10, 15 … steps of 2
    assert not any(line["best"] for line in lines[:2])
    assert result["epochs_to_best"] >= 3
    assert result["recipe"] == "paper"


def test_the_paper_s_settings() -> None:
    config = composed("game=lol_time", "recipe=paper")["recipe"]
    usual = fit_recipe(config, game="sot_time", fold=4, train_images=54_000)
    assert (usual.epochs, usual.batch, usual.optimizer, usual.lr, usual.weight_decay) == (1500, 32, "adam", 1e-4, 1e-5)
    assert (usual.schedule, usual.slots, usual.init, usual.label_smoothing) == ("constant", False, "reference", 0)
    footnote = fit_recipe(config, game="lol_time", fold=4, train_images=62_000)
    assert footnote.epochs == 3000
    assert footnote.curriculum
    assert (footnote.curriculum.initial, footnote.curriculum.step, footnote.curriculum.every) == (4, 3, 120)
    assert fit_recipe(config, game="lol_time", fold=3, train_images=62_000).epochs == 1500
    assert fit_recipe(config, game="lol_time", fold=4, train_images=62_000, epochs=2).epochs == 2


def test_a_narrow_network_sees_more_images_by_what_it_is_cheaper() -> None:
    config = composed("game=sot_time", "recipe=slots")["recipe"]
    epochs = [fit_recipe(config, game="sot_time", fold=f, train_images=50_000).epochs for f in (1, 2, 3, 4)]
    assert epochs == [6, 12, 18, 24]
    assert fit_recipe(config, game="sot_time", fold=1, width=0.5, train_images=50_000).epochs == 24
    assert fit_recipe(config, game="sot_time", fold=1, width=0.05, train_images=50_000).epochs == 36  # as for fold=6
    stacks = composed("game=sot_time")["recipe"]
    assert fit_recipe(stacks, game="sot_time", fold=4, train_images=50_000).epochs == 10


@pytest.mark.parametrize("game", ["coral", "night", "roundabout", "taipei"])
def test_noscope_s_tasks_have_their_own_settings_in_the_paper_s_recipe(game: str) -> None:
    config = composed("game=sot_time", "recipe=paper")["recipe"]
    for kind in ("video", "folder"):
        recipe = fit_recipe(config, game=game, kind=kind, fold=4, train_images=1000)
        assert (recipe.epochs, recipe.batch, recipe.optimizer, recipe.lr) == (50, 128, "rmsprop", 6.6e-4)
        assert recipe.dropout == 0.25
        assert recipe.curriculum is None


def test_a_special_setting_that_is_none_is_named() -> None:
    config = composed("game=sot_time")["recipe"] | {"overrides": [{"games": ["sot_time"], "set": {"epoch": 3}}]}
    with pytest.raises(UserError, match=r"recipe.overrides\[0\].set.epoch is no setting; did you mean epochs"):
        fit_recipe(config, game="sot_time", fold=1, train_images=1)


def test_threads_are_as_many_as_before_and_one_less_beside_rendering() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    for wanted, rendering, expected in ((None, False, 3), (None, True, 2), (1, True, 1), (2, False, 2)):
        with torch_threads(wanted, rendering=rendering):
            assert torch.get_num_threads() == expected
        assert torch.get_num_threads() == 3
    torch.set_num_threads(1)
    with torch_threads(None, rendering=True):
        assert torch.get_num_threads() == 1
    torch.set_num_threads(before)


def test_aids_are_for_single_images_and_shared_blocks() -> None:
    config = composed("game=sot_time", "recipe.shared_block=false")["recipe"]
    single, stacks = (fit_recipe(config, game="sot_time", fold=f, train_images=1) for f in (1, 2))
    assert (single.characters, single.auxiliary) == (True, 1.0)
    assert (stacks.characters, stacks.auxiliary) == (False, 0.0)
    shared = fit_recipe({**config, "shared_block": True}, game="sot_time", fold=2, train_images=1)
    assert (shared.characters, shared.auxiliary, shared.shared_block) == (True, 1.0, True)
    assert not fit_recipe({**config, "shared_block": True}, game="sot_time", fold=1, train_images=1).shared_block


def without_times(result: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in result.items() if key not in ("train_seconds", "train_images_per_second")}


class Stopping:
    """Images to train on, and at the batch number `at` of all that are taken, what stops a training."""

    def __init__(self, source: Source, at: int, stop: Callable[[], None]):
        self.labels, self.size, self.windows = source.labels, source.size, source.windows
        self.labels_of = source.labels_of
        self._source, self._at, self._stop = source, at, stop

    def batches(self, epoch: int, batches: Sequence[torch.Tensor]) -> Iterator[torch.Tensor]:
        for images in self._source.batches(epoch, batches):
            self._at -= 1
            if self._at == 0:
                self._stop()
            yield images


def crash() -> None:
    raise OSError("the machine is gone")


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("live", [pytest.param(False, id="files"), pytest.param(True, id="live", marks=SLOW)])
@pytest.mark.parametrize(
    ("fold", "settings"),
    [
        pytest.param(2, ("recipe=slots", "recipe.ema_decay=0.9"), id="slots"),
        pytest.param(2, ("recipe=paper", "recipe.dropout=0.2"), id="paper-with-dropout"),
        pytest.param(
            3, ("recipe.curriculum={every: 1, of: 8, order: random}", "recipe.ema_decay=0.9"), id="curriculum-averaged"
        ),
        pytest.param(2, ("recipe.free_lr=0.5", "recipe.order_consistency=1"), id="together", marks=SLOW),
    ],
)
def test_a_training_that_is_stopped_again_and_again_ends_with_the_bits_of_one_that_is_not(
    tmp_path: Path, fold: int, settings: tuple[str, ...], live: bool
) -> None:
    config = composed(*SMALL, "game=apex_count", *settings)
    definition = parse_definition(config, 0)
    dataset, game, cpu = ensure_dataset(definition, Path(config["data_dir"])), definition.game, torch.device("cpu")
    split = to_device(dataset.splits["train"], cpu)
    source = LiveSource(Renderer.from_definition(definition), len(split.labels), cpu) if live else split
    recipe = fit_recipe(config["recipe"], game=game.name, fold=fold, train_images=528, epochs=4, batch=24)

    kept: list[dict[str, torch.Tensor]] = []

    def trained(source: Source, folder: Path, commit: str = "a") -> loop.Trained:
        folder.mkdir(exist_ok=True)
        kept.clear()
        layers, val = parse(game.arch, "3x3 strides 2,1,2"), to_device(dataset.splits["val"], cpu)
        setup = TrainingSetup(source, val, network=layers, fields=game.label_fields, fold=fold, recipe=recipe, seed=3)
        keep = lambda net: kept.append(net.state_dict())  # noqa: E731
        return loop.train(setup, Output(folder, "this", keep, commit=commit, save_every=0, quiet=True))

    torch.set_num_threads(1)
    whole = trained(source, tmp_path / "whole")
    stops: list[tuple[int, Callable[[], None]]] = [(1, crash), (9, interrupt), (12, crash), (1, interrupt), (7, crash)]
    for at, stop in stops:
        with pytest.raises((OSError, KeyboardInterrupt), match=r"gone|stopped in epoch"):
            trained(Stopping(source, at, stop), tmp_path / "stopped")
    resumed = trained(source, tmp_path / "stopped", "b")
    assert (whole.commits, resumed.commits) == (["a"], ["a", "b"])
    weights = whole.net.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in resumed.net.state_dict().items())
    assert all(torch.equal(tensor, weights[name]) for name, tensor in kept[-1].items())
    times = ("images_per_second", "train_seconds", "seconds")
    first, second = (
        [{key: value for key, value in line.items() if key not in times} for line in history]
        for history in (whole.history, resumed.history)
    )
    assert first == second
    lines = (tmp_path / "stopped/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == resumed.history
    finished = trained(source, tmp_path / "stopped")  # no step is left, and yet what is kept last is what comes out
    assert all(torch.equal(tensor, kept[-1][name]) for name, tensor in finished.net.state_dict().items())


@pytest.mark.slow
def test_a_run_killed_at_ten_random_moments_ends_as_the_one_that_is_not(tmp_path: Path) -> None:
    settings = [*SMALL, "game=sot_time", "fold=4", "epochs=12", "save_every=0.1", "game.images.train=400"]
    whole = run(composed(*settings, f"out={tmp_path / 'whole'}"))
    command = [sys.executable, "-m", "train", *settings, f"out={tmp_path / 'killed'}"]
    wait, kills = random.Random(0), 0
    while kills < 10:
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert process.stderr
        seen = ""
        while "training" not in seen and (character := process.stderr.read(1)):  # the bar: it trains
            seen += character
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(wait.uniform(0, 1.0))
        process.kill()
        process.wait()
        kills += 1
    subprocess.run(command, check=True, capture_output=True)
    killed = json.loads((tmp_path / "killed/result.json").read_text())
    assert without_times(killed) == without_times(whole)


def test_a_run_that_is_done_is_found_again_and_not_trained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = composed(*SMALL, "game=apex_count", "epochs=1", f"runs={tmp_path}")
    first = run(config)
    (folder,) = (path.parent for path in tmp_path.glob("*/result.json"))
    written = (folder / "model.safetensors").stat().st_mtime_ns
    assert run(config) == first
    assert "done before; fresh=true" in capsys.readouterr().out
    assert (folder / "model.safetensors").stat().st_mtime_ns == written
    other = run({**config, "seed": 1})
    assert other["identity"] != first["identity"]
    assert len(list(tmp_path.glob("*/result.json"))) == 2
    with pytest.raises(UserError, match="holds a run of other settings"):
        run({**config, "seed": 2, "out": str(folder)})
    (folder / "result.json").rename(tmp_path / "result.json")
    checkpoint.save(folder, {"identity": first["identity"]})  # as if it were half done
    with pytest.raises(UserError, match="holds a half-done run of other settings"):
        run({**config, "seed": 2, "out": str(folder)})
    checkpoint.remove(folder)
    (tmp_path / "result.json").rename(folder / "result.json")
    assert run({**config, "fresh": True})["accuracy_groupings"] == first["accuracy_groupings"]
    assert (folder / "model.safetensors").stat().st_mtime_ns > written


def test_distillation_trains_its_teacher_once_and_takes_a_given_one(tmp_path: Path) -> None:
    settings = ("game=apex_count", "epochs=1", "recipe=distill", f"runs={tmp_path}")
    first = run(composed(*SMALL, *settings, "fold=2"))
    teacher = Path(first["teacher"]["path"])
    written = teacher.stat().st_mtime_ns
    assert load(teacher).fold == 1
    second = run(composed(*SMALL, *settings, "fold=3"))
    assert second["teacher"]["path"] == str(teacher)
    assert teacher.stat().st_mtime_ns == written
    given = run(composed(*SMALL, *settings, "fold=2", f"teacher={teacher.parent}"))
    assert given["accuracy_groupings"] == first["accuracy_groupings"]
    with pytest.raises(UserError, match="it needs fold=1"):
        run(composed(*SMALL, *settings, "fold=2", f"teacher={Path(second['teacher']['path']).parent}", "game=lol_time"))
    with pytest.raises(UserError, match="holds teacher=…, which would be overwritten"):
        run(composed(*SMALL, *settings, "fold=2", f"teacher={teacher}", f"out={teacher.parent}", "fresh=true"))
    slots = run(composed(*SMALL, *settings, "fold=2", "recipe.slots=true", "recipe.curriculum=null"))
    assert slots["method"] == "copies of a narrow network"


@pytest.mark.parametrize("slots", [pytest.param(True, id="slots", marks=SLOW), pytest.param(False, id="stacks")])
def test_a_trained_network_is_trained_further(tmp_path: Path, slots: bool) -> None:
    few = ("game=apex_count", "fold=2", f"runs={tmp_path}")
    recipe = "slots" if slots else "default"
    trained = run(composed(*SMALL, *few, f"recipe={recipe}", "epochs=12", "batch=32"))
    assert trained["accuracy"] > 0.1
    (folder,) = (path.parent for path in tmp_path.glob("*/result.json"))
    further = ("recipe=finetune", "epochs=1", f"recipe.slots={slots}", "recipe.lr=1e-8")
    result = run(composed(*SMALL, *few, *further, f"start={folder}"))
    assert result["start"] == str(folder)
    assert result["accuracy_groupings"] == pytest.approx(trained["accuracy_groupings"])  # nothing was lost
    assert result["start_accuracy"] == pytest.approx(trained["accuracy"])
    assert result["identity"] != run(composed(*SMALL, *few, *further, "recipe.needs_start=false"))["identity"]
    spoilt = run(composed(*SMALL, *few, *further, "recipe.lr=10", f"start={folder}", f"out={tmp_path / 'spoilt'}"))
    assert spoilt["epochs_to_best"] == 0
    assert spoilt["accuracy_groupings"] == pytest.approx(trained["accuracy_groupings"])
    before, after = (load_file(path / "model.safetensors") for path in (folder, tmp_path / "spoilt"))
    assert all(torch.equal(after[name], weight) for name, weight in before.items())
    assert spoilt["method"] == trained["method"]
    stacks = (f"start={folder}", f"out={tmp_path / 'stacks'}")
    kept = run(composed(*SMALL, *few, "recipe=finetune", "epochs=1", "recipe.lr=10", *stacks))
    assert kept["method"] == trained["method"]  # copies that were kept are copies, whatever training made of them
    dense = run(composed(*SMALL, *few, "epochs=1", "out=" + str(tmp_path / "dense")))
    assert not dense["slots"]
    for wrong, message in [
        (("recipe=finetune",), "recipe=finetune goes on from a trained network: give start="),
        (
            (f"start={folder}", "recipe=default"),
            "nothing for recipe.norm, recipe.characters, recipe.auxiliary: give recipe=finetune",
        ),
        ((f"start={folder}", "recipe=finetune", "fold=3"), "start=.* has fold=2.* it needs fold=3"),
        ((f"start={folder}", "recipe=finetune", "model.arch=C8 M F"), "this run is C8 M F"),
        (
            (f"start={tmp_path / 'dense'}", "recipe=finetune", "recipe.slots=true"),
            "not 2 copies of one narrow network.*recipe.slots=false",
        ),
        ((f"start={tmp_path / 'none'}", "recipe=finetune"), "cannot be read"),
        ((f"start={folder}", "recipe=finetune", f"recipe.slots={slots}", "recipe.distill={}"), "who is to teach"),
        ((f"start={folder}", "recipe=finetune", f"out={folder}", "fresh=true"), "would be overwritten"),
    ]:
        with pytest.raises(UserError, match=message):
            run(composed(*SMALL, *few, *wrong))


@pytest.mark.slow
def test_averaged_weights_are_what_is_kept_and_they_lag_behind(tmp_path: Path) -> None:
    few = ("game=apex_count", "fold=2", "epochs=2", "recipe.schedule=constant")
    weights = []
    for decay in (0, 0.1, 0.999):  # of the last, at first less is used
        train(tmp_path, *few, f"recipe.ema_decay={decay}")
        weights.append(load_file(tmp_path / "run/model.safetensors"))
    last, near, far = (each["linear1.weight"] for each in weights)
    assert 0 < (near - last).norm() < (far - last).norm()


@pytest.mark.slow
def test_stacks_that_are_trained_together_take_their_settings(tmp_path: Path) -> None:
    dense = ("game=apex_count", "fold=2", "epochs=8", "batch=32", "recipe.lr=1e-2", "recipe.curriculum=null")
    tied = train(tmp_path, *dense, "recipe.free_lr=0")
    assert tied["order_agreement"] > 0.99  # all slots are one network
    assert tied["method"] == "trained on stacks"
    free = train(tmp_path, *dense, "recipe.free_lr=1")
    assert free["order_agreement"] < 0.99
    weights = load_file(tmp_path / "run/model.safetensors")["conv2.weight"]
    assert weights[:22, 22:44].any()
    assert not torch.equal(weights[:22, :22], weights[22:44, 22:44])
    consistent = train(tmp_path, *dense, "recipe.free_lr=1", "recipe.order_consistency=30")
    assert consistent["order_agreement"] > free["order_agreement"]


def test_the_result_says_how_the_network_was_trained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = ("game=apex_count", "epochs=20", "game.images.train=2")
    stacks = train(tmp_path, *few, "fold=4", "recipe.curriculum={every: 1, of: 20, order: alphabetical}")
    assert stacks["method"] == "trained on stacks"
    counts = [min(22, 4 + 2 * n) for n in range(20)]
    assert [line["classes"] for line in metrics(tmp_path)] == counts
    joined = {str(n + 1): counts[n] for n in range(10)}
    assert stacks["curriculum"] == {"order": "alphabetical", "classes_from_epoch": joined}
    assert "trained on stacks: 20 epochs of 44 images in " in capsys.readouterr().out
    slots = train(tmp_path, *few, "fold=4", "recipe=slots")
    assert "copies of a narrow network: 20 epochs of 44 images in " in capsys.readouterr().out
    assert (slots["method"], slots["curriculum"]) == ("copies of a narrow network", None)
    assert slots["order_agreement"] == 1
    original = train(tmp_path, *few)
    assert (original["method"], original["curriculum"]) == ("single images", None)


def test_live_epochs_are_as_short_as_the_recipe_asks(tmp_path: Path) -> None:
    few = ("game=apex_count", "fold=2", "recipe.images=1760")
    result = train(tmp_path, *few, "recipe.min_epochs=20", "recipe.curriculum=null")
    assert (result["train_images"], result["epochs"], result["images_seen"]) == (88, 20, 1760)
    longest = train(tmp_path, *few, "recipe.min_epochs=1", "recipe.curriculum=null")
    assert (longest["train_images"], longest["epochs"]) == (22 * 24, 3)  # game.images.train of each class at most
    files = train(tmp_path, *few, "recipe.min_epochs=20", "data=files")
    assert (files["train_images"], files["epochs"]) == (22 * 24, 3)


def test_what_is_trained_on_is_the_recipe_s_unless_it_is_given(tmp_path: Path) -> None:
    few = ("game=apex_count", "epochs=1")
    assert train(tmp_path, *few)["data"] == "live"
    (tmp_path / "run/orders.png").write_bytes(b"of a run with fold=4 in the same folder")
    assert train(tmp_path, *few, "recipe=paper")["data"] == "files"
    assert not (tmp_path / "run/orders.png").exists()
    assert (tmp_path / "run/report.html").read_text().count('<div class="wide figure">') == 3
    given, named = (train(tmp_path, *few, "recipe=paper", live) for live in ("data=live", "recipe.data=live"))
    assert given["data"] == "live"
    assert (given["identity"], given["recipe_hash"]) == (named["identity"], named["recipe_hash"])


@pytest.mark.parametrize(("loss", "data"), [("kl", "live"), pytest.param("mse", "files", marks=SLOW)])
def test_a_student_comes_nearer_to_its_teacher(tmp_path: Path, loss: str, data: str) -> None:
    settings = (f"recipe.distill={{loss: {loss}, weight: 1.0}}", f"data={data}", "epochs=8", "batch=32")
    result = train(tmp_path, "game=apex_count", "fold=2", "recipe=distill", *settings)
    losses = [line["train_loss"] for line in metrics(tmp_path)]
    assert losses[-1] < 0.8 * losses[0]
    assert result["teacher"]["accuracy"] > 0


@pytest.mark.parametrize(
    ("fold", "width", "arch"),
    [
        pytest.param(2, 0.707, "C22 M C22 C22 C22 M C5 M F", marks=SLOW),
        (4, 0.5, "C16 M C16 C16 C16 M C4 M F"),
    ],
)
def test_the_control_is_the_network_of_a_slot(tmp_path: Path, fold: int, width: float, arch: str) -> None:
    control = train(tmp_path, "game=apex_count", f"width={width}", "epochs=2")
    weights = load_file(tmp_path / "run/model.safetensors")
    folded = train(tmp_path, "game=apex_count", f"fold={fold}", "epochs=2", "recipe=slots")
    assert control["arch"] == arch
    assert control["width"] == width
    slots, c = load_file(tmp_path / "run/model.safetensors"), len(weights["conv1.bias"])
    assert torch.equal(slots["conv2.weight"][c : 2 * c, c : 2 * c], weights["conv2.weight"])
    assert folded["accuracy"] == pytest.approx(control["accuracy"])


def test_what_is_for_training_alone_is_not_in_the_network_that_comes_out(tmp_path: Path) -> None:
    train(tmp_path, "game=apex_count", "epochs=2", "recipe.dropout=0.3")
    names = load_file(tmp_path / "run/model.safetensors").keys()
    assert names == {
        f"{layer}.{part}" for layer in [*(f"conv{n}" for n in range(1, 6)), "linear1"] for part in ("weight", "bias")
    }


@pytest.mark.slow
def test_bfloat16_trains_and_is_not_float32(tmp_path: Path) -> None:
    lines = []
    for autocast in ("true", "false"):
        train(tmp_path, "game=apex_count", "epochs=3", "batch=32", f"autocast={autocast}")
        lines.append(metrics(tmp_path))
    assert lines[0][0]["train_loss"] == pytest.approx(lines[1][0]["train_loss"], rel=0.05)
    assert lines[0][0]["train_loss"] != lines[1][0]["train_loss"]
    assert lines[0][-1]["train_loss"] < lines[0][0]["train_loss"]


def test_the_learning_rate_goes_up_in_a_line_and_down_as_a_cosine(tmp_path: Path) -> None:
    config = composed("game=apex_count")["recipe"]
    recipe = fit_recipe({**config, "warmup": 0.2}, game="apex_count", fold=1, train_images=1)
    at = [learning_rate_factor(recipe, progress) for progress in (0, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1)]
    assert at == pytest.approx([0.01, 0.25, 0.5, 1, (2 + 2**0.5) / 4, 0.5, (2 - 2**0.5) / 4, 0], abs=1e-12)
    recipe = fit_recipe({**config, "schedule": "constant"}, game="apex_count", fold=1, train_images=1)
    assert learning_rate_factor(recipe, 0.01) == learning_rate_factor(recipe, 0.9) == 1
    train(tmp_path, "game=apex_count", "epochs=4", "batch=32", "recipe.warmup=0.5")
    told = [line["lr"] / 1e-2 for line in metrics(tmp_path)]  # of the last of an epoch's 17 steps
    assert told == pytest.approx([0.471, 0.971, 0.546, 0.002], abs=1e-3)


@pytest.mark.slow
def test_smoothed_labels_are_learned_from(tmp_path: Path) -> None:
    few = ("game=apex_count", "epochs=1", "batch=32")
    losses = []
    for smoothing in (0, 0.5):
        train(tmp_path, *few, f"recipe.label_smoothing={smoothing}")
        losses.append(metrics(tmp_path)[0]["train_loss"])
    assert losses[0] != losses[1]


def test_one_stack_that_is_left_over_joins_the_batch_before() -> None:
    def lengths(n: int, batch: int, stack: int) -> list[int]:
        sizes = batch_sizes(n, batch, stack)
        parts = list(EpochBatches(lambda window: torch.arange(7 * window, min(7 * window + 7, n)), sizes))
        assert torch.equal(torch.cat(parts), torch.arange(n))
        return [len(part) for part in parts]

    assert lengths(64, 32, 1) == [32, 32]
    assert lengths(65, 32, 1) == [32, 33]
    assert lengths(66, 32, 1) == [32, 32, 2]
    assert lengths(68, 32, 4) == [32, 36]
    assert lengths(72, 32, 4) == [32, 32, 8]
    assert lengths(1, 32, 1) == [1]


def test_one_image_that_is_left_over_does_not_end_a_training_with_norms(tmp_path: Path) -> None:
    few = ("game=apex_count", "epochs=1", "game.images.train=3", "batch=13")  # 66 images, 5 batches and one image
    result = train(tmp_path, *few, "model.arch=C8 M M M C8 F", "model.pool=2x2 stride 3")
    assert result["epochs"] == 1


def test_what_the_command_gives_stands_before_a_recipe_s_special_settings() -> None:
    def fitted(*overrides: str) -> Recipe:
        config = composed("game=lol_time", "recipe=paper", "fold=4", *overrides)["recipe"]
        given = [override.partition("=")[0].removeprefix("recipe.") for override in overrides]
        return fit_recipe(without_overridden(config, given), game="lol_time", fold=4, train_images=1)

    def every(recipe: Recipe) -> int:
        assert recipe.curriculum
        return recipe.curriculum.every

    assert (fitted().epochs, every(fitted())) == (3000, 120)
    assert (fitted("recipe.epochs=100").epochs, every(fitted("recipe.epochs=100"))) == (100, 120)
    given = fitted("recipe.curriculum.every=30")
    assert given.curriculum
    assert (given.epochs, given.curriculum.every, given.curriculum.step) == (3000, 30, 3)
    assert fitted("recipe.curriculum=null").curriculum is None
    assert fitted("recipe.overrides=[]", "recipe.lr=1").epochs == 1500


def test_names_of_classes_are_no_formulas(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for name in ("$#5", "$#6", "$$"):
        (tmp_path / "crops" / name).mkdir(parents=True)
        for number in range(12):
            picture = Image.fromarray(draw.integers(0, 256, (19, 25, 3), np.uint8))
            picture.save(tmp_path / "crops" / name / f"{number}.png")
    alone = [setting for setting in SMALL if not setting.startswith("game.")]
    result = run(composed(*alone, "data=folder", f"path={tmp_path / 'crops'}", "epochs=1", f"out={tmp_path / 'run'}"))
    assert result["accuracy"] < 1  # so that mistakes are drawn, "$#5 → $#6"


@pytest.mark.slow
def test_tensorboard_is_told_every_epoch(tmp_path: Path) -> None:
    config = composed(*SMALL, "game=apex_count", "epochs=3", "log=tensorboard", f"out={tmp_path / 'run'}")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.yaml").write_text("recipe: {}")
    with loggers.open_loggers(["tensorboard"], tmp_path / "run", tmp_path, config) as tell:  # then killed
        tell({"epoch": 1, "val_accuracy": 0.5})
        tell({"epoch": 2, "val_accuracy": 0.6})
    run(config)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: PLC0415

    events = EventAccumulator(str(tmp_path / "run"))
    events.Reload()
    assert [event.step for event in events.Scalars("val_accuracy")] == [1, 2, 3]
    assert [event.step for event in events.Scalars("test_accuracy")] == [3]
    assert events.Scalars("val_accuracy")[1].value == pytest.approx(metrics(tmp_path)[1]["val_accuracy"])


def test_a_batch_that_fold_does_not_divide_becomes_whole_stacks() -> None:
    config = composed("game=sot_time", "recipe=paper")["recipe"]
    assert fit_recipe(config, game="sot_time", fold=3, train_images=1).batch == 30


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["fold=0"], "fold"),
        (["fold=2.5"], "fold"),
        (["fold=true"], "fold"),
        (["fold=7"], "fold"),
        (["data_seed=1.5"], "data_seed"),
        (["fold=6", "recipe=paper", "game.images.train=1", "recipe.curriculum.initial=1"], "do not fill one stack"),
        (["recipe=paper", "recipe.curriculum.every=0"], "recipe.curriculum.every"),
        (["fold=2", "recipe=paper", "recipe.curriculum.order=odd"], "recipe.curriculum.order"),
        (["fold=4", "batch=3"], "batch=3 is smaller than fold=4"),
        (["epochs=0"], "epochs"),
        (["device=gpu9"], "device=gpu9"),
        (["model.arch=C32 Q F"], "'Q'"),
        (["recipe.optimizer=adamant"], "recipe.optimizer"),
        (["path=crops"], "path=crops is for data=folder, data=shards and CIFAR"),
        (["data=folder"], "data=folder needs path"),
        (["data=rendered"], "data"),
        (["real=nowhere"], "real=nowhere is no folder"),
        (["data=live", "game.images.train=0"], "game.images.train is 0"),
        (["recipe.images=null"], "set one of epochs and images"),
        (["recipe.epochs=3"], "set one of epochs and images"),
        (["recipe.slots=true"], "give recipe=slots"),
        (["recipe=slots", "recipe.order_consistency=1"], "order_consistency is for stacks"),
        (["recipe.muon_lr=0"], "recipe.muon_lr"),
        (["recipe.overrides=[{set: {data: files}}]"], "give recipe.data"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_rendered(
    tmp_path: Path, overrides: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        train(tmp_path, "game=sot_time", f"data_dir={tmp_path / 'data'}", *overrides)
    assert not (tmp_path / "data").exists()


def test_a_folder_of_other_things_is_no_place_for_a_run(tmp_path: Path) -> None:
    folder, data = tmp_path / "mine", f"data_dir={tmp_path / 'data'}"
    folder.mkdir()
    (folder / "config.yaml").write_text("of: mine")
    for out in (folder, folder / "config.yaml"):
        with pytest.raises(UserError, match=f"out={out} holds other things than a run"):
            run(composed("game=sot_time", data, f"out={out}", "fresh=true"))
    assert not (tmp_path / "data").exists()
    assert [path.read_text() for path in folder.iterdir()] == ["of: mine"]
    (folder / "config.yaml").rename(folder / ".config.yaml.7.tmp")  # what a killed run may leave
    assert may_hold_a_run(folder)
    (folder / "config.yaml").write_text("recipe: {name: default}")
    assert may_hold_a_run(folder)
    assert may_hold_a_run(tmp_path / "none")
