"""Training on labels of several fields, from every source of crops."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from textgen.common.errors import UserError
from textgen.dataset.blocks import Shard
from textgen.dataset.build import ensure_dataset
from textgen.schema.compose import compose
from textgen.schema.definition import parse_definition
from train.config.compose import compose as compose_run
from train.runs.run import run

SMALL = ("game.images.train=40", "game.images.val=5", "game.images.test=20", "augment=off")


def train(folder: Path, label: str, data: str, *overrides: str) -> tuple[dict[str, Any], list[float]]:
    """The result of a run and its losses by epoch."""
    game = ("game=lol_gold1", f"game.label={label}", *SMALL)
    if data == "shards":
        for index in range(2):
            definition = parse_definition(compose(*game), 0)
            ensure_dataset(definition, folder / "shards", shard=Shard(index, 2), quiet=True)
        overrides = (f"path={folder / 'shards'}", *overrides)
    places = (f"out={folder / 'run'}", f"runs={folder}", f"data_dir={folder / 'data'}", f"data={data}")
    result = run(compose_run(*game, *places, "threads=1", "batch=32", "epochs=4", *overrides))
    lines = (folder / "run" / "metrics.jsonl").read_text().splitlines()
    return result, [json.loads(line)["train_loss"] for line in lines]


@pytest.mark.parametrize("data", ["files", "live", "shards"])
def test_a_list_of_one_field_is_learned(tmp_path: Path, data: str) -> None:
    result, losses = train(tmp_path, "[Z]", data)
    assert 0 < losses[-1] < 0.9 * losses[0]
    assert losses[0] < 1.5 * math.log(11)  # ten digits and "other"
    assert result["accuracy"] > 2 / 11


@pytest.mark.parametrize(
    ("data", "overrides"),
    [
        ("files", ("fold=2", "recipe.curriculum={initial: 4, step: 7, of: 4, field: Z}")),
        ("live", ("fold=2", "recipe.field_weights={Z: 2}")),
        ("shards", ("fold=2", "recipe.order_consistency=0.5")),
        ("files", ("fold=2", "recipe=distill")),
    ],
)
def test_several_fields_are_learned(tmp_path: Path, data: str, overrides: tuple[str, ...]) -> None:
    result, losses = train(tmp_path, "[X,Z]", data, *overrides)
    assert list(result["fields"]) == ["X", "Z"]
    assert all(0 < loss < math.inf for loss in losses)
    assert losses[-1] < losses[1]  # a curriculum begins with few classes
    assert result["images_seen"] > 0
    assert result["accuracy"] <= min(of["accuracy"] for of in result["fields"].values())
    assert result["accuracy"] > 2 / 100  # twice that of chance


@pytest.mark.parametrize("fold", [1, 2])
def test_a_curriculum_by_no_field_is_refused(tmp_path: Path, fold: int) -> None:
    with pytest.raises(UserError, match=r"recipe.curriculum.field is 'Q': it is a field of the label, X, Z"):
        train(tmp_path, "[X,Z]", "files", f"fold={fold}", "recipe.curriculum.field=Q")
