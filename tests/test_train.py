"""Training as a user runs it, small: a few epochs on real crops."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import GAMES
from hydra import compose, initialize_config_module
from safetensors.torch import load_file

from textgen.build import ensure
from textgen.errors import UserError
from textgen.export import export
from textgen.main import definition_of, plain
from train import data, loop
from train.data import Live, to_device
from train.evaluate import evaluate
from train.models.notation import build, parse
from train.recipe import recipe_of
from train.run import Settings, run

SMALL = [
    *("game.images.train=24", "game.images.val=4", "game.images.test=5"),
    *("workers=1", "augment=off", "groupings=2", "threads=1"),
]


def composed(*overrides: str) -> dict[str, Any]:
    with initialize_config_module("conf", version_base="1.3"):
        return plain(compose("train", list(overrides)))


@pytest.fixture(scope="module", autouse=True)
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all tests of this file, so that each small data set is rendered once."""
    folder = tmp_path_factory.mktemp("data")
    SMALL.append(f"data_dir={folder}")
    return folder


def train(out: Path, *overrides: str) -> dict[str, Any]:
    config = composed(*SMALL, *overrides)
    folder = out / "run"
    folder.mkdir(exist_ok=True)
    definition = definition_of(config, config["data_seed"]) if "game" in config else None
    return run(Settings.of(config), definition, config["recipe"], folder)


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
    settings, definition = Settings.of(config), definition_of(config, 0)
    layers = parse(settings.model.arch or definition.game.arch, settings.model.pool)
    for fold in (1, 2, 3, 4):
        chosen = recipe_of(config["recipe"], game=definition.game.name, fold=fold, train_images=1000)
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
    assert left == {"config.yaml", "metrics.jsonl", "model.safetensors", "result.json", *pictures}
    assert result == json.loads((tmp_path / "run/result.json").read_text())
    assert result["test_images"] == 27 * 5
    assert result["accuracy"] == pytest.approx(sum(result["accuracy_groupings"]) / 2)
    assert result["accuracy_ci95"][0] < result["accuracy"] < result["accuracy_ci95"][1]
    assert list(result["per_class_accuracy"]) == [*map(str, range(26)), "other"]
    assert result["orders"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["default", "paper"])
@pytest.mark.parametrize("fold", [1, 2, 3, 4])
@pytest.mark.parametrize("game", GAMES)
def test_every_game_runs_to_the_end_at_every_fold(tmp_path: Path, game: str, fold: int, recipe: str) -> None:
    result = train(tmp_path, f"game={game}", f"fold={fold}", f"recipe={recipe}", "epochs=2", "augment=light")
    assert result["every_class_in"] or recipe == "paper"  # two epochs end before some of its curricula do
    assert ("order_agreement" in result) == (fold > 1)


def test_the_saved_weights_are_the_evaluated_network(tmp_path: Path) -> None:
    result = train(tmp_path, "game=apex_count", "fold=4", "epochs=2")
    config = composed(*SMALL, "game=apex_count")
    dataset = ensure(definition_of(config, 0), Path(config["data_dir"]))
    weights = load_file(tmp_path / "run/model.safetensors")
    net = build(parse("C32 M B M C8 M F", "3x3 strides 2,1,2"), size=(19, 25), classes=22, fold=4)
    net.load_state_dict(weights)
    assert sum(p.numel() for p in net.parameters()) == result["parameters"]
    test = to_device(dataset.splits["test"], torch.device("cpu"))
    again = evaluate(net, 4, test, classes=22, groupings=2, seed=0)
    assert again.accuracy_groupings == result["accuracy_groupings"]


def test_the_best_epoch_is_kept_and_not_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted = iter([(0.2, 1.0), (0.6, 0.5), (0.6, 0.6), (0.4, 0.1)])
    monkeypatch.setattr(loop, "accuracy", lambda *_: next(scripted))
    result = train(tmp_path, "game=apex_count", "epochs=4")
    assert result["epochs_to_best"] == 2
    assert [line["best"] for line in metrics(tmp_path)] == [True, True, False, False]


def test_slots_agree_in_every_order(tmp_path: Path) -> None:
    result = train(tmp_path, "game=apex_count", "fold=3", "epochs=2")
    assert result["slots"]
    assert result["order_agreement"] == result["order_all_agree"] == 1


@pytest.mark.parametrize("chunk", [1, 100, 2048])
def test_live_crops_are_those_of_the_files_in_the_first_epoch_and_new_ones_after(
    monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(data, "CHUNK", chunk)
    config = composed(*SMALL, "game=apex_count", "augment=light")
    dataset, renderer = ensure(definition_of(config, 0), Path(config["data_dir"])), definition_of(config, 0).renderer()
    live = Live(renderer, 24 * 22, torch.device("cpu"))
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
    files = ensure(definition_of(config, 0), Path(config["data_dir"]))
    without = {**config, "game": {**config["game"], "images": {**config["game"]["images"], "train": 0}}}
    tested = ensure(definition_of(without, 0), Path(config["data_dir"]))
    assert tested.hash == runs[0]["dataset_hash"]
    for split in ("val", "test"):
        assert (tested.splits[split].images == files.splits[split].images).all()
    assert len(tested.splits["train"].labels) == 0


def test_held_out_assets_and_real_crops_are_further_test_sets(tmp_path: Path) -> None:
    config = composed(*SMALL, "game=apex_count")
    export(ensure(definition_of(config, 0), Path(config["data_dir"])), "imagefolder", tmp_path / "crops", quiet=True)
    holdout = ("split.holdout_fonts=0.25", "split.holdout_backgrounds=0.25")
    result = train(tmp_path, "game=apex_count", "epochs=1", *holdout, f"real={tmp_path / 'crops' / 'test'}")
    assert list(result["tests"]) == ["test_fonts", "test_backgrounds", "real"]
    for about in result["tests"].values():
        assert about["images"] == 22 * 5
        assert about["accuracy_ci95"][0] <= about["accuracy"] <= about["accuracy_ci95"][1]


@pytest.mark.parametrize("game", [(), ("game=apex_count",)], ids=["without-game", "with-game"])
def test_a_folder_of_crops_trains_as_the_data_set_it_came_from(tmp_path: Path, game: tuple[str, ...]) -> None:
    config = composed(*SMALL, "game=apex_count")
    export(ensure(definition_of(config, 0), Path(config["data_dir"])), "imagefolder", tmp_path / "crops", quiet=True)
    expected = train(tmp_path, "game=apex_count", "fold=2", "epochs=2")
    own = SMALL[SMALL.index("workers=1") :]
    config = composed(*own, *game, "fold=2", "epochs=2", "data=folder", f"path={tmp_path / 'crops'}")
    (tmp_path / "own").mkdir()
    definition = definition_of(config, 0) if game else None
    result = run(Settings.of(config), definition, config["recipe"], tmp_path / "own")
    assert result["accuracy_groupings"] == expected["accuracy_groupings"]
    assert list(result["per_class_accuracy"]) == list(expected["per_class_accuracy"])
    assert result["game"] == ("apex_count" if game else "crops")


def test_the_same_seed_gives_the_same_network(tmp_path: Path) -> None:
    settings = ("game=apex_count", "fold=2", "epochs=1", "recipe.slots=false")
    weights = []
    for seed in (3, 3, 4):
        train(tmp_path, *settings, f"seed={seed}")
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
    usual = recipe_of(config, game="sot_time", fold=4, train_images=54_000)
    assert (usual.epochs, usual.batch, usual.optimizer, usual.lr, usual.weight_decay) == (1500, 32, "adam", 1e-4, 1e-5)
    assert (usual.schedule, usual.slots, usual.init, usual.label_smoothing) == ("constant", False, "reference", 0)
    footnote = recipe_of(config, game="lol_time", fold=4, train_images=62_000)
    assert footnote.epochs == 3000
    assert footnote.curriculum
    assert (footnote.curriculum.initial, footnote.curriculum.step, footnote.curriculum.every) == (4, 3, 120)
    assert recipe_of(config, game="lol_time", fold=3, train_images=62_000).epochs == 1500
    assert recipe_of(config, game="lol_time", fold=4, train_images=62_000, epochs=2).epochs == 2


def test_a_narrow_network_sees_more_images_in_the_default_recipe() -> None:
    config = composed("game=sot_time")["recipe"]
    epochs = [recipe_of(config, game="sot_time", fold=f, train_images=50_000).epochs for f in (1, 4)]
    assert epochs == [10, 20]
    dense = {**config, "slots": False}
    assert recipe_of(dense, game="sot_time", fold=4, train_images=50_000).epochs == 10


def test_a_batch_that_fold_does_not_divide_becomes_whole_stacks() -> None:
    config = composed("game=sot_time", "recipe=paper")["recipe"]
    assert recipe_of(config, game="sot_time", fold=3, train_images=1).batch == 30


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
        (["recipe=paper", "recipe.curriculum.order=odd"], "recipe.curriculum.order"),
        (["fold=4", "batch=3"], "batch=3 is smaller than fold=4"),
        (["epochs=0"], "epochs"),
        (["device=gpu9"], "device=gpu9"),
        (["model.arch=C32 Q F"], "'Q'"),
        (["recipe.optimizer=adamant"], "recipe.optimizer"),
        (["path=crops"], "path=crops is for data=folder alone"),
        (["data=folder"], "data=folder needs path"),
        (["data=rendered"], "data"),
        (["data=live", "game.images.train=0"], "game.images.train is 0"),
        (["recipe.images=null"], "set one of epochs and images"),
        (["recipe.epochs=3"], "set one of epochs and images"),
        (["recipe.curriculum={every: 60}"], "slots learn from single images"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_rendered(
    tmp_path: Path, overrides: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        train(tmp_path, "game=sot_time", f"data_dir={tmp_path / 'data'}", *overrides)
    assert not (tmp_path / "data").exists()
